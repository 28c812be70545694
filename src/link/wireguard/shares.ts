/**
 * Who gets how much of a processor that cannot take all: a fair share for each peer of a socket.
 *
 * Theory of operation. The kernel queues datagrams of all peers of a link in one socket, first come, first served. As long as that queue is short, there is enough for
 * everybody and nothing is counted. Once it is half full (PRESSED_ON) it is about to overflow, and what overflows is everybody's in proportion to what was sent: of one who
 * wants a tenth of what a flooder sends, nine tenths are lost, though he wants less than half of the processor. So, while the queue is long, a look at the
 * socket (a turn) takes more than it works on: up to DRAINS batches are read, and what a peer sends above its share is dropped before the cipher, which is where the time
 * goes. The rest of the queue is shorter by that, and nothing of the others is lost.
 *
 * A turn works on BUDGET bytes. The share is the level to which that budget fills what was asked for in the last turn (max-min fairness): who asks for less
 * gets all of it, the others get equally much. A single sender has no limit, however long the queue.
 *
 * Who is who is told before anything is authenticated, by the session's index and the endpoint that the peer is known at: a stranger who writes a peer's index into
 * his datagrams does not use up its share. All strangers, handshakes and what has no session are one sender more (bucket 0); a peer that roams belongs to it for one datagram.
 *
 * Limits: who forges the peer's address as well is taken for it. Reading costs about a tenth of working on it. A flood above some ten times of what the processor can carry overflows the queue all the same.
 */

/** Bytes a turn works on: one batch of the socket's. */
const BUDGET = 512 * 1024;
/** Batches a turn may read. */
export const DRAINS = 16;
/** How full the socket's queue is, in 1024ths. */
const PRESSED_ON = 512;
const PRESSED_OFF = 64;
/** What a datagram costs beside its bytes. */
const DATAGRAM = 256;
const FIRST_BUCKETS = 16;
/** Rounds of filling: each finds at least one bucket more that asks for less than the level. */
const ROUNDS = 8;

export class Shares {
  /** Only then is anything counted. */
  pressed = false;
  /** Bytes asked for, by bucket (peer id + 1), and taken of those: in this turn. */
  #asked = new Float64Array(FIRST_BUCKETS);
  #taken = new Float64Array(FIRST_BUCKETS);
  /** Buckets that asked, and how many they are. */
  #who = new Int32Array(FIRST_BUCKETS);
  #count = 0;
  #spent = 0;
  #level = Number.POSITIVE_INFINITY;

  /** How full the queue is now, in 1024ths. */
  look(full: number): void {
    const pressed = full > (this.pressed ? PRESSED_OFF : PRESSED_ON);
    if (pressed && !this.pressed) this.#forget();
    this.pressed = pressed;
  }

  /** A look at the socket begins: the level for it follows from the last one. */
  begin(): void {
    if (!this.pressed) return;
    this.#level = this.#fill();
    this.#clear();
  }

  /** Is there something left to work on in this turn? */
  get more(): boolean {
    return this.pressed && this.#spent < BUDGET;
  }

  /** A datagram of `bytes` by peer `peer`, −1 = a stranger. False: it is above the share. */
  take(peer: number, bytes: number): boolean {
    const bucket = peer + 1;
    if (bucket >= this.#asked.length) this.#grow(bucket);
    const price = bytes + DATAGRAM;
    if (this.#asked[bucket] === 0) this.#who[this.#count++] = bucket;
    this.#asked[bucket]! += price;
    if (this.#taken[bucket]! + price > this.#level) return false;
    this.#taken[bucket]! += price;
    this.#spent += price;
    return true;
  }

  /** Max-min: the level at which BUDGET is used up by what was asked for. */
  #fill(): number {
    if (this.#count < 2) return Number.POSITIVE_INFINITY;
    let level = BUDGET / this.#count;
    for (let round = 0; round < ROUNDS; round++) {
      let small = 0;
      let large = 0;
      for (let n = 0; n < this.#count; n++) {
        const asked = this.#asked[this.#who[n]!]!;
        if (asked <= level) small += asked;
        else large++;
      }
      if (large === 0) return Number.POSITIVE_INFINITY;
      const next = (BUDGET - small) / large;
      if (next <= level) break;
      level = next;
    }
    return level;
  }

  #clear(): void {
    for (let n = 0; n < this.#count; n++) {
      this.#asked[this.#who[n]!] = 0;
      this.#taken[this.#who[n]!] = 0;
    }
    this.#count = 0;
    this.#spent = 0;
  }

  #forget(): void {
    this.#clear();
    this.#level = Number.POSITIVE_INFINITY;
  }

  /** Peers are few and come seldom. */
  #grow(bucket: number): void {
    const size = Math.max(2 * this.#asked.length, bucket + 1);
    const wider = (old: Float64Array) => {
      const fresh = new Float64Array(size);
      fresh.set(old);
      return fresh;
    };
    this.#asked = wider(this.#asked);
    this.#taken = wider(this.#taken);
    const who = new Int32Array(size);
    who.set(this.#who);
    this.#who = who;
  }
}
