/** pasta: passt for network namespaces, one host socket a flow, spliced between TAP and sockets. */
import type { Process } from '../../src/lab/index.js';
import { P, SERVER } from '../lib/stage.js';
import type { Peer } from './peer.js';
import { returnToWire, tapReady } from './tap.js';

let running: Process | undefined;

export const pasta: Peer = {
  name: 'pasta',
  settings: '--mtu 65520, which is its fastest; no port forwarding, no DNS, no map of the gateway; one socket a flow',
  router: false,
  thorough: false,
  async missing({ router }) {
    try {
      return (await router.run(['pasta', '--version'])).code === 0 ? '' : 'it does not start';
    } catch {
      return 'pasta is not installed';
    }
  },
  async start({ router, client }) {
    client.ip('route del default');
    running = router.spawn([
      ...['pasta', '--foreground', '--stderr', '--config-net', '--ipv4-only', '--no-map-gw', '--mtu', '65520'],
      ...['--address', P, '--netmask', '24', '--gateway', SERVER, '--interface', 'wan', '--ns-ifname', 'tap0'],
      ...['--tcp-ports', 'none', '--udp-ports', 'none', '--tcp-ns', 'none', '--udp-ns', 'none', '--runas', '0:0'],
      ...['--netns', `/run/netns/${client.name}`],
    ]);
    await tapReady(client, 'tap0', running);
    return { interface: 'tap0', gateway: SERVER, address: P };
  },
  async stop({ client }) {
    await running?.stop('SIGTERM', 5);
    running = undefined;
    await returnToWire(client, 'tap0');
  },
};
