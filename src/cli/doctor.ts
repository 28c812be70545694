/** `tungate doctor`: each check of this host a line, with the remedy where one is needed. */
import { existsSync } from 'node:fs';
import { DEFAULT_CONFIG_PATH, formatError } from '../control/index.js';
import { doctor } from '../control/offline.js';
import { CliError, colours, Exit, type Options, print, printJson, talk, text } from './verb.js';

export async function run(options: Options): Promise<number> {
  const named = text(options, 'config');
  const file = named ?? (existsSync(DEFAULT_CONFIG_PATH) ? DEFAULT_CONFIG_PATH : undefined);
  const { errors, checks } = await doctor(file);
  if (errors.length > 0) throw new CliError(Exit.USAGE, `${file}: the config has errors`, errors.map(formatError));
  const bad = checks.filter(({ status }) => status === 'fail').length;
  if (options.json) printJson(checks);
  else {
    const c = colours(process.stdout);
    const tint = { ok: c.green, warn: c.yellow, fail: c.red };
    for (const { name, status, detail, remedy } of checks) {
      print(`${tint[status](status.padEnd(4))}  ${name}: ${detail}`);
      if (remedy !== '') print(`      → ${remedy}`);
    }
    if (file === undefined) talk('no config was checked: name one with -c FILE');
  }
  return bad > 0 ? Exit.FAILED : Exit.OK;
}
