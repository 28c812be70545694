/**
 * `tungate up`: the daemon's life, from config to exit code.
 *
 *   1 config       every error at once, exit 2
 *   2 privilege    CAP_NET_ADMIN, exit 77
 *   3 directory    claimed: one daemon in each; with --take-over from the one that runs there
 *   4 host         snapshot, compile, preflight; nothing is changed so far
 *   5 ears         API and metrics
 *   6 router       TUN, workers, steering; "ready", to systemd too
 *   7 until        SIGTERM, SIGINT or the API: everything is put back; SIGUSR2 or `stop --keep`: handed over
 *
 * SIGHUP reloads. A bug that throws in the control plane ends the process as it is, like a kill -9: flows and steering
 * wait for the next start, and nothing half-known is done to the kernel.
 */
import { rmdirSync } from 'node:fs';
import { Daemon, describe } from './control/daemon.js';
import { formatErrors, loadConfig } from './control/index.js';
import { createLog, type Logger } from './control/log.js';
import { mayChangeNetwork } from './control/proc.js';
import { Router } from './control/router.js';
import { claimRuntimeDir, isMemoryBacked, type RuntimePaths } from './control/runtime-dir.js';
import { ServiceManager } from './control/service-manager.js';
import { takeOver } from './control/take-over.js';
import { packageVersion } from './control/version.js';
import { preflight } from './host/index.js';

const FAILED = 1;
const BAD_CONFIG = 2;
const NO_PRIVILEGE = 77;

export interface DaemonOptions {
  readonly configFile: string;
  readonly paths: RuntimePaths;
  /** Ask a router that runs there to hand over, instead of refusing to start. */
  readonly takeOver?: boolean;
}

/** Runs until it is stopped; resolves with the exit code. Says on stderr what went wrong. */
export async function runDaemon({ configFile, paths, takeOver: mayTakeOver }: DaemonOptions): Promise<number> {
  const loaded = loadConfig(configFile, { temporary: paths.temporary });
  if ('errors' in loaded) {
    process.stderr.write(`${formatErrors(loaded.errors)}\n`);
    return BAD_CONFIG;
  }
  const { config } = loaded;
  const log = createLog(config.log.level, config.log.format);
  if (!mayChangeNetwork()) {
    log.error(
      'CAP_NET_ADMIN is missing: run as root, or give it (setcap, AmbientCapabilities=, docker run --cap-add=NET_ADMIN)',
    );
    return NO_PRIVILEGE;
  }
  let release: () => void;
  try {
    if (mayTakeOver) await takeOver(paths, config);
    release = claimRuntimeDir(paths);
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
  try {
    if (!isMemoryBacked(paths.dir)) {
      log.warn(`${paths.dir} is on a disk: its write-back can delay packets; a tmpfs like /run is the place for it`);
    }
    const manager = new ServiceManager();
    return await live(new Router({ paths, config, log, fdStore: manager }), manager, log);
  } catch (error) {
    log.error(error instanceof Error ? error.message : String(error));
    log.debug({ err: error }, 'where it was');
    return FAILED;
  } finally {
    release();
    removeIfEmpty(paths.dir);
  }
}

/** Steps 4 to 7. */
async function live(router: Router, manager: ServiceManager, log: Logger): Promise<number> {
  for (const line of router.compiled.fatal) log.error(line);
  if (router.compiled.fatal.length > 0) return BAD_CONFIG;
  if (!passesPreflight(router, log)) return FAILED;
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
    const keep = await ended;
    manager.stopping(keep ? 'handing over' : 'putting the kernel back as it was');
    const failed = await router.stop(keep);
    for (const line of failed) log.error(`not put back: ${line} (tungate clean tries again)`);
    log.info(keep ? 'stopped; TUN, steering and flows stay for the next start' : 'stopped');
    return failed.length > 0 ? FAILED : 0;
  } finally {
    await daemon.close();
    unhook();
  }
}

/** Says what stands in the way, each with its remedy; false when a start makes no sense. */
function passesPreflight({ config, compiled, world }: Router, log: Logger): boolean {
  const checks = preflight({ tun: config.tun.name, ...compiled }, world);
  for (const { name, status, detail, remedy, blocks } of checks) {
    const line = `${name}: ${detail}${remedy ? `; ${remedy}` : ''}`;
    if (blocks) log.error(line);
    // A missing interface and the like: the plan's problems say it again, and say when it is over.
    else if (status === 'fail') log.debug(line);
    else if (status === 'warn') log.warn(line);
    else log.debug(line);
  }
  return !checks.some(({ blocks }) => blocks);
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
