/**
 * What the parts of a config say together. Each check names both sides of a contradiction, with the place of the other one;
 * the error itself stands at the later of the two.
 */
import { MAX_RULES } from '../contract/counters.js';
import { Mapping } from '../contract/plan.js';
import { contains, formatAddress, formatPrefix, isHostAddress, lengthOf, overlap } from './address.js';
import { formatPrefix6, isHostAddress6, overlap6 } from './address-ipv6.js';
import { MAX_ADDRESSES, MAX_INTERFACES, MAX_LIMITED } from './defaults.js';
import { natName } from './forward.js';
import type { KeyKind, KeyLook } from './key-file.js';
import { checkLinks, sitePrefixes } from './link-kinds.js';
import { formatListen, listensOn } from './listen.js';
import type { Config, ForwardConfig, LanConfig, LinkConfig, NatConfig, UplinkConfig } from './model.js';
import { formatPorts, hasPort, intersect } from './ports.js';
import type { Path } from './source.js';

/** Something that stands at a place of the file. */
export interface Item<T> {
  readonly path: Path;
  readonly origin: string;
  readonly value: T;
}

export interface Parts {
  readonly uplinks: readonly Item<UplinkConfig>[];
  readonly lans: readonly Item<LanConfig>[];
  readonly forwards: readonly Item<ForwardConfig>[];
  readonly nat: readonly Item<NatConfig>[];
  readonly links: readonly Item<LinkConfig>[];
}

export interface Report {
  /** Whether a top-level key is there. */
  written(key: string): boolean;
  /** No uplink (LAN, link) was left out of the parts because of an error of its own. */
  readonly uplinksWhole: boolean;
  readonly lansWhole: boolean;
  readonly linksWhole: boolean;
  /** Null: key files are not looked at. */
  readonly lookAtKey: ((file: string, kind: KeyKind) => KeyLook) | null;
  fail(path: Path, message: string): void;
  failKey(path: Path, message: string): void;
}

/** Rule ids (contract/counters.ts), less one for the rule that ends every plan. */
const MAX_WRITTEN_RULES = MAX_RULES - 1;

export function crossCheck(config: Config, parts: Parts, report: Report): void {
  checkUplinks(parts, report);
  checkLans(config, parts, report);
  checkInterfaces(config, parts, report);
  checkForwards(config, parts, report);
  checkForwardOverlaps(parts.forwards, report);
  checkForwardLimits(parts.forwards, report);
  checkBlocks(config, parts, report);
  checkNat(config, parts, report);
  checkLinks(config, parts, report);
  const rules = parts.forwards.length + parts.nat.length;
  if (rules > MAX_WRITTEN_RULES)
    report.fail([], `has ${rules} forwards and nat rules; at most ${MAX_WRITTEN_RULES} have room`);
}

function checkUplinks({ uplinks, forwards }: Parts, report: Report): void {
  if (report.written('uplink') && report.written('uplinks')) {
    report.failKey(
      ['uplink'],
      '`uplink` and `uplinks` are both there; `uplink: X` is short for `uplinks: [X]`, keep one',
    );
  } else if (!report.written('uplink') && !report.written('uplinks')) {
    // A router of site links alone needs none; what needs a public address says so itself.
    if (!report.written('links'))
      report.fail(
        [],
        '`uplink` is missing; name the interface to the internet, like `uplink: { interface: eth0, address: auto }`',
      );
    else if (forwards.length > 0)
      report.fail(forwards[0]!.path, 'needs a public address, and there is no `uplink` that has one');
  } else if (uplinks.length === 0 && report.uplinksWhole) {
    report.fail(['uplinks'], 'is an empty list; it must have at least one uplink');
  }
  const owners = new Map<number | string, string>();
  let count = 0;
  for (const { path, origin, value } of uplinks) {
    for (const address of value.addresses) {
      const key = address === 'auto' ? `auto ${value.interface}` : address;
      const word = address === 'auto' ? 'auto' : formatAddress(address);
      const other = owners.get(key);
      const at = [...path, 'address'];
      if (other !== undefined)
        report.fail(at, `${word} is already an address of the uplink at ${other}; each address belongs to one uplink`);
      else if (address !== 'auto' && !isHostAddress(address)) {
        report.fail(at, `${word} cannot be the address of a host (it is loopback, multicast or reserved)`);
      }
      owners.set(key, other ?? origin);
      if (++count === MAX_ADDRESSES + 1)
        report.fail(at, `is one address too many; all uplinks together have at most ${MAX_ADDRESSES}`);
    }
  }
}

function checkLans({ uplinks }: Config, { lans }: Parts, report: Report): void {
  if (!report.written('lans')) {
    if (!report.written('links'))
      report.fail(
        [],
        '`lans` is missing; name the inside networks, like `lans: [{ interface: vmbr1, subnet: 192.168.7.0/24 }]`',
      );
  } else if (lans.length === 0 && report.lansWhole)
    report.fail(['lans'], 'is an empty list; it must have at least one LAN');

  for (const { path, value } of lans) {
    const at = [...path, 'subnet'];
    const text = formatPrefix(value.subnet);
    if (value.subnet.mask === 0 || !isHostAddress(value.subnet.prefix)) {
      report.fail(at, `${text} cannot be an inside network; use one like 192.168.7.0/24 (RFC 1918)`);
    }
    for (const uplink of uplinks) {
      for (const address of uplink.addresses) {
        if (address === 'auto' || !contains(value.subnet, address)) continue;
        report.fail(
          at,
          `${text} holds ${formatAddress(address)}, the address of the uplink at ${uplink.origin}; inside and outside must not overlap (REQ-8)`,
        );
      }
    }
  }
  checkLanPrefixes6(lans, report);
  // Sorted by start, prefixes nest: whatever overlaps lies in the last one that was not itself inside another.
  const sorted = [...lans].sort(
    (a, b) =>
      (a.value.subnet.prefix >>> 0) - (b.value.subnet.prefix >>> 0) ||
      lengthOf(a.value.subnet.mask) - lengthOf(b.value.subnet.mask),
  );
  let outer: Item<LanConfig> | undefined;
  for (const item of sorted) {
    if (outer === undefined || !overlap(outer.value.subnet, item.value.subnet)) {
      outer = item;
      continue;
    }
    const [first, later] = lans.indexOf(outer) < lans.indexOf(item) ? [outer, item] : [item, outer];
    report.fail(
      [...later.path, 'subnet'],
      `${formatPrefix(later.value.subnet)} overlaps ${formatPrefix(first.value.subnet)} of the LAN at ${first.origin}; each address belongs to one LAN`,
    );
  }
}

function checkLanPrefixes6(lans: readonly Item<LanConfig>[], report: Report): void {
  const all = lans.flatMap(({ path, origin, value }) =>
    value.ipv6.map((prefix, index) => ({
      at: [...path, 'ipv6', ...(value.ipv6.length > 1 ? [index] : [])],
      origin,
      prefix,
    })),
  );
  all.forEach(({ at, prefix }, index) => {
    const text = formatPrefix6(prefix);
    if (prefix.length < 8 || !isHostAddress6(prefix.words))
      report.fail(at, `${text} cannot be an inside network; use one like 2001:db8:1::/64 or fd00:1::/64`);
    const other = all.slice(0, index).find((item) => overlap6(item.prefix, prefix));
    if (other !== undefined)
      report.fail(
        at,
        `${text} overlaps ${formatPrefix6(other.prefix)} of the LAN at ${other.origin}; each address belongs to one LAN`,
      );
  });
}

/** An interface has one role; a LAN interface may hold several subnets. */
function checkInterfaces(config: Config, { uplinks, lans }: Parts, report: Report): void {
  const roles = new Map<string, string>();
  for (const { path, origin, value } of uplinks) {
    const other = roles.get(value.interface);
    if (other !== undefined) {
      report.fail(
        [...path, 'interface'],
        `${value.interface} is already the uplink at ${other}; give that one a list of addresses`,
      );
    } else roles.set(value.interface, origin);
  }
  const names = new Set(roles.keys());
  for (const { path, value } of lans) {
    const other = roles.get(value.interface);
    if (other !== undefined)
      report.fail([...path, 'interface'], `${value.interface} is the uplink at ${other}; it cannot be a LAN too`);
    if (names.size === MAX_INTERFACES && !names.has(value.interface)) {
      report.fail(
        [...path, 'interface'],
        `is one interface too many; uplinks and LANs together have at most ${MAX_INTERFACES}`,
      );
    }
    names.add(value.interface);
  }
  if (names.has(config.tun.name)) {
    report.fail(
      ['tun', 'name'],
      `${config.tun.name} is an uplink or LAN; the TUN device is made by tungate and needs a name of its own`,
    );
  }
}

function knownAddresses(config: Config): { list: number[]; auto: boolean } {
  const all = config.uplinks.flatMap((uplink) => uplink.addresses);
  return { list: all.filter((address): address is number => address !== 'auto'), auto: all.includes('auto') };
}

function checkPublic(address: number, config: Config, report: Report, path: Path): void {
  const { list, auto } = knownAddresses(config);
  // With `auto` the address may be the one that the interface will have: compile.ts sees.
  if (auto || !report.uplinksWhole || list.includes(address)) return;
  report.fail(
    path,
    `${formatAddress(address)} is not an address of an uplink (there is: ${list.map(formatAddress).join(', ')})`,
  );
}

function checkForwards(config: Config, { forwards }: Parts, report: Report): void {
  const names = new Map<string, string>();
  const lans = config.lans.map((lan) => formatPrefix(lan.subnet)).join(', ');
  const { listen } = config.metrics;
  const sites = sitePrefixes(config);
  const behind = sites.length > 0 ? ' and behind no peer of a link' : '';
  for (const { path, origin, value } of forwards) {
    const other = names.get(value.name);
    // Made names are equal only where ports overlap, which is said below in better words.
    if (other !== undefined && !value.name.includes('/')) {
      report.fail(
        [...path, 'name'],
        `"${value.name}" is already the name of the forward at ${other}; names tell rules apart`,
      );
    }
    names.set(value.name, other ?? origin);
    for (const address of value.addresses) checkPublic(address, config, report, [...path, 'address']);
    const lan = config.lans.find(({ subnet }) => contains(subnet, value.target));
    const target = formatAddress(value.target);
    if (lan === undefined) {
      const known = lans === '' ? 'none' : lans;
      if (report.lansWhole && report.linksWhole && !sites.some((prefix) => contains(prefix, value.target)))
        report.fail([...path, 'to'], `target ${target} is in no LAN (there is: ${known})${behind}`);
    } else if (lengthOf(lan.subnet.mask) < 31) {
      if (value.target === lan.subnet.prefix)
        report.fail([...path, 'to'], `target ${target} is the network address of ${formatPrefix(lan.subnet)}`);
      if (value.target === (lan.subnet.prefix | ~lan.subnet.mask)) {
        report.fail([...path, 'to'], `target ${target} is the broadcast address of ${formatPrefix(lan.subnet)}`);
      }
    }
    if (
      listen !== null &&
      (value.protos.includes('tcp') || value.protos.includes('all')) &&
      hasPort(value.ports, listen.port)
    ) {
      const on = value.addresses.length > 0 ? value.addresses : knownAddresses(config).list;
      if (on.length === 0 ? listensOn(listen, '') : on.some((address) => listensOn(listen, formatAddress(address)))) {
        report.fail(
          [...path, 'ports'],
          `port ${listen.port} is taken by metrics.listen ${formatListen(listen)}; move one of them`,
        );
      }
    }
  }
}

/** A block is one inside host's; ports that endpoint-dependent mappings share are not. */
function checkBlocks(config: Config, { nat }: Parts, report: Report): void {
  if (config.portBlocks === 0) {
    if (config.log.translations === 'blocks')
      report.fail(
        ['log', 'translations'],
        'logs port blocks, but there are none; write `port_blocks: 256`, or log mappings',
      );
    return;
  }
  for (const { path, value } of nat)
    if (value.mapping === Mapping.ENDPOINT_DEPENDENT)
      report.fail(
        [...path, 'mapping'],
        'endpoint-dependent mappings share ports between inside hosts, which `port_blocks` gives to one each; keep one of them',
      );
}

/** Flows of forwards with limits are counted in the table's header, which has room for so many. */
function checkForwardLimits(forwards: readonly Item<ForwardConfig>[], report: Report): void {
  const limited = forwards.filter(({ value }) => value.maxFlows > 0 || value.maxRate > 0);
  const first = limited[MAX_LIMITED];
  if (first !== undefined)
    report.fail(
      first.path,
      `is the ${MAX_LIMITED + 1}th forward with \`max_flows\` or \`max_rate\`; at most ${MAX_LIMITED} have limits`,
    );
}

/** Overlap of two forwards, found by one sweep over all intervals of a protocol in order of their first ports. */
function checkForwardOverlaps(forwards: readonly Item<ForwardConfig>[], report: Report): void {
  const said = new Set<Item<ForwardConfig>>();
  const clash = (a: Item<ForwardConfig>, b: Item<ForwardConfig>, what: string) => {
    const [first, later] = Number(a.path[1]) < Number(b.path[1]) ? [a, b] : [b, a];
    if (said.has(later)) return;
    said.add(later);
    report.fail(
      later.path,
      `forward "${later.value.name}" and forward "${first.value.name}" at ${first.origin} both take ${what}; a port has one target`,
    );
  };
  const together = (a: ForwardConfig, b: ForwardConfig) =>
    a.addresses.length === 0 ||
    b.addresses.length === 0 ||
    a.addresses.some((address) => b.addresses.includes(address));

  for (const proto of ['tcp', 'udp'] as const) {
    const spans = forwards
      .filter(({ value }) => value.protos.includes(proto) || value.protos.includes('all'))
      .flatMap((item) => item.value.ports.map(({ first, last }) => ({ first, last, item })))
      .sort((a, b) => a.first - b.first);
    let open: typeof spans = [];
    for (const span of spans) {
      open = open.filter(({ last }) => last >= span.first);
      const other = open.find(({ item }) => together(item.value, span.item.value));
      if (other === undefined) {
        open.push(span);
        continue;
      }
      const shared = formatPorts(intersect(span.item.value.ports, other.item.value.ports));
      clash(span.item, other.item, `${proto} port${/[-,]/.test(shared) ? 's' : ''} ${shared}`);
      // The wider of the two stays in view, so that what it meets later is seen too.
      if (span.last > other.last) open[open.indexOf(other)] = span;
    }
  }
  for (const [proto, what] of [
    ['icmp', 'ICMP'],
    ['all', 'all protocols'],
  ] as const) {
    const takers: Item<ForwardConfig>[] = [];
    for (const item of forwards) {
      const { protos } = item.value;
      if (!protos.includes('all') && !(proto === 'icmp' && protos.includes('icmp'))) continue;
      const other = takers.find((taker) => together(taker.value, item.value));
      if (other === undefined) takers.push(item);
      else clash(item, other, what);
    }
  }
}

function checkNat(config: Config, { nat }: Parts, report: Report): void {
  const names = new Map<string, string>();
  const matches = new Map<string, string>();
  const inner = [...config.lans.map(({ subnet }) => subnet), ...sitePrefixes(config)];
  for (const { path, origin, value } of nat) {
    const named = names.get(value.name);
    const match = natName(value);
    const earlier = matches.get(match);
    if (earlier !== undefined)
      report.fail(
        path,
        `matches the same flows as the rule at ${earlier}, so it would never apply; remove one of them`,
      );
    else if (named !== undefined)
      report.fail(
        [...path, 'name'],
        `"${value.name}" is already the name of the rule at ${named}; names tell rules apart`,
      );
    names.set(value.name, named ?? origin);
    matches.set(match, earlier ?? origin);
    if (value.address !== null) checkPublic(value.address, config, report, [...path, 'address']);
    const inside =
      value.from.length === 0 || value.from.some((prefix) => inner.some((other) => overlap(prefix, other)));
    if (!inside && report.lansWhole && report.linksWhole && config.lans.length > 0) {
      const lans = config.lans.map((lan) => formatPrefix(lan.subnet)).join(', ');
      report.fail(
        [...path, 'from'],
        `${value.from.map(formatPrefix).join(', ')} is in no LAN (there is: ${lans}), so the rule would never apply`,
      );
    }
  }
}
