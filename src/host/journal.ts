/**
 * The undo journal: everything that is changed in the kernel is written down here before it is changed.
 *
 * Theory of operation. One file (`RUNTIME_DIR/undo`), JSON lines, only ever appended to. The first line says for which
 * boot and network namespace it holds. Each further line is a change with what is needed to take it back, or the key of
 * a change that was taken back. Writing down comes first, so after a crash at any point the file knows at least what was
 * done, perhaps one change more; undoing a change that never happened must therefore do nothing, and every kind of
 * undo.ts looks at the kernel before it acts. A torn last line (killed within the write) belongs to a change that was
 * not made and is cut off. The file is on tmpfs: fsync would add nothing, a power loss undoes the kernel's state too.
 *
 * Changes have keys (what is changed). The same key again joins the first: the oldest "before" is the one to go back to,
 * every value ever written counts as ours. So a daemon that is started again after SIGKILL adopts the journal, and a
 * hundred reloads leave one change a key.
 *
 * A journal of another boot means nothing any more and is started anew; so is one of a network namespace that no longer
 * exists (a container that was restarted). One of another living namespace is refused: undoing there would miss.
 */
import {
  closeSync,
  existsSync,
  fstatSync,
  ftruncateSync,
  openSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  renameSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { forgetUnresolved } from './neighbour.js';
import { Netlink } from './netlink.js';
import { lanIndexes, type Undone, undoChange } from './undo.js';

export type Change =
  /** `path` below /proc/sys. With `interface` and `index`: valid for this very device only. */
  | {
      readonly kind: 'sysctl';
      readonly path: string;
      readonly before: string;
      readonly after: readonly string[];
      readonly interface?: string;
      readonly index?: number;
    }
  /** Ports that are in net.ipv4.ip_local_reserved_ports by us; what others add to it or take out is theirs. */
  | { readonly kind: 'reserved-ports'; readonly ours: string }
  /** An address that was added; `address` in dotted form, or IPv6 as text. */
  | {
      readonly kind: 'address';
      readonly interface: string;
      readonly index: number;
      readonly address: string;
      readonly length: number;
    }
  /** A route to a network behind a site link; `destination` in dotted form, or IPv6 as text. */
  | {
      readonly kind: 'route';
      readonly interface: string;
      readonly index: number;
      readonly destination: string;
      readonly length: number;
    }
  /** A socket's file where other programs look for it; one made there since is another inode. */
  | { readonly kind: 'socket'; readonly path: string; readonly inode: number }
  /** A TUN that was made persistent. */
  | { readonly kind: 'link'; readonly interface: string; readonly index: number }
  /** Settings of a device that was there before. */
  | {
      readonly kind: 'link-settings';
      readonly interface: string;
      readonly index: number;
      readonly before: { readonly up: boolean; readonly mtu: number; readonly txqueuelen: number };
    }
  /** A clsact qdisc that was created (one that was there is never noted). */
  | { readonly kind: 'qdisc'; readonly interface: string; readonly index: number }
  /** A filter of ours. Replacing it in place is no new change. `classifier`: 'bpf'. */
  | {
      readonly kind: 'filter';
      readonly interface: string;
      readonly index: number;
      readonly parent: number;
      readonly priority: number;
      readonly protocol: number;
      readonly handle: number;
      readonly classifier: string;
    };

export interface UndoReport {
  /** Put back; in words. */
  readonly undone: readonly string[];
  /** Nothing to do: the device is gone, or somebody put it back already. */
  readonly gone: readonly string[];
  /** Somebody else has changed it since, so it was left as it is. */
  readonly left: readonly string[];
  /** Could not be put back (and stays in the journal for the next try). */
  readonly failed: readonly string[];
}

interface Header {
  readonly tungate: 1;
  readonly boot: string;
  readonly namespace: string;
}

export class Journal {
  readonly path: string;
  readonly #changes = new Map<string, Change>();
  #fd = -1;

  /** Opens `path`, or starts it. Throws when it belongs to another living network namespace. */
  constructor(path: string) {
    this.path = path;
    if (existsSync(path)) this.#read();
  }

  /** The journal that a daemon left behind, or undefined when there is none (nothing to undo). */
  static load(path: string): Journal | undefined {
    return existsSync(path) ? new Journal(path) : undefined;
  }

  /** What is still to be undone, oldest first. */
  get changes(): readonly Change[] {
    return [...this.#changes.values()];
  }

  /** True when this very thing is known as changed by us. */
  has(change: Change): boolean {
    return this.#changes.has(keyOf(change));
  }

  /** Call it BEFORE the change is made. Noting the same thing again is free. */
  note(change: Change): void {
    const key = keyOf(change);
    const known = this.#changes.get(key);
    const joined = known ? join(known, change) : change;
    if (known && JSON.stringify(known) === JSON.stringify(joined)) return;
    this.#append(joined);
    this.#changes.set(key, joined);
  }

  /** Call it AFTER the change was taken back by its maker (a filter that a reload removed). */
  forget(change: Change): void {
    const key = keyOf(change);
    if (!this.#changes.delete(key)) return;
    try {
      this.#append({ undone: key });
    } catch {
      // A full file system. The change stays in the file; whoever takes it back again finds that there is nothing to do.
    }
  }

  /** Takes one change back and forgets it; throws what the kernel says, and keeps it then. */
  undo(change: Change, nl: Netlink): Undone | undefined {
    const known = this.#changes.get(keyOf(change));
    if (!known) return undefined;
    const undone = undoChange(known, nl);
    this.forget(known);
    return undone;
  }

  /** Takes everything back, newest first, past all errors; removes the file when nothing is left to try. */
  undoAll(nl?: Netlink): UndoReport {
    const report = { undone: [] as string[], gone: [] as string[], left: [] as string[], failed: [] as string[] };
    const socket = nl ?? new Netlink();
    try {
      this.#hurryErrors(socket);
      // What fails once may succeed when the rest is gone.
      report.failed = this.#undoPass(socket, report);
      if (report.failed.length > 0) report.failed = this.#undoPass(socket, report);
    } finally {
      if (!nl) socket.close();
    }
    if (this.#changes.size === 0) this.#remove();
    return report;
  }

  /** Once through all that is left, newest first. Returns what failed. */
  #undoPass(nl: Netlink, report: Record<Undone['outcome'], string[]>): string[] {
    const failed: string[] = [];
    for (const change of this.changes.toReversed()) {
      try {
        // Its filter would look like a stranger's, for whom the qdisc stays.
        if (change.kind === 'qdisc' && this.changes.some((one) => one.kind === 'filter' && one.index === change.index))
          throw new Error(`clsact of ${change.interface} stays: a filter on it could not be deleted`);
        const { outcome, words } = undoChange(change, nl);
        report[outcome].push(words);
        this.forget(change);
      } catch (error) {
        failed.push(error instanceof Error ? error.message : String(error));
      }
    }
    return failed;
  }

  /** What the kernel has yet to say about VMs that do not answer, it says while the filters stand that catch it (REQ-41). */
  #hurryErrors(nl: Netlink): void {
    try {
      forgetUnresolved(nl, lanIndexes(this.changes));
    } catch {
      // Nothing of ours is left by it.
    }
  }

  /** Ends writing; the file stays (a hand-over). */
  close(): void {
    if (this.#fd >= 0) closeSync(this.#fd);
    this.#fd = -1;
  }

  #read(): void {
    const content = readFileSync(this.path);
    const end = content.lastIndexOf(0x0a) + 1;
    const lines = content
      .toString('utf8', 0, end)
      .split('\n')
      .filter((line) => line !== '');
    // Killed within the header: nothing can have been changed yet.
    const header = lines.length > 0 ? parseHeader(lines[0]!, this.path) : undefined;
    const ours = header?.boot === bootId() && header.namespace === namespaceId();
    if (!ours) {
      if (header?.boot === bootId() && namespaceLives(header.namespace)) throw this.#elsewhere(header.namespace);
      this.#remove();
      return;
    }
    lines.slice(1).forEach((line, i) => {
      this.#apply(line, i + 2);
    });
    if (end < content.length) truncateSync(this.path, end);
    if (lines.length > 1000 + 4 * this.#changes.size) this.#rewrite();
  }

  #elsewhere(namespace: string): Error {
    return new Error(
      `${this.path} was written in another network namespace (${namespace}; this one is ${namespaceId()}): ` +
        'run this command there (nsenter --net=/proc/PID/ns/net tungate …), or use another --runtime-dir',
    );
  }

  #apply(line: string, number: number): void {
    let entry: Change | { readonly undone: string };
    try {
      entry = JSON.parse(line);
    } catch (cause) {
      throw new Error(
        `${this.path}:${number}: not a line of an undo journal; look at the file, mend or delete that line, and run again`,
        { cause },
      );
    }
    if ('undone' in entry) this.#changes.delete(entry.undone);
    else this.#changes.set(keyOf(entry), entry);
  }

  #append(line: Change | { readonly undone: string }): void {
    if (this.#fd < 0) {
      this.#fd = openSync(this.path, 'a', 0o600);
      if (fstatSync(this.#fd).size === 0) writeLine(this.#fd, newHeader());
    }
    writeLine(this.#fd, line);
  }

  /** A long life leaves many lines; the changes alone are few. */
  #rewrite(): void {
    const fresh = `${this.path}.new`;
    const lines = [newHeader(), ...this.#changes.values()].map((line) => `${JSON.stringify(line)}\n`);
    writeFileSync(fresh, lines.join(''), { mode: 0o600 });
    renameSync(fresh, this.path);
  }

  #remove(): void {
    this.close();
    this.#changes.clear();
    rmSync(this.path, { force: true });
  }
}

/** What is changed: two changes with one key are the same thing changed twice. */
function keyOf(change: Change): string {
  switch (change.kind) {
    case 'sysctl':
      return `sysctl ${change.path} ${change.index ?? ''}`;
    case 'reserved-ports':
      return 'reserved-ports';
    case 'address':
      return `address ${change.index} ${change.address}/${change.length}`;
    case 'route':
      return `route ${change.index} ${change.destination}/${change.length}`;
    case 'socket':
      return `socket ${change.path}`;
    case 'filter':
      return `filter ${change.index} ${change.parent} ${change.priority} ${change.protocol} ${change.handle}`;
    default:
      return `${change.kind} ${change.interface} ${change.index}`;
  }
}

/** A sysctl: the older "before", all of "after". Ports and sockets: what is ours now. Anything else stays as it was noted first. */
function join(known: Change, again: Change): Change {
  if (again.kind === 'reserved-ports' || again.kind === 'socket') return again;
  if (known.kind !== 'sysctl' || again.kind !== 'sysctl') return known;
  return { ...known, after: [...new Set([...known.after, ...again.after])] };
}

/** A line is written whole or not at all: half a line on a full tmpfs would swallow the next one. */
function writeLine(fd: number, line: object): void {
  const bytes = Buffer.from(`${JSON.stringify(line)}\n`);
  const { size } = fstatSync(fd);
  if (writeSync(fd, bytes) === bytes.length) return;
  ftruncateSync(fd, size);
  throw new Error('the undo journal cannot be written: its file system is full; nothing was changed');
}

function parseHeader(line: string, path: string): Header {
  let header: Partial<Header> = {};
  try {
    header = JSON.parse(line);
  } catch {
    // Said below.
  }
  if (header.tungate === 1 && header.boot && header.namespace) return header as Header;
  throw new Error(`${path}:1: not an undo journal of this program; use another --runtime-dir, or delete the file`);
}

function newHeader(): Header {
  return { tungate: 1, boot: bootId(), namespace: namespaceId() };
}

function bootId(): string {
  return readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim();
}

/** `net:[4026531840]` of this process. */
function namespaceId(): string {
  return readlinkSync('/proc/self/ns/net');
}

/** A namespace lives while a process is in it, or a name (`ip netns`) holds it. As far as can be seen from here. */
function namespaceLives(id: string): boolean {
  const inode = Number(/\d+/.exec(id)?.[0]);
  const named = list('/run/netns').some((name) => attempt(() => statSync(`/run/netns/${name}`).ino) === inode);
  if (named) return true;
  const pids = list('/proc').filter((name) => /^\d+$/.test(name));
  return pids.some((pid) => attempt(() => readlinkSync(`/proc/${pid}/ns/net`)) === id);
}

function list(folder: string): string[] {
  return attempt(() => readdirSync(folder)) ?? [];
}

/** Processes end and names vanish while one looks. */
function attempt<T>(look: () => T): T | undefined {
  try {
    return look();
  } catch {
    return undefined;
  }
}
