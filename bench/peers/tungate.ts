/** The daemon as a user starts it, with a config file. */
import { readFileSync } from 'node:fs';
import { Daemon } from '../../src/lab/index.js';
import type { Peer } from './peer.js';

const CONFIG = `uplink: { interface: wan, address: auto, ports: "20000-49999" }
lans:
  - { interface: lan, subnet: 172.22.161.0/24 }
metrics: { listen: off }
`;

export function tungate(): Peer {
  let daemon: Daemon;
  return {
    name: 'tungate',
    async start(router) {
      daemon = await Daemon.start(router, CONFIG);
    },
    async stop() {
      const code = await daemon.stop();
      if (code !== 0) throw new Error(`tungate ended with ${code}\n${daemon.process.tail()}`);
    },
    memory() {
      // nsenter has become the daemon by exec: the pid is its own.
      const status = readFileSync(`/proc/${daemon.process.child.pid}/status`, 'utf8');
      return Number(/VmRSS:\s+(\d+)/.exec(status)![1]) / 1024;
    },
    async flows() {
      return (await daemon.json<{ flows: { live: number } }>('status')).flows.live;
    },
  };
}
