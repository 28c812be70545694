/**
 * `tungate up --take-over`: the new program is loaded, and its config judged on this host, while the old one still forwards;
 * only then is the old one asked to hand over. So the time without a router is that of ending one and starting the other's
 * workers, and a config that does not fit costs nothing.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { Netlink, readWorld } from '../host/index.js';
import { activeBlocks } from './blocks.js';
import { call } from './client.js';
import { compile } from './compile.js';
import { readMemory } from './memory.js';
import type { Config } from './model.js';
import { ownerOf, type RuntimePaths } from './runtime-dir.js';

const STOP_MS = 30_000;
/** Every one of these is a packet not forwarded. */
const LOOK_MS = 2;

/** Returns when the runtime directory is free. Throws, and leaves the old one at work, when `config` does not fit this host. */
export async function takeOver(paths: RuntimePaths, config: Config): Promise<void> {
  if (ownerOf(paths) === null) return;
  const nl = new Netlink();
  try {
    const memory = readMemory(paths.memory);
    const { fatal } = compile(activeBlocks(config), readWorld(nl), memory ? { memory } : undefined);
    if (fatal.length > 0)
      throw new Error(`the running tungate goes on, for this config does not fit: ${fatal.join('; ')}`);
  } finally {
    nl.close();
  }
  await call(paths.socket, 'POST', '/stop', { keep: true });
  const late = Date.now() + STOP_MS;
  for (let owner = ownerOf(paths); owner !== null; owner = ownerOf(paths)) {
    if (Date.now() > late)
      throw new Error(`tungate (pid ${owner}) has not handed over in ${STOP_MS / 1000} s; see its log`);
    await sleep(LOOK_MS);
  }
}
