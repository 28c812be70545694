/**
 * The runtime directory of one daemon, and who owns it.
 *
 *   /run/tungate/NAME/   api.sock (the API)   flows (the flow table)   undo (the journal)   pid (the owner)
 *                        memory.json (rule and interface numbers that the flow table's rows carry)
 *                        plan (the plan in force, for a start that goes on at once)
 *                        temporary.yaml (forwards and blocks that are to end with the router)
 *
 * Two daemons in one directory would undo each other's kernel settings, so it is claimed first of all. The claim is the
 * file `pid`: "PID START", where START is the process' start time from /proc, because a number alone may belong to
 * somebody else after a crash. It appears by link(2) with its content in it: there is no moment in which it is empty.
 * A claim whose process is gone is stale and replaced; everything else in the directory stays for the next start.
 */
import { linkSync, readFileSync, renameSync, statfsSync, statSync, unlinkSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { makeFolder } from './files.js';

export const DEFAULT_RUNTIME_DIR = '/run/tungate';
export const DEFAULT_NAME = 'default';

export interface RuntimePaths {
  readonly name: string;
  readonly dir: string;
  readonly socket: string;
  readonly flows: string;
  readonly undo: string;
  readonly pid: string;
  /** Rule and interface numbers that the rows of `flows` carry. */
  readonly memory: string;
  /** The plan in force, see resume.ts. */
  readonly plan: string;
  /** Overlay of the config for what was asked for with --temporary. Gone with a plain stop. */
  readonly temporary: string;
}

/** sun_path holds 108 bytes, the last of them zero. */
const SOCKET_PATH_BYTES = 107;
const TMPFS_MAGIC = 0x0102_1994;
const RAMFS_MAGIC = 0x8584_58f6;

/** Paths for `name` under `base` (default: TUNGATE_RUNTIME_DIR, then /run/tungate). Throws on a name that is none. */
export function runtimePaths(base?: string, name: string = DEFAULT_NAME): RuntimePaths {
  if (!/^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/.test(name)) {
    throw new Error(`--name "${name}": allowed are letters, digits, ".", "_" and "-", at most 64 of them`);
  }
  const dir = join(resolve(base || process.env.TUNGATE_RUNTIME_DIR || DEFAULT_RUNTIME_DIR), name);
  const socket = join(dir, 'api.sock');
  if (Buffer.byteLength(socket) > SOCKET_PATH_BYTES) {
    throw new Error(
      `${socket}: a unix socket's path has at most ${SOCKET_PATH_BYTES} bytes; choose a shorter --runtime-dir`,
    );
  }
  return {
    name,
    dir,
    socket,
    flows: join(dir, 'flows'),
    undo: join(dir, 'undo'),
    pid: join(dir, 'pid'),
    memory: join(dir, 'memory.json'),
    plan: join(dir, 'plan'),
    temporary: join(dir, 'temporary.yaml'),
  };
}

/** The flow table must not wait for a disk: true when `dir` is on tmpfs. */
export function isMemoryBacked(dir: string): boolean {
  const { type } = statfsSync(dir);
  return type === TMPFS_MAGIC || type === RAMFS_MAGIC;
}

/** Start time of a process in clock ticks since boot, or null when there is none. */
function startTime(pid: number): string | null {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'latin1');
    // The second field is the program's name in parentheses and may hold anything; field 22 is counted from behind it.
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    // A zombie holds nothing any more.
    return fields[0] === 'Z' || fields[0] === 'X' ? null : (fields[19] ?? null);
  } catch {
    return null;
  }
}

/** Pid of the live owner of `paths`, or null. */
export function ownerOf(paths: RuntimePaths): number | null {
  let text: string;
  try {
    text = readFileSync(paths.pid, 'utf8');
  } catch {
    return null;
  }
  const [pid, start] = text.trim().split(' ');
  return pid && start && startTime(Number(pid)) === start ? Number(pid) : null;
}

const WRITABLE_BY_OTHERS = 0o022;

/**
 * Throws when others may write in the directory: what lies there is obeyed, by a start (flows, the plan) and by the undoing of a
 * crash (the journal names sysctls and their values).
 */
export function refuseOpenDir({ dir }: RuntimePaths): void {
  const mode = statSync(dir, { throwIfNoEntry: false })?.mode ?? 0;
  if ((mode & WRITABLE_BY_OTHERS) !== 0)
    throw new Error(
      `${dir}: others may write there (mode ${(mode & 0o7777).toString(8)}), and what lies there is obeyed: look what it is, then "chmod go-w ${dir}", or name another --runtime-dir`,
    );
}

/** Makes the directory and claims it. Returns the release. Throws when another daemon lives there. */
export function claimRuntimeDir(paths: RuntimePaths): () => void {
  try {
    makeFolder(paths.dir, 0o750);
  } catch (error) {
    throw new Error(`${paths.dir}: cannot be made (${(error as Error).message}); name another --runtime-dir`);
  }
  refuseOpenDir(paths);
  const mine = `${process.pid} ${startTime(process.pid)}\n`;
  const draft = `${paths.pid}.${process.pid}`;
  writeFileSync(draft, mine, { mode: 0o640 });
  try {
    for (let attempt = 0; attempt < 3; attempt++) {
      try {
        linkSync(draft, paths.pid);
        return () => {
          if (readText(paths.pid) === mine) unlinkSync(paths.pid);
        };
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
      }
      const owner = ownerOf(paths);
      if (owner !== null) {
        throw new Error(
          `a tungate with the name "${paths.name}" is already running here (pid ${owner}, ${paths.dir}): stop it first, or give this one another --name or --runtime-dir`,
        );
      }
      // Moved away, not deleted: of two starters only one gets the stale claim. Whoever finds that it has moved the
      // other's fresh one puts it back.
      const moved = `${draft}.stale`;
      try {
        renameSync(paths.pid, moved);
      } catch {
        continue;
      }
      if (ownerOf({ ...paths, pid: moved }) !== null) linkSync(moved, paths.pid);
      unlinkSync(moved);
    }
    throw new Error(`${paths.pid}: cannot be claimed, others start here at the same moment`);
  } finally {
    unlinkSync(draft);
  }
}

function readText(path: string): string | null {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return null;
  }
}
