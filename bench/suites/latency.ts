/** Suite 4: what a packet waits on its way through, idle and at half load, and the longest silence at full load. */
import { iperf } from '../../src/lab/index.js';
import type { Bench, Suite } from '../lib/bench.js';
import { pass, type Received, Sink, type Stream, send } from '../lib/load.js';
import { SERVER } from '../lib/stage.js';
import type { Peer, Way } from '../peers/peer.js';
import { capacity, outward } from './small.js';

/** Probes a second. */
export const IDLE = 1000;
const BUSY = 2000;
/** Before anything counts: the first thousands of packets wait for V8 to compile what they pass through (p99.9 2.4 ms, later 0.1). */
const WARM_UP = { rate: 10_000, seconds: 1 };
/**
 * Packets that the half load may send at once. A generator that overslept owes hundreds, and then it is its burst that the probes
 * wait for: with 256 the 99th percentile was 0.32 ms, with 16 it is 0.09 (medians of 5, in turns), for 3 % less load.
 */
const DEBT = 16;

export async function probe(
  bench: Bench,
  way: Way,
  rate: number,
  seconds: number,
): Promise<Received & { sent: number }> {
  const stream = await outward(bench, way, 1);
  const { client, server } = bench.stage;
  return pass(client, server, { ...stream, sport: 4000 }, { rate, seconds, delays: true, realtime: true });
}

/** Flows that live beside a full load, so that listing, sweeping and deciding them again is work. */
const FLOWS = 10_000;
/** Milliseconds between two stirs. */
const STIR_EVERY = 250;

/** Asks and edits the peer until `act` is over. Returns how often. */
async function stirred<T>(bench: Bench, peer: Peer, act: () => Promise<T>): Promise<{ result: T; times: number }> {
  let over = false;
  let times = 0;
  const stirring = (async () => {
    while (!over) {
      await peer.stir!(bench.stage, ++times);
      await new Promise((resolve) => setTimeout(resolve, STIR_EVERY));
    }
  })();
  try {
    return { result: await act(), times };
  } finally {
    over = true;
    await stirring;
  }
}

/** One TCP stream as fast as it goes, and probes beside it. */
async function fullLoad(bench: Bench, way: Way, seconds: number): Promise<Received & { sent: number }> {
  const { client, server } = bench.stage;
  await iperf(server, client, SERVER, { seconds: 1 });
  const { result } = await bench.calm.measure(async () => {
    const full = iperf(server, client, SERVER, { seconds: seconds + 1 });
    await new Promise((resolve) => setTimeout(resolve, 500));
    const seen = await probe(bench, way, BUSY, seconds - 0.5);
    await full;
    return seen;
  });
  return result;
}

const delays = ({ p50 = 0, p99 = 0, p999 = 0 }: Received) => ({ p50, p99, p999 });

/** Half of what the slower of kernel and tungate can do: the same load for everybody, and one that everybody bears. */
async function halfLoad(bench: Bench, routers: readonly Peer[]): Promise<number> {
  const rates: number[] = [];
  for (const peer of routers)
    await bench.with(peer, {}, async (way) => {
      rates.push(await capacity(bench, await outward(bench, way, 100), 'out', 1));
    });
  return Math.round(Math.min(...rates) / 2);
}

/** Packets at `rate` on other ports while `act` runs. */
async function beside<T>(
  bench: Bench,
  stream: Stream,
  rate: number,
  seconds: number,
  act: () => Promise<T>,
): Promise<T> {
  const { client, server } = bench.stage;
  const sink = await Sink.start(server, 7001);
  const load = send(client, { ...stream, dport: 7001 }, { rate, seconds: seconds + 1, run: sink.run, debt: DEBT });
  try {
    await new Promise((resolve) => setTimeout(resolve, 300));
    return await act();
  } finally {
    await load;
    await sink.end();
  }
}

export const suite: Suite = {
  name: 'latency',
  title: 'Latency',
  method: `Probes of 64 bytes, 1,000 a second (2,000 at full load), stamped by a sender with real-time priority and by the server's kernel on arrival, so that neither program's sleep counts, after 10,000 others. Half load: 64-byte packets beside them at half the rate that the slower of the kernel and tungate carries without loss, the same for both, in bursts of at most ${DEBT}. Full load: one TCP stream as fast as it goes; the gap is the longest silence of the probes beyond the sender's own. Then the same with 10,000 flows while, four times a second, metrics are scraped and status and all flows read, and each second time 100 forwards are edited and the config is loaded again. The added latency is the difference from the kernel.`,
  metrics: {
    p50: { title: 'p50', unit: 'µs', better: 'less', compare: 'difference', plot: true },
    p99: { title: 'p99', unit: 'µs', better: 'less', compare: 'difference' },
    p999: { title: 'p99.9', unit: 'µs', better: 'less', compare: 'difference' },
    gap: { title: 'longest gap', unit: 'ms', better: 'less', compare: 'difference' },
    lost: { title: 'probes lost', unit: '%', better: 'less', compare: 'none' },
  },
  tools: ['iperf3'],
  async run(bench) {
    const { seconds, quick } = bench.options;
    await bench.rounds(async (peer, way) => {
      await probe(bench, way, WARM_UP.rate, WARM_UP.seconds);
      const { result } = await bench.calm.measure(() => probe(bench, way, IDLE, seconds));
      bench.record(peer, 'idle', delays(result));
    });
    const routers = { only: (peer: Peer) => peer.router };
    const load = await halfLoad(
      bench,
      bench.peers.filter((peer) => peer.router),
    );
    bench.say(`half load is ${load} packets/s`);
    await bench.rounds(async (peer, way) => {
      const stream = await outward(bench, way, 100);
      await probe(bench, way, WARM_UP.rate, WARM_UP.seconds);
      const { result } = await bench.calm.measure(() =>
        beside(bench, stream, load, seconds, () => probe(bench, way, BUSY, seconds)),
      );
      bench.record(peer, 'half load', delays(result));
    }, routers);
    const long = quick ? 3 : 20 * seconds;
    const thorough = { only: (peer: Peer) => peer.thorough, rounds: quick ? 1 : Math.min(3, bench.options.rounds) };
    const full = (result: Received & { sent: number }) => {
      const lost = 100 * (1 - result.received / result.sent);
      return { ...delays(result), gap: (result.gap ?? 0) / 1000, lost };
    };
    await bench.rounds(async (peer, way) => {
      bench.record(peer, `full load, ${long} s`, full(await fullLoad(bench, way, long)));
    }, thorough);
    await bench.rounds(
      async (peer, way) => {
        const { client, server } = bench.stage;
        const many = await outward(bench, way, FLOWS);
        await pass(client, server, many, { rate: 50_000, seconds: 5, packets: FLOWS });
        const { result, times } = await stirred(bench, peer, () => fullLoad(bench, way, long));
        bench.say(`${peer.name}: scraped and listed ${times} times, ${Math.ceil(times / 2)} reloads`);
        bench.record(peer, `full load and reloads, ${long} s`, full(result));
      },
      { ...thorough, only: (peer) => peer.thorough && peer.stir !== undefined },
    );
  },
};
