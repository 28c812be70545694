/**
 * An index from hash to small integer: two choices of 16-entry buckets, one cache line each.
 *
 * An entry is one int32: tag << bits | value, value ≥ 1, 0 = empty; the tag is the hash's low bits, the bucket comes from
 * its high bits, so that a wrong candidate costs a compare and no visit to the row. Insert takes the first bucket unless
 * it is crowded and the second has more room; when both are full, one entry of theirs moves to its other bucket. At
 * three quarters load a failure has not been seen in any test;
 * when it does, insert says so and the caller refuses the flow. Delete empties the entry: no tombstones, no shifting, so
 * nothing slows down with age. A reader without the lock may miss an entry that is being moved, never see a wrong one that
 * survives the comparison with the row; a miss is looked up again under the lock.
 *
 * Refused: linear probing (backward shift needs a visit to each row behind it), chaining (8 more bytes a flow and a
 * dependent cache miss a step).
 */
import { BUCKET } from '../contract/table-layout.js';

const SCALE = 2 ** -32;
/** Free entries in the first bucket below which the second one is considered. */
const CROWDED_FREE = BUCKET - 12;

export class BucketIndex {
  /** Bits of the value; the rest of an entry is tag. */
  readonly shift: number;
  readonly mask: number;
  readonly words: Int32Array;
  readonly buckets: number;
  /** Sum of loads that only warm the cache; read by nobody. */
  touched = 0;
  /** Hash that a stored value was inserted with. */
  readonly #hashOf: (value: number) => number;

  constructor(words: Int32Array, buckets: number, maxValue: number, hashOf: (value: number) => number) {
    this.words = words;
    this.buckets = buckets;
    this.shift = 32 - Math.clz32(maxValue);
    this.mask = 2 ** this.shift - 1;
    this.#hashOf = hashOf;
  }

  /** Word index of the hash's first bucket. */
  first(hash: number): number {
    return (((hash >>> 0) * this.buckets * SCALE) | 0) * BUCKET;
  }

  /** Word index of the hash's second bucket; may be the first one again. */
  second(hash: number): number {
    const other = Math.imul(hash ^ (hash >>> 15), 0x2c1b3c6d);
    return (((other >>> 0) * this.buckets * SCALE) | 0) * BUCKET;
  }

  /** Adds `value` under `hash`. False when there is no room (the index is over-full). */
  insert(hash: number, value: number): boolean {
    const words = this.words;
    const entry = (hash << this.shift) | value;
    let a = this.first(hash);
    let free = this.#freeIn(a);
    if (free < CROWDED_FREE) {
      const b = this.second(hash);
      const freeB = this.#freeIn(b);
      if (freeB > free) {
        a = b;
        free = freeB;
      }
      if (free === 0) return this.#insertByMoving(hash, entry);
    }
    for (let i = a; ; i++) {
      if (words[i] === 0) {
        words[i] = entry;
        return true;
      }
    }
  }

  /** Removes `value` under `hash`. False when it was not there. */
  remove(hash: number, value: number): boolean {
    const words = this.words;
    const entry = (hash << this.shift) | value;
    let a = this.first(hash);
    for (let round = 0; round < 2; round++) {
      for (let i = a; i < a + BUCKET; i++) {
        if (words[i] === entry) {
          words[i] = 0;
          return true;
        }
      }
      a = this.second(hash);
    }
    return false;
  }

  /** Loads the first buckets of n hashes, in a loop that does nothing else: the cache misses overlap (table.ts, findMany). */
  touchFirst(hashes: Int32Array, n: number): void {
    const { words } = this;
    let touched = 0;
    for (let k = 0; k < n; k++) touched ^= words[this.first(hashes[k]!)]!;
    this.touched = touched;
  }

  touchSecond(hashes: Int32Array, n: number): void {
    const { words } = this;
    let touched = 0;
    for (let k = 0; k < n; k++) touched ^= words[this.second(hashes[k]!)]!;
    this.touched = touched;
  }

  /** A value in the first bucket that may be the hash's, or 0. */
  candidate(hash: number): number {
    const { words, mask } = this;
    const tag = hash << this.shift;
    for (let i = this.first(hash), end = i + BUCKET; i < end; i++) {
      const entry = words[i]!;
      if ((entry & ~mask) === tag && entry !== 0) return entry & mask;
    }
    return 0;
  }

  clear(): void {
    this.words.fill(0);
  }

  /** Free entries of a bucket, as far as it matters: up to CROWDED_FREE. They are at its end: it is filled from the front. */
  #freeIn(bucket: number): number {
    const words = this.words;
    let free = 0;
    for (let i = bucket + BUCKET - 1; i >= bucket && free < CROWDED_FREE; i--) if (words[i] === 0) free++;
    return free;
  }

  /** Both buckets are full: moves one of their entries to its other bucket, and takes its place. */
  #insertByMoving(hash: number, entry: number): boolean {
    const words = this.words;
    let bucket = this.first(hash);
    for (let round = 0; round < 2; round++) {
      for (let i = bucket; i < bucket + BUCKET; i++) {
        const moving = this.#hashOf(words[i]! & this.mask);
        let other = this.first(moving);
        if (other === bucket) other = this.second(moving);
        if (other === bucket) continue;
        for (let j = other; j < other + BUCKET; j++) {
          if (words[j] === 0) {
            // The copy first: a reader without the lock finds it in one place or the other.
            words[j] = words[i]!;
            words[i] = entry;
            return true;
          }
        }
      }
      bucket = this.second(hash);
    }
    return false;
  }
}
