/** The kernel's own: conntrack and masquerade by nftables. What everything else is compared with. */
import type { Namespace } from '../../src/lab/index.js';
import type { Peer } from './peer.js';

const RULES = `
table ip bench {
  chain post {
    type nat hook postrouting priority 100;
    oifname "wan" masquerade
  }
}
`;

export function nftables(): Peer {
  let router: Namespace;
  return {
    name: 'kernel nftables',
    async start(ns) {
      router = ns;
      router.sysctl('net.ipv4.ip_forward=1');
      await router.must(['nft', '-f', '-'], { input: RULES });
    },
    async stop() {
      await router.must(['nft', 'delete', 'table', 'ip', 'bench']);
      router.sysctl('net.ipv4.ip_forward=0');
    },
  };
}
