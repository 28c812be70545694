/** slirp4netns: the TCP/IP stack of libslirp in a process, for rootless containers. */
import type { Process } from '../../src/lab/index.js';
import type { Peer } from './peer.js';
import { returnToWire, tapReady } from './tap.js';

let running: Process | undefined;

export const slirp4netns: Peer = {
  name: 'slirp4netns',
  settings:
    '--mtu=65520, which is its fastest; --disable-dns; no sandbox; it ends TCP itself and has one socket a flow',
  router: false,
  thorough: false,
  async missing({ router }) {
    try {
      return (await router.run(['slirp4netns', '--version'])).code === 0 ? '' : 'it does not start';
    } catch {
      return 'slirp4netns is not installed';
    }
  },
  async start({ router, client }) {
    const options = ['--configure', '--mtu=65520', '--disable-dns', '--disable-host-loopback', '--netns-type=path'];
    client.ip('route del default');
    running = router.spawn(['slirp4netns', ...options, `/run/netns/${client.name}`, 'tap0']);
    await tapReady(client, 'tap0', running);
    return { interface: 'tap0', gateway: '10.0.2.2', address: '10.0.2.100' };
  },
  async stop({ client }) {
    await running?.stop('SIGTERM', 5);
    running = undefined;
    await returnToWire(client, 'tap0');
  },
};
