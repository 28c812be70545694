/**
 * Files that hold one secret key of WireGuard: 32 bytes in base64, as `tungate genkey` and `genpsk` print them. What is in them is read when
 * it is needed, given to whoever asked, and kept nowhere.
 */
import { createPrivateKey, createPublicKey } from 'node:crypto';
import { closeSync, constants, fstatSync, openSync, readFileSync } from 'node:fs';

export const KEY_BYTES = 32;
const OTHERS = 0o077;
/** A key is 45 bytes; whatever is much longer is something else, and not read. */
const MAX_BYTES = 4096;
/** DER in front of 32 raw bytes (RFC 8410). */
const PKCS8 = Buffer.from('302e020100300506032b656e04220420', 'hex');

export type KeyKind = 'private' | 'preshared';
const MAKER = { private: 'genkey', preshared: 'genpsk' } as const;

/** `message` says what is wrong with the file, and the remedy; never what is in it. */
export class KeyFileError extends Error {}

/** The key; the caller wipes it. Throws KeyFileError. */
export function readKeyFile(file: string, kind: KeyKind): Buffer {
  let fd: number;
  try {
    fd = openSync(file, constants.O_RDONLY | constants.O_NONBLOCK); // a pipe would be waited for
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    if (code === 'ENOENT')
      throw new KeyFileError(`${file}: there is no such file; make one: (umask 077; tungate ${MAKER[kind]} > ${file})`);
    throw new KeyFileError(
      `${file}: cannot be read: ${code === 'EACCES' ? 'permission denied; it must belong to the user that tungate runs as' : message}`,
    );
  }
  try {
    const { mode, size } = fstatSync(fd);
    if ((mode & constants.S_IFMT) !== constants.S_IFREG)
      throw new KeyFileError(`${file}: is not an ordinary file; a ${kind} key is kept in one`);
    if ((mode & OTHERS) !== 0) {
      const octal = (mode & 0o777).toString(8).padStart(4, '0');
      throw new KeyFileError(`${file}: others may read this ${kind} key (mode ${octal}); run: chmod 600 ${file}`);
    }
    return parseKeyText(size > MAX_BYTES ? Buffer.alloc(0) : readFileSync(fd), file, kind);
  } finally {
    closeSync(fd);
  }
}

/** `content` is wiped. Throws KeyFileError. */
export function parseKeyText(content: Buffer, from: string, kind: KeyKind): Buffer {
  const text = content.toString('latin1').trim();
  content.fill(0);
  const key = isKeyText(text) ? Buffer.from(text, 'base64') : null;
  if (key === null)
    throw new KeyFileError(
      `${from}: a ${kind} key is ${KEY_BYTES} bytes in base64, as "tungate ${MAKER[kind]}" prints it`,
    );
  return key;
}

/** 44 characters of base64 that stand for 32 bytes, and that those bytes are written as. */
export function isKeyText(text: string): boolean {
  return /^[A-Za-z0-9+/]{43}=$/.test(text) && Buffer.from(text, 'base64').toString('base64') === text;
}

/** Base64 of the public key that belongs to a private one (X25519). */
export function publicKeyText(secret: Buffer): string {
  const der = Buffer.concat([PKCS8, secret]);
  const key = createPrivateKey({ key: der, format: 'der', type: 'pkcs8' });
  der.fill(0);
  const spki = createPublicKey(key).export({ format: 'der', type: 'spki' });
  return spki.subarray(-KEY_BYTES).toString('base64');
}

export type KeyLook = { readonly publicKey: string } | { readonly problem: string };

/** What a config is judged by: the public half of a private key, '' for a preshared one, or what is wrong. */
export function lookAtKey(file: string, kind: KeyKind): KeyLook {
  try {
    const key = readKeyFile(file, kind);
    const publicKey = kind === 'private' ? publicKeyText(key) : '';
    key.fill(0);
    return { publicKey };
  } catch (error) {
    if (!(error instanceof KeyFileError)) throw error;
    return { problem: error.message };
  }
}
