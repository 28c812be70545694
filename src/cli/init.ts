/** `tungate init`: a commented config for this host; never over a file that is there. */
import { writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { makeFolder } from '../control/files.js';
import { DEFAULT_CONFIG_PATH } from '../control/index.js';
import { initHere } from '../control/offline.js';
import { CliError, Exit, type Options, talk, text } from './verb.js';

export function run(options: Options): undefined {
  const file = text(options, 'config') ?? DEFAULT_CONFIG_PATH;
  const content = initHere();
  if (file === '-') {
    process.stdout.write(content);
    return;
  }
  try {
    makeFolder(dirname(file), 0o755);
    writeFileSync(file, content, { flag: options.force ? 'w' : 'wx' });
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    if (code === 'EEXIST')
      throw new CliError(Exit.FAILED, `${file} is there already: --force overwrites it, "-c -" prints`);
    if (code === 'EACCES' || code === 'EPERM')
      throw new CliError(Exit.NO_PRIVILEGE, `${file}: may not be written by this user; use -c FILE or sudo`);
    throw new CliError(Exit.FAILED, `${file}: cannot be written: ${message}`);
  }
  talk(`wrote ${file}; look it over, then: sudo tungate up${file === DEFAULT_CONFIG_PATH ? '' : ` -c ${file}`}`);
}
