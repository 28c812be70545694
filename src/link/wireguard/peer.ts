/**
 * A peer: its keys, where it is, its sessions, its half-done handshake, what waits for it, and what was counted.
 *
 * Sessions change in two places only. `begin` takes the keys of a finished handshake: as initiator they send at once (the responder has them already), as
 * responder they wait as `next`. `confirm` is the arrival of the first packet under `next`: it becomes `current`. What falls out at the end is wiped.
 */

import { KEY_BYTES } from './constants.js';
import type { Randomness } from './cookie.js';
import { MacMaker } from './cookie.js';
import { wipe } from './crypto.js';
import { ENDPOINT_WORDS, Ep } from './endpoint.js';
import type { Keypair } from './keypair.js';
import { TIMESTAMP_BYTES } from './messages.js';
import type { Initiator } from './noise.js';
import { type Alarm, jitterOf, Timers } from './timers.js';

/** Packets that wait for a session, at most; beyond, the oldest goes. */
export const STAGED_PACKETS = 128;

/** Places in Peer.stats. */
export const Stat = {
  RX_BYTES: 0,
  TX_BYTES: 1,
  RX_PACKETS: 2,
  TX_PACKETS: 3,
  /** Handshakes that made a session, by role, and initiations that nobody answered in time. */
  HANDSHAKES_INITIATED: 4,
  HANDSHAKES_ANSWERED: 5,
  HANDSHAKES_GIVEN_UP: 6,
  /** Wall clock of the last session, milliseconds since 1970; 0 = never. */
  LAST_HANDSHAKE: 7,
} as const;
const STATS = 8;

export class Peer {
  readonly macs: MacMaker;
  readonly timers: Timers;
  readonly presharedKey = new Uint8Array(KEY_BYTES);
  readonly endpoint = new Int32Array(ENDPOINT_WORDS);
  readonly stats = new Float64Array(STATS);

  current: Keypair | null = null;
  previous: Keypair | null = null;
  next: Keypair | null = null;

  /** The initiation that waits for its answer, and its index. */
  initiator: Initiator | null = null;
  initiatorIndex = 0;
  lastInitiationSent = Number.NEGATIVE_INFINITY;
  /** `sent last minute`: the current session has asked for its successor because of what it received. */
  askedToRenew = false;
  /** Of the RENEW timer: chosen once a session, because a packet must not cost a random number. */
  renewJitter = 0;

  /** Of the last initiation that was answered. */
  readonly newestTimestamp = new Uint8Array(TIMESTAMP_BYTES);
  lastInitiationReceived = Number.NEGATIVE_INFINITY;

  /** Inner packets, copied. */
  staged: Uint8Array[] = [];

  constructor(
    /** Small number; its place in Device.peers, and the value in the allowed IPs. */
    readonly id: number,
    readonly publicKey: Uint8Array,
    /** DH of both static keys; null: their key is refused, and nothing can be sent or received. */
    public shared: Uint8Array | null,
    alarm: Alarm,
    readonly random: Randomness,
  ) {
    this.macs = new MacMaker(publicKey);
    this.timers = new Timers(alarm);
  }

  get hasEndpoint(): boolean {
    return this.endpoint[Ep.FAMILY] !== 0;
  }

  jitter(): number {
    const two = new Uint8Array(2);
    this.random(two);
    return jitterOf(two[0]! | (two[1]! << 8));
  }

  /** Takes a session that a handshake has made; returns those that have ended, for the index table. */
  begin(made: Keypair): Keypair[] {
    this.renewJitter = this.jitter();
    const ended: (Keypair | null)[] = [];
    if (made.initiator) {
      ended.push(this.previous);
      if (this.next !== null) {
        // The peer made one at the same time. It may be sending with it already.
        ended.push(this.current);
        this.previous = this.next;
        this.next = null;
      } else {
        this.previous = this.current;
      }
      this.current = made;
      this.askedToRenew = false;
    } else {
      // `previous` stays until this one is confirmed: after crossed handshakes the peer is still sending with it.
      ended.push(this.next);
      this.next = made;
    }
    return wiped(ended);
  }

  /** A packet has come under `used`. True: it was the first under `next`, which is `current` now. */
  confirm(used: Keypair, ended: Keypair[]): boolean {
    if (used !== this.next) return false;
    ended.push(...wiped([this.previous]));
    this.previous = this.current;
    this.current = used;
    this.next = null;
    this.askedToRenew = false;
    return true;
  }

  /** Ends all sessions and the handshake; returns the sessions. */
  endSessions(): Keypair[] {
    const ended = wiped([this.previous, this.current, this.next]);
    this.previous = this.current = this.next = null;
    this.dropInitiator();
    return ended;
  }

  dropInitiator(): void {
    this.initiator?.wipe();
    this.initiator = null;
  }

  /** False: the oldest had to go. */
  stage(packet: Uint8Array): boolean {
    this.staged.push(packet);
    if (this.staged.length <= STAGED_PACKETS) return true;
    this.staged.shift();
    return false;
  }

  /** Everything secret. */
  wipe(): void {
    wipe(this.presharedKey);
    if (this.shared !== null) wipe(this.shared);
  }
}

function wiped(keypairs: readonly (Keypair | null)[]): Keypair[] {
  const ended = keypairs.filter((keypair) => keypair !== null);
  for (const keypair of ended) keypair.wipe();
  return ended;
}
