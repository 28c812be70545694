/**
 * Going on at once: after a crash or a hand-over the runtime directory holds all that is needed to forward packets (table, TUN,
 * steering, and the plan that was in force), so a start does that first, and reads and judges the config beside it.
 *
 * Theory of operation. Each plan that comes into force is written down beside the table, with a digest of the config files that
 * it was made from. A start that finds the journal of a run that ended without undoing, and a plan of this very program
 * and of these very files, claims the directory, opens the TUN and gives the plan to its workers; TUN and filters are as
 * they were, so packets flow. The rest of the start (life.ts) then goes its ordinary way: config, checks, compile. It meets
 * workers that run already, and brings them what is another now, as a reload would.
 *
 * Whatever does not fit is no error here: the ordinary start follows, with the time it takes, and says what is wrong. So does one
 * that is refused (a config that no longer fits the host): the workers end, and everything is as the last run left it.
 */
import { createHash } from 'node:crypto';
import {
  closeSync,
  constants,
  fstatSync,
  lstatSync,
  openSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { deserialize, serialize } from 'node:v8';
import type { Worker } from 'node:worker_threads';
import type { Plan } from '../contract/plan.js';
import { tableLayout } from '../contract/table-layout.js';
import { EarlyLog } from './early-log.js';
import { configDigest } from './files.js';
import { KernelHold } from './kernel-hold.js';
import { readMemory } from './memory.js';
import { mayChangeNetwork } from './proc.js';
import { claimRuntimeDir, ownerOf, type RuntimePaths } from './runtime-dir.js';
import { packageVersion } from './version.js';
import { WorkerSet } from './workers.js';

/** What is written down of a plan that is in force. */
export interface PlanRecord {
  /** Which build of this program. */
  readonly program: string;
  readonly config: string;
  readonly digest: string;
  readonly tun: string;
  readonly queues: number;
  readonly flows: number;
  readonly tunAddresses: readonly number[];
  readonly plan: Plan;
}

/** Plans of another build may have another shape. */
function thisProgram(): string {
  return `${packageVersion()} ${statSync(new URL(import.meta.url)).mtimeMs}`;
}

const SHA_BYTES = 32;
/** A plan of 16 addresses and 65,535 forwards is a tenth of it. */
const MAX_PLAN_BYTES = 64 * 1024 * 1024;
const WRITABLE_BY_OTHERS = 0o022;

const sha = (bytes: Uint8Array) => createHash('sha256').update(bytes).digest();

/** By rename: a crash leaves the old one or the new one. */
export function writePlan(
  { plan: file, temporary }: RuntimePaths,
  config: string,
  record: Omit<PlanRecord, 'program' | 'config' | 'digest'>,
): void {
  const digest = configDigest(config, temporary);
  const bytes = serialize({ program: thisProgram(), config, digest, ...record } satisfies PlanRecord);
  const draft = `${file}.new`;
  rmSync(draft, { force: true }); // of a start that was killed here, or a link that somebody laid
  try {
    writeFileSync(draft, Buffer.concat([sha(bytes), bytes]), { mode: 0o640, flag: 'wx' });
    renameSync(draft, file);
  } catch (error) {
    rmSync(draft, { force: true });
    throw error;
  }
}

/** The next start goes the ordinary way. */
export function forgetPlan({ plan }: RuntimePaths): void {
  rmSync(plan, { force: true });
}

/**
 * The file's content, if nobody but the user of this process can have written it: what is in it is obeyed before anything is
 * checked, and Node's deserializer is not made for strangers' bytes. A sum is no seal.
 */
function readOwn(file: string): Buffer | null {
  const fd = openSync(file, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK); // a pipe would be waited for
  try {
    const stat = fstatSync(fd);
    const own = stat.isFile() && stat.uid === process.geteuid!() && (stat.mode & WRITABLE_BY_OTHERS) === 0;
    return own && stat.size > SHA_BYTES && stat.size <= MAX_PLAN_BYTES ? readFileSync(fd) : null;
  } finally {
    closeSync(fd);
  }
}

/** Null: there is none, or it is not whole, or it belongs to another user, program, or other files. */
export function readPlan({ plan: file, temporary, memory }: RuntimePaths, config: string): PlanRecord | null {
  try {
    const content = readOwn(file);
    const bytes = content?.subarray(SHA_BYTES);
    if (!content || !bytes || !sha(bytes).equals(content.subarray(0, SHA_BYTES))) return null;
    const record = deserialize(bytes) as PlanRecord;
    const fits =
      record.program === thisProgram() &&
      record.config === config &&
      record.digest === configDigest(config, temporary) &&
      record.plan.generation === readMemory(memory)?.generation; // its numbers are those that the rows carry
    return fits ? record : null;
  } catch {
    return null;
  }
}

/** A table that was cut, or is something else, is named and replaced by the ordinary start. */
function isTable(file: string, flows: number): boolean {
  const there = lstatSync(file, { throwIfNoEntry: false });
  return there?.isFile() === true && there.size === tableLayout(flows).bytes;
}

/** A data plane that runs, and what the rest of the start needs of it. */
export interface Resumed {
  readonly record: PlanRecord;
  readonly hold: KernelHold;
  readonly workers: WorkerSet;
  /** Settles when packets flow, or when they cannot. */
  readonly started: Promise<void>;
  /** Why the TUN is gone, if it went away before anybody listened. */
  readonly lost: () => string | undefined;
  readonly log: EarlyLog;
  /** Gives the runtime directory back. */
  readonly release: () => void;
}

/** Ends what `resume` began; everything is as the last run left it. */
export async function letGo({ workers, hold }: Resumed): Promise<void> {
  await workers.stop();
  workers.close();
  hold.close();
}

/**
 * Null, and nothing is changed, where there is nothing to go on with. `takeStored`: gives queues of the TUN that were kept
 * open; they are the router's then.
 */
export function resume(
  paths: RuntimePaths,
  config: string,
  parked: Worker,
  takeStored: () => readonly number[],
): Resumed | null {
  const record = readPlan(paths, config);
  if (!record || !isTable(paths.flows, record.flows) || ownerOf(paths) !== null || !mayChangeNetwork()) return null;
  const log = new EarlyLog();
  const undo: (() => void)[] = [];
  let message: string | undefined;
  try {
    const release = claimRuntimeDir(paths);
    undo.push(release);
    const hold = new KernelHold(paths.undo, log);
    undo.push(() => hold.close());
    if (!hold.adopts) throw new Error('nothing was left');
    const { fds } = hold.openTun(record.tun, record.queues, record.tunAddresses, takeStored());
    const workers = new WorkerSet({
      tunFds: fds,
      tableFile: paths.flows,
      flows: record.flows,
      plan: record.plan,
      log,
      parked,
      onLinkLost: (why) => {
        message = why;
      },
    });
    const started = workers.start();
    started.catch(() => {}); // whoever waits for it is told
    return { record, hold, workers, started, lost: () => message, log, release };
  } catch {
    for (const act of undo.reverse()) act();
    return null;
  }
}
