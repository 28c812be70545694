/**
 * The files that a config is made of, and how one of them is replaced.
 *
 *   /etc/tungate/tungate.yaml          the main file; every key
 *   /etc/tungate/conf.d/NAME.yaml      overlays in the order of their names: items for its lists, nothing else
 *   RUNTIME_DIR/NAME/temporary.yaml    an overlay that ends with the router
 *
 * Overlays are for programs: a tool that owns a file of its own need not edit somebody else's. `conf.d/90-tungate.yaml` is
 * the one that the router writes itself (`tungate forward`, `tungate block`).
 */
import { createHash } from 'node:crypto';
import {
  closeSync,
  existsSync,
  fchmodSync,
  fsyncSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeSync,
} from 'node:fs';
import { dirname, join } from 'node:path';

export interface Text {
  readonly file: string;
  readonly text: string;
}

export const OVERLAY_DIR = 'conf.d';
/** Where `link import` puts keys, beside the main file. */
export const KEY_DIR = 'keys';
const OWN = '90-tungate.yaml';

/** The overlay that the router writes what is to last into. */
export function ownOverlay(main: string): string {
  return join(dirname(main), OVERLAY_DIR, OWN);
}

/**
 * Overlays of a main file: those that are there, and those that `instead` would make. Files whose names begin with a dot
 * are an editor's business.
 */
export function overlayFiles(
  main: string,
  temporary?: string,
  instead: ReadonlyMap<string, string> = new Map(),
): string[] {
  const dir = join(dirname(main), OVERLAY_DIR);
  let names: string[] = [];
  try {
    names = readdirSync(dir).filter((name) => /^[^.].*\.ya?ml$/.test(name));
  } catch {
    // No folder, no overlays. One that cannot be read is as good as none: its owner keeps things from us.
  }
  const files = new Set(names.map((name) => join(dir, name)));
  for (const file of instead.keys()) if (dirname(file) === dir) files.add(file);
  const sorted = [...files].sort();
  if (temporary !== undefined && (instead.has(temporary) || isThere(temporary))) sorted.push(temporary);
  return sorted;
}

export function isThere(file: string): boolean {
  return statSync(file, { throwIfNoEntry: false }) !== undefined;
}

/** Tells one content of all files that a load would read from another. */
export function configDigest(main: string, temporary?: string): string {
  const hash = createHash('sha256');
  for (const file of [main, ...overlayFiles(main, temporary)]) {
    const text = readText(file);
    hash.update(`${file}\0${typeof text === 'string' ? text : text.unreadable}\0`);
  }
  return hash.digest('hex');
}

/** The text of a file, or why there is none. */
export function readText(file: string): string | { readonly unreadable: string } {
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(readFileSync(file));
  } catch (error) {
    return { unreadable: whyUnreadable(error) };
  }
}

function whyUnreadable(error: unknown): string {
  const { code, message } = error as NodeJS.ErrnoException;
  switch (code) {
    case 'ENOENT':
      return 'no such file; `tungate init` writes a config for this host to start from';
    case 'EACCES':
    case 'EPERM':
      return 'not permitted to read it; run as root or correct its mode';
    case 'EISDIR':
      return 'is a folder; name the file in it';
    case 'ERR_ENCODING_INVALID_ENCODED_DATA':
      return 'is not UTF-8 text';
    default:
      return `cannot be read: ${message}`;
  }
}

/** Why a file that a user named could not be written, and what to do. */
export function whyUnwritable(error: unknown, file: string): string {
  const { code, message } = error as NodeJS.ErrnoException;
  switch (code) {
    case 'ENOENT':
    case 'ENOTDIR':
      return existsSync(dirname(file))
        ? `no file can be made in ${dirname(file)} (${code}); name another place`
        : `there is no folder ${dirname(file)}; make it first`;
    case 'EISDIR':
      return 'is a folder; name the file in it';
    case 'EACCES':
    case 'EPERM':
    case 'EROFS':
      return `not permitted to write it (${code}); name another place`;
    case 'ENOSPC':
    case 'EDQUOT':
      return 'no space left; what was written so far is cut off';
    default:
      return `cannot be written: ${message}`;
  }
}

/**
 * Replaces a file as a whole: a crash or a full disk at any moment leaves the old one or the new one. Makes its folder.
 * The mode of a file that was there stays.
 */
export function replaceFile(file: string, content: string | Uint8Array, mode = 0o640): void {
  const dir = dirname(file);
  makeFolder(dir, 0o755);
  const draft = join(dir, `.${file.slice(dir.length + 1)}.${process.pid}.new`);
  const bytes = typeof content === 'string' ? Buffer.from(content) : content;
  const fd = openSync(draft, 'w', 0o600);
  try {
    for (let done = 0; done < bytes.length; ) done += writeSync(fd, bytes, done);
    fchmodSync(fd, (statSync(file, { throwIfNoEntry: false })?.mode ?? mode) & 0o777);
    fsyncSync(fd);
    renameSync(draft, file);
  } catch (error) {
    rmSync(draft, { force: true });
    throw error;
  } finally {
    closeSync(fd);
  }
  syncFolder(dir);
}

/**
 * Makes a folder and those above it that are missing. Not by mkdir's own `recursive`: below a folder in which the kernel lets nobody make one (/proc),
 * that tries for ever.
 */
export function makeFolder(dir: string, mode: number): void {
  try {
    mkdirSync(dir, { mode });
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'EEXIST' && statSync(dir).isDirectory()) return;
    if (code !== 'ENOENT' || existsSync(dirname(dir))) throw error;
    makeFolder(dirname(dir), mode);
    makeFolder(dir, mode);
  }
}

/** The rename itself lasts only when the folder is on disk. */
function syncFolder(dir: string): void {
  const fd = openSync(dir, 'r');
  try {
    fsyncSync(fd);
  } finally {
    closeSync(fd);
  }
}
