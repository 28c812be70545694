/**
 * What a flood of handshakes costs a peer's transfer: TCP through a link of tungate's, on this machine's processors, while somebody else sends initiations to
 * the router's port: 20,000 a second, and nearly as fast as they go. Each beside the same flood to a port of the router's kernel where a socket discards them,
 * in turns: what is left is tungate's own. The same flood is as many messages: as fast as each goes, the flooder would send the more of them the less
 * they cost. One JSON line each.
 *
 *     node dist/bench/link/wireguard-flood.js [--rounds 3] [--seconds 3] [--kinds wrong-mac,unknown-key,replayed]
 */
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { becomeNamespaceRoot, iperf, Lab, needTools } from '../../src/lab/index.js';
import { D, NEAR_OTHER, PORT, type RoutedSites, tungateSites } from './routed-sites.js';

await becomeNamespaceRoot();
needTools(['wg', 'iperf3', 'ethtool']);
const { values } = parseArgs({
  options: {
    rounds: { type: 'string', default: '3' },
    seconds: { type: 'string', default: '3' },
    kinds: { type: 'string', default: 'wrong-mac,unknown-key,replayed' },
  },
});
const FLOODER = join(dirname(fileURLToPath(import.meta.url)), 'flooder.js');
const DISCARD = 5999;
/** A socket that is never read: the kernel discards what its queue does not hold. */
const SINK = `const s = require('node:net'); const d = require('node:dgram').createSocket('udp4'); d.bind(${DISCARD}, () => { console.log('bound'); d.unref(); setInterval(() => {}, 1e9); }); d.on('listening', () => d.setRecvBufferSize(4096)); d.on('message', () => {});`;
const FEW = 20_000;
/** Of what the flooder can send to a socket that discards: it has to be able to send as much in each round. */
const NEARLY = 0.75;

interface Figure {
  readonly gbps: number;
  /** Processor seconds of both routers a gigabit. */
  readonly cpu: number;
  readonly perSecond: number;
}

async function measure(sites: RoutedSites, seconds: number, kind: string, to: number, rate: number): Promise<Figure> {
  const { near, absent } = sites.keys;
  const flood =
    to === 0
      ? null
      : sites.flooder.spawn([
          ...[process.execPath, FLOODER, kind, `${NEAR_OTHER}:${to}`, near.public, absent.secret, String(rate)],
        ]);
  await flood?.waitFor(/flooding/);
  const before = sites.cpu();
  const { gbps, bytes } = await iperf(sites.d, sites.a, D, { seconds });
  const cpu = (sites.cpu() - before) / ((bytes * 8) / 1e9);
  if (flood === null) return { gbps, cpu, perSecond: 0 };
  await flood.stop();
  const { sent, seconds: took } = JSON.parse(flood.stdout.trim().split('\n').at(-1)!) as {
    sent: number;
    seconds: number;
  };
  return { gbps, cpu, perSecond: sent / took };
}

const median = (list: readonly number[]): number => [...list].sort((x, y) => x - y)[list.length >> 1]!;
const digits = (value: number): number => Number(value.toPrecision(3));

const lab = new Lab();
try {
  const sites = await tungateSites(lab);
  // Each message is a packet of its own, as from many senders.
  await sites.flooder.must(['ethtool', '-K', 'eth0', 'tx-udp-segmentation', 'off']);
  const sink = sites.near.spawn([process.execPath, '-e', SINK.replace("const s = require('node:net'); ", '')]);
  await sink.waitFor(/bound/);
  const seconds = Number(values.seconds);
  await iperf(sites.d, sites.a, D, { seconds: 1 });
  for (const kind of values.kinds.split(',')) {
    const line = (await measure(sites, seconds, kind, DISCARD, 0)).perSecond;
    for (const rate of [FEW, Math.floor(line * NEARLY)]) {
      const figures = { quiet: [] as Figure[], discarded: [] as Figure[], link: [] as Figure[] };
      for (let round = 0; round < Number(values.rounds); round++) {
        figures.quiet.push(await measure(sites, seconds, kind, 0, rate));
        figures.discarded.push(await measure(sites, seconds, kind, DISCARD, rate));
        figures.link.push(await measure(sites, seconds, kind, PORT, rate));
        console.error(
          `${kind} ${rate}/s: ${Object.entries(figures)
            .map(
              ([name, list]) =>
                `${name} ${list.at(-1)!.gbps.toFixed(2)} Gb/s, ${list.at(-1)!.cpu.toFixed(2)} CPU s/Gb (${Math.round(list.at(-1)!.perSecond)}/s)`,
            )
            .join(', ')}`,
        );
      }
      const rates = Object.fromEntries(
        Object.entries(figures).map(([name, list]) => [name, median(list.map(({ gbps }) => gbps))]),
      ) as Record<keyof typeof figures, number>;
      console.log(
        JSON.stringify({
          bench: 'link/wireguard-flood',
          kind,
          'sent, 1/s': digits(median(figures.link.map(({ perSecond }) => perSecond))),
          'sent to a socket that discards, 1/s': digits(median(figures.discarded.map(({ perSecond }) => perSecond))),
          'TCP, Gb/s': digits(rates.link),
          'beside a socket that discards': digits(rates.discarded),
          'without a flood': digits(rates.quiet),
          'CPU s/Gb': digits(median(figures.link.map(({ cpu }) => cpu))),
          'CPU s/Gb beside a socket that discards': digits(median(figures.discarded.map(({ cpu }) => cpu))),
          // Of the rounds' own ratios: the machine is not the same from one to the next.
          cost: `${digits((1 - median(figures.link.map(({ gbps }, n) => gbps / figures.discarded[n]!.gbps))) * 100)} %`,
          'cost beside no flood': `${digits((1 - median(figures.link.map(({ gbps }, n) => gbps / figures.quiet[n]!.gbps))) * 100)} %`,
        }),
      );
    }
  }
  const links = await sites.daemon!.json<{ rejected: { reason: string; packets: number }[] }[]>('links');
  console.error(JSON.stringify(links[0]!.rejected.map(({ reason, packets }) => [reason, packets])));
} finally {
  await lab.close();
}
