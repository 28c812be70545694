/**
 * The whole cycle over a replay link: parse, match, rewrite and emit, without a kernel.
 *
 * Prints one JSON line a figure: packets a second of processor time at 1,000 and at 1,000,000 flows (random order, 64-byte UDP with DF, as Linux sends it), new flows a
 * second, bytes a flow.
 */
import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { Batch } from '../../src/batch.js';
import { Counter, counterView, newCounters } from '../../src/contract/counters.js';
import { Mapping } from '../../src/contract/plan.js';
import { tableLayout } from '../../src/contract/table-layout.js';
import { VERDICTS } from '../../src/contract/verdict.js';
import { cycler } from '../../src/datapath/cycle.js';
import { Engine } from '../../src/datapath/engine.js';
import { inlineWholeCycle } from '../../src/datapath/jit.js';
import { openTable } from '../../src/flow/open.js';
import { ReplayLink } from '../../src/link/index.js';
import { native } from '../../src/native.js';
import { makePlan, SERVER } from '../../test/datapath/rig.js';
import { build } from '../../test/lib-packets.js';

const ROUNDS = 5;
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

/** One packet of each flow, in random order: a template with other sources and ports (checksum 0). */
function* packets(flows: number): Generator<Uint8Array> {
  const packet = build({
    proto: 'udp',
    src: '172.22.0.1',
    dst: SERVER,
    sport: 1,
    dport: 9,
    payload: new Uint8Array(36),
    noChecksum: true,
    df: true,
  });
  const v = new DataView(packet.buffer, packet.byteOffset);
  const order = Int32Array.from({ length: flows }, (_, n) => n);
  for (let i = flows - 1; i >= 0; i--) {
    const j = Math.floor(Math.random() * (i + 1));
    const n = order[j]!;
    order[j] = order[i]!;
    // Endpoint-dependent mapping: ports are shared, so that there are more flows than ports.
    v.setInt32(12, 0xac16a102 + (n % 250));
    v.setInt32(16, 0xc6330000 + ((n / 30_000) | 0));
    v.setUint16(20, 20_000 + (n % 30_000));
    v.setUint16(22, 9);
    yield packet.slice();
  }
}

function engineFor(flows: number): Engine {
  const { table } = openTable(native.mapAnonymous(tableLayout(flows).bytes), flows, new Int32Array(4), 1000, native);
  table.quarantine = 0;
  const plan = makePlan({ nat: [{ mapping: Mapping.ENDPOINT_DEPENDENT }] });
  return new Engine(table, plan, counterView(newCounters()));
}

function run(flows: number): void {
  const engine = engineFor(Math.max(flows * 1.05, 16_384) | 0);
  const batch = new Batch();
  const link = new ReplayLink(packets(flows), { clock: () => 1_000_000 });
  const step = cycler(engine, link, batch);
  const started = cpuSeconds();
  let done = 0;
  while (done < flows) done += step();
  const creation = cpuSeconds() - started;
  if (flows >= 100_000) print(`new flows, ${flows} in all`, 'flows/s', [flows / creation]);
  const rates: number[] = [];
  for (let round = 0; round < ROUNDS; round++) {
    const from = cpuSeconds();
    let n = 0;
    while (n < PACKETS) n += step();
    rates.push(n / (cpuSeconds() - from));
  }
  print(`cycle, ${flows} flows`, 'packets/s', rates);
  if (link.sentPackets < PACKETS * ROUNDS) {
    const drops = VERDICTS.map((v, id) => `${v.name} ${engine.counters[Counter.VERDICT + id]}`).filter(
      (text) => !text.endsWith(' 0'),
    );
    throw new Error(`only ${link.sentPackets} packets came out: ${drops.join(', ')}`);
  }
}

// A process for each: V8 compiles the cycle for one engine, as it does in the router's worker.
const [flows] = process.argv.slice(2);
if (flows !== undefined) {
  inlineWholeCycle();
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
