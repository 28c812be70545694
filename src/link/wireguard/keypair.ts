/**
 * One session: two keys, a counter to send with, a window to receive with.
 *
 * A peer has up to three (whitepaper, section 6.2): `current` sends; `previous` still opens what was under way; `next` is what we derived as responder and
 * may not send with before its first packet has arrived, which proves that the initiator has it too. Ages: an initiator asks for a new one after
 * REKEY_AFTER_TIME (120 s) or 2^60 messages, nobody uses one after REJECT_AFTER_TIME (180 s) or 2^64 − 2^13 − 1 messages.
 *
 * Handshakes that cross: each side then sends with the session that it began itself, and both of these would grow old in the same moment, cross again,
 * and so on for ever, with packets lost each time. So the side with the greater public key waits 10 seconds longer, once.
 */
import { REJECT_AFTER_TIME, REKEY_AFTER_HI, REKEY_AFTER_TIME } from './constants.js';
import type { KeyRing } from './key-ring.js';
import type { SessionKeys } from './noise.js';
import type { Peer } from './peer.js';
import { counterSpent, ReplayWindow } from './replay.js';

export class Keypair {
  /** Slots in the key ring. */
  readonly send: number;
  readonly receive: number;
  readonly window = new ReplayWindow();
  /** The next counter to send with, in two int32. */
  lo = 0;
  hi = 0;
  /** Age at which the initiator asks for the next one. */
  renewAfter = REKEY_AFTER_TIME;

  /** Takes the keys over. */
  constructor(
    readonly peer: Peer,
    readonly ring: KeyRing,
    keys: SessionKeys,
    /** Ours: what the peer writes into `receiver`. */
    readonly localIndex: number,
    readonly remoteIndex: number,
    readonly initiator: boolean,
    readonly created: number,
  ) {
    this.send = ring.add(keys.send);
    this.receive = ring.add(keys.receive);
  }

  expired(now: number): boolean {
    return now - this.created >= REJECT_AFTER_TIME;
  }

  /** May it send another packet? */
  usable(now: number): boolean {
    return now - this.created < REJECT_AFTER_TIME && !counterSpent(this.lo, this.hi);
  }

  /** Should there be a new one? Only the initiator asks because of age, so that both do not ask at once. */
  stale(now: number): boolean {
    return this.hi >>> 0 >= REKEY_AFTER_HI || (this.initiator && now - this.created >= this.renewAfter);
  }

  /** Moves the counter on. */
  advance(): void {
    this.lo = (this.lo + 1) | 0;
    if (this.lo === 0) this.hi = (this.hi + 1) | 0;
  }

  wipe(): void {
    this.ring.remove(this.send);
    this.ring.remove(this.receive);
  }
}
