/**
 * Which public addresses there are now, and whether the host has them too.
 *
 * `auto` is the first address of the interface that is not link-local: the kernel lists the primary one first. A written
 * address may be the host's own (shared), or routed to the host or on the uplink's wire (the TUN gets it). One that was the
 * host's own and vanishes is waited for: taking it over would fight with whoever is about to bring it back (a DHCP client).
 */
import type { Prefix } from '../contract/plan.js';
import type { World, WorldAddress } from '../contract/world.js';
import { formatAddress, isHostAddress, maskOf } from './address.js';
import type { Config } from './model.js';

export interface FoundAddress {
  readonly address: number;
  /** Index into config.uplinks. */
  readonly uplink: number;
  readonly shared: boolean;
}

export function prefixOf({ address, length }: WorldAddress): Prefix {
  const mask = maskOf(length);
  return { prefix: address & mask, mask };
}

export function findAddresses(
  config: Config,
  world: World,
  sharedBefore: readonly number[],
  problems: string[],
): FoundAddress[] {
  const indexOf = (name: string) => world.interfaces.find((item) => item.name === name)?.index ?? -1;
  const tun = indexOf(config.tun.name);
  const own = new Set(world.addresses.filter((item) => item.interface !== tun).map((item) => item.address));
  const found: FoundAddress[] = [];
  const add = (address: number, uplink: number, shared: boolean) => {
    const other = found.find((item) => item.address === address);
    if (other === undefined) found.push({ address, uplink, shared });
    else if (other.uplink !== uplink) {
      problems.push(
        `${formatAddress(address)} is an address of uplinks ${config.uplinks[other.uplink]!.interface} and ` +
          `${config.uplinks[uplink]!.interface}; it stays with the first`,
      );
    }
  };
  // Written addresses first: an `auto` that turns out to be one of another uplink's must not take it from there.
  const later: number[] = [];
  config.uplinks.forEach((uplink, index) => {
    for (const address of uplink.addresses) {
      if (address === 'auto') {
        later.push(index);
        continue;
      }
      const shared = own.has(address) || sharedBefore.includes(address);
      if (shared && !own.has(address)) {
        problems.push(
          `${formatAddress(address)} is gone from this host; waiting for it to come back (start again to have tungate answer for it itself)`,
        );
      }
      add(address, index, shared);
    }
  });
  for (const index of later) {
    const { interface: name } = config.uplinks[index]!;
    const device = indexOf(name);
    const first = world.addresses.find((item) => item.interface === device && isGlobal(item.address));
    if (first !== undefined) add(first.address, index, true);
    else if (device >= 0)
      problems.push(`uplink ${name} has no IPv4 address yet; nothing is translated to it until it gets one`);
  }
  return inOrder(config, world, found);
}

/** In the order of the config, which is the order of preference. */
function inOrder(config: Config, world: World, found: readonly FoundAddress[]): FoundAddress[] {
  const rank = ({ address, uplink }: FoundAddress) => {
    const { addresses, interface: name } = config.uplinks[uplink]!;
    const written = addresses.indexOf(address);
    const auto = addresses.indexOf('auto');
    const device = world.interfaces.find((item) => item.name === name)?.index;
    const first = world.addresses.find((item) => item.interface === device && isGlobal(item.address))?.address;
    if (auto >= 0 && first === address) return written < 0 ? auto : Math.min(auto, written);
    return written;
  };
  return [...found].sort((a, b) => a.uplink - b.uplink || rank(a) - rank(b));
}

function isGlobal(address: number): boolean {
  return isHostAddress(address) && address >>> 16 !== 0xa9fe;
}
