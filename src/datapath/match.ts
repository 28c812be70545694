/** Stage 3, match: which flow a packet belongs to, by one lookup without lock. */
import type { Batch } from '../batch.js';
import { ROW_WORDS, Row } from '../contract/table-layout.js';
import { Verdict } from '../contract/verdict.js';
import type { FlowTable } from '../flow/table.js';
import { NO_TUPLE } from './parse.js';

/** Fills `handle` and `generation` of slots [from, count) that are pending; −1 where no live flow is found. Returns the misses. */
export function match(table: FlowTable, batch: Batch, from: number, now: number): number {
  const { src, dst, ports, proto, flags, handle, generation, verdict } = batch;
  const { rows } = table;
  const count = batch.count;
  let misses = 0;
  for (let i = from; i < count; i++) {
    if (verdict[i] !== Verdict.PENDING) continue;
    if ((flags[i]! & NO_TUPLE) !== 0) {
      misses++;
      continue;
    }
    const found = table.find(src[i]!, dst[i]!, ports[i]!, proto[i]!);
    const row = (found >>> 1) * ROW_WORDS;
    if (found < 0 || rows[row + Row.EXPIRES]! < now) {
      misses++;
      continue;
    }
    handle[i] = found;
    generation[i] = rows[row]!;
  }
  return misses;
}
