/**
 * What can become of a frame or datagram at a VXLAN tunnel endpoint, each with a name and a sentence for people. Counters, metrics and docs are
 * generated from this table, as the engine's are from contract/verdict.ts.
 */

const rows = [
  ['PASS', 'pass', 'To one remote, or from the tunnel to the TAP.'],
  ['FLOODED', 'flooded', 'Broadcast, multicast or unknown unicast, sent to every remote of the head-end list.'],
  ['ANSWERED', 'answered', 'An ARP or neighbour request that was answered here; it did not travel.'],
  ['PROBE', 'probe', 'A loop probe, our own or a stray one; it ends here.'],
  ['MALFORMED', 'malformed', 'No VXLAN: shorter than the header.'],
  ['NO_VNI', 'no-vni', 'The I flag is not set, so the VNI is not valid (RFC 7348 §5).'],
  ['WRONG_VNI', 'wrong-vni', "Another network's identifier: the two ends are configured differently."],
  [
    'FRAGMENTED',
    'fragmented',
    'The outer datagram came in fragments, which an endpoint may refuse: the path MTU is smaller than the sender believes.',
  ],
  ['TRUNCATED', 'truncated', 'The datagram was longer than the room for it.'],
  ['BAD_OUTER', 'bad-outer', 'The outer IP or UDP header is impossible, or not addressed to VXLAN.'],
  [
    'BAD_CHECKSUM',
    'bad-checksum',
    'The outer header checksum is wrong, or the UDP checksum is neither zero nor right.',
  ],
  ['STRANGER', 'stranger', 'From an address that is none of the configured remotes.'],
  ['RUNT', 'runt', 'Shorter than an Ethernet header.'],
  [
    'BAD_MAC',
    'bad-mac',
    'The source is a group or zero address, or the destination is zero: no station has such a one.',
  ],
  ['RESERVED', 'reserved', 'MAC control (pause), which is meant for one wire and never forwarded.'],
  ['TAGGED', 'tagged', 'Carries a VLAN tag, which the option `vlan` of this link refuses.'],
  [
    'STATIC_MOVED',
    'static-moved',
    'The source address is configured to be elsewhere: spoofed, or the static entry is out of date.',
  ],
  ['STORM_BROADCAST', 'storm-broadcast', 'More broadcasts a second than storm control allows.'],
  ['STORM_MULTICAST', 'storm-multicast', 'More multicasts a second than storm control allows.'],
  ['STORM_UNKNOWN', 'storm-unknown', 'More frames to unknown addresses a second than storm control allows.'],
  ['TOO_BIG', 'too-big', 'Larger than the link carries without fragmentation: lower the MTU behind the TAP.'],
  ['LOCAL', 'local', 'For an address on the TAP side: the bridge there delivers it.'],
  ['NO_REMOTE', 'no-remote', 'Nobody to send it to: the address is unknown and the head-end list is empty.'],
  [
    'COPIES_FULL',
    'copies-full',
    'A copy that did not fit in the batch: more remotes than the copies that one batch may make.',
  ],
  [
    'ECN_DROP',
    'ecn-drop',
    'Marked "congestion experienced" on the way although its sender knows nothing of ECN: dropped as RFC 6040 asks.',
  ],
  [
    'LOOP',
    'loop',
    'The link is blocked: a probe that it sent came back, there is a second way between the two bridges.',
  ],
] as const satisfies readonly (readonly [string, string, string])[];

type Key = (typeof rows)[number][0];

/** Written out: an object put together at run time is a hash table to V8. */
export const Outcome = {
  PASS: 0,
  FLOODED: 1,
  ANSWERED: 2,
  PROBE: 3,
  MALFORMED: 4,
  NO_VNI: 5,
  WRONG_VNI: 6,
  FRAGMENTED: 7,
  TRUNCATED: 8,
  BAD_OUTER: 9,
  BAD_CHECKSUM: 10,
  STRANGER: 11,
  RUNT: 12,
  BAD_MAC: 13,
  RESERVED: 14,
  TAGGED: 15,
  STATIC_MOVED: 16,
  STORM_BROADCAST: 17,
  STORM_MULTICAST: 18,
  STORM_UNKNOWN: 19,
  TOO_BIG: 20,
  LOCAL: 21,
  NO_REMOTE: 22,
  COPIES_FULL: 23,
  ECN_DROP: 24,
  LOOP: 25,
} as const satisfies Readonly<Record<Key, number>>;

rows.forEach(([key], id) => {
  if (Outcome[key] !== id) throw new Error(`outcome ${key} is row ${id}, not ${Outcome[key]}`);
});

/** The table; index = id. From FIRST_DROP on a frame is gone. */
export const OUTCOMES: readonly { readonly name: string; readonly sentence: string }[] = rows.map(
  ([, name, sentence]) => ({ name, sentence }),
);
export const FIRST_DROP: number = Outcome.MALFORMED;
