/** What the CLI does without a daemon: judge a config or the host, write a config, undo what a crash left. */
import { closeSync, existsSync, fchownSync, openSync, rmdirSync, rmSync, statSync, writeSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { type Check, Journal, Netlink, preflight, readWorld, type UndoReport } from '../host/index.js';
import { compile } from './compile.js';
import { loadConfig, parseConfig } from './config.js';
import { makeFolder, OVERLAY_DIR, overlayFiles, readText, replaceFile } from './files.js';
import { initConfig } from './init.js';
import { type Imported, ImportRefused, importWgQuick } from './link-import.js';
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
  const { links } = result.config;
  const ways =
    links.length === 0 ? [] : await (await import('./check-links.js')).checkLinkWays(result.config, compiled);
  const ethernet = links.some(({ kind }) => kind === 'vxlan')
    ? await (await import('./check-vxlan.js')).checkVxlan(result.config, compiled)
    : [];
  return { errors: [], checks: [...overlaps, ...checks, ...ways, ...ethernet] };
}

export interface LinkImport {
  /** wg-quick's. */
  readonly file: string;
  readonly link: string;
  /** The main config file, which the link is added beside. */
  readonly config: string;
  /** Folder for key files. */
  readonly keys: string;
  /** Only give the text back; keys are written all the same. */
  readonly print: boolean;
}

export class LinkImportError extends Error {
  constructor(
    message: string,
    readonly lines: readonly string[] = [],
    readonly errors: readonly ConfigError[] = [],
  ) {
    super(message);
  }
}

/** Nothing is written unless all of it fits. Throws LinkImportError. */
export function importLink({ file, link, config, keys, print }: LinkImport): {
  readonly file: string;
  readonly yaml: string;
  readonly keys: readonly string[];
  readonly notes: readonly string[];
} {
  const text = readText(file);
  if (typeof text !== 'string') throw new LinkImportError(`${file}: ${text.unreadable}`);
  let made: Imported;
  try {
    made = importWgQuick(text, { file, link, keys });
  } catch (error) {
    if (!(error instanceof ImportRefused)) throw error;
    throw new LinkImportError(`${file}: cannot be imported`, error.problems);
  }
  try {
    const target = join(dirname(config), OVERLAY_DIR, `${link}.yaml`);
    const names = made.keys.map((key) => resolve(key.file));
    for (const there of [...names, ...(print ? [] : [target])])
      if (existsSync(there))
        throw new LinkImportError(`${there} is there already; name the link otherwise (--as NAME), or remove it`);
    judgeImport(config, target, made);
    for (const { file: name, key } of made.keys) writeKey(resolve(name), key);
    if (!print) replaceFile(target, made.yaml);
    return { file: target, yaml: made.yaml, keys: names, notes: made.notes };
  } finally {
    for (const { key } of made.keys) key.fill(0);
  }
}

/** By itself, and with what it will stand beside. Key files that are yet to be written are not looked at. */
function judgeImport(config: string, target: string, { yaml }: Imported): void {
  const main = existsSync(config) ? readText(config) : undefined;
  const result =
    typeof main === 'string'
      ? parseConfig(main, config, [
          ...overlayFiles(config)
            .filter((name) => name !== target)
            .flatMap((name) => {
              const content = readText(name);
              return typeof content === 'string' ? [{ file: name, text: content }] : [];
            }),
          { file: target, text: yaml },
        ])
      : parseConfig(yaml, target);
  if ('errors' in result)
    throw new LinkImportError('the link does not fit the config; nothing was written', [], result.errors);
}

function writeKey(file: string, key: Uint8Array): void {
  makeFolder(dirname(file), 0o700);
  const fd = openSync(file, 'wx', 0o600);
  const owner = statSync(dirname(file));
  const text = Buffer.from(`${Buffer.from(key.buffer, key.byteOffset, key.byteLength).toString('base64')}\n`);
  try {
    writeSync(fd, text);
    // In a folder of the service's user the key is for that user.
    if (process.geteuid?.() === 0) fchownSync(fd, owner.uid, owner.gid);
  } finally {
    text.fill(0);
    closeSync(fd);
  }
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
