/** `tungate flows`: the flow table, filtered by the daemon, in the reader's grammar; and what can be done with it. */
import { existsSync, readFileSync } from 'node:fs';
import { dirname, resolve } from 'node:path';
import type { Flow, ImportAnswer } from '../contract/api.js';
import { call, callBytes, callText } from '../control/client.js';
import { replaceFile, whyUnwritable } from '../control/files.js';
import { conntrackLine, flowTable } from './format-flows.js';
import { CliError, Exit, type Options, pathsOf, printJson, short, talk, text } from './verb.js';

const OUTPUTS = ['table', 'conntrack', 'json'];
const FILTERS = ['proto', 'src', 'dst', 'sport', 'dport', 'limit'];

export async function run(options: Options, [action, ...more]: readonly string[]): Promise<undefined> {
  if (action === 'delete' && more.length === 0) return end(options);
  if (action === 'export' && more.length === 1) return save(options, more[0]!);
  if (action === 'import' && more.length === 1) return load(options, more[0]!);
  if (action !== undefined)
    throw new CliError(
      Exit.USAGE,
      `"flows ${[action, ...more].join(' ')}": allowed are delete, export FILE and import FILE ("-" is standard output or input)`,
    );
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

async function save(options: Options, file: string): Promise<undefined> {
  const bytes = await callBytes(pathsOf(options).socket, 'GET', '/state');
  if (file === '-') process.stdout.write(bytes);
  else {
    // As a whole or not at all; what it says of who talks with whom is not everybody's.
    try {
      if (!existsSync(dirname(resolve(file)))) throw Object.assign(new Error(), { code: 'ENOENT' });
      replaceFile(resolve(file), bytes, 0o600);
    } catch (error) {
      throw new CliError(Exit.FAILED, `${file}: ${whyUnwritable(error, file)}`);
    }
    talk(`${file}: ${short(bytes.length)}B`);
  }
}

async function load(options: Options, file: string): Promise<undefined> {
  let bytes: Buffer;
  try {
    bytes = readFileSync(file === '-' ? 0 : file);
  } catch (error) {
    throw new CliError(Exit.USAGE, `${file}: ${(error as Error).message}`);
  }
  const answer = await call<ImportAnswer>(pathsOf(options).socket, 'POST', '/state', bytes);
  if (options.json) printJson(answer);
  else {
    talk(`${answer.flows.taken} flows and ${answer.mappings.taken} mappings taken over`);
    for (const [what, { refused }] of Object.entries(answer) as [string, ImportAnswer['flows']][])
      for (const { reason, count, sentence } of refused) talk(`${count} ${what} refused, ${reason}: ${sentence}`);
  }
  return undefined;
}
