/**
 * The flow table under adversarial load: what a batch costs when a million flows are there, when the table is full and new
 * SYNs arrive, when everything expires at once, when tuples are made to collide.
 *
 * Prints one JSON line a load: processor time of a batch of 192 packets, median and 99th percentile, and how many times the
 * quiet one's 99th percentile that is. The aim is at most 3. `established` batches are compared with established batches
 * of 1,000 flows, `new` ones (every packet makes or would make a flow) with new flows in an empty table.
 */
import { Batch } from '../../src/batch.js';
import { counterView, newCounters } from '../../src/contract/counters.js';
import { Mapping } from '../../src/contract/plan.js';
import { Header, tableLayout } from '../../src/contract/table-layout.js';
import { cycle } from '../../src/datapath/cycle.js';
import { Engine } from '../../src/datapath/engine.js';
import { hashTables, hashTuple } from '../../src/flow/hash.js';
import { openTable } from '../../src/flow/open.js';
import { ReplayLink } from '../../src/link/index.js';
import { native } from '../../src/native.js';
import { makePlan, prefix } from '../../test/datapath/rig.js';
import { build } from '../../test/lib-packets.js';

const FLOWS = 1_000_000;
const BATCHES = 4000;
const WARM_UP = 500;
const PORTS = 60_000;
const LAN = 0xac160000 | 0;

/** Source, destination, port word of flow n. */
type Tuples = (n: number) => readonly [number, number, number];

const oneHost: Tuples = (n) => [LAN + 2, (0x20000000 + Math.floor(n / PORTS)) | 0, ((4000 + (n % PORTS)) << 16) | 9];
const manyHosts: Tuples = (n) => [LAN + 2 + (n % 65_000), (0x21000000 + n) | 0, ((4000 + (n % PORTS)) << 16) | 9];

/** Tuples that share a bucket in 4096 under a key that is not the table's. */
function collidingElsewhere(count: number): Tuples {
  const other = hashTables(1, 2);
  const found: [number, number, number][] = [];
  for (let n = 0; found.length < count; n++) {
    const tuple: [number, number, number] = [
      LAN + 2 + (n % 65_000),
      (0x30000000 + n) | 0,
      ((4000 + (n % PORTS)) << 16) | 9,
    ];
    if (hashTuple(other, ...tuple, 17) >>> 20 === 0) found.push(tuple);
  }
  return (n) => found[n % found.length]!;
}

const template = build({ proto: 'udp', src: '172.22.0.2', dst: '32.0.0.1', sport: 1, dport: 9, noChecksum: true });

function packets(tuples: Tuples, count: number): Uint8Array[] {
  return Array.from({ length: count }, (_, n) => {
    const packet = template.slice();
    const v = new DataView(packet.buffer);
    const [src, dst, ports] = tuples(n);
    v.setInt32(12, src);
    v.setInt32(16, dst);
    v.setInt32(20, ports);
    return packet;
  });
}

class Bench {
  readonly engine: Engine;
  readonly batch = new Batch();
  now = 1_000_000;

  constructor(rows: number) {
    const { table } = openTable(
      native.mapAnonymous(tableLayout(rows).bytes, true),
      rows,
      new Int32Array(4),
      1000,
      native,
    );
    table.quarantine = 0;
    const plan = makePlan({
      pool: [4000, 65_535],
      nat: [{ mapping: Mapping.ENDPOINT_DEPENDENT }],
      change: (p) => ({
        ...p,
        lans: p.lans.map((lan, i) => (i === 0 ? { ...lan, subnet: prefix('172.22.0.0/15') } : lan)),
      }),
    });
    this.engine = new Engine(table, plan, counterView(newCounters()));
  }

  link(list: readonly Uint8Array[]): ReplayLink {
    return new ReplayLink(list, { clock: () => this.now });
  }

  fill(tuples: Tuples, count: number): void {
    for (let from = 0; from < count; from += PORTS) {
      const n = Math.min(PORTS, count - from);
      const link = this.link(packets((i) => tuples(from + i), n));
      for (let done = 0; done < n; ) done += cycle(this.engine, link, this.batch);
    }
    const live = this.engine.table.header[Header.LIVE_FLOWS]!;
    if (live < count * 0.99) throw new Error(`only ${live} of ${count} flows were made`);
  }

  /** Costs of batches of `link` in microseconds; `between` runs before each and is not counted. */
  measure(link: ReplayLink, batches: number, between: (i: number) => void = () => {}): number[] {
    const costs: number[] = [];
    for (let i = 0; i < WARM_UP + batches; i++) {
      between(i);
      const from = cpuMicros();
      cycle(this.engine, link, this.batch);
      if (i >= WARM_UP) costs.push(cpuMicros() - from);
    }
    return costs;
  }
}

/** Processor time of this process: what else runs on the machine does not count (but shares its caches). */
function cpuMicros(): number {
  const { user, system } = process.cpuUsage();
  return user + system;
}

function print(figure: string, costs: number[], quiet?: number): number {
  const sorted = costs.sort((a, b) => a - b);
  const at = (p: number) => sorted[Math.floor((sorted.length - 1) * p)]!;
  const p99 = at(0.99);
  const ratio = quiet === undefined ? {} : { timesQuiet: Number((p99 / quiet).toFixed(2)) };
  console.log(JSON.stringify({ figure, unit: 'µs/batch', median: at(0.5), p99, max: at(1), ...ratio }));
  return p99;
}

/** Flows far from one another, in an order without neighbours. */
function sample(tuples: Tuples, of: number, count: number): Uint8Array[] {
  return packets((n) => tuples((n * 7919) % of), count);
}

function quietEstablished(): number {
  const bench = new Bench(16_384);
  bench.fill(manyHosts, 1000);
  return print('established, 1,000 flows (quiet)', bench.measure(bench.link(packets(manyHosts, 1000)), BATCHES));
}

function quietNew(): number {
  const bench = new Bench(FLOWS);
  return print('new flows, empty table (quiet)', bench.measure(bench.link(packets(manyHosts, 160_000)), 300));
}

function established(name: string, tuples: Tuples, quiet: number): void {
  const bench = new Bench(Math.ceil(FLOWS * 1.02));
  bench.fill(tuples, FLOWS);
  print(name, bench.measure(bench.link(sample(tuples, FLOWS, 200_000)), BATCHES), quiet);
}

/** A full table: newcomers are refused, and those who are in it notice nothing. */
function full(quietOld: number, quietFresh: number): void {
  const rows = FLOWS;
  const bench = new Bench(rows);
  bench.fill(manyHosts, rows);
  const attack = bench.link(packets((n) => manyHosts(rows + n), 100_000));
  print('new flows, full table', bench.measure(attack, BATCHES), quietFresh);
  const innocent = bench.link(packets(manyHosts, 1000));
  const between = () => void cycle(bench.engine, attack, bench.batch);
  print('established, 1,000 flows beside refused newcomers', bench.measure(innocent, BATCHES, between), quietOld);
}

/** Every flow but 1,000 is past its time: slices of the sweep stand between the batches. */
function expiry(quiet: number): void {
  const bench = new Bench(FLOWS);
  bench.fill(manyHosts, FLOWS);
  bench.now += 290_000;
  const innocent = bench.link(packets(manyHosts, 1000));
  for (let i = 0; i < 10; i++) cycle(bench.engine, innocent, bench.batch);
  bench.now += 60_000;
  const slices: number[] = [];
  const { sweeper, plan } = bench.engine;
  const costs = bench.measure(innocent, BATCHES, (i) => {
    if (i % 20 !== 0 && !sweeper.behind) return;
    const from = cpuMicros();
    sweeper.step(bench.now / 1000, plan.timeouts);
    slices.push(cpuMicros() - from);
  });
  print('established, 1,000 flows while a million expire', costs, quiet);
  print('one slice of the sweep while a million expire', slices);
}

function flooded(quiet: number): void {
  const bench = new Bench(FLOWS);
  const tuples = collidingElsewhere(100_000);
  print(
    'new flows, tuples that collide under another key',
    bench.measure(bench.link(packets(tuples, 100_000)), 20),
    quiet,
  );
}

const quietOld = quietEstablished();
const quietFresh = quietNew();
established('established, 1,000,000 flows of one host', oneHost, quietOld);
established('established, 1,000,000 flows of 65,000 hosts', manyHosts, quietOld);
full(quietOld, quietFresh);
expiry(quietOld);
flooded(quietFresh);
