/** `tungate link import`: a wg-quick file becomes a link of the config; its keys go into files that only their owner may read. */
import { basename, dirname, join, resolve } from 'node:path';
import { KEY_DIR } from '../control/files.js';
import { DEFAULT_CONFIG_PATH, formatError } from '../control/index.js';
import { importLink, LinkImportError } from '../control/offline.js';
import { CliError, Exit, type Options, talk, text } from './verb.js';

export function run(options: Options, [action, file, ...more]: readonly string[]): undefined {
  if (action !== 'import') throw usage(`"${action}": allowed is import`);
  if (file === undefined || more.length > 0) throw usage('import which file?');
  const config = resolve(text(options, 'config') ?? DEFAULT_CONFIG_PATH);
  try {
    const done = importLink({
      file,
      link: text(options, 'as') ?? basename(file).replace(/\.conf$/, ''),
      config,
      keys: resolve(text(options, 'keys') ?? join(dirname(config), KEY_DIR)),
      print: options.stdout === true,
    });
    for (const note of done.notes) talk(note);
    for (const key of done.keys) talk(`key: ${key}`);
    if (options.stdout) process.stdout.write(done.yaml);
    else talk(`link: ${done.file}\nnow: say in it who may go where (policy), then "tungate reload"`);
  } catch (error) {
    if (!(error instanceof LinkImportError)) throw error;
    throw new CliError(Exit.USAGE, error.message, [...error.lines, ...error.errors.map(formatError)]);
  }
}

function usage(message: string): CliError {
  return new CliError(Exit.USAGE, message, ['(tungate link --help)']);
}
