/**
 * Fragments without reassembly (RFC 4787 REQ-14, RFC 6146 §3.4): only a datagram's first fragment has ports.
 *
 * Theory of operation. When a first fragment has been decided (translated, punted or dropped), its datagram
 * (source, destination, id, protocol) is remembered with that decision, and later fragments follow it. A later fragment
 * that comes before the first waits in a bounded ring; when the first arrives they follow it in the order in which they
 * came.
 *
 * A datagram's known fragments are kept as intervals, so that one that overlaps an earlier one is told (RFC 1858, 5722):
 * it is dropped, and so is a plain duplicate, which its receiver does not miss. A first fragment of a datagram that is
 * complete begins a new one: senders reuse ids sooner than they should. INTERVALS separate pieces are kept: enough for 64 KB
 * in fragments of 600 bytes of which every second one comes first. What needs more at one time is out of luck.
 *
 * Bounds. KNOWN datagrams in sets of WAYS (the oldest of a set gives way) and HELD_BYTES of waiting fragments, HELD_SLOTS
 * at most (the oldest gives way, counted FRAGMENT_LIMIT). The two do not compete: a flood of fragments whose first never
 * comes shortens only the patience for other out-of-order fragments; datagrams in order do not notice. Everything is
 * forgotten after `timeouts.fragment` seconds (RFC 791: ≤ 30 s matter). A worker sees all fragments of a datagram: the
 * kernel picks the TUN queue by addresses where there are no ports.
 */
import { hashTuple } from './hash.js';

const SETS = 1024;
const WAYS = 4;
/**
 * Words of a known datagram: src, dst, id << 16 | proto, expires, handle + 1 (0: verdict only), generation, verdict, the id that
 * it leaves with, its length once the last fragment was seen, the number of its intervals and the intervals
 * (first << 16 | end, in units of 8 bytes).
 */
const KNOWN_WORDS = 64;
const NEW_ID = 7;
const TOTAL = 8;
const COUNT = 9;
const FIRST_INTERVAL = 10;
const INTERVALS = KNOWN_WORDS - FIRST_INTERVAL;
const HELD_SLOTS = 512;
const HELD_BYTES = 1 << 20;

export class Fragments {
  readonly #known = new Int32Array(SETS * WAYS * KNOWN_WORDS);
  readonly #hash: Int32Array;

  // Waiting fragments: a ring of slots whose bytes lie in a ring of bytes.
  readonly #heldKey = new Int32Array(HELD_SLOTS * 3);
  readonly #heldAt = new Int32Array(HELD_SLOTS);
  readonly #heldLen = new Int32Array(HELD_SLOTS);
  readonly #heldSince = new Int32Array(HELD_SLOTS);
  readonly #bytes = new Uint8Array(HELD_BYTES);
  #head = 0;
  #count = 0;
  #write = 0;
  /** Fragments that gave way to others, and that waited in vain, since the reader set these to 0. */
  evicted = 0;
  expired = 0;

  /** What `lookup` found. */
  handle = -1;
  generation = 0;
  verdict = 0;
  newId = 0;
  #at = 0;

  constructor(hash: Int32Array) {
    this.#hash = hash;
  }

  get held(): number {
    return this.#count;
  }

  /**
   * Remembers what became of a first fragment of `bytes` payload. `handle` −1: its verdict (punt, a drop) is what later ones
   * get. `newId`: the IP id that it left with.
   */
  remember(
    src: number,
    dst: number,
    idProto: number,
    handle: number,
    generation: number,
    verdict: number,
    until: number,
    newId: number,
    bytes: number,
  ): void {
    const known = this.#known;
    const set = this.#set(src, dst, idProto);
    let at = set;
    for (let way = 0; way < WAYS; way++) {
      const k = set + way * KNOWN_WORDS;
      if (known[k] === src && known[k + 1] === dst && known[k + 2] === idProto) {
        at = k;
        break;
      }
      if (known[k + 3]! < known[at + 3]!) at = k;
    }
    known[at] = src;
    known[at + 1] = dst;
    known[at + 2] = idProto;
    known[at + 3] = until;
    known[at + 4] = handle + 1;
    known[at + 5] = generation;
    known[at + 6] = verdict;
    known[at + NEW_ID] = newId;
    known[at + TOTAL] = 0;
    known[at + COUNT] = 1;
    known[at + FIRST_INTERVAL] = bytes >>> 3;
    this.#at = at;
  }

  /** Is this datagram's first fragment known? Then `handle`, `generation` and `verdict` say what became of it. */
  lookup(src: number, dst: number, idProto: number, now: number): boolean {
    const known = this.#known;
    const set = this.#set(src, dst, idProto);
    for (let at = set; at < set + WAYS * KNOWN_WORDS; at += KNOWN_WORDS) {
      if (known[at] !== src || known[at + 1] !== dst || known[at + 2] !== idProto || known[at + 3]! < now) continue;
      this.handle = known[at + 4]! - 1;
      this.generation = known[at + 5]!;
      this.verdict = known[at + 6]!;
      this.newId = known[at + NEW_ID]!;
      this.#at = at;
      return true;
    }
    return false;
  }

  /** Of the datagram last looked up: is every fragment known? */
  complete(): boolean {
    const known = this.#known;
    const total = known[this.#at + TOTAL]!;
    return (
      total !== 0 && known[this.#at + COUNT] === 1 && (known[this.#at + FIRST_INTERVAL]! & 0xffff) === (total + 7) >>> 3
    );
  }

  /**
   * Of the datagram last looked up or remembered: a further fragment holds bytes [from, from + bytes). False when it overlaps
   * what is known, contradicts the length, or is one piece too many; then nothing is changed.
   */
  cover(from: number, bytes: number, last: boolean): boolean {
    const known = this.#known;
    const at = this.#at;
    const first = from >>> 3;
    const end = (from + bytes + 7) >>> 3;
    const total = known[at + TOTAL]!;
    if (total !== 0 && (last || from + bytes > total)) return false;
    const base = at + FIRST_INTERVAL;
    const count = known[at + COUNT]!;
    let place = 0;
    while (place < count && known[base + place]! >>> 16 < first) place++;
    const joinsBefore = place > 0 && (known[base + place - 1]! & 0xffff) === first;
    if (place > 0 && (known[base + place - 1]! & 0xffff) > first) return false;
    if (place < count && (known[base + place]! >>> 16 < end || last)) return false;
    const joinsAfter = place < count && known[base + place]! >>> 16 === end;
    if (!joinsBefore && !joinsAfter && count === INTERVALS) return false;
    if (last) known[at + TOTAL] = from + bytes;
    if (joinsBefore && joinsAfter) {
      known[base + place - 1] = (known[base + place - 1]! & ~0xffff) | (known[base + place]! & 0xffff);
      known.copyWithin(base + place, base + place + 1, base + count);
      known[at + COUNT] = count - 1;
    } else if (joinsBefore) known[base + place - 1] = (known[base + place - 1]! & ~0xffff) | end;
    else if (joinsAfter) known[base + place] = (first << 16) | (known[base + place]! & 0xffff);
    else {
      known.copyWithin(base + place + 1, base + place, base + count);
      known[base + place] = (first << 16) | end;
      known[at + COUNT] = count + 1;
    }
    return true;
  }

  /** Keeps a copy of a later fragment until its first comes. `data[off…off+len)` is the packet from its IP header on. */
  hold(src: number, dst: number, idProto: number, data: Uint8Array, off: number, len: number, now: number): void {
    if (this.#write + len > HELD_BYTES) {
      // What lies between here and the end is the oldest there is; behind it the head would no longer be the next to meet.
      while (this.#count > 0 && this.#heldAt[this.#head]! >= this.#write) this.#evictHead();
      this.#write = 0;
    }
    while (this.#count > 0 && (this.#count === HELD_SLOTS || this.#overlapsHead(len))) this.#evictHead();
    const slot = (this.#head + this.#count) % HELD_SLOTS;
    this.#heldKey[slot * 3] = src;
    this.#heldKey[slot * 3 + 1] = dst;
    this.#heldKey[slot * 3 + 2] = idProto;
    this.#heldAt[slot] = this.#write;
    this.#heldLen[slot] = len;
    this.#heldSince[slot] = now;
    copy(data, off, this.#bytes, this.#write, len);
    this.#write += len;
    this.#count++;
  }

  /**
   * Next waiting fragment of this datagram at or behind ring position `from`; −1 when there is none. `take` reads it.
   */
  findHeld(src: number, dst: number, idProto: number, from: number): number {
    for (let i = from; i < this.#count; i++) {
      const slot = (this.#head + i) % HELD_SLOTS;
      if (this.#heldLen[slot] === 0) continue;
      const k = slot * 3;
      if (this.#heldKey[k] === src && this.#heldKey[k + 1] === dst && this.#heldKey[k + 2] === idProto) return i;
    }
    return -1;
  }

  heldLength(position: number): number {
    return this.#heldLen[(this.#head + position) % HELD_SLOTS]!;
  }

  /** Copies the fragment at a position of findHeld to `into[off…)` and forgets it. */
  take(position: number, into: Uint8Array, off: number): void {
    const slot = (this.#head + position) % HELD_SLOTS;
    const at = this.#heldAt[slot]!;
    copy(this.#bytes, at, into, off, this.#heldLen[slot]!);
    this.#heldLen[slot] = 0;
  }

  /** Forgets what has waited too long. */
  sweep(now: number, timeout: number): void {
    while (this.#count > 0) {
      const empty = this.#heldLen[this.#head] === 0;
      if (!empty && now - this.#heldSince[this.#head]! <= timeout) return;
      if (!empty) this.expired++;
      this.#dropHead();
    }
  }

  #evictHead(): void {
    if (this.#heldLen[this.#head]! > 0) this.evicted++;
    this.#dropHead();
  }

  #dropHead(): void {
    this.#heldLen[this.#head] = 0;
    this.#head = (this.#head + 1) % HELD_SLOTS;
    this.#count--;
  }

  /** Would `len` bytes at the write position run into the oldest fragment's bytes? */
  #overlapsHead(len: number): boolean {
    const at = this.#heldAt[this.#head]!;
    const end = this.#write + len;
    // Taken slots keep their place in the ring of bytes until they are the head.
    return at < end && at + Math.max(this.#heldLen[this.#head]!, 1) > this.#write;
  }

  #set(src: number, dst: number, idProto: number): number {
    return (hashTuple(this.#hash, src, dst, idProto, 0) & (SETS - 1)) * WAYS * KNOWN_WORDS;
  }
}

/** By bytes, because a subarray for `set` would be garbage for each fragment of a flood. */
function copy(from: Uint8Array, at: number, into: Uint8Array, to: number, bytes: number): void {
  for (let i = 0; i < bytes; i++) into[to + i] = from[at + i]!;
}
