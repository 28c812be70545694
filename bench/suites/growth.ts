/** Suite 5: what it costs that there are many live flows, and many forwards that do not merge. */
import type { Bench, Suite } from '../lib/bench.js';
import { pass, type Stream } from '../lib/load.js';
import type { Peer, Setup, Way } from '../peers/peer.js';
import { nginx, wrk } from './connections.js';
import { IDLE, probe } from './latency.js';
import { capacity, inward, outward } from './small.js';
import { tcp } from './tcp.js';

export const FLOWS = [1, 1000, 100_000, 1_000_000] as const;
export const FORWARDS = [1, 100, 10_000] as const;
/** The flows over which inbound packets are spread, the same for each number of forwards. */
const INBOUND_FLOWS = 10_000;
const FILL_RATE = 150_000;

/** One packet of each flow, so that all of them live. Returns how many the peer then has. */
export async function fill(bench: Bench, peer: Peer, stream: Stream, direction: 'out' | 'in'): Promise<number> {
  const { client, server } = bench.stage;
  const [from, to] = direction === 'out' ? [client, server] : [server, client];
  const flows = stream.flows ?? 1;
  // Further laps, each slower, fill what the ones before lost on a machine that others use too.
  for (let lap = 0; lap < 6; lap++) {
    const rate = FILL_RATE / 2 ** lap;
    await pass(from, to, stream, { rate, packets: flows, seconds: flows / rate + 10 });
    const live = (await peer.flows?.(bench.stage)) ?? 0;
    if (live >= flows * 0.99) return live;
  }
  throw new Error(`${peer.name} holds ${await peer.flows?.(bench.stage)} flows of ${flows}`);
}

export const name = (count: number, what: string) => `${count.toLocaleString('en-US')} ${what}${count > 1 ? 's' : ''}`;

/** Peers that can have that many; the kernel's limit belongs to the machine, and the bench leaves it as it is. */
export const room = (flows: number) => (peer: Peer) =>
  peer.thorough && peer.flows !== undefined && (peer.limit?.() ?? Infinity) >= flows * 1.05;

/** Each peer's time a packet compared with its own at `base`, round by round. */
function relate(bench: Bench, base: number, what: string): void {
  const rates = bench.figures.filter(({ metric }) => metric === 'pps');
  for (const peer of bench.peers) {
    const own = rates.filter((figure) => figure.peer === peer.name && figure.case.includes(` ${what}`));
    const reference = own.find((figure) => figure.case === name(base, what))?.values;
    if (!reference) continue;
    for (const { case: at, values } of own)
      for (const [round, pps] of values.entries()) bench.record(peer, at, { cost: reference[round]! / pps });
  }
}

/** What the other suites measure, beside flows and forwards that are there already. */
async function others(bench: Bench, way: Way): Promise<Record<string, number>> {
  const seconds = Math.min(3, bench.options.seconds);
  await tcp(bench, bench.stage, 'out', 1, 1); // warm-up
  const one = await tcp(bench, bench.stage, 'out', 1, seconds);
  const back = await tcp(bench, bench.stage, 'in', 1, seconds);
  const eight = await tcp(bench, bench.stage, 'out', 8, seconds);
  const { result } = await bench.calm.measure(() => probe(bench, way, IDLE, seconds));
  const { p50 = 0, p99 = 0 } = result;
  return {
    gbps: one.gbps,
    cpu: one.cpu,
    inward: back.gbps,
    eight: eight.gbps,
    p50,
    p99,
    ...(await wrk(bench, seconds)),
  };
}

export const suite: Suite = {
  name: 'growth',
  title: 'Growth',
  method:
    'The highest loss-free rate of 64-byte packets and what the other suites measure (TCP, latency when idle, new connections) beside that many live flows, visited without order; then packets to that many forwards of single ports of which no two are neighbours, over 10,000 flows each time, steering included. The kernel takes no part above its nf_conntrack_max.',
  metrics: {
    pps: { title: 'highest rate', unit: 'packets/s', better: 'more', plot: true },
    cost: { title: 'time a packet, to 1,000 flows or one forward', unit: '×', better: 'less', compare: 'none' },
    gbps: { title: 'one TCP stream out', unit: 'Gb/s', better: 'more' },
    cpu: { title: 'TCP, busy time', unit: 's/GB', better: 'less' },
    inward: { title: 'one TCP stream in', unit: 'Gb/s', better: 'more' },
    eight: { title: '8 TCP streams out', unit: 'Gb/s', better: 'more' },
    p50: { title: 'p50', unit: 'µs', better: 'less', compare: 'difference' },
    p99: { title: 'p99', unit: 'µs', better: 'less', compare: 'difference' },
    perSecond: { title: 'new connections', unit: '/s', better: 'more' },
    errors: { title: 'wrk errors', unit: '', better: 'less', compare: 'none' },
    start: { title: 'until packets flow', unit: 's', better: 'less', compare: 'none' },
  },
  tools: ['iperf3', 'nginx', 'wrk', 'ss'],
  async run(bench) {
    const { rounds, quick } = bench.options;
    const seconds = Math.min(1, bench.options.seconds);
    const measure = (
      what: string,
      direction: 'out' | 'in',
      streamOf: (way: Way) => Promise<Stream>,
      only: (peer: Peer) => boolean,
      setup: Setup,
    ) =>
      bench.rounds(
        async (peer, way) => {
          const stream = await streamOf(way);
          await fill(bench, peer, stream, direction);
          const pps = await capacity(bench, stream, direction, seconds);
          bench.record(peer, what, { pps, ...(await others(bench, way)), start: bench.started });
        },
        { only, setup, rounds: 1 },
      );
    const server = await nginx(bench.stage);
    try {
      for (let round = 0; round < rounds; round++) {
        for (const flows of quick ? FLOWS.slice(1, 3) : FLOWS)
          await measure(name(flows, 'flow'), 'out', (way) => outward(bench, way, flows), room(flows), { flows });
        for (const forwards of quick ? FORWARDS.slice(0, 2) : FORWARDS)
          await measure(
            name(forwards, 'forward'),
            'in',
            () => inward(bench, forwards, INBOUND_FLOWS),
            room(INBOUND_FLOWS),
            { forwards },
          );
      }
    } finally {
      await server.stop();
    }
    relate(bench, FLOWS[1], 'flow');
    relate(bench, FORWARDS[0], 'forward');
  },
};
