/** VXLAN links in a config: what each key may hold, what becomes of it, and what the keys say together. */
import { isIP, isIPv4 } from 'node:net';
import { z } from 'zod';
import type { PortInterval } from '../contract/steering.js';
import { MAX_VXLAN_LINKS, VXLAN_SOURCES } from '../contract/vxlan.js';
import { contains, parseAddress, TextError } from './address.js';
import type { Item, Parts, Report } from './checks.js';
import { unknownWord } from './errors.js';
import { linkName } from './link-wireguard.js';
import type { Config, LinkConfig, VxlanLinkConfig, WireguardLinkConfig } from './model.js';
import { hasPort, subtract, union } from './ports.js';
import { flag, interfaceName, map, must, oneOrList, ranged, show, text, word } from './schema-parts.js';

/** IANA's port; flannel's is 8472. */
const PORT = 4789;
const TTL = 64;
/** Where RFC 7348 §5 wants source ports. */
const SOURCES = { first: 49_152, last: 65_535 } as const;
/** RFC 791's least, and the longest packet that a TAP takes. */
const MTU = { min: 68, max: 65_485 } as const;
const MTU_WORDS = `auto or ${MTU.min} to ${MTU.max}`;
const MOST_REMOTES = 1024;

const ip = text('an IP address', (value) => {
  if (isIP(value) === 0) throw new TextError(`${show(value)} is not an IP address`);
  return value.toLowerCase();
});

const mac = text('a MAC address like 02:00:00:00:00:01', (value) => {
  if (!/^([0-9a-f]{2}:){5}[0-9a-f]{2}$/i.test(value))
    throw new TextError(`${show(value)} is not a MAC address; write six pairs of hexadecimal digits with ":" between`);
  if ((Number.parseInt(value.slice(0, 2), 16) & 1) === 1)
    throw new TextError(`${show(value)} is a group address, which no single station has`);
  if (/^(00:){5}00$/.test(value)) throw new TextError(`${show(value)} is no station's address`);
  return value.toLowerCase();
});

/** What is wrong with a key says its own schema. */
const pairs = (what: string) => (issue: z.core.$ZodRawIssue) =>
  issue.code === 'invalid_key' ? issue.issues[0]!.message : must(what)(issue);

const REMOTES = 'an IP address, or a list of them';

export const vxlanLinkSchema = map('a map like { name: lan-a, vxlan: { vni: 42, local: …, remotes: […] }, tap: vx0 }', {
  name: linkName,
  description: z
    .string({ error: must('a text') })
    .optional()
    .meta({ description: 'For people; has no effect.' }),
  vxlan: map('a map like { vni: 42, local: 198.51.100.1, remotes: [198.51.100.2] }', {
    vni: ranged(0, 0xff_ffff, 'a number from 0 to 16777215').meta({
      description: 'Number of the virtual network; the same on all sides.',
    }),
    local: ip
      .optional()
      .meta({ description: "This host's address that the tunnel uses; with `over` it may be left out." }),
    port: ranged(1, 65_535, 'a port from 1 to 65535')
      .optional()
      .meta({ description: 'UDP port of all sides; flannel and old kernels have 8472.', default: PORT }),
    remotes: oneOrList(REMOTES, ip).optional().meta({
      description: 'The other sides. Only they are heard; broadcasts and what nobody knows go to all of them.',
    }),
    learning: flag(true, 'Learn from frames where addresses are; off: `fdb` alone says it.').optional(),
    suppress: flag(true, 'Answer ARP and neighbour requests here, from known pairs.').optional(),
    vlan: word('mode', ['keep', 'strip', 'refuse'])
      .optional()
      .meta({ description: 'What is done with VLAN tags of inner frames.', default: 'keep' }),
    ttl: ranged(1, 255, 'a number from 1 to 255')
      .optional()
      .meta({ description: 'TTL of the outer packets.', default: TTL }),
    fdb: z
      .record(mac, ip, { error: pairs('a map from MAC address to remote') })
      .optional()
      .meta({ description: 'MAC addresses whose place is fixed: address → remote.' }),
    neighbours: z
      .record(ip, mac, { error: pairs('a map from IP address to MAC address') })
      .optional()
      .meta({ description: 'IP addresses whose MAC address is fixed: ARP for them is answered here.' }),
    over: linkName.optional().meta({ description: 'WireGuard link that carries the tunnel, so that it is encrypted.' }),
  }).meta({ description: 'This side of a virtual Ethernet (RFC 7348).' }),
  tap: interfaceName.meta({ description: 'Name of the TAP device that is made for it.' }),
  bridge: interfaceName
    .optional()
    .meta({ description: 'Linux bridge, which is there already, that the TAP becomes a port of.' }),
  mac: mac.optional().meta({
    description:
      "MAC address of the TAP; left out, one that this machine's id, the TAP's name and the tunnel give: the same after every start.",
  }),
  mtu: z
    .union([z.literal('auto', { error: must(MTU_WORDS) }), ranged(MTU.min, MTU.max, MTU_WORDS)], {
      error: must(MTU_WORDS),
    })
    .optional()
    .meta({
      description: 'MTU of the TAP; auto: what the way to the remotes carries, less the headers.',
      default: 'auto',
    }),
}).meta({ description: 'Ethernet between sites: a VXLAN tunnel with a TAP on this side.' });

export type VxlanLinkRaw = z.output<typeof vxlanLinkSchema>;

export function makeVxlanLink(raw: VxlanLinkRaw, origin: string): VxlanLinkConfig {
  const { vxlan } = raw;
  return {
    kind: 'vxlan',
    name: raw.name,
    description: raw.description ?? '',
    vni: vxlan.vni,
    local: vxlan.local ?? '',
    port: vxlan.port ?? PORT,
    remotes: vxlan.remotes ?? [],
    learning: vxlan.learning ?? true,
    suppress: vxlan.suppress ?? true,
    vlan: vxlan.vlan ?? 'keep',
    ttl: vxlan.ttl ?? TTL,
    fdb: Object.entries(vxlan.fdb ?? {}),
    neighbours: Object.entries(vxlan.neighbours ?? {}),
    over: vxlan.over ?? '',
    tap: raw.tap,
    bridge: raw.bridge ?? '',
    mac: raw.mac ?? '',
    mtu: raw.mtu === undefined || raw.mtu === 'auto' ? 0 : raw.mtu,
    origin,
  };
}

export function printVxlan(link: VxlanLinkConfig): object {
  return {
    name: link.name,
    ...(link.description !== '' && { description: link.description }),
    vxlan: {
      vni: link.vni,
      ...(link.local !== '' && { local: link.local }),
      port: link.port,
      ...(link.remotes.length > 0 && { remotes: link.remotes }),
      learning: link.learning,
      suppress: link.suppress,
      vlan: link.vlan,
      ttl: link.ttl,
      ...(link.fdb.length > 0 && { fdb: Object.fromEntries(link.fdb) }),
      ...(link.neighbours.length > 0 && { neighbours: Object.fromEntries(link.neighbours) }),
      ...(link.over !== '' && { over: link.over }),
    },
    tap: link.tap,
    ...(link.bridge !== '' && { bridge: link.bridge }),
    ...(link.mac !== '' && { mac: link.mac }),
    mtu: link.mtu === 0 ? 'auto' : link.mtu,
  };
}

// ---- What they say together.

type VxlanItem = Item<VxlanLinkConfig>;

export function checkVxlanLinks(config: Config, parts: Parts, report: Report): void {
  const links = parts.links.filter((item): item is VxlanItem => item.value.kind === 'vxlan');
  links.forEach((link, index) => {
    const before = links.slice(0, index);
    if (index === MAX_VXLAN_LINKS)
      report.fail(link.path, `is one VXLAN link too many; a router has at most ${MAX_VXLAN_LINKS}`);
    checkOver(link, config.links, report);
    checkRemotes(link, config, report);
    checkDevices(link, before, config, report);
    checkPort(link, before, config, report);
  });
  if (links.length > 0 && sourcesOf(config) === undefined)
    report.fail(
      links[0]!.path,
      `VXLAN needs ${links.length * VXLAN_SOURCES} source ports in a row between ${SOURCES.first} and ${SOURCES.last} that are neither in a pool nor forwarded; ` +
        `take some out of the pool: ports: "…,~${SOURCES.last - 1023}-${SOURCES.last}"`,
    );
}

/** The address that outer datagrams have: the link's own, or that of the WireGuard link below it. */
export function localOf(link: VxlanLinkConfig, config: Config): string {
  if (link.local !== '' || link.over === '') return link.local;
  const address = carrierOf(link, config.links)?.address?.address;
  return address === undefined ? '' : dotted(address);
}

/** The longest row of ports for outer datagrams: of RFC 7348 §5's range, none of the NAT's, none forwarded. undefined: too short for all links. */
export function sourcesOf({ uplinks, forwards, links }: Config): PortInterval | undefined {
  const own = links.map((link) => (link.kind === 'vxlan' ? link.port : link.listen));
  const taken = [
    ...uplinks.flatMap(({ pool }) => pool),
    ...forwards.flatMap(({ ports }) => ports),
    ...own.filter((port) => port !== 0).map((port) => ({ first: port, last: port })),
  ];
  const free = subtract([SOURCES], union(...taken.map((each) => [each])));
  const length = ({ first, last }: PortInterval) => last - first + 1;
  const [longest] = [...free].sort((a, b) => length(b) - length(a));
  const wanted = links.filter(({ kind }) => kind === 'vxlan').length * VXLAN_SOURCES;
  return longest !== undefined && length(longest) >= wanted ? longest : undefined;
}

export function carrierOf({ over }: VxlanLinkConfig, links: readonly LinkConfig[]): WireguardLinkConfig | undefined {
  return links.find((item): item is WireguardLinkConfig => item.kind === 'wireguard' && item.name === over);
}

function dotted(address: number): string {
  return [24, 16, 8, 0].map((shift) => (address >>> shift) & 255).join('.');
}

function checkOver({ path, value }: VxlanItem, links: readonly LinkConfig[], report: Report): void {
  const at = [...path, 'vxlan'];
  if (value.over === '') {
    if (value.local === '') report.fail(at, '`local` is missing; name the address of this host that the tunnel uses');
    return;
  }
  const carrier = carrierOf(value, links);
  if (carrier === undefined) {
    const names = links.filter(({ kind }) => kind === 'wireguard').map(({ name }) => name);
    if (report.linksWhole) report.fail([...at, 'over'], unknownWord('WireGuard link', value.over, names));
    return;
  }
  if (carrier.address === null)
    report.fail(
      [...at, 'over'],
      `link "${value.over}" at ${carrier.origin} has no \`address\`, which the tunnel would use`,
    );
  for (const remote of remotesOf(value)) {
    const carried =
      isIPv4(remote) &&
      carrier.peers.some(({ allowedIps }) => allowedIps.some((prefix) => contains(prefix, parseAddress(remote))));
    if (!carried)
      report.fail(
        [...at, 'over'],
        `${remote} is in no peer's allowed_ips of link "${value.over}" at ${carrier.origin}, so it would leave unencrypted; add it there`,
      );
  }
  if (!carrier.policy.some(({ host }) => host))
    report.fail(
      [...at, 'over'],
      `link "${value.over}" at ${carrier.origin} lets nobody reach this host; add \`policy: { host: allow }\` there, or what the far side sends is refused`,
    );
}

function remotesOf({ remotes, fdb }: VxlanLinkConfig): string[] {
  return [...new Set([...remotes, ...fdb.map(([, remote]) => remote)])];
}

function checkRemotes({ path, value }: VxlanItem, config: Config, report: Report): void {
  const at = [...path, 'vxlan'];
  const remotes = remotesOf(value);
  const local = localOf(value, config);
  if (remotes.length === 0)
    report.fail(at, 'has neither `remotes` nor `fdb`, so nobody is on the other side; name at least one remote');
  if (remotes.length > MOST_REMOTES)
    report.fail(at, `has ${remotes.length} remotes; a link has at most ${MOST_REMOTES}`);
  for (const remote of remotes) {
    if (remote === local) report.fail(at, `${remote} is both this side and a remote`);
    else if (local !== '' && isIP(remote) !== isIP(local))
      report.fail(at, `${remote} and ${local} are of different families; a link has IPv4 or IPv6 on all sides`);
  }
  if (!value.learning && value.fdb.length === 0 && value.remotes.length === 0)
    report.fail(at, 'learns nothing and has no `fdb`');
}

function checkDevices({ path, value }: VxlanItem, before: readonly VxlanItem[], config: Config, report: Report): void {
  const twin = before.find((link) => link.value.tap === value.tap);
  if (twin !== undefined)
    report.fail([...path, 'tap'], `"${value.tap}" is the TAP of link "${twin.value.name}" at ${twin.value.origin} too`);
  const taken = [
    config.tun.name,
    ...config.uplinks.map((item) => item.interface),
    ...config.lans.map((item) => item.interface),
  ];
  if (taken.includes(value.tap))
    report.fail([...path, 'tap'], `"${value.tap}" is an interface of this config already; name the TAP otherwise`);
  if (value.bridge === value.tap) report.fail([...path, 'bridge'], `"${value.bridge}" is the TAP itself`);
}

function checkPort({ path, value }: VxlanItem, before: readonly VxlanItem[], config: Config, report: Report): void {
  const fail = (message: string) => report.fail([...path, 'vxlan', 'port'], message);
  const { port } = value;
  const local = localOf(value, config);
  const same = before.filter((link) => link.value.port === port && localOf(link.value, config) === local);
  const twin = same.find((link) => link.value.vni === value.vni || link.value.over !== value.over);
  if (twin !== undefined)
    fail(
      `${port} at ${local} is the port of link "${twin.value.name}" at ${twin.value.origin} too; links share a port where they differ by \`vni\` and have the same \`over\``,
    );
  for (const link of config.links)
    if (link.kind === 'wireguard' && link.listen === port)
      fail(`${port} is the port of link "${link.name}" at ${link.origin} too`);
  for (const uplink of config.uplinks)
    if (hasPort(uplink.pool, port))
      fail(`${port} is in the pool of the uplink at ${uplink.origin}; take it out there: ports: "…,~${port}"`);
  for (const { name, origin, ports, protos } of config.forwards)
    if ((protos.includes('udp') || protos.includes('all')) && hasPort(ports, port))
      fail(`${port} is forwarded by "${name}" at ${origin}; move one of them`);
}
