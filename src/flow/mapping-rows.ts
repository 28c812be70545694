/**
 * One mapping's row: its columns, its hashes, and where a new one comes from. What a mapping is, when it lives and whom it lets in
 * stands in mappings.ts; nothing here knows of indexes, ports or hosts.
 *
 * The base of Mappings and of nothing else: the methods are looked up on one shape, as if they stood there.
 */
import { Header, MAPPING_KEPT, MappingKind, MappingRow, type TableLayout, Words } from '../contract/table-layout.js';
import { hashTuple } from './hash.js';

export class MappingRows {
  readonly words: Int32Array;
  readonly capacity: number;
  readonly #header: Int32Array;
  readonly #hash: Int32Array;

  constructor(buffer: ArrayBuffer, layout: TableLayout, header: Int32Array, hash: Int32Array) {
    this.#header = header;
    this.#hash = hash;
    this.capacity = layout.mappings;
    this.words = new Int32Array(buffer, layout.mappingsAt, layout.mappings * Words.MAPPING);
  }

  // ---- Rows in use, and free ones.

  /** A free row, not alive yet; −1 when there is none. */
  take(): number {
    const header = this.#header;
    let mapping = header[Header.MAPPING_FREE]! - 1;
    if (mapping >= 0) header[Header.MAPPING_FREE] = this.words[mapping * Words.MAPPING + MappingRow.REMOTE]!;
    else {
      mapping = header[Header.MAPPING_HIGH_WATER]!;
      if (mapping >= this.capacity) return -1;
      header[Header.MAPPING_HIGH_WATER] = mapping + 1;
    }
    return mapping;
  }

  /** A dead row goes to the free list. */
  release(mapping: number): void {
    this.words[mapping * Words.MAPPING + MappingRow.REMOTE] = this.#header[Header.MAPPING_FREE]!;
    this.#header[Header.MAPPING_FREE] = mapping + 1;
  }

  // ---- Columns.

  protoOf(mapping: number): number {
    return this.words[mapping * Words.MAPPING + MappingRow.META]! & 0xff;
  }

  isHeld(mapping: number): boolean {
    return this.words[mapping * Words.MAPPING + MappingRow.COUNT] === 0;
  }

  /** Without flows, is its port still kept for its inside endpoint? (A mapping that was just made is not.) */
  isHeldAt(mapping: number, now: number): boolean {
    return this.words[mapping * Words.MAPPING + MappingRow.EXPIRES]! >= now;
  }

  isShared(mapping: number): boolean {
    return ((this.words[mapping * Words.MAPPING + MappingRow.META]! >>> 8) & 15) === MappingKind.SHARED_PORT;
  }

  insideOf(mapping: number): number {
    return this.words[mapping * Words.MAPPING + MappingRow.INSIDE]!;
  }

  outsideOf(mapping: number): number {
    return this.words[mapping * Words.MAPPING + MappingRow.OUTSIDE]!;
  }

  insidePort(mapping: number): number {
    return this.words[mapping * Words.MAPPING + MappingRow.PORTS]! >>> 16;
  }

  outsidePort(mapping: number): number {
    return this.words[mapping * Words.MAPPING + MappingRow.PORTS]! & 0xffff;
  }

  filteringOf(mapping: number): number {
    return (this.words[mapping * Words.MAPPING + MappingRow.META]! >>> 12) & 15;
  }

  /**
   * Is this the live mapping of inside endpoint X:x at P:p? A flow that came in through a mapping does not keep it until the
   * inside host answers, so by then its memory may be somebody else's.
   */
  is(mapping: number, proto: number, inside: number, x: number, outside: number, p: number): boolean {
    const { words } = this;
    const m = mapping * Words.MAPPING;
    return (
      (words[m]! & 1) !== 0 &&
      words[m + MappingRow.INSIDE] === inside &&
      words[m + MappingRow.OUTSIDE] === outside &&
      words[m + MappingRow.PORTS] === ((x << 16) | p) &&
      (words[m + MappingRow.META]! & 0xff) === proto &&
      !this.isShared(mapping)
    );
  }

  ruleOf(mapping: number): number {
    return this.words[mapping * Words.MAPPING + MappingRow.META]! >>> 16;
  }

  /** Until when hairpin flows keep it, whether it has flows of its own or not; 0 = they do not. */
  keptUntil(mapping: number): number {
    const m = mapping * Words.MAPPING;
    return (this.words[m + MappingRow.META]! & MAPPING_KEPT) !== 0 ? this.words[m + MappingRow.EXPIRES]! : 0;
  }

  keep(mapping: number, until: number): void {
    const m = mapping * Words.MAPPING;
    this.words[m + MappingRow.EXPIRES] = Math.max(this.keptUntil(mapping), until);
    this.words[m + MappingRow.META]! |= MAPPING_KEPT;
  }

  /** Another plan has another rule for it. True when fewer may come in than before. */
  setRule(mapping: number, rule: number, filtering: number): boolean {
    const m = mapping * Words.MAPPING;
    const stricter = filtering > this.filteringOf(mapping);
    this.words[m + MappingRow.META] = (this.words[m + MappingRow.META]! & 0xfff) | (filtering << 12) | (rule << 16);
    return stricter;
  }

  /** Keeps the mapping while its last flow may end; `unpin` before anything else joins. */
  pin(mapping: number): void {
    this.words[mapping * Words.MAPPING + MappingRow.COUNT]!++;
  }

  unpin(mapping: number): void {
    this.words[mapping * Words.MAPPING + MappingRow.COUNT]!--;
  }

  // ---- Hashes of its two ends.

  hashInsideOf(mapping: number): number {
    const { words } = this;
    const m = mapping * Words.MAPPING;
    const x = words[m + MappingRow.PORTS]! >>> 16;
    return hashTuple(
      this.#hash,
      words[m + MappingRow.INSIDE]!,
      words[m + MappingRow.OUTSIDE]!,
      x << 16,
      words[m + MappingRow.META]! & 0xff,
    );
  }

  hashOutside(outside: number, p: number, proto: number): number {
    return hashTuple(this.#hash, outside, 0, p, proto);
  }

  hashOutsideOf(mapping: number): number {
    const { words } = this;
    const m = mapping * Words.MAPPING;
    return hashTuple(
      this.#hash,
      words[m + MappingRow.OUTSIDE]!,
      0,
      words[m + MappingRow.PORTS]! & 0xffff,
      words[m + MappingRow.META]! & 0xff,
    );
  }
}
