/** The replay window against a slow twin that remembers every counter. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ReplayWindow, WINDOW } from '../../../src/link/wireguard/replay.js';
import fc from '../../property.js';

class SlowWindow {
  readonly #seen = new Set<bigint>();
  #greatest = 0n;

  accept(counter: bigint): boolean {
    if (counter >= 2n ** 64n - 2n ** 13n - 1n) return false;
    if (counter + BigInt(WINDOW) < this.#greatest || this.#seen.has(counter)) return false;
    this.#seen.add(counter);
    if (counter > this.#greatest) this.#greatest = counter;
    return true;
  }
}

function both(counters: Iterable<bigint>): void {
  const fast = new ReplayWindow();
  const slow = new SlowWindow();
  for (const counter of counters) {
    const lo = Number(BigInt.asIntN(32, counter));
    const hi = Number(BigInt.asIntN(32, counter >> 32n));
    assert.equal(fast.accept(lo, hi), slow.accept(counter), `${counter}`);
  }
}

test('REQ-56 replay window: at least 8128 packets late is still in time', () => {
  assert.ok(WINDOW >= 8128);
  const window = new ReplayWindow();
  assert.ok(window.accept(100_000, 0));
  assert.ok(window.accept(100_000 - 8128, 0));
  assert.ok(!window.accept(100_000 - 8128, 0));
  assert.ok(!window.accept(100_000 - WINDOW - 1, 0));
});

test('REQ-56 replay window equals its slow twin: near each other, far apart, over the edge of 32 bits, up to the last counter', () => {
  const edges = [0n, 2n ** 32n, 2n ** 33n, 2n ** 53n, 2n ** 63n, 2n ** 64n - 2n ** 13n];
  const counter = fc.oneof(
    fc.tuple(fc.constantFrom(...edges), fc.integer({ min: -20_000, max: 20_000 })).map(([edge, d]) => {
      const value = edge + BigInt(d);
      return value < 0n ? 0n : value > 2n ** 64n - 1n ? 2n ** 64n - 1n : value;
    }),
    fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }),
  );
  fc.assert(
    fc.property(fc.array(counter, { maxLength: 300 }), (counters) => both(counters)),
    { numRuns: 300 },
  );
});

test('replay window: a stream with reordering, duplicates and gaps', () => {
  fc.assert(
    fc.property(
      fc.bigInt({ min: 0n, max: 2n ** 40n }),
      fc.array(fc.integer({ min: -9000, max: 600 }), { minLength: 500, maxLength: 1500 }),
      (start, steps) => {
        let at = start;
        const counters: bigint[] = [];
        for (const step of steps) {
          const next = at + BigInt(step);
          counters.push(next < 0n ? 0n : next);
          if (step > 0) at = next;
        }
        both(counters);
      },
    ),
    { numRuns: 100 },
  );
});
