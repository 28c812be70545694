/** `tungate reload`: the daemon reads its config again; on any error it keeps the old plan and the errors come back. */
import type { ReloadAnswer } from '../contract/api.js';
import { call } from '../control/client.js';
import { outcome } from './change.js';
import { type Options, pathsOf, printJson, talk } from './verb.js';

export async function run(options: Options): Promise<undefined> {
  const answer = await call<ReloadAnswer>(pathsOf(options).socket, 'POST', '/reload');
  for (const problem of answer.problems) talk(`warning: ${problem}`);
  if (options.json) {
    printJson(answer);
    return;
  }
  talk(
    answer.changed
      ? `reloaded: ${answer.difference ? `${answer.difference}; ` : ''}${outcome(answer)}`
      : `nothing changed: generation ${answer.generation} stays`,
  );
}
