/**
 * Worlds for tests: a Proxmox host as its kernel describes it.
 *
 *   internet ── vmbr0 203.0.113.8/24 ── host ── vmbr1 172.22.161.1/24 ── VMs
 *                                         └──── docker0 172.17.0.1/16
 */
import type { World, WorldInterface, WorldRoute } from '../../src/contract/world.js';
import { maskOf, parseAddress, parsePrefix } from '../../src/control/address.js';

export function device(index: number, name: string, more: Partial<WorldInterface> = {}): WorldInterface {
  return { index, name, mtu: 1500, up: true, loopback: name === 'lo', kind: '', master: 0, ...more };
}

/** `10.0.0.0/8 main unicast 3 100`: prefix, table, type, interface index, metric. */
export function route(text: string): WorldRoute {
  const [prefix, table, type = 'unicast', index = '0', metric = '0'] = text.split(' ');
  const tables: Record<string, number> = { local: 255, main: 254, default: 253 };
  return {
    ...parsePrefix(prefix!),
    table: tables[table!]!,
    type,
    interface: Number(index),
    gateway: 0,
    metric: Number(metric),
  };
}

/** Interfaces and addresses (`2 203.0.113.8/24`); connected and local routes follow from them as the kernel makes them. */
export function world(
  interfaces: readonly WorldInterface[],
  addresses: readonly string[],
  routes: readonly string[] = [],
): World {
  const made: WorldRoute[] = [];
  const list = addresses.map((text) => {
    const [index, prefix] = text.split(' ');
    const [address, length] = prefix!.split('/');
    const item = { interface: Number(index), address: parseAddress(address!), length: Number(length) };
    if (interfaces.find((candidate) => candidate.index === item.interface)?.up) {
      const mask = maskOf(item.length);
      const base = { interface: item.interface, gateway: 0, metric: 0 };
      made.push({ ...base, prefix: item.address, mask: -1, table: 255, type: 'local' });
      if (item.length < 32) made.push({ ...base, prefix: item.address & mask, mask, table: 254, type: 'unicast' });
      if (item.length < 31)
        made.push({ ...base, prefix: item.address | ~mask, mask: -1, table: 255, type: 'broadcast' });
    }
    return item;
  });
  return { interfaces, addresses: list, routes: [...made, ...routes.map(route)], ipv6: null };
}

export const PROXMOX_INTERFACES = [
  device(1, 'lo'),
  device(2, 'eno1', { master: 3 }),
  device(3, 'vmbr0', { kind: 'bridge' }),
  device(4, 'vmbr1', { kind: 'bridge', mtu: 1450 }),
  device(5, 'docker0', { kind: 'bridge' }),
];
export const PROXMOX_ADDRESSES = ['3 203.0.113.8/24', '4 172.22.161.1/24', '5 172.17.0.1/16'];
export const PROXMOX_ROUTES = ['127.0.0.0/8 local local 1', '127.0.0.1 local local 1', '0.0.0.0/0 main unicast 3'];

export function proxmox(more: readonly string[] = []): World {
  return world(PROXMOX_INTERFACES, PROXMOX_ADDRESSES, [...PROXMOX_ROUTES, ...more]);
}
