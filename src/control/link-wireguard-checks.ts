/** What the keys of WireGuard links say together, with each other and with the rest of the config. */
import type { Prefix } from '../contract/plan.js';
import { contains, formatAddress, formatPrefix, lengthOf, overlap } from './address.js';
import { contains6, formatAddress6, formatPrefix6, NEVER_ROUTED, overlap6, sameWords } from './address-ipv6.js';
import type { Item, Parts, Report } from './checks.js';
import { IPV6_MIN_MTU, MAX_LINKS } from './defaults.js';
import { unknownWord } from './errors.js';
import type { Config, PeerConfig, WireguardLinkConfig } from './model.js';
import { hasPort } from './ports.js';
import type { Path } from './source.js';

type LinkItem = Item<WireguardLinkConfig>;

export function checkWireguardLinks(config: Config, parts: Parts, report: Report): void {
  const links = parts.links.filter((item): item is LinkItem => item.value.kind === 'wireguard');
  links.forEach((link, index) => {
    if (index === MAX_LINKS)
      report.fail(link.path, `is one WireGuard link too many; a router has at most ${MAX_LINKS}`);
    checkPeers(link, checkKeyFiles(link, report), report);
    checkAddress(link, config, links.slice(0, index), report);
    checkIpv6(link, config, links.slice(0, index), report);
    checkMaps(link, config, report);
    checkPolicy(link, parts, report);
    checkPort(link, config, links.slice(0, index), report);
  });
  checkAllowedIps(links, config, report);
  checkAllowedIps6(links, config, report);
}

/** Base64 of the link's own public key, or '' where it is not known. */
function checkKeyFiles({ path, value }: LinkItem, report: Report): string {
  if (report.lookAtKey === null) return '';
  const look = report.lookAtKey(value.privateKeyFile, 'private');
  if ('problem' in look) report.fail([...path, 'wireguard', 'private_key_file'], look.problem);
  value.peers.forEach(({ presharedKeyFile }, at) => {
    if (presharedKeyFile === '') return;
    const psk = report.lookAtKey!(presharedKeyFile, 'preshared');
    if ('problem' in psk) report.fail([...path, 'peers', at, 'preshared_key_file'], psk.problem);
  });
  return 'publicKey' in look ? look.publicKey : '';
}

function checkPeers({ path, value }: LinkItem, own: string, report: Report): void {
  const keys = new Map<string, string>();
  const names = new Set<string>();
  value.peers.forEach(({ name, publicKey: key }, at) => {
    if (names.has(name)) report.fail([...path, 'peers', at, 'name'], `"${name}" is the name of two peers of the link`);
    names.add(name);
    const other = keys.get(key);
    const place = [...path, 'peers', at, 'public_key'];
    if (other !== undefined) report.fail(place, `is the public key of peer "${other}" too; a peer is known by its key`);
    else if (key === own) report.fail(place, "is this side's own public key; the peer's is wanted");
    keys.set(key, other ?? name);
  });
}

function checkAddress({ path, value }: LinkItem, config: Config, before: readonly LinkItem[], report: Report): void {
  if (value.address === null) return;
  const { address } = value.address;
  const text = formatAddress(address);
  const at = [...path, 'address'];
  const lan = config.lans.find(({ subnet }) => contains(subnet, address));
  if (lan !== undefined) {
    const subnet = formatPrefix(lan.subnet);
    report.fail(at, `${text} lies in ${subnet} of the LAN at ${lan.origin}; give the link a network of its own`);
  }
  const uplink = config.uplinks.find(({ addresses }) => addresses.includes(address));
  if (uplink !== undefined) report.fail(at, `${text} is an address of the uplink at ${uplink.origin}`);
  const twin = before.find((link) => link.value.address?.address === address);
  if (twin !== undefined) report.fail(at, `${text} is the address of link "${twin.value.name}" at ${twin.origin} too`);
}

function checkMaps({ path, value }: LinkItem, config: Config, report: Report): void {
  value.peers.forEach(({ maps, name }, at) => {
    maps.forEach(({ inside, outside }, index) => {
      const fail = (message: string) => report.fail([...path, 'peers', at, 'map'], message);
      const [ours, seen] = [formatPrefix(inside), formatPrefix(outside)];
      if (maps.slice(0, index).some((map) => overlap(map.inside, inside) || overlap(map.outside, outside)))
        fail(`"${ours} as ${seen}" overlaps another map of peer "${name}"; each address has one counterpart`);
      if (report.lansWhole && config.lans.length > 0 && !config.lans.some(({ subnet }) => overlap(subnet, inside))) {
        const lans = config.lans.map(({ subnet }) => formatPrefix(subnet)).join(', ');
        fail(`${ours} is in no LAN (there is: ${lans}), so the map would never apply`);
      }
      const lan = config.lans.find(({ subnet }) => overlap(subnet, outside));
      if (lan !== undefined)
        fail(
          `${seen} overlaps ${formatPrefix(lan.subnet)} of the LAN at ${lan.origin}; what the peer sees must be a network that nobody here has`,
        );
    });
  });
}

function checkPolicy({ path, value }: LinkItem, { links, uplinks }: Parts, report: Report): void {
  const peers = value.peers.map(({ name }) => name);
  const allowed = value.peers.flatMap(({ allowedIps }) => allowedIps);
  const allowed6 = value.peers.flatMap(({ allowedIps6 }) => allowedIps6);
  const names = links.map((item) => item.value.name);
  let catchAll = false;
  value.policy.forEach((policy, at) => {
    // Written as one map or as a list; the place of the one map is that of the list.
    const place: Path = [...path, 'policy', ...(value.policy.length > 1 ? [at] : [])];
    for (const name of policy.peers)
      if (!peers.includes(name)) report.fail([...place, 'from'], unknownWord('peer', name, peers));
    for (const prefix of policy.from)
      if (!allowed.some((ip) => overlap(ip, prefix)))
        report.fail(
          [...place, 'from'],
          `${formatPrefix(prefix)} is in no peer's allowed_ips, so the entry would never apply`,
        );
    for (const prefix of policy.from6)
      if (!allowed6.some((ip) => overlap6(ip, prefix)))
        report.fail(
          [...place, 'from'],
          `${formatPrefix6(prefix)} is in no peer's allowed_ips, so the entry would never apply`,
        );
    for (const name of policy.links)
      if (!names.includes(name) && report.linksWhole)
        report.fail([...place, 'links'], unknownWord('link', name, names));
    if (policy.internet && uplinks.length === 0 && report.uplinksWhole)
      report.fail([...place, 'internet'], 'needs `uplink`, the interface to the internet; there is none');
    if (catchAll) report.fail(place, 'stands behind an entry without `from`, so it would never apply');
    if (policy.peers.length + policy.from.length + policy.from6.length === 0) catchAll = true;
  });
}

/** A port has one owner. */
function checkPort({ path, value }: LinkItem, config: Config, before: readonly LinkItem[], report: Report): void {
  const { listen } = value;
  if (listen === 0) return;
  const fail = (message: string) => report.fail([...path, 'wireguard', 'listen'], message);
  const twin = before.find((link) => link.value.listen === listen);
  if (twin !== undefined) fail(`${listen} is the port of link "${twin.value.name}" at ${twin.origin} too`);
  for (const uplink of config.uplinks)
    if (hasPort(uplink.pool, listen))
      fail(
        `${listen} is in the pool of the uplink at ${uplink.origin}; choose another, or take it out there: ports: "…,~${listen}"`,
      );
  for (const { name, origin, ports, protos } of config.forwards)
    if ((protos.includes('udp') || protos.includes('all')) && hasPort(ports, listen))
      fail(`${listen} is forwarded by "${name}" at ${origin}; move one of them`);
}

/**
 * A nearer prefix wins, as in WireGuard itself, so one may lie in another (0.0.0.0/0 around all). The same one twice is a mistake: there, the later
 * peer would take it from the earlier without a word.
 */
function checkAllowedIps(links: readonly LinkItem[], config: Config, report: Report): void {
  const owners = new Map<string, string>();
  for (const { path, value } of links) {
    value.peers.forEach((peer, at) => {
      peer.allowedIps.forEach((ip, index) => {
        const place = placeOfIp(path, at, peer, index);
        const text = formatPrefix(ip);
        const owner = `peer "${peer.name}" of link "${value.name}"`;
        const other = owners.get(text);
        if (other !== undefined)
          report.fail(place, `${text} is both ${other}'s and ${owner}'s; an address is behind one peer`);
        owners.set(text, other ?? owner);
        checkInside(place, ip, config, report);
      });
    });
  }
}

/** One prefix may stand without a list; where both families are mixed, the list is the place. */
function placeOfIp(path: Path, peer: number, { allowedIps, allowedIps6 }: PeerConfig, index: number): Path {
  const mixed = allowedIps.length > 0 && allowedIps6.length > 0;
  const at = !mixed && allowedIps.length + allowedIps6.length > 1 ? [index] : [];
  return [...path, 'peers', peer, 'allowed_ips', ...at];
}

function checkAllowedIps6(links: readonly LinkItem[], config: Config, report: Report): void {
  const owners = new Map<string, string>();
  for (const { path, value } of links) {
    value.peers.forEach((peer, at) => {
      peer.allowedIps6.forEach((ip, index) => {
        const fail = (message: string) => report.fail(placeOfIp(path, at, peer, index), message);
        const text = formatPrefix6(ip);
        const owner = `peer "${peer.name}" of link "${value.name}"`;
        const other = owners.get(text);
        if (other !== undefined) fail(`${text} is both ${other}'s and ${owner}'s; an address is behind one peer`);
        owners.set(text, other ?? owner);
        if (NEVER_ROUTED.some((prefix) => prefix.length <= ip.length && overlap6(prefix, ip)))
          fail(`${text} is link-local or multicast, which no router passes on`);
        for (const lan of config.lans)
          for (const prefix of lan.ipv6)
            if (overlap6(prefix, ip) && ip.length >= prefix.length)
              fail(`${text} lies in ${formatPrefix6(prefix)} of the LAN at ${lan.origin}; it cannot be behind a peer`);
      });
    });
  }
}

function checkIpv6({ path, value }: LinkItem, config: Config, before: readonly LinkItem[], report: Report): void {
  const { address6, mtu, peers } = value;
  if (mtu !== 0 && mtu < IPV6_MIN_MTU && peers.some(({ allowedIps6 }) => allowedIps6.length > 0))
    report.fail([...path, 'wireguard', 'mtu'], `${mtu} is too small for IPv6, which needs ${IPV6_MIN_MTU} (RFC 8200)`);
  if (address6 === null) return;
  const at = [...path, 'address'];
  const text = formatAddress6(address6.words);
  for (const lan of config.lans)
    for (const prefix of lan.ipv6)
      if (contains6(prefix, address6.words))
        report.fail(
          at,
          `${text} lies in ${formatPrefix6(prefix)} of the LAN at ${lan.origin}; give the link a network of its own`,
        );
  const twin = before.find((link) => link.value.address6 && sameWords(link.value.address6.words, address6.words));
  if (twin !== undefined) report.fail(at, `${text} is the address of link "${twin.value.name}" at ${twin.origin} too`);
}

/** What is ours cannot be behind a peer; something wider (0.0.0.0/0, 10.0.0.0/8) may, ours is nearer. */
function checkInside(place: Path, ip: Prefix, config: Config, report: Report): void {
  const text = formatPrefix(ip);
  const lan = config.lans.find(({ subnet }) => overlap(subnet, ip) && lengthOf(ip.mask) >= lengthOf(subnet.mask));
  if (lan !== undefined)
    report.fail(
      place,
      `${text} lies in ${formatPrefix(lan.subnet)} of the LAN at ${lan.origin}; where both sites have the same network, each lets the other see ` +
        `another: \`map: ${formatPrefix(lan.subnet)} as 10.71.1.0/24\` here, and here what the peer maps its own as`,
    );
  for (const { addresses, origin } of config.uplinks)
    for (const address of addresses)
      if (address !== 'auto' && ip.mask === -1 && contains(ip, address))
        report.fail(place, `${text} is an address of the uplink at ${origin}; it cannot be behind a peer`);
}
