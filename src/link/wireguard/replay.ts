/**
 * The replay window of a session (RFC 6479): a ring of bits, one for each counter, whose blocks are cleared when the window moves onto them, so
 * nothing is ever shifted.
 *
 * Counters are 64 bits in two words, because a bigint is an allocation. The ring has 8192 bits; the block that the greatest counter stands in
 * is partly ahead of it, so a packet may come 8160 packets late (REQ-56 asks for 8128). A kilobyte a session.
 */
import { REJECT_AFTER_HI, REJECT_AFTER_LO } from './constants.js';

const BLOCK_BITS = 32;
const BLOCKS = 256;
/** How many counters behind the greatest one are still judged one by one. */
export const WINDOW = (BLOCKS - 1) * BLOCK_BITS;

/** May a session use this counter at all (REJECT_AFTER_MESSAGES)? */
export function counterSpent(lo: number, hi: number): boolean {
  return hi >>> 0 === REJECT_AFTER_HI && lo >>> 0 >= REJECT_AFTER_LO;
}

export class ReplayWindow {
  readonly #ring = new Int32Array(BLOCKS);
  /** The greatest counter seen; 0 at first, which nobody notices: its bit is still clear. */
  #lo = 0;
  #hi = 0;

  /** True: the counter is new, and is used up now. Only for packets whose tag was right. */
  accept(lo: number, hi: number): boolean {
    if (counterSpent(lo, hi)) return false;
    const low = lo >>> 0;
    const high = hi >>> 0;
    const block = low >>> 5;
    if (high > this.#hi || (high === this.#hi && low > this.#lo)) {
      this.#advance(low, high);
    } else {
      const behind = (this.#hi - high) * 2 ** 32 + (this.#lo - low);
      if (behind > WINDOW) return false;
    }
    const at = block & (BLOCKS - 1);
    const bit = 1 << (low & 31);
    const word = this.#ring[at]!;
    if ((word & bit) !== 0) return false;
    this.#ring[at] = word | bit;
    return true;
  }

  /** Clears the blocks between the greatest counter's and the new one's. */
  #advance(low: number, high: number): void {
    // In blocks; exact up to 2^53, and what is more than the ring is all of it.
    const ahead = (high - this.#hi) * 2 ** 27 + ((low >>> 5) - (this.#lo >>> 5));
    const from = this.#lo >>> 5;
    for (let i = 1; i <= Math.min(ahead, BLOCKS); i++) this.#ring[(from + i) & (BLOCKS - 1)] = 0;
    this.#lo = low;
    this.#hi = high;
  }
}
