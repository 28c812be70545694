/**
 * `tungate up`, and what of it cannot wait: a worker's thread begins to load, and where an earlier run left a plan and a table,
 * packets flow (control/resume.ts) before the larger part of the program, which reads and judges the config, is even loaded.
 */
import type { DaemonOptions } from './control/life.js';
import { takeAhead } from './control/park.js';
import { resume } from './control/resume.js';
import { ServiceManager } from './control/service-manager.js';

/** Runs until it is stopped; resolves with the exit code. Says on stderr what went wrong. */
export async function runDaemon(options: DaemonOptions): Promise<number> {
  const { paths, configFile } = options;
  const parked = takeAhead();
  const manager = new ServiceManager();
  const resumed = resume(paths, configFile, parked, () => manager.takeTunFds());
  const { live } = await import('./control/life.js');
  return live(options, { manager, parked, resumed });
}
