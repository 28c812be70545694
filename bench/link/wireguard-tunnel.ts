/**
 * A WireGuard tunnel from end to end on the real kernel: two hosts on this machine, TCP through the tunnel, tungate at both ends beside wireguard-go at
 * both ends, in turns. One JSON line each: rate, and what both daemons paid for a gigabit.
 *
 *     node dist/bench/link/wireguard-tunnel.js [--rounds 3] [--seconds 4]
 */
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import {
  becomeNamespaceRoot,
  buildSites,
  endpoint,
  type Implementation,
  INSIDE,
  iperf,
  Lab,
  needTools,
  OUTSIDE,
  tungateWg,
  wireguardGo,
} from '../../src/lab/index.js';

await becomeNamespaceRoot();
needTools(['wireguard-go', 'wg', 'iperf3', 'ethtool']);
const { values } = parseArgs({
  options: { rounds: { type: 'string', default: '3' }, seconds: { type: 'string', default: '4' } },
});
const CLI = join(dirname(fileURLToPath(import.meta.url)), '..', '..', 'src', 'cli.js');
const PEERS: readonly (readonly [string, Implementation])[] = [
  ['tungate', tungateWg(CLI)],
  ['wireguard-go', wireguardGo],
];

interface Figure {
  readonly gbps: number;
  /** Seconds of processor time a gigabit, of both daemons. */
  readonly cpu: number;
}

async function measure(implementation: Implementation, offload: boolean, seconds: number): Promise<Figure> {
  const lab = new Lab();
  try {
    const { a, b } = buildSites(lab);
    for (const { host } of [a, b]) {
      await host.must(['ethtool', '-K', 'eth0', 'tx-udp-segmentation', offload ? 'on' : 'off']);
    }
    await a.start(implementation, { LOG_LEVEL: 'error' });
    await b.start(implementation, { LOG_LEVEL: 'error' });
    await b.peer(a, undefined);
    await a.peer(b, endpoint(OUTSIDE.b));
    await a.host.must(['ping', '-c', '1', '-W', '5', INSIDE.b]);
    await iperf(b.host, a.host, INSIDE.b, { seconds: 1 });
    const before = a.cpu() + b.cpu();
    const { bytes, gbps } = await iperf(b.host, a.host, INSIDE.b, { seconds });
    return { gbps, cpu: (a.cpu() + b.cpu() - before) / ((bytes * 8) / 1e9) };
  } finally {
    await lab.close();
  }
}

function summary(values: readonly number[]): { median: number; min: number; max: number } {
  const sorted = [...values].sort((x, y) => x - y).map((value) => Number(value.toPrecision(3)));
  return { median: sorted[sorted.length >> 1]!, min: sorted[0]!, max: sorted.at(-1)! };
}

for (const offload of [true, false]) {
  const figures = new Map<string, Figure[]>(PEERS.map(([name]) => [name, []]));
  for (let round = 0; round < Number(values.rounds); round++) {
    for (const [name, implementation] of PEERS) {
      const figure = await measure(implementation, offload, Number(values.seconds));
      figures.get(name)!.push(figure);
      console.error(
        `${name}, UDP segmentation ${offload ? 'on' : 'off'}: ${figure.gbps.toFixed(2)} Gb/s, ${figure.cpu.toFixed(2)} CPU s/Gb`,
      );
    }
  }
  const medians = new Map<string, number>();
  for (const [peer, list] of figures) {
    const rate = summary(list.map(({ gbps }) => gbps));
    medians.set(peer, rate.median);
    const common = { bench: 'link/wireguard-tunnel', peer, 'udp-segmentation': offload };
    console.log(JSON.stringify({ ...common, name: 'TCP, 1 stream', unit: 'Gb/s', ...rate }));
    console.log(
      JSON.stringify({ ...common, name: 'both daemons', unit: 'CPU s/Gb', ...summary(list.map(({ cpu }) => cpu)) }),
    );
  }
  const ratio = medians.get('tungate')! / medians.get('wireguard-go')!;
  console.log(
    JSON.stringify({
      bench: 'link/wireguard-tunnel',
      'udp-segmentation': offload,
      name: 'ratio of the rates',
      unit: '×',
      median: Number(ratio.toPrecision(3)),
    }),
  );
}
