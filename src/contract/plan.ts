/**
 * The plan: compiled config. Passive data that control builds and the data plane obeys; a reload is a whole new plan.
 *
 * Everything here survives structured clone. Addresses are IPv4 in int32 (`192.168.0.1` = 0xc0a80001 | 0): the data
 * plane compares them as int32, so masks and prefixes are int32 too. Ports are 0…65535, times are seconds, MTUs bytes.
 */
import type { Ipv6Plan } from './ipv6.js';
import type { Link } from './links.js';

/** Index into `Plan.protocols`-shaped arrays: the three protocols that have ports (or query ids). */
export const enum Proto {
  TCP = 0,
  UDP = 1,
  ICMP = 2,
}
export const PROTOS = 3;

/** IPv4 prefix; `prefix === (address & mask)`. The whole internet is { prefix: 0, mask: 0 }. */
export interface Prefix {
  readonly prefix: number;
  readonly mask: number;
}

/** An interface that packets can leave by. Index 0 is reserved: "the host itself" (punt, local delivery), MTU 65535. */
export interface OutInterface {
  readonly name: string;
  /** 0: dormant. The interface is away or down; nothing is sent by it, and its flows wait for it. */
  readonly mtu: number;
  /** Index into `Plan.uplinks`, or −1. */
  readonly uplink: number;
  /** Index into `Plan.lans`, or −1. */
  readonly lan: number;
}

export interface Uplink {
  readonly interface: string;
  /** Index into `Plan.interfaces`. */
  readonly out: number;
  /** Indices into `Plan.addresses`, in order of preference. */
  readonly addresses: readonly number[];
}

/** One public address P. */
export interface PublicAddress {
  readonly address: number;
  readonly uplink: number;
  /** The host's kernel has this address too: what no port owner claims is punted. Otherwise it is dropped. */
  readonly shared: boolean;
  /**
   * Who owns a port, by Proto.TCP and Proto.UDP and Proto.ICMP (query ids): OWNER_HOST, OWNER_POOL, or the id of a
   * forward (OWNER_FIRST_RULE…). For ICMP only the pool's ids are marked.
   */
  readonly owners: readonly [Uint16Array, Uint16Array, Uint16Array];
  /** The pool's ports as bits (`poolBits` of each owners array): made here, so that no packet waits for it. */
  readonly pool: readonly [Int32Array, Int32Array, Int32Array];
  /** What TCP and UDP forwards map one to one, for `staticPort`; made by `staticPorts` (static-ports.ts). */
  readonly statics: readonly [Int32Array, Int32Array];
  /** Free-for-mapping port count of each protocol's pool. */
  readonly poolSize: readonly [number, number, number];
  /** Rule id of the forward that takes ICMP echo to P, or 0. */
  readonly icmpForward: number;
  /** Rule id of the forward that takes every other IP protocol to P, or 0. */
  readonly otherForward: number;
}

export const OWNER_HOST = 0;
/** Rule ids start at 1 and end at MAX_RULES (counters.ts), below this mark. */
export const OWNER_POOL = 0xffff;
/** Never given out and not forwarded: the router's own sockets, or reserved by config. Packets to it are punted. */
export const OWNER_RESERVED = 0xfffe;

/** Bit `port & 31` of word `port >>> 5`: the port is the pool's. */
export function poolBits(owners: Uint16Array): Int32Array {
  const bits = new Int32Array(owners.length / 32);
  owners.forEach((owner, port) => {
    if (owner === OWNER_POOL) bits[port >>> 5]! |= 1 << (port & 31);
  });
  return bits;
}

export interface Lan {
  readonly interface: string;
  /** Index into Plan.interfaces, or 0: the kernel has no route to the subnet by this interface now (no-route). */
  readonly out: number;
  readonly subnet: Prefix;
  /** The router's own address in this subnet: the source of ICMP errors to its hosts. */
  readonly gateway: number;
}

export interface Forward {
  /** 1…MAX_RULES; stays with `name` over reloads. */
  readonly id: number;
  readonly name: string;
  /** file:line:col where it was written. */
  readonly origin: string;
  /** Indices into Plan.addresses that it listens on. */
  readonly addresses: readonly number[];
  readonly target: number;
  /** `target port = port + offset`, or, if `single` is not 0, always `single`. */
  readonly offset: number;
  readonly single: number;
  /** Out interface of the target, or 0: it is not reached by its LAN now (no-route). */
  readonly out: number;
  /** Empty = anybody. Matched against the sender before NAT. */
  readonly from: readonly Prefix[];
  /** Flows that it may have at once, and make in a second; 0 = no limit. */
  readonly maxFlows: number;
  readonly maxRate: number;
}

export const enum Mapping {
  ENDPOINT_INDEPENDENT = 0,
  ENDPOINT_DEPENDENT = 1,
}
export const enum Filtering {
  ENDPOINT_INDEPENDENT = 0,
  ADDRESS_DEPENDENT = 1,
  ADDRESS_AND_PORT_DEPENDENT = 2,
}

/** Outbound rule; the first match wins, the last rule of every plan matches everything. */
export interface NatRule {
  readonly id: number;
  readonly name: string;
  readonly origin: string;
  readonly from: readonly Prefix[];
  readonly to: readonly Prefix[];
  /** Bit set over Proto; 0b111 = all. */
  readonly protos: number;
  readonly translate: boolean;
  readonly mapping: number;
  readonly filtering: number;
  /** Index into Plan.addresses that flows leave from, or −1 = by the route's uplink. */
  readonly address: number;
}

/** A route of the kernel's, mirrored. Longest prefix wins; equal length: the first. */
export interface Route extends Prefix {
  /** Index into Plan.interfaces, or 0: local to the host, or the kernel's business (docker0): never ours. */
  readonly out: number;
}

export interface Timeouts {
  readonly udp: number;
  /** UDP flow to a listed remote port (53) after its answer. */
  readonly dns: number;
  readonly tcpEstablished: number;
  /** TCP from the first SYN to the end of the handshake. */
  readonly tcpOpening: number;
  /** TCP from the first FIN, or a RST, on. */
  readonly tcpClosing: number;
  readonly icmp: number;
  /** Any flow that was begun outside, until it is answered (TCP: until the handshake is complete). */
  readonly unanswered: number;
  /** Hold of a freed UDP/ICMP port against other inside hosts (REQ-35). */
  readonly hold: number;
  readonly fragment: number;
}

export interface Plan {
  readonly generation: number;
  readonly interfaces: readonly OutInterface[];
  readonly uplinks: readonly Uplink[];
  readonly addresses: readonly PublicAddress[];
  readonly lans: readonly Lan[];
  readonly forwards: readonly Forward[];
  readonly nat: readonly NatRule[];
  readonly routes: readonly Route[];
  /** Site links, at most MAX_LINKS; an allowed prefix of theirs wins over a route of `routes` that is not longer. */
  readonly links: readonly Link[];
  /** Null: IPv6 is not carried. */
  readonly ipv6: Ipv6Plan | null;
  /** Every address that the host's kernel answers for, P's included. */
  readonly hostAddresses: readonly number[];
  readonly blocked: readonly Prefix[];
  readonly timeouts: Timeouts;
  /** Mappings one inside host may hold, per protocol; 0 = no limit. */
  readonly perHost: number;
  /** Flows that one inside host may begin, with NAT or without; 0 = no limit (RFC 6888 REQ-5). */
  readonly perHostFlows: number;
  /** New mappings a second that one inside host may make, with a second's worth at once; 0 = no limit (RFC 6888 REQ-4). */
  readonly perHostRate: number;
  /** Refuse an unsolicited TCP SYN with ICMP 3/3 after 6 seconds (RFC 5382 REQ-4); false = silence. */
  readonly rejectUnsolicited: boolean;
  /** Report each mapping, or each flow, that begins or ends (REQ-37). */
  readonly translationLog: 'off' | 'blocks' | 'mappings' | 'flows';
  /** Ports that an inside host takes at a time, a power of two from 32 on; 0 = one by one (flow/port-blocks.ts). */
  readonly portBlocks: number;
  /** Inbound packets refresh a UDP mapping (REQ-7); default false. */
  readonly inboundRefresh: boolean;
  /** Keep port parity (REQ-5). */
  readonly parity: boolean;
  /** Helpers that are switched on (REQ-11), by name. */
  readonly helpers: readonly string[];
}

/** Names of all helpers; each is a file of alg/ and a line of its index. */
export const HELPERS = ['ftp'] as const;
export type HelperName = (typeof HELPERS)[number];
