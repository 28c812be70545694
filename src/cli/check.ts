/** `tungate check`: every error of a config file at once, and what this host lacks for it. */
import { DEFAULT_CONFIG_PATH, formatError } from '../control/index.js';
import { check } from '../control/offline.js';
import { CliError, Exit, type Options, printJson, talk, text } from './verb.js';

export function run(options: Options): number {
  const file = text(options, 'config') ?? DEFAULT_CONFIG_PATH;
  const { errors, problems } = check(file);
  if (options.json) {
    printJson({ file, ok: errors.length === 0, errors, problems });
    return errors.length > 0 ? Exit.USAGE : Exit.OK;
  }
  if (errors.length > 0) {
    throw new CliError(
      Exit.USAGE,
      `${file}: ${errors.length} ${errors.length === 1 ? 'error' : 'errors'}`,
      errors.map(formatError),
    );
  }
  for (const problem of problems) talk(`warning: ${problem}`);
  talk(`${file}: ok`);
  return Exit.OK;
}
