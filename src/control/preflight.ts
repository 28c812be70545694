/** What host/preflight finds, as lines of the log. */
import type { World } from '../contract/world.js';
import { preflight } from '../host/index.js';
import type { Compiled } from './compiled.js';
import type { Log } from './early-log.js';
import type { Config } from './model.js';

export interface Judged {
  readonly config: Config;
  readonly compiled: Compiled;
  readonly world: World;
}

/** Says what stands in the way, each with its remedy; false when a start makes no sense. */
export async function passesPreflight({ config, compiled, world }: Judged, log: Log): Promise<boolean> {
  const checks = await preflight({ tun: config.tun.name, ...compiled }, world);
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
