/** Stage 6, emit: counts every verdict and sends what has one that sends, in the order of the batch. */
import type { Batch } from '../batch.js';
import { Counter } from '../contract/counters.js';
import { VERDICTS, Verdict } from '../contract/verdict.js';
import type { Link } from '../link/link.js';
import type { Engine } from './engine.js';

const SENDS = Uint8Array.from(VERDICTS, (v) => (v.fate === 'send' || v.fate === 'punt' ? 1 : 0));

export function emit(engine: Engine, batch: Batch, link: Link): void {
  const { verdict, list, len, out } = batch;
  const { counters } = engine;
  const count = batch.count;
  let n = 0;
  let bytes = 0;
  let forwarded = 0;
  let away = 0;
  for (let i = 0; i < count; i++) {
    const v = verdict[i]!;
    if (v === Verdict.FORWARD) forwarded++;
    else {
      counters[Counter.VERDICT + v]!++;
      if (SENDS[v] === 0) continue;
    }
    if (out[i] !== 0) {
      away++;
      continue;
    }
    list[n++] = i;
    bytes += len[i]!;
  }
  counters[Counter.VERDICT + Verdict.FORWARD]! += forwarded;
  if (n > 0) sent(counters, link.transmit(batch, n), n, bytes);
  for (let number = 1; away > 0; number++) away -= emitTo(engine, batch, number);
}

/** Sends what leaves by the site link of that number. Returns the packets it found. */
function emitTo({ sites, counters }: Engine, batch: Batch, number: number): number {
  const { verdict, list, len, out } = batch;
  let n = 0;
  let bytes = 0;
  for (let i = 0; i < batch.count; i++) {
    if (out[i] !== number || SENDS[verdict[i]!] === 0) continue;
    list[n++] = i;
    bytes += len[i]!;
  }
  if (n > 0) sent(counters, sites === null ? 0 : sites.transmitTo(number, batch, n), n, bytes);
  return n;
}

function sent(counters: Float64Array, taken: number, n: number, bytes: number): void {
  counters[Counter.TX_PACKETS]! += taken;
  counters[Counter.TX_BYTES]! += bytes;
  if (taken < n) counters[Counter.VERDICT + Verdict.LINK_ERROR]! += n - taken;
}
