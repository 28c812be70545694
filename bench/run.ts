/**
 * `npm run bench`: tungate beside what its users would pick instead, in namespaces of this machine.
 *
 * Method: the peers are interleaved round by round, so that a slow minute of the machine hits all of them; a measurement
 * during which the hypervisor gave more than a tenth of the time to others is made again (bounded). Prints a table a suite
 * and the same figures as JSON lines; a run of at least five rounds also writes docs/benchmarks.md, with plots.
 * Ctrl-C at any moment removes namespaces, processes and files.
 *
 * The way through this folder: lib/stage (namespaces) → peers/ (who translates) → suites/ (what is measured) → lib/summary
 * (ratios) → lib/table, lib/plot, lib/document. load/ is the traffic generator. The folders beside them mirror src/: what one
 * stage costs by itself (bench/micro.ts).
 */
import { execFileSync } from 'node:child_process';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { becomeNamespaceRoot, needTools } from '../src/lab/index.js';
import { Bench, type Options, type Suite } from './lib/bench.js';
import { type Result, toLines, writeDocument } from './lib/document.js';
import { machine } from './lib/machine.js';
import { buildStage, type Stage } from './lib/stage.js';
import { summarize } from './lib/summary.js';
import { plainTable } from './lib/table.js';
import { PEERS, REFERENCE } from './peers/index.js';
import type { Peer } from './peers/peer.js';
import { SUITES } from './suites/index.js';

const ROOT = join(dirname(fileURLToPath(import.meta.url)), '..', '..');
/** Fewer rounds are a look, not a result. */
const ROUNDS_OF_A_RESULT = 5;

const HELP = `npm run bench -- [options]

  --suite NAMES     comma-separated: ${SUITES.map(({ name }) => name).join(', ')} (default: all)
  --peers NAMES     comma-separated: ${PEERS.map(({ name }) => name).join(', ')} (default: all that are here)
  --rounds N        default 5; fewer write no docs/benchmarks.md
  --seconds N       length of one measurement, default 3
  --quick           one round of 1 s with fewer cases: shows that all of it works
  --json            JSON lines only on stdout
`;

function usage(problem: string): never {
  process.stderr.write(`bench: ${problem}\n\n${HELP}`);
  process.exit(2);
}

function positive(name: string, text: string): number {
  const value = Number(text);
  if (!Number.isInteger(value) || value < 1) usage(`--${name} takes a whole number above 0, not "${text}"`);
  return value;
}

/** Those of `all` that are named, in their own order. */
function chosen<T extends { readonly name: string }>(option: string, text: string | undefined, all: readonly T[]): T[] {
  if (text === undefined) return [...all];
  const names = text.split(',').map((each) => each.trim());
  const wrong = names.find((each) => !all.some(({ name }) => name === each));
  if (wrong !== undefined)
    usage(`--${option} "${wrong}" is not known; there is: ${all.map(({ name }) => name).join(', ')}`);
  return all.filter(({ name }) => names.includes(name));
}

function read() {
  try {
    return parseArgs({
      options: {
        suite: { type: 'string' },
        peers: { type: 'string' },
        rounds: { type: 'string' },
        seconds: { type: 'string' },
        quick: { type: 'boolean', default: false },
        json: { type: 'boolean', default: false },
        help: { type: 'boolean', default: false },
      },
    }).values;
  } catch (error) {
    return usage((error as Error).message);
  }
}

function commit(): string {
  try {
    const git = (...args: string[]) => execFileSync('git', args, { cwd: ROOT, encoding: 'utf8', stdio: 'pipe' }).trim();
    const changed = git('status', '--porcelain', '--', 'src', 'native') === '' ? '' : ' with changes';
    return git('rev-parse', '--short=10', 'HEAD') + changed;
  } catch {
    return 'unknown';
  }
}

const say = (text: string) => process.stderr.write(`  ${text}\n`);

async function present(
  peers: readonly Peer[],
  stage: Stage,
): Promise<{ here: Peer[]; missing: Record<string, string> }> {
  const here: Peer[] = [];
  const missing: Record<string, string> = {};
  for (const peer of peers) {
    const why = await peer.missing(stage);
    if (why === '') here.push(peer);
    else missing[peer.name] = why;
  }
  for (const [peer, why] of Object.entries(missing)) say(`${peer} is left out: ${why}`);
  return { here, missing };
}

async function measure(suite: Suite, stage: Stage, peers: readonly Peer[], options: Options): Promise<Bench> {
  process.stderr.write(`${suite.title}\n`);
  const bench = new Bench(suite, stage, peers, options, say);
  await suite.run(bench);
  return bench;
}

async function main(): Promise<void> {
  const values = read();
  if (values.help) {
    process.stdout.write(HELP);
    return;
  }
  const options: Options = {
    rounds: positive('rounds', values.rounds ?? (values.quick ? '1' : '5')),
    seconds: positive('seconds', values.seconds ?? (values.quick ? '1' : '3')),
    quick: values.quick,
  };
  const suites = chosen('suite', values.suite, SUITES);
  const wanted = chosen('peers', values.peers, PEERS);
  await becomeNamespaceRoot();
  needTools(['ip', 'ping', 'nft', 'python3', ...suites.flatMap(({ tools = [] }) => tools)]);

  const on = await machine();
  const at = commit();
  const results: Result[] = [];
  for (const suite of suites) {
    // A stage for each suite: what one leaves behind in the kernel is not the next one's business.
    const stage = buildStage();
    try {
      const { here, missing } = await present(wanted, stage);
      const bench = await measure(suite, stage, here, options);
      const rows = summarize(bench.figures, suite.metrics, REFERENCE);
      const settings = Object.fromEntries(here.map((peer) => [peer.name, peer.settings]));
      const { discarded, steal } = bench.calm;
      const head = { bench: suite.name, commit: at, machine: on, options, discarded, steal, peers: settings, missing };
      results.push({ head, rows });
      if (!values.json) process.stdout.write(`\n${suite.title}\n\n${plainTable(suite, rows)}\n\n`);
    } finally {
      await stage.lab.close();
    }
  }
  for (const result of results) process.stdout.write(toLines(result));
  if (options.rounds < ROUNDS_OF_A_RESULT || options.quick || values.peers !== undefined)
    say(`docs/benchmarks.md is left as it is: it wants ${ROUNDS_OF_A_RESULT} rounds, all peers, and no --quick`);
  else {
    writeDocument(join(ROOT, 'docs'), SUITES, results);
    say('docs/benchmarks.md is written');
  }
}

await main();
