/**
 * LAN to LAN through two routers that are joined by a WireGuard link, all on this machine: tungate, beside kernel routers with wireguard-go, in turns. One JSON
 * line each: rate, and what both routers' daemons paid for a gigabit (the kernel's forwarding is not in it, on either side).
 *
 *     node dist/bench/link/wireguard-sites.js [--rounds 3] [--seconds 4] [--streams 1] [--peers tungate,wireguard-go]
 */
import { parseArgs } from 'node:util';
import { becomeNamespaceRoot, iperf, Lab, needTools, wireguardGo } from '../../src/lab/index.js';
import { D, kernelSites, type RoutedSites, tungateSites } from './routed-sites.js';

await becomeNamespaceRoot();
needTools(['wg', 'iperf3', 'ethtool']);
const { values } = parseArgs({
  options: {
    rounds: { type: 'string', default: '3' },
    seconds: { type: 'string', default: '4' },
    streams: { type: 'string', default: '1' },
    peers: { type: 'string', default: 'tungate,wireguard-go' },
  },
});
const STARTS: Readonly<Record<string, (lab: Lab) => Promise<RoutedSites>>> = {
  tungate: tungateSites,
  'wireguard-go': (lab) => kernelSites(lab, wireguardGo),
};

interface Figure {
  readonly gbps: number;
  readonly cpu: number;
}

async function measure(peer: string): Promise<Record<'out' | 'in', Figure>> {
  const lab = new Lab();
  try {
    const { a, d, cpu } = await STARTS[peer]!(lab);
    const options = { seconds: Number(values.seconds), streams: Number(values.streams) };
    await iperf(d, a, D, { ...options, seconds: 1 });
    const one = async (reverse: boolean): Promise<Figure> => {
      const before = cpu();
      const { bytes, gbps } = await iperf(d, a, D, { ...options, reverse });
      return { gbps, cpu: (cpu() - before) / ((bytes * 8) / 1e9) };
    };
    return { out: await one(false), in: await one(true) };
  } finally {
    await lab.close();
  }
}

function summary(list: readonly number[]): { median: number; min: number; max: number } {
  const sorted = [...list].sort((x, y) => x - y).map((value) => Number(value.toPrecision(3)));
  return { median: sorted[sorted.length >> 1]!, min: sorted[0]!, max: sorted.at(-1)! };
}

const peers = values.peers.split(',');
const figures = new Map<string, Record<'out' | 'in', Figure>[]>(peers.map((peer) => [peer, []]));
for (let round = 0; round < Number(values.rounds); round++) {
  for (const peer of peers) {
    const figure = await measure(peer);
    figures.get(peer)!.push(figure);
    for (const way of ['out', 'in'] as const)
      console.error(`${peer}, ${way}: ${figure[way].gbps.toFixed(2)} Gb/s, ${figure[way].cpu.toFixed(2)} CPU s/Gb`);
  }
}
for (const [peer, list] of figures) {
  for (const way of ['out', 'in'] as const) {
    const common = { bench: 'link/wireguard-sites', peer, way, streams: Number(values.streams) };
    console.log(
      JSON.stringify({ ...common, name: 'TCP', unit: 'Gb/s', ...summary(list.map((each) => each[way].gbps)) }),
    );
    console.log(
      JSON.stringify({
        ...common,
        name: 'both daemons',
        unit: 'CPU s/Gb',
        ...summary(list.map((each) => each[way].cpu)),
      }),
    );
  }
}
