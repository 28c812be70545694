/**
 * IPv6 of a config → what the plan, the steering and the TUN say of it. Nothing of it where no peer has an IPv6 prefix: then the TUN has no IPv6 either.
 *
 * LAN → link is steered to the TUN, as IPv4 is; link → LAN the kernel routes, from the TUN. For the latter it must forward, and IPv6 knows that of one
 * interface only since Linux 6.17 (`force_forwarding`). Elsewhere it is all interfaces or none, which has consequences that are not ours to decide (router
 * advertisements are ignored, whoever is on any wire is routed): there it stays as it is, and is said.
 */
import type { Access6, Ipv6Plan, Lan6, Link6, Prefix6, SteeringIpv6, Words6 } from '../contract/ipv6.js';
import type { Link, LinkPeer } from '../contract/links.js';
import type { OutInterface } from '../contract/plan.js';
import type { World, WorldAddress6 } from '../contract/world.js';
import { contains6, formatPrefix6, masked, NEVER_ROUTED, overlap6, parseAddress6, sameWords } from './address-ipv6.js';
import { type LinksNow, wireguardLinks } from './compile-links.js';
import { IPV6_MIN_MTU } from './defaults.js';
import { isAddress } from './endpoint.js';
import type { Config, LinkPolicy, WireguardLinkConfig } from './model.js';

/** What the TUN has of IPv6. */
export interface TunIpv6 {
  /** Addresses as /128; the kernel answers for them. */
  readonly addresses: readonly Words6[];
  readonly routes: readonly { readonly prefix: Prefix6; readonly source: Words6 }[];
}

export interface CompiledIpv6 {
  readonly plan: Ipv6Plan | null;
  readonly steering: SteeringIpv6 | null;
  /** Null: IPv6 is off there. */
  readonly tun: TunIpv6 | null;
}

const NOTHING: CompiledIpv6 = { plan: null, steering: null, tun: null };

export function compileIpv6(
  config: Config,
  world: World,
  now: LinksNow,
  links: readonly Link[],
  interfaces: readonly OutInterface[],
  problems: string[],
): CompiledIpv6 {
  const sites = links.flatMap(({ peers }, link) =>
    peers.flatMap(({ allowedIps6 }) => allowedIps6.map((prefix) => ({ prefix, link }))),
  );
  if (sites.length === 0) return NOTHING;
  if (world.ipv6 === null) {
    problems.push('this kernel has no IPv6; the IPv6 prefixes of links are not served');
    return NOTHING;
  }
  const tun = indexOf(world, config.tun.name);
  const addresses = world.ipv6.addresses.filter((item) => item.interface !== tun);
  const written = wireguardLinks(config).slice(0, links.length);
  const lans = findLans(config, world, addresses, interfaces, problems);
  const own = written.flatMap(({ address6 }) => (address6 === null ? [] : [address6.words]));
  const hosts = unique([...addresses.map(({ address }) => address), ...own].map(host)).map(({ words }) => words);
  const foreign = unique(addresses.map(networkOf)).filter(
    (network) => network.length < 128 && !lans.some(({ prefix }) => same(prefix, network)),
  );
  const carried = carriedPrefixes(sites, config, world, addresses, now);
  checkForwarding(world, lans, problems);
  links.forEach((link, at) => {
    checkLink(link, written[at]!, interfaces, problems);
  });
  const plan: Ipv6Plan = {
    lans,
    links: written.map(
      ({ address6, policy }, at): Link6 => ({
        address: address6?.words ?? null,
        access: policy.flatMap((entry) => accessOf(entry, links[at]!.peers, written)),
      }),
    ),
    sites,
    hosts,
    foreign,
  };
  return {
    plan,
    steering: makeSteering(config, world, plan, carried),
    tun: {
      addresses: own.filter((words) => !addresses.some(({ address }) => sameWords(address, words))),
      routes: links.flatMap((link, at) => kernelRoutes(link, written[at]!, carried, lans, problems)),
    },
  };
}

function findLans(
  config: Config,
  world: World,
  addresses: readonly WorldAddress6[],
  interfaces: readonly OutInterface[],
  problems: string[],
): Lan6[] {
  return config.lans.flatMap(({ interface: name, ipv6 }) =>
    ipv6.map((prefix): Lan6 => {
      const device = indexOf(world, name);
      const own = addresses.find((item) => item.interface === device && contains6(prefix, item.address));
      if (device >= 0 && own === undefined)
        problems.push(
          `LAN ${name} has no address in ${formatPrefix6(prefix)}; its hosts do not reach links by IPv6 until it gets one (\`ip address add\`)`,
        );
      const out = interfaces.findIndex((item, at) => at > 0 && item.name === name);
      return { prefix, out: own === undefined ? 0 : Math.max(out, 0), gateway: own?.address ?? null };
    }),
  );
}

/** An entry whose senders have no IPv6 must not become one for everybody. */
function accessOf(policy: LinkPolicy, peers: readonly LinkPeer[], links: readonly WireguardLinkConfig[]): Access6[] {
  const anybody = policy.peers.length === 0 && policy.from.length === 0 && policy.from6.length === 0;
  const named = peers.filter(({ name }) => policy.peers.includes(name)).flatMap(({ allowedIps6 }) => allowedIps6);
  const from = [...named, ...policy.from6];
  if (!anybody && from.length === 0) return [];
  const bits = policy.links.reduce((set, name) => {
    const at = links.findIndex((link) => link.name === name);
    return at < 0 ? set : set | (1 << at);
  }, 0);
  return [{ from, lan: policy.lan === 'allow', host: policy.host, links: bits }];
}

/** Prefixes that only a link carries: no default route, none that a peer's endpoint or an uplink's network lies in (compile-links.ts says why). */
function carriedPrefixes(
  sites: Ipv6Plan['sites'],
  config: Config,
  world: World,
  addresses: readonly WorldAddress6[],
  now: LinksNow,
): Prefix6[] {
  const endpoints = [...writtenEndpoints(config), ...now.endpoints6];
  const uplinks = config.uplinks.map(({ interface: name }) => indexOf(world, name));
  const outside = addresses.filter((item) => uplinks.includes(item.interface)).map(networkOf);
  return unique(
    sites
      .map(({ prefix }) => prefix)
      .filter(
        (prefix) =>
          prefix.length !== 0 &&
          !endpoints.some((address) => contains6(prefix, address)) &&
          !outside.some((network) => overlap6(prefix, network)),
      ),
  );
}

function writtenEndpoints(config: Config): Words6[] {
  return wireguardLinks(config).flatMap(({ peers }) =>
    peers.flatMap(({ endpoint }) =>
      endpoint !== null && isAddress(endpoint.host) && endpoint.host.includes(':')
        ? [parseAddress6(endpoint.host)]
        : [],
    ),
  );
}

function makeSteering(config: Config, world: World, plan: Ipv6Plan, carried: readonly Prefix6[]): SteeringIpv6 {
  const sites = unique(plan.sites.map(({ prefix }) => prefix));
  const lanPrefixes = plan.lans.map(({ prefix }) => prefix);
  const names = [...new Set(config.lans.filter(({ ipv6 }) => ipv6.length > 0).map((lan) => lan.interface))];
  const kept = unique([...NEVER_ROUTED, ...plan.hosts.map(host), ...lanPrefixes, ...plan.foreign]);
  return {
    sites,
    kept: kept.filter((prefix) => sites.some((site) => site.length <= prefix.length && overlap6(site, prefix))),
    hosts: plan.hosts,
    lans: names.flatMap((name) => {
      const index = indexOf(world, name);
      const prefixes = config.lans.filter((lan) => lan.interface === name).flatMap(({ ipv6 }) => ipv6);
      return index < 0 ? [] : [{ interface: name, index, prefixes }];
    }),
    inside: unique([...lanPrefixes, ...carried]),
  };
}

/** The source is the link's address, or that of a LAN, which the far side knows. */
function kernelRoutes(
  link: Link,
  { address6 }: WireguardLinkConfig,
  carried: readonly Prefix6[],
  lans: readonly Lan6[],
  problems: string[],
): { readonly prefix: Prefix6; readonly source: Words6 }[] {
  const source = address6?.words ?? lans.find(({ gateway }) => gateway !== null)?.gateway ?? null;
  const routed = link.peers
    .flatMap(({ allowedIps6 }) => allowedIps6)
    .filter((prefix) => carried.some((other) => same(other, prefix)));
  if (source !== null) return routed.map((prefix) => ({ prefix, source }));
  if (routed.length > 0)
    problems.push(
      `link "${link.name}" (${link.origin}): without an IPv6 \`address\` this host itself does not reach the far side by IPv6, and no ICMPv6 error is sent`,
    );
  return [];
}

function checkForwarding({ ipv6 }: World, lans: readonly Lan6[], problems: string[]): void {
  if (lans.length > 0 && ipv6!.forwarding === 'none')
    problems.push(
      'IPv6 from site links does not reach LANs: this kernel (before 6.17) forwards IPv6 between all interfaces or none; set net.ipv6.conf.all.forwarding=1 ' +
        '(an uplink that has its route from router advertisements needs net.ipv6.conf.UPLINK.accept_ra=2 first), then `tungate reload`',
    );
}

function checkLink(
  { name, origin, out, peers }: Link,
  { policy }: WireguardLinkConfig,
  interfaces: readonly OutInterface[],
  problems: string[],
): void {
  if (!peers.some(({ allowedIps6 }) => allowedIps6.length > 0)) return;
  const { mtu } = interfaces[out]!;
  if (mtu < IPV6_MIN_MTU)
    problems.push(
      `link "${name}" (${origin}): its MTU is ${mtu}; IPv6 packets of ${IPV6_MIN_MTU} bytes, which every host may send, do not pass`,
    );
  if (policy.some(({ lan }) => lan === 'out'))
    problems.push(
      `link "${name}" (${origin}): \`lan: out\` lets no IPv6 pass, because nobody keeps in mind who began; write \`lan: allow\` for both ways`,
    );
}

function indexOf(world: World, name: string): number {
  return world.interfaces.find((item) => item.name === name)?.index ?? -1;
}

function networkOf({ address, length }: WorldAddress6): Prefix6 {
  return { words: masked(address, length), length };
}

function host(words: Words6): Prefix6 {
  return { words, length: 128 };
}

function same(a: Prefix6, b: Prefix6): boolean {
  return a.length === b.length && sameWords(a.words, b.words);
}

/** Each once, in an order that does not depend on where they come from. */
function unique(prefixes: readonly Prefix6[]): Prefix6[] {
  const byText = new Map(prefixes.map((prefix) => [formatPrefix6(prefix), prefix]));
  return [...byText].sort(([a], [b]) => (a < b ? -1 : 1)).map(([, prefix]) => prefix);
}
