/**
 * Messages 1 to 3: initiations, responses, cookie replies. In the order in which they are sent and answered.
 *
 * What a received message costs grows with what its sender has proven: mac1 (knows our public key), under load mac2 (has the address that it sends from),
 * then the handshake itself (holds the secret of a peer). Only after the last is anything of the peer changed, its endpoint included.
 */
import type { Columns } from './columns.js';
import { INITIATION_GAP, REKEY_TIMEOUT } from './constants.js';
import type { Device } from './device.js';
import { copyEndpoint, ENDPOINT_WORDS } from './endpoint.js';
import { Keypair } from './keypair.js';
import {
  CookieReply,
  compareTimestamps,
  Initiation,
  Message,
  newInitiation,
  newResponse,
  Response,
  TIMESTAMP_BYTES,
} from './messages.js';
import { type Finished, Initiator, Responder } from './noise.js';
import { Outcome } from './outcome.js';
import { type Peer, Stat } from './peer.js';
import { flushStaged, sendEmpty } from './send.js';

/** 1: we begin. Nothing without endpoint and keys; within REKEY_TIMEOUT of the last one only the timer is set, so that what waits is not forgotten. */
export function sendInitiation(device: Device, peer: Peer, now: number, retry = false): void {
  if (!retry) peer.timers.attempts = 0;
  if (!device.up || device.own === null || peer.shared === null || !peer.hasEndpoint) return;
  if (now - peer.lastInitiationSent < REKEY_TIMEOUT) {
    peer.timers.initiateLater(peer.lastInitiationSent, peer.renewJitter);
    return;
  }
  peer.lastInitiationSent = now;
  device.endHandshake(peer);
  const index = device.newIndex();
  const message = newInitiation(index);
  const stamp = device.newTimestamp(now);
  const ephemeral = device.newEphemeral();
  peer.initiator = Initiator.start(
    device.own,
    peer.publicKey,
    peer.shared,
    ephemeral,
    stamp,
    message,
    Initiation.EPHEMERAL,
  );
  if (peer.initiator === null) return; // their key has a low order
  peer.initiatorIndex = index;
  device.handshakes.set(index, peer);
  send(device, peer, message, now);
  peer.timers.initiated(now, peer.jitter());
}

/** One of messages 1 to 3 in slot i; returns its outcome. */
export function receiveHandshake(device: Device, c: Columns, i: number, type: number, now: number): number {
  if (type === Message.COOKIE_REPLY) return receiveCookie(device, c, i, now);
  const { checker } = device;
  const off = c.off[i]!;
  const len = c.len[i]!;
  if (checker === null || device.own === null) return Outcome.DOWN;
  if (!checker.mac1Right(c.data, off, len)) return Outcome.BAD_MAC;
  if (device.load.arrived(now)) {
    const epOff = i * ENDPOINT_WORDS;
    if (!checker.mac2Right(c.data, off, len, c.endpoint, epOff, now)) {
      const sender = c.view.getInt32(off + Initiation.SENDER, true); // at the same place in both
      const reply = checker.reply(c.data, off, len, sender, c.endpoint, epOff, now);
      device.emit(reply, c.endpoint.slice(epOff, epOff + ENDPOINT_WORDS));
      return Outcome.COOKIE_SENT;
    }
    if (!device.rates.allow(c.endpoint, epOff, now)) return Outcome.FLOOD;
  }
  return type === Message.INITIATION ? receiveInitiation(device, c, i, now) : receiveResponse(device, c, i, now);
}

/** 1: the peer begins; the answer goes out from here. */
function receiveInitiation(device: Device, c: Columns, i: number, now: number): number {
  const off = c.off[i]!;
  const responder = Responder.readInitiation(device.own!, c.data, off + Initiation.EPHEMERAL);
  if (responder === null) return Outcome.FORGED;
  const outcome = judgeInitiation(device, responder, c, off, now);
  if (typeof outcome === 'number') {
    responder.wipe();
    return outcome;
  }
  const peer = outcome;
  heard(peer, c, i, now);

  // 2: our answer, which makes the session. It may not send before the peer's first packet has come.
  const index = device.newIndex();
  const remote = c.view.getInt32(off + Initiation.SENDER, true);
  const message = newResponse(index, remote);
  const ephemeral = device.newEphemeral();
  const finished = responder.answer(peer.presharedKey, ephemeral, message, Response.EPHEMERAL);
  if (finished === null) return Outcome.FORGED;
  derive(device, peer, finished, index, remote, false, now);
  // Whoever was asked does not ask as well: no initiation of ours for REKEY_TIMEOUT.
  peer.lastInitiationSent = now;
  send(device, peer, message, now);
  peer.stats[Stat.HANDSHAKES_ANSWERED]! += 1;
  return Outcome.HANDSHAKE;
}

/** The peer that this initiation proves, or why it is refused. */
function judgeInitiation(device: Device, responder: Responder, c: Columns, off: number, now: number): Peer | number {
  const peer = device.peer(responder.theirs);
  if (peer === undefined || peer.shared === null) return Outcome.STRANGER;
  const stamp = responder.readPayload(peer.shared, c.data, off + Initiation.TIMESTAMP, TIMESTAMP_BYTES);
  if (stamp === null) return Outcome.FORGED;
  if (compareTimestamps(stamp, peer.newestTimestamp) <= 0) return Outcome.OLD_HANDSHAKE;
  if (now - peer.lastInitiationReceived < INITIATION_GAP) return Outcome.FLOOD;
  peer.newestTimestamp.set(stamp);
  peer.lastInitiationReceived = now;
  return peer;
}

/** 2: the answer to ours. The session is there for both: what waits goes out, or an empty packet, which tells the peer so. */
function receiveResponse(device: Device, c: Columns, i: number, now: number): number {
  const off = c.off[i]!;
  const index = c.view.getInt32(off + Response.RECEIVER, true);
  const peer = device.handshakes.get(index);
  if (peer === undefined || peer.initiator === null) return Outcome.NO_SESSION;
  const finished = peer.initiator.finish(device.own!, peer.presharedKey, c.data, off + Response.EPHEMERAL);
  if (finished === null) return Outcome.FORGED;
  device.endHandshake(peer);
  heard(peer, c, i, now);
  derive(device, peer, finished, index, c.view.getInt32(off + Response.SENDER, true), true, now);
  established(device, peer, now);
  peer.stats[Stat.HANDSHAKES_INITIATED]! += 1;
  if (peer.staged.length > 0) flushStaged(device, peer, now);
  else sendEmpty(device, peer, now);
  return Outcome.HANDSHAKE;
}

/** 3: kept for the next initiation, which the timers send; answering at once would let an attacker set our pace. */
function receiveCookie(device: Device, c: Columns, i: number, now: number): number {
  const off = c.off[i]!;
  const index = c.view.getInt32(off + CookieReply.RECEIVER, true);
  const peer = device.handshakes.get(index) ?? device.sessions.get(index)?.peer;
  if (peer === undefined) return Outcome.NO_SESSION;
  return peer.macs.take(c.data, off, now) ? Outcome.HANDSHAKE : Outcome.FORGED;
}

/** A session that both sides have. */
export function established(device: Device, peer: Peer, now: number): void {
  peer.timers.completed();
  peer.stats[Stat.LAST_HANDSHAKE] = now + device.epoch;
}

function derive(
  device: Device,
  peer: Peer,
  finished: Finished,
  local: number,
  remote: number,
  initiator: boolean,
  now: number,
): void {
  device.adopt(new Keypair(peer, device.ring, finished.keys, local, remote, initiator, now));
  peer.timers.derived(now);
}

function send(device: Device, peer: Peer, message: Uint8Array, now: number): void {
  peer.macs.stamp(message, now);
  peer.timers.sent(now);
  peer.stats[Stat.TX_BYTES]! += message.length;
  device.emit(message, peer.endpoint.slice());
}

/** The message in slot i proved to be the peer's: that is where it is now. */
function heard(peer: Peer, c: Columns, i: number, now: number): void {
  copyEndpoint(c.endpoint, i * ENDPOINT_WORDS, peer.endpoint, 0);
  peer.timers.received(now);
  peer.stats[Stat.RX_BYTES]! += c.len[i]!;
}
