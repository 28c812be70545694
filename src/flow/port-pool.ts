/**
 * The port pool: which outside ports are in use, one bitmap for each public address and protocol.
 *
 * Theory of operation. The plan says which ports are the pool's (`poolBits`, rebuilt at each plan); the file says which
 * ports some mapping holds (`used`, rebuilt from the mappings at start). A port is free when it is in the pool and not
 * used. A claim keeps the source port if it is free (RFC 4787 §4.2.1), else takes a random one (RFC 6056 algorithm 1:
 * random start among the pool's words, next free) of the same parity and on the same side of 1024, else any. Randomness is the kernel's CSPRNG,
 * drawn a block at a time.
 *
 * Every worker claims and releases, so what is counted stands in the file: the address's line holds, for each protocol, the
 * ports in use and a count of releases. A search that found nothing is not repeated before something was released: an
 * exhausted pool costs a refused packet one compare.
 */
import { randomFillSync } from 'node:crypto';
import { type Plan, PROTOS } from '../contract/plan.js';
import { BITMAP_ADDRESSES, BITMAP_WORDS } from '../contract/table-layout.js';

const WORDS = 2048;
const FIRST_BITMAP = 16;
/** Words of an address's line, behind the address itself: ports in use and releases so far, by protocol. */
const IN_USE = 1;
const RELEASES = 4;
const EVEN = 0x55555555;
/** Words of ports below 1024. */
const LOW_WORDS = 1024 / 32;

export class PortPool {
  readonly #words: Int32Array;
  /** Bits of the pool, by (slot · 3 + proto) · 2048. */
  readonly #pool = new Int32Array(BITMAP_ADDRESSES * PROTOS * WORDS);
  /** Words of the bitmap in which the pool has ports, and how many: all of them, and those below 1024. */
  readonly #poolWords = new Uint16Array(BITMAP_ADDRESSES * PROTOS * WORDS);
  readonly #wordCount = new Int32Array(BITMAP_ADDRESSES * PROTOS);
  readonly #lowCount = new Int32Array(BITMAP_ADDRESSES * PROTOS);
  /** RELEASES + 1 when a search last found nothing; 0 = not since the plan came. */
  readonly #exhausted = new Int32Array(BITMAP_ADDRESSES * PROTOS);
  readonly #size = new Int32Array(BITMAP_ADDRESSES * PROTOS);
  readonly #random = new Uint32Array(1024);
  #randomAt = 1024;
  /** Claims that could not keep the source port. */
  changed = 0;
  /** A source port below 1024 got a public one above, or the other way round (RFC 4787 REQ-3a wants this to be known). */
  sideChanged = false;

  constructor(buffer: ArrayBuffer, at: number) {
    this.#words = new Int32Array(buffer, at, BITMAP_ADDRESSES * BITMAP_WORDS);
  }

  /** Forgets every used port; the mappings are then marked again one by one. */
  clear(): void {
    this.#words.fill(0);
    this.#exhausted.fill(0);
    this.#size.fill(0);
    this.#pool.fill(0);
  }

  /**
   * Takes over a plan's pools. False when the plan has an address for which there is no bitmap left (more than 16 with
   * ports in use).
   */
  setPlan(plan: Pick<Plan, 'addresses'>): boolean {
    this.#pool.fill(0);
    this.#exhausted.fill(0);
    this.#size.fill(0);
    for (const { address, pool, poolSize } of plan.addresses) {
      const slot = this.#slotFor(address);
      if (slot < 0) return false;
      for (let proto = 0; proto < PROTOS; proto++) {
        const counter = slot * PROTOS + proto;
        this.#pool.set(pool[proto]!, counter * WORDS);
        this.#size[counter] = poolSize[proto]!;
        this.#listWords(counter);
      }
    }
    return true;
  }

  /** Marks a port that a mapping in the file holds. False when it is marked already, or the address has no bitmap. */
  markUsed(address: number, proto: number, port: number): boolean {
    const slot = this.#slotFor(address);
    if (slot < 0 || this.#isUsed(slot, proto, port)) return false;
    this.#take(slot, proto, port);
    return true;
  }

  /** Ports of the pool that nobody holds; counts them, not for the packet's way. */
  freeCount(address: number, proto: number): number {
    const slot = this.#find(address);
    if (slot < 0) return 0;
    const pool = (slot * PROTOS + proto) * WORDS;
    const used = this.#usedBase(slot, proto);
    let free = 0;
    for (let i = 0; i < WORDS; i++) {
      let bits = this.#pool[pool + i]! & ~this.#words[used + i]!;
      for (; bits !== 0; bits &= bits - 1) free++;
    }
    return free;
  }

  /** Ports that mappings hold, also those that are no longer in the pool. */
  usedCount(address: number, proto: number): number {
    const slot = this.#find(address);
    return slot < 0 ? 0 : this.#words[slot * BITMAP_WORDS + IN_USE + proto]!;
  }

  isUsed(address: number, proto: number, port: number): boolean {
    const slot = this.#find(address);
    return slot >= 0 && this.#isUsed(slot, proto, port);
  }

  size(address: number, proto: number): number {
    const slot = this.#find(address);
    return slot < 0 ? 0 : this.#size[slot * PROTOS + proto]!;
  }

  /** Claims a port of the pool for source port `wanted`. Returns −1 when none is free. */
  claim(address: number, proto: number, wanted: number, parity: boolean): number {
    const slot = this.#find(address);
    if (slot < 0) return -1;
    const counter = slot * PROTOS + proto;
    const releases = (this.#words[slot * BITMAP_WORDS + RELEASES + proto]! + 1) | 0;
    if (this.#exhausted[counter] === releases) return -1;
    let port = wanted;
    if (!this.#isFree(slot, proto, wanted)) {
      const classMask = parity ? (wanted & 1 ? EVEN << 1 : EVEN) : -1;
      const split = this.#lowCount[counter]!;
      const all = this.#wordCount[counter]!;
      const from = wanted < 1024 ? 0 : split;
      const to = wanted < 1024 ? split : all;
      port = this.#search(slot, proto, classMask, from, to);
      if (port < 0) port = this.#search(slot, proto, -1, from, to);
      if (port < 0 && all > to - from) this.sideChanged = true;
      if (port < 0) port = this.#search(slot, proto, classMask, 0, all);
      if (port < 0) port = this.#search(slot, proto, -1, 0, all);
      if (port < 0) {
        this.#exhausted[counter] = releases;
        return -1;
      }
      this.changed++;
    }
    this.#take(slot, proto, port);
    return port;
  }

  /** Of `count` ports from `first` on (multiples of 32): is one of the pool free? */
  hasFree(address: number, proto: number, first: number, count: number): boolean {
    const slot = this.#find(address);
    if (slot < 0) return false;
    const pool = (slot * PROTOS + proto) * WORDS;
    const used = this.#usedBase(slot, proto);
    for (let word = first >>> 5; word < (first + count) >>> 5; word++)
      if ((this.#pool[pool + word]! & ~this.#words[used + word]!) !== 0) return true;
    return false;
  }

  /** Lowest used one of `count` ports from `first` on, or −1. */
  firstUsed(address: number, proto: number, first: number, count: number): number {
    const slot = this.#find(address);
    if (slot < 0) return -1;
    const used = this.#usedBase(slot, proto);
    for (let word = first >>> 5; word < (first + count) >>> 5; word++) {
      const bits = this.#words[used + word]!;
      if (bits !== 0) return (word << 5) | (31 - Math.clz32(bits & -bits));
    }
    return -1;
  }

  countUsed(address: number, proto: number, first: number, count: number): number {
    const slot = this.#find(address);
    if (slot < 0) return 0;
    const used = this.#usedBase(slot, proto);
    let n = 0;
    for (let word = first >>> 5; word < (first + count) >>> 5; word++)
      for (let bits = this.#words[used + word]!; bits !== 0; bits &= bits - 1) n++;
    return n;
  }

  /** As `claim`, among `count` ports from `first` on. */
  claimWithin(address: number, proto: number, wanted: number, parity: boolean, first: number, count: number): number {
    const slot = this.#find(address);
    if (slot < 0) return -1;
    let port = wanted;
    if (wanted < first || wanted >= first + count || !this.#isFree(slot, proto, wanted)) {
      port = parity ? this.#searchWithin(slot, proto, wanted & 1 ? EVEN << 1 : EVEN, first, count) : -1;
      if (port < 0) port = this.#searchWithin(slot, proto, -1, first, count);
      if (port < 0) return -1;
      this.changed++;
    }
    this.#take(slot, proto, port);
    return port;
  }

  #searchWithin(slot: number, proto: number, mask: number, first: number, count: number): number {
    const pool = (slot * PROTOS + proto) * WORDS;
    const used = this.#usedBase(slot, proto);
    const span = count >>> 5;
    const start = this.random() % span;
    for (let i = 0; i < span; i++) {
      const word = (first >>> 5) + ((start + i) % span);
      const bits = this.#pool[pool + word]! & ~this.#words[used + word]! & mask;
      if (bits !== 0) return (word << 5) | this.#randomBit(bits);
    }
    return -1;
  }

  /** Claims exactly this port. False when it is not free. */
  claimExactly(address: number, proto: number, port: number): boolean {
    const slot = this.#find(address);
    if (slot < 0 || !this.#isFree(slot, proto, port)) return false;
    this.#take(slot, proto, port);
    return true;
  }

  /** A random port of the pool, free or not: endpoint-dependent flows share them. −1 for an empty pool. */
  randomPort(address: number, proto: number): number {
    const slot = this.#find(address);
    if (slot < 0 || this.#size[slot * PROTOS + proto] === 0) return -1;
    const base = (slot * PROTOS + proto) * WORDS;
    const word = this.#poolWords[base + (this.random() % this.#wordCount[slot * PROTOS + proto]!)]!;
    return (word << 5) | this.#randomBit(this.#pool[base + word]!);
  }

  inPool(address: number, proto: number, port: number): boolean {
    const slot = this.#find(address);
    return slot >= 0 && (this.#pool[(slot * PROTOS + proto) * WORDS + (port >>> 5)]! & (1 << (port & 31))) !== 0;
  }

  release(address: number, proto: number, port: number): void {
    const slot = this.#find(address);
    if (slot < 0) return;
    const at = this.#usedBase(slot, proto) + (port >>> 5);
    const bit = 1 << (port & 31);
    if ((this.#words[at]! & bit) === 0) return;
    this.#words[at]! &= ~bit;
    const line = slot * BITMAP_WORDS + proto;
    this.#words[line + IN_USE]!--;
    this.#words[line + RELEASES] = (this.#words[line + RELEASES]! + 1) | 0;
  }

  /** 32 random bits, unsigned. */
  random(): number {
    if (this.#randomAt === this.#random.length) {
      randomFillSync(this.#random);
      this.#randomAt = 0;
    }
    return this.#random[this.#randomAt++]!;
  }

  /**
   * A random start over all 65,536 ports would end at the pool's first free one whenever it fell beside the pool: most new
   * mappings would get neighbouring ports.
   */
  #listWords(counter: number): void {
    const base = counter * WORDS;
    let n = 0;
    let low = 0;
    for (let word = 0; word < WORDS; word++) {
      if (this.#pool[base + word] === 0) continue;
      this.#poolWords[base + n++] = word;
      if (word < LOW_WORDS) low = n;
    }
    this.#wordCount[counter] = n;
    this.#lowCount[counter] = low;
  }

  #isUsed(slot: number, proto: number, port: number): boolean {
    return (this.#words[this.#usedBase(slot, proto) + (port >>> 5)]! & (1 << (port & 31))) !== 0;
  }

  #isFree(slot: number, proto: number, port: number): boolean {
    const inPool = (this.#pool[(slot * PROTOS + proto) * WORDS + (port >>> 5)]! & (1 << (port & 31))) !== 0;
    return inPool && !this.#isUsed(slot, proto, port);
  }

  #take(slot: number, proto: number, port: number): void {
    this.#words[this.#usedBase(slot, proto) + (port >>> 5)]! |= 1 << (port & 31);
    this.#words[slot * BITMAP_WORDS + IN_USE + proto]!++;
  }

  /** First free port at or cyclically after a random one of the pool's words [from, to), of the bits in `mask`; −1 if none. */
  #search(slot: number, proto: number, mask: number, from: number, to: number): number {
    const pool = (slot * PROTOS + proto) * WORDS;
    const used = this.#usedBase(slot, proto);
    const span = to - from;
    if (span === 0) return -1;
    const start = this.random() % span;
    for (let i = 0; i < span; i++) {
      const word = this.#poolWords[pool + from + ((start + i) % span)]!;
      const bits = this.#pool[pool + word]! & ~this.#words[used + word]! & mask;
      if (bits !== 0) return (word << 5) | this.#randomBit(bits);
    }
    return -1;
  }

  /** Index of a set bit at or cyclically above a random position. */
  #randomBit(bits: number): number {
    const turn = this.random() & 31;
    const turned = turn === 0 ? bits : (bits >>> turn) | (bits << (32 - turn));
    return (31 - Math.clz32(turned & -turned) + turn) & 31;
  }

  #usedBase(slot: number, proto: number): number {
    return slot * BITMAP_WORDS + FIRST_BITMAP + proto * WORDS;
  }

  #find(address: number): number {
    for (let slot = 0; slot < BITMAP_ADDRESSES; slot++) if (this.#words[slot * BITMAP_WORDS] === address) return slot;
    return -1;
  }

  /** The address's slot; if it has none, an empty one or one whose address no longer has a used port. −1 when all are taken. */
  #slotFor(address: number): number {
    const words = this.#words;
    const known = this.#find(address);
    if (known >= 0) return known;
    for (let slot = 0; slot < BITMAP_ADDRESSES; slot++) {
      const at = slot * BITMAP_WORDS;
      if (this.#isPlanned(slot) || words[at + IN_USE] || words[at + IN_USE + 1] || words[at + IN_USE + 2]) continue;
      words[at] = address;
      return slot;
    }
    return -1;
  }

  #isPlanned(slot: number): boolean {
    const at = slot * PROTOS;
    return this.#size[at]! + this.#size[at + 1]! + this.#size[at + 2]! > 0;
  }
}
