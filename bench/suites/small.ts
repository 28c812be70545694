/** Suite 2: small packets, the highest rate of 64-byte UDP that loses at most one in a thousand. */
import type { Bench, Suite } from '../lib/bench.js';
import { macOf, ownMac, pass, type Stream } from '../lib/load.js';
import { highestRate } from '../lib/search.js';
import { P, SERVER, TARGETS } from '../lib/stage.js';
import { FIRST_FORWARD, type Way } from '../peers/peer.js';

export const LOSS = 0.001;
/** A hundred: what one busy host has. Other numbers are the growth suite's. */
const FLOWS = 100;

/** From the client by this way to the server, spread over that many flows. */
export async function outward(bench: Bench, way: Way, flows: number): Promise<Stream> {
  const { client } = bench.stage;
  const own = await ownMac(client, way.interface);
  const mac = await macOf(client, way.interface, way.gateway);
  const base = { interface: way.interface, mac, 'own-mac': own, dport: 7000, flows, sport: 5000 };
  // One inside host is enough for a thousand flows, and all that a peer for one namespace can have.
  if (flows <= 1000) return { ...base, from: way.address, to: SERVER, sports: flows };
  const to = TARGETS.replace(/0$/, '1');
  return { ...base, from: '172.22.161.2', sources: 250, sports: 4, to, targets: Math.ceil(flows / 1000) };
}

/** From the server to that many forwards of P, spread over that many flows. */
export async function inward(bench: Bench, forwards: number, flows: number): Promise<Stream> {
  const { server } = bench.stage;
  const own = await ownMac(server, 'eth0');
  const mac = await macOf(server, 'eth0', P);
  return {
    ...{ interface: 'eth0', mac, 'own-mac': own, from: SERVER, to: P, flows },
    ...{ sport: 10_000, sports: Math.ceil(flows / forwards) },
    ...{ dport: FIRST_FORWARD, dports: forwards, 'dport-step': 2 },
  };
}

/** Packets a second: the best of a bounded search, each trial of `seconds`. */
export function capacity(bench: Bench, stream: Stream, direction: 'out' | 'in', seconds: number): Promise<number> {
  const { client, server } = bench.stage;
  const [from, to] = direction === 'out' ? [client, server] : [server, client];
  return highestRate(
    async (rate) => {
      const { result } = await bench.calm.measure(() => pass(from, to, stream, { rate, seconds }));
      return result;
    },
    { loss: LOSS, trials: bench.options.quick ? 3 : 6 },
  );
}

export const suite: Suite = {
  name: 'small',
  title: 'Small packets',
  method:
    'UDP packets of 64 bytes (IP header included) written by a packet socket with sendmmsg at a fixed rate, counted by a UDP socket. The highest rate that loses at most 0.1 %, found by halving; each trial takes a second, the rate is what arrived. One generator thread: the kernel translates on its processor, tungate on another.',
  metrics: { pps: { title: 'highest rate', unit: 'packets/s', better: 'more', plot: true } },
  async run(bench) {
    const seconds = Math.min(1, bench.options.seconds);
    await bench.rounds(async (peer, way) => {
      const stream = await outward(bench, way, FLOWS);
      await pass(bench.stage.client, bench.stage.server, stream, { rate: 20_000, seconds: 0.3 }); // warm-up
      bench.record(peer, `${FLOWS} flows out`, { pps: await capacity(bench, stream, 'out', seconds) });
    });
  },
};
