/**
 * The table's one lock: insert and delete hold it, lookups do not.
 *
 * A word in the mapped file, 0 free, 1 held, 2 held with sleepers (Drepper, "Futexes are tricky", mutex 2). Atomics.wait
 * refuses memory that is not a SharedArrayBuffer, so after a short spin the addon's futex sleeps. A process that was
 * killed while it held the lock leaves it held: whoever opens the table resets it, before any worker runs.
 */
export interface Futex {
  futexWait(words: Int32Array, index: number, expected: number, timeoutMs: number): void;
  futexWake(words: Int32Array, index: number): void;
}

const SPINS = 100;
/** A sleeper looks again after this long even if nobody woke it. */
const SLEEP_MS = 50;

export class Lock {
  readonly #words: Int32Array;
  readonly #at: number;
  readonly #futex: Futex;

  constructor(words: Int32Array, at: number, futex: Futex) {
    this.#words = words;
    this.#at = at;
    this.#futex = futex;
  }

  /** Only while nobody else uses the table. */
  reset(): void {
    Atomics.store(this.#words, this.#at, 0);
  }

  acquire(): void {
    const words = this.#words;
    const at = this.#at;
    for (let spin = 0; spin < SPINS; spin++) if (Atomics.compareExchange(words, at, 0, 1) === 0) return;
    while (Atomics.exchange(words, at, 2) !== 0) this.#futex.futexWait(words, at, 2, SLEEP_MS);
  }

  release(): void {
    if (Atomics.exchange(this.#words, this.#at, 0) === 2) this.#futex.futexWake(this.#words, this.#at);
  }
}
