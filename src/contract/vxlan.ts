/**
 * VXLAN links between control and their thread: what is wanted, what is counted. Plain data. The frames of these links never enter the engine: the plan says nothing
 * of them.
 */

/** Links that one thread serves: each has two descriptors in its poller. */
export const MAX_VXLAN_LINKS = 15;

/** Source ports that a link binds: enough for the paths that a network spreads flows over. */
export const VXLAN_SOURCES = 64;

export interface VxlanOrder {
  readonly name: string;
  readonly vni: number;
  /** Own address of the outer datagrams, IPv4 or IPv6, and the UDP port of both sides. */
  readonly local: string;
  readonly port: number;
  readonly ttl: number;
  /** Ports that outer datagrams may leave from: at least VXLAN_SOURCES of them, none of the NAT's. */
  readonly sources: { readonly first: number; readonly last: number };
  /** Device that outer datagrams leave and come by, whatever the routes say; '' = as the routes say. */
  readonly device: string;
  /** Addresses of the head-end list, of the family of `local`. */
  readonly remotes: readonly string[];
  readonly learning: boolean;
  readonly suppress: boolean;
  readonly vlan: 'keep' | 'strip' | 'refuse';
  /** Of the TAP: the longest inner IP packet. */
  readonly mtu: number;
  /** Static entries: MAC address → remote. */
  readonly fdb: readonly (readonly [mac: string, remote: string])[];
  /** Known pairs: IP address → MAC address. */
  readonly neighbours: readonly (readonly [ip: string, mac: string])[];
}

export interface VxlanRemoteStatus {
  readonly address: string;
  readonly txFrames: number;
  readonly txBytes: number;
  readonly rxFrames: number;
  readonly rxBytes: number;
}

export interface VxlanStatus {
  readonly name: string;
  /** '' or why the link carries nothing. */
  readonly problem: string;
  /** '' or the loop that was found last, while it is there. */
  readonly loop: string;
  readonly remotes: readonly VxlanRemoteStatus[];
  /** Frames and datagrams by outcome (link/vxlan/outcome.ts). */
  readonly outcomes: Readonly<Record<string, number>>;
  /** Datagrams that the kernel did not take, and frames that the TAP did not. */
  readonly sendFailed: number;
  readonly tapFailed: number;
  /** Rows of the forwarding table, and those that found no room in it. */
  readonly addresses: number;
  readonly refused: number;
}

export interface VxlanFdbRow {
  readonly mac: string;
  /** '' = on the TAP's side. */
  readonly remote: string;
  readonly fixed: boolean;
  /** Seconds since it was last a source; 0 where it is fixed. */
  readonly age: number;
}

export interface VxlanInit {
  /** eventfd: set after each message to the thread. */
  readonly wakeFd: number;
}

export type ToVxlan =
  /** All links that are wanted, each with its open TAP; what is unchanged runs on. Answered by `done`. */
  | {
      readonly kind: 'want';
      readonly id: number;
      readonly links: readonly { readonly order: VxlanOrder; readonly tapFd: number; readonly outerFd: number }[];
    }
  | { readonly kind: 'status'; readonly id: number }
  | { readonly kind: 'fdb'; readonly id: number; readonly link: string }
  | { readonly kind: 'stop' };

export type FromVxlan =
  /** `problems`: of links that could not begin; [name, what]. */
  | { readonly kind: 'done'; readonly id: number; readonly problems: readonly (readonly [string, string])[] }
  | { readonly kind: 'status'; readonly id: number; readonly links: readonly VxlanStatus[] }
  | { readonly kind: 'fdb'; readonly id: number; readonly rows: readonly VxlanFdbRow[] }
  | { readonly kind: 'say'; readonly level: 'warn' | 'error'; readonly text: string }
  | { readonly kind: 'stopped' };
