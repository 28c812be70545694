/**
 * A first config for this host: the uplink is where the default route leaves, LANs are bridges with a private subnet, or other
 * interfaces with one where there is no such bridge. What was left out is said, with the reason. The text always parses.
 */
import type { Prefix } from '../contract/plan.js';
import type { World, WorldAddress, WorldInterface } from '../contract/world.js';
import { formatAddress, formatPrefix, isPrivate, lengthOf, overlap, parsePrefix } from './address.js';
import { prefixOf } from './addresses.js';
import { DEFAULT_METRICS, DEFAULT_PORTS, DEFAULT_TUN, LIMITS, TIMEOUTS } from './defaults.js';
import { isInterfaceName } from './schema-parts.js';

interface Candidate {
  readonly device: WorldInterface;
  readonly subnet: Prefix;
}

/** Kinds that lead to one peer, not to a network of hosts. */
const TUNNELS = ['tun', 'wireguard', 'ppp', 'gre', 'ipip', 'sit', 'vti', 'xfrm'];

export function initConfig(whole: World): string {
  const world = { ...whole, interfaces: whole.interfaces.filter((item) => isInterfaceName(item.name)) };
  const uplink = findUplink(world);
  const { lans, leftOut } = findLans(world, uplink);
  const lines = [
    '# tungate: NAT router. Made for this host by `tungate init`; all keys are in docs/configuration.md.',
    '# Check it with `tungate check`, start it with `tungate up`.',
    '',
    ...uplinkLines(world, uplink),
    '',
    ...lanLines(world, lans, leftOut),
    '',
    ...forwardLines(lans[0]?.subnet),
    '',
    '# Rules for outbound flows; the first match wins. Without any, all flows are translated.',
    'nat: []',
    '# nat:',
    '#   - { to: [10.0.0.0/8], translate: false }            # a network that routes back to the LAN by itself',
    '',
    `# Memory for the flow table is taken at start: at most 128 bytes a flow. per_host: public ports that one inside host may hold.`,
    `limits: { flows: ${LIMITS.flows.preset}, per_host: ${LIMITS.per_host.preset} }`,
    '',
    '# Seconds without a packet after which a flow is forgotten.',
    `timeouts: { udp: ${TIMEOUTS.udp.preset}, tcp_established: ${TIMEOUTS.tcp_established.preset}, ` +
      `tcp_transitory: ${TIMEOUTS.tcp_transitory.preset}, icmp: ${TIMEOUTS.icmp.preset} }`,
    '',
    '# Prometheus endpoint; `off` closes it.',
    `metrics: { listen: "${DEFAULT_METRICS}" }`,
    '',
  ];
  return lines.join('\n');
}

/** The interface of the best default route. */
function findUplink(world: World): WorldInterface | undefined {
  const byIndex = (index: number) => world.interfaces.find((item) => item.index === index && item.name !== DEFAULT_TUN);
  const routes = world.routes
    .filter((route) => route.mask === 0 && route.type === 'unicast')
    .sort((a, b) => (a.table === b.table ? a.metric - b.metric : b.table - a.table));
  for (const route of routes) {
    const device = byIndex(route.interface);
    if (device !== undefined) return device;
  }
  return undefined;
}

function addressesOf(world: World, device: WorldInterface | undefined): WorldAddress[] {
  return world.addresses.filter((item) => item.interface === device?.index);
}

function findLans(world: World, uplink: WorldInterface | undefined): { lans: Candidate[]; leftOut: string[] } {
  const outside = addressesOf(world, uplink).map(prefixOf);
  const lans: Candidate[] = [];
  const leftOut: string[] = [];
  const candidates: Candidate[] = [];
  for (const device of world.interfaces) {
    if (device.loopback || device.index === uplink?.index || device.name === DEFAULT_TUN) continue;
    for (const item of addressesOf(world, device)) {
      const subnet = prefixOf(item);
      const refusal = whyNot(device, item, subnet, outside);
      if (refusal === undefined) candidates.push({ device, subnet });
      else leftOut.push(`${plain(device.name)} ${formatPrefix(subnet)}: ${refusal}`);
    }
  }
  const bridges = candidates.some(({ device }) => device.kind === 'bridge');
  for (const candidate of candidates) {
    const { device, subnet } = candidate;
    const text = `${plain(device.name)} ${formatPrefix(subnet)}`;
    const same = lans.find((lan) => overlap(lan.subnet, subnet));
    if (bridges && device.kind !== 'bridge')
      leftOut.push(`${text}: not a bridge; add it if inside hosts are behind it`);
    else if (same !== undefined) {
      // Two addresses in one subnet of one interface are nothing to talk about.
      if (same.device !== device)
        leftOut.push(`${text}: overlaps ${formatPrefix(same.subnet)} of ${plain(same.device.name)}`);
    } else lans.push(candidate);
  }
  return { lans, leftOut };
}

function whyNot(
  device: WorldInterface,
  { address, length }: WorldAddress,
  subnet: Prefix,
  outside: readonly Prefix[],
): string | undefined {
  if (length > 30 || length < 8) return 'no subnet for inside hosts';
  if (!isPrivate(address)) return 'not a private subnet (RFC 1918)';
  if (outside.some((prefix) => overlap(prefix, subnet))) return "overlaps the uplink's network (REQ-8)";
  if (TUNNELS.includes(device.kind)) return `a ${device.kind} tunnel`;
  if (device.master !== 0) return 'a port of a bridge or bond';
  if (/^(docker\d|br-[0-9a-f]{12}$|cni|flannel|virbr|lxcbr|podman)/.test(device.name))
    return 'has a NAT of its own (Docker, libvirt, …); let one of them do it';
  return undefined;
}

function uplinkLines(world: World, uplink: WorldInterface | undefined): string[] {
  if (uplink === undefined) {
    return [
      '# NOT FOUND: this host has no default route. Put the interface to the internet here.',
      `uplink: { interface: ${exampleName(world, 'eth0', 'wan0')}, address: auto, ports: "${DEFAULT_PORTS}" }`,
    ];
  }
  const addresses = addressesOf(world, uplink).map((item) => item.address);
  const now = addresses.length === 0 ? 'none now' : `now ${addresses.map(formatAddress).join(', ')}`;
  const lines = [
    `# The way to the internet: ${plain(uplink.name)} has the default route. auto = its first address (${now}).`,
    '# Services of the host keep their ports; `ports` are what translated flows leave from, so nothing of the host may use them.',
  ];
  if (addresses.length > 0 && isPrivate(addresses[0]!)) {
    lines.push(
      '# (A private address: this host is itself behind a NAT. Forwards are reached from the internet only if that one forwards too.)',
    );
  }
  return [...lines, `uplink: { interface: ${quote(uplink.name)}, address: auto, ports: "${DEFAULT_PORTS}" }`];
}

function lanLines(world: World, lans: readonly Candidate[], leftOut: readonly string[]): string[] {
  const notes = leftOut.map((line) => `#   left out: ${line}`);
  if (lans.length === 0) {
    return [
      '# NOT FOUND: no interface of this host has a private subnet that could be a LAN. This one is an example: change it.',
      ...notes,
      'lans:',
      `  - { interface: ${exampleName(world, 'vmbr1', 'lan0')}, subnet: ${exampleSubnet(world)} }`,
    ];
  }
  return [
    '# Inside networks: their hosts reach the internet through the uplink. Remove what is none.',
    ...notes,
    'lans:',
    ...lans.map(({ device, subnet }) => `  - { interface: ${quote(device.name)}, subnet: ${formatPrefix(subnet)} }`),
  ];
}

/** Not an interface of this host, or it would be taken for a finding. */
function exampleName(world: World, usual: string, other: string): string {
  return world.interfaces.some((item) => item.name === usual) ? other : usual;
}

/** Free on this host. */
function exampleSubnet(world: World): string {
  for (const start of ['172.22.', '192.168.', '10.77.']) {
    for (let third = 161; third < 256; third++) {
      const text = `${start}${third}.0/24`;
      if (!world.addresses.some((item) => overlap(prefixOf(item), parsePrefix(text)))) return text;
    }
  }
  return '100.64.161.0/24';
}

function forwardLines(subnet: Prefix | undefined): string[] {
  const vm = subnet === undefined || lengthOf(subnet.mask) > 29 ? '172.22.161.4' : formatAddress(subnet.prefix + 4);
  return [
    '# Public ports that reach an inside host. Take the # away from what fits; `from` limits who may use one.',
    'forwards: []',
    '# forwards:',
    `#   - "10000-10999:${vm}:10000-10999/tcp"`,
    `#   - { name: ssh, ports: 2222, to: "${vm}:22", proto: tcp, from: [198.51.100.0/24] }`,
    `#   - { name: game, ports: "30000-30099", to: "${vm}:8000-8099", proto: [tcp, udp] }`,
  ];
}

/** In a comment: a strange name must not end the line. */
function plain(name: string): string {
  return name.replace(/[^\x21-\x7e]/g, '?');
}

/** In YAML: anything that is not surely a plain word is quoted. */
function quote(name: string): string {
  const word = /^[A-Za-z][A-Za-z0-9_.-]*$/.test(name) && !/^(true|false|null|yes|no|on|off|y|n)$/i.test(name);
  return word ? name : JSON.stringify(name);
}
