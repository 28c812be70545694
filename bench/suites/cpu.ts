/** Suite 7: processor seconds for a gigabyte. Far steadier than a rate, and what a shared host pays. */
import type { Suite } from '../lib/bench.js';
import { tcp, waysOf } from './tcp.js';

export const suite: Suite = {
  name: 'cpu',
  title: 'Processor time a gigabyte',
  method:
    'Seconds that all processors of the machine were busy (/proc/stat) while one TCP stream ran, client and server included, divided by the 10^9 bytes that arrived.',
  metrics: { cpu: { title: 'busy time', unit: 's/GB', better: 'less', plot: true } },
  tools: ['iperf3'],
  async run(bench) {
    await bench.rounds(async (peer) => {
      await tcp(bench, bench.stage, 'out', 1, 1); // warm-up
      for (const way of waysOf(peer)) {
        const { cpu } = await tcp(bench, bench.stage, way, 1);
        bench.record(peer, `one stream ${way}`, { cpu });
      }
    });
  },
};
