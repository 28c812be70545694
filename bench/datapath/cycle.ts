/**
 * The whole cycle over a replay link: parse, match, rewrite and emit, without a kernel.
 *
 * Prints one JSON line a figure: packets a second of processor time at 1,000 and at 1,000,000 flows (random order, 64-byte UDP with DF, as Linux sends it), new flows a
 * second, bytes a flow.
 */
import { Batch } from '../../src/batch.js';
import { Counter, counterView, newCounters } from '../../src/contract/counters.js';
import { Mapping } from '../../src/contract/plan.js';
import { tableLayout } from '../../src/contract/table-layout.js';
import { VERDICTS } from '../../src/contract/verdict.js';
import { cycle } from '../../src/datapath/cycle.js';
import { Engine } from '../../src/datapath/engine.js';
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

/** A packet of inside host n, by copying a template and patching source and ports (checksum 0). */
function packets(flows: number): Uint8Array[] {
  const template = build({
    proto: 'udp',
    src: '172.22.0.1',
    dst: SERVER,
    sport: 1,
    dport: 9,
    payload: new Uint8Array(36),
    noChecksum: true,
    df: true,
  });
  const result: Uint8Array[] = [];
  for (let n = 0; n < flows; n++) {
    const packet = template.slice();
    const v = new DataView(packet.buffer);
    // Endpoint-dependent mapping: ports are shared, so that there are more flows than ports.
    v.setInt32(12, 0xac16a102 + (n % 250));
    v.setInt32(16, 0xc6330000 + ((n / 30_000) | 0));
    v.setUint16(20, 20_000 + (n % 30_000));
    v.setUint16(22, 9);
    result.push(packet);
  }
  for (let i = result.length - 1; i > 0; i--) {
    const j = Math.floor(Math.random() * (i + 1));
    [result[i], result[j]] = [result[j]!, result[i]!];
  }
  return result;
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
  const set = packets(flows);
  const link = new ReplayLink(set, { clock: () => 1_000_000 });
  const started = cpuSeconds();
  let done = 0;
  while (done < flows) done += cycle(engine, link, batch);
  const creation = cpuSeconds() - started;
  print(`new flows, ${flows} in all`, 'flows/s', [flows / creation]);
  const rates: number[] = [];
  for (let round = 0; round < ROUNDS; round++) {
    const from = cpuSeconds();
    let n = 0;
    while (n < PACKETS) n += cycle(engine, link, batch);
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

run(1000);
run(1_000_000);
for (const flows of [262_144, 1_000_000]) {
  console.log(
    JSON.stringify({ figure: `table, ${flows} flows`, unit: 'bytes/flow', median: tableLayout(flows).bytes / flows }),
  );
}
