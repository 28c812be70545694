/**
 * How each kind of change is taken back. Every kind looks before it acts, because the journal may be one change ahead
 * of the kernel (crash), behind it (somebody else put it back), or about a device that was deleted and made again.
 * A device is the one that was meant when its index is the same: indexes are not given out twice while a namespace
 * lives. A name alone may be a new device; an index with another name is a device that was renamed.
 */

import { lstatSync, rmSync } from 'node:fs';
import { deleteAddress6, deleteRoute6, readAddresses6, readRoutes6 } from './address-ipv6.js';
import { ipv4Number } from './ipv4.js';
import { ipv6Words, sameAddress6 } from './ipv6.js';
import type { Change } from './journal.js';
import { deleteAddress, deleteLink, findLink, type Link, readAddresses, setLink } from './link.js';
import { failedWith, type Netlink } from './netlink.js';
import { parsePorts, portsText, subtractPorts } from './ports.js';
import { deleteRoute, readRoutes, TABLE_MAIN } from './route.js';
import { readSysctl, writeSysctl } from './sysctl.js';
import { clsactOf, deleteClsact, deleteFilter, describeFilter, EGRESS, INGRESS, readFilters } from './tc.js';

export const RESERVED_PORTS = 'net/ipv4/ip_local_reserved_ports';

export interface Undone {
  readonly outcome: 'undone' | 'gone' | 'left';
  readonly words: string;
}

/** The LANs' interfaces: only they and the uplinks have filters, and uplinks (and lo) have some on their way out. */
export function lanIndexes(changes: readonly Change[]): ReadonlySet<number> {
  const filters = changes.filter((change) => change.kind === 'filter');
  const withEgress = new Set(filters.filter(({ parent }) => parent === EGRESS).map(({ index }) => index));
  return new Set(filters.map(({ index }) => index).filter((index) => !withEgress.has(index)));
}

/** Throws when the kernel refuses. */
export function undoChange(change: Change, nl: Netlink): Undone {
  switch (change.kind) {
    case 'sysctl':
      return undoSysctl(change, nl);
    case 'reserved-ports':
      return undoReservedPorts(change);
    case 'address':
      return undoAddress(change, nl);
    case 'route':
      return undoRoute(change, nl);
    case 'socket':
      return undoSocket(change);
    case 'link':
      return undoLink(change, nl);
    case 'link-settings':
      return undoLinkSettings(change, nl);
    case 'qdisc':
      return undoQdisc(change, nl);
    case 'filter':
      return undoFilter(change, nl);
  }
}

type Kind<K extends Change['kind']> = Extract<Change, { kind: K }>;

function undoSysctl(change: Kind<'sysctl'>, nl: Netlink): Undone {
  let { path } = change;
  if (change.interface !== undefined && change.index !== undefined) {
    const link = findLink(nl, change.index);
    if (!link) return gone(`${path}: the interface is gone`);
    // A renamed device takes its settings along, to a folder of the new name.
    path = path.replace(`/${change.interface}/`, `/${link.name}/`);
  }
  const present = readSysctl(path);
  if (present === undefined) return gone(`${path} is gone`);
  if (present === change.before) return gone(`${path} is ${show(present)} as before`);
  if (!change.after.includes(present)) {
    return left(
      `${path} is ${show(present)}: not what was set here (${change.after.map(show).join(', ')}), so it stays; it was ${show(change.before)} before`,
    );
  }
  writeSysctl(path, change.before);
  return undone(`${path} is ${show(change.before)} again`);
}

function undoReservedPorts(change: Kind<'reserved-ports'>): Undone {
  const present = readSysctl(RESERVED_PORTS);
  if (present === undefined) return gone(`${RESERVED_PORTS} is gone`);
  const target = portsText(subtractPorts(parsePorts(present), parsePorts(change.ours)));
  if (target === portsText(parsePorts(present)))
    return gone(`${RESERVED_PORTS} is ${show(present)}: nothing of ours in it`);
  writeSysctl(RESERVED_PORTS, target);
  return undone(`${RESERVED_PORTS} is ${show(target)} again`);
}

function undoAddress(change: Kind<'address'>, nl: Netlink): Undone {
  const what = `address ${change.address}/${change.length} on ${change.interface}`;
  if (change.address.includes(':')) return undoAddress6(change, what, nl);
  const address = ipv4Number(change.address);
  const there = readAddresses(nl).some(
    (one) => one.index === change.index && one.address === address && one.length === change.length,
  );
  if (!there) return gone(`${what} is gone`);
  return attempt(
    `${what} deleted`,
    () => deleteAddress(nl, change.index, address, change.length),
    'EADDRNOTAVAIL',
    'ENODEV',
  );
}

function undoAddress6({ index, address }: Kind<'address'>, what: string, nl: Netlink): Undone {
  const words = ipv6Words(address);
  const there = readAddresses6(nl).some((one) => one.index === index && sameAddress6(one.address, words));
  if (!there) return gone(`${what} is gone`);
  return attempt(`${what} deleted`, () => deleteAddress6(nl, index, words), 'EADDRNOTAVAIL', 'ENODEV');
}

function undoRoute6({ index, destination, length }: Kind<'route'>, what: string, nl: Netlink): Undone {
  const words = ipv6Words(destination);
  const route = readRoutes6(nl, index).find(
    ({ prefix }) => prefix.length === length && sameAddress6(prefix.words, words),
  );
  if (!route) return gone(`${what} is gone`);
  return attempt(`${what} deleted`, () => deleteRoute6(nl, route), 'ESRCH', 'ENODEV');
}

function undoRoute(change: Kind<'route'>, nl: Netlink): Undone {
  const what = `route ${change.destination}/${change.length} by ${change.interface}`;
  if (change.destination.includes(':')) return undoRoute6(change, what, nl);
  const { index, length } = change;
  const prefix = ipv4Number(change.destination);
  const there = readRoutes(nl).some(
    (one) => one.table === TABLE_MAIN && one.index === index && one.prefix === prefix && one.length === length,
  );
  if (!there) return gone(`${what} is gone`);
  return attempt(`${what} deleted`, () => deleteRoute(nl, { prefix, length, index }), 'ESRCH', 'ENODEV');
}

function undoSocket({ path, inode }: Kind<'socket'>): Undone {
  const there = lstatSync(path, { throwIfNoEntry: false });
  if (there?.ino !== inode) return gone(`${path} is gone`);
  rmSync(path, { force: true });
  return undone(`${path} removed`);
}

function undoLink(change: Kind<'link'>, nl: Netlink): Undone {
  const link = findLink(nl, change.index);
  if (!link) return gone(`interface ${change.interface} is gone`);
  if (link.kind !== 'tun' || link.name !== change.interface) {
    return left(
      `interface ${link.name} (index ${change.index}, ${link.kind || 'physical'}) is not the TUN ${change.interface} that was made here: it stays`,
    );
  }
  return attempt(`interface ${change.interface} deleted`, () => deleteLink(nl, change.index), 'ENODEV');
}

function undoLinkSettings(change: Kind<'link-settings'>, nl: Netlink): Undone {
  const link = findLink(nl, change.index);
  if (!link) return gone(`interface ${change.interface} is gone`);
  const { up, mtu, txqueuelen } = change.before;
  if (link.up === up && link.mtu === mtu && link.txqueuelen === txqueuelen) {
    return gone(`interface ${link.name} is as before`);
  }
  setLink(nl, change.index, change.before);
  return undone(`interface ${link.name} has mtu ${mtu}, txqueuelen ${txqueuelen} and is ${up ? 'up' : 'down'} again`);
}

function undoQdisc(change: Kind<'qdisc'>, nl: Netlink): Undone {
  const link = findLink(nl, change.index);
  if (!link || clsactOf(nl, change.index) !== 'clsact') return gone(`clsact of ${change.interface} is gone`);
  const strangers = [INGRESS, EGRESS].flatMap((parent) => readFilters(nl, change.index, parent));
  if (strangers.length > 0) {
    return left(
      `clsact of ${link.name} stays: somebody else's filter is on it (${strangers.map(describeFilter).join('; ')})`,
    );
  }
  return attempt(`clsact of ${link.name} deleted`, () => deleteClsact(nl, change.index), 'ENOENT', 'EINVAL', 'ENODEV');
}

function undoFilter(change: Kind<'filter'>, nl: Netlink): Undone {
  const what = `filter ${describeFilter(change)} (${change.interface})`;
  const link: Link | undefined = findLink(nl, change.index);
  const found =
    link &&
    readFilters(nl, change.index, change.parent).find(
      (filter) =>
        filter.priority === change.priority && filter.protocol === change.protocol && filter.handle === change.handle,
    );
  if (!found) return gone(`${what} is gone`);
  if (found.kind !== change.classifier) return left(`${what} is now of kind ${found.kind}, not ours: it stays`);
  return attempt(`${what} deleted`, () => deleteFilter(nl, change, change.classifier), 'ENOENT', 'ENODEV', 'EINVAL');
}

/** Acts; the listed codes mean that it went away between looking and acting. */
function attempt(words: string, act: () => void, ...goneCodes: string[]): Undone {
  try {
    act();
    return undone(words);
  } catch (error) {
    if (failedWith(error, ...goneCodes)) return gone(`${words}: it was gone already`);
    throw error;
  }
}

function undone(words: string): Undone {
  return { outcome: 'undone', words };
}

function gone(words: string): Undone {
  return { outcome: 'gone', words };
}

function left(words: string): Undone {
  return { outcome: 'left', words };
}

function show(value: string): string {
  return value === '' ? '(empty)' : value;
}
