/**
 * How fast inside hosts make new mappings (RFC 6888 REQ-4): a token bucket each, a second's worth deep.
 *
 * Bounded: SLOTS buckets, a host's place chosen by its address. Two hosts in one place share it by turns, each finding it
 * full again; that lets a few hosts of a large LAN exceed their rate, never refuses one that keeps to it. Each worker has its own.
 */
const SLOTS = 4096;
const WORDS = 3;
/** Words of a slot: address, tokens left, second of the last fill. */
const Slot = { HOST: 0, TOKENS: 1, SINCE: 2 } as const;

export class HostRates {
  readonly #slots = new Int32Array(SLOTS * WORDS);

  /** May `host` make one more mapping now, at `rate` a second? Takes a token. */
  allow(host: number, rate: number, now: number): boolean {
    const slots = this.#slots;
    const at = ((Math.imul(host, 0x9e3779b1) >>> 20) & (SLOTS - 1)) * WORDS;
    if (slots[at + Slot.HOST] !== host || now < slots[at + Slot.SINCE]!) {
      slots[at + Slot.HOST] = host;
      slots[at + Slot.TOKENS] = rate;
      slots[at + Slot.SINCE] = now;
    }
    if (now > slots[at + Slot.SINCE]!) {
      slots[at + Slot.TOKENS] = rate;
      slots[at + Slot.SINCE] = now;
    }
    if (slots[at + Slot.TOKENS]! <= 0) return false;
    slots[at + Slot.TOKENS]!--;
    return true;
  }
}
