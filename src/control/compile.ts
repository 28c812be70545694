/**
 * Config + what the host looks like now → plan and steering. Pure: the same three arguments give the same result.
 *
 *   1 addresses     which P's there are, and whether the host has them too
 *   2 interfaces    out indexes by name, stable over reloads; MTUs and LAN gateways from the world
 *   3 rules         ids by name, stable over reloads
 *   4 owners        who has which port of which P (owners.ts)
 *   5 routes        the kernel's, mirrored (routes.ts)
 *   6 steering      what the kernel is asked to hand over
 *
 * Nothing that is missing on the host stops a compile: it becomes a line in `problems`, and everything else works. A LAN that
 * the kernel does not reach by its interface has out index 0, so that nothing for it ever follows the default route.
 */

import type { Link } from '../contract/links.js';
import {
  Filtering,
  type Forward,
  type Lan,
  Mapping,
  type NatRule,
  type OutInterface,
  type Plan,
  type Prefix,
  Proto,
  type PublicAddress,
  type Route,
  type Uplink,
} from '../contract/plan.js';
import type { Claim, Steering } from '../contract/steering.js';
import type { World, WorldInterface } from '../contract/world.js';
import { contains, formatAddress, formatPrefix, maskOf, overlap } from './address.js';
import { type FoundAddress, findAddresses, prefixOf } from './addresses.js';
import { compileIpv6 } from './compile-ipv6.js';
import {
  type CompiledLinks,
  compileLinks,
  type LinksNow,
  linkMtu,
  linkPorts,
  linksOnTheWire,
  NO_LINKS_NOW,
  siteOf,
  wireguardLinks,
} from './compile-links.js';
import type { Compiled, Previous } from './compiled.js';
import type { Config, ForwardConfig, NatConfig } from './model.js';
import { assignInterfaces, assignRules, rememberRules } from './names.js';
import { claimedPorts, fillOwners } from './owners.js';
import { union } from './ports.js';
import { foreignPrefixes, lookupRoute, matchedLength, mirrorRoutes } from './routes.js';

/** Nothing is sent by an interface that is away. */
const DORMANT = 0;
const HOST_MTU = 65_535;

/** `now`: what is known of links at run time. */
export function compile(config: Config, whole: World, previous?: Previous, now: LinksNow = NO_LINKS_NOW): Compiled {
  const world = withoutOurRoutes(whole, config.tun.name);
  const problems: string[] = [];
  const before = previous?.memory ?? { generation: 0, rules: {}, interfaces: [], shared: [] };
  const found = findAddresses(config, world, before.shared, problems);
  const { names, interfaces, outOf } = findInterfaces(config, world, before.interfaces, problems);
  const routes = mirrorRoutes(world.routes, outOf);
  const lans = findLans(config, world, names, routes, problems);
  const ids = assignRules(before.rules, [...config.forwards.map(forwardKey), ...config.nat.map(natKey), DEFAULT_RULE]);
  const sites = compileLinks(config, world, now, (name) => names.indexOf(name), problems);
  const { links } = sites;
  const ipv6 = compileIpv6(config, world, now, links, interfaces, problems);
  const forwards = config.forwards.map((forward) => makeForward(forward, ids, lans, routes, links, found, problems));
  const ownPorts = linkPorts(config);
  const addresses = found.map((address, index) =>
    fillOwners(
      address,
      config.uplinks[address.uplink]!.pool,
      config.forwards.flatMap((forward, at) =>
        forwards[at]!.addresses.includes(index) ? [{ forward, id: forwards[at]!.id }] : [],
      ),
      config.metrics.listen,
      problems,
      ownPorts,
    ),
  );
  const own = ownAddresses(world, config.tun.name);
  const generation = before.generation + 1;
  const uplinks = config.uplinks.map(
    (item, index): Uplink => ({
      interface: item.interface,
      out: names.indexOf(item.interface),
      addresses: found.flatMap((address, at) => (address.uplink === index ? [at] : [])),
    }),
  );
  const plan: Plan = {
    generation,
    interfaces: interfaces.map((item, out) => (works(item, out, uplinks, lans) ? item : { ...item, mtu: DORMANT })),
    uplinks,
    addresses,
    lans,
    forwards,
    nat: [...config.nat.map((rule) => natRule(rule, ids, found, problems)), defaultRule(ids)],
    routes,
    links,
    ipv6: ipv6.plan,
    hostAddresses: sorted([...own, ...found.map((address) => address.address), ...sites.addresses]),
    blocked: config.block.map(({ prefix, mask }) => ({ prefix, mask })),
    timeouts: config.timeouts,
    perHost: config.limits.perHost,
    perHostFlows: config.limits.perHostFlows,
    perHostRate: config.limits.perHostRate,
    rejectUnsolicited: config.rejectUnsolicited,
    translationLog: config.log.translations,
    portBlocks: config.portBlocks,
    inboundRefresh: config.inboundRefresh,
    parity: config.parity,
    helpers: config.helpers,
  };
  checkDefaultRoute(plan, problems);
  const steering = { ...makeSteering(config, world, addresses, own, outOf, sites), ipv6: ipv6.steering };
  const ours = steering.claims.filter((claim) => claim.shared);
  return {
    plan,
    steering,
    problems,
    fatal: [...overlapsWithOutside(config, world), ...linksOnTheWire(config, world)],
    reservedPorts: union(...ours.flatMap((claim) => [claim.tcp, claim.udp]), ownPorts),
    tunAddresses: [
      ...found.filter((address) => !address.shared).map((address) => address.address),
      ...sites.addresses.filter((address) => !own.has(address)),
    ],
    tunRoutes: sites.routes,
    tunIpv6: ipv6.tun,
    memory: {
      generation,
      rules: rememberRules(before.rules, ids),
      interfaces: names,
      shared: ours.map((claim) => claim.address),
    },
  };
}

type OutOf = (interfaceIndex: number) => number;

/** What the kernel routes to the TUN is there because the plan wants it so; mirrored, it would be somebody else's. */
function withoutOurRoutes(world: World, tunName: string): World {
  const tun = deviceOf(world, tunName)?.index;
  return { ...world, routes: world.routes.filter((route) => route.interface !== tun || route.type !== 'unicast') };
}

/** Out indexes by name, and by the kernel's interface index where the interface is there. */
function findInterfaces(
  config: Config,
  world: World,
  before: readonly string[],
  problems: string[],
): { names: string[]; interfaces: OutInterface[]; outOf: OutOf } {
  const linkNames = wireguardLinks(config).map(({ name }) => name);
  const names = assignInterfaces(before, [
    ...[...config.uplinks, ...config.lans].map((item) => item.interface),
    ...linkNames,
  ]);
  const outs = new Map<number, number>();
  const interfaces = names.map((name, out) => {
    const uplink = config.uplinks.findIndex((item) => item.interface === name);
    const lan = config.lans.findIndex((item) => item.interface === name);
    const device = deviceOf(world, name);
    // Without a role it is only a number that old rows may still carry.
    if (uplink >= 0 || lan >= 0) {
      const role = uplink >= 0 ? 'uplink' : 'LAN';
      const effect = uplink >= 0 ? 'nothing leaves by it' : 'its hosts are not served';
      if (device === undefined) problems.push(`${role} ${name} does not exist; ${effect} until it appears`);
      else if (!device.up) problems.push(`${role} ${name} is down; \`ip link set ${name} up\` brings it up`);
      if (device !== undefined) outs.set(device.index, out);
    }
    if (uplink < 0 && lan < 0 && linkNames.includes(name))
      return { name, mtu: linkMtu(config, world, name), uplink, lan };
    return { name, mtu: out === 0 ? HOST_MTU : device?.up ? device.mtu : DORMANT, uplink, lan };
  });
  return { names, interfaces, outOf: (index) => outs.get(index) ?? 0 };
}

/** Has the interface what its role needs: an uplink an address, a LAN a route to its hosts? Else its flows wait for it. */
function works(item: OutInterface, out: number, uplinks: readonly Uplink[], lans: readonly Lan[]): boolean {
  if (item.uplink >= 0) return uplinks[item.uplink]!.addresses.length > 0;
  return item.lan < 0 || lans.some((lan) => lan.out === out);
}

function findLans(
  config: Config,
  world: World,
  names: readonly string[],
  routes: readonly Route[],
  problems: string[],
): Lan[] {
  return config.lans.map(({ interface: name, subnet }) => {
    const out = names.indexOf(name);
    const device = deviceOf(world, name);
    const own = world.addresses.find((item) => item.interface === device?.index && contains(subnet, item.address));
    const reached = routes.some((route) => route.out === out && overlap(route, subnet));
    const text = formatPrefix(subnet);
    if (device !== undefined && own === undefined) {
      problems.push(
        `LAN ${name} has no address in ${text}; its hosts have no gateway until it gets one (\`ip address add\`)`,
      );
    } else if (device?.up && !reached) {
      problems.push(`no route to ${text} leaves by LAN ${name}; nothing is sent to its hosts until there is one`);
    }
    return { interface: name, out: reached ? out : 0, subnet, gateway: own?.address ?? 0 };
  });
}

function makeForward(
  forward: ForwardConfig,
  ids: ReadonlyMap<string, number>,
  lans: readonly Lan[],
  routes: readonly Route[],
  links: readonly Link[],
  found: readonly FoundAddress[],
  problems: string[],
): Forward {
  const lan = lans.find(({ subnet }) => contains(subnet, forward.target));
  const site = siteOf(links, forward.target);
  const behind = lan === undefined && site.length >= matchedLength(routes, forward.target);
  const reached = lan !== undefined && lan.out !== 0 && lookupRoute(routes, forward.target) === lan.out;
  // A whole LAN that is not reached has been said already, once.
  if (!reached && lan !== undefined && lan.out !== 0) {
    problems.push(
      `forward "${forward.name}" (${forward.origin}): target ${formatAddress(forward.target)} is not reached by LAN ${lan.interface} ` +
        `(it is this host itself, or a more specific route leads elsewhere)`,
    );
  }
  return {
    id: ids.get(forwardKey(forward))!,
    name: forward.name,
    origin: forward.origin,
    addresses: listening(forward, found, problems),
    target: forward.target,
    offset: forward.offset,
    single: forward.single,
    out: reached ? lan.out : behind ? site.out : 0,
    from: forward.from,
    maxFlows: forward.maxFlows,
    maxRate: forward.maxRate,
  };
}

function makeSteering(
  config: Config,
  world: World,
  addresses: readonly PublicAddress[],
  own: ReadonlySet<number>,
  outOf: OutOf,
  sites: CompiledLinks,
): Omit<Steering, 'tun' | 'ipv6'> {
  const present = (name: string) => {
    const device = deviceOf(world, name);
    return device === undefined ? [] : [{ interface: name, index: device.index }];
  };
  const lanNames = [...new Set(config.lans.map((lan) => lan.interface))];
  const taken = new Set(addresses.filter((address) => !address.shared).map((address) => address.address));
  return {
    claims: addresses.map(
      (address): Claim => ({
        address: address.address,
        shared: address.shared,
        tcp: claimedPorts(address.owners[Proto.TCP]),
        udp: claimedPorts(address.owners[Proto.UDP]),
        other: address.otherForward !== 0,
      }),
    ),
    uplinks: config.uplinks.flatMap((uplink) => present(uplink.interface)),
    lans: lanNames.flatMap((name) => {
      const subnets = config.lans.filter((lan) => lan.interface === name).map((lan) => lan.subnet);
      return present(name).map((item) => ({ ...item, subnets }));
    }),
    lanSubnets: config.lans.map((lan) => lan.subnet),
    untranslated: untranslatedSources(config),
    hostAddresses: sorted([...[...own].filter((address) => !taken.has(address)), ...sites.addresses]),
    sites: sites.sites,
    foreign: foreignPrefixes(
      world.routes,
      outOf,
      addresses.map((address) => address.address),
    ),
  };
}

/** LAN addresses that some flow may leave from untranslated: of the rules that say so, what their `from` leaves of the LANs. */
function untranslatedSources(config: Config): Prefix[] {
  const subnets = config.lans.map((lan) => lan.subnet);
  const found = config.nat
    .filter((rule) => !rule.translate)
    .flatMap(({ from }) => (from.length === 0 ? subnets : from.flatMap((prefix) => inside(prefix, subnets))));
  const keys = new Set<string>();
  return found.filter(({ prefix, mask }) => !keys.has(`${prefix}/${mask}`) && keys.add(`${prefix}/${mask}`));
}

/** What `prefix` and the subnets have in common: of two that overlap, the longer one. */
function inside(prefix: Prefix, subnets: readonly Prefix[]): Prefix[] {
  return subnets
    .filter((subnet) => overlap(prefix, subnet))
    .map((subnet) => (prefix.mask >>> 0 > subnet.mask >>> 0 ? prefix : subnet));
}

const DEFAULT_RULE = 'nat default';
const forwardKey = (forward: ForwardConfig) => `forward ${forward.name}`;
const natKey = (rule: NatConfig) => `nat ${rule.name}`;

function deviceOf(world: World, name: string): WorldInterface | undefined {
  return world.interfaces.find((item) => item.name === name);
}

/** Rising, each once: equal worlds give equal values whatever the order of the dump. */
function sorted(addresses: readonly number[]): number[] {
  return [...new Set(addresses)].sort((a, b) => (a >>> 0) - (b >>> 0));
}

/** What the kernel answers for: addresses of interfaces, and single addresses of table local. The TUN's are ours. */
function ownAddresses(world: World, tunName: string): Set<number> {
  const tunIndex = deviceOf(world, tunName)?.index ?? -1;
  const own = new Set<number>();
  for (const item of world.addresses) if (item.interface !== tunIndex) own.add(item.address);
  for (const route of world.routes)
    if (route.type === 'local' && route.mask === -1 && route.interface !== tunIndex) own.add(route.prefix);
  return own;
}

function listening(forward: ForwardConfig, found: readonly FoundAddress[], problems: string[]): number[] {
  if (forward.addresses.length === 0) return found.map((_, index) => index);
  return forward.addresses.flatMap((address) => {
    const index = found.findIndex((item) => item.address === address);
    if (index >= 0) return [index];
    problems.push(
      `forward "${forward.name}" (${forward.origin}): ${formatAddress(address)} is no uplink's address now; it does not listen there`,
    );
    return [];
  });
}

function natRule(
  rule: NatConfig,
  ids: ReadonlyMap<string, number>,
  found: readonly FoundAddress[],
  problems: string[],
): NatRule {
  const address = rule.address === null ? -1 : found.findIndex((item) => item.address === rule.address);
  if (rule.address !== null && address < 0) {
    problems.push(
      `nat rule "${rule.name}" (${rule.origin}): ${formatAddress(rule.address)} is no uplink's address now; its flows leave by the uplink's own`,
    );
  }
  return {
    id: ids.get(natKey(rule))!,
    name: rule.name,
    origin: rule.origin,
    from: rule.from.length === 0 ? [EVERYTHING] : rule.from,
    to: rule.to.length === 0 ? [EVERYTHING] : rule.to,
    protos: rule.protos.length === 0 ? 0b111 : rule.protos.reduce((bits, proto) => bits | (1 << PROTO_OF[proto]), 0),
    translate: rule.translate,
    mapping: rule.mapping,
    filtering: rule.filtering,
    address,
  };
}

const EVERYTHING = { prefix: 0, mask: 0 };
const PROTO_OF = { tcp: Proto.TCP, udp: Proto.UDP, icmp: Proto.ICMP } as const;

function defaultRule(ids: ReadonlyMap<string, number>): NatRule {
  return {
    id: ids.get(DEFAULT_RULE)!,
    name: 'default',
    origin: '',
    from: [EVERYTHING],
    to: [EVERYTHING],
    protos: 0b111,
    translate: true,
    mapping: Mapping.ENDPOINT_INDEPENDENT,
    filtering: Filtering.ADDRESS_DEPENDENT,
    address: -1,
  };
}

/** REQ-8: inside and outside must not overlap; what the uplinks' wires hold is known only now. */
function overlapsWithOutside(config: Config, world: World): string[] {
  const lines: string[] = [];
  for (const uplink of config.uplinks) {
    const index = deviceOf(world, uplink.interface)?.index;
    for (const item of world.addresses) {
      if (item.interface !== index) continue;
      const outside = prefixOf(item);
      for (const lan of config.lans) {
        if (!overlap(outside, lan.subnet)) continue;
        lines.push(
          `LAN ${lan.interface} ${formatPrefix(lan.subnet)} (${lan.origin}) overlaps ${formatPrefix(outside)} of uplink ${uplink.interface}; ` +
            'give the LAN a subnet of its own (REQ-8)',
        );
      }
    }
  }
  return lines;
}

function checkDefaultRoute(plan: Plan, problems: string[]): void {
  if (plan.uplinks.length === 0) return;
  const route = plan.routes.find(({ mask }) => mask === maskOf(0));
  const uplinks = plan.uplinks.map((uplink) => uplink.interface).join(', ');
  if (route === undefined)
    problems.push(`there is no default route; LAN hosts reach only what other routes by ${uplinks} lead to`);
  else if (plan.interfaces[route.out]?.uplink === -1) {
    problems.push(
      `the default route does not leave by an uplink (${uplinks}); LAN hosts reach only what other routes by it lead to`,
    );
  }
}
