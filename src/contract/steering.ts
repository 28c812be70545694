/**
 * What the kernel is asked to hand to the TUN: compiled from config and world by control, installed by host/steer.
 * Passive data; two equal values (deep) mean that nothing has to be changed in the kernel.
 */
import type { SteeringIpv6 } from './ipv6.js';
import type { Prefix } from './plan.js';

/** Closed interval of ports. Sorted, disjoint, merged where they touch. */
export interface PortInterval {
  readonly first: number;
  readonly last: number;
}

/** What belongs to the engine of one public address. */
export interface Claim {
  readonly address: number;
  /** false: the address is not the host's own; everything to it is the engine's, whatever the lists say. */
  readonly shared: boolean;
  readonly tcp: readonly PortInterval[];
  readonly udp: readonly PortInterval[];
  /** An `all` forward: IP protocols other than TCP, UDP and ICMP too. */
  readonly other: boolean;
}

export interface SteeringUplink {
  readonly interface: string;
  readonly index: number;
}

export interface SteeringLan {
  readonly interface: string;
  readonly index: number;
  /** The subnets of this interface: the only sources it may speak with. */
  readonly subnets: readonly Prefix[];
}

export interface Steering {
  /** Interface index of the TUN. */
  readonly tun: number;
  /** All claims, of all uplinks: every uplink, every LAN and lo get the same ones (hairpin, host to its own forward). */
  readonly claims: readonly Claim[];
  readonly uplinks: readonly SteeringUplink[];
  readonly lans: readonly SteeringLan[];
  /** All LAN subnets together. */
  readonly lanSubnets: readonly Prefix[];
  /**
   * Parts of them that answers from outside may name: what a `translate: false` rule lets out with its own source. The
   * engine sees all that comes for them, and lets in what belongs to a flow.
   */
  readonly untranslated: readonly Prefix[];
  /** Addresses of the host itself, the claims' shared addresses included: LAN packets to them stay in the kernel unless claimed. */
  readonly hostAddresses: readonly number[];
  /**
   * Prefixes that only a site link carries: nothing from or to them passes an uplink. Control leaves out what an uplink must carry all the same
   * (the default route, what holds an uplink's own network or a peer's endpoint).
   */
  readonly sites: readonly Prefix[];
  /** Prefixes that the kernel routes neither by an uplink, a LAN nor a site link (docker0, other bridges): never ours. */
  readonly foreign: readonly Prefix[];
  /** Null: IPv6 is the kernel's alone. */
  readonly ipv6: SteeringIpv6 | null;
}
