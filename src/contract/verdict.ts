/**
 * The verdict table: what can become of a packet, each with a name, and a sentence for people.
 *
 * Everything that speaks of verdicts (counters, metrics, trace, CLI, docs) is generated from this table, so a new drop
 * reason is one new row here and its use where the packet is dropped. Order is id; ids are not stable across versions.
 */

/** What happens to the packet's bytes: `send` = translated and sent, `punt` = handed back unchanged, `hold` = kept for later, `drop` = gone. */
export type Fate = 'send' | 'punt' | 'hold' | 'drop';

export interface VerdictRow {
  /** kebab-case, used as the `reason` label of metrics. */
  readonly name: string;
  readonly fate: Fate;
  /** One sentence for a person who sees the counter grow: what it means and, where there is one, the remedy. */
  readonly sentence: string;
}

/** What was decided about a packet: index in the table below. */
export const enum Verdict {
  PENDING = 0,
  FORWARD = 1,
  PUNT = 2,
  REPLY = 3,
  HELD = 4,
  TRUNCATED = 5,
  NOT_IPV4 = 6,
  BAD_HEADER = 7,
  BAD_CHECKSUM = 8,
  BAD_L4_HEADER = 9,
  BAD_VNET_HEADER = 10,
  BAD_ADDRESS = 11,
  MULTICAST = 12,
  FOREIGN_SOURCE = 13,
  OUTSIDE_TO_LAN = 14,
  NOT_OURS = 15,
  NO_ROUTE = 16,
  NO_MAPPING = 17,
  FILTERED = 18,
  FORWARD_SOURCE = 19,
  PROTOCOL = 20,
  NO_STATE = 21,
  TCP_INVALID = 22,
  PORTS_EXHAUSTED = 23,
  HOST_LIMIT = 24,
  TABLE_FULL = 25,
  TTL_EXPIRED = 26,
  TOO_BIG = 27,
  ICMP_TYPE = 28,
  ICMP_NO_FLOW = 29,
  ICMP_EMBEDDED = 30,
  FRAGMENT_TIMEOUT = 31,
  FRAGMENT_LIMIT = 32,
  FRAGMENT_INVALID = 33,
  BATCH_FULL = 34,
  LINK_ERROR = 35,
  STALE = 36,
  HELPER_SEGMENT = 37,
  BLOCKED = 38,
  FORWARD_LIMIT = 39,
  LINK_POLICY = 40,
  LINK_LOOP = 41,
}

const rows: readonly (readonly [Verdict, string, Fate, string])[] = [
  [Verdict.PENDING, 'pending', 'drop', 'No stage decided about the packet; seeing this counted is a bug.'],
  [Verdict.FORWARD, 'forward', 'send', 'Translated by a flow row and sent on.'],
  [
    Verdict.PUNT,
    'punt',
    'punt',
    "Not the engine's: handed back to the kernel unchanged (the host's own ICMP and fragments).",
  ],
  [Verdict.REPLY, 'reply', 'send', 'Written by the engine itself: an ICMP error to a sender.'],
  [Verdict.HELD, 'held', 'hold', 'A later fragment that waits for the first one, which names the ports.'],
  [Verdict.TRUNCATED, 'truncated', 'drop', 'Shorter than its own headers say.'],
  [
    Verdict.NOT_IPV4,
    'not-ipv4',
    'drop',
    'Not an IPv4 packet; IPv6 goes between LANs with an `ipv6` prefix and site links only.',
  ],
  [Verdict.BAD_HEADER, 'bad-header', 'drop', 'IPv4 header length or total length is impossible.'],
  [Verdict.BAD_CHECKSUM, 'bad-checksum', 'drop', 'The IPv4 or ICMP checksum is wrong.'],
  [Verdict.BAD_L4_HEADER, 'bad-l4-header', 'drop', 'TCP, UDP or ICMP header is cut off or impossible.'],
  [
    Verdict.BAD_VNET_HEADER,
    'bad-vnet-header',
    'drop',
    'The vnet header does not fit the packet (offload fields out of range).',
  ],
  [
    Verdict.BAD_ADDRESS,
    'bad-address',
    'drop',
    'Source or destination can never be routed (multicast or loopback source, class E, source equals 0.0.0.0).',
  ],
  [Verdict.MULTICAST, 'multicast', 'drop', 'Destination is multicast or broadcast; a NAT does not forward those.'],
  [
    Verdict.FOREIGN_SOURCE,
    'foreign-source',
    'drop',
    'Came in with a source that is not that side’s: on a LAN from outside its subnet, by a link or from outside in a flow of others, or from outside for an address that is not ours: a wrong address in a VM, or spoofing.',
  ],
  [
    Verdict.OUTSIDE_TO_LAN,
    'outside-to-lan',
    'drop',
    'From outside straight to a LAN address, without a mapping or forward.',
  ],
  [
    Verdict.NOT_OURS,
    'not-ours',
    'drop',
    'The kernel routes the destination to an interface that is neither an uplink nor a LAN; that is its own business.',
  ],
  [Verdict.NO_ROUTE, 'no-route', 'drop', 'No route for the destination by any uplink or LAN; the sender got ICMP 3/0.'],
  [
    Verdict.NO_MAPPING,
    'no-mapping',
    'drop',
    'To a pool port that no inside host holds: scans, or answers that came after the timeout.',
  ],
  [Verdict.FILTERED, 'filtered', 'drop', 'To a mapped port, but from a remote that the inside host has not talked to.'],
  [Verdict.FORWARD_SOURCE, 'forward-source', 'drop', 'To a forward whose `from` list does not contain the sender.'],
  [Verdict.PROTOCOL, 'protocol', 'drop', 'Neither TCP, UDP nor ICMP, and no `all` forward takes it.'],
  [
    Verdict.NO_STATE,
    'no-state',
    'drop',
    'A TCP segment that belongs to no flow and cannot begin one (RST, or FIN without SYN).',
  ],
  [Verdict.TCP_INVALID, 'tcp-invalid', 'drop', 'TCP flags that no stack sends (SYN+FIN, SYN+RST, none at all).'],
  [
    Verdict.PORTS_EXHAUSTED,
    'ports-exhausted',
    'drop',
    'No free port in the pool for a new mapping; widen `uplink.ports` or add an address.',
  ],
  [
    Verdict.HOST_LIMIT,
    'host-limit',
    'drop',
    'The inside host has all the mappings or flows that `limits.per_host` and its kin allow it.',
  ],
  [Verdict.TABLE_FULL, 'table-full', 'drop', 'The flow table is full; raise `limits.flows`.'],
  [
    Verdict.TTL_EXPIRED,
    'ttl-expired',
    'drop',
    'TTL ran out here; the sender got ICMP 11/0 (this is how traceroute works).',
  ],
  [
    Verdict.TOO_BIG,
    'too-big',
    'drop',
    'Larger than the outgoing MTU with DF set; the sender got ICMP 3/4 with the MTU.',
  ],
  [
    Verdict.ICMP_TYPE,
    'icmp-type',
    'drop',
    'An ICMP type that a NAT does not pass (redirect, router advertisement and the like).',
  ],
  [Verdict.ICMP_NO_FLOW, 'icmp-no-flow', 'drop', 'An ICMP error about a packet of no known flow.'],
  [Verdict.ICMP_EMBEDDED, 'icmp-embedded', 'drop', 'An ICMP error whose quoted packet is too short or malformed.'],
  [Verdict.FRAGMENT_TIMEOUT, 'fragment-timeout', 'drop', 'The first fragment did not come within the time limit.'],
  [Verdict.FRAGMENT_LIMIT, 'fragment-limit', 'drop', 'The bounded store for fragments was full.'],
  [
    Verdict.FRAGMENT_INVALID,
    'fragment-invalid',
    'drop',
    'A fragment that overlaps, is tiny, or runs past 65535 bytes.',
  ],
  [Verdict.BATCH_FULL, 'batch-full', 'drop', 'No room in the batch for a packet that the engine wanted to add.'],
  [Verdict.LINK_ERROR, 'link-error', 'drop', 'The outgoing link refused the packet (device down, queue full).'],
  [Verdict.STALE, 'stale', 'drop', 'The flow ended between lookup and rewrite (another worker deleted it).'],
  [
    Verdict.HELPER_SEGMENT,
    'helper-segment',
    'drop',
    'A retransmission that cuts through an address that a helper has written anew; the sender tries again.',
  ],
  [Verdict.BLOCKED, 'blocked', 'drop', 'Source or destination is on the block list.'],
  [
    Verdict.FORWARD_LIMIT,
    'forward-limit',
    'drop',
    'The forward has all the flows, or has made all the new ones this second, that its `max_flows` and `max_rate` allow.',
  ],
  [
    Verdict.LINK_POLICY,
    'link-policy',
    'drop',
    'From or to a site link, and the `policy` of the link does not list it.',
  ],
  [
    Verdict.LINK_LOOP,
    'link-loop',
    'drop',
    "A link's own datagram came back in by the TUN: a route to the link holds the address of the peer's endpoint.",
  ],
];

rows.forEach(([id, name], place) => {
  if (id !== place) throw new Error(`verdict ${name} is row ${place}, not ${id}`);
});

/** The table itself; index = id. */
export const VERDICTS: readonly VerdictRow[] = rows.map(([, name, fate, sentence]) => ({ name, fate, sentence }));
