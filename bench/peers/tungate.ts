/** The daemon as a user starts it, with a config file. */
import { readdirSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import type { ReloadAnswer, Status } from '../../src/contract/api.js';
import { call, callBytes } from '../../src/control/client.js';
import { Daemon } from '../../src/lab/index.js';
import { IPERF, NEIGHBOUR } from '../lib/stage.js';
import { FIRST_FORWARD, type Peer, ROUTED, type Setup } from './peer.js';

/** Seconds that start and stop may take with 10,000 forwards before something is wrong. */
const PATIENCE = 120;

/** Forwards that an operator edits (`stir`), below the pool and beside the bench's own. */
const EDITED = 100;

function config({ forwards = 0, flows = 0 }: Setup, edit = 0): string {
  const ports = [
    ...Array.from({ length: forwards }, (_, n) => `  - "${FIRST_FORWARD + 2 * n}:172.22.161.170:7000/udp"\n`),
    ...Array.from({ length: edit && EDITED }, (_, n) => `  - "${10_000 + n}:${NEIGHBOUR}:${20_000 + n + edit}/tcp"\n`),
  ];
  // Up to 1,000,000 flows from 250 addresses: no host comes near its own limits. The pool makes room for many forwards only.
  return `uplink: { interface: wan, address: auto, ports: "${forwards > 0 ? '10100-29999' : '20000-49999'}" }
lans:
  - { interface: lan, subnet: 172.22.161.0/24 }
  - { interface: lan2, subnet: 172.22.162.0/24 }
forwards:
  - "${IPERF}:${NEIGHBOUR}:${IPERF}/tcp"
${ports.join('')}${flows > 200_000 ? `limits: { flows: ${flows * 2}, per_host: 0 }` : 'limits: { per_host: 0 }'}
metrics: { listen: off }
`;
}

export function tungate(): Peer {
  let daemon: Daemon;
  return {
    name: 'tungate',
    settings:
      'the daemon with its defaults; no limit on ports per host, as the kernel has none; limits.flows is twice 1,000,000 for as many flows, as each is to a remote address of its own, and the table has room for 0.54 such pairs a row',
    router: true,
    thorough: true,
    missing: async () => '',
    async start({ router }, setup = {}) {
      daemon = new Daemon(router, config(setup));
      daemon.launch();
      await daemon.process.waitFor(/\bready\b/, PATIENCE);
      return ROUTED;
    },
    async stop() {
      const code = await daemon.process.stop('SIGTERM', PATIENCE);
      if (code !== 0) throw new Error(`tungate ended with ${code}\n${daemon.process.tail()}`);
    },
    /** Scrapes and asks each time; each second time the forwards are edited and the config loaded again. */
    async stir(_, n) {
      const socket = join(runtimeOf(daemon), 'api.sock');
      await callBytes(socket, 'GET', '/metrics');
      await call<Status>(socket, 'GET', '/status');
      await callBytes(socket, 'GET', '/flows');
      if (n % 2 === 0) return;
      daemon.configure(config({}, n));
      await call<ReloadAnswer>(socket, 'POST', '/reload');
    },
    async flows() {
      return (await daemon.json<{ flows: { live: number } }>('status')).flows.live;
    },
    async memory() {
      // nsenter has become the daemon by exec: the pid is its own.
      const rollup = readFileSync(`/proc/${daemon.process.child.pid}/smaps_rollup`, 'latin1');
      const of = (name: string) => Number(new RegExp(`^${name}:\\s+(\\d+)`, 'm').exec(rollup)?.[1]) * 1024;
      // The table is a file on tmpfs.
      return { rss: of('Rss'), pss: of('Pss'), table: statSync(join(runtimeOf(daemon), 'flows')).blocks * 512 };
    },
  };
}

/** The folder of the one router that runs there. */
function runtimeOf({ runtimeDir }: Daemon): string {
  const [name = ''] = readdirSync(runtimeDir);
  return join(runtimeDir, name);
}
