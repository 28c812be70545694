/**
 * The ground of the benches, without bridges, so that the router's work stands out:
 *
 *   client 172.22.161.170 ──── lan  ┌────────┐ wan ──── 203.0.113.1 server, and 198.18.0.0/15 behind it
 *   neighbour 172.22.162.20 ── lan2 │ router │ 203.0.113.10 = P
 *                                   └────────┘                        veth pairs with offloads
 *
 * Peers that translate for one namespace through a TAP of their own (slirp4netns, pasta) run in the router's namespace and
 * put that TAP into the client's; the wire `lan` then lies idle.
 */
import { Lab, type Namespace } from '../../src/lab/index.js';

export const SERVER = '203.0.113.1';
export const P = '203.0.113.10';
export const CLIENT = '172.22.161.170';
export const NEIGHBOUR = '172.22.162.20';
/** First of the addresses that the server answers to beside its own. */
export const TARGETS = '198.18.0.0';
/** Public port of P that leads to iperf3 in the neighbour, for hairpin. */
export const IPERF = 5201;
/** Inside addresses of the sustained connections: .171 to .190. */
export const SOURCES = { first: '172.22.161.171', count: 20 } as const;

export interface Stage {
  readonly lab: Lab;
  readonly client: Namespace;
  readonly neighbour: Namespace;
  readonly router: Namespace;
  readonly server: Namespace;
}

export function buildStage(): Stage {
  const lab = new Lab();
  const [client, neighbour, router, server] = ['client', 'neighbour', 'router', 'server'].map((role) =>
    lab.namespace(role),
  ) as [Namespace, Namespace, Namespace, Namespace];
  router.ip(
    `link add lan type veth peer name eth0 netns ${client.name}`,
    `link add lan2 type veth peer name eth0 netns ${neighbour.name}`,
    `link add wan type veth peer name eth0 netns ${server.name}`,
    'link set lan up',
    'link set lan2 up',
    'link set wan up',
    'addr add 172.22.161.1/24 dev lan',
    'addr add 172.22.162.1/24 dev lan2',
    `addr add ${P}/24 dev wan`,
    `route add default via ${SERVER}`,
  );
  client.ip(
    'link set eth0 up',
    `addr add ${CLIENT}/24 dev eth0`,
    ...Array.from({ length: SOURCES.count }, (_, n) => `addr add 172.22.161.${171 + n}/24 dev eth0`),
    'route add default via 172.22.161.1',
  );
  neighbour.ip('link set eth0 up', `addr add ${NEIGHBOUR}/24 dev eth0`, 'route add default via 172.22.162.1');
  // Connections come in from anywhere: 10.0.2.100 is slirp4netns' idea of its client, and nothing else is asked for.
  server.ip('link set eth0 up', `addr add ${SERVER}/24 dev eth0`, `route add local ${TARGETS}/15 dev lo`);
  for (const each of [client, neighbour, router, server]) {
    each.sysctl('net.ipv4.conf.all.rp_filter=0', 'net.ipv4.conf.default.rp_filter=0');
    for (const name of each === router ? ['lan', 'lan2', 'wan'] : ['eth0'])
      each.sysctl(`net.ipv4.conf.${name}.rp_filter=0`);
  }
  for (const each of [client, neighbour, server])
    each.sysctl(
      'net.core.somaxconn=4096',
      'net.ipv4.tcp_max_syn_backlog=4096',
      'net.ipv4.ip_local_port_range=1024 65535',
      'net.ipv4.tcp_tw_reuse=1',
    );
  return { lab, client, neighbour, router, server };
}
