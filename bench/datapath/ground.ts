/** What the benches of the engine stand on: an engine with that many flows, and one packet of each, over memory. */
import { Batch } from '../../src/batch.js';
import { counterView, newCounters } from '../../src/contract/counters.js';
import { Mapping } from '../../src/contract/plan.js';
import { tableLayout } from '../../src/contract/table-layout.js';
import { cycle } from '../../src/datapath/cycle.js';
import { Engine } from '../../src/datapath/engine.js';
import { openTable } from '../../src/flow/open.js';
import { ReplayLink } from '../../src/link/index.js';
import { native } from '../../src/native.js';
import { makePlan, SERVER } from '../../test/datapath/rig.js';
import { build } from '../../test/lib-packets.js';

/** One packet of each flow from the `first` on, in random order: a template of 64 bytes with other sources and ports (checksum 0, DF as Linux sends it). */
export function* packets(flows: number, first = 0): Generator<Uint8Array> {
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
    const n = first + order[j]!;
    order[j] = order[i]!;
    // Endpoint-dependent mapping: ports are shared, so that there are more flows than ports.
    v.setInt32(12, 0xac16a102 + (n % 250));
    v.setInt32(16, 0xc6330000 + ((n / 30_000) | 0));
    v.setUint16(20, 20_000 + (n % 30_000));
    v.setUint16(22, 9);
    yield packet.slice();
  }
}

export function engineFor(flows: number): Engine {
  const rows = Math.max(flows * 1.05, 16_384) | 0;
  const { table } = openTable(
    native.mapAnonymous(tableLayout(rows).bytes, true),
    rows,
    new Int32Array(4),
    1000,
    native,
  );
  table.quarantine = 0;
  const plan = makePlan({ nat: [{ mapping: Mapping.ENDPOINT_DEPENDENT }] });
  return new Engine(table, plan, counterView(newCounters()));
}

export const linkFor = (flows: number) => new ReplayLink(packets(flows), { clock: () => 1_000_000 });

/** An engine in which every packet of `link` has its flow. */
export function filled(flows: number): { engine: Engine; link: ReplayLink; batch: Batch } {
  const engine = engineFor(flows);
  const link = linkFor(flows);
  const batch = new Batch();
  for (let done = 0; done < flows; ) done += cycle(engine, link, batch);
  return { engine, link, batch };
}
