/** The interfaces and addresses that the config names, on this host. */
import type { World, WorldInterface } from '../contract/world.js';
import { type Check, fail, failForNow, ok, type Wanted, warn } from './check.js';
import { ipv4Text, maskOf, prefixText } from './ipv4.js';
import { confPath, readSysctl } from './sysctl.js';

export function checkNetwork(wanted: Wanted): Check[] {
  const { plan, world } = wanted;
  const names = new Set([...plan.uplinks, ...plan.lans].map((edge) => edge.interface));
  return [
    ...[...names].map((name) => checkInterface(name, world)),
    ...checkOverlap(wanted),
    ...plan.addresses.flatMap((address) => checkAddress(wanted, address.address, address.shared, address.uplink)),
  ];
}

function checkInterface(name: string, world: World): Check {
  const title = `interface ${name}`;
  const found = world.interfaces.find((one) => one.name === name);
  if (!found) {
    const others = world.interfaces.filter(({ loopback }) => !loopback).map((one) => one.name);
    return failForNow(
      title,
      'there is no such interface',
      `present are: ${others.join(', ') || 'none'}; mend the config or create it`,
    );
  }
  if (!found.up) return warn(title, 'it is down', `ip link set ${name} up`);
  return ok(title, `up, mtu ${found.mtu}${found.kind ? `, ${found.kind}` : ''}${portOf(found, world)}`);
}

/** Packets of a bridge's port arrive on the bridge: the port is the wrong one to name. */
function portOf({ master }: WorldInterface, world: World): string {
  const bridge = world.interfaces.find(({ index }) => index === master);
  return bridge ? `; it is a port of ${bridge.name}, which is probably the one to name` : '';
}

/** REQ-8. A LAN must not share an address with the network on the uplink's wire, or neither could be reached. */
function checkOverlap({ plan, world }: Wanted): Check[] {
  const checks: Check[] = [];
  for (const uplink of plan.uplinks) {
    const index = world.interfaces.find(({ name }) => name === uplink.interface)?.index;
    for (const { address, length } of world.addresses.filter((one) => one.interface === index)) {
      const mask = maskOf(length);
      for (const lan of plan.lans) {
        if (((address ^ lan.subnet.prefix) & mask & lan.subnet.mask) !== 0) continue;
        checks.push(
          fail(
            'overlap',
            `LAN ${prefixText(lan.subnet.prefix, lan.subnet.mask)} (${lan.interface}) overlaps ${prefixText(address & mask, mask)} on the uplink ${uplink.interface}`,
            'give the LAN another subnet',
          ),
        );
      }
    }
  }
  return checks.length > 0 ? checks : [ok('overlap', 'no LAN overlaps the network of an uplink')];
}

function checkAddress({ plan, world, tun }: Wanted, address: number, shared: boolean, uplink: number): Check[] {
  const title = `address ${ipv4Text(address)}`;
  const name = plan.uplinks[uplink]?.interface ?? '';
  const owner = world.addresses.find((one) => one.address === address);
  const holder = world.interfaces.find(({ index }) => index === owner?.interface)?.name;
  if (shared) {
    if (holder) return [ok(title, `the host's own (on ${holder}), shared with it`)];
    return [warn(title, 'the host does not have it now', `it is waited for: give it to ${name}, or wait for DHCP`)];
  }
  const ignore = Math.max(
    Number(readSysctl(confPath('all', 'arp_ignore'))),
    Number(readSysctl(confPath(name, 'arp_ignore')) ?? 0),
  );
  if (ignore > 0) {
    return [
      warn(
        title,
        `not the host's own, and arp_ignore is ${ignore}: the kernel will not answer ARP for it on ${name}`,
        `sysctl -w net.ipv4.conf.${name}.arp_ignore=0 (and conf.all), unless the provider routes it to this host`,
      ),
    ];
  }
  return [ok(title, `not the host's own: it is put on ${tun} as /32, and the kernel answers ARP for it on ${name}`)];
}
