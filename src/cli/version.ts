/** `tungate version`. */
import { packageVersion } from '../control/version.js';
import { type Options, print, printJson } from './verb.js';

export function run(options: Options): undefined {
  const version = packageVersion();
  if (options.json) printJson({ version, node: process.version, platform: process.platform, arch: process.arch });
  else print(`tungate ${version}`);
}
