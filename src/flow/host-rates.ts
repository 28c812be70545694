/**
 * How fast inside hosts make new mappings (RFC 6888 REQ-4): a token bucket each, a second's worth deep.
 *
 * Bounded: RATE_SLOTS buckets, a host's place chosen by its address. Two hosts in one place share it by turns, each finding it
 * full again; that lets a few hosts of a large LAN exceed their rate, never refuses one that keeps to it. All workers count in
 * one table; whoever asks holds the flow table's lock.
 */
import { newHostRates, RATE_SLOTS, RateSlot } from '../contract/host-rates.js';

export class HostRates {
  readonly #slots: Int32Array;

  constructor(buffer: SharedArrayBuffer = newHostRates()) {
    this.#slots = new Int32Array(buffer);
  }

  /** May `host` make one more mapping now, at `rate` a second? Takes a token. */
  allow(host: number, rate: number, now: number): boolean {
    const slots = this.#slots;
    const at = ((Math.imul(host, 0x9e3779b1) >>> 20) & (RATE_SLOTS - 1)) * RateSlot.WORDS;
    const since = slots[at + RateSlot.SINCE]!;
    // Another worker may have looked at the clock a second earlier: that is no new second.
    if (slots[at + RateSlot.HOST] !== host || now > since || now < since - 1) {
      slots[at + RateSlot.HOST] = host;
      slots[at + RateSlot.TOKENS] = rate;
      slots[at + RateSlot.SINCE] = now;
    }
    if (slots[at + RateSlot.TOKENS]! <= 0) return false;
    slots[at + RateSlot.TOKENS]!--;
    return true;
  }
}
