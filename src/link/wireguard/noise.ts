/**
 * The handshake: Noise_IKpsk2_25519_ChaChaPoly_BLAKE2s (Noise specification, revision 34; whitepaper, sections 5.4.2 to 5.4.5).
 *
 *     ← s                                  the initiator knows the responder's static key
 *     → e, es, s, ss     payload 1         an initiation: payload 1 is the timestamp
 *     ← e, ee, se, psk   payload 2         a response: payload 2 is empty
 *
 * Pure: (keys, ephemeral, bytes) → bytes. No clock, no randomness, no I/O, no message headers and no MACs: those are the device's. `chain` and
 * `hash` are the specification's ck and h. What a handshake knows is overwritten by `wipe`, and by its own end.
 *
 * The responder decides between `readInitiation`, which reveals who calls, and `readTimestamp`, which proves it: the device looks the key up in
 * between, so strangers cost two multiplications and no state.
 */

import { KEY_BYTES, TAG_BYTES } from './constants.js';
import { crypto, hash, kdf, nonceOf, publicKeyOf, wipe } from './crypto.js';

const CONSTRUCTION = new TextEncoder().encode('Noise_IKpsk2_25519_ChaChaPoly_BLAKE2s');
/** WireGuard's prologue. */
export const IDENTIFIER = new TextEncoder().encode('WireGuard v1 zx2c4 Jason@zx2c4.com');
const FIRST_CHAIN = hash(CONSTRUCTION);
/** Every AEAD key of the handshake is used once. */
const NONCE_ZERO = nonceOf(0, 0);

/** The other side made a message that only somebody without the right keys makes. Not an Error: forgeries are ordinary. */
export const REFUSED = null;

export interface Own {
  readonly secret: Uint8Array;
  readonly public: Uint8Array;
}

/** Keys of a session; whoever takes them over overwrites them. */
export interface SessionKeys {
  readonly send: Uint8Array;
  readonly receive: Uint8Array;
}

/** What both roles carry along: SymmetricState of the specification. */
class Symmetric {
  chain: Uint8Array = FIRST_CHAIN.slice();
  hash: Uint8Array;

  constructor(prologue: Uint8Array) {
    this.hash = hash(FIRST_CHAIN, prologue);
  }

  mixHash(bytes: Uint8Array): void {
    this.hash = hash(this.hash, bytes);
  }

  /** Goes on without a key: after `e` in a PSK handshake. */
  mixChain(input: Uint8Array): void {
    const [chain] = kdf(1, this.chain, input);
    this.#become(chain!);
  }

  /** mixChain of a shared secret; false: `theirs` is refused. */
  mixShared(secret: Uint8Array, theirs: Uint8Array): boolean {
    const shared = multiply(secret, theirs);
    if (shared === null) return false;
    this.mixChain(shared);
    wipe(shared);
    return true;
  }

  /** Returns a key for one message. */
  mixKey(input: Uint8Array): Uint8Array {
    const [chain, key] = kdf(2, this.chain, input);
    this.#become(chain!);
    return key!;
  }

  mixKeyAndHash(psk: Uint8Array): Uint8Array {
    const [chain, mixed, key] = kdf(3, this.chain, psk);
    this.#become(chain!);
    this.mixHash(mixed!);
    wipe(mixed!);
    return key!;
  }

  /** Encrypts `text` to out[off…), with its tag; `key` is overwritten. */
  seal(key: Uint8Array, text: Uint8Array, out: Uint8Array, off: number): void {
    out.set(text, off);
    crypto.seal(key, NONCE_ZERO, out, off, text.length, this.hash);
    wipe(key);
    this.mixHash(out.subarray(off, off + text.length + TAG_BYTES));
  }

  /** Decrypts `len` bytes and their tag at bytes[off…); null = forged. `key` is overwritten. */
  open(key: Uint8Array, bytes: Uint8Array, off: number, len: number): Uint8Array | null {
    const text = bytes.slice(off, off + len + TAG_BYTES);
    const good = crypto.open(key, NONCE_ZERO, text, 0, len, this.hash);
    wipe(key);
    if (!good) return null;
    this.mixHash(bytes.subarray(off, off + len + TAG_BYTES));
    return text.subarray(0, len);
  }

  /** Two keys: what the initiator sends with, what the responder sends with. */
  split(): [Uint8Array, Uint8Array] {
    const [first, second] = kdf(2, this.chain);
    return [first!, second!];
  }

  wipe(): void {
    wipe(this.chain);
    wipe(this.hash);
  }

  #become(chain: Uint8Array): void {
    wipe(this.chain);
    this.chain = chain;
  }
}

/** The shared secret, or null when the other key is refused. */
function multiply(secret: Uint8Array, other: Uint8Array): Uint8Array | null {
  const shared = new Uint8Array(KEY_BYTES);
  return crypto.x25519(shared, secret, other) ? shared : null;
}

/** DH of two static keys: computed once for a peer. Null: the peer's key has a low order and is refused. */
export function staticShared(own: Own, theirs: Uint8Array): Uint8Array | null {
  return multiply(own.secret, theirs);
}

/** The initiator between its message and the answer. */
export class Initiator {
  readonly #symmetric: Symmetric;
  readonly #ephemeral: Uint8Array;

  private constructor(symmetric: Symmetric, ephemeral: Uint8Array) {
    this.#symmetric = symmetric;
    this.#ephemeral = ephemeral;
  }

  /**
   * Writes e, s and payload 1 to out[off…off + 96 + payload.length). Takes `ephemeral` (a private key) over. Null: their key is refused.
   * `shared` is staticShared(own, theirs).
   */
  static start(
    own: Own,
    theirs: Uint8Array,
    shared: Uint8Array,
    ephemeral: Uint8Array,
    payload: Uint8Array,
    out: Uint8Array,
    off: number,
    prologue: Uint8Array = IDENTIFIER,
  ): Initiator | null {
    const symmetric = new Symmetric(prologue);
    symmetric.mixHash(theirs);
    const e = publicKeyOf(ephemeral);
    out.set(e, off);
    symmetric.mixHash(e);
    symmetric.mixChain(e);
    const es = multiply(ephemeral, theirs);
    if (es === null) {
      wipe(ephemeral);
      return REFUSED;
    }
    symmetric.seal(symmetric.mixKey(es), own.public, out, off + KEY_BYTES);
    wipe(es);
    symmetric.seal(symmetric.mixKey(shared), payload, out, off + 2 * KEY_BYTES + TAG_BYTES);
    return new Initiator(symmetric, ephemeral);
  }

  /**
   * Reads e and payload 2 (of `len` bytes without its tag) at bytes[off…). Null: forged, and the handshake goes on waiting, because anybody can send
   * rubbish. Otherwise it has ended.
   */
  finish(own: Own, psk: Uint8Array, bytes: Uint8Array, off: number, len = 0): Finished | null {
    const symmetric = copyOf(this.#symmetric);
    const e = bytes.slice(off, off + KEY_BYTES);
    symmetric.mixHash(e);
    symmetric.mixChain(e);
    // One low order refuses both: the point is the same.
    if (!symmetric.mixShared(this.#ephemeral, e) || !symmetric.mixShared(own.secret, e)) {
      symmetric.wipe();
      return REFUSED;
    }
    const payload = symmetric.open(symmetric.mixKeyAndHash(psk), bytes, off + KEY_BYTES, len);
    if (payload === null) {
      symmetric.wipe();
      return REFUSED;
    }
    const [send, receive] = symmetric.split();
    const handshakeHash = symmetric.hash.slice();
    symmetric.wipe();
    this.wipe();
    return { keys: { send, receive }, payload, handshakeHash };
  }

  wipe(): void {
    this.#symmetric.wipe();
    wipe(this.#ephemeral);
  }
}

export interface Finished {
  readonly keys: SessionKeys;
  readonly payload: Uint8Array;
  /** The specification's channel binding. */
  readonly handshakeHash: Uint8Array;
}

function copyOf(symmetric: Symmetric): Symmetric {
  const copy = new Symmetric(IDENTIFIER);
  copy.chain = symmetric.chain.slice();
  copy.hash = symmetric.hash.slice();
  return copy;
}

/** The responder between reading an initiation and answering it; it keeps nothing afterwards. */
export class Responder {
  readonly #symmetric: Symmetric;
  readonly #theirEphemeral: Uint8Array;

  private constructor(
    symmetric: Symmetric,
    theirEphemeral: Uint8Array,
    /** Who says to be calling; proven by readTimestamp. */
    readonly theirs: Uint8Array,
  ) {
    this.#symmetric = symmetric;
    this.#theirEphemeral = theirEphemeral;
  }

  /** Reads e and s at bytes[off…off+80). Null: not made for our public key. */
  static readInitiation(own: Own, bytes: Uint8Array, off: number, prologue: Uint8Array = IDENTIFIER): Responder | null {
    const symmetric = new Symmetric(prologue);
    symmetric.mixHash(own.public);
    const e = bytes.slice(off, off + KEY_BYTES);
    symmetric.mixHash(e);
    symmetric.mixChain(e);
    const es = multiply(own.secret, e);
    if (es === null) return REFUSED;
    const theirs = symmetric.open(symmetric.mixKey(es), bytes, off + KEY_BYTES, KEY_BYTES);
    wipe(es);
    if (theirs !== null) return new Responder(symmetric, e, theirs);
    symmetric.wipe();
    return REFUSED;
  }

  /** Payload 1, of `len` bytes without its tag, at bytes[off…). Null: whoever sent this does not hold `theirs`. */
  readPayload(shared: Uint8Array, bytes: Uint8Array, off: number, len: number): Uint8Array | null {
    return this.#symmetric.open(this.#symmetric.mixKey(shared), bytes, off, len);
  }

  /** Writes e and payload 2 to out[off…off + 48 + payload.length). Takes `ephemeral` over and ends the handshake. */
  answer(
    psk: Uint8Array,
    ephemeral: Uint8Array,
    out: Uint8Array,
    off: number,
    payload: Uint8Array = new Uint8Array(0),
  ): Finished | null {
    const symmetric = this.#symmetric;
    const e = publicKeyOf(ephemeral);
    out.set(e, off);
    symmetric.mixHash(e);
    symmetric.mixChain(e);
    const mixed = symmetric.mixShared(ephemeral, this.#theirEphemeral) && symmetric.mixShared(ephemeral, this.theirs);
    wipe(ephemeral);
    if (!mixed) {
      symmetric.wipe();
      return REFUSED;
    }
    symmetric.seal(symmetric.mixKeyAndHash(psk), payload, out, off + KEY_BYTES);
    const [receive, send] = symmetric.split();
    const handshakeHash = symmetric.hash.slice();
    symmetric.wipe();
    return { keys: { send, receive }, payload, handshakeHash };
  }

  wipe(): void {
    this.#symmetric.wipe();
  }
}
