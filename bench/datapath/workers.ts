/**
 * One worker and two over one flow table: does a second core help? Each walks packets of its own flows, as a queue of the TUN brings them, over memory.
 *
 *     node dist/bench/datapath/workers.js [FLOWS…]      flows of each worker; default 1000 and 500000
 *
 * One JSON line a figure, packets a second of the clock on the wall, one and two in turns. Established flows take no lock; that
 * lookups share the table, its counters and the caches is what this shows. Needs two processors that nobody else uses.
 */
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { isMainThread, parentPort, Worker, workerData } from 'node:worker_threads';
import { Batch } from '../../src/batch.js';
import { counterView, newCounters } from '../../src/contract/counters.js';
import { Mapping } from '../../src/contract/plan.js';
import { tableLayout } from '../../src/contract/table-layout.js';
import { cycler } from '../../src/datapath/cycle.js';
import { Engine } from '../../src/datapath/engine.js';
import { prepareCompiler } from '../../src/datapath/jit.js';
import { joinTable, openTable } from '../../src/flow/open.js';
import { ReplayLink } from '../../src/link/index.js';
import { native } from '../../src/native.js';
import { makePlan } from '../../test/datapath/rig.js';
import { packets } from './ground.js';

const ROUNDS = 7;
const SECONDS = 1;
const WORKERS = 2;

interface Orders {
  readonly file: string;
  readonly rows: number;
  readonly flows: number;
  readonly index: number;
}

function work({ file, rows, flows, index }: Orders): void {
  prepareCompiler();
  const table = joinTable(native.mapFile(file, tableLayout(rows).bytes, true).buffer, rows, native);
  const engine = new Engine(
    table,
    makePlan({ nat: [{ mapping: Mapping.ENDPOINT_DEPENDENT }] }),
    counterView(newCounters()),
  );
  const step = cycler(engine, new ReplayLink(packets(flows, index * flows), { clock: () => 1_000_000 }), new Batch());
  for (let done = 0; done < flows; ) done += step();
  const run = (seconds: number): number => {
    const from = performance.now();
    let n = 0;
    while (performance.now() - from < seconds * 1000) for (let k = 0; k < 64; k++) n += step();
    return (n * 1000) / (performance.now() - from);
  };
  run(SECONDS); // V8's
  parentPort!.on('message', () => parentPort!.postMessage(run(SECONDS)));
  parentPort!.postMessage(0);
}

const answer = async (worker: Worker): Promise<number> => (await once(worker, 'message'))[0] as number;

const median = (list: readonly number[]): number => [...list].sort((a, b) => a - b)[list.length >> 1]!;

async function measure(flows: number): Promise<void> {
  // tmpfs, as the router's own table.
  const dir = mkdtempSync('/dev/shm/tungate-bench-');
  const file = join(dir, 'flows');
  const rows = Math.max(flows * WORKERS * 1.05, 16_384) | 0;
  const workers: Worker[] = [];
  try {
    openTable(native.mapFile(file, tableLayout(rows).bytes, true).buffer, rows, new Int32Array(4), 1000, native);
    for (let index = 0; index < WORKERS; index++) {
      workers.push(
        new Worker(fileURLToPath(import.meta.url), { workerData: { file, rows, flows, index } satisfies Orders }),
      );
      await answer(workers.at(-1)!);
    }
    const together = async (some: readonly Worker[]): Promise<number> => {
      const answers = some.map(answer);
      for (const worker of some) worker.postMessage(null);
      return (await Promise.all(answers)).reduce((sum, rate) => sum + rate, 0);
    };
    const one: number[] = [];
    const both: number[] = [];
    for (let round = 0; round < ROUNDS; round++) {
      one.push(await together([workers[round % WORKERS]!]));
      both.push(await together(workers));
    }
    const print = (figure: string, unit: string, value: number) =>
      console.log(JSON.stringify({ figure, unit, median: Number(value.toPrecision(3)), rounds: ROUNDS }));
    print(`one worker, ${flows} flows`, 'packets/s', median(one));
    print(`two workers, ${flows} flows each`, 'packets/s', median(both));
    print(`two to one, ${flows} flows each`, '×', median(both.map((rate, round) => rate / one[round]!)));
  } finally {
    await Promise.all(workers.map((worker) => worker.terminate()));
    rmSync(dir, { recursive: true });
  }
}

if (isMainThread) {
  const asked = process.argv.slice(2).map(Number);
  for (const flows of asked.length > 0 ? asked : [1000, 500_000]) await measure(flows);
} else work(workerData as Orders);
