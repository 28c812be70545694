/**
 * Two routers and a road warrior, over the provider of the standard topology (src/lab/topology.ts):
 *
 *   a 172.22.161.170 ─┐                                   ┌─ far router 192.0.2.10, 10.99.0.2 ─ 192.168.20.1 ─ d 192.168.20.5
 *                     ├─ near router P, 10.99.0.1 ─ inet ─┤
 *   b 172.22.161.20  ─┘                                   └─ phone 198.51.100.10: Debian's wireguard-go, 10.99.0.9
 *
 * Keys lie in the lab's folder, made by `tungate genkey`'s own judge, wg(8). Link names carry the pid: their sockets are the machine's.
 */
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import {
  buildTopology,
  Daemon,
  Host,
  INTERNET,
  type KernelState,
  kernelState,
  LAN,
  P,
  type Topology,
  until,
} from '../../src/lab/index.js';
import { judge } from './tools.js';

export const FAR = {
  subnet: '192.168.20.0/24',
  gateway: '192.168.20.1',
  d: '192.168.20.5',
  link: '10.99.0.2',
} as const;
/** The same places by IPv6; not where both have one subnet, which is IPv4's trouble. */
export const SIX = {
  near: { subnet: '2001:db8:1::/64', gateway: '2001:db8:1::1', a: '2001:db8:1::a', link: 'fd99::1' },
  far: { subnet: '2001:db8:20::/64', gateway: '2001:db8:20::1', d: '2001:db8:20::d', link: 'fd99::2' },
  phone: 'fd99::9',
} as const;
export const NEAR_LINK = '10.99.0.1';
export const PHONE = '10.99.0.9';
/** Where the phone's service is. */
export const PHONE_OUTSIDE = INTERNET.one;
export const LINK_MTU = 1420;

export interface Keys {
  readonly file: string;
  readonly public: string;
}

export interface SiteStage extends Topology {
  /** VM behind the far router. */
  readonly d: Host;
  readonly near: Daemon;
  readonly far: Daemon;
  readonly keys: Readonly<Record<'near' | 'far' | 'phone' | 'psk', Keys>>;
  readonly links: { readonly near: string; readonly far: string };
  /** The near router's kernel before its daemon came. */
  readonly untouched: KernelState;
}

export interface SiteOptions {
  /** The far LAN has a's own subnet, both sites are mapped, and both routers have two workers. */
  readonly sameSubnet?: boolean;
  readonly forwards?: readonly string[];
  readonly policy?: string;
}

/** Everything is up; both daemons say ready. */
export async function raiseSites(o: SiteOptions = {}): Promise<SiteStage> {
  const topology = await buildTopology();
  const { lab, router, two, a, b, one } = topology;
  try {
    const vm = lab.namespace('client-d');
    const [gateway, address] = o.sameSubnet ? ['172.22.161.1', LAN.a] : [FAR.gateway, FAR.d];
    two.ns.ip(
      'link add lan type bridge stp_state 0 forward_delay 0 mcast_snooping 0',
      'link set lan up',
      `addr add ${gateway}/24 dev lan`,
      `link add vm type veth peer name eth0 netns ${vm.name}`,
      'link set vm master lan up',
    );
    two.ns.sysctl('net.ipv4.ip_forward=0');
    vm.ip('link set eth0 up', `addr add ${address}/24 dev eth0`, `route add default via ${gateway}`);
    const d = new Host(vm, address);
    router.ns.ip(`addr add ${SIX.near.gateway}/64 dev vmbr1 nodad`);
    two.ns.ip(`addr add ${SIX.far.gateway}/64 dev lan nodad`);
    a.ns.ip(`addr add ${SIX.near.a}/64 dev eth0 nodad`, `route add default via ${SIX.near.gateway}`);
    vm.ip(`addr add ${SIX.far.d}/64 dev eth0 nodad`, `route add default via ${SIX.far.gateway}`);
    await Promise.all([
      d.serve({ tcp: [22, 7, 80], udp: [7], http: [8080] }),
      a.serve({ tcp: [22, 7], udp: [7], http: [8080] }),
      b.serve({ tcp: [7, 8000], udp: [7, 8000] }),
      router.serve({ tcp: [22] }),
      two.serve({ tcp: [22] }),
      one.serve({ tcp: [7], udp: [7] }),
      a.serve({ tcp: [7], http: [8080], ipv6: true }),
      d.serve({ tcp: [7], http: [8080], ipv6: true }),
      router.serve({ tcp: [22], ipv6: true }),
    ]);
    const keys = {
      near: await makeKeys(topology, 'near'),
      far: await makeKeys(topology, 'far'),
      phone: await makeKeys(topology, 'phone'),
      psk: await makeKeys(topology, 'psk'),
    };
    const links = { near: `n${process.pid}`, far: `f${process.pid}` };
    const stage = {
      ...topology,
      d,
      keys,
      links,
      untouched: await kernelState(router.ns),
      near: new Daemon(router.ns, ''),
      far: new Daemon(two.ns, ''),
    };
    stage.near.configure(nearConfig(stage, o));
    stage.far.configure(farConfig(stage, o));
    await Promise.all([stage.near.up(), stage.far.up()]);
    return stage;
  } catch (error) {
    await lab.close();
    throw error;
  }
}

async function makeKeys({ lab, a }: Topology, name: string): Promise<Keys> {
  const dir = join(lab.dir, 'keys');
  mkdirSync(dir, { recursive: true });
  const file = join(dir, name);
  const secret = await a.ns.must(judge('wg', 'genkey'));
  writeFileSync(file, secret, { mode: 0o600 });
  return { file, public: (await a.ns.must(judge('wg', 'pubkey'), { input: secret })).trim() };
}

export function nearConfig({ keys, links }: Pick<SiteStage, 'keys' | 'links'>, o: SiteOptions = {}): string {
  const allowed = o.sameSubnet ? '10.71.2.0/24' : FAR.subnet;
  const map = o.sameSubnet ? `, map: "${LAN.subnet} as 10.71.1.0/24"` : '';
  return `uplink: { interface: vmbr0, address: auto, ports: "20000-29999" }
lans:
  - { interface: vmbr1, subnet: ${LAN.subnet}${o.sameSubnet ? '' : `, ipv6: "${SIX.near.subnet}"`} }
forwards:
  - { name: web, ports: 8000, to: "${LAN.b}:8000", proto: [tcp, udp] }
${o.sameSubnet ? '' : `  - { name: far-web, ports: 8081, to: "${FAR.d}:80", proto: tcp }\n`}links:
  - name: ${links.near}
    wireguard: { private_key_file: ${keys.near.file}, listen: 51820 }
    address: ${o.sameSubnet ? '' : `["${SIX.near.link}/64", `}${NEAR_LINK}/24${o.sameSubnet ? '' : ']'}
    peers:
      - { name: far, public_key: "${keys.far.public}", preshared_key_file: ${keys.psk.file}, endpoint: "${INTERNET.two}:51820", allowed_ips: [${FAR.link}/32, ${allowed}${o.sameSubnet ? '' : `, "${SIX.far.link}/128", "${SIX.far.subnet}"`}]${map} }
      - { name: phone, public_key: "${keys.phone.public}", allowed_ips: [${PHONE}/32, "${SIX.phone}/128"] }
    policy: ${o.policy ?? '{ lan: allow, internet: nat, host: allow }'}
${o.sameSubnet ? 'workers: 2\n' : ''}`;
}

function farConfig({ keys, links }: Pick<SiteStage, 'keys' | 'links'>, o: SiteOptions): string {
  // P too: what the far LAN sends there goes through the link, and comes back by hairpin. (The far host itself does not: P is the endpoint.)
  const allowed = o.sameSubnet ? '10.71.1.0/24' : `${LAN.subnet}, ${P}/32`;
  const map = o.sameSubnet ? `, map: "${LAN.subnet} as 10.71.2.0/24"` : '';
  return `uplink: { interface: eth0, address: auto, ports: "20000-29999" }
lans:
  - { interface: lan, subnet: ${o.sameSubnet ? LAN.subnet : `${FAR.subnet}, ipv6: "${SIX.far.subnet}"`} }
links:
  - name: ${links.far}
    wireguard: { private_key_file: ${keys.far.file}, listen: 51820 }
    address: ${o.sameSubnet ? '' : `["${SIX.far.link}/64", `}${FAR.link}/24${o.sameSubnet ? '' : ']'}
    peers:
      - { name: near, public_key: "${keys.near.public}", preshared_key_file: ${keys.psk.file}, endpoint: "${P}:51820", allowed_ips: [${NEAR_LINK}/32, ${allowed}${o.sameSubnet ? '' : `, "${SIX.near.link}/128", "${SIX.near.subnet}"`}]${map} }
    policy: { lan: allow, host: allow }
${o.sameSubnet ? 'workers: 2\n' : ''}`;
}

/** The phone: wireguard-go in the namespace of host-1, its routes into the tunnel. */
export async function raisePhone({ one, keys }: SiteStage, routes: readonly string[]): Promise<string> {
  const name = `p${process.pid}`;
  const go = one.ns.spawn(judge('wireguard-go', '-f', name));
  await until(async () => (await one.ns.run(judge('wg', 'show', name))).code === 0, 'wireguard-go answers wg(8)');
  await one.ns.must(
    judge(
      'wg',
      'set',
      name,
      'private-key',
      keys.phone.file,
      'peer',
      keys.near.public,
      'endpoint',
      `${P}:51820`,
      'allowed-ips',
      '0.0.0.0/0,::/0',
    ),
  );
  one.ns.ip(
    `addr add ${PHONE}/32 dev ${name}`,
    `addr add ${SIX.phone}/128 dev ${name} nodad`,
    `link set ${name} mtu ${LINK_MTU} up`,
    ...routes.map((route) => `route add ${route} dev ${name} src ${PHONE}`),
    `route add ${SIX.near.subnet} dev ${name} src ${SIX.phone}`,
    `route add ${SIX.far.subnet} dev ${name} src ${SIX.phone}`,
  );
  void go;
  return name;
}

/** The first handshake: a ping that comes back. */
export async function meet(from: Host, to: string): Promise<void> {
  await until(
    async () => (await from.ns.run(['ping', '-c', '1', '-W', '1', to])).code === 0,
    `${to} answers ${from.ns.role}`,
  );
}
