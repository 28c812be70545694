/**
 * The host's kernel as a snapshot, and a watch that brings a new one when something changed.
 *
 * Theory of operation. Notifications are only a bell: whatever they say, the tables are dumped again after a short rest
 * and compared with the last snapshot. That costs some milliseconds on a host with hundreds of routes, and cannot drift:
 * a lost notification (ENOBUFS) is the same bell, and no order of events has to be understood. The rest between two
 * dumps grows with the time that a dump takes, so a host with a full BGP table spends at most a tenth of its time here.
 */
import { constants } from 'node:os';
import type { World, WorldIpv6, WorldRoute } from '../contract/world.js';
import { native } from '../native.js';
import { readAddresses6 } from './address-ipv6.js';
import { maskOf } from './ipv4.js';
import { readAddresses, readLinks } from './link.js';
import { KernelError, NETLINK_ROUTE, Netlink } from './netlink.js';
import { readRoutes, TABLE_DEFAULT, TABLE_LOCAL, TABLE_MAIN } from './route.js';
import { confPath, readSysctl } from './sysctl.js';
import { canForceForwarding } from './tun-ipv6.js';

const RTNLGRP_LINK = 1;
const RTNLGRP_IPV4_IFADDR = 5;
const RTNLGRP_IPV4_ROUTE = 7;
const RTNLGRP_IPV6_IFADDR = 9;

const SCOPE_UNIVERSE = 0;

/** Changes come in bursts (an interface that goes down takes its routes along): wait for the burst to end. */
const REST_MS = 50;
const MAX_REST_MS = 5000;
/** A dump may take this part of the time. */
const DUTY = 10;

const TABLES = new Set([TABLE_MAIN, TABLE_LOCAL, TABLE_DEFAULT]);

export function readWorld(nl: Netlink): World {
  const interfaces = readLinks(nl).map(({ index, name, mtu, up, loopback, kind, master }) => ({
    index,
    name,
    mtu,
    up,
    loopback,
    kind,
    master,
  }));
  const addresses = readAddresses(nl).map(({ index, address, length }) => ({ interface: index, address, length }));
  const routes: WorldRoute[] = readRoutes(nl)
    .filter(({ table }) => TABLES.has(table))
    .map(({ prefix, length, table, type, index, gateway, metric }) => ({
      prefix,
      mask: maskOf(length),
      table,
      type,
      interface: index,
      gateway,
      metric,
    }));
  return { interfaces, addresses, routes, ipv6: readIpv6(nl) };
}

function readIpv6(nl: Netlink): WorldIpv6 | null {
  const all = readSysctl(confPath('all', 'forwarding', 'ipv6'));
  if (all === undefined) return null;
  const addresses = readAddresses6(nl)
    .filter(({ scope }) => scope === SCOPE_UNIVERSE)
    .map(({ index, address, length }) => ({ interface: index, address, length }));
  return { addresses, forwarding: all === '1' ? 'all' : canForceForwarding() ? 'tun' : 'none' };
}

export interface WorldWatch {
  close(): void;
}

/**
 * Calls back with a new snapshot after something that it shows has changed; never for nothing, never within this call.
 * What happens between a `readWorld` of the caller's and this call is reported when `known` is passed. Errors of a dump
 * go to `onError`, and the watch tries again at the next bell.
 */
export function watchWorld(
  onChange: (world: World) => void,
  onError: (error: Error) => void = (error) => {
    throw error;
  },
  known?: World,
): WorldWatch {
  const nl = new Netlink();
  let bell = -1;
  const scrap = new Uint8Array(64 * 1024);
  let last = '';
  let rest = REST_MS;
  let timer: NodeJS.Timeout | undefined;

  const look = (): void => {
    timer = undefined;
    const start = performance.now();
    try {
      const world = readWorld(nl);
      const text = JSON.stringify(world);
      if (text !== last) {
        last = text;
        onChange(world);
      }
    } catch (error) {
      onError(error instanceof Error ? error : new Error(String(error)));
    }
    rest = Math.min(MAX_REST_MS, Math.max(REST_MS, (performance.now() - start) * DUTY));
  };
  const ring = (): void => {
    timer ??= setTimeout(look, rest);
    for (;;) {
      const got = native.netlinkReceive(bell, scrap, 0);
      if (got === 0) return;
      // These two are bells as well: notifications were lost, or one was longer than the scrap paper.
      if (got < 0 && got !== -constants.errno.ENOBUFS && got !== -constants.errno.EMSGSIZE) {
        onError(new KernelError('read notifications about interfaces, addresses and routes', -got));
        return;
      }
    }
  };
  let unwatch: () => void;
  try {
    bell = native.netlinkOpen(NETLINK_ROUTE, [
      RTNLGRP_LINK,
      RTNLGRP_IPV4_IFADDR,
      RTNLGRP_IPV4_ROUTE,
      RTNLGRP_IPV6_IFADDR,
    ]);
    last = JSON.stringify(known ?? readWorld(nl)); // after the bell is there: nothing falls between
    unwatch = native.watch(bell, ring);
  } catch (error) {
    if (bell >= 0) native.closeFd(bell);
    nl.close();
    throw error;
  }
  if (known) ring();

  return {
    close() {
      clearTimeout(timer);
      unwatch();
      native.closeFd(bell);
      nl.close();
    },
  };
}
