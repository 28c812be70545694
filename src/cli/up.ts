/** `tungate up`: the daemon itself, in the foreground. */
import { DEFAULT_CONFIG_PATH } from '../control/defaults.js';
import { runDaemon } from '../main.js';
import { type Options, pathsOf, text } from './verb.js';

export async function run(options: Options): Promise<number> {
  const code = await runDaemon({
    configFile: text(options, 'config') ?? DEFAULT_CONFIG_PATH,
    paths: pathsOf(options),
    takeOver: options.takeOver === true,
  });
  // Everything is put back; a straggling handle must not keep the process.
  process.exit(code);
}
