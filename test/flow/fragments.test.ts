import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Fragments } from '../../src/flow/fragments.js';
import { hashTables } from '../../src/flow/hash.js';
import fc from '../property.js';
import { xorshift } from './fixture.js';

const hash = hashTables(11, 22);
const SLOTS = 512;
const BYTES = 1 << 20;

interface Held {
  id: number;
  bytes: Uint8Array;
  since: number;
}

/** All waiting fragments of a datagram, oldest first, taken out of the store. */
function takeAll(store: Fragments, id: number): Uint8Array[] {
  const out: Uint8Array[] = [];
  for (let at = store.findHeld(1, 2, id, 0); at >= 0; at = store.findHeld(1, 2, id, at + 1)) {
    const into = new Uint8Array(store.heldLength(at) + 4).fill(0xee);
    store.take(at, into, 2);
    assert.deepEqual(
      [into[0], into[1], into.at(-1), into.at(-2)],
      [0xee, 0xee, 0xee, 0xee],
      'nothing beside it is written',
    );
    out.push(into.slice(2, -2));
  }
  return out;
}

const step = fc.oneof(
  {
    weight: 6,
    arbitrary: fc.record({
      kind: fc.constant('hold' as const),
      id: fc.nat(5),
      size: fc.constantFrom(1, 24, 1480, 9000, 65_535, 40_001),
    }),
  },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant('take' as const), id: fc.nat(5), size: fc.constant(0) }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('sweep' as const), id: fc.nat(5), size: fc.constant(0) }) },
);

test('REQ-15 what waits comes back whole and in order, or was evicted oldest first: a list is the model, wrap-around included', () => {
  fc.assert(
    fc.property(fc.array(step, { maxLength: 150 }), fc.integer(), (steps, seed) => {
      const store = new Fragments(hash);
      const random = xorshift(seed);
      let model: Held[] = [];
      let now = 100;
      for (const { kind, id, size } of steps) {
        now++;
        if (kind === 'hold') {
          const bytes = new Uint8Array(size).fill(random() & 255);
          bytes[0] = random() & 255;
          bytes[size - 1] = random() & 255;
          store.hold(1, 2, id, bytes, 0, size, now);
          model.push({ id, bytes, since: now });
        } else if (kind === 'sweep') {
          now += id * 10;
          const before = store.expired;
          store.sweep(now, 30);
          const old = model.filter((held) => now - held.since > 30).length;
          model = model.filter((held) => now - held.since <= 30);
          assert.ok(store.expired - before <= old);
        } else {
          const got = takeAll(store, id);
          // Eviction takes the oldest first: what is left of this datagram is the end of the model's list.
          const want = model.filter((held) => held.id === id).map((held) => held.bytes);
          assert.deepEqual(got, want.slice(want.length - got.length));
          model = model.filter((held) => held.id !== id);
        }
        assert.ok(store.held <= SLOTS);
      }
      const bytes = model.reduce((sum, held) => sum + held.bytes.length, 0);
      // With room for all (a wrap wastes less than one fragment), nothing was evicted.
      if (bytes < BYTES - 2 * 65_535 && store.evicted === 0) {
        for (let id = 0; id <= 5; id++) {
          const want = model.filter((held) => held.id === id).map((held) => held.bytes);
          assert.deepEqual(takeAll(store, id), want);
        }
      }
    }),
    { numRuns: 40 },
  );
});

test('a store that is full of slots or of bytes drops the oldest, and only as many as it needs', () => {
  const store = new Fragments(hash);
  for (let n = 0; n < SLOTS + 10; n++) store.hold(1, 2, n, new Uint8Array(8), 0, 8, 100);
  assert.deepEqual([store.held, store.evicted], [SLOTS, 10]);
  assert.equal(store.findHeld(1, 2, 9, 0), -1);
  assert.ok(store.findHeld(1, 2, 10, 0) >= 0);
  const large = new Fragments(hash);
  for (let n = 0; n < 20; n++) large.hold(1, 2, n, new Uint8Array(60_000), 0, 60_000, 100);
  assert.equal(large.held + large.evicted, 20);
  assert.ok(large.held >= 16, `${large.held} of 60,000 bytes fit into a megabyte`);
});

test('taken fragments leave their room to the next ones, however long it goes on', () => {
  const store = new Fragments(hash);
  for (let n = 0; n < 5000; n++) {
    const bytes = new Uint8Array(1480).fill(n & 255);
    store.hold(1, 2, n, bytes, 0, bytes.length, 100);
    store.hold(1, 2, n + 1_000_000, bytes, 0, 700, 100);
    assert.deepEqual(takeAll(store, n), [bytes]);
    assert.deepEqual(takeAll(store, n + 1_000_000), [bytes.slice(0, 700)]);
    store.sweep(100, 30);
  }
  assert.deepEqual([store.held, store.evicted, store.expired], [0, 0, 0]);
});

test('REQ-15 a flood of 65,000 ids without a first fragment leaves known datagrams known', () => {
  const store = new Fragments(hash);
  for (let id = 0; id < 100; id++) store.remember(3, 4, id, id * 2, 7, 1, 130, id, 1480);
  for (let id = 0; id < 65_000; id++) store.hold(5, 6, id, new Uint8Array(100), 0, 100, 100);
  for (let id = 0; id < 100; id++) {
    assert.ok(store.lookup(3, 4, id, 130));
    assert.deepEqual([store.handle, store.generation, store.verdict], [id * 2, 7, 1]);
    assert.ok(!store.lookup(3, 4, id, 131), 'forgotten in time');
  }
});

test('of known datagrams the oldest of a set gives way, and a datagram that is decided again has its last decision', () => {
  const store = new Fragments(hash);
  for (let id = 0; id < 20_000; id++) store.remember(3, 4, id, id, 1, 1, 100 + id, id, 1480);
  store.remember(3, 4, 19_999, -1, 0, 9, 30_000, 0, 1480);
  assert.ok(store.lookup(3, 4, 19_999, 0));
  assert.deepEqual([store.handle, store.verdict], [-1, 9]);
  let known = 0;
  for (let id = 0; id < 20_000; id++) if (store.lookup(3, 4, id, 0)) known++;
  assert.ok(known > 3900 && known <= 4096, `${known} of 4,096`);
  for (let id = 19_900; id < 20_000; id++) assert.ok(store.lookup(3, 4, id, 0), `young ${id}`);
});

test('what covers a datagram without overlap is taken in any order, anything else refused: a bitmap is the model', () => {
  fc.assert(
    fc.property(
      fc.array(fc.tuple(fc.nat(40), fc.integer({ min: 1, max: 6 }), fc.boolean()), { maxLength: 40 }),
      (pieces) => {
        const store = new Fragments(hash);
        store.remember(1, 2, 3, 0, 1, 1, 100, 0, 16);
        let total = 0;
        const covered = new Set([0, 1]);
        for (const [first, length, last] of pieces) {
          const units = Array.from({ length }, (_, i) => first + i);
          const clash = units.some((unit) => covered.has(unit));
          const beyond = total > 0 && (last || first + length > total);
          const early = last && Math.max(...covered) >= first;
          const taken = store.cover(first * 8, length * 8, last);
          assert.equal(taken, !clash && !beyond && !early);
          if (!taken) continue;
          if (last) total = first + length;
          for (const unit of units) covered.add(unit);
          const complete = total > 0 && covered.size === total;
          assert.equal(store.complete(), complete);
        }
      },
    ),
    { numRuns: 2000 },
  );
});
