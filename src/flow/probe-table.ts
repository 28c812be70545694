/**
 * A small open-addressing table in shared memory: fixed-width rows whose first one or two words are the key.
 *
 * Linear probing with backward-shift deletion: no tombstones, and the hash of a row is computed from its own key. Used
 * under the table's lock only. Refuses inserts above 7/8 full, where probing would become slow; the caller counts it.
 * The first key word is never 0 in a live row. The count of rows stands in the file as well: every worker inserts and
 * removes, and an empty slot is what ends a search.
 */
import { hashTuple } from './hash.js';

export class ProbeTable {
  readonly words: Int32Array;
  readonly #width: number;
  readonly #slots: number;
  readonly #twoKeys: boolean;
  readonly #hash: Int32Array;
  readonly #counts: Int32Array;
  readonly #liveAt: number;
  /** Where the last row was found that was asked for: a new flow asks for its host several times. */
  #last = 0;

  /** `width` words a row; `keys` 1 or 2; the rows are counted in counts[liveAt]. */
  constructor(words: Int32Array, width: number, keys: 1 | 2, hash: Int32Array, counts: Int32Array, liveAt: number) {
    this.words = words;
    this.#counts = counts;
    this.#liveAt = liveAt;
    this.#width = width;
    this.#slots = Math.floor(words.length / width);
    this.#twoKeys = keys === 2;
    this.#hash = hash;
  }

  get live(): number {
    return this.#counts[this.#liveAt]!;
  }

  clear(): void {
    this.words.fill(0);
    this.#counts[this.#liveAt] = 0;
  }

  /** Word index of the row with this key, or −1. Tables with one key word take 0 as `b`. */
  find(a: number, b: number): number {
    const { words } = this;
    if (!this.#twoKeys && a !== 0 && words[this.#last] === a) return this.#last;
    for (let slot = this.#home(a, b); ; slot = slot + 1 === this.#slots ? 0 : slot + 1) {
      const at = slot * this.#width;
      if (words[at] === 0) return -1;
      if (words[at] === a && (!this.#twoKeys || words[at + 1] === b)) {
        this.#last = at;
        return at;
      }
    }
  }

  /** Word index of the row with this key, made (rest zero) if need be; −1 when the table is full. */
  findOrInsert(a: number, b: number): number {
    const { words } = this;
    if (!this.#twoKeys && a !== 0 && words[this.#last] === a) return this.#last;
    for (let slot = this.#home(a, b); ; slot = slot + 1 === this.#slots ? 0 : slot + 1) {
      const at = slot * this.#width;
      if (words[at] === a && (!this.#twoKeys || words[at + 1] === b)) return at;
      if (words[at] !== 0) continue;
      if (this.live >= this.#slots - (this.#slots >>> 3)) return -1;
      this.#counts[this.#liveAt]!++;
      words[at] = a;
      if (this.#twoKeys) words[at + 1] = b;
      return at;
    }
  }

  /** Removes the row at word index `at`; rows behind it move up. */
  removeAt(at: number): void {
    const { words } = this;
    const width = this.#width;
    let hole = at / width;
    this.#counts[this.#liveAt]!--;
    for (let slot = hole; ; ) {
      slot = slot + 1 === this.#slots ? 0 : slot + 1;
      const from = slot * width;
      if (words[from] === 0) break;
      const home = this.#home(words[from]!, this.#twoKeys ? words[from + 1]! : 0);
      // The row may move into the hole unless its home lies (cyclically) behind the hole.
      const stays = hole <= slot ? home > hole && home <= slot : home > hole || home <= slot;
      if (stays) continue;
      words.copyWithin(hole * width, from, from + width);
      hole = slot;
    }
    words.fill(0, hole * width, (hole + 1) * width);
  }

  #home(a: number, b: number): number {
    return ((hashTuple(this.#hash, a, b, 0, 0) >>> 0) * this.#slots * 2 ** -32) | 0;
  }
}
