/**
 * A tap looks at a batch on its way. This one copies packets that a filter names into the capture ring (contract/capture.ts),
 * before the first rewrite and after the last one; another (watch.ts) explains them. None is there unless somebody asked.
 * A packet that was seen coming is also seen leaving, whatever addresses it has by then. The verdict is known only
 * at the end, so what `before` writes becomes visible with `after`.
 */
import { BATCH_SLOTS, type Batch, Ctl } from '../batch.js';
import {
  CAPTURED_BYTES,
  Captured,
  type CaptureFilter,
  FILLER,
  Point,
  RING_BYTES,
  RING_HEADER,
  Ring,
} from '../contract/capture.js';
import { VERDICTS, Verdict } from '../contract/verdict.js';
import { IPPROTO, Ipv4 } from '../wire/ipv4.js';
import { Flag } from './parse.js';

const SENDS = Uint8Array.from(VERDICTS, (v) => (v.fate === 'send' || v.fate === 'punt' ? 1 : 0));

export interface Tap {
  /** After parse: what has come in. */
  before(batch: Batch): void;
  /** Before emit: every verdict is known, and what leaves is as it leaves. */
  after(batch: Batch): void;
}

/** Two at once. `first` sees the columns as parse left them; a ring writes into them. */
export class Taps implements Tap {
  readonly #first: Tap;
  readonly #second: Tap;

  constructor(first: Tap, second: Tap) {
    this.#first = first;
    this.#second = second;
  }

  before(batch: Batch): void {
    this.#first.before(batch);
    this.#second.before(batch);
  }

  after(batch: Batch): void {
    this.#first.after(batch);
    this.#second.after(batch);
  }
}

/** Is it a packet with a tuple to compare? Where parse gave up before it wrote the columns, they are those of an earlier batch. */
export function hasTuple(batch: Batch, i: number): boolean {
  const { view, verdict, off } = batch;
  if (batch.len[i]! < Ipv4.BYTES || view.getUint8(off[i]!) >>> 4 !== 4) return false;
  if (verdict[i] !== Verdict.TRUNCATED && verdict[i] !== Verdict.BAD_HEADER) return true;
  batch.src[i] = view.getInt32(off[i]! + Ipv4.SRC);
  batch.dst[i] = view.getInt32(off[i]! + Ipv4.DST);
  batch.proto[i] = view.getUint8(off[i]! + Ipv4.PROTO);
  batch.ports[i] = 0;
  return true;
}

export class RingTap implements Tap {
  readonly #filter: CaptureFilter;
  readonly #ring: Int32Array;
  readonly #words: Int32Array;
  readonly #bytes: Uint8Array;
  /** Word of each slot's first record, −1 = dropped for want of room, −2 = not asked for. */
  readonly #records = new Int32Array(BATCH_SLOTS);
  #head: number;
  #known = 0;

  constructor(ring: SharedArrayBuffer, filter: CaptureFilter) {
    this.#filter = filter;
    this.#ring = new Int32Array(ring, 0, RING_HEADER / 4);
    this.#words = new Int32Array(ring, RING_HEADER, RING_BYTES / 4);
    this.#bytes = new Uint8Array(ring, RING_HEADER, RING_BYTES);
    this.#head = this.#ring[Ring.HEAD]!;
  }

  before(batch: Batch): void {
    const { count } = batch;
    this.#known = count;
    for (let i = 0; i < count; i++) {
      this.#records[i] = -2;
      if (!hasTuple(batch, i) || !this.#wanted(batch, i)) continue;
      this.#records[i] = (this.#filter.points & Point.PRE) === 0 ? -1 : this.#put(batch, i, Point.PRE);
    }
  }

  /** Makes all of it visible. */
  after(batch: Batch): void {
    const { count, verdict, view, off } = batch;
    for (let i = 0; i < count; i++) {
      const seen = i < this.#known ? this.#records[i]! : -2;
      if (seen >= 0) this.#words[seen + Captured.WHAT] = Point.PRE | (verdict[i]! << 8);
      if ((this.#filter.points & Point.POST) === 0 || SENDS[verdict[i]!] === 0) continue;
      if (seen === -2) {
        // The other end of a translated flow, or a packet of the engine's own: by what it says now.
        if (!hasTuple(batch, i)) continue;
        batch.src[i] = view.getInt32(off[i]! + Ipv4.SRC);
        batch.dst[i] = view.getInt32(off[i]! + Ipv4.DST);
        batch.proto[i] = view.getUint8(off[i]! + Ipv4.PROTO);
        const l4 = off[i]! + ((view.getUint8(off[i]!) & 15) << 2);
        batch.ports[i] = l4 + 4 <= off[i]! + batch.len[i]! ? view.getInt32(l4) : 0;
        if (!this.#wanted(batch, i)) continue;
      }
      const at = this.#put(batch, i, Point.POST);
      if (at >= 0) this.#words[at + Captured.WHAT] = Point.POST | (verdict[i]! << 8);
    }
    Atomics.store(this.#ring, Ring.HEAD, this.#head);
  }

  #wanted(batch: Batch, i: number): boolean {
    const { address, port, proto } = this.#filter;
    if (address !== undefined) {
      const { prefix, mask } = address;
      if ((batch.src[i]! & mask) !== prefix && (batch.dst[i]! & mask) !== prefix) return false;
    }
    if (proto !== undefined && batch.proto[i] !== proto) return false;
    if (port === undefined) return true;
    if (batch.proto[i] !== IPPROTO.TCP && batch.proto[i] !== IPPROTO.UDP) return false;
    if ((batch.flags[i]! & Flag.LATER_FRAGMENT) !== 0) return false;
    return batch.ports[i]! >>> 16 === port || (batch.ports[i]! & 0xffff) === port;
  }

  /** Word of the record in the ring, or −1 when there is no room. */
  #put(batch: Batch, i: number, point: number): number {
    const length = batch.len[i]!;
    const kept = Math.min(length, this.#filter.snap);
    const size = (CAPTURED_BYTES + kept + 7) & ~7;
    let at = this.#head & (RING_BYTES - 1);
    const rest = RING_BYTES - at;
    const needed = rest < size ? rest + size : size;
    const used = (this.#head - Atomics.load(this.#ring, Ring.TAIL)) >>> 0;
    if (used + needed > RING_BYTES) {
      Atomics.add(this.#ring, Ring.DROPPED, 1);
      return -1;
    }
    if (rest < size) {
      this.#words[(at >>> 2) + Captured.SIZE] = rest;
      this.#words[(at >>> 2) + Captured.WHAT] = FILLER;
      at = 0;
    }
    const word = at >>> 2;
    this.#words[word + Captured.SIZE] = size;
    this.#words[word + Captured.WHAT] = point;
    this.#words[word + Captured.MILLIS] = batch.ctl[Ctl.MILLIS]!;
    this.#words[word + Captured.LENGTH] = length;
    this.#words[word + Captured.KEPT] = kept;
    const off = batch.off[i]!;
    this.#bytes.set(batch.data.subarray(off, off + kept), at + CAPTURED_BYTES);
    this.#head = (this.#head + needed) | 0;
    return word;
  }
}
