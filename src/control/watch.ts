/**
 * `watch: true`: reload when the config's files change.
 *
 * Theory of operation. Folders are watched, not files: an editor that writes a new file and renames it, or a volume whose
 * symbolic link is swapped, replaces the file that a watch on it would still look at. Any event in them only says "look"; what
 * counts is whether the content of the files that a load would read is another than the last one that was looked at. So
 * foreign files, touches, and edits that the router made itself cost one reading and nothing more. Looking waits until
 * QUIET_MS have passed without an event, so that a file that is being written is not read in the middle; a writer that never
 * rests is not waited for longer than LONGEST_MS.
 *
 * A folder that vanishes and comes back is watched again: the folder around it is watched too, and every look sets up the
 * watches that are missing.
 */
import { type FSWatcher, statSync, watch } from 'node:fs';
import { dirname, join } from 'node:path';
import { configDigest, OVERLAY_DIR } from './files.js';

const QUIET_MS = 300;
const LONGEST_MS = 3000;

interface Watched {
  readonly watcher: FSWatcher;
  /** A folder that was made again has another inode. */
  readonly inode: number;
}

export class ConfigWatch {
  readonly #main: string;
  readonly #changed: () => Promise<unknown>;
  readonly #watched = new Map<string, Watched>();
  #seen: string;
  #first = 0;
  #timer: NodeJS.Timeout | undefined;
  #closed = false;

  /** `changed` is called each time the content has become another; never again before its promise has settled. */
  constructor(main: string, changed: () => Promise<unknown>) {
    this.#main = main;
    this.#changed = changed;
    this.#seen = configDigest(this.#main);
    this.#setUp();
  }

  /** What is in the files now is known: a reload that somebody else asked for has read it. */
  known(): void {
    this.#seen = configDigest(this.#main);
  }

  close(): void {
    this.#closed = true;
    clearTimeout(this.#timer);
    for (const { watcher } of this.#watched.values()) watcher.close();
    this.#watched.clear();
  }

  #setUp(): void {
    const dir = dirname(this.#main);
    for (const folder of [dirname(dir), dir, join(dir, OVERLAY_DIR)]) {
      const inode = statSync(folder, { throwIfNoEntry: false })?.ino ?? 0;
      const old = this.#watched.get(folder);
      if (old?.inode === inode) continue;
      old?.watcher.close();
      this.#watched.delete(folder);
      if (inode === 0) continue;
      try {
        const watcher = watch(folder, { persistent: false }, () => this.#event());
        watcher.on('error', () => this.#event());
        this.#watched.set(folder, { watcher, inode });
      } catch {
        // It vanished in between, or the system has no watches left: what comes from the others is still seen.
      }
    }
  }

  #event(): void {
    if (this.#closed) return;
    const now = Date.now();
    if (this.#timer === undefined) this.#first = now;
    clearTimeout(this.#timer);
    const wait = Math.min(QUIET_MS, Math.max(0, this.#first + LONGEST_MS - now));
    this.#timer = setTimeout(() => void this.#look(), wait);
    this.#timer.unref();
  }

  async #look(): Promise<void> {
    this.#timer = undefined;
    this.#setUp();
    const digest = configDigest(this.#main);
    if (digest === this.#seen) return;
    this.#seen = digest;
    // A refusal is logged where it happens.
    await this.#changed().catch(() => {});
  }
}
