/**
 * The micro benches: what one stage costs by itself. They mirror src/ and need no root, no kernel and no quiet machine.
 *
 *   node dist/bench/micro.js                 all of them, a table and JSON lines
 *   node dist/bench/micro.js --only NAME     one of them, in this process; a JSON line
 *   node dist/bench/micro.js --save          also writes bench/baseline.json, which bench:compare judges by
 *
 *   --rounds N (5)   --milliseconds N (300): processor time of a round
 *
 * With `perf` on a machine that counts instructions, each line also has instructions an operation, which a busy
 * neighbour does not change.
 */
import { execFileSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { prepareCompiler } from '../src/datapath/jit.js';
import { BASELINE, type Baseline, runOne, TREE } from './lib/baseline.js';
import { measure } from './lib/micro.js';
import { digits, median, spread } from './lib/statistics.js';
import { micros } from './micros.js';

const { values } = parseArgs({
  options: {
    only: { type: 'string' },
    list: { type: 'boolean', default: false },
    save: { type: 'boolean', default: false },
    rounds: { type: 'string', default: '5' },
    milliseconds: { type: 'string', default: '300' },
  },
});
const options = { rounds: Number(values.rounds), milliseconds: Number(values.milliseconds) };

function one(name: string): void {
  const micro = micros.find((each) => each.name === name);
  if (!micro) throw new Error(`no micro bench "${name}"; there is: ${micros.map((each) => each.name).join(', ')}`);
  prepareCompiler(); // as in the router's worker
  console.log(JSON.stringify(measure(micro, options)));
}

function all(): void {
  const results: Baseline['results'] = {};
  for (const { name } of micros) {
    const result = runOne(TREE, name, options);
    results[name] = { unit: result.unit, ns: median(result.values), instructions: result.instructions };
    const { min, max } = spread(result.values);
    const counted = result.instructions === undefined ? '' : `  ${digits(result.instructions)} instructions`;
    process.stderr.write(
      `${name.padEnd(48)}${digits(median(result.values)).padStart(8)} ns/${result.unit}  (${digits(min)} – ${digits(max)})${counted}\n`,
    );
    console.log(JSON.stringify(result));
  }
  if (!values.save) return;
  const commit = execFileSync('git', ['rev-parse', 'HEAD'], { cwd: TREE, encoding: 'utf8' }).trim();
  const saved: Baseline = { commit, node: process.version, results };
  writeFileSync(join(TREE, BASELINE), `${JSON.stringify(saved, null, 2)}\n`);
  process.stderr.write(`${BASELINE} is written; it speaks of commit ${commit.slice(0, 10)}\n`);
}

if (values.list) console.log(JSON.stringify(micros.map(({ name }) => name)));
else if (values.only !== undefined) one(values.only);
else all();
