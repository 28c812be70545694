/**
 * Keyed hashes and chains: what the forwarding table, the neighbour table and the table of remotes find their rows by.
 *
 * Strangers choose MAC and IP addresses, so the hash has a secret, or they would put them all into one chain: simple tabulation hashing (Pătraşcu, Thorup
 * 2012), as in flow/hash.ts, with tables filled by the system's random generator: they need not outlive the process.
 *
 * Rows are numbers 0…capacity−1; a row is in one chain or free. Chains instead of open addressing, because rows come and go all the time and a chain
 * leaves no tombstones; twice as many chains as rows, so a search visits one row and a half.
 */
import { randomFillSync } from 'node:crypto';

/** Fills bytes with random ones. */
export type Random = (bytes: Uint8Array) => void;

export const systemRandom: Random = (bytes) => {
  randomFillSync(bytes);
};

/** 256 words for each of `bytes` bytes of the key. */
export function hashTables(bytes: 6 | 16, random: Random): Int32Array {
  const tables = new Int32Array(bytes * 256);
  random(new Uint8Array(tables.buffer));
  return tables;
}

/** Of a MAC address: its first 16 and its last 32 bits. */
export function hashMac(t: Int32Array, hi: number, lo: number): number {
  return (
    t[lo & 255]! ^
    t[256 | ((lo >>> 8) & 255)]! ^
    t[512 | ((lo >>> 16) & 255)]! ^
    t[768 | (lo >>> 24)]! ^
    t[1024 | (hi & 255)]! ^
    t[1280 | ((hi >>> 8) & 255)]!
  );
}

/** Of an IP address, four words. */
export function hashAddress(t: Int32Array, a: number, b: number, c: number, d: number): number {
  return word(t, 0, a) ^ word(t, 1024, b) ^ word(t, 2048, c) ^ word(t, 3072, d);
}

function word(t: Int32Array, at: number, w: number): number {
  return (
    t[at | (w & 255)]! ^
    t[at | 256 | ((w >>> 8) & 255)]! ^
    t[at | 512 | ((w >>> 16) & 255)]! ^
    t[at | 768 | (w >>> 24)]!
  );
}

export const NONE = -1;

export class Chains {
  readonly #mask: number;
  readonly #heads: Int32Array;
  readonly #next: Int32Array;
  #free: number;
  #size = 0;

  constructor(readonly capacity: number) {
    const chains = 2 ** Math.ceil(Math.log2(Math.max(2, capacity * 2)));
    this.#mask = chains - 1;
    this.#heads = new Int32Array(chains).fill(NONE);
    this.#next = Int32Array.from({ length: capacity }, (_, row) => (row + 1 < capacity ? row + 1 : NONE));
    this.#free = capacity > 0 ? 0 : NONE;
  }

  /** Rows in chains. */
  get size(): number {
    return this.#size;
  }

  /** First row of the hash's chain, or NONE; `next` gives the others. */
  first(hash: number): number {
    return this.#heads[hash & this.#mask]!;
  }

  next(row: number): number {
    return this.#next[row]!;
  }

  /** Puts a free row into the hash's chain. Returns it, or NONE when there is none. */
  insert(hash: number): number {
    const row = this.#free;
    if (row === NONE) return NONE;
    this.#free = this.#next[row]!;
    this.#next[row] = this.#heads[hash & this.#mask]!;
    this.#heads[hash & this.#mask] = row;
    this.#size++;
    return row;
  }

  /** Frees a row that is in the hash's chain. */
  remove(hash: number, row: number): void {
    let at = this.#heads[hash & this.#mask]!;
    if (at === row) {
      this.#heads[hash & this.#mask] = this.#next[row]!;
    } else {
      while (this.#next[at] !== row) at = this.#next[at]!;
      this.#next[at] = this.#next[row]!;
    }
    this.#next[row] = this.#free;
    this.#free = row;
    this.#size--;
  }
}
