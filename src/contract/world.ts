/**
 * What the host's kernel looks like now: the snapshot that netlink gives and that config is compiled against. Passive data.
 * Addresses and masks are int32, as in the plan.
 */
import type { Words6 } from './ipv6.js';
import type { Prefix } from './plan.js';

export interface WorldInterface {
  readonly index: number;
  readonly name: string;
  readonly mtu: number;
  /** IFF_UP. */
  readonly up: boolean;
  readonly loopback: boolean;
  /** IFLA_INFO_KIND: 'bridge', 'veth', 'tun', … or '' for a physical device. */
  readonly kind: string;
  /** Index of the bridge or bond that it is a port of, or 0. */
  readonly master: number;
}

export interface WorldAddress {
  readonly interface: number;
  readonly address: number;
  readonly length: number;
}

export interface WorldRoute extends Prefix {
  readonly table: number;
  /** RTN_*: 'unicast', 'local', 'broadcast', 'multicast', 'blackhole', 'unreachable', 'prohibit', 'throw', … */
  readonly type: string;
  /** Interface index, 0 where there is none (blackhole). A multipath route appears once, with its first hop. */
  readonly interface: number;
  readonly gateway: number;
  readonly metric: number;
}

export interface WorldAddress6 {
  readonly interface: number;
  readonly address: Words6;
  readonly length: number;
}

export interface WorldIpv6 {
  /** Without link-local ones. */
  readonly addresses: readonly WorldAddress6[];
  /** What comes in by the TUN is forwarded: `all` = as everything else is; `tun` = where the TUN is told so; `none` = this kernel has no such word, and forwarding is off. */
  readonly forwarding: 'all' | 'tun' | 'none';
}

export interface World {
  readonly interfaces: readonly WorldInterface[];
  readonly addresses: readonly WorldAddress[];
  /** Tables main (254), local (255) and default (253). */
  readonly routes: readonly WorldRoute[];
  /** Null: this kernel has no IPv6. */
  readonly ipv6: WorldIpv6 | null;
}
