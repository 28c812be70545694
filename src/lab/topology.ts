/**
 * The standard topology: the case that tungate was made for, a host with one public address and its virtual machines.
 *
 *   client-a 172.22.161.170 ─┐                router                                        ┌─ host-1 198.51.100.10
 *                            ├─ vmbr1 ┌──────────────────────┐ vmbr0 ──── 203.0.113.1 inet ─┤
 *   client-b 172.22.161.20 ──┘ .1     │ tungate, the host's  │ 203.0.113.10               └─ host-2 192.0.2.10
 *                                     │ own services         │ = P
 *   stranger 10.77.0.10 ───── vmbr2 ──└──────────────────────┘
 *                             .1   (only with `third: true`: another private bridge of the host)
 *
 * Seven namespaces at most. vmbr0…2 are kernel bridges in the router's namespace, every line is a veth pair with offloads.
 * `inet` is the provider: it routes between its three wires and knows nothing of 172.22.161.0/24, so whatever leaves
 * untranslated is lost, as on the real internet. `ip_forward` is 0 in the router: the engine does not need it.
 */
import { Host } from './host.js';
import { Lab, type Namespace } from './namespace.js';

export const P = '203.0.113.10';
export const LAN = {
  gateway: '172.22.161.1',
  subnet: '172.22.161.0/24',
  a: '172.22.161.170',
  b: '172.22.161.20',
} as const;
export const INTERNET = { gateway: '203.0.113.1', one: '198.51.100.10', two: '192.0.2.10' } as const;
export const THIRD = { gateway: '10.77.0.1', subnet: '10.77.0.0/24', host: '10.77.0.10' } as const;

export interface Topology {
  readonly lab: Lab;
  readonly router: Host;
  readonly a: Host;
  readonly b: Host;
  readonly one: Host;
  readonly two: Host;
  /** The provider's router; its interface `wan` is the far end of the uplink. */
  readonly inet: Namespace;
  readonly third: Host | undefined;
}

export async function buildTopology(options: { third?: boolean } = {}): Promise<Topology> {
  const lab = new Lab();
  try {
    return build(lab, options.third ?? false);
  } catch (error) {
    await lab.close();
    throw error;
  }
}

function build(lab: Lab, withThird: boolean): Topology {
  const router = lab.namespace('router');
  const inet = lab.namespace('inet');
  const a = lab.namespace('client-a');
  const b = lab.namespace('client-b');
  const one = lab.namespace('host-1');
  const two = lab.namespace('host-2');
  // Their agents start while the wires are laid.
  const hosts = {
    router: new Host(router, P),
    a: new Host(a, LAN.a),
    b: new Host(b, LAN.b),
    one: new Host(one, INTERNET.one),
    two: new Host(two, INTERNET.two),
  };

  // The router as an administrator would have set it up: two bridges, nothing else.
  router.ip(
    'link add vmbr0 type bridge stp_state 0 forward_delay 0 mcast_snooping 0',
    'link add vmbr1 type bridge stp_state 0 forward_delay 0 mcast_snooping 0',
    `link add nic0 type veth peer name wan netns ${inet.name}`,
    'link set nic0 master vmbr0 up',
    'link set vmbr0 up',
    'link set vmbr1 up',
    `addr add ${P}/24 dev vmbr0`,
    `addr add ${LAN.gateway}/24 dev vmbr1`,
    `route add default via ${INTERNET.gateway}`,
  );
  // What a distribution sets is not what another sets; the tests say what they start from.
  router.sysctl('net.ipv4.ip_forward=0', 'net.ipv4.conf.all.rp_filter=0', 'net.ipv4.conf.default.rp_filter=0');

  inet.ip(
    `link add to-1 type veth peer name eth0 netns ${one.name}`,
    `link add to-2 type veth peer name eth0 netns ${two.name}`,
    'link set wan up',
    'link set to-1 up',
    'link set to-2 up',
    `addr add ${INTERNET.gateway}/24 dev wan`,
    'addr add 198.51.100.1/24 dev to-1',
    'addr add 192.0.2.1/24 dev to-2',
  );
  inet.sysctl('net.ipv4.ip_forward=1', 'net.ipv4.conf.all.rp_filter=0', 'net.ipv4.conf.default.rp_filter=0');

  leaf(one, INTERNET.one, '198.51.100.1');
  leaf(two, INTERNET.two, '192.0.2.1');
  plug(router, 'vmbr1', 'vm170', a, LAN.a, LAN.gateway);
  plug(router, 'vmbr1', 'vm20', b, LAN.b, LAN.gateway);

  let third: Host | undefined;
  if (withThird) {
    const stranger = lab.namespace('stranger');
    router.ip(
      'link add vmbr2 type bridge stp_state 0 forward_delay 0 mcast_snooping 0',
      'link set vmbr2 up',
      `addr add ${THIRD.gateway}/24 dev vmbr2`,
    );
    plug(router, 'vmbr2', 'other', stranger, THIRD.host, THIRD.gateway);
    third = new Host(stranger, THIRD.host);
  }

  return { lab, ...hosts, inet, third };
}

/** Gives a namespace whose eth0 exists an address in a /24 and a default route. */
function leaf(ns: Namespace, address: string, gateway: string): void {
  ns.ip('link set eth0 up', `addr add ${address}/24 dev eth0`, `route add default via ${gateway}`);
  ns.sysctl('net.ipv4.conf.all.rp_filter=0', 'net.ipv4.conf.eth0.rp_filter=0');
}

/** A virtual machine on one of the router's bridges. */
function plug(router: Namespace, bridge: string, line: string, vm: Namespace, address: string, gateway: string): void {
  router.ip(`link add ${line} type veth peer name eth0 netns ${vm.name}`, `link set ${line} master ${bridge} up`);
  leaf(vm, address, gateway);
}
