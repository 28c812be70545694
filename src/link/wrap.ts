/**
 * Links around a link: one that writes down what passes, one that spoils it. Both behave as the link they wrap in
 * everything else, so either can go between the engine and any edge.
 *
 * They are for diagnosis and tests: they copy, and the fault injector allocates.
 */
import { closeSync, openSync, writeSync } from 'node:fs';
import { BATCH_SLOTS, type Batch, Ctl } from '../batch.js';
import { native } from '../native.js';
import type { Link } from './link.js';
import { stampedMillis } from './link.js';
import { copyIn, copyOut, type MemoryPacket, mayReceive } from './memory.js';

// -- pcap recorder --

/** Nanosecond pcap, little-endian, LINKTYPE_RAW: packets begin with their IP header. */
const PCAP_MAGIC = 0xa1b23c4d;
const LINKTYPE_RAW = 101;
const SNAP_BYTES = 262_144;
const RECORD_BYTES = 16;

export type Direction = 'received' | 'transmitted';

export interface RecorderOptions {
  /** Default: both. One file has no place for the direction; record each into its own to tell them apart. */
  readonly only?: Direction;
  /** Milliseconds to add to a batch's time; default: what turns CLOCK_BOOTTIME into the time of day. */
  readonly epoch?: number;
}

/** Records packets as the engine saw or left them. GSO packets are recorded whole; vnet headers are not recorded. */
export class Recorder implements Link {
  readonly name: string;
  readonly #inner: Link;
  readonly #fd: number;
  readonly #only: Direction | undefined;
  readonly #epoch: number;
  readonly #buffer = new Uint8Array(1024 * 1024);
  readonly #view = new DataView(this.#buffer.buffer);
  #used = 0;

  /** Makes the file (0600: it holds other people's traffic) or empties it. */
  constructor(inner: Link, path: string, options: RecorderOptions = {}) {
    this.name = inner.name;
    this.#inner = inner;
    this.#only = options.only;
    this.#epoch = options.epoch ?? Date.now() - native.boottime();
    this.#fd = openSync(path, 'w', 0o600);
    this.#put32(PCAP_MAGIC);
    this.#put32(2 | (4 << 16)); // version 2.4
    this.#put32(0);
    this.#put32(0);
    this.#put32(SNAP_BYTES);
    this.#put32(LINKTYPE_RAW);
  }

  receive(batch: Batch): number {
    const n = this.#inner.receive(batch);
    if (this.#only !== 'transmitted') {
      const count = batch.count;
      for (let slot = count - n; slot < count; slot++) this.#record(batch, slot);
    }
    return n;
  }

  transmit(batch: Batch, n: number): number {
    if (this.#only !== 'received') {
      for (let i = 0; i < n; i++) this.#record(batch, batch.list[i]!);
    }
    return this.#inner.transmit(batch, n);
  }

  /** Brings everything that was recorded so far into the file. */
  flush(): void {
    for (let at = 0; at < this.#used; ) at += writeSync(this.#fd, this.#buffer, at, this.#used - at);
    this.#used = 0;
  }

  close(): void {
    this.flush();
    closeSync(this.#fd);
    this.#inner.close();
  }

  #record(batch: Batch, slot: number): void {
    const off = batch.off[slot]!;
    const bytes = batch.len[slot]!;
    if (this.#used + RECORD_BYTES + bytes > this.#buffer.length) this.flush();
    const time = stampedMillis(batch) + this.#epoch;
    this.#put32(Math.floor(time / 1000));
    this.#put32((time % 1000) * 1e6);
    this.#put32(bytes);
    this.#put32(bytes);
    this.#buffer.set(batch.data.subarray(off, off + bytes), this.#used);
    this.#used += bytes;
  }

  #put32(value: number): void {
    this.#view.setUint32(this.#used, value, true);
    this.#used += 4;
  }
}

// -- fault injector --

export interface Faults {
  readonly seed: number;
  /** Chances, 0…1, drawn for each packet in this order. */
  readonly drop?: number;
  /** Cut to a random shorter length, down to nothing. */
  readonly truncate?: number;
  /** One random bit of the packet. */
  readonly flip?: number;
  /** Comes later than others: behind the next batch on receiving, behind a later packet of the batch on transmitting. */
  readonly reorder?: number;
  readonly duplicate?: number;
  /** Where the faults happen; default: receiving. */
  readonly on?: Direction;
}

/** Random numbers in [0, 1) that are the same for the same seed (mulberry32). */
function random(seed: number): () => number {
  let state = seed | 0;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), state | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}

export class FaultInjector implements Link {
  readonly name: string;
  /** How often each fault was done. */
  readonly done = { drop: 0, truncate: 0, flip: 0, reorder: 0, duplicate: 0 };
  readonly #inner: Link;
  readonly #faults: Required<Faults>;
  readonly #random: () => number;
  /** Packets that were held back, for the next receive. */
  #late: MemoryPacket[] = [];

  constructor(inner: Link, faults: Faults) {
    this.name = inner.name;
    this.#inner = inner;
    this.#faults = { drop: 0, truncate: 0, flip: 0, reorder: 0, duplicate: 0, on: 'received', ...faults };
    this.#random = random(faults.seed);
  }

  receive(batch: Batch): number {
    const n = this.#inner.receive(batch);
    if (this.#faults.on !== 'received') return n;
    const end = batch.count;
    const first = end - n;
    const release = this.#late;
    this.#late = [];
    let kept = first;
    for (let slot = first; slot < end; slot++) {
      if (this.#happens('drop')) continue;
      this.#spoil(batch, slot);
      if (this.#happens('reorder')) {
        this.#late.push(copyOut(batch, slot));
        continue;
      }
      batch.off[kept] = batch.off[slot]!;
      batch.len[kept] = batch.len[slot]!;
      if (this.#happens('duplicate')) release.push(copyOut(batch, kept));
      kept++;
    }
    batch.ctl[Ctl.COUNT] = kept;
    for (const packet of release) {
      if (mayReceive(batch)) copyIn(batch, packet);
      else this.#late.push(packet);
    }
    return batch.count - first;
  }

  transmit(batch: Batch, n: number): number {
    if (this.#faults.on !== 'transmitted') return this.#inner.transmit(batch, n);
    const list = batch.list;
    let kept = 0;
    for (let i = 0; i < n; i++) {
      if (this.#happens('drop')) continue;
      this.#spoil(batch, list[i]!);
      if (i + 1 < n && this.#happens('reorder')) {
        const later = i + 1 + Math.floor(this.#random() * (n - i - 1));
        [list[i], list[later]] = [list[later]!, list[i]!];
      }
      list[kept++] = list[i]!;
    }
    const dropped = n - kept;
    for (let i = 0, single = kept; i < single && kept < BATCH_SLOTS; i++) {
      if (this.#happens('duplicate')) list[kept++] = list[i]!;
    }
    // Lost on the wire is not refused by the link; a second copy is nothing that the caller sent.
    return Math.min(n, dropped + this.#inner.transmit(batch, kept));
  }

  close(): void {
    this.#inner.close();
  }

  #happens(fault: keyof FaultInjector['done']): boolean {
    if (this.#random() >= this.#faults[fault]) return false;
    this.done[fault]++;
    return true;
  }

  #spoil(batch: Batch, slot: number): void {
    const bytes = batch.len[slot]!;
    if (bytes === 0) return;
    if (this.#happens('truncate')) batch.len[slot] = Math.floor(this.#random() * bytes);
    else if (this.#happens('flip')) {
      const bit = Math.floor(this.#random() * bytes * 8);
      batch.data[batch.off[slot]! + (bit >> 3)]! ^= 1 << (bit & 7);
    }
  }
}
