/** Suite 1: TCP throughput, one stream and eight, out, in and by hairpin; what the whole machine spent on it. */
import { iperf } from '../../src/lab/index.js';
import type { Bench, Suite } from '../lib/bench.js';
import { P, SERVER, type Stage } from '../lib/stage.js';
import type { Peer } from '../peers/peer.js';

export const WAYS = ['out', 'in', 'hairpin'] as const;

export interface TcpResult {
  readonly gbps: number;
  /** Processor seconds of the whole machine, both iperf3 included, for each 10^9 bytes. */
  readonly cpu: number;
}

export async function tcp(
  bench: Bench,
  { client, neighbour, server }: Stage,
  way: (typeof WAYS)[number],
  streams: number,
  seconds = bench.options.seconds,
): Promise<TcpResult> {
  const [listener, to] = way === 'hairpin' ? [neighbour, P] : [server, SERVER];
  const { result, busy } = await bench.calm.measure(() =>
    iperf(listener, client, to, { seconds, streams, reverse: way === 'in' }),
  );
  return { gbps: result.gbps, cpu: busy / (result.bytes / 1e9) };
}

export function waysOf(peer: Peer): readonly (typeof WAYS)[number][] {
  return peer.router ? WAYS : ['out', 'in'];
}

export const suite: Suite = {
  name: 'tcp',
  title: 'TCP throughput',
  method:
    'iperf3, MTU 1500 on veth pairs with offloads, congestion control cubic (reno where a namespace may not have it). The rate is what the receiver counted. "In" is what the server sends to a client that began the connection. Hairpin: the client reaches a host of another LAN by a forward of P.',
  metrics: { gbps: { title: 'throughput', unit: 'Gb/s', better: 'more', plot: true } },
  tools: ['iperf3'],
  async run(bench) {
    await bench.rounds(async (peer) => {
      await tcp(bench, bench.stage, 'out', 1, 1); // warm-up
      for (const streams of bench.options.quick ? [1] : [1, 8])
        for (const way of waysOf(peer)) {
          const { gbps } = await tcp(bench, bench.stage, way, streams);
          bench.record(peer, `${streams} stream${streams > 1 ? 's' : ''} ${way}`, { gbps });
        }
    });
  },
};
