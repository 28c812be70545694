/**
 * `tungate genkey`, `pubkey`, `genpsk`: WireGuard's keys, as wg(8) writes them: 32 bytes in base64. Secrets go by stdin and stdout only; no argument
 * and no environment variable ever holds one.
 */
import { createPrivateKey, createPublicKey, randomBytes } from 'node:crypto';
import { closeSync, fstatSync, openSync, readFileSync, writeSync } from 'node:fs';
import { CliError, Exit, type Options, print, talk } from './verb.js';

const KEY_BYTES = 32;
/** DER in front of 32 raw bytes (RFC 8410). */
const PKCS8 = Buffer.from('302e020100300506032b656e04220420', 'hex');

export function genkey(): number {
  const secret = randomBytes(KEY_BYTES);
  secret[0]! &= 248;
  secret[31] = (secret[31]! & 127) | 64;
  return give(secret);
}

export function genpsk(): number {
  return give(randomBytes(KEY_BYTES));
}

export function pubkey(_: Options, [file]: readonly string[]): number {
  const secret = readSecret(file);
  const key = createPrivateKey({ key: Buffer.concat([PKCS8, secret]), format: 'der', type: 'pkcs8' });
  secret.fill(0);
  const der = createPublicKey(key).export({ format: 'der', type: 'spki' });
  print(der.subarray(-KEY_BYTES).toString('base64'));
  return Exit.OK;
}

/** Prints a secret. A file that others may read is written all the same, as wg(8) does, with a warning. */
function give(secret: Buffer): number {
  const out = fstatSync(1);
  if (out.isFile() && (out.mode & 0o007) !== 0) {
    talk('Warning: writing to a world accessible file. Consider: umask 077, then try again.');
  }
  writeSync(1, `${secret.toString('base64')}\n`);
  secret.fill(0);
  return Exit.OK;
}

/** The private key in `file`, or on stdin. A file that others may read is refused: the key in it is no secret. */
function readSecret(file: string | undefined): Buffer {
  const fd = file === undefined ? 0 : openSync(file, 'r');
  try {
    const { mode } = fstatSync(fd);
    if (file !== undefined && (mode & 0o077) !== 0) {
      const octal = (mode & 0o777).toString(8).padStart(4, '0');
      throw new CliError(
        Exit.FAILED,
        `${file}: others may read this private key (mode ${octal}); run: chmod 600 ${file}`,
      );
    }
    const text = readFileSync(fd, 'latin1').trim();
    const secret = Buffer.from(text, 'base64');
    if (!/^[A-Za-z0-9+/]{43}=$/.test(text) || secret.length !== KEY_BYTES) {
      throw new CliError(
        Exit.FAILED,
        `${file ?? 'stdin'}: a private key is ${KEY_BYTES} bytes in base64, as "tungate genkey" prints it`,
      );
    }
    return secret;
  } finally {
    if (file !== undefined) closeSync(fd);
  }
}
