/**
 * A tunnel from end to end on the real kernel: two hosts on this machine, TCP through the tunnel, tungate at both ends beside what its users would
 * pick instead at both ends, in turns. One JSON line each: rate, and what both daemons paid for a gigabit.
 *
 *     node dist/bench/link/wireguard-tunnel.js [--rounds 3] [--seconds 4] [--peers tungate,OpenVPN]
 *
 * A peer whose programs are not installed is named and left out (`node scripts/setup.mjs bench` fetches them).
 */
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { becomeNamespaceRoot, buildSites, iperf, Lab, needTools, tungateWg, wireguardGo } from '../../src/lab/index.js';
import { ETHERNET_TUNNELS, IP_TUNNELS, missingTools, type Tunnel, wireguard } from './tunnels.js';

await becomeNamespaceRoot();
needTools(['wg', 'iperf3', 'ethtool']);
const { values } = parseArgs({
  options: {
    rounds: { type: 'string', default: '3' },
    seconds: { type: 'string', default: '4' },
    peers: { type: 'string' },
  },
});
const CLI = join(dirname(fileURLToPath(import.meta.url)), '..', '..', 'src', 'cli.js');
const PEERS: readonly Tunnel[] = [
  wireguard('tungate', '`tungate wg`, its defaults', 'node', tungateWg(CLI)),
  wireguard('wireguard-go', 'its defaults', 'wireguard-go', wireguardGo),
  ...IP_TUNNELS,
  ...ETHERNET_TUNNELS,
].filter((peer) => {
  if (values.peers && !values.peers.split(',').includes(peer.name)) return false;
  const missing = missingTools(peer);
  if (missing.length > 0) console.error(`${peer.name} is left out: ${missing.join(', ')} not found`);
  return missing.length === 0;
});

interface Figure {
  readonly gbps: number;
  /** Seconds of processor time a gigabit, of both daemons. */
  readonly cpu: number;
}

async function measure(peer: Tunnel, offload: boolean, seconds: number): Promise<Figure> {
  const lab = new Lab();
  try {
    const { a, b } = buildSites(lab);
    for (const { host } of [a, b]) {
      await host.must(['ethtool', '-K', 'eth0', 'tx-udp-segmentation', offload ? 'on' : 'off']);
    }
    const { to, cpu } = await peer.start(a, b);
    await iperf(b.host, a.host, to, { seconds: 1 });
    const before = cpu();
    const { bytes, gbps } = await iperf(b.host, a.host, to, { seconds });
    return { gbps, cpu: (cpu() - before) / ((bytes * 8) / 1e9) };
  } finally {
    await lab.close();
  }
}

function summary(values: readonly number[]): { median: number; min: number; max: number } {
  const sorted = [...values].sort((x, y) => x - y).map((value) => Number(value.toPrecision(3)));
  return { median: sorted[sorted.length >> 1]!, min: sorted[0]!, max: sorted.at(-1)! };
}

for (const offload of [true, false]) {
  const figures = new Map<string, Figure[]>(PEERS.map(({ name }) => [name, []]));
  for (let round = 0; round < Number(values.rounds); round++) {
    for (const peer of PEERS) {
      const { name } = peer;
      const figure = await measure(peer, offload, Number(values.seconds));
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
  const ours = medians.get('tungate')!;
  for (const [peer, rate] of medians) {
    if (peer === 'tungate') continue;
    console.log(
      JSON.stringify({
        bench: 'link/wireguard-tunnel',
        peer,
        'udp-segmentation': offload,
        name: "tungate's rate by the peer's",
        unit: '×',
        median: Number((ours / rate).toPrecision(3)),
      }),
    );
  }
}
