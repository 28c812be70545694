/** Suite 6: memory at each number of flows and forwards. Not a matter of luck: one round says it. */
import type { Bench, Suite } from '../lib/bench.js';
import type { Peer, Way } from '../peers/peer.js';
import { FLOWS, FORWARDS, fill, name, room } from './growth.js';
import { inward, outward } from './small.js';

const MIB = 2 ** 20;

async function read(bench: Bench, peer: Peer, what: string, flows: number): Promise<void> {
  const bytes = await peer.memory!(bench.stage);
  const { rss, pss, table } = bytes;
  bench.record(peer, what, {
    ...(rss === undefined ? {} : { rss: rss / MIB }),
    ...(pss === undefined ? {} : { pss: pss / MIB }),
    ...(table === undefined ? {} : { table: table / MIB }),
    ...(table !== undefined && flows >= 100_000 ? { perFlow: table / flows } : {}),
  });
}

export const suite: Suite = {
  name: 'memory',
  title: 'Memory',
  method:
    'Resident (RSS) and proportional (PSS) set of the daemon, the table that is mapped into it included, and the table alone as it lies on tmpfs: it is taken whole at start and sized for the limit, not for the live flows (262,144 by default, 2,000,000 for the last row). For the kernel: the slab of its conntrack entries, without hash table and NAT extensions.',
  metrics: {
    rss: { title: 'RSS', unit: 'MiB', better: 'less', compare: 'none', plot: true },
    pss: { title: 'PSS', unit: 'MiB', better: 'less', compare: 'none' },
    table: { title: 'table', unit: 'MiB', better: 'less', compare: 'none' },
    perFlow: { title: 'table by live flow', unit: 'bytes', better: 'less', compare: 'none' },
  },
  async run(bench) {
    const able = (flows: number) => (peer: Peer) => room(flows)(peer) && peer.memory !== undefined;
    for (const flows of bench.options.quick ? [1000] : FLOWS)
      await bench.rounds(
        async (peer: Peer, way: Way) => {
          await fill(bench, peer, await outward(bench, way, flows), 'out');
          await read(bench, peer, name(flows, 'flow'), flows);
        },
        { only: able(flows), setup: { flows }, rounds: 1 },
      );
    for (const forwards of bench.options.quick ? [100] : FORWARDS)
      await bench.rounds(
        async (peer: Peer) => {
          await fill(bench, peer, await inward(bench, forwards, 10_000), 'in');
          await read(bench, peer, name(forwards, 'forward'), 10_000);
        },
        { only: able(10_000), setup: { forwards }, rounds: 1 },
      );
  },
};
