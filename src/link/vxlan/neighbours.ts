/**
 * Known pairs of IP and MAC address: what suppress.ts answers from.
 *
 * Theory of operation. A row is an IP address, its MAC address, and on which side it is: REMOTE pairs may be answered, LOCAL ones exist so that they are not. Pairs are configured (as
 * flannel programs a node's neighbours) or learned from ARP and neighbour discovery that passes. A pair is forgotten `age` after it was last said by its owner; since answered
 * requests do not reach the owner, that is also how often an owner is asked anew.
 *
 * Who is believed: a configured pair is never changed by what passes. A LOCAL pair is only replaced by a claim from the tunnel when the MAC address is
 * the same, that is when the host itself has moved; a claim with another one is counted as disputed, and no answer is given from it. What is said on the TAP
 * side wins at once. Each side may have half of the rows, so neither can push the other out.
 *
 * IPv4 addresses are kept as IPv4-mapped IPv6 ones.
 */
import { parseAddress } from '../wireguard/endpoint.js';
import { Chains, hashAddress, hashTables, NONE, type Random, systemRandom } from './hash.js';

export const REMOTE_SIDE = 0;
export const LOCAL_SIDE = 1;

const STATIC = 2;
const USED = 4;
const ROUTER = 8;

export interface NeighbourOptions {
  readonly capacity?: number;
  /** Milliseconds. */
  readonly age?: number;
  readonly random?: Random;
}

/** A learned pair. */
export interface NeighbourRow {
  readonly ip: Int32Array;
  readonly hi: number;
  readonly lo: number;
  readonly side: number;
  readonly router: boolean;
  readonly seen: number;
}

export class Neighbours {
  readonly capacity: number;
  readonly age: number;
  readonly #chains: Chains;
  readonly #tables: Int32Array;
  readonly #address: Int32Array;
  readonly #hi: Uint16Array;
  readonly #lo: Int32Array;
  readonly #flags: Uint8Array;
  readonly #seen: Float64Array;
  readonly #learned = new Int32Array(2);
  #sweepAt = 0;

  /** Counters. */
  refused = 0;
  disputed = 0;

  constructor(options: NeighbourOptions = {}) {
    const capacity = options.capacity ?? 4096;
    this.capacity = capacity;
    this.age = options.age ?? 300_000;
    this.#chains = new Chains(capacity);
    this.#tables = hashTables(16, options.random ?? systemRandom);
    this.#address = new Int32Array(capacity * 4);
    this.#hi = new Uint16Array(capacity);
    this.#lo = new Int32Array(capacity);
    this.#flags = new Uint8Array(capacity);
    this.#seen = new Float64Array(capacity);
  }

  get size(): number {
    return this.#chains.size;
  }

  /** Row of an address, or −1. `ip`: four words. */
  find(ip: Int32Array, now: number): number {
    const row = this.#row(ip);
    return row === NONE || this.#old(row, now) ? NONE : row;
  }

  side(row: number): number {
    return this.#flags[row]! & LOCAL_SIDE;
  }

  hi(row: number): number {
    return this.#hi[row]!;
  }

  lo(row: number): number {
    return this.#lo[row]!;
  }

  router(row: number): boolean {
    return (this.#flags[row]! & ROUTER) !== 0;
  }

  /** The owner of `ip`, on `side`, said so. `create`: false = only an existing pair is kept alive. False: not believed, or no room. */
  learn(ip: Int32Array, hi: number, lo: number, side: number, router: boolean, create: boolean, now: number): boolean {
    let row = this.#row(ip);
    if (row !== NONE) {
      const flags = this.#flags[row]!;
      const same = this.#hi[row] === hi && this.#lo[row] === lo;
      if ((flags & STATIC) !== 0) return same;
      const old = this.#old(row, now);
      if (side === REMOTE_SIDE && (flags & LOCAL_SIDE) !== 0 && !same && !old) {
        this.disputed++;
        return false;
      }
      if (same && (flags & LOCAL_SIDE) === side && !old) {
        this.#seen[row] = now;
        if (create) this.#flags[row] = USED | side | (router ? ROUTER : 0);
        return true;
      }
      this.#remove(row);
    }
    if (!create) return false;
    row = this.#learned[side]! < Math.max(1, this.capacity >> 1) ? this.#insert(ip) : NONE;
    if (row === NONE) {
      this.refused++;
      return false;
    }
    this.#learned[side]! += 1;
    this.#write(row, hi, lo, USED | side | (router ? ROUTER : 0), now);
    return true;
  }

  /** Configures a pair. False: no room. */
  setStatic(ip: Int32Array, hi: number, lo: number, side: number = REMOTE_SIDE, router = false): boolean {
    this.remove(ip);
    const row = this.#insert(ip);
    if (row === NONE) {
      this.refused++;
      return false;
    }
    this.#write(row, hi, lo, USED | STATIC | side | (router ? ROUTER : 0), 0);
    return true;
  }

  remove(ip: Int32Array): boolean {
    const row = this.#row(ip);
    if (row === NONE) return false;
    this.#remove(row);
    return true;
  }

  /** Removes old rows among the next `rows`. */
  sweep(rows: number, now: number): void {
    for (let i = Math.min(rows, this.capacity); i > 0; i--) {
      const row = this.#sweepAt;
      this.#sweepAt = row + 1 < this.capacity ? row + 1 : 0;
      if (this.#flags[row] !== 0 && this.#old(row, now)) this.#remove(row);
    }
  }

  /** Every live pair that was learned. */
  *learnedRows(now: number): Generator<NeighbourRow> {
    for (let row = 0; row < this.capacity; row++) {
      const flags = this.#flags[row]!;
      if (flags === 0 || (flags & STATIC) !== 0 || this.#old(row, now)) continue;
      const ip = this.#address.slice(row * 4, row * 4 + 4);
      const [hi, lo, side, router] = [this.#hi[row]!, this.#lo[row]!, flags & LOCAL_SIDE, (flags & ROUTER) !== 0];
      yield { ip, hi, lo, side, router, seen: this.#seen[row]! };
    }
  }

  #row(ip: Int32Array): number {
    const a = this.#address;
    let row = this.#chains.first(hashAddress(this.#tables, ip[0]!, ip[1]!, ip[2]!, ip[3]!));
    for (; row !== NONE; row = this.#chains.next(row)) {
      const at = row * 4;
      if (a[at + 3] === ip[3] && a[at + 2] === ip[2] && a[at + 1] === ip[1] && a[at] === ip[0]) break;
    }
    return row;
  }

  #old(row: number, now: number): boolean {
    return (this.#flags[row]! & STATIC) === 0 && now - this.#seen[row]! >= this.age;
  }

  #insert(ip: Int32Array): number {
    const row = this.#chains.insert(hashAddress(this.#tables, ip[0]!, ip[1]!, ip[2]!, ip[3]!));
    if (row !== NONE) for (let i = 0; i < 4; i++) this.#address[row * 4 + i] = ip[i]!;
    return row;
  }

  #write(row: number, hi: number, lo: number, flags: number, now: number): void {
    this.#hi[row] = hi;
    this.#lo[row] = lo;
    this.#flags[row] = flags;
    this.#seen[row] = now;
  }

  #remove(row: number): void {
    const flags = this.#flags[row]!;
    if ((flags & STATIC) === 0) this.#learned[flags & LOCAL_SIDE]! -= 1;
    this.#flags[row] = 0;
    const a = this.#address;
    const at = row * 4;
    this.#chains.remove(hashAddress(this.#tables, a[at]!, a[at + 1]!, a[at + 2]!, a[at + 3]!), row);
  }
}

/** The four words of an address of either family, or null when the text is none. */
export function parseIp(text: string): Int32Array | null {
  const words = new Int32Array(4);
  const family = parseAddress(text, words, 0);
  if (family === 0) return null;
  return family === 6 ? words : Int32Array.of(0, 0, 0xffff, words[0]!);
}
