/**
 * Flows that could give way, in the order in which they came to that: closed TCP flows, or flows of strangers that nobody has
 * answered yet.
 *
 * A fully closed flow keeps its row and port for the transitory time, but only while there is room: when a pool (or the
 * table) is nearly used up, the oldest closed ones go first (REQ-12). All closed flows have the same lifetime, so a ring
 * is their order. It is a hint: an entry whose row has a new life (its generation differs, or it is wanted by now) is
 * passed over; where the ring is full its oldest entry is forgotten and that flow simply ends by time.
 */
export class ClosedQueue {
  readonly #ring: Int32Array;
  readonly #slots: number;
  #head = 0;
  #length = 0;

  constructor(slots: number) {
    this.#slots = slots;
    this.#ring = new Int32Array(slots * 2);
  }

  push(row: number, generation: number): void {
    if (this.#length === this.#slots) this.#drop();
    const at = ((this.#head + this.#length) % this.#slots) * 2;
    this.#ring[at] = row;
    this.#ring[at + 1] = generation;
    this.#length++;
  }

  get length(): number {
    return this.#length;
  }

  /** Row of the oldest entry; only when length > 0. */
  row(): number {
    return this.#ring[this.#head * 2]!;
  }

  generation(): number {
    return this.#ring[this.#head * 2 + 1]!;
  }

  shift(): void {
    this.#drop();
  }

  #drop(): void {
    this.#head = this.#head + 1 === this.#slots ? 0 : this.#head + 1;
    this.#length--;
  }
}
