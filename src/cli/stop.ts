/** `tungate stop`: the daemon puts every kernel setting back and ends; with --keep it leaves all in place for the next start. */
import { setTimeout as sleep } from 'node:timers/promises';
import { call } from '../control/client.js';
import { ownerOf } from '../control/runtime-dir.js';
import { CliError, Exit, type Options, pathsOf, talk } from './verb.js';

const STOP_MS = 30_000;
const LOOK_MS = 5;

export async function run(options: Options): Promise<undefined> {
  const paths = pathsOf(options);
  const keep = options.keep === true;
  await call(paths.socket, 'POST', '/stop', { keep });
  const late = Date.now() + STOP_MS;
  for (let owner = ownerOf(paths); owner !== null; owner = ownerOf(paths)) {
    if (Date.now() > late)
      throw new CliError(Exit.FAILED, `tungate (pid ${owner}) still runs after ${STOP_MS / 1000} s; see its log`);
    await sleep(LOOK_MS);
  }
  talk(
    keep
      ? 'stopped; TUN, steering and flows stay for the next "tungate up"'
      : 'stopped; the kernel is as it was before',
  );
}
