/**
 * Control connections that a helper reads: where reading stands, and by how much the streams have changed in length.
 *
 * Theory of operation. When an announced address is written anew, a line may become longer or shorter, and from there on
 * the two ends count differently. A *correction* is one such line: the sequence number at which it begins as its sender
 * counts, its old length and its new one. What the sender sends behind it is shifted by the sum of the corrections before
 * it; what the receiver acknowledges is shifted back. So segments may be lost, repeated, merged and reordered: each finds
 * its shift by its own number, and a repeated line finds its correction and is written again in the same words (the port
 * stands in it). A line is a unit: no number inside it has a counterpart, so an acknowledgement inside counts as one of
 * nothing of it, and a segment that begins or ends inside is refused.
 *
 * New lines are looked for only in new bytes, in order, at the start of a line (NEXT, LINE_START): text in the middle of
 * something else is never taken for a command, and what has been sent on before is never changed behind its back.
 *
 * Limits. A record stands in the table file, found by row and generation: it outlives the process like its flow, all
 * workers see it, and it is free again when the row's generation goes on. CONTROLS records in windows of CONTROL_WINDOW;
 * no room: the connection is not helped. CORRECTIONS for each side; the oldest gives way only when the receiver has
 * acknowledged it, else the new line is left alone. A stream of more than 2 GiB behind a correction would take it for
 * something ahead; no control connection is that long. Refused: two fixed offsets as in the kernel's seqadj, which is wrong
 * for the repetition of anything older than the last change.
 *
 * Everything here runs under the table's lock.
 */
import { CONTROL_WINDOW, CONTROLS, CORRECTIONS, Control, Words } from '../contract/table-layout.js';

/** Bits of STATE, beside the number of corrections in its low bits. */
export const enum StreamFlag {
  /** NEXT is the first byte of a line. */
  LINE_START = 16,
  /** Nothing is read any more, only counted. */
  SEALED = 32,
}
const COUNT_MASK = 7;
/** Longest line part that one correction can describe. */
export const LINE_MAX = 255;
/** What `shift` says about a number inside a line that was written anew. */
export const INSIDE = 0x7fff_ffff;

const HASH = 0x9e3779b1;

export class ControlStreams {
  readonly words: Int32Array;
  readonly #rows: Int32Array;

  constructor(words: Int32Array, rows: Int32Array) {
    this.words = words;
    this.#rows = rows;
  }

  /** Record (a word index) of a live row, or −1. */
  find(row: number, generation: number): number {
    const { words } = this;
    const first = firstSlot(row);
    for (let i = 0; i < CONTROL_WINDOW; i++) {
      const r = ((first + i) % CONTROLS) * Words.CONTROL;
      if (words[r + Control.ROW] === row + 1 && words[r + Control.GENERATION] === generation) return r;
    }
    return -1;
  }

  /** A fresh record, in the place of a dead one; −1 when the window is full of live ones. */
  create(row: number, generation: number): number {
    const { words } = this;
    const first = firstSlot(row);
    for (let i = 0; i < CONTROL_WINDOW; i++) {
      const r = ((first + i) % CONTROLS) * Words.CONTROL;
      if (this.#isLive(r)) continue;
      words.fill(0, r, r + Words.CONTROL);
      words[r + Control.GENERATION] = generation;
      words[r + Control.ROW] = row + 1;
      return r;
    }
    return -1;
  }

  /** A line of each side begins at these numbers, as their senders count. */
  begin(record: number, next0: number, next1: number): void {
    this.setNext(record, 0, next0);
    this.setNext(record, 1, next1);
    for (const side of [0, 1]) this.set(record, side, StreamFlag.LINE_START, true);
  }

  forget(record: number): void {
    this.words[record + Control.ROW] = 0;
  }

  /** Is there any connection whose numbers must be shifted? */
  anyLive(): boolean {
    for (let i = 0; i < CONTROLS; i++) if (this.#isLive(i * Words.CONTROL)) return true;
    return false;
  }

  /** Bytes by which a segment of `side` that begins at `seq` is shifted, or INSIDE. */
  shift(record: number, side: number, seq: number): number {
    const { words } = this;
    let sum = words[record + Control.BASE + side]!;
    const count = this.corrections(record, side);
    for (let k = 0; k < count; k++) {
      const ahead = (seq - this.position(record, side, k)) | 0;
      if (ahead <= 0) return sum;
      if (ahead < this.oldLength(record, side, k)) return INSIDE;
      sum = (sum + this.newLength(record, side, k) - this.oldLength(record, side, k)) | 0;
    }
    return sum;
  }

  /** Number in `side`'s own count of what its receiver calls `number`. */
  original(record: number, side: number, number: number): number {
    const { words } = this;
    let sum = words[record + Control.BASE + side]!;
    const count = this.corrections(record, side);
    for (let k = 0; k < count; k++) {
      const position = this.position(record, side, k);
      const ahead = (number - ((position + sum) | 0)) | 0;
      if (ahead <= 0) break;
      if (ahead < this.newLength(record, side, k)) return position;
      sum = (sum + this.newLength(record, side, k) - this.oldLength(record, side, k)) | 0;
    }
    return (number - sum) | 0;
  }

  corrections(record: number, side: number): number {
    return this.words[record + Control.STATE + side]! & COUNT_MASK;
  }

  /** Sequence number of the line of correction `k`, as its sender counts. */
  position(record: number, side: number, k: number): number {
    return this.words[at(record, side, k)]!;
  }

  oldLength(record: number, side: number, k: number): number {
    return this.words[at(record, side, k) + 1]! >>> 24;
  }

  newLength(record: number, side: number, k: number): number {
    return (this.words[at(record, side, k) + 1]! >>> 16) & 0xff;
  }

  /** Port that the line of correction `k` announces since. */
  port(record: number, side: number, k: number): number {
    return this.words[at(record, side, k) + 1]! & 0xffff;
  }

  /**
   * May another correction be kept? `acknowledged`: what the receiver has acknowledged, in the sender's count. Makes room by
   * giving up the oldest when it is done with.
   */
  hasRoom(record: number, side: number, acknowledged: number): boolean {
    const { words } = this;
    const count = this.corrections(record, side);
    if (count < CORRECTIONS) return true;
    const old = this.oldLength(record, side, 0);
    if (((acknowledged - this.position(record, side, 0) - old) | 0) < 0) return false;
    words[record + Control.BASE + side]! += this.newLength(record, side, 0) - old;
    const first = at(record, side, 0);
    words.copyWithin(first, first + 2, first + 2 * count);
    words[record + Control.STATE + side]! -= 1;
    return true;
  }

  /** Notes a line written anew. Its numbers lie behind all that are noted; `hasRoom` was true. */
  add(record: number, side: number, position: number, oldLength: number, newLength: number, port: number): void {
    const { words } = this;
    const to = at(record, side, this.corrections(record, side));
    words[to] = position;
    words[to + 1] = (oldLength << 24) | (newLength << 16) | port;
    words[record + Control.STATE + side]! += 1;
  }

  has(record: number, side: number, flag: number): boolean {
    return (this.words[record + Control.STATE + side]! & flag) !== 0;
  }

  set(record: number, side: number, flag: number, on: boolean): void {
    if (on) this.words[record + Control.STATE + side]! |= flag;
    else this.words[record + Control.STATE + side]! &= ~flag;
  }

  /** 16 bits that the helper keeps between the lines of a side. */
  memory(record: number, side: number): number {
    return this.words[record + Control.STATE + side]! >>> 16;
  }

  setMemory(record: number, side: number, memory: number): void {
    const state = record + Control.STATE + side;
    this.words[state] = (this.words[state]! & 0xffff) | (memory << 16);
  }

  next(record: number, side: number): number {
    return this.words[record + Control.NEXT + side]!;
  }

  setNext(record: number, side: number, next: number): void {
    this.words[record + Control.NEXT + side] = next;
  }

  /** Mapping `k` of EXPECTED that was opened for this connection, or −1. It may be another's by now. */
  expected(record: number, k: number): number {
    return this.words[record + Control.EXPECTED + k]! - 1;
  }

  setExpected(record: number, k: number, mapping: number): void {
    this.words[record + Control.EXPECTED + k] = mapping + 1;
  }

  #isLive(record: number): boolean {
    const row = this.words[record + Control.ROW]! - 1;
    if (row < 0 || row * Words.ROW >= this.#rows.length) return false;
    const generation = this.#rows[row * Words.ROW]!;
    return (generation & 1) !== 0 && generation === this.words[record + Control.GENERATION];
  }
}

function firstSlot(row: number): number {
  return Math.imul(row, HASH) >>> 22;
}

/** Word index of correction `k` of a side. */
function at(record: number, side: number, k: number): number {
  return record + Control.CORRECTIONS + (side * CORRECTIONS + k) * 2;
}
