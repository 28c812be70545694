/** The kernel's conntrack, steered by the older iptables (xtables), where the machine still has it. */
import { IPERF, NEIGHBOUR } from '../lib/stage.js';
import { CONNTRACK, conntrackFlows, conntrackLimit, forgetFlows, forwarding, patience } from './netfilter.js';
import { type Peer, ROUTED } from './peer.js';

const RULES = `*nat
-A PREROUTING -d 203.0.113.10 -p tcp --dport ${IPERF} -j DNAT --to-destination ${NEIGHBOUR}
-A POSTROUTING -o wan -j MASQUERADE
-A POSTROUTING -o lan -s 172.22.0.0/16 -j MASQUERADE
-A POSTROUTING -o lan2 -s 172.22.0.0/16 -j MASQUERADE
COMMIT
`;

export const iptables: Peer = {
  name: 'iptables-legacy',
  settings: `three MASQUERADE rules and one DNAT rule; ${CONNTRACK}`,
  router: true,
  thorough: false,
  async missing({ router }) {
    try {
      const { code, stderr } = await router.run(['iptables-legacy', '-t', 'nat', '-S']);
      return code === 0 ? '' : (stderr.trim().split('\n')[0] ?? 'it failed');
    } catch {
      return 'iptables-legacy is not installed';
    }
  },
  async start({ router }) {
    forwarding(router, true);
    await router.must(['iptables-legacy-restore'], { input: RULES });
    patience(router);
    return ROUTED;
  },
  async stop({ router }) {
    await router.must(['iptables-legacy', '-t', 'nat', '-F']);
    forwarding(router, false);
    await forgetFlows(router);
  },
  flows: conntrackFlows,
  limit: conntrackLimit,
};
