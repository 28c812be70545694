/**
 * Storm control: token buckets for broadcast, multicast and unknown unicast, each way. What a loop or a flood may cost both sites is bounded by them, whatever
 * else fails.
 *
 * A bucket holds one second of its rate. Frames are counted before they are copied, a super-frame as the frames that it will be cut into. Each way has
 * buckets of its own, so that a storm from one side does not silence the other.
 */

/** Kinds of frames, and the two ways. */
export const Storm = { BROADCAST: 0, MULTICAST: 1, UNKNOWN: 2 } as const;
const KINDS = 3;

/** Frames a second; 0 = as many as come. */
export interface StormRates {
  readonly broadcast?: number;
  readonly multicast?: number;
  readonly unknown?: number;
}

export class StormControl {
  readonly #rates: Float64Array;
  readonly #tokens: Float64Array;
  readonly #filled: Float64Array;

  constructor(rates: StormRates = {}) {
    this.#rates = Float64Array.of(rates.broadcast ?? 1000, rates.multicast ?? 10_000, rates.unknown ?? 10_000);
    this.#tokens = Float64Array.of(...this.#rates, ...this.#rates);
    this.#filled = new Float64Array(2 * KINDS).fill(Number.NEGATIVE_INFINITY);
  }

  /** May `frames` frames of this kind pass? `way`: 0 into the tunnel, 1 out of it. Milliseconds. */
  admit(kind: number, way: 0 | 1, frames: number, now: number): boolean {
    const rate = this.#rates[kind]!;
    if (rate === 0) return true;
    const bucket = way * KINDS + kind;
    const elapsed = now - this.#filled[bucket]!;
    // A clock that went back fills nothing.
    if (elapsed > 0) {
      this.#tokens[bucket] = Math.min(rate, this.#tokens[bucket]! + (elapsed * rate) / 1000);
      this.#filled[bucket] = now;
    }
    // A super-frame of more than a second's worth would never pass: it takes the whole bucket.
    const price = Math.min(frames, rate);
    if (this.#tokens[bucket]! < price) return false;
    this.#tokens[bucket]! -= price;
    return true;
  }
}
