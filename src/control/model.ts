/**
 * What a config file says, after every check: addresses are int32, ports are intervals, defaults are filled in.
 * Passive data without a trace of YAML, but each thing that can be at fault later still knows its origin (`file:line:col`).
 */
import type { Prefix6, Words6 } from '../contract/ipv6.js';
import type { HelperName, Prefix, Timeouts } from '../contract/plan.js';
import type { PortInterval } from '../contract/steering.js';

/** Everything about one place of a config file that is wrong. `file:line:col: path: message` is how it is shown. */
export interface ConfigError {
  readonly file: string;
  /** 1-based; 0 where the file itself is at fault (missing, unreadable). */
  readonly line: number;
  readonly col: number;
  /** `forwards[2].to`, or '' for the file as a whole. */
  readonly path: string;
  /** What is wrong and what is allowed. */
  readonly message: string;
}

export type Result = { readonly config: Config } | { readonly errors: readonly ConfigError[] };

export interface UplinkConfig {
  readonly interface: string;
  /** Public addresses in order of preference; 'auto' = the first address that the interface has when it is looked at. */
  readonly addresses: readonly (number | 'auto')[];
  /** Ports that translated flows leave from; disjoint and sorted. */
  readonly pool: readonly PortInterval[];
  readonly origin: string;
}

export interface LanConfig {
  readonly interface: string;
  readonly subnet: Prefix;
  /** IPv6 prefixes of its hosts, which reach site links. */
  readonly ipv6: readonly Prefix6[];
  readonly origin: string;
}

/** `all` = TCP and UDP on `ports`, ICMP echo, and every other IP protocol. */
export type ForwardProto = 'tcp' | 'udp' | 'icmp' | 'all';

export interface ForwardConfig {
  /** As written, or made from address, ports and protocols: unique and the same over reloads. */
  readonly name: string;
  readonly description: string;
  /** Public ports. Empty: no port was written (icmp, or all). */
  readonly ports: readonly PortInterval[];
  readonly target: number;
  /** `target port = port + offset`, or always `single` where that is not 0. */
  readonly offset: number;
  readonly single: number;
  readonly protos: readonly ForwardProto[];
  /** Empty = anybody. */
  readonly from: readonly Prefix[];
  /** Public addresses it listens on; empty = all of them. */
  readonly addresses: readonly number[];
  /** Flows at once, and new ones a second; 0 = no limit. */
  readonly maxFlows: number;
  readonly maxRate: number;
  readonly origin: string;
}

export interface NatConfig {
  readonly name: string;
  readonly from: readonly Prefix[];
  readonly to: readonly Prefix[];
  /** Empty = all. */
  readonly protos: readonly ('tcp' | 'udp' | 'icmp')[];
  readonly translate: boolean;
  /** Values of contract Mapping and Filtering. */
  readonly mapping: number;
  readonly filtering: number;
  /** Public address that its flows leave from, or null = the first of the route's uplink. */
  readonly address: number | null;
  readonly origin: string;
}

/** Addresses that nothing is exchanged with. */
export interface BlockConfig extends Prefix {
  /** Seconds since 1970 at which the entry ends, or 0: never. */
  readonly until: number;
  readonly origin: string;
}

/** A site link, of one kind or another (link-kinds.ts). */
export type LinkConfig = WireguardLinkConfig | VxlanLinkConfig;

/** Ethernet between sites. */
export interface VxlanLinkConfig {
  readonly kind: 'vxlan';
  readonly name: string;
  readonly description: string;
  readonly vni: number;
  /** Own outer address, '' = that of the link `over`. */
  readonly local: string;
  readonly port: number;
  readonly remotes: readonly string[];
  readonly learning: boolean;
  readonly suppress: boolean;
  readonly vlan: 'keep' | 'strip' | 'refuse';
  readonly ttl: number;
  /** MAC address → remote. */
  readonly fdb: readonly (readonly [string, string])[];
  /** IP address → MAC address. */
  readonly neighbours: readonly (readonly [string, string])[];
  /** Name of the WireGuard link that carries it, '' = none. */
  readonly over: string;
  readonly tap: string;
  /** '' = none. */
  readonly bridge: string;
  /** Of the TAP; '' = one made of this machine's id, the same after every start. */
  readonly mac: string;
  /** Of the TAP; 0 = auto. */
  readonly mtu: number;
  readonly origin: string;
}

export interface WireguardLinkConfig {
  readonly kind: 'wireguard';
  /** Unique among all links, and no interface's. */
  readonly name: string;
  readonly description: string;
  /** Absolute. What is in it is not part of the config. */
  readonly privateKeyFile: string;
  /** UDP port, 0 = any. */
  readonly listen: number;
  /** Of inner packets; 0 = auto. */
  readonly mtu: number;
  /** SO_MARK of outer datagrams, 0 = none. */
  readonly mark: number;
  /** The router's own address in the link, or null. */
  readonly address: { readonly address: number; readonly mask: number } | null;
  readonly address6: { readonly words: Words6; readonly length: number } | null;
  readonly peers: readonly PeerConfig[];
  /** The first that fits the sender decides; none: nothing. */
  readonly policy: readonly LinkPolicy[];
  readonly origin: string;
}

export interface PeerConfig {
  readonly name: string;
  /** Base64. */
  readonly publicKey: string;
  /** Absolute, or '' = none. */
  readonly presharedKeyFile: string;
  readonly endpoint: EndpointConfig | null;
  readonly allowedIps: readonly Prefix[];
  readonly allowedIps6: readonly Prefix6[];
  /** Seconds, 0 = off. */
  readonly keepalive: number;
  /** The peer sees our `inside` as `outside`. */
  readonly maps: readonly { readonly inside: Prefix; readonly outside: Prefix }[];
}

export interface EndpointConfig {
  /** Address, or a name that is resolved. IPv6 without its brackets. */
  readonly host: string;
  readonly port: number;
}

export const LAN_ACCESS = ['allow', 'out', 'deny'] as const;

export interface LinkPolicy {
  /** Senders on the far side: names of peers and prefixes; all empty = everybody there. */
  readonly peers: readonly string[];
  readonly from: readonly Prefix[];
  readonly from6: readonly Prefix6[];
  /** allow: both ways; out: only LAN hosts begin. */
  readonly lan: (typeof LAN_ACCESS)[number];
  readonly internet: boolean;
  readonly host: boolean;
  /** Names of links. */
  readonly links: readonly string[];
}

export const LOG_LEVELS = ['trace', 'debug', 'info', 'warn', 'error', 'fatal'] as const;
export const LOG_FORMATS = ['auto', 'text', 'json'] as const;
export const TRANSLATION_LOGS = ['off', 'blocks', 'mappings', 'flows'] as const;

export interface Config {
  /** Name of the file it was read from. */
  readonly file: string;
  /** That file and its overlays (files.ts), in the order in which they were read. */
  readonly files: readonly string[];
  readonly uplinks: readonly UplinkConfig[];
  readonly lans: readonly LanConfig[];
  readonly forwards: readonly ForwardConfig[];
  readonly nat: readonly NatConfig[];
  readonly links: readonly LinkConfig[];
  readonly limits: {
    readonly flows: number;
    /** Of one inside host: mappings a protocol, flows, new mappings a second; 0 = no limit. */
    readonly perHost: number;
    readonly perHostFlows: number;
    readonly perHostRate: number;
  };
  readonly rejectUnsolicited: boolean;
  readonly timeouts: Timeouts;
  readonly metrics: { readonly listen: { readonly host: string; readonly port: number } | null };
  readonly tun: { readonly name: string };
  /** 0 = auto: one a core, less one for everything else. */
  readonly workers: number;
  readonly block: readonly BlockConfig[];
  readonly log: {
    readonly level: (typeof LOG_LEVELS)[number];
    readonly format: (typeof LOG_FORMATS)[number];
    readonly translations: (typeof TRANSLATION_LOGS)[number];
  };
  readonly inboundRefresh: boolean;
  readonly parity: boolean;
  /** Ports that an inside host takes at a time; 0 = one by one. */
  readonly portBlocks: number;
  /** Reload by itself when one of `files` changes. */
  readonly watch: boolean;
  readonly helpers: readonly HelperName[];
}
