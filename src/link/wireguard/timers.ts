/**
 * When a peer has to do something by itself (whitepaper, section 6). A state machine without a clock: events and times go in, deadlines and due
 * actions come out.
 *
 *     RETRANSMIT   an initiation got no answer: again, 18 times, then give up until there is something to send
 *     KEEPALIVE    data came and nothing was sent for 10 s: an empty packet, so that the peer knows it was heard (passive keepalive)
 *     RENEW        data was sent and nothing came for 15 s: the peer has lost the session, make a new one
 *     WIPE         no new session for 540 s: overwrite the keys
 *     PERSISTENT   nothing passed for the configured interval: an empty packet, so that NATs on the way do not forget us
 *
 * An event sets a deadline that is already there no further into the future where the protocol says so, so that a stream of packets costs two
 * comparisons each. All deadlines of a device share one alarm, the earliest of them or earlier: who looks at it late loses nothing.
 */
import { HANDSHAKE_ATTEMPTS, KEEPALIVE_TIMEOUT, REKEY_JITTER, REKEY_TIMEOUT, WIPE_AFTER } from './constants.js';

/** Actions, and the places of their deadlines. */
export const Timer = { RETRANSMIT: 0, KEEPALIVE: 1, RENEW: 2, WIPE: 3, PERSISTENT: 4 } as const;
const TIMERS = 5;
const NEVER = Number.POSITIVE_INFINITY;

/** Earliest deadline of a device, in one word that all its peers' timers lower. */
export class Alarm {
  readonly #at = new Float64Array([NEVER]);

  get at(): number {
    return this.#at[0]!;
  }

  lower(time: number): void {
    if (time < this.#at[0]!) this.#at[0] = time;
  }

  /** Before all deadlines are looked at anew. */
  clear(): void {
    this.#at[0] = NEVER;
  }
}

export class Timers {
  readonly #at = new Float64Array(TIMERS).fill(NEVER);
  /** Initiations sent without an answer, beyond the first. */
  attempts = 0;
  /** Persistent keepalive, milliseconds; 0 = off. */
  interval = 0;
  /** More data came while a keepalive was already waiting. */
  #again = false;

  constructor(readonly alarm: Alarm) {}

  // -- events --

  dataSent(now: number, jitter: number): void {
    if (this.#at[Timer.RENEW] === NEVER) this.#set(Timer.RENEW, now + KEEPALIVE_TIMEOUT + REKEY_TIMEOUT + jitter);
  }

  dataReceived(now: number): void {
    if (this.#at[Timer.KEEPALIVE] === NEVER) this.#set(Timer.KEEPALIVE, now + KEEPALIVE_TIMEOUT);
    else this.#again = true;
  }

  /** Any message that proves who sent it, keepalives and handshakes included. */
  sent(now: number): void {
    this.#at[Timer.KEEPALIVE] = NEVER;
    this.#again = false;
    this.#passed(now);
  }

  received(now: number): void {
    this.#at[Timer.RENEW] = NEVER;
    this.#passed(now);
  }

  initiated(now: number, jitter: number): void {
    this.#set(Timer.RETRANSMIT, now + REKEY_TIMEOUT + jitter);
  }

  /** An initiation is wanted, too soon after the last one (at `last`). */
  initiateLater(last: number, jitter: number): void {
    if (this.#at[Timer.RETRANSMIT] === NEVER) this.initiated(last, jitter);
  }

  /** A session is there and both sides know it. */
  completed(): void {
    this.#at[Timer.RETRANSMIT] = NEVER;
    this.attempts = 0;
  }

  /** Keys were derived. */
  derived(now: number): void {
    this.#set(Timer.WIPE, now + WIPE_AFTER);
  }

  /** The peer is gone or the device is down. */
  stop(): void {
    this.#at.fill(NEVER);
    this.attempts = 0;
    this.#again = false;
  }

  setInterval(millis: number, now: number): void {
    this.interval = millis;
    if (millis === 0) this.#at[Timer.PERSISTENT] = NEVER;
    else this.#set(Timer.PERSISTENT, now + millis);
  }

  // -- deadlines --

  /** Bits (1 << Timer) of what is due; each is disarmed. Lowers the alarm to what is still to come. */
  due(now: number): number {
    let bits = 0;
    for (let timer = 0; timer < TIMERS; timer++) {
      const at = this.#at[timer]!;
      if (at === NEVER) continue;
      if (at <= now) {
        this.#at[timer] = NEVER;
        bits |= 1 << timer;
      } else {
        this.alarm.lower(at);
      }
    }
    return bits;
  }

  /** RETRANSMIT was due. True: try once more. False: give up; keys are still overwritten in time. */
  retry(now: number): boolean {
    if (this.attempts >= HANDSHAKE_ATTEMPTS) {
      this.#at[Timer.KEEPALIVE] = NEVER;
      if (this.#at[Timer.WIPE] === NEVER) this.#set(Timer.WIPE, now + WIPE_AFTER);
      return false;
    }
    this.attempts++;
    return true;
  }

  /** KEEPALIVE was due and has been sent: another one where more data came meanwhile. */
  keptAlive(now: number, again: boolean): void {
    if (again) this.#set(Timer.KEEPALIVE, now + KEEPALIVE_TIMEOUT);
  }

  /** Takes the mark of more data. */
  takeAgain(): boolean {
    const again = this.#again;
    this.#again = false;
    return again;
  }

  /** For tests and status: when that timer is due, or infinity. */
  deadline(timer: number): number {
    return this.#at[timer]!;
  }

  #passed(now: number): void {
    if (this.interval > 0) this.#set(Timer.PERSISTENT, now + this.interval);
  }

  #set(timer: number, at: number): void {
    this.#at[timer] = at;
    this.alarm.lower(at);
  }
}

/** 0 to REKEY_JITTER from one random byte pair. */
export function jitterOf(random: number): number {
  return ((random & 0xffff) * REKEY_JITTER) >>> 16;
}
