/**
 * Site links, as both planes see them: what the plan says of a link, and what control and the data plane say about it to each other.
 *
 * A link is a route target of the engine, with an out interface of its own. It is known by its name: over reloads, to worker and control. The plan
 * holds what policy needs and the UDP port; it goes to disk, so nothing secret is in it. Keys, preshared keys, endpoints, keepalive and the device's
 * allowed IPs go to the link's WireGuard device as text of wg(8)'s protocol (`link-ask` with `set=1`…), and what the device knows comes back
 * by the same way (`get=1`) and as LinkStatus.
 *
 * Order at start and after a worker was started again: the worker opens each link of its plan (port bound, no key, no peers, so it is silent), says
 * `link-state`, and control asks it with `set=1` for everything. Sessions are new then; the flow table is not.
 */
import type { Prefix6 } from './ipv6.js';
import type { Prefix, PublicAddress } from './plan.js';

/** Sockets of links are bits of one wait: two a link. */
export const MAX_LINKS = 14;

export interface Link {
  /** Stays with the device over reloads; of at most 15 bytes, as an interface's (it names the UAPI socket). */
  readonly name: string;
  /** file:line:col where it was written. */
  readonly origin: string;
  /** Index into Plan.interfaces, of an entry that is no uplink and no LAN; its `mtu` is the inner MTU. */
  readonly out: number;
  /** UDP port, 0 = any. Reserved at every public address (OWNER_RESERVED), so that it is never a NAT port and never captured. */
  readonly listen: number;
  /** SO_MARK of the outer datagrams, 0 = none. */
  readonly mark: number;
  /**
   * The router's own address in the link, or 0: source of ICMP errors to the far side, and of what the host sends there (it is on the TUN, and
   * one of Plan.hostAddresses).
   */
  readonly address: number;
  /**
   * `address` with a pool of ports of its own, so that a forward's client from outside reaches a target behind a peer from an address that the
   * peer answers to; null: none, then such forwards keep the client's address. Not among Plan.addresses. `uplink` is −1.
   */
  readonly pool: PublicAddress | null;
  readonly peers: readonly LinkPeer[];
  /** Who of the far side may begin what; the first that fits the sender decides, none: nothing. What is sent back is not asked about. */
  readonly access: readonly LinkAccess[];
  /** May LAN hosts begin flows to the far side? (The host itself always may.) */
  readonly fromLan: boolean;
}

export interface LinkPeer {
  readonly name: string;
  /** Base64, as wg(8) shows it. */
  readonly publicKey: string;
  /** The longest prefix of all links and of the kernel's routes by uplinks and LANs decides; on a tie the link. */
  readonly allowedIps: readonly Prefix[];
  readonly allowedIps6: readonly Prefix6[];
  readonly maps: readonly LinkMap[];
}

/** This peer sees our `inside` as `outside`, address by address; both have the same mask. */
export interface LinkMap {
  readonly inside: Prefix;
  readonly outside: Prefix;
}

export interface LinkAccess {
  /** Inner source addresses; empty = every peer's. */
  readonly from: readonly Prefix[];
  /** To LAN hosts, untranslated. */
  readonly lan: boolean;
  /** By an uplink, translated like a LAN's (nat rules). With it, or with `lan`, also to forwards and mappings at a public address (hairpin). */
  readonly internet: boolean;
  /** To the host's own services: at the link's address and at the host's others. */
  readonly host: boolean;
  /** Bit set over Plan.links: to their peers; the link's own bit: from peer to peer. */
  readonly links: number;
}

// -- what is told about links --

/** A peer's handshakes that made a session, by who began; those that nobody answered. */
export interface LinkPeerStatus {
  readonly publicKey: string;
  /** Where it is now: `192.0.2.1:51820`, `[2001:db8::1]:51820`, or '' = not known. */
  readonly endpoint: string;
  /** Wall clock of the last session, milliseconds since 1970; 0 = never. */
  readonly lastHandshake: number;
  readonly handshakesInitiated: number;
  readonly handshakesAnswered: number;
  readonly handshakesGivenUp: number;
  /** Bytes of datagrams (keepalives and handshakes included), and packets. */
  readonly rxBytes: number;
  readonly txBytes: number;
  readonly rxPackets: number;
  readonly txPackets: number;
  /** Packets that wait for a session. */
  readonly staged: number;
}

export interface LinkStatus {
  readonly name: string;
  /** The port is open. False: `problem` says why; it is tried again every few seconds. */
  readonly up: boolean;
  readonly problem: string;
  readonly port: number;
  readonly mtu: number;
  /** What became of packets and datagrams so far: name (link/wireguard/outcome.ts, `pass`, `forged`, …) → how many. Only those that are not 0. */
  readonly outcomes: Readonly<Record<string, number>>;
  /** Datagrams that the kernel refused to send, and errors when receiving. */
  readonly sendFailed: number;
  readonly receiveFailed: number;
  readonly peers: readonly LinkPeerStatus[];
}
