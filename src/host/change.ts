/** Changes to the kernel that several files make: look, note in the journal, act. What is right already is not touched. */
import { ipv4Text } from './ipv4.js';
import type { Journal } from './journal.js';
import { addAddress, type Link, readAddresses, SCOPE_HOST } from './link.js';
import type { Netlink } from './netlink.js';
import { addRoute, deleteRoute, readRoutes, TABLE_MAIN } from './route.js';
import { confPath, readSysctl, writeSysctl } from './sysctl.js';

/** `device`: the setting belongs to this interface and goes with it. */
export function setSysctl(journal: Journal, path: string, value: string, device?: Link): void {
  const before = readSysctl(path);
  if (before === value) return;
  if (before === undefined)
    throw new Error(`cannot set sysctl ${path}: this kernel, or this interface, has no such setting`);
  const owner = device ? { interface: device.name, index: device.index } : {};
  // Settings of a device that was made here go with it.
  const mortal = device && journal.has({ kind: 'link', interface: device.name, index: device.index });
  if (!mortal) journal.note({ kind: 'sysctl', path, before, after: [value], ...owner });
  writeSysctl(path, value);
}

/**
 * As `setSysctl`, for net.ipv4.conf.DEVICE.…, and written even where it is right already: until its own value is
 * written for the first time, a device follows each later change of `conf.default`.
 */
export function setConf(journal: Journal, device: Link, setting: string, value: string): void {
  const path = confPath(device.name, setting);
  setSysctl(journal, path, value, device);
  writeSysctl(path, value);
}

/** As /32, for this host only: the kernel answers for it but never takes it as a source of its own. */
export function addHostAddress(nl: Netlink, journal: Journal, device: Link, address: number): void {
  const there = readAddresses(nl).some((one) => one.index === device.index && one.address === address);
  if (there) return;
  const { name, index } = device;
  journal.note({ kind: 'address', interface: name, index, address: ipv4Text(address), length: 32 });
  addAddress(nl, index, address, 32, SCOPE_HOST);
}

/** A route of the table main to `device`; `source`: what the host itself sends from. One that is there with another source is replaced. */
export function addHostRoute(
  nl: Netlink,
  journal: Journal,
  device: Link,
  { prefix, length, source }: { readonly prefix: number; readonly length: number; readonly source: number },
): void {
  const { name, index } = device;
  const twin = readRoutes(nl).find(
    (one) => one.table === TABLE_MAIN && one.index === index && one.prefix === prefix && one.length === length,
  );
  if (twin?.source === source) return;
  journal.note({ kind: 'route', interface: name, index, destination: ipv4Text(prefix), length });
  if (twin) deleteRoute(nl, { prefix, length, index });
  addRoute(nl, { prefix, length, index, source });
}
