/**
 * The daemon's API as its clients see it: HTTP + JSON on the unix socket `RUNTIME_DIR/NAME/api.sock`.
 *
 *   GET    /status            Status
 *   GET    /flows?proto=&src=&dst=&sport=&dport=&limit=   Flow[], one a line (so that it can be read as it comes)
 *   DELETE /flows?…           { ended }: the same filters, at least one of them
 *   GET    /state             the export file of flows and mappings, as bytes
 *   POST   /state             ImportAnswer; the body is such a file
 *   GET    /rules             RuleRow[]
 *   GET    /links             (LinkRow | VxlanLinkRow)[]
 *   GET    /links/fdb?link=   VxlanFdb[]: forwarding tables of the VXLAN links, of all or of one
 *   GET    /forwards          ForwardRow[]
 *   POST   /forwards          { forward, name?, temporary? } → ChangeAnswer; `forward` as it would stand in the config
 *   DELETE /forwards?name=    ChangeAnswer; only what was added by this API or its overlay file
 *   GET    /blocks            BlockRow[]
 *   POST   /blocks            { address, seconds?, temporary? } → ChangeAnswer
 *   DELETE /blocks?address=   ChangeAnswer
 *   GET    /trace?src=&dst=&proto=&sport=&dport=   TraceAnswer: what would become of such a packet, and why
 *   GET    /trace/live?address=&other=&port=&proto=&count=   SeenAnswer, one a line, for the next packets from or to the address
 *   GET    /capture?address=&port=&proto=&point=&snap=   pcapng until the connection ends
 *   GET    /top               TopAnswer: the busiest inside hosts and forwards since the last look
 *   GET    /metrics           Prometheus text
 *   GET    /config            ConfigAnswer
 *   POST   /reload            ReloadAnswer; 422 with `errors` when the new config is refused
 *   POST   /stop {keep}       {}; the answer comes first, then the daemon stops
 *
 * Errors are { error: string, errors?: string[] } with a fitting status code.
 */

import type { VxlanFdbRow, VxlanRemoteStatus } from './vxlan.js';

export type Phase = 'starting' | 'ready' | 'stopping';

export interface Status {
  readonly name: string;
  readonly version: string;
  readonly pid: number;
  readonly phase: Phase;
  readonly uptimeSeconds: number;
  readonly config: {
    readonly file: string;
    readonly generation: number;
    /** ISO 8601. */
    readonly loadedAt: string;
    /** What the last reload was refused for; empty when it was taken. */
    readonly lastErrors: readonly string[];
  };
  /** What keeps parts of the config from working now: interface missing, no address yet, a port that is in use. */
  readonly problems: readonly string[];
  readonly uplinks: readonly { readonly interface: string; readonly addresses: readonly string[] }[];
  readonly lans: readonly { readonly interface: string; readonly subnet: string; readonly gateway: string }[];
  readonly tun: string;
  readonly workers: readonly WorkerStatus[];
  readonly flows: { readonly live: number; readonly limit: number };
  readonly pools: readonly PoolStatus[];
  readonly packets: { readonly received: number; readonly sent: number; readonly dropped: number };
  readonly bytes: { readonly received: number; readonly sent: number };
  /** Only the reasons that were counted, the largest first. */
  readonly drops: readonly { readonly reason: string; readonly packets: number; readonly sentence: string }[];
}

/** A site link as it is now. No secrets: public keys only. */
export interface LinkRow {
  readonly name: string;
  readonly kind: 'wireguard';
  /** file:line:col */
  readonly origin: string;
  /** The port is open; else `problem` says why not. */
  readonly up: boolean;
  readonly problem: string;
  readonly port: number;
  /** Of inner packets. */
  readonly mtu: number;
  /** This router's own addresses in the link, or ''. */
  readonly address: string;
  readonly address6: string;
  readonly publicKey: string;
  readonly peers: readonly LinkPeerRow[];
  /** Packets and datagrams that were not taken, by reason; only those that were counted, the largest first. */
  readonly rejected: readonly { readonly reason: string; readonly packets: number; readonly sentence: string }[];
  /** Datagrams that the kernel refused to send, and errors when receiving. */
  readonly sendFailed: number;
  readonly receiveFailed: number;
}

/** A VXLAN link as it is now. */
export interface VxlanLinkRow {
  readonly name: string;
  readonly kind: 'vxlan';
  readonly origin: string;
  /** It carries frames; else `problem` says why not. */
  readonly up: boolean;
  readonly problem: string;
  /** '' or the loop that it is in. */
  readonly loop: string;
  readonly vni: number;
  readonly local: string;
  readonly port: number;
  readonly tap: string;
  readonly bridge: string;
  /** Of the TAP. */
  readonly mtu: number;
  /** Name of the link that carries it, or ''. */
  readonly over: string;
  readonly remotes: readonly VxlanRemoteStatus[];
  /** Addresses in the forwarding table, and how often one was not learned because the share of its place was full. */
  readonly addresses: number;
  readonly addressesRefused: number;
  readonly rejected: LinkRow['rejected'];
  /** Datagrams that the kernel, and frames that the TAP did not take. */
  readonly sendFailed: number;
  readonly tapFailed: number;
}

/** Forwarding table of a VXLAN link: which address is where. */
export interface VxlanFdb {
  readonly link: string;
  readonly tap: string;
  readonly rows: readonly VxlanFdbRow[];
}

export interface LinkPeerRow {
  readonly name: string;
  readonly publicKey: string;
  /** Where it was heard last or is thought to be; '' = not known. */
  readonly endpoint: string;
  readonly allowedIps: readonly string[];
  /** ISO 8601; null: never. */
  readonly lastHandshake: string | null;
  readonly handshakes: { readonly initiated: number; readonly answered: number; readonly givenUp: number };
  /** Of datagrams, handshakes and keepalives included. */
  readonly receivedBytes: number;
  readonly sentBytes: number;
  readonly receivedPackets: number;
  readonly sentPackets: number;
  /** Packets that wait for a session. */
  readonly waiting: number;
}

export interface WorkerStatus {
  readonly index: number;
  readonly state: 'starting' | 'ready' | 'stuck' | 'dead';
  readonly restarts: number;
  /** Share of the time since start that the worker was busy, 0…1. */
  readonly busy: number;
}

export interface PoolStatus {
  readonly address: string;
  readonly protocol: 'tcp' | 'udp' | 'icmp';
  readonly used: number;
  readonly size: number;
}

export interface FlowTuple {
  readonly src: string;
  readonly dst: string;
  /** TCP and UDP. */
  readonly sport?: number;
  readonly dport?: number;
  /** ICMP query. */
  readonly id?: number;
}

export interface Flow {
  /** Row and its generation: what names this flow among all flows that ever were in the row. */
  readonly index: number;
  readonly generation: number;
  /** IP protocol number and its name (the number as text where it has none). */
  readonly proto: number;
  readonly protocol: string;
  /** conntrack's TCP state, or '' for a protocol without states. */
  readonly state: string;
  /** Seconds until the flow ends if nothing comes. */
  readonly timeout: number;
  /** The tuple of the first packet's direction, as those packets arrive. */
  readonly original: FlowTuple;
  /** The tuple of the answers, as they arrive. */
  readonly reply: FlowTuple;
  readonly bytes: { readonly original: number; readonly reply: number };
  readonly replied: boolean;
  readonly assured: boolean;
  readonly hairpin: boolean;
  /** Id of the rule that made it, 0 = none. */
  readonly rule: number;
}

export interface RuleRow {
  readonly id: number;
  readonly kind: 'forward' | 'nat';
  readonly name: string;
  /** file:line:col. */
  readonly origin: string;
  /** What it does, in a few words. */
  readonly what: string;
  readonly packetsIn: number;
  readonly bytesIn: number;
  readonly packetsOut: number;
  readonly bytesOut: number;
  /** Flows made since start, and packets refused by `from` or a limit. */
  readonly flows: number;
  readonly refused: number;
}

/** Where something is written: an overlay of the router's own (lasting or temporary), or a file that it only reads. */
export type Origin = 'config' | 'lasting' | 'temporary';

export interface ForwardRow {
  readonly name: string;
  /** What it does, in a few words. */
  readonly what: string;
  readonly written: Origin;
  /** file:line:col. */
  readonly origin: string;
}

export interface BlockRow {
  /** Prefix with its length. */
  readonly address: string;
  /** ISO 8601, or null: until it is removed. */
  readonly until: string | null;
  readonly written: Origin;
  readonly origin: string;
}

export interface ChangeAnswer extends ReloadAnswer {
  /** Files that were written. */
  readonly files: readonly string[];
}

export interface ReloadAnswer {
  readonly generation: number;
  readonly changed: boolean;
  /** What became another, in words; '' when nothing did. */
  readonly difference: string;
  /** What became of the live flows, over all workers. */
  readonly flows: { readonly stayed: number; readonly moved: number; readonly ended: number };
  readonly problems: readonly string[];
}

/** What became of the records of an import, the refused ones by reason. */
export interface ImportAnswer {
  readonly mappings: ImportOutcome;
  readonly flows: ImportOutcome;
}

export interface ImportOutcome {
  readonly taken: number;
  readonly refused: readonly { readonly reason: string; readonly count: number; readonly sentence: string }[];
}

/** A dry run of one packet through the stages of the engine. */
export interface TraceAnswer {
  /** Name of the verdict, its fate and its sentence (contract/verdict.ts). */
  readonly verdict: string;
  readonly fate: string;
  readonly sentence: string;
  readonly steps: readonly { readonly stage: string; readonly text: string }[];
}

/** What became of a packet that really came. */
export interface SeenAnswer extends TraceAnswer {
  /** ISO 8601. */
  readonly at: string;
  /** IP length of the packet as it came in. */
  readonly bytes: number;
}

export interface TopAnswer {
  /** Seconds over which the rates were taken; 0 = the first look, there are none yet. */
  readonly seconds: number;
  readonly flows: number;
  readonly received: { readonly packets: number; readonly bytes: number };
  readonly sent: { readonly packets: number; readonly bytes: number };
  readonly dropped: number;
  /** Bytes a second; the busiest first. */
  readonly hosts: readonly {
    readonly address: string;
    readonly flows: number;
    readonly out: number;
    readonly in: number;
  }[];
  readonly forwards: readonly {
    readonly name: string;
    readonly what: string;
    readonly out: number;
    readonly in: number;
  }[];
}

export interface ConfigAnswer {
  readonly file: string;
  readonly generation: number;
  /** The config in force with every default filled in. */
  readonly config: unknown;
}

export interface ErrorAnswer {
  readonly error: string;
  readonly errors?: readonly string[];
}
