/** `tungate flows`: the flow table, filtered by the daemon, in the reader's grammar; and what can be done with it. */
import type { Flow } from '../contract/api.js';
import { call, callText } from '../control/client.js';
import { conntrackLine, flowTable } from './format-flows.js';
import { CliError, Exit, type Options, pathsOf, printJson, talk, text } from './verb.js';

const OUTPUTS = ['table', 'conntrack', 'json'];
const FILTERS = ['proto', 'src', 'dst', 'sport', 'dport', 'limit'];

export async function run(options: Options, [action, ...more]: readonly string[]): Promise<undefined> {
  if (action === 'delete' && more.length === 0) return end(options);
  if (action !== undefined) throw new CliError(Exit.USAGE, `"${[action, ...more].join(' ')}": allowed is delete`);
  const output = options.json ? 'json' : (text(options, 'output') ?? 'table');
  if (!OUTPUTS.includes(output)) throw new CliError(Exit.USAGE, `-o ${output}: allowed are ${OUTPUTS.join(', ')}`);
  const query = filter(options);
  const body = await callText(pathsOf(options).socket, 'GET', `/flows${query.size > 0 ? `?${query}` : ''}`);
  if (output === 'json') {
    process.stdout.write(body);
    return;
  }
  const flows = JSON.parse(body) as Flow[];
  process.stdout.write(
    output === 'conntrack' ? flows.map((flow) => `${conntrackLine(flow)}\n`).join('') : flowTable(flows),
  );
  talk(`${flows.length} ${flows.length === 1 ? 'flow' : 'flows'}`);
}

function filter(options: Options): URLSearchParams {
  const query = new URLSearchParams();
  for (const key of FILTERS) {
    const value = text(options, key);
    if (value !== undefined) query.set(key, value);
  }
  return query;
}

async function end(options: Options): Promise<undefined> {
  const answer = await call<{ ended: number }>(pathsOf(options).socket, 'DELETE', `/flows?${filter(options)}`);
  if (options.json) printJson(answer);
  else talk(`${answer.ended} ${answer.ended === 1 ? 'flow' : 'flows'} ended`);
}
