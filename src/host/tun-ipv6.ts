/**
 * IPv6 on the TUN: off unless a site link carries it.
 *
 * - `disable_ipv6` 1 keeps the kernel's router solicitations and multicast reports out of the engine. With IPv6 on, `addr_gen_mode` 1 (no link-local address)
 *   and `accept_ra` 0 leave of them a few multicast reports, which the engine drops by name.
 * - What the engine writes there for a LAN the kernel has to forward. `force_forwarding` (Linux 6.17) says so for this device alone; it is what
 *   `net.ipv4.conf.TUN.forwarding` is. An older kernel asks net.ipv6.conf.all.forwarding, which is not touched (control/compile-ipv6.ts).
 * - There is no reverse path filter and no martian source to be let through: IPv6 has neither.
 */
import type { Prefix6, Words6 } from '../contract/ipv6.js';
import { addAddress6, addRoute6, deleteRoute6, type Route6, readAddresses6, readRoutes6 } from './address-ipv6.js';
import { setSysctl } from './change.js';
import { ipv6Text, sameAddress6 } from './ipv6.js';
import type { Journal } from './journal.js';
import { findLink, type Link } from './link.js';
import { failedWith, type Netlink } from './netlink.js';
import { confPath, readSysctl, sysctlExists } from './sysctl.js';
import type { Tun } from './tun.js';

const FORWARDING = 'force_forwarding';

/** net.ipv6.conf.TUN.…, in this order: nothing is sent before it is told not to. */
const SETTINGS: readonly (readonly [setting: string, value: string])[] = [
  ['addr_gen_mode', '1'],
  ['accept_ra', '0'],
  [FORWARDING, '1'],
  ['disable_ipv6', '0'],
];

export interface WantedIpv6 {
  /** As /128. */
  readonly addresses: readonly Words6[];
  readonly routes: readonly { readonly prefix: Prefix6; readonly source: Words6 }[];
}

/** The kernel can forward what comes in by one device alone. */
export function canForceForwarding(): boolean {
  return sysctlExists(confPath('all', FORWARDING, 'ipv6'));
}

/** Has an earlier call, of this run or another, given the TUN anything of IPv6? */
export function hasIpv6(journal: Journal, index: number): boolean {
  return journal.changes.some((change) => isOurs(change, index));
}

function isOurs(change: Journal['changes'][number], index: number): boolean {
  return (
    (change.kind === 'address' && change.index === index && change.address.includes(':')) ||
    (change.kind === 'route' && change.index === index && change.destination.includes(':'))
  );
}

/** Makes the TUN's IPv6 what is wanted; null: off. Takes away only what was added here. Returns what the kernel refused, in words. */
export function setTunIpv6(
  nl: Netlink,
  tun: Pick<Tun, 'name' | 'index'>,
  wanted: WantedIpv6 | null,
  journal: Journal,
): string[] {
  const device = findLink(nl, tun.index);
  if (!device) throw new Error(`the TUN device ${tun.name} is gone`);
  forget(nl, tun.index, wanted, journal);
  if (wanted === null) {
    switchOff(device, journal);
    return [];
  }
  for (const [setting, value] of SETTINGS) {
    const path = confPath(device.name, setting, 'ipv6');
    if (sysctlExists(path)) setSysctl(journal, path, value, device);
  }
  const there = wanted.addresses.length === 0 ? [] : readAddresses6(nl);
  for (const address of wanted.addresses) {
    if (there.some((one) => one.index === device.index && sameAddress6(one.address, address))) continue;
    const { name, index } = device;
    journal.note({ kind: 'address', interface: name, index, address: ipv6Text(address), length: 128 });
    addAddress6(nl, index, address);
  }
  return addRoutes(nl, device, wanted.routes, journal);
}

/** Settings that somebody changed, in words. */
export function changedIpv6(name: string): string[] {
  return SETTINGS.map(([setting, value]) => ({ path: confPath(name, setting, 'ipv6'), value })).flatMap(
    ({ path, value }) => {
      const is = readSysctl(path);
      return is === undefined || is === value ? [] : [`${path} is ${is}`];
    },
  );
}

function switchOff(device: Link, journal: Journal): void {
  const off = confPath(device.name, 'disable_ipv6', 'ipv6');
  if (sysctlExists(off)) setSysctl(journal, off, '1', device);
}

function forget(nl: Netlink, index: number, wanted: WantedIpv6 | null, journal: Journal): void {
  const addresses = new Set((wanted?.addresses ?? []).map(ipv6Text));
  const routes = new Set((wanted?.routes ?? []).map(({ prefix }) => text(prefix)));
  for (const change of journal.changes) {
    if (!isOurs(change, index)) continue;
    if (change.kind === 'address' && !addresses.has(change.address)) journal.undo(change, nl);
    if (change.kind === 'route' && !routes.has(`${change.destination}/${change.length}`)) journal.undo(change, nl);
  }
}

function text({ words, length }: Prefix6): string {
  return `${ipv6Text(words)}/${length}`;
}

function addRoutes(nl: Netlink, { name, index }: Link, routes: WantedIpv6['routes'], journal: Journal): string[] {
  if (routes.length === 0) return [];
  const there = readRoutes6(nl, index);
  return routes.flatMap(({ prefix, source }) => {
    const route: Route6 = { prefix, index, source };
    const twin = there.find((one) => text(one.prefix) === text(prefix));
    if (twin?.source && sameAddress6(twin.source, source)) return [];
    try {
      const { length } = prefix;
      journal.note({ kind: 'route', interface: name, index, destination: ipv6Text(prefix.words), length });
      if (twin) deleteRoute6(nl, twin);
      addRoute6(nl, route);
      return [];
    } catch (error) {
      if (!failedWith(error, 'EEXIST')) throw error;
      return [
        `${text(prefix)} is routed elsewhere already (ip -6 route show ${text(prefix)}); this host does not reach it by the link`,
      ];
    }
  });
}
