/** `tungate clean`: what a crashed daemon left in the kernel is put back, from its journal. */
import { clean } from '../control/offline.js';
import { Exit, type Options, pathsOf, print, printJson, talk } from './verb.js';

export async function run(options: Options): Promise<number> {
  const report = clean(pathsOf(options));
  if (options.json) printJson(report);
  else {
    for (const line of report.undone) print(`undone: ${line}`);
    for (const line of report.gone) print(`gone already: ${line}`);
    for (const line of report.left) print(`left as it is: ${line}`);
    for (const line of report.failed) talk(`failed: ${line}`);
    if (report.failed.length > 0)
      talk('not all could be put back; mend what is named above and run "tungate clean" again');
    else if (report.undone.length + report.gone.length + report.left.length === 0) talk('nothing to clean');
  }
  if (report.failed.length === 0) return Exit.OK;
  return process.getuid?.() === 0 ? Exit.FAILED : Exit.NO_PRIVILEGE;
}
