/**
 * A memory link whose batches stand between guard bytes: whatever the engine writes outside of a packet, its vnet header or
 * a slot that it has taken itself is seen.
 */
import assert from 'node:assert/strict';
import { type Batch, VNET_BYTES } from '../../src/batch.js';
import { Verdict } from '../../src/contract/verdict.js';
import { copyIn, type Link, type MemoryPacket, stamp } from '../../src/link/index.js';
import { mayReceive } from '../../src/link/memory.js';

const GUARD = 0xa5;
/** By how much a helper may lengthen a packet. */
const HELPER_GROWS = 256;
/** How far behind the last packet every batch is looked at; all of it, now and then. */
const BEHIND = 4096;
const WHOLE_EVERY = 256;

export class GuardedLink implements Link {
  readonly name = 'guarded';
  /** What the last `receive` handed out, by slot. */
  received: readonly MemoryPacket[] = [];
  /** Slots that the last batch sent. */
  sent = 0;
  readonly queue: MemoryPacket[] = [];
  #millis: () => number;
  #clean: Uint8Array | undefined;
  #checks = 0;

  constructor(millis: () => number) {
    this.#millis = millis;
  }

  receive(batch: Batch): number {
    stamp(batch, this.#millis());
    if (!this.#clean) {
      batch.data.fill(GUARD);
      this.#clean = batch.data.slice();
    }
    let n = 0;
    while (n < this.queue.length && mayReceive(batch)) copyIn(batch, this.queue[n++]!);
    this.received = this.queue.splice(0, n);
    this.sent = 0;
    return n;
  }

  transmit(_batch: Batch, n: number): number {
    this.sent = n;
    return n;
  }

  /** After the cycle: are the guards whole? */
  check(batch: Batch): void {
    const { data } = batch;
    let at = 0;
    for (let slot = 0; slot < batch.count; slot++) {
      const off = batch.off[slot]!;
      const length = this.#room(batch, slot);
      assert.ok(off % 16 === 0 && off - VNET_BYTES >= at && off + length <= data.length, `slot ${slot} lies at ${off}`);
      this.#same(data, at, off - VNET_BYTES, slot);
      at = off + length;
    }
    const end = this.#checks++ % WHOLE_EVERY === 0 ? data.length : Math.min(data.length, at + BEHIND);
    this.#same(data, at, end, batch.count);
  }

  /** Before the next batch: everything is guard again. */
  reset(batch: Batch): void {
    const last = batch.count - 1;
    if (last < 0) return;
    batch.data.fill(GUARD, 0, batch.off[last]! + this.#room(batch, last));
  }

  /** Bytes that may have been written. A helper may lengthen a packet, also one that it finds to be unfit to be sent. */
  #room(batch: Batch, slot: number): number {
    const length = Math.max(this.received[slot]?.bytes.length ?? 0, batch.len[slot]!);
    const end = slot + 1 < batch.count ? batch.off[slot + 1]! - VNET_BYTES : batch.data.length;
    const more = batch.verdict[slot] === Verdict.HELPER_SEGMENT ? HELPER_GROWS : 0;
    return Math.min(length + more, end - batch.off[slot]!);
  }

  #same(data: Uint8Array, from: number, to: number, slot: number): void {
    if (Buffer.compare(data.subarray(from, to), this.#clean!.subarray(from, to)) === 0) return;
    let at = from;
    while (data[at] === GUARD) at++;
    assert.fail(`guard byte ${at} before slot ${slot} was written (bytes ${from} to ${to} are nobody's)`);
  }

  close(): void {
    this.queue.length = 0;
  }
}
