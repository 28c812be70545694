/**
 * Datagrams in, inner packets out. In walking order:
 * 1. name: handshakes are dealt with at once, transport messages get the key of their session;
 * 2. open: all of them in one native call;
 * 3. judge: tag, counter, session, endpoint, timers, inner source address.
 *
 * A handshake in the middle of a batch may end a session that an earlier slot was named for: its key is overwritten by then, so that packet is
 * counted as forged. It was sent at least two minutes before.
 */
import type { Columns } from './columns.js';
import { HEADER_BYTES, KEEPALIVE_TIMEOUT, OVERHEAD_BYTES, REJECT_AFTER_TIME, REKEY_TIMEOUT } from './constants.js';
import { crypto } from './crypto.js';
import type { Device } from './device.js';
import { copyEndpoint, ENDPOINT_WORDS, sameEndpoint } from './endpoint.js';
import { established, receiveHandshake, sendInitiation } from './handshakes.js';
import type { Keypair } from './keypair.js';
import { Message, messageType, Transport } from './messages.js';
import { Outcome } from './outcome.js';
import { Stat } from './peer.js';
import { counterSpent } from './replay.js';
import { flushStaged } from './send.js';

/** ECN: congestion was experienced (RFC 3168). */
const CONGESTED = 3;

/** Reused from batch to batch: the session of each slot. */
export interface Receiving {
  readonly sessions: (Keypair | null)[];
  readonly ended: Keypair[];
}

export function receiving(): Receiving {
  return { sessions: [], ended: [] };
}

export function openBatch(device: Device, c: Columns, n: number, now: number): number {
  const { sessions } = device.receiving;
  while (sessions.length < n) sessions.push(null);

  // 1
  let named = 0;
  for (let i = 0; i < n; i++) {
    c.peer[i] = -1;
    c.key[i] = -1;
    sessions[i] = null;
    const outcome = nameSlot(device, c, i, now);
    c.outcome[i] = outcome;
    if (outcome === Outcome.PASS) named++;
    else device.counts[outcome]! += 1;
  }
  if (named === 0) return 0;

  // 2
  crypto.openBatch(c, n, device.ring.bytes);

  // 3
  let passed = 0;
  for (let i = 0; i < n; i++) {
    const session = sessions[i];
    if (session == null) continue;
    sessions[i] = null;
    const outcome = judgeSlot(device, c, i, session, now);
    c.outcome[i] = outcome;
    device.counts[outcome]! += 1;
    if (outcome === Outcome.PASS) passed++;
  }
  return passed;
}

/** PASS: a transport message whose session is in receiving.sessions and whose key is named. */
function nameSlot(device: Device, c: Columns, i: number, now: number): number {
  if (!device.up) return Outcome.DOWN;
  const off = c.off[i]!;
  const type = messageType(c.view, off, c.len[i]!);
  const { shares } = device;
  if (type !== Message.TRANSPORT) {
    device.sieve.seen++;
    if (type === Message.NONE) return Outcome.MALFORMED;
    if (shares.pressed && !shares.take(-1, c.len[i]!)) return Outcome.OVER_SHARE;
    return receiveHandshake(device, c, i, type, now);
  }
  const session = device.sessions.get(c.view.getInt32(off + Transport.RECEIVER, true));
  if (shares.pressed && !shares.take(knownSender(c, i, session), c.len[i]!)) return Outcome.OVER_SHARE;
  if (session === undefined) return Outcome.NO_SESSION;
  const lo = c.view.getInt32(off + Transport.COUNTER, true);
  const hi = c.view.getInt32(off + Transport.COUNTER + 4, true);
  if (session.expired(now) || counterSpent(lo, hi)) return Outcome.EXPIRED;
  c.key[i] = session.receive;
  device.receiving.sessions[i] = session;
  return Outcome.PASS;
}

/** Id of the peer that the datagram seems to be from, −1 = anybody could have sent it. */
function knownSender(c: Columns, i: number, session: Keypair | undefined): number {
  if (session === undefined) return -1;
  const { peer } = session;
  return sameEndpoint(c.endpoint, i * ENDPOINT_WORDS, peer.endpoint, 0) ? peer.id : -1;
}

function judgeSlot(device: Device, c: Columns, i: number, session: Keypair, now: number): number {
  const len = c.len[i]!;
  if (len < 0) return Outcome.FORGED;
  if (!session.window.accept(c.lo[i]!, c.hi[i]!)) return Outcome.REPLAYED;

  // It is the peer's, and new.
  const { peer } = session;
  if (!sameEndpoint(c.endpoint, i * ENDPOINT_WORDS, peer.endpoint, 0)) {
    copyEndpoint(c.endpoint, i * ENDPOINT_WORDS, peer.endpoint, 0);
  }
  peer.timers.received(now);
  peer.stats[Stat.RX_BYTES]! += len + OVERHEAD_BYTES;
  peer.stats[Stat.RX_PACKETS]! += 1;
  if (session === peer.next) confirm(device, session, now);
  renewBefore(device, session, now);
  if (len === 0) return Outcome.KEEPALIVE;
  peer.timers.dataReceived(now);

  const at = c.off[i]! + HEADER_BYTES;
  const total = innerBytes(c.view, at, len);
  if (total === 0) return Outcome.BAD_PACKET;
  const six = c.data[at]! >> 4 === 6;
  if (device.allowedIps.find(six ? 6 : 4, c.view, at + (six ? 8 : 12)) !== peer.id) return Outcome.BAD_SOURCE;
  if ((c.ecn[i]! & 3) === CONGESTED && innerEcn(c.data, at, six) === 0) return Outcome.BAD_ECN;
  c.len[i] = total;
  c.peer[i] = peer.id;
  return Outcome.PASS;
}

/** The initiator has proven that it holds the session that we derived: now we may send with it. */
function confirm(device: Device, session: Keypair, now: number): void {
  const { peer } = session;
  const { ended } = device.receiving;
  peer.confirm(session, ended);
  device.forget(ended);
  ended.length = 0;
  established(device, peer, now);
  if (peer.staged.length > 0) flushStaged(device, peer, now);
}

/** An initiator that only receives must renew in time as well: 15 s before the session ends, once. */
function renewBefore(device: Device, session: Keypair, now: number): void {
  const { peer } = session;
  if (peer.askedToRenew || !session.initiator || session !== peer.current) return;
  if (now - session.created < REJECT_AFTER_TIME - KEEPALIVE_TIMEOUT - REKEY_TIMEOUT) return;
  peer.askedToRenew = true;
  sendInitiation(device, peer, now);
}

/** ECN bits of the IP packet at data[at…]. */
function innerEcn(data: Uint8Array, at: number, six: boolean): number {
  return (six ? data[at + 1]! >> 4 : data[at + 1]!) & 3;
}

/** Bytes of the IP packet at view[at…at+len), its padding left out; 0 = it is none. */
export function innerBytes(view: DataView, at: number, len: number): number {
  const version = view.getUint8(at) >> 4;
  if (version === 4) {
    const total = len >= 20 ? view.getUint16(at + 2) : 0;
    return total >= 20 && total <= len ? total : 0;
  }
  const total = version === 6 && len >= 40 ? view.getUint16(at + 4) + 40 : 0;
  return total <= len ? total : 0;
}
