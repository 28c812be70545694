/**
 * The whole cycle over a replay link: parse, match, rewrite and emit, without a kernel.
 *
 * Prints one JSON line a figure: packets a second of processor time at 1,000 and at 1,000,000 flows (random order, 64-byte UDP with DF, as Linux sends it), new flows a
 * second, bytes a flow.
 */
import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { Batch } from '../../src/batch.js';
import { Counter } from '../../src/contract/counters.js';
import { tableLayout } from '../../src/contract/table-layout.js';
import { VERDICTS } from '../../src/contract/verdict.js';
import { cycler } from '../../src/datapath/cycle.js';
import { prepareCompiler } from '../../src/datapath/jit.js';
import { engineFor, linkFor } from './ground.js';

const ROUNDS = 9;
const PACKETS = 2_000_000;

function print(figure: string, unit: string, values: number[]): void {
  const sorted = [...values].sort((a, b) => a - b);
  const median = sorted[sorted.length >> 1]!;
  console.log(JSON.stringify({ figure, unit, median, min: sorted[0], max: sorted.at(-1), rounds: values.length }));
}

/** Processor time of this process: what else runs on the machine does not count (but shares its caches). */
function cpuSeconds(): number {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1e6;
}

function run(flows: number): void {
  const engine = engineFor(flows);
  const batch = new Batch();
  const link = linkFor(flows);
  const step = cycler(engine, link, batch);
  const started = cpuSeconds();
  let done = 0;
  while (done < flows) done += step();
  const creation = cpuSeconds() - started;
  if (flows >= 100_000) print(`new flows, ${flows} in all`, 'flows/s', [flows / creation]);
  const rates: number[] = [];
  // The first round is V8's: what it has seen in it, it compiles.
  for (let round = 0; round <= ROUNDS; round++) {
    const from = cpuSeconds();
    let n = 0;
    while (n < PACKETS) n += step();
    if (round > 0) rates.push(n / (cpuSeconds() - from));
  }
  print(`cycle, ${flows} flows`, 'packets/s', rates);
  if (link.sentPackets < PACKETS * (ROUNDS + 1)) {
    const drops = VERDICTS.map((v, id) => `${v.name} ${engine.counters[Counter.VERDICT + id]}`).filter(
      (text) => !text.endsWith(' 0'),
    );
    throw new Error(`only ${link.sentPackets} packets came out: ${drops.join(', ')}`);
  }
}

// A process for each: V8 compiles the cycle for one engine, as it does in the router's worker.
const [flows] = process.argv.slice(2);
if (flows !== undefined) {
  prepareCompiler();
  run(Number(flows));
} else {
  for (const each of [1000, 1_000_000]) {
    const { status } = spawnSync(process.execPath, [fileURLToPath(import.meta.url), String(each)], {
      stdio: 'inherit',
    });
    if (status !== 0) process.exit(1);
  }
  for (const each of [262_144, 1_000_000]) {
    const median = tableLayout(each).bytes / each;
    console.log(JSON.stringify({ figure: `table, ${each} flows`, unit: 'bytes/flow', median }));
  }
}
