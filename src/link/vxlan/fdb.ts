/**
 * The forwarding table: which MAC address is behind which remote, or on the TAP side.
 *
 * Theory of operation. A row is an address, its place (a remote's number, or LOCAL) and when it was last a source. Rows are made by configuration (static:
 * they neither age nor move, and win over what is learned) or learned from sources. The place LOCAL is learned as well: it keeps frames that the TAP side delivers
 * itself out of the tunnel, tells suppress.ts what not to answer, and makes a move between TAP and tunnel (a migration, or a loop) visible.
 *
 * Addresses are not told apart by VLAN: one table for the link, as in the Linux device.
 *
 * Bounded. `capacity` rows in all, of which each place may have learned `perPlace`: who floods with made-up sources fills its own share, and nobody else's live row is
 * ever evicted. What finds no room is refused and counted, and frames for it go to the head-end list, within storm control. The memory (30 bytes a row) is
 * made at the start.
 *
 * Ageing is lazy where it matters (a look-up never gives an old row) and eager in slices (`sweep`), so that room comes back without a pause.
 */
import { Chains, hashMac, hashTables, NONE, type Random, systemRandom } from './hash.js';

/** The place of addresses on the TAP side; remotes are 0, 1, … */
export const LOCAL = -1;
/** What `find` gives for an address that nobody has. */
export const UNKNOWN = -2;

export interface FdbOptions {
  /** Rows in all, static ones included. */
  readonly capacity?: number;
  /** Rows that may be learned for one place; default: half of all. */
  readonly perPlace?: number;
  /** Milliseconds after which a learned row that was no source is forgotten. */
  readonly age?: number;
  readonly random?: Random;
}

export interface FdbRow {
  readonly hi: number;
  readonly lo: number;
  readonly place: number;
  readonly fixed: boolean;
  /** When it was last a source. */
  readonly seen: number;
}

const FREE = 0;
const LEARNED = 1;
const STATIC = 2;

export class Fdb {
  readonly capacity: number;
  readonly perPlace: number;
  readonly age: number;
  readonly #chains: Chains;
  readonly #tables: Int32Array;
  readonly #hi: Uint16Array;
  readonly #lo: Int32Array;
  readonly #place: Int32Array;
  readonly #kind: Uint8Array;
  readonly #seen: Float64Array;
  /** Learned rows of each place: LOCAL first. */
  #learned = new Int32Array(8);
  #sweepAt = 0;

  /** Counters. */
  learned = 0;
  aged = 0;
  moves = 0;
  /** Of those, moves between the TAP side and a remote. */
  crossings = 0;
  refused = 0;

  constructor(options: FdbOptions = {}) {
    const capacity = options.capacity ?? 8192;
    this.capacity = capacity;
    this.perPlace = options.perPlace ?? Math.max(1, capacity >> 1);
    this.age = options.age ?? 300_000;
    this.#chains = new Chains(capacity);
    this.#tables = hashTables(6, options.random ?? systemRandom);
    this.#hi = new Uint16Array(capacity);
    this.#lo = new Int32Array(capacity);
    this.#place = new Int32Array(capacity);
    this.#kind = new Uint8Array(capacity);
    this.#seen = new Float64Array(capacity);
  }

  /** Rows, old ones that were not swept yet included. */
  get size(): number {
    return this.#chains.size;
  }

  /** The place of an address: a remote, LOCAL, or UNKNOWN. */
  find(hi: number, lo: number, now: number): number {
    const row = this.#row(hi, lo);
    if (row === NONE || this.#old(row, now)) return UNKNOWN;
    return this.#place[row]!;
  }

  /** An address was a source at `place`. False: a static row says that it is elsewhere, so it is not to be believed. */
  learn(hi: number, lo: number, place: number, now: number): boolean {
    const row = this.#row(hi, lo);
    if (row === NONE) {
      this.#add(hi, lo, place, LEARNED, now);
      return true;
    }
    if (this.#place[row] !== place) {
      if (this.#kind[row] === STATIC) return false;
      if (!this.#move(row, place, now)) return true;
    }
    this.#seen[row] = now;
    return true;
  }

  /** Where learning is off: false when a static row says that the address is elsewhere. */
  agrees(hi: number, lo: number, place: number): boolean {
    const row = this.#row(hi, lo);
    return row === NONE || this.#kind[row] !== STATIC || this.#place[row] === place;
  }

  /** Configures an address; what was learned about it is forgotten. False: the table is full. */
  setStatic(hi: number, lo: number, place: number): boolean {
    this.remove(hi, lo);
    return this.#add(hi, lo, place, STATIC, 0);
  }

  /** Forgets an address, static or learned. False: it was not there. */
  remove(hi: number, lo: number): boolean {
    const row = this.#row(hi, lo);
    if (row === NONE) return false;
    this.#remove(row);
    return true;
  }

  /** Forgets what is at a place (the remote was taken out of the configuration), static rows included. */
  removePlace(place: number): void {
    for (let row = 0; row < this.capacity; row++) {
      if (this.#kind[row] !== FREE && this.#place[row] === place) this.#remove(row);
    }
  }

  /** Removes old rows among the next `rows`; called over and over it visits all. */
  sweep(rows: number, now: number): void {
    for (let i = Math.min(rows, this.capacity); i > 0; i--) {
      const row = this.#sweepAt;
      this.#sweepAt = row + 1 < this.capacity ? row + 1 : 0;
      if (this.#kind[row] === LEARNED && this.#old(row, now)) this.#ageOut(row);
    }
  }

  /** Every live row, for people. */
  *rows(now: number): Generator<FdbRow> {
    for (let row = 0; row < this.capacity; row++) {
      if (this.#kind[row] === FREE || this.#old(row, now)) continue;
      const [hi, lo, place] = [this.#hi[row]!, this.#lo[row]!, this.#place[row]!];
      yield { hi, lo, place, fixed: this.#kind[row] === STATIC, seen: this.#seen[row]! };
    }
  }

  #row(hi: number, lo: number): number {
    let row = this.#chains.first(hashMac(this.#tables, hi, lo));
    while (row !== NONE && (this.#lo[row] !== lo || this.#hi[row] !== hi)) row = this.#chains.next(row);
    return row;
  }

  #old(row: number, now: number): boolean {
    return this.#kind[row] === LEARNED && now - this.#seen[row]! >= this.age;
  }

  #add(hi: number, lo: number, place: number, kind: number, now: number): boolean {
    if (kind === LEARNED && !this.#roomAt(place)) {
      this.refused++;
      return false;
    }
    const row = this.#chains.insert(hashMac(this.#tables, hi, lo));
    if (row === NONE) {
      this.refused++;
      return false;
    }
    this.#hi[row] = hi;
    this.#lo[row] = lo;
    this.#place[row] = place;
    this.#kind[row] = kind;
    this.#seen[row] = now;
    if (kind === LEARNED) {
      this.learned++;
      this.#count(place, 1);
    }
    return true;
  }

  /** A learned row goes to another place. False: that place has no room, so the row stays where it was. */
  #move(row: number, place: number, now: number): boolean {
    const from = this.#place[row]!;
    const wasOld = this.#old(row, now);
    if (!this.#roomAt(place)) {
      this.refused++;
      return false;
    }
    this.#count(from, -1);
    this.#count(place, 1);
    this.#place[row] = place;
    // An address that comes back elsewhere long after it was forgotten has not moved: it is new.
    if (wasOld) {
      this.aged++;
      this.learned++;
      return true;
    }
    this.moves++;
    if (from === LOCAL || place === LOCAL) this.crossings++;
    return true;
  }

  #ageOut(row: number): void {
    this.aged++;
    this.#remove(row);
  }

  #remove(row: number): void {
    if (this.#kind[row] === LEARNED) this.#count(this.#place[row]!, -1);
    this.#kind[row] = FREE;
    this.#chains.remove(hashMac(this.#tables, this.#hi[row]!, this.#lo[row]!), row);
  }

  #roomAt(place: number): boolean {
    return place + 1 >= this.#learned.length || this.#learned[place + 1]! < this.perPlace;
  }

  #count(place: number, change: number): void {
    if (place + 1 >= this.#learned.length) {
      const grown = new Int32Array(Math.max(place + 2, this.#learned.length * 2));
      grown.set(this.#learned);
      this.#learned = grown;
    }
    this.#learned[place + 1]! += change;
  }
}

/** Text of a MAC address. */
export function formatMac(hi: number, lo: number): string {
  const hex = (hi * 2 ** 32 + (lo >>> 0)).toString(16).padStart(12, '0');
  return hex.replace(/..(?!$)/g, '$&:');
}

/** The two words of a MAC address written as six bytes with colons, or null. */
export function parseMac(text: string): { readonly hi: number; readonly lo: number } | null {
  if (!/^[0-9a-f]{2}(:[0-9a-f]{2}){5}$/i.test(text)) return null;
  const hex = text.replaceAll(':', '');
  return { hi: Number.parseInt(hex.slice(0, 4), 16), lo: Number.parseInt(hex.slice(4), 16) | 0 };
}
