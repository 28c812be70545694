/** What `compile(config, world, previous)` gives back: all that the daemon needs to bring one config to one host. */

import type { Plan } from '../contract/plan.js';
import type { PortInterval, Steering } from '../contract/steering.js';
import type { TunIpv6 } from './compile-ipv6.js';
import type { TunRoute } from './compile-links.js';

/**
 * What one compile hands to the next, so that numbers which live flows carry keep their meaning. Plain JSON: kept beside
 * the flow table it also bridges a restart.
 */
export interface Memory {
  readonly generation: number;
  /** Rule ids by 'forward NAME' or 'nat NAME'; ids of rules that are gone stay with their names while there are others. */
  readonly rules: Readonly<Record<string, number>>;
  /** Interface names by out index; [0] is ''. */
  readonly interfaces: readonly string[];
  /** Addresses that were the host's own: if one vanishes it is waited for, not taken over. */
  readonly shared: readonly number[];
}

export interface Compiled {
  readonly plan: Plan;
  /** Add `tun` (the TUN's interface index) and it is a Steering. */
  readonly steering: Omit<Steering, 'tun'>;
  /** One line each: what is missing on this host now and what follows from it. The rest of the plan works. */
  readonly problems: readonly string[];
  /** One line each: why a start must be refused (LAN and WAN overlap). While running they count as problems. */
  readonly fatal: readonly string[];
  /** For net.ipv4.ip_local_reserved_ports. */
  readonly reservedPorts: readonly PortInterval[];
  /** Public addresses that are not the host's own, and those of site links: each goes as /32 on the TUN, so that the kernel answers ARP for it. */
  readonly tunAddresses: readonly number[];
  /** Networks behind site links, which the host itself reaches by the TUN. */
  readonly tunRoutes: readonly TunRoute[];
  /** Null: IPv6 is off on the TUN. */
  readonly tunIpv6: TunIpv6 | null;
  readonly memory: Memory;
}

/** Third argument of compile: an earlier result, or just its memory read back from a file. */
export type Previous = Pick<Compiled, 'memory'>;
