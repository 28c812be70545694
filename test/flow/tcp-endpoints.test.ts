/**
 * Two model endpoints speak TCP over a link that loses, doubles and reorders; the state machine sits in the middle and sees
 * what the link delivers to it. Whatever happens on the way: when the endpoints have closed in order, the flow has too, and
 * while they are speaking it never counts as closed.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Kind, State } from '../../src/contract/table-layout.js';
import { tcpBirth, tcpUpdate } from '../../src/flow/tcp-state.js';
import fc from '../property.js';
import { xorshift } from './fixture.js';

const S = 2;
const A = 0x10;
const F = 1;

interface Segment {
  side: 0 | 1;
  flags: number;
  seq: number;
  ack: number;
  payload: number;
}

/** Go-back-N sender and in-order receiver: simple, but a correct TCP on the wire. */
class Endpoint {
  /** Next to send, oldest not acknowledged, next expected: all relative to 2^32. */
  next: number;
  una: number;
  expected = 0;
  heard = false;
  finSent = false;
  finSeen = false;
  left: number;
  readonly isn: number;
  readonly side: 0 | 1;

  constructor(side: 0 | 1, isn: number, bytes: number) {
    this.side = side;
    this.isn = isn;
    this.next = isn;
    this.una = isn;
    this.left = bytes;
  }

  get opened(): boolean {
    return this.heard && this.una !== this.isn;
  }

  get finished(): boolean {
    return this.finSeen && this.finSent && this.una === this.next;
  }

  /** What it would send now; `again`: from the oldest unacknowledged byte on. */
  speak(again: boolean): Segment | undefined {
    const { side, isn } = this;
    const ack = this.heard ? A : 0;
    if (this.next === isn || (again && this.una === isn)) {
      if (side === 1 && !this.heard) return undefined;
      this.next = (isn + 1) | 0;
      return { side, flags: S | ack, seq: isn, ack: this.expected, payload: 0 };
    }
    if (!this.opened) return undefined;
    if (again && this.una !== this.next) {
      // Everything that is open, in one segment.
      const open = (this.next - this.una) | 0;
      const fin = this.finSent ? 1 : 0;
      return { side, flags: A | (fin ? F : 0), seq: this.una, ack: this.expected, payload: open - fin };
    }
    const payload = Math.min(this.left, 700, 3000 - ((this.next - this.una) | 0));
    const seq = this.next;
    if (payload > 0) {
      this.left -= payload;
      this.next = (this.next + payload) | 0;
      return { side, flags: A, seq, ack: this.expected, payload };
    }
    if (this.left === 0 && !this.finSent) {
      this.finSent = true;
      this.next = (this.next + 1) | 0;
      return { side, flags: A | F, seq, ack: this.expected, payload: 0 };
    }
    return this.acknowledge();
  }

  acknowledge(): Segment {
    return { side: this.side, flags: A, seq: this.next, ack: this.expected, payload: 0 };
  }

  hear(s: Segment): Segment | undefined {
    if ((s.flags & A) !== 0 && ((s.ack - this.una) | 0) > 0 && ((s.ack - this.next) | 0) <= 0) this.una = s.ack;
    if ((s.flags & S) !== 0 && !this.heard) {
      this.heard = true;
      this.expected = (s.seq + 1) | 0;
      return this.side === 0 ? this.acknowledge() : undefined;
    }
    if (!this.heard) return undefined;
    const end = (s.seq + s.payload + (s.flags & F)) | 0;
    if (((s.seq - this.expected) | 0) <= 0 && ((end - this.expected) | 0) > 0) {
      this.expected = end;
      if ((s.flags & F) !== 0) this.finSeen = true;
    }
    return s.payload > 0 || (s.flags & (F | S)) !== 0 ? this.acknowledge() : undefined;
  }
}

/** Runs one connection. Returns the state of the flow when both endpoints have finished. */
function connection(seed: number, loss: number): number {
  const random = xorshift(seed);
  const chance = (percent: number) => random() % 100 < percent;
  const ends = [
    new Endpoint(0, random() | 0, random() % 4000),
    new Endpoint(1, random() | 0, random() % 4000),
  ] as const;
  const t = new Int32Array(5);
  let kind = 6 | tcpBirth(S);
  /** On their way to the middle, and from the middle to the receiver: each may be overtaken or lost. */
  const wires: [Segment[], Segment[]] = [[], []];
  let quiet = 0;
  for (let step = 0; step < 20_000; step++) {
    const state = (kind >>> Kind.STATE_SHIFT) & Kind.STATE_MASK;
    if (ends[0].finished && ends[1].finished && wires[0].length + wires[1].length === 0) return state;
    if (state === State.TIME_WAIT) assert.ok(ends[0].finSent && ends[1].finSent, 'closed only after both have said so');
    assert.notEqual(state, State.CLOSE, 'nobody sent a RST');
    if (ends[0].opened && ends[1].opened && !ends[0].finSent && !ends[1].finSent && quiet === 0)
      assert.ok(state === State.SYN_RECV || state === State.ESTABLISHED, `state ${state} while both speak`);

    const wire = wires[random() & 1]!;
    if (wire.length > 0 && !chance(20)) {
      const [s] = wire.splice(chance(20) ? random() % wire.length : 0, 1) as [Segment];
      if (chance(loss)) continue;
      if (wire === wires[0]) {
        kind = tcpUpdate(kind, t, 0, s.side, s.seq, s.ack, 8000, s.flags, s.payload, -1);
        wires[1].push(s);
        if (chance(5)) wires[1].push(s);
        continue;
      }
      const answer = ends[s.side ^ 1]!.hear(s);
      if (answer) wires[0].push(answer);
    } else {
      quiet = wires[0].length + wires[1].length === 0 ? 1 : 0;
      const said = ends[random() & 1]!.speak(quiet === 1 || chance(5));
      if (said && wires[0].length < 8) wires[0].push(said);
    }
  }
  assert.fail('the endpoints did not finish');
}

test('REQ-19 over a perfect link every connection ends in TIME_WAIT', () => {
  for (let seed = 1; seed <= 100; seed++) assert.equal(connection(seed, 0), State.TIME_WAIT, `seed ${seed}`);
});

test('REQ-19 over a link that loses a fifth, doubles and reorders, too', () => {
  fc.assert(
    fc.property(fc.integer({ min: 1 }), fc.integer({ min: 1, max: 20 }), (seed, loss) => {
      assert.equal(connection(seed, loss), State.TIME_WAIT);
    }),
    { numRuns: 400 },
  );
});
