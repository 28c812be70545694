/** Stage 6, emit: counts every verdict and sends what has one that sends, in the order of the batch. */
import type { Batch } from '../batch.js';
import { Counter } from '../contract/counters.js';
import { VERDICTS, Verdict } from '../contract/verdict.js';
import type { Link } from '../link/link.js';

const SENDS = Uint8Array.from(VERDICTS, (v) => (v.fate === 'send' || v.fate === 'punt' ? 1 : 0));

export function emit(batch: Batch, link: Link, counters: Float64Array): void {
  const { verdict, list, len } = batch;
  const count = batch.count;
  let n = 0;
  let bytes = 0;
  let forwarded = 0;
  for (let i = 0; i < count; i++) {
    const v = verdict[i]!;
    if (v === Verdict.FORWARD) forwarded++;
    else {
      counters[Counter.VERDICT + v]!++;
      if (SENDS[v] === 0) continue;
    }
    list[n++] = i;
    bytes += len[i]!;
  }
  counters[Counter.VERDICT + Verdict.FORWARD]! += forwarded;
  if (n === 0) return;
  const sent = link.transmit(batch, n);
  counters[Counter.TX_PACKETS]! += sent;
  counters[Counter.TX_BYTES]! += bytes;
  if (sent < n) counters[Counter.VERDICT + Verdict.LINK_ERROR]! += n - sent;
}
