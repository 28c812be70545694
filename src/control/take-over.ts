/**
 * `tungate up --take-over`: the new program is loaded, its config judged on this host, a worker's thread parked and the TUN's queues
 * open, while the old one still forwards; only then is the old one asked to hand over. What is left between its last packet and
 * the first of ours is to open the table. A config that does not fit costs nothing.
 *
 * With our queues open before the old ones close, the TUN never loses its carrier: packets wait in them instead of being dropped.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { Netlink, readWorld } from '../host/index.js';
import { native } from '../native.js';
import { activeBlocks } from './blocks.js';
import { call } from './client.js';
import { compile } from './compile.js';
import type { Logger } from './log.js';
import { readMemory } from './memory.js';
import type { Config } from './model.js';
import { passesPreflight } from './preflight.js';
import { ownerOf, type RuntimePaths } from './runtime-dir.js';

const STOP_MS = 30_000;
/** Every one of these is a packet not forwarded. */
const LOOK_MS = 1;

export interface Handed {
  /** Queues of the TUN; the caller's. */
  readonly fds: readonly number[];
}

/**
 * Returns when the runtime directory is free; null when nobody runs there. Throws, and leaves the old one at work, when
 * `config` does not fit this host.
 */
export async function takeOver(
  paths: RuntimePaths,
  config: Config,
  queues: number,
  log: Logger,
): Promise<Handed | null> {
  if (ownerOf(paths) === null) return null;
  const nl = new Netlink();
  let tunIsThere: boolean;
  try {
    const memory = readMemory(paths.memory);
    const world = readWorld(nl);
    const compiled = compile(activeBlocks(config), world, memory ? { memory } : undefined);
    if (compiled.fatal.length > 0)
      throw new Error(`the running tungate goes on, for this config does not fit: ${compiled.fatal.join('; ')}`);
    if (!(await passesPreflight({ config, compiled, world }, log)))
      throw new Error('the running tungate goes on, for what is named above stands in the way');
    tunIsThere = world.interfaces.some(({ name }) => name === config.tun.name);
  } finally {
    nl.close();
  }
  const fds: number[] = [];
  try {
    // Of another name (the old one has another config) it is not ours to make yet.
    while (tunIsThere && fds.length < queues) fds.push(native.tunOpen(config.tun.name).fd);
    await call(paths.socket, 'POST', '/stop', { keep: true });
    const late = Date.now() + STOP_MS;
    for (let owner = ownerOf(paths); owner !== null; owner = ownerOf(paths)) {
      if (Date.now() > late)
        throw new Error(`tungate (pid ${owner}) has not handed over in ${STOP_MS / 1000} s; see its log`);
      await sleep(LOOK_MS);
    }
    return { fds };
  } catch (error) {
    for (const fd of fds) native.closeFd(fd);
    throw error;
  }
}
