/**
 * Every default and every bound of the config, in one place. The schema, the docs (by a test) and `init` take them from here.
 * Bounds that come from an RFC name it: the error message shows the name.
 */
import { MAX_FLOWS, MIN_FLOWS } from '../contract/table-layout.js';

export const DEFAULT_CONFIG_PATH = '/etc/tungate/tungate.yaml';

/** Leaves 1024-19999 and 50000-65535 to the host: services below, and more than 8,192 automatic ports (its range starts at 32768). */
export const DEFAULT_PORTS = '20000-49999';
export const DEFAULT_TUN = 'tungate0';
export const DEFAULT_METRICS = '127.0.0.1:9469';
export const DEFAULT_FLOWS = 262_144;
/** A quarter of the default pool: one inside host that scans the internet leaves ports to the others. */
export const DEFAULT_PER_HOST = 8192;
/** Half of the default table. */
export const DEFAULT_PER_HOST_FLOWS = 131_072;

/** As many as the flow table has port bitmaps for (contract/table-layout.ts). */
export { BITMAP_ADDRESSES as MAX_ADDRESSES, MAX_FLOWS, MAX_LIMITED, MIN_FLOWS } from '../contract/table-layout.js';
/** A flow row has 8 bits for its out interface, 0 is the host itself. */
export const MAX_INTERFACES = 255;
export { MAX_LINKS } from '../contract/links.js';
export const MAX_WORKERS = 64;
/** Thirty days. Longer than that nobody comes back to an idle flow. */
const MAX_SECONDS = 2_592_000;

export interface Bound {
  readonly preset: number;
  readonly min: number;
  readonly max: number;
  /** Where the bound comes from, for the error message. */
  readonly why: string;
  readonly text: string;
}

/** `timeouts:`, by key in the file. Seconds. */
export const TIMEOUTS = {
  udp: {
    preset: 300,
    min: 120,
    max: MAX_SECONDS,
    why: 'RFC 4787 REQ-5 wants at least 120',
    text: 'UDP mapping after the last outbound packet.',
  },
  dns: {
    preset: 10,
    min: 1,
    max: 300,
    why: 'a short one is for DNS alone (RFC 4787 REQ-5a)',
    text: 'UDP flow to remote port 53 after its answer.',
  },
  tcp_established: {
    preset: 7440,
    min: 7440,
    max: MAX_SECONDS,
    why: 'RFC 5382 REQ-5 wants at least 2 h 4 min = 7440',
    text: 'Idle established TCP connection.',
  },
  tcp_transitory: {
    preset: 240,
    min: 240,
    max: MAX_SECONDS,
    why: 'RFC 5382 REQ-5 wants at least 4 min = 240',
    text: 'TCP connection that is opening or closing.',
  },
  tcp_opening: {
    preset: 240,
    min: 240,
    max: MAX_SECONDS,
    why: 'RFC 5382 REQ-5 wants at least 4 min = 240',
    text: 'TCP connection before its handshake is complete; where it is not written, as tcp_transitory.',
  },
  tcp_closing: {
    preset: 240,
    min: 240,
    max: MAX_SECONDS,
    why: 'RFC 5382 REQ-5 wants at least 4 min = 240',
    text: 'TCP connection from its first FIN, or a RST, on; where it is not written, as tcp_transitory.',
  },
  unanswered: {
    preset: 30,
    min: 20,
    max: 300,
    why: 'a server repeats its SYN+ACK after up to 16',
    text: 'Flow begun outside (by a forward, or through a mapping) until it is answered; TCP: until its handshake is complete.',
  },
  icmp: {
    preset: 60,
    min: 60,
    max: MAX_SECONDS,
    why: 'RFC 5508 REQ-2 wants at least 60',
    text: 'Ping without an answer or a next request.',
  },
  hold: {
    preset: 120,
    min: 120,
    max: MAX_SECONDS,
    why: 'RFC 6888 REQ-8 wants at least 120',
    text: 'A freed UDP port or ICMP id is not given to another host for this long.',
  },
  fragment: {
    preset: 30,
    min: 1,
    max: 30,
    why: 'fragments are kept for at most 30 (bounded memory)',
    text: 'Wait for the first fragment of a datagram.',
  },
} as const satisfies Record<string, Bound>;

/** `limits:`, by key in the file. */
export const LIMITS = {
  flows: {
    preset: DEFAULT_FLOWS,
    min: MIN_FLOWS,
    max: MAX_FLOWS,
    why: 'the flow table has room for 1024 to 4194304 rows',
    text: 'Rows of the flow table. Takes at most 128 bytes of memory each, from the start.',
  },
  per_host: {
    preset: DEFAULT_PER_HOST,
    min: 0,
    max: 65_536,
    why: '0 = no limit; no address has more than 65536 ports',
    text: 'Mappings (public ports) that one inside host may hold, for each protocol.',
  },
  per_host_flows: {
    preset: DEFAULT_PER_HOST_FLOWS,
    min: 0,
    max: MAX_FLOWS,
    why: '0 = no limit; the flow table has at most 4194304 rows',
    text: 'Flows that one inside host may begin, with NAT or without.',
  },
  per_host_rate: {
    preset: 0,
    min: 0,
    max: 1_000_000,
    why: '0 = no limit',
    text: 'New mappings a second that one inside host may make.',
  },
} as const satisfies Record<string, Bound>;

/** Of a forward, by key in the file. */
export const FORWARD_LIMITS = {
  max_flows: {
    preset: 0,
    min: 0,
    max: MAX_FLOWS,
    why: '0 = no limit; the flow table has at most 4194304 rows',
    text: 'Flows that the forward may have at once.',
  },
  max_rate: {
    preset: 0,
    min: 0,
    max: 1_000_000,
    why: '0 = no limit',
    text: 'New flows a second that the forward may make.',
  },
} as const satisfies Record<string, Bound>;

/** IPv6 needs no less (RFC 8200 §5). */
export const IPV6_MIN_MTU = 1280;

/** Of a site link: inner MTU. No host of the far side can do with less than 576 (RFC 791). */
export const LINK_MTU = { min: 576, max: 9000 } as const;
