/** Stage 3, match: which flow a packet belongs to, by lookups without lock, a batch at a time. */
import { BATCH_SLOTS, type Batch } from '../batch.js';
import { Row, Words } from '../contract/table-layout.js';
import { Verdict } from '../contract/verdict.js';
import type { FlowTable } from '../flow/table.js';
import { Flag } from './parse.js';

/** Slots that are looked up together. */
const lookups = new Int32Array(BATCH_SLOTS);

/**
 * Fills `handle` and `generation` of slots [from, count) that are pending; −1 where no live flow is found. Returns the
 * misses: packets for admit.
 */
export function match(table: FlowTable, batch: Batch, from: number, now: number): number {
  const { flags, handle, generation, verdict } = batch;
  const { rows } = table;
  const count = batch.count;
  let n = 0;
  let misses = 0;
  for (let i = from; i < count; i++) {
    if (verdict[i] !== Verdict.PENDING) continue;
    if ((flags[i]! & Flag.NO_TUPLE) !== 0) misses++;
    else lookups[n++] = i;
  }
  table.findMany(lookups, n, batch.src, batch.dst, batch.ports, batch.proto, handle);
  for (let k = 0; k < n; k++) {
    const i = lookups[k]!;
    const found = handle[i]!;
    const row = (found >>> 1) * Words.ROW;
    const born = found < 0 ? 0 : rows[row]!;
    // Another worker may have ended the row since it was found: an even generation is nobody's.
    if ((born & 1) !== 0 && rows[row + Row.EXPIRES]! >= now) {
      generation[i] = born;
    } else {
      handle[i] = -1;
      misses++;
    }
  }
  return misses;
}
