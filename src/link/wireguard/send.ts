/**
 * Inner packets in, transport messages out. In walking order:
 * 1. name: the peer by the destination, its session's key and next counter; without a session the packet is staged and a handshake begins;
 * 2. seal: all of them in one native call;
 * 3. account: counters, timers, and a new session where the old one ages.
 */
import { Columns } from './columns.js';
import { HEADER_BYTES, OVERHEAD_BYTES, PADDING } from './constants.js';
import { crypto } from './crypto.js';
import type { Device } from './device.js';
import { copyEndpoint, ENDPOINT_WORDS } from './endpoint.js';
import { sendInitiation } from './handshakes.js';
import type { Keypair } from './keypair.js';
import { Outcome } from './outcome.js';
import { type Peer, Stat } from './peer.js';

const PACKET_BYTES = 65_536;

/** Room for packets that are sent one by one: keepalives and what was staged. */
export interface Sending {
  readonly columns: Columns;
  readonly sessions: (Keypair | null)[];
}

export function sending(): Sending {
  return { columns: new Columns(1, new Uint8Array(PACKET_BYTES + OVERHEAD_BYTES + PADDING)), sessions: [] };
}

export function sealBatch(device: Device, c: Columns, n: number, now: number): number {
  const { sessions } = device.sending;
  while (sessions.length < n) sessions.push(null);

  // 1
  let named = 0;
  for (let i = 0; i < n; i++) {
    c.key[i] = -1;
    c.peer[i] = -1;
    sessions[i] = null;
    const outcome = nameSlot(device, c, i, now);
    c.outcome[i] = outcome;
    if (outcome === Outcome.PASS) named++;
    else device.counts[outcome]! += 1;
  }
  if (named === 0) return 0;

  // 2
  crypto.sealBatch(c, n, device.ring.bytes);

  // 3
  let sealed = 0;
  for (let i = 0; i < n; i++) {
    const session = sessions[i];
    if (session == null) continue;
    sessions[i] = null;
    const bytes = c.len[i]!;
    // Zero: the caller's columns point outside of its memory.
    const outcome = bytes === 0 ? Outcome.BAD_PACKET : Outcome.PASS;
    c.outcome[i] = outcome;
    device.counts[outcome]! += 1;
    if (outcome !== Outcome.PASS) continue;
    account(device, session, bytes, true, now);
    sealed++;
  }
  return sealed;
}

function nameSlot(device: Device, c: Columns, i: number, now: number): number {
  if (!device.up || device.own === null) return Outcome.DOWN;
  const from = c.from[i]!;
  const len = c.len[i]!;
  if (len < 20 || from < 0 || len > c.source.length - from) return Outcome.BAD_PACKET;
  const six = c.source[from]! >> 4 === 6;
  if (six && len < 40) return Outcome.BAD_PACKET;
  const id = device.allowedIps.find(six ? 6 : 4, c.sourceView, from + (six ? 24 : 16));
  if (id < 0) return Outcome.NO_PEER;
  const peer = device.peers[id]!;
  c.peer[i] = id;
  const session = peer.current;
  // What waits goes first, so that packets keep their order.
  if (session === null || !session.usable(now) || peer.staged.length > 0) return stage(device, peer, c, i, now);
  if (!peer.hasEndpoint) return Outcome.NO_ENDPOINT;
  c.pad[i] = paddingOf(len, device.mtu);
  name(c, i, session);
  device.sending.sessions[i] = session;
  return Outcome.PASS;
}

/** Writes key, counter, receiver and endpoint, and uses the counter up. */
function name(c: Columns, i: number, session: Keypair): void {
  c.key[i] = session.send;
  c.lo[i] = session.lo;
  c.hi[i] = session.hi;
  c.receiver[i] = session.remoteIndex;
  copyEndpoint(session.peer.endpoint, 0, c.endpoint, i * ENDPOINT_WORDS);
  session.advance();
}

function stage(device: Device, peer: Peer, c: Columns, i: number, now: number): number {
  if (!peer.hasEndpoint) return Outcome.NO_ENDPOINT;
  const from = c.from[i]!;
  const room = peer.stage(c.source.slice(from, from + c.len[i]!));
  sendInitiation(device, peer, now);
  return room ? Outcome.STAGED : Outcome.STAGE_FULL;
}

function account(device: Device, session: Keypair, bytes: number, data: boolean, now: number): void {
  const { peer } = session;
  peer.timers.sent(now);
  if (data) peer.timers.dataSent(now, peer.renewJitter);
  peer.stats[Stat.TX_BYTES]! += bytes;
  peer.stats[Stat.TX_PACKETS]! += 1;
  if (session.stale(now)) sendInitiation(device, peer, now);
}

/** Seals and emits one packet, or with null an empty one. False: there is no session to send it with. */
function sendOne(device: Device, peer: Peer, packet: Uint8Array | null, now: number): boolean {
  const session = peer.current;
  if (session === null || !session.usable(now) || !peer.hasEndpoint) return false;
  const c = device.sending.columns;
  const len = packet === null ? 0 : packet.length;
  if (packet !== null) c.data.set(packet, HEADER_BYTES);
  c.off[0] = 0;
  c.from[0] = HEADER_BYTES;
  c.len[0] = len;
  c.pad[0] = len === 0 ? 0 : paddingOf(len, device.mtu);
  name(c, 0, session);
  crypto.sealBatch(c, 1, device.ring.bytes);
  device.emit(c.data.slice(0, c.len[0]), peer.endpoint.slice());
  account(device, session, c.len[0]!, packet !== null, now);
  return true;
}

/** An empty packet: a keepalive. Without a session a handshake, which says the same. */
export function sendEmpty(device: Device, peer: Peer, now: number): void {
  if (peer.staged.length > 0) flushStaged(device, peer, now);
  else if (!sendOne(device, peer, null, now)) sendInitiation(device, peer, now);
}

/** What waited for a session, in order. */
export function flushStaged(device: Device, peer: Peer, now: number): void {
  let done = 0;
  while (done < peer.staged.length && sendOne(device, peer, peer.staged[done]!, now)) done++;
  peer.staged = peer.staged.slice(done);
  if (peer.staged.length > 0) sendInitiation(device, peer, now);
}

/** Zero bytes that fill a packet up to a multiple of 16, never beyond the MTU (REQ-54). */
export function paddingOf(len: number, mtu: number): number {
  // A packet above the MTU (another device on the way has a larger one) is padded within its last unit.
  const last = len > mtu && mtu > 0 ? len % mtu : len;
  const padded = (last + PADDING - 1) & ~(PADDING - 1);
  return (mtu > 0 && padded > mtu ? Math.max(mtu, last) : padded) - last;
}
