/**
 * The configured remotes: the only ones that are heard, and the head-end list that broadcast, multicast and unknown unicast are copied to.
 *
 * A datagram is a remote's by its address alone: the source port is the flow's entropy. Split horizon needs no code: what comes from a remote is only ever
 * given to the TAP (vtep.ts has no other way out of `fromTunnel`), so in a full mesh every site hears a broadcast once.
 */
import { ENDPOINT_WORDS, Ep } from '../wireguard/endpoint.js';
import { Chains, hashAddress, hashTables, NONE, type Random, systemRandom } from './hash.js';

export const MAX_REMOTES = 1024;
const MAPPED = 0xffff;

/** Words of `Remotes.stats`, STAT_WORDS a remote. */
export const RemoteStat = { TX_FRAMES: 0, TX_BYTES: 1, RX_FRAMES: 2, RX_BYTES: 3 } as const;
export const STAT_WORDS = 4;

export class Remotes {
  readonly #chains: Chains;
  readonly #tables: Int32Array;
  readonly #address: Int32Array;
  readonly #used: Uint8Array;
  readonly #scratch = new Int32Array(4);
  /** ENDPOINT_WORDS words a remote: where its datagrams go. */
  readonly endpoints: Int32Array;
  readonly stats = new Float64Array(MAX_REMOTES * STAT_WORDS);
  /** The head-end list: the first `floods` are numbers of remotes. */
  readonly floodList = new Int32Array(MAX_REMOTES);
  floods = 0;

  constructor(random: Random = systemRandom) {
    this.#chains = new Chains(MAX_REMOTES);
    this.#tables = hashTables(16, random);
    this.#address = new Int32Array(MAX_REMOTES * 4);
    this.#used = new Uint8Array(MAX_REMOTES);
    this.endpoints = new Int32Array(MAX_REMOTES * ENDPOINT_WORDS);
  }

  get size(): number {
    return this.#chains.size;
  }

  /**
   * Adds a remote, or gives a known address another port. `flood`: it is on the head-end list. Returns its number, or −1 when there are MAX_REMOTES; a
   * number is given out again after `remove`.
   */
  add(endpoint: Int32Array, flood = true): number {
    let id = this.find(endpoint, 0);
    if (id === NONE) {
      id = this.#chains.insert(this.#normalized(endpoint, 0));
      if (id === NONE) return NONE;
      this.#address.set(this.#scratch, id * 4);
      this.#used[id] = 1;
      this.stats.fill(0, id * STAT_WORDS, (id + 1) * STAT_WORDS);
    }
    this.endpoints.set(endpoint.subarray(0, ENDPOINT_WORDS), id * ENDPOINT_WORDS);
    this.#unlist(id);
    if (flood) this.floodList[this.floods++] = id;
    return id;
  }

  /** Takes a remote out. What the tables know of it is the caller's business (Vtep.removeRemote). */
  remove(id: number): boolean {
    if (this.#used[id] !== 1) return false;
    this.#used[id] = 0;
    this.#unlist(id);
    const a = this.#address;
    const at = id * 4;
    this.#chains.remove(hashAddress(this.#tables, a[at]!, a[at + 1]!, a[at + 2]!, a[at + 3]!), id);
    return true;
  }

  /** Whose address the endpoint at words[off…] has: a remote's number, or −1. */
  find(words: Int32Array, off: number): number {
    const s = this.#scratch;
    const a = this.#address;
    let id = this.#chains.first(this.#normalized(words, off));
    for (; id !== NONE; id = this.#chains.next(id)) {
      const at = id * 4;
      if (a[at + 3] === s[3] && a[at] === s[0] && a[at + 1] === s[1] && a[at + 2] === s[2]) return id;
    }
    return NONE;
  }

  /** Numbers of all remotes. */
  *ids(): Generator<number> {
    for (let id = 0; id < MAX_REMOTES; id++) if (this.#used[id] === 1) yield id;
  }

  /** Four words of either family in #scratch, IPv4 as IPv4-mapped: a socket for both families says it so. Returns their hash. */
  #normalized(words: Int32Array, off: number): number {
    const s = this.#scratch;
    const four = words[off + Ep.FAMILY] !== 6;
    s[0] = four ? 0 : words[off + Ep.ADDRESS]!;
    s[1] = four ? 0 : words[off + Ep.ADDRESS + 1]!;
    s[2] = four ? MAPPED : words[off + Ep.ADDRESS + 2]!;
    s[3] = four ? words[off + Ep.ADDRESS]! : words[off + Ep.ADDRESS + 3]!;
    return hashAddress(this.#tables, s[0]!, s[1]!, s[2]!, s[3]!);
  }

  #unlist(id: number): void {
    const at = this.floodList.subarray(0, this.floods).indexOf(id);
    if (at < 0) return;
    this.floodList.copyWithin(at, at + 1, this.floods);
    this.floods--;
  }
}
