/**
 * What can become of a packet or datagram in a tunnel, each with a name and a sentence for people. Counters, metrics and docs are generated from
 * this table, as the engine's are from contract/verdict.ts.
 */

const rows = [
  ['PASS', 'pass', 'Sealed and to be sent, or opened and to be routed.'],
  ['HANDSHAKE', 'handshake', 'A handshake message, dealt with.'],
  ['KEEPALIVE', 'keepalive', 'An empty packet: the peer is there.'],
  ['STAGED', 'staged', 'Waits for a session; sent as soon as the handshake is done.'],
  ['COOKIE_SENT', 'cookie-sent', 'A handshake message under load without a cookie; the sender was sent one.'],
  ['MALFORMED', 'malformed', 'No message of the protocol: unknown type, or a length that the type cannot have.'],
  ['BAD_MAC', 'bad-mac', 'A handshake message whose first MAC is wrong: its sender does not know our public key.'],
  ['FORGED', 'forged', 'Did not decrypt: wrong keys (also the preshared one), or altered on the way.'],
  ['STRANGER', 'stranger', 'A right handshake by a public key that is no peer of ours.'],
  [
    'OLD_HANDSHAKE',
    'old-handshake',
    'An initiation not newer than the last: a replay, or the peer set its clock back.',
  ],
  ['FLOOD', 'flood', 'Initiations of one peer, or under load of one address, that came too fast.'],
  ['NO_SESSION', 'no-session', 'For a session that we do not have: it ended, or we were restarted.'],
  ['EXPIRED', 'expired', 'For a session that is older than 180 seconds or has used up its counters.'],
  ['REPLAYED', 'replayed', 'The counter was used already, or is too far behind.'],
  ['BAD_PACKET', 'bad-packet', 'What is in the tunnel is not an IP packet.'],
  ['BAD_SOURCE', 'bad-source', 'The inner source address is not among the allowed IPs of the peer that sent it.'],
  ['NO_PEER', 'no-peer', "The destination is among no peer's allowed IPs."],
  ['NO_ENDPOINT', 'no-endpoint', 'The peer has never been heard and no endpoint is configured.'],
  ['STAGE_FULL', 'stage-full', 'Too much waits for that session; the oldest was dropped.'],
  ['DOWN', 'down', 'The link is down, or has no private key.'],
  ['BAD_ECN', 'bad-ecn', 'Congestion was met on the way, and the packet inside has no way to say so (RFC 6040).'],
  [
    'OVER_SHARE',
    'over-share',
    "More than the peer's share (or that of all strangers together) while datagrams come faster than they can be worked on.",
  ],
  [
    'UNREAD',
    'unread',
    "Dropped by the kernel (what it had joined counts as one): the socket's queue was full, or strangers' handshakes came too fast and most were filtered.",
  ],
] as const satisfies readonly (readonly [string, string, string])[];

type Key = (typeof rows)[number][0];

/** Written out: an object put together at run time is a hash table to V8. */
export const Outcome = {
  PASS: 0,
  HANDSHAKE: 1,
  KEEPALIVE: 2,
  STAGED: 3,
  COOKIE_SENT: 4,
  MALFORMED: 5,
  BAD_MAC: 6,
  FORGED: 7,
  STRANGER: 8,
  OLD_HANDSHAKE: 9,
  FLOOD: 10,
  NO_SESSION: 11,
  EXPIRED: 12,
  REPLAYED: 13,
  BAD_PACKET: 14,
  BAD_SOURCE: 15,
  NO_PEER: 16,
  NO_ENDPOINT: 17,
  STAGE_FULL: 18,
  DOWN: 19,
  BAD_ECN: 20,
  OVER_SHARE: 21,
  UNREAD: 22,
} as const satisfies Readonly<Record<Key, number>>;

rows.forEach(([key], id) => {
  if (Outcome[key] !== id) throw new Error(`outcome ${key} is row ${id}, not ${Outcome[key]}`);
});

/** The table; index = id. From FIRST_DROP on a packet is gone. */
export const OUTCOMES: readonly { readonly name: string; readonly sentence: string }[] = rows.map(
  ([, name, sentence]) => ({ name, sentence }),
);
export const FIRST_DROP: number = Outcome.MALFORMED;
