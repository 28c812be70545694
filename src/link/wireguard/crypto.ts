/**
 * The primitives: ChaCha20-Poly1305, X25519, BLAKE2s with its MAC and key derivation, XChaCha20-Poly1305 for cookies.
 *
 * Two ways, one suite: the addon calls the OpenSSL inside the Node binary (a sixth of the price of node:crypto for a packet); where that is
 * not to be had, node:crypto does the same work. BLAKE2s is the addon's own: mac1 and mac2 are keyed BLAKE2s of 16 bytes, which node:crypto
 * has not, and libraries in JavaScript cost four times as much on the one path that a flood of strangers can make us walk.
 */
import {
  createCipheriv,
  createDecipheriv,
  createPrivateKey,
  createPublicKey,
  diffieHellman,
  type KeyObject,
  timingSafeEqual,
} from 'node:crypto';
import { native } from '../../native.js';
import type { Columns } from './columns.js';
import { HEADER_BYTES, KEY_BYTES, NONCE_BYTES, OVERHEAD_BYTES, PADDING, TAG_BYTES } from './constants.js';

export interface Crypto {
  readonly name: string;
  /** X25519: the public key of `secret`, or with `other` the shared secret. False: `other` is refused (low order). */
  x25519(out: Uint8Array, secret: Uint8Array, other: Uint8Array | null): boolean;
  /** In place on bytes[off…off+len); the tag goes behind, `len` does not count it. */
  seal(key: Uint8Array, nonce: Uint8Array, bytes: Uint8Array, off: number, len: number, ad: Uint8Array | null): void;
  /** False: forged, and the bytes are rubbish. */
  open(key: Uint8Array, nonce: Uint8Array, bytes: Uint8Array, off: number, len: number, ad: Uint8Array | null): boolean;
  /** HChaCha20 (draft-irtf-cfrg-xchacha) of a nonce of 16 bytes. */
  hchacha20(key: Uint8Array, nonce: Uint8Array): Uint8Array;
  /** Columns 0…n, see columns.ts. Both return how many succeeded. */
  sealBatch(columns: Columns, n: number, keys: Uint8Array): number;
  openBatch(columns: Columns, n: number, keys: Uint8Array): number;
  /** Overwrites copies of keys that it may still hold. */
  forget(): void;
}

/** Why the fast way is closed, for the log; empty when it is open. */
export const cryptoProblem =
  native.cryptoMissing === ''
    ? ''
    : `this Node's OpenSSL does not offer ${native.cryptoMissing}: site links use node:crypto, which is several times slower; use a Node from nodejs.org`;

const nativeCrypto: Crypto = {
  name: 'openssl',
  x25519: native.x25519,
  seal(key, nonce, bytes, off, len, ad) {
    if (!native.aeadSeal(key, nonce, bytes, off, len, ad)) throw new Error('ChaCha20-Poly1305 failed');
  },
  open: native.aeadOpen,
  hchacha20(key, nonce) {
    const out = new Uint8Array(KEY_BYTES);
    if (!native.hchacha20(out, key, nonce)) throw new Error('ChaCha20 failed');
    return out;
  },
  sealBatch: (columns, n, keys) => native.aeadSealBatch(columns.id, n, keys),
  openBatch: (columns, n, keys) => native.aeadOpenBatch(columns.id, n, keys),
  forget: native.aeadForget,
};

// -- the slow way: what the addon does, readable --

/** DER in front of 32 raw bytes (RFC 8410). */
const PKCS8 = Buffer.from('302e020100300506032b656e04220420', 'hex');
const SPKI = Buffer.from('302a300506032b656e032100', 'hex');

function secretKey(raw: Uint8Array): KeyObject {
  const der = Buffer.concat([PKCS8, raw]);
  try {
    return createPrivateKey({ key: der, format: 'der', type: 'pkcs8' });
  } finally {
    der.fill(0);
  }
}

/** "expand 32-byte k", the constants of ChaCha20. */
const SIGMA = [0x61707865, 0x3320646e, 0x79622d32, 0x6b206574] as const;

const CIPHER = 'chacha20-poly1305';
const TAG = { authTagLength: TAG_BYTES };

export const slowCrypto: Crypto = {
  name: 'node:crypto',
  x25519(out, secret, other) {
    const mine = secretKey(secret);
    if (other === null) {
      out.set(createPublicKey(mine).export({ format: 'der', type: 'spki' }).subarray(SPKI.length));
      return true;
    }
    const theirs = createPublicKey({ key: Buffer.concat([SPKI, other]), format: 'der', type: 'spki' });
    try {
      const shared = diffieHellman({ privateKey: mine, publicKey: theirs });
      out.set(shared);
      shared.fill(0);
      return true;
    } catch {
      return false; // low order: the product is zero
    }
  },
  seal(key, nonce, bytes, off, len, ad) {
    const cipher = createCipheriv(CIPHER, key, nonce, TAG);
    if (ad !== null) cipher.setAAD(ad, { plaintextLength: len });
    bytes.set(cipher.update(bytes.subarray(off, off + len)), off);
    cipher.final();
    bytes.set(cipher.getAuthTag(), off + len);
  },
  open(key, nonce, bytes, off, len, ad) {
    const decipher = createDecipheriv(CIPHER, key, nonce, TAG);
    if (ad !== null) decipher.setAAD(ad, { plaintextLength: len });
    decipher.setAuthTag(bytes.subarray(off + len, off + len + TAG_BYTES));
    const text = decipher.update(bytes.subarray(off, off + len));
    try {
      decipher.final();
    } catch {
      return false;
    }
    bytes.set(text, off);
    return true;
  },
  hchacha20(key, nonce) {
    // The block function adds its input at the end; what matters of it, constants and nonce, is known and subtracted again.
    const block = createCipheriv('chacha20', key, nonce).update(new Uint8Array(BLOCK_BYTES));
    const from = new DataView(block.buffer, block.byteOffset, BLOCK_BYTES);
    const input = new DataView(nonce.buffer, nonce.byteOffset, 16);
    const out = new Uint8Array(KEY_BYTES);
    const to = new DataView(out.buffer);
    for (let i = 0; i < 4; i++) {
      to.setInt32(4 * i, from.getInt32(4 * i, true) - SIGMA[i]!, true);
      to.setInt32(16 + 4 * i, from.getInt32(48 + 4 * i, true) - input.getInt32(4 * i, true), true);
    }
    block.fill(0);
    return out;
  },
  sealBatch(c, n, keys) {
    let sealed = 0;
    for (let i = 0; i < Math.min(n, c.slots); i++) {
      const [from, off, len, pad] = [c.from[i]!, c.off[i]!, c.len[i]!, c.pad[i]!];
      c.len[i] = 0;
      const key = keyOf(keys, c.key[i]!);
      if (key === null || pad < 0 || pad >= PADDING || !inside(from, len, c.source.length)) continue;
      if (!inside(off, OVERHEAD_BYTES + len + pad, c.data.length)) continue;
      c.data.set(c.source.subarray(from, from + len), off + HEADER_BYTES);
      c.data.fill(0, off + HEADER_BYTES + len, off + HEADER_BYTES + len + pad);
      c.view.setUint32(off, 4, true);
      c.view.setInt32(off + 4, c.receiver[i]!, true);
      c.view.setInt32(off + 8, c.lo[i]!, true);
      c.view.setInt32(off + 12, c.hi[i]!, true);
      slowCrypto.seal(key, nonceOf(c.lo[i]!, c.hi[i]!), c.data, off + HEADER_BYTES, len + pad, null);
      c.len[i] = OVERHEAD_BYTES + len + pad;
      sealed++;
    }
    return sealed;
  },
  openBatch(c, n, keys) {
    let opened = 0;
    for (let i = 0; i < Math.min(n, c.slots); i++) {
      const [off, len] = [c.off[i]!, c.len[i]!];
      c.len[i] = -1;
      const key = keyOf(keys, c.key[i]!);
      if (key === null || len < OVERHEAD_BYTES || !inside(off, len, c.data.length)) continue;
      c.lo[i] = c.view.getInt32(off + 8, true);
      c.hi[i] = c.view.getInt32(off + 12, true);
      const nonce = nonceOf(c.lo[i]!, c.hi[i]!);
      if (!slowCrypto.open(key, nonce, c.data, off + HEADER_BYTES, len - OVERHEAD_BYTES, null)) continue;
      c.len[i] = len - OVERHEAD_BYTES;
      opened++;
    }
    return opened;
  },
  forget() {},
};

function inside(off: number, len: number, bytes: number): boolean {
  return off >= 0 && len >= 0 && off + len <= bytes;
}

function keyOf(keys: Uint8Array, slot: number): Uint8Array | null {
  return slot >= 0 && (slot + 1) * KEY_BYTES <= keys.length
    ? keys.subarray(slot * KEY_BYTES, (slot + 1) * KEY_BYTES)
    : null;
}

/** The nonce of a counter: 4 zero bytes, then 64 bits little endian. */
export function nonceOf(lo: number, hi: number): Uint8Array {
  const nonce = new Uint8Array(NONCE_BYTES);
  const view = new DataView(nonce.buffer);
  view.setInt32(4, lo, true);
  view.setInt32(8, hi, true);
  return nonce;
}

/** What everything uses. */
export const crypto: Crypto = native.cryptoMissing === '' ? nativeCrypto : slowCrypto;

// -- BLAKE2s: HASH, MAC, HMAC and KDF of the whitepaper --

const HASH_BYTES = 32;
const BLOCK_BYTES = 64;

/** HASH(parts…), 32 bytes. */
export function hash(...parts: readonly Uint8Array[]): Uint8Array {
  const out = new Uint8Array(HASH_BYTES);
  const all = parts.length === 1 ? parts[0]! : Buffer.concat(parts);
  native.blake2s(out, null, all, 0, all.length);
  return out;
}

/** MAC(key, bytes[off…off+len)): keyed BLAKE2s of out.length bytes (16 in WireGuard). */
export function mac(out: Uint8Array, key: Uint8Array, bytes: Uint8Array, off: number, len: number): void {
  native.blake2s(out, key, bytes, off, len);
}

/** HMAC-BLAKE2s (RFC 2104) of a key of at most 64 bytes. */
export function hmac(key: Uint8Array, text: Uint8Array): Uint8Array {
  const inner = new Uint8Array(BLOCK_BYTES + text.length).fill(0x36, 0, BLOCK_BYTES);
  const outer = new Uint8Array(BLOCK_BYTES + HASH_BYTES).fill(0x5c, 0, BLOCK_BYTES);
  for (let i = 0; i < key.length; i++) {
    inner[i]! ^= key[i]!;
    outer[i]! ^= key[i]!;
  }
  inner.set(text, BLOCK_BYTES);
  const out = new Uint8Array(HASH_BYTES);
  native.blake2s(out, null, inner, 0, inner.length);
  outer.set(out, BLOCK_BYTES);
  native.blake2s(out, null, outer, 0, outer.length);
  inner.fill(0);
  outer.fill(0);
  return out;
}

const EMPTY = new Uint8Array(0);

/** KDF_n (HKDF, RFC 5869, over HMAC-BLAKE2s): `n` keys of 32 bytes. */
export function kdf(n: number, chain: Uint8Array, input: Uint8Array = EMPTY): Uint8Array[] {
  const secret = hmac(chain, input);
  const keys: Uint8Array[] = [];
  let text = new Uint8Array([1]);
  for (let i = 1; i <= n; i++) {
    const key = hmac(secret, text);
    keys.push(key);
    wipe(text);
    text = new Uint8Array(HASH_BYTES + 1);
    text.set(key);
    text[HASH_BYTES] = i + 1;
  }
  wipe(text);
  wipe(secret);
  return keys;
}

// -- XChaCha20-Poly1305 (draft-irtf-cfrg-xchacha), for cookie replies --

/** In place, with a nonce of 24 bytes; the tag goes behind. */
export function xseal(key: Uint8Array, nonce: Uint8Array, bytes: Uint8Array, off: number, len: number, ad: Uint8Array) {
  const subkey = crypto.hchacha20(key, nonce.subarray(0, 16));
  crypto.seal(subkey, xnonce(nonce), bytes, off, len, ad);
  wipe(subkey);
}

/** False: forged. */
export function xopen(
  key: Uint8Array,
  nonce: Uint8Array,
  bytes: Uint8Array,
  off: number,
  len: number,
  ad: Uint8Array,
): boolean {
  const subkey = crypto.hchacha20(key, nonce.subarray(0, 16));
  const good = crypto.open(subkey, xnonce(nonce), bytes, off, len, ad);
  wipe(subkey);
  return good;
}

const xnonceBytes = new Uint8Array(NONCE_BYTES);

function xnonce(nonce: Uint8Array): Uint8Array {
  for (let i = 0; i < 8; i++) xnonceBytes[4 + i] = nonce[16 + i]!;
  return xnonceBytes;
}

// -- secrets --

export function wipe(secret: Uint8Array): void {
  secret.fill(0);
}

/** Equal, in a time that says nothing about where they differ. */
export function sameBytes(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length && timingSafeEqual(a, b);
}

/** A private key as X25519 takes it (RFC 7748, section 5); what `wg genkey` prints is already so. */
export function clamp(secret: Uint8Array): void {
  secret[0]! &= 248;
  secret[31] = (secret[31]! & 127) | 64;
}

export function publicKeyOf(secret: Uint8Array): Uint8Array {
  const out = new Uint8Array(KEY_BYTES);
  crypto.x25519(out, secret, null);
  return out;
}
