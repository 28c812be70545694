/**
 * Site links of a config → what the plan says of them (contract/links.ts), and what the kernel is told: the links' own addresses on the TUN, and
 * routes to the TUN for what is behind the peers, so that the host itself reaches it.
 *
 * A prefix that a peer's endpoint or an uplink's own network lies in is no kernel route: the encrypted datagrams would be led into the link that
 * they carry. The default route (a peer with 0.0.0.0/0) stays the kernel's for the same reason. Both are LAN hosts' way all the same: the engine
 * asks its own table.
 */
import type { Words6 } from '../contract/ipv6.js';
import type { Link, LinkAccess, LinkPeer } from '../contract/links.js';
import { MAX_LINKS } from '../contract/links.js';
import type { Prefix, PublicAddress } from '../contract/plan.js';
import type { World, WorldInterface } from '../contract/world.js';
import { contains, formatAddress, formatPrefix, lengthOf, overlap, parseAddress } from './address.js';
import { prefixOf } from './addresses.js';
import { DEFAULT_PORTS, LINK_MTU } from './defaults.js';
import { isAddress } from './endpoint.js';
import type { Config, LinkPolicy, VxlanLinkConfig, WireguardLinkConfig } from './model.js';
import { fillOwners } from './owners.js';
import { type PortSet, parsePorts } from './ports.js';

/** IPv6, UDP, and WireGuard's header and tag: right for either outer family, and what all other implementations take. */
const OVERHEAD = 80;
/** Where nothing is known of the way. */
const ETHERNET = 1500;

/** What is known of links at run time and stands in no file. */
export interface LinksNow {
  /** Addresses that host names of endpoints mean now; int32. */
  readonly endpoints: readonly number[];
  readonly endpoints6: readonly Words6[];
  /** Peers that somebody gave a link beside the config (`wg set`), by link. */
  readonly peers: ReadonlyMap<string, readonly LinkPeer[]>;
}

export const NO_LINKS_NOW: LinksNow = { endpoints: [], endpoints6: [], peers: new Map() };

/** A route of the kernel's to the TUN. */
export interface TunRoute {
  readonly prefix: number;
  readonly length: number;
  /** What the host sends from; int32. */
  readonly source: number;
}

export interface CompiledLinks {
  readonly links: readonly Link[];
  /** The links' own addresses. */
  readonly addresses: readonly number[];
  readonly routes: readonly TunRoute[];
  /** Prefixes that only a link carries: nothing of them passes an uplink. */
  readonly sites: readonly Prefix[];
}

export function wireguardLinks(config: Config): WireguardLinkConfig[] {
  return config.links.filter((link): link is WireguardLinkConfig => link.kind === 'wireguard');
}

export function vxlanLinks(config: Config): VxlanLinkConfig[] {
  return config.links.filter((link): link is VxlanLinkConfig => link.kind === 'vxlan');
}

/** UDP ports that are the router's own. */
export function linkPorts(config: Config): PortSet {
  const ports = [...wireguardLinks(config).map(({ listen }) => listen), ...vxlanLinks(config).map(({ port }) => port)];
  return [...new Set(ports)]
    .filter((port) => port !== 0)
    .map((port) => ({ first: port, last: port }))
    .sort((a, b) => a.first - b.first);
}

/** `outOf`: out index by link name. */
export function compileLinks(
  config: Config,
  world: World,
  now: LinksNow,
  outOf: (name: string) => number,
  problems: string[],
): CompiledLinks {
  const written = wireguardLinks(config).slice(0, MAX_LINKS);
  const links = written.map((link): Link => {
    const peers = now.peers.get(link.name) ?? link.peers.map(planPeer);
    return {
      name: link.name,
      origin: link.origin,
      out: outOf(link.name),
      listen: link.listen,
      mark: link.mark,
      address: link.address?.address ?? 0,
      pool: linkPool(link, config, problems),
      peers,
      access: link.policy.flatMap((policy) => planAccess(policy, peers, written)),
      fromLan: link.policy.some(({ lan }) => lan !== 'deny'),
    };
  });
  const sites = carriedPrefixes(links, config, world, now);
  return {
    links,
    addresses: links.flatMap(({ address }) => (address === 0 ? [] : [address])),
    sites,
    routes: links.flatMap((link) => kernelRoutes(link, sites, config, world, problems)),
  };
}

function planPeer(peer: WireguardLinkConfig['peers'][number]): LinkPeer {
  const { name, publicKey, allowedIps, allowedIps6, maps } = peer;
  return { name, publicKey, allowedIps, allowedIps6, maps };
}

function linkPool({ address }: WireguardLinkConfig, config: Config, problems: string[]): PublicAddress | null {
  if (address === null) return null;
  const pool = config.uplinks[0]?.pool ?? parsePorts(DEFAULT_PORTS).ports;
  return fillOwners({ address: address.address, uplink: -1, shared: true }, pool, [], config.metrics.listen, problems);
}

/** An entry whose senders are all gone (a peer that `wg set` removed) must not become one for everybody. */
function planAccess(
  policy: LinkPolicy,
  peers: readonly LinkPeer[],
  links: readonly WireguardLinkConfig[],
): LinkAccess[] {
  const anybody = policy.peers.length === 0 && policy.from.length === 0 && policy.from6.length === 0;
  const named = peers.filter(({ name }) => policy.peers.includes(name)).flatMap(({ allowedIps }) => allowedIps);
  const from = [...named, ...policy.from];
  if (!anybody && from.length === 0) return [];
  const bits = policy.links.reduce((set, name) => {
    const at = links.findIndex((link) => link.name === name);
    return at < 0 ? set : set | (1 << at);
  }, 0);
  return [{ from, lan: policy.lan === 'allow', internet: policy.internet, host: policy.host, links: bits }];
}

function carriedPrefixes(links: readonly Link[], config: Config, world: World, now: LinksNow): Prefix[] {
  const endpoints = [...writtenEndpoints(config), ...now.endpoints];
  const outside = config.uplinks.flatMap(({ interface: name }) => networksOf(world, name));
  const all = links.flatMap(({ peers }) => peers.flatMap(({ allowedIps }) => allowedIps));
  return all.filter(
    (prefix) =>
      prefix.mask !== 0 &&
      !endpoints.some((address) => contains(prefix, address)) &&
      !outside.some((network) => overlap(prefix, network)),
  );
}

/** IPv4 addresses that stand in the config as endpoints. */
function writtenEndpoints(config: Config): number[] {
  return wireguardLinks(config).flatMap(({ peers }) =>
    peers.flatMap(({ endpoint }) =>
      endpoint !== null && isAddress(endpoint.host) && !endpoint.host.includes(':')
        ? [parseAddress(endpoint.host)]
        : [],
    ),
  );
}

function deviceOf(world: World, name: string): WorldInterface | undefined {
  return world.interfaces.find((item) => item.name === name);
}

function networksOf(world: World, name: string): Prefix[] {
  const index = deviceOf(world, name)?.index;
  return world.addresses.filter((item) => item.interface === index).map(prefixOf);
}

/** The source is the link's address, or that of a LAN, which the far side knows; without either the host stays at home. */
function kernelRoutes(
  link: Link,
  sites: readonly Prefix[],
  config: Config,
  world: World,
  problems: string[],
): TunRoute[] {
  const source = link.address || lanAddress(config, world);
  const routed = link.peers.flatMap(({ allowedIps }) => allowedIps).filter((prefix) => sites.includes(prefix));
  if (source === 0) {
    if (routed.length > 0)
      problems.push(
        `link "${link.name}" (${link.origin}): without an \`address\` this host itself does not reach the far side; LAN hosts do`,
      );
    return [];
  }
  return routed.map(({ prefix, mask }) => ({ prefix, length: lengthOf(mask), source }));
}

function lanAddress(config: Config, world: World): number {
  for (const { interface: name, subnet } of config.lans) {
    const index = deviceOf(world, name)?.index;
    const own = world.addresses.find((item) => item.interface === index && contains(subnet, item.address));
    if (own !== undefined) return own.address;
  }
  return 0;
}

/** Of a link by its name: what is written, or what the way out carries. */
export function linkMtu(config: Config, world: World, name: string): number {
  const link = wireguardLinks(config).find((item) => item.name === name);
  if (link !== undefined && link.mtu !== 0) return link.mtu;
  const uplinks = config.uplinks.map((uplink) => deviceOf(world, uplink.interface));
  const byDefault = world.routes.find(({ mask, type }) => mask === 0 && type === 'unicast')?.interface;
  const ways = [...uplinks, world.interfaces.find(({ index }) => index === byDefault)].filter((way) => way?.up);
  const path = Math.min(...ways.map((way) => way!.mtu), ways.length === 0 ? ETHERNET : Number.POSITIVE_INFINITY);
  return Math.min(Math.max(path - OVERHEAD, LINK_MTU.min), LINK_MTU.max);
}

/** The peers' prefix that `address` lies nearest in: out index of its link, and how long it is; −1 = none. */
export function siteOf(links: readonly Link[], address: number): { readonly out: number; readonly length: number } {
  let best = { out: 0, length: -1 };
  for (const { out, peers } of links)
    for (const { allowedIps } of peers)
      for (const prefix of allowedIps)
        if (contains(prefix, address) && lengthOf(prefix.mask) > best.length)
          best = { out, length: lengthOf(prefix.mask) };
  return best;
}

/** Why a start must be refused: what is on an uplink's wire cannot be behind a peer (wider prefixes may: the wire is nearer). */
export function linksOnTheWire(config: Config, world: World): string[] {
  const lines: string[] = [];
  for (const uplink of config.uplinks) {
    for (const network of networksOf(world, uplink.interface)) {
      for (const link of wireguardLinks(config)) {
        const where = `${formatPrefix(network)} of uplink ${uplink.interface}`;
        if (link.address !== null && contains(network, link.address.address))
          lines.push(
            `link "${link.name}" (${link.origin}): its address ${formatAddress(link.address.address)} lies in ${where}; give the link a network of its own`,
          );
        for (const peer of link.peers)
          for (const ip of peer.allowedIps)
            if (overlap(network, ip) && lengthOf(ip.mask) >= lengthOf(network.mask))
              lines.push(
                `link "${link.name}" (${link.origin}): ${formatPrefix(ip)} of peer "${peer.name}" lies in ${where}; it cannot be both outside and behind a peer (REQ-8)`,
              );
      }
    }
  }
  return lines;
}
