/** The kernel's own: conntrack and masquerade by nftables. What everything else is compared with. */
import { IPERF, NEIGHBOUR } from '../lib/stage.js';
import {
  CONNTRACK,
  conntrackFlows,
  conntrackLimit,
  conntrackMemory,
  forgetFlows,
  forwarding,
  patience,
} from './netfilter.js';
import { FIRST_FORWARD, type Peer, ROUTED, type Setup } from './peer.js';

function rules({ forwards = 0 }: Setup): string {
  const ports = Array.from({ length: forwards }, (_, n) => `${FIRST_FORWARD + 2 * n} : 172.22.161.170`);
  const map = ports.length > 0 ? `udp dport map { ${ports.join(', ')} }` : '';
  return `
table ip bench {
  chain pre {
    type nat hook prerouting priority -100;
    ip daddr 203.0.113.10 tcp dport ${IPERF} dnat to ${NEIGHBOUR}
    ${map && `ip daddr 203.0.113.10 dnat to ${map} : 7000`}
  }
  chain post {
    type nat hook postrouting priority 100;
    oifname "wan" masquerade
    oifname { "lan", "lan2" } ip saddr 172.22.0.0/16 masquerade
  }
}
`;
}

export const nftables: Peer = {
  name: 'kernel nftables',
  settings: `masquerade in one postrouting chain, forwards as one verdict map (no rule a forward); ${CONNTRACK}`,
  router: true,
  thorough: true,
  missing: async () => '',
  async start({ router }, setup = {}) {
    forwarding(router, true);
    await router.must(['nft', '-f', '-'], { input: rules(setup) });
    patience(router);
    return ROUTED;
  },
  async stop({ router }) {
    await router.must(['nft', 'delete', 'table', 'ip', 'bench']);
    forwarding(router, false);
    await forgetFlows(router);
  },
  flows: conntrackFlows,
  memory: conntrackMemory,
  limit: conntrackLimit,
};
