/**
 * The TUN device: made (or adopted), opened once per worker, and set up so that the kernel lets the engine's packets
 * through.
 *
 * Theory of operation.
 * - The device is persistent: when the daemon is killed, packets that the steering redirects are lost in it instead of
 *   reaching the host's stack, and the next start takes it over with its index, which the filters refer to.
 * - A device that the journal does not know was made by somebody else (an administrator who lets the daemon run without
 *   the right to create one). It is adopted when it is a multi-queue TUN that nobody reads, and keeps existing at the end.
 * - Descriptors that the last run left with the service manager are queues of the device already, with the packets that came
 *   meanwhile; they are used first. Those of another device, or of one that was deleted, are closed.
 * - Settings of the device: IPv6 off unless a site link carries it (tun-ipv6.ts), `forwarding` (routes what we
 *   write although ip_forward may be 0), `accept_local` (packets with the source P are otherwise "martian"), rp_filter 0.
 * - rp_filter in force is max(all, device). all=1 drops every translated packet, so then each other device gets the 1
 *   that `all` gave it, new ones get it by `default`, and `all` becomes 0: the same protection, except on the TUN.
 *   all=2 wants no more than some address on the device: the IPv4 dummy address (RFC 7600), which means nothing.
 * - The MTU plays no part in a redirect: mirred hands packets to the driver without asking for their length, and GSO
 *   packets are cut only by the device's GSO limits (64 KiB). 65535 is set so that nothing that does ask for it (a route
 *   to the device, path MTU) ever sees a small one.
 */
import { readFileSync } from 'node:fs';
import { native } from '../native.js';
import { addHostAddress, addHostRoute, setConf, setSysctl } from './change.js';
import { ipv4Number, ipv4Text } from './ipv4.js';
import type { Journal } from './journal.js';
import { findLink, type Link, readLinks, setLink } from './link.js';
import { failedWith, type Netlink } from './netlink.js';
import { u8, u32 } from './netlink-message.js';
import { confPath, readSysctl, sysctlExists } from './sysctl.js';
import { hasIpv6 } from './tun-ipv6.js';

const IFLA_TUN_TYPE = 3;
const IFLA_TUN_VNET_HDR = 5;
const IFLA_TUN_MULTI_QUEUE = 7;
const IFLA_TUN_NUM_QUEUES = 8;
const IFF_TUN = 1;

export const TUN_MTU = 65_535;
/** The default of 500 overflows under bursts of GSO packets. */
export const TUN_QUEUE_LENGTH = 2000;
/** 192.0.0.8: "an IPv4 source that is not an address of anybody" (RFC 7600). */
const DUMMY_ADDRESS = ipv4Number('192.0.0.8');

/** net.ipv4.conf.TUN.…; why: see the head. */
const SETTINGS: readonly (readonly [setting: string, value: string])[] = [
  ['forwarding', '1'],
  ['accept_local', '1'],
  ['rp_filter', '0'],
];

export interface TunOptions {
  readonly name: string;
  /** Queues to open: one per worker. */
  readonly queues: number;
  /** Public addresses that the host must answer for although they are not its own; int32. */
  readonly addresses: readonly number[];
  /** Queues that the last run left open; they are this function's now. */
  readonly stored?: readonly number[];
}

/** A network that the host itself reaches by the TUN, from its address `source`; int32. */
export interface TunRoute {
  readonly prefix: number;
  readonly length: number;
  readonly source: number;
}

export interface Tun {
  readonly name: string;
  readonly index: number;
  /** One descriptor per queue; the caller closes them. */
  readonly fds: readonly number[];
  /** false: the device was there before. */
  readonly created: boolean;
}

/** On any error the descriptors are closed; what was changed is in the journal, for the caller to undo. */
export function setupTun(nl: Netlink, options: TunOptions, journal: Journal): Tun {
  const { name } = options;
  const existing = findLink(nl, name);
  const fds = takeStored(options);
  try {
    if (existing) checkAdoptable(existing, fds.length);
    while (fds.length < options.queues) fds.push(openQueue(name));
    const device = findLink(nl, name);
    if (!device) throw new Error(`the TUN device ${name} vanished while it was opened: does something else manage it?`);
    noteDevice(journal, device, existing);
    if (!existing) native.tunPersist(fds[0]!, true);
    configure(nl, journal, device);
    setTunAddresses(nl, device, options.addresses, journal);
    return { name, index: device.index, fds, created: !existing };
  } catch (error) {
    for (const fd of fds) native.closeFd(fd);
    throw error;
  }
}

/**
 * Puts back what somebody changed on the device meanwhile: a write to net.ipv4.ip_forward, by whomever, reaches the
 * `forwarding` of every device, and a reload of sysctl.conf may turn strict reverse path filtering on again. Returns what
 * was found changed.
 */
export function verifyTun(nl: Netlink, tun: Pick<Tun, 'name' | 'index'>, journal: Journal): string[] {
  const device = findLink(nl, tun.index);
  if (!device) return []; // the workers notice, and get a new one
  const changed = SETTINGS.map(([setting, value]) => ({ path: confPath(device.name, setting), value }))
    .filter(({ path, value }) => readSysctl(path) !== value)
    .map(({ path }) => `${path} is ${readSysctl(path)}`);
  const all = confPath('all', 'rp_filter');
  if (readSysctl(all) === '1') changed.push(`${all} is 1`);
  if (!device.up) changed.push(`${device.name} is down`);
  if (changed.length > 0) configure(nl, journal, device);
  return changed;
}

/** Those of the stored queues that are queues of this device, as many as are wanted; the rest is closed. */
function takeStored({ name, queues, stored = [] }: TunOptions): number[] {
  const taken: number[] = [];
  for (const fd of stored) {
    if (taken.length < queues && deviceOf(fd) === name) taken.push(fd);
    else native.closeFd(fd);
  }
  return taken;
}

/** Name of the TUN that a descriptor is a queue of; undefined when it is none, or the device is gone. */
function deviceOf(fd: number): string | undefined {
  return /^iff:\t(.+)$/m.exec(readFileSync(`/proc/self/fdinfo/${fd}`, 'latin1'))?.[1];
}

/** `ours`: queues that are held by this process. */
function checkAdoptable({ name, kind, data }: Link, ours: number): void {
  const refuse = (why: string): Error =>
    new Error(
      `${name} exists and ${why}: choose another name (tun: { name: … }), or delete it (ip link delete ${name})`,
    );
  if (kind !== 'tun' || u8(data.get(IFLA_TUN_TYPE)) !== IFF_TUN) throw refuse('is not a TUN device');
  if (u8(data.get(IFLA_TUN_MULTI_QUEUE)) !== 1) throw refuse('was made without multi_queue');
  if (u8(data.get(IFLA_TUN_VNET_HDR)) !== 1) throw refuse('was made without vnet_hdr');
  // Those that were left with the service manager may be held there a moment longer.
  if (ours === 0 && (u32(data.get(IFLA_TUN_NUM_QUEUES)) ?? 0) > 0) throw refuse('is in use by another process');
}

function openQueue(name: string): number {
  try {
    return native.tunOpen(name).fd;
  } catch (error) {
    throw new Error(tunTrouble(name, error), { cause: error });
  }
}

/** What is wrong with the TUN, and the remedy. */
export function tunTrouble(name: string, error: unknown): string {
  if (failedWith(error, 'ENOENT', 'ENODEV', 'ENXIO')) {
    return 'there is no /dev/net/tun: load the module (modprobe tun), or give the container the device (--device=/dev/net/tun)';
  }
  if (failedWith(error, 'EPERM', 'EACCES')) {
    return `no permission to open the TUN device ${name}: CAP_NET_ADMIN is needed (run as root, or give the container --cap-add=NET_ADMIN and --device=/dev/net/tun)`;
  }
  if (failedWith(error, 'EBUSY')) return `the TUN device ${name} is in use by another process`;
  return `cannot open the TUN device ${name}: ${error instanceof Error ? error.message : String(error)}`;
}

/** The new device still goes away with its descriptors; it is made persistent only after this. */
function noteDevice(journal: Journal, device: Link, existing: Link | undefined): void {
  const made = { kind: 'link', interface: device.name, index: device.index } as const;
  if (!existing) journal.note(made);
  else if (!journal.has(made)) {
    const { up, mtu, txqueuelen } = existing;
    journal.note({ ...made, kind: 'link-settings', before: { up, mtu, txqueuelen } });
  }
}

function configure(nl: Netlink, journal: Journal, device: Link): void {
  // An earlier run may have had IPv6 there: what goes on is not stopped for a moment (tun-ipv6.ts).
  const noIpv6 = confPath(device.name, 'disable_ipv6', 'ipv6');
  if (sysctlExists(noIpv6) && !hasIpv6(journal, device.index)) setSysctl(journal, noIpv6, '1', device);
  for (const [setting, value] of SETTINGS) setConf(journal, device, setting, value);
  relaxReversePath(nl, journal, device);
  setLink(nl, device.index, { up: true, mtu: TUN_MTU, txqueuelen: TUN_QUEUE_LENGTH });
}

/**
 * See the head. `all` comes last, so that nothing is without its filter in between; devices come before `default`,
 * because a write to `default` also reaches every device whose own value was never written, and could not be undone there.
 */
function relaxReversePath(nl: Netlink, journal: Journal, device: Link): void {
  const all = readSysctl(confPath('all', 'rp_filter'));
  if (all === '2') addHostAddress(nl, journal, device, DUMMY_ADDRESS);
  if (all !== '1') return;
  for (const other of readLinks(nl)) {
    if (other.index !== device.index) raise(journal, confPath(other.name, 'rp_filter'), other);
  }
  raise(journal, confPath('default', 'rp_filter'));
  setSysctl(journal, confPath('all', 'rp_filter'), '0');
}

/** 0 → 1. An interface that goes away meanwhile needs nothing. */
function raise(journal: Journal, path: string, device?: Link): void {
  try {
    if (readSysctl(path) === '0') setSysctl(journal, path, '1', device);
  } catch (error) {
    if (sysctlExists(path)) throw error;
  }
}

/** Brings the addresses on the TUN to `addresses`; takes away only what was added here. For start and reload. */
export function setTunAddresses(
  nl: Netlink,
  tun: Pick<Tun, 'name' | 'index'>,
  addresses: readonly number[],
  journal: Journal,
): void {
  const device = findLink(nl, tun.index);
  if (!device) throw new Error(`the TUN device ${tun.name} is gone`);
  const wanted = new Set([...addresses, DUMMY_ADDRESS].map(ipv4Text));
  for (const change of journal.changes) {
    if (change.kind !== 'address' || change.index !== tun.index || change.address.includes(':')) continue;
    if (!wanted.has(change.address)) journal.undo(change, nl);
  }
  for (const address of addresses) addHostAddress(nl, journal, device, address);
}

/**
 * Brings the routes to the TUN to `routes`; takes away only what was added here. Returns those that the kernel refused, in words: a network that
 * somebody else routes already stays theirs.
 */
export function setTunRoutes(
  nl: Netlink,
  tun: Pick<Tun, 'name' | 'index'>,
  routes: readonly TunRoute[],
  journal: Journal,
): string[] {
  const device = findLink(nl, tun.index);
  if (!device) throw new Error(`the TUN device ${tun.name} is gone`);
  const text = ({ prefix, length }: Pick<TunRoute, 'prefix' | 'length'>) => `${ipv4Text(prefix)}/${length}`;
  const wanted = new Set(routes.map(text));
  for (const change of journal.changes) {
    if (change.kind !== 'route' || change.index !== tun.index || change.destination.includes(':')) continue;
    if (!wanted.has(`${change.destination}/${change.length}`)) journal.undo(change, nl);
  }
  return routes.flatMap((route) => {
    try {
      addHostRoute(nl, journal, device, route);
      return [];
    } catch (error) {
      if (!failedWith(error, 'EEXIST')) throw error;
      return [
        `${text(route)} is routed elsewhere already (ip route show ${text(route)}); this host does not reach it by the link`,
      ];
    }
  });
}
