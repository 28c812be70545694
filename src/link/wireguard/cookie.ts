/**
 * What keeps a flood of strangers cheap (whitepaper, sections 5.3 and 5.4.7).
 *
 * Theory of operation. Every handshake message carries mac1, keyed with the receiver's public key: whoever does not know that key gets no answer at
 * all, for the price of one hash. While handshakes come faster than `limit`, a message must also carry mac2, keyed with a cookie: the MAC of the
 * sender's address under a secret that changes every two minutes. One without it is answered with a cookie reply, which costs no multiplication and
 * makes no state, and reaches only whoever really has that address. Addresses so proven may each make 20 handshakes a second.
 *
 * Bounded: one secret and its predecessor's absence (an old cookie is asked for anew), and at most SOURCES addresses; when those are full, new
 * addresses wait.
 */
import { COOKIE_LIFE, COOKIE_REPLY_BYTES, KEY_BYTES } from './constants.js';
import { hash, mac, sameBytes, wipe, xopen, xseal } from './crypto.js';
import { Ep, REMOTE_BYTES, remoteBytes } from './endpoint.js';
import { CookieReply, MAC_BYTES, Message, mac1Offset } from './messages.js';

const MAC1_LABEL = new TextEncoder().encode('mac1----');
const COOKIE_LABEL = new TextEncoder().encode('cookie--');
const NONCE_BYTES = 24;
/** Random bytes are fetched for so many replies at once: a call for each would be half of a reply's price. */
const NONCES = 64;

export type Randomness = (bytes: Uint8Array) => void;

// -- the receiving side --

export class MacChecker {
  readonly #mac1Key: Uint8Array;
  readonly #cookieKey: Uint8Array;
  readonly #secret = new Uint8Array(KEY_BYTES);
  #secretMade = Number.NEGATIVE_INFINITY;
  readonly #scratch = new Uint8Array(MAC_BYTES);
  readonly #cookie = new Uint8Array(MAC_BYTES);
  readonly #remote = new Uint8Array(REMOTE_BYTES);
  readonly #nonces = new Uint8Array(NONCES * NONCE_BYTES);
  #nonce = NONCES;

  constructor(
    ownPublic: Uint8Array,
    readonly random: Randomness,
  ) {
    this.#mac1Key = hash(MAC1_LABEL, ownPublic);
    this.#cookieKey = hash(COOKIE_LABEL, ownPublic);
  }

  /** Of the handshake message bytes[off…off+len). */
  mac1Right(bytes: Uint8Array, off: number, len: number): boolean {
    const at = mac1Offset(len);
    mac(this.#scratch, this.#mac1Key, bytes, off, at);
    return this.#matches(bytes, off + at);
  }

  /** Does the message prove that its sender can be reached at `endpoint`? */
  mac2Right(bytes: Uint8Array, off: number, len: number, endpoint: Int32Array, epOff: number, now: number): boolean {
    if (now - this.#secretMade >= COOKIE_LIFE) return false;
    const at = len - MAC_BYTES;
    mac(this.#scratch, this.#cookieFor(endpoint, epOff), bytes, off, at);
    return this.#matches(bytes, off + at);
  }

  /** A cookie reply to that message. */
  reply(
    bytes: Uint8Array,
    off: number,
    len: number,
    receiver: number,
    endpoint: Int32Array,
    epOff: number,
    now: number,
  ): Uint8Array {
    if (now - this.#secretMade >= COOKIE_LIFE) {
      this.random(this.#secret);
      this.#secretMade = now;
    }
    const message = new Uint8Array(COOKIE_REPLY_BYTES);
    message[0] = Message.COOKIE_REPLY;
    for (let i = 0; i < 4; i++) message[CookieReply.RECEIVER + i] = receiver >>> (8 * i);
    if (this.#nonce === NONCES) {
      this.random(this.#nonces);
      this.#nonce = 0;
    }
    const nonce = this.#nonces.subarray(this.#nonce * NONCE_BYTES, ++this.#nonce * NONCE_BYTES);
    message.set(nonce, CookieReply.NONCE);
    message.set(this.#cookieFor(endpoint, epOff), CookieReply.COOKIE);
    const at = off + mac1Offset(len);
    const mac1 = bytes.subarray(at, at + MAC_BYTES);
    xseal(this.#cookieKey, nonce, message, CookieReply.COOKIE, MAC_BYTES, mac1);
    return message;
  }

  wipe(): void {
    wipe(this.#secret);
    this.#secretMade = Number.NEGATIVE_INFINITY;
  }

  #cookieFor(endpoint: Int32Array, epOff: number): Uint8Array {
    const length = remoteBytes(endpoint, epOff, this.#remote);
    mac(this.#cookie, this.#secret, this.#remote, 0, length);
    return this.#cookie;
  }

  #matches(bytes: Uint8Array, at: number): boolean {
    let different = 0;
    for (let i = 0; i < MAC_BYTES; i++) different |= bytes[at + i]! ^ this.#scratch[i]!;
    return different === 0;
  }
}

// -- the sending side --

/** Writes both MACs of messages to one peer, and keeps the cookie that it sent. */
export class MacMaker {
  readonly #mac1Key: Uint8Array;
  readonly #cookieKey: Uint8Array;
  readonly #lastMac1 = new Uint8Array(MAC_BYTES);
  #sent = false;
  readonly #cookie = new Uint8Array(MAC_BYTES);
  #cookieMade = Number.NEGATIVE_INFINITY;

  constructor(theirPublic: Uint8Array) {
    this.#mac1Key = hash(MAC1_LABEL, theirPublic);
    this.#cookieKey = hash(COOKIE_LABEL, theirPublic);
  }

  stamp(message: Uint8Array, now: number): void {
    const at = mac1Offset(message.length);
    const mac1 = message.subarray(at, at + MAC_BYTES);
    mac(mac1, this.#mac1Key, message, 0, at);
    this.#lastMac1.set(mac1);
    this.#sent = true;
    if (now - this.#cookieMade >= COOKIE_LIFE) return; // mac2 stays zero
    mac(message.subarray(at + MAC_BYTES), this.#cookie, message, 0, at + MAC_BYTES);
  }

  /** Takes the cookie of the reply bytes[off…off+64). False: forged, or not an answer to what was sent last. */
  take(bytes: Uint8Array, off: number, now: number): boolean {
    if (!this.#sent) return false;
    const nonce = bytes.slice(off + CookieReply.NONCE, off + CookieReply.NONCE + NONCE_BYTES);
    const sealed = bytes.slice(off + CookieReply.COOKIE, off + COOKIE_REPLY_BYTES);
    if (!xopen(this.#cookieKey, nonce, sealed, 0, MAC_BYTES, this.#lastMac1)) return false;
    this.#cookie.set(sealed.subarray(0, MAC_BYTES));
    wipe(sealed);
    this.#cookieMade = now;
    this.#sent = false; // one reply for one message
    return true;
  }

  /** For tests. */
  hasCookie(now: number): boolean {
    return now - this.#cookieMade < COOKIE_LIFE && !sameBytes(this.#cookie, new Uint8Array(MAC_BYTES));
  }
}

// -- load --

const WINDOW = 100;
/** Under load for at least so long, so that the answer does not flap with every window. */
const HOLD = 1000;

/** Are handshakes coming faster than they should be worked on? */
export class Load {
  #window = Number.NEGATIVE_INFINITY;
  #count = 0;
  #until = Number.NEGATIVE_INFINITY;

  /** `limit`: handshake messages a second. Each costs a quarter of a millisecond, so the default is a tenth of a core. */
  constructor(readonly limit = 400) {}

  /** Counts one message and answers. */
  arrived(now: number): boolean {
    if (now - this.#window >= WINDOW) {
      this.#window = now;
      this.#count = 0;
    }
    if (++this.#count > (this.limit * WINDOW) / 1000) this.#until = now + HOLD;
    return now < this.#until;
  }
}

const SOURCES = 4096;
const RATE = 20;
const BURST = 5;
/** A source that was silent for so long has all its tokens again and need not be remembered. */
const FORGET = (BURST / RATE) * 1000;

/** Handshakes a second and address, under load: 20, five at once. IPv6 counts by its /64. */
export class SourceRates {
  /** Source → [tokens, time of the last look]. */
  readonly #sources = new Map<number | string, [number, number]>();
  #swept = 0;

  allow(endpoint: Int32Array, off: number, now: number): boolean {
    const word = endpoint[off + Ep.ADDRESS]!;
    const key = endpoint[off + Ep.FAMILY] === 6 ? `${word}:${endpoint[off + Ep.ADDRESS + 1]}` : word;
    const found = this.#sources.get(key);
    if (found === undefined) {
      if (this.#sources.size >= SOURCES && !this.#sweep(now)) return false;
      this.#sources.set(key, [BURST - 1, now]);
      return true;
    }
    found[0] = Math.min(BURST, found[0] + ((now - found[1]) * RATE) / 1000);
    found[1] = now;
    if (found[0] < 1) return false;
    found[0] -= 1;
    return true;
  }

  get size(): number {
    return this.#sources.size;
  }

  /** At most once in FORGET: a full table must not cost a walk for each packet. */
  #sweep(now: number): boolean {
    if (now - this.#swept < FORGET) return false;
    this.#swept = now;
    for (const [key, [, seen]] of this.#sources) if (now - seen >= FORGET) this.#sources.delete(key);
    return this.#sources.size < SOURCES;
  }
}
