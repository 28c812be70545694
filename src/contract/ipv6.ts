/**
 * IPv6, as far as the router carries it: between LANs and site links, without state. What both planes know of it.
 *
 * Addresses are four words of 32 bits, highest first (int32, as IPv4 addresses are one).
 */

export type Words6 = readonly [number, number, number, number];

/** Bits behind `length` are zero. */
export interface Prefix6 {
  readonly words: Words6;
  readonly length: number;
}

/** A prefix whose hosts are on a LAN. */
export interface Lan6 {
  readonly prefix: Prefix6;
  /** Index into Plan.interfaces, or 0: the LAN is away, or the host has no address in the prefix. */
  readonly out: number;
  /** The router's own address in it: source of ICMPv6 errors to its hosts; null: it has none. */
  readonly gateway: Words6 | null;
}

/** What a link has beside Link (links.ts). */
export interface Link6 {
  /** The router's own address in the link; null: none. */
  readonly address: Words6 | null;
  /** The first entry that fits the far side's address decides; none: nothing passes. */
  readonly access: readonly Access6[];
}

/** Without state there is no telling who began: what is allowed is allowed both ways. */
export interface Access6 {
  /** Addresses on the far side; empty: every peer's. */
  readonly from: readonly Prefix6[];
  readonly lan: boolean;
  /** From there to the host's own addresses. (The host itself always may send.) */
  readonly host: boolean;
  /** Bit set over Plan.links. Both links must list each other. */
  readonly links: number;
}

export interface Ipv6Plan {
  readonly lans: readonly Lan6[];
  /** By place in Plan.links. */
  readonly links: readonly Link6[];
  /** Allowed IPs of all peers; `link`: index into Plan.links. The longest prefix decides, on a tie the link. */
  readonly sites: readonly { readonly prefix: Prefix6; readonly link: number }[];
  /** Every address that the host's kernel answers for, the links' included. */
  readonly hosts: readonly Words6[];
  /** Networks that the host is in otherwise: the kernel's business. */
  readonly foreign: readonly Prefix6[];
}

/** What the kernel is asked to do with IPv6: part of a Steering. */
export interface SteeringIpv6 {
  /** To the TUN, where a LAN host sends to them from a prefix of its LAN. */
  readonly sites: readonly Prefix6[];
  /** Inside of `sites`, or wider: these stay the kernel's where they are nearer. */
  readonly kept: readonly Prefix6[];
  /** Sources that a LAN must not have: the host's own. */
  readonly hosts: readonly Words6[];
  readonly lans: readonly {
    readonly interface: string;
    readonly index: number;
    readonly prefixes: readonly Prefix6[];
  }[];
  /** Sources that cannot come in by an uplink: LANs', and what only a link carries. */
  readonly inside: readonly Prefix6[];
}
