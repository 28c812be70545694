/**
 * The daemon's life, from config to exit code.
 *
 *   1 config       every error at once, exit 2
 *   2 privilege    CAP_NET_ADMIN, exit 77
 *   3 directory    claimed: one daemon in each; with --take-over from the one that runs there, when all below is known to fit
 *   4 host         snapshot, compile, preflight; nothing is changed so far
 *   5 ears         API and metrics
 *   6 router       TUN, workers, steering; "ready", to systemd too
 *   7 until        SIGTERM, SIGINT or the API: everything is put back; SIGUSR2 or `stop --keep`: handed over
 *
 * Where an earlier run left its data plane's state, packets flow before step 1 (resume.ts): then 3 is done, and 6 joins what runs.
 * A hand-over is the other way round: the ears close first, and packets flow until the last moment.
 *
 * SIGHUP reloads. A bug that throws in the control plane ends the process as it is, like a kill -9: flows and steering
 * wait for the next start, and nothing half-known is done to the kernel.
 */
import { rmdirSync } from 'node:fs';
import type { Worker } from 'node:worker_threads';
import { loadConfig } from './config.js';
import { Daemon, describe } from './daemon.js';
import { queuesFor } from './data-plane.js';
import { formatErrors } from './errors.js';
import { giveBackMemory } from './garbage.js';
import { createLog, type Logger } from './log.js';
import { passesPreflight } from './preflight.js';
import { mayChangeNetwork } from './proc.js';
import { letGo, type Resumed } from './resume.js';
import { Router } from './router.js';
import { claimRuntimeDir, isMemoryBacked, type RuntimePaths } from './runtime-dir.js';
import type { ServiceManager } from './service-manager.js';
import { type Handed, takeOver } from './take-over.js';
import { packageVersion } from './version.js';

const FAILED = 1;
const BAD_CONFIG = 2;
const NO_PRIVILEGE = 77;

export interface DaemonOptions {
  readonly configFile: string;
  readonly paths: RuntimePaths;
  /** Ask a router that runs there to hand over, instead of refusing to start. */
  readonly takeOver?: boolean;
}

/** What was begun before this file was loaded. */
export interface Begun {
  readonly manager: ServiceManager;
  /** A worker's thread that loads its program; part of `resumed` where there is one. */
  readonly parked: Worker;
  readonly resumed: Resumed | null;
}

/** Runs until it is stopped; resolves with the exit code. Says on stderr what went wrong. */
export async function live(options: DaemonOptions, begun: Begun): Promise<number> {
  const { configFile, paths } = options;
  const { resumed } = begun;
  let router: Router | undefined;
  let release = resumed?.release;
  try {
    const loaded = loadConfig(configFile, { temporary: paths.temporary });
    if ('errors' in loaded) {
      process.stderr.write(`${formatErrors(loaded.errors)}\n`);
      return BAD_CONFIG;
    }
    const { config } = loaded;
    const log = createLog(config.log.level, config.log.format);
    resumed?.log.handTo(log);
    if (!mayChangeNetwork()) {
      log.error(
        'CAP_NET_ADMIN is missing: run as root, or give it (setcap, AmbientCapabilities=, docker run --cap-add=NET_ADMIN)',
      );
      return NO_PRIVILEGE;
    }
    let handed: Handed | null = null;
    try {
      if (options.takeOver && !resumed) handed = await takeOver(paths, config, queuesFor(config), log);
      release ??= claimRuntimeDir(paths);
    } catch (error) {
      log.error((error as Error).message);
      return (error as NodeJS.ErrnoException).code === 'EACCES' ? NO_PRIVILEGE : FAILED;
    }
    process.on('uncaughtException', (error) => {
      log.fatal(
        { err: error },
        'bug in the control plane; flows and steering stay: "tungate up" goes on, "tungate clean" undoes',
      );
      process.exit(FAILED);
    });
    if (!isMemoryBacked(paths.dir)) {
      log.warn(`${paths.dir} is on a disk: its write-back can delay packets; a tmpfs like /run is the place for it`);
    }
    try {
      const { manager } = begun;
      const fdStore = {
        takeTunFds: () => handed?.fds ?? manager.takeTunFds(),
        storeTunFds: (fds: readonly number[]) => manager.storeTunFds(fds),
      };
      router = new Router({ paths, config, log, fdStore, parked: begun.parked, resumed });
      return await run(router, manager, log, handed !== null);
    } catch (error) {
      log.error(error instanceof Error ? error.message : String(error));
      log.debug({ err: error }, 'where it was');
      return FAILED;
    }
  } finally {
    // Refused before it was started: what was begun early ends, and all is as the last run left it.
    if (router === undefined && resumed) await letGo(resumed);
    else if (router?.phase === 'starting') await router.letGo();
    release?.();
    removeIfEmpty(paths.dir);
  }
}

/** Steps 4 to 7. `judged`: the checks were made before the other router ended. */
async function run(router: Router, manager: ServiceManager, log: Logger, judged: boolean): Promise<number> {
  for (const line of router.compiled.fatal) log.error(line);
  if (router.compiled.fatal.length > 0) return BAD_CONFIG;
  if (!judged && !(await passesPreflight(router, log))) return FAILED;
  let end: (keep: boolean) => void = () => {};
  const ended = new Promise<boolean>((resolve) => {
    end = resolve;
  });
  const daemon = new Daemon(router, log, packageVersion(), end, manager);
  const unhook = hookSignals(daemon, log, end);
  try {
    await daemon.listen();
    await router.start();
    log.info(`ready: ${describe(router)}`);
    manager.ready(() => daemon.health());
    giveBackMemory();
    const keep = await ended;
    manager.stopping(keep ? 'handing over' : 'putting the kernel back as it was');
    if (keep) await daemon.close();
    const failed = await router.stop(keep);
    for (const line of failed) log.error(`not put back: ${line} (tungate clean tries again)`);
    log.info(keep ? 'stopped; TUN, steering and flows stay for the next start' : 'stopped');
    return failed.length > 0 ? FAILED : 0;
  } finally {
    await daemon.close();
    unhook();
  }
}

function hookSignals(daemon: Daemon, log: Logger, end: (keep: boolean) => void): () => void {
  const handlers: readonly (readonly [NodeJS.Signals, () => void])[] = [
    ['SIGTERM', () => end(false)],
    ['SIGINT', () => end(false)],
    ['SIGUSR2', () => end(true)],
    // Refusals are logged where they happen.
    ['SIGHUP', () => void daemon.reload().catch(() => log.debug('SIGHUP: nothing changed'))],
  ];
  for (const [signal, handler] of handlers) process.on(signal, handler);
  return () => {
    for (const [signal, handler] of handlers) process.off(signal, handler);
  };
}

function removeIfEmpty(dir: string): void {
  try {
    rmdirSync(dir);
  } catch {
    // Something is left on purpose (a hand-over), or by somebody else.
  }
}
