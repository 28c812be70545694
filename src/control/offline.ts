/** What the CLI does without a daemon: judge a config or the host, write a config, undo what a crash left. */
import { existsSync, rmdirSync, rmSync } from 'node:fs';
import { type Check, Journal, Netlink, preflight, readWorld, type UndoReport } from '../host/index.js';
import { compile } from './compile.js';
import { loadConfig } from './config.js';
import { initConfig } from './init.js';
import type { ConfigError } from './model.js';
import { ownerOf, type RuntimePaths, refuseOpenDir } from './runtime-dir.js';

export interface CheckResult {
  readonly errors: readonly ConfigError[];
  /** What this host lacks for the config now. */
  readonly problems: readonly string[];
}

export function check(file: string): CheckResult {
  const result = loadConfig(file);
  if ('errors' in result) return { errors: result.errors, problems: [] };
  const compiled = compile(result.config, hostWorld());
  return { errors: [], problems: [...compiled.fatal, ...compiled.problems] };
}

/** Checks the host, and where `file` is given (and free of errors) what it needs for that config. */
export async function doctor(
  file: string | undefined,
): Promise<{ readonly errors: readonly ConfigError[]; readonly checks: readonly Check[] }> {
  const world = hostWorld();
  const result = file === undefined ? undefined : loadConfig(file);
  if (!result || 'errors' in result) return { errors: result?.errors ?? [], checks: await preflight(undefined, world) };
  const compiled = compile(result.config, world);
  const checks = await preflight({ tun: result.config.tun.name, ...compiled }, world);
  const overlaps = compiled.fatal.map(
    (detail): Check => ({ name: 'config', status: 'fail', detail, remedy: '', blocks: true }),
  );
  return { errors: [], checks: [...overlaps, ...checks] };
}

/** A commented config for this host. */
export function initHere(): string {
  return initConfig(hostWorld());
}

/** Undoes what the journal in `paths` names. Throws while a daemon lives there. */
export function clean(paths: RuntimePaths): UndoReport {
  const owner = ownerOf(paths);
  if (owner !== null) {
    throw new Error(`tungate is running (pid ${owner}, ${paths.dir}): "tungate stop" ends it and puts everything back`);
  }
  refuseOpenDir(paths);
  const journal = existsSync(paths.dir) ? Journal.load(paths.undo) : undefined;
  const report = journal?.undoAll() ?? { undone: [], gone: [], left: [], failed: [] };
  if (report.failed.length > 0) return report;
  const { flows, socket, pid, undo, memory, plan, temporary } = paths;
  for (const file of [flows, socket, pid, undo, memory, plan, temporary]) rmSync(file, { force: true });
  try {
    rmdirSync(paths.dir);
  } catch {
    // Not there, or somebody else's files are in it.
  }
  return report;
}

function hostWorld(): ReturnType<typeof readWorld> {
  const nl = new Netlink();
  try {
    return readWorld(nl);
  } finally {
    nl.close();
  }
}
