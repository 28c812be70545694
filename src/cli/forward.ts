/** `tungate forward add|remove|list`: forwards of the running router. The daemon judges, writes and reloads. */
import type { ChangeAnswer, ForwardRow } from '../contract/api.js';
import { call } from '../control/client.js';
import { sayChange } from './change.js';
import { CliError, Exit, type Options, pathsOf, printJson, table, text } from './verb.js';

export async function run(options: Options, [action, ...what]: readonly string[]): Promise<undefined> {
  const { socket } = pathsOf(options);
  if (action === 'list') {
    if (what.length > 0) throw usage(`"forward list" takes no "${what[0]}"`);
    const rows = await call<ForwardRow[]>(socket, 'GET', '/forwards');
    if (options.json) printJson(rows);
    else
      process.stdout.write(
        table(
          ['NAME', 'WHAT', 'WRITTEN', 'AT'],
          rows.map((row) => [row.name, row.what, row.written, row.origin]),
        ),
      );
    return;
  }
  if (action !== 'add' && action !== 'remove') throw usage(`"${action}": allowed are add, remove, list`);
  if (what.length !== 1) throw usage(action === 'add' ? 'add which forward?' : 'remove which forward? Give its name');
  const answer =
    action === 'add'
      ? await call<ChangeAnswer>(socket, 'POST', '/forwards', {
          forward: forwardOf(what[0]!, options),
          temporary: options.temporary === true,
        })
      : await call<ChangeAnswer>(socket, 'DELETE', `/forwards?${new URLSearchParams({ name: what[0]! })}`);
  sayChange(answer, options);
}

function usage(message: string): CliError {
  return new CliError(Exit.USAGE, message, ['(tungate forward --help)']);
}

/** The text as it is, or, where options say more, the same as a map. */
function forwardOf(spec: string, options: Options): unknown {
  const name = text(options, 'as');
  const from = text(options, 'from');
  if (name === undefined && from === undefined) return spec;
  const match = /^(?:((?:\d+\.){3}\d+):)?([^:/]*):((?:\d+\.){3}\d+(?::[^:/]*)?)(?:\/(.*))?$/.exec(spec);
  // Let the daemon say what is wrong with it.
  if (match === null) return spec;
  const [, address, ports, to, protos] = match;
  return {
    ...(name !== undefined && { name }),
    ...(ports !== '' && { ports }),
    to,
    proto: (protos ?? 'tcp').split(',').map((proto) => proto.trim()),
    ...(from !== undefined && { from: from.split(',').map((prefix) => prefix.trim()) }),
    ...(address !== undefined && { address }),
  };
}
