/** Who holds a port of this host: sockets by sock_diag (as `ss` does), and their processes by /proc/PID/fd. */
import { readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { NETLINK_SOCK_DIAG, Netlink } from './netlink.js';
import { attributes, type Message, Payload, u8, viewOf } from './netlink-message.js';

const SOCK_DIAG_BY_FAMILY = 20;
const INET_DIAG_MSG = 72;
const INET_DIAG_SKV6ONLY = 11;
const AF_INET = 2;
const AF_INET6 = 10;
const IPPROTO = { tcp: 6, udp: 17 } as const;

const ESTABLISHED = 1;
/** A UDP socket that is bound and not connected is in this state. */
const CLOSE = 7;
const LISTEN = 10;

export interface Socket {
  readonly proto: 'tcp' | 'udp';
  /** Listening (TCP) or bound without a peer (UDP); otherwise a conversation with one peer. */
  readonly listening: boolean;
  readonly port: number;
  /** IPv4 address that it is bound to, int32; 0 = any. An IPv6 socket on :: that takes IPv4 too counts as 0. */
  readonly address: number;
  readonly inode: number;
}

/** Every socket of this network namespace that IPv4 packets can reach. */
export function readSockets(): Socket[] {
  const nl = new Netlink(NETLINK_SOCK_DIAG);
  try {
    const sockets: Socket[] = [];
    for (const proto of ['tcp', 'udp'] as const) {
      for (const family of [AF_INET, AF_INET6]) {
        const listening = proto === 'tcp' ? LISTEN : CLOSE;
        const payload = new Payload()
          .u8(family)
          .u8(IPPROTO[proto])
          .zeros(2)
          .u32((1 << listening) | (1 << ESTABLISHED))
          .zeros(48);
        const messages = nl.dump(SOCK_DIAG_BY_FAMILY, payload.bytes(), `list the ${proto} sockets`);
        for (const message of messages) sockets.push(...readSocket(message, proto, listening));
      }
    }
    return sockets;
  } finally {
    nl.close();
  }
}

/** inet_diag_msg: family, state, timer, retrans, sport, dport, 16 bytes source, 16 bytes destination, … inode at 68. */
function readSocket({ body }: Message, proto: Socket['proto'], listening: number): Socket[] {
  const view = viewOf(body);
  const bound = body[0] === AF_INET ? view.getInt32(8) : ipv4Of(body, view);
  if (bound === undefined) return [];
  return [
    {
      proto,
      listening: body[1] === listening,
      port: view.getUint16(4),
      address: bound,
      inode: view.getUint32(68, true),
    },
  ];
}

/** The IPv4 side of an IPv6 socket: `::` unless V6ONLY, or ::ffff:a.b.c.d. */
function ipv4Of(body: Uint8Array, view: DataView): number | undefined {
  const high = view.getUint32(8) | view.getUint32(12);
  const mapped = view.getUint32(16);
  if (high === 0 && mapped === 0xffff) return view.getInt32(20);
  if ((high | mapped | view.getUint32(20)) !== 0) return undefined;
  return u8(attributes(body, INET_DIAG_MSG).get(INET_DIAG_SKV6ONLY)) === 1 ? undefined : 0;
}

/** `name (pid 123)` of the processes that hold these inodes. Processes of other users need root to be seen. */
export function holdersOf(inodes: ReadonlySet<number>): Map<number, string> {
  const holders = new Map<number, string>();
  if (inodes.size === 0) return holders;
  for (const pid of readdirSync('/proc')) {
    if (!/^\d+$/.test(pid)) continue;
    for (const inode of socketsOf(pid)) {
      if (inodes.has(inode) && !holders.has(inode)) holders.set(inode, `${nameOf(pid)} (pid ${pid})`);
    }
    if (holders.size === inodes.size) break;
  }
  return holders;
}

function socketsOf(pid: string): number[] {
  const inodes: number[] = [];
  try {
    for (const fd of readdirSync(`/proc/${pid}/fd`)) {
      const inode = /^socket:\[(\d+)\]$/.exec(targetOf(pid, fd))?.[1];
      if (inode) inodes.push(Number(inode));
    }
  } catch {
    // The process ended, or is not ours to look at.
  }
  return inodes;
}

/** Empty: closed meanwhile, as in our own list always the one by which the list was read. */
function targetOf(pid: string, fd: string): string {
  try {
    return readlinkSync(`/proc/${pid}/fd/${fd}`);
  } catch {
    return '';
  }
}

function nameOf(pid: string): string {
  try {
    return readFileSync(`/proc/${pid}/comm`, 'utf8').trim();
  } catch {
    return 'a process that has ended';
  }
}
