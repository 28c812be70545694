import assert from 'node:assert/strict';
import { test } from 'node:test';
import { BITMAP_ADDRESSES, BITMAP_WORDS } from '../../src/contract/table-layout.js';
import { PortPool } from '../../src/flow/port-pool.js';
import fc from '../property.js';
import { poolPlan } from './fixture.js';

const P = 9;
const range = (first: number, last: number) => Array.from({ length: last - first + 1 }, (_, i) => first + i);

function pool(ports: readonly number[], addresses = [P]): PortPool {
  const made = new PortPool(new ArrayBuffer(BITMAP_ADDRESSES * BITMAP_WORDS * 4), 0);
  assert.ok(made.setPlan(poolPlan(ports, addresses)));
  return made;
}

test('claims and releases against a set: never one port twice, kept if free, refused only when none is left', () => {
  const ports = [...range(1000, 1050), ...range(2000, 2031), 65_535, 0, 512];
  const step = fc.record({
    proto: fc.nat(2),
    wanted: fc.constantFrom(...ports, 7, 40_000),
    release: fc.boolean(),
    parity: fc.boolean(),
  });
  fc.assert(
    fc.property(fc.array(step, { maxLength: 300 }), (steps) => {
      const p = pool(ports);
      const used = [new Set<number>(), new Set<number>(), new Set<number>()];
      for (const { proto, wanted, release, parity } of steps) {
        const mine = used[proto]!;
        if (release) {
          p.release(P, proto, wanted);
          mine.delete(wanted);
        } else {
          const got = p.claim(P, proto, wanted, parity);
          if (got < 0) assert.equal(mine.size, ports.length);
          else {
            assert.ok(ports.includes(got), `${got} is in the pool`);
            assert.ok(!mine.has(got), `REQ-3: ${got} is given once`);
            if (ports.includes(wanted) && !mine.has(wanted)) assert.equal(got, wanted, 'REQ-5: kept if free');
            else checkClass(ports, mine, wanted, got, parity);
            mine.add(got);
          }
        }
        assert.equal(p.freeCount(P, proto), ports.length - mine.size);
        assert.equal(p.usedCount(P, proto), mine.size);
      }
    }),
    { numRuns: 60 },
  );
});

/** REQ-4, 5: side of 1024 first, then parity, as long as there is a free one of that class. */
function checkClass(ports: readonly number[], used: Set<number>, wanted: number, got: number, parity: boolean): void {
  const free = ports.filter((port) => !used.has(port));
  const side = free.filter((port) => port < 1024 === wanted < 1024);
  const even = (list: number[]) => list.filter((port) => (port & 1) === (wanted & 1));
  const best = [parity ? even(side) : side, side, parity ? even(free) : free, free].find((list) => list.length > 0)!;
  assert.ok(best.includes(got), `${got} for ${wanted} among ${best.slice(0, 5)}…`);
}

test('REQ-23 the pool is usable to 100 %, in three separate pools of 30,000 ports', () => {
  const ports = range(20_000, 49_999);
  const p = pool(ports);
  for (let proto = 0; proto < 3; proto++) {
    const seen = new Set<number>();
    for (let n = 0; n < ports.length; n++) seen.add(p.claim(P, proto, 20_000, true));
    assert.equal(seen.size, ports.length);
    assert.ok(!seen.has(-1));
    assert.equal(p.claim(P, proto, 20_000, true), -1);
    p.release(P, proto, 33_333);
    assert.equal(p.claim(P, proto, 20_000, true), 33_333, 'a released port is found at once');
    assert.equal(p.claim(P, proto, 20_000, true), -1);
  }
});

test('REQ-23 ports are not given in an order that can be guessed: spread, and neighbours are rare', () => {
  const p = pool(range(20_000, 49_999));
  const got = Array.from({ length: 4000 }, () => p.claim(P, 1, 7, false));
  let near = 0;
  for (let i = 1; i < got.length; i++) if (Math.abs(got[i]! - got[i - 1]!) <= 64) near++;
  // Independent draws land within 64 of the last one 0.43 % of the time: 17 of 4000; 60 has a chance below 10^-12.
  assert.ok(near < 60, `${near} of 4000 claims lie within 64 ports of the one before`);
  const tenths = new Array<number>(10).fill(0);
  for (const port of got) tenths[Math.floor((port - 20_000) / 3000)]!++;
  for (const n of tenths) assert.ok(n > 280 && n < 520, `a tenth of the pool got ${n} of 4000`);
  const other = pool(range(20_000, 49_999));
  const again = Array.from({ length: 100 }, () => other.claim(P, 1, 7, false));
  assert.notDeepEqual(again, got.slice(0, 100));
});

test('two workers share the bitmaps: what one releases the other can claim, however often', () => {
  const buffer = new ArrayBuffer(BITMAP_ADDRESSES * BITMAP_WORDS * 4);
  const [one, two] = [new PortPool(buffer, 0), new PortPool(buffer, 0)];
  const plan = poolPlan([500, 501, 502]);
  one.setPlan(plan);
  two.setPlan(plan);
  for (let n = 0; n < 100; n++) {
    const ports = [one.claim(P, 0, 7, true), two.claim(P, 0, 7, true), one.claim(P, 0, 7, true)];
    assert.deepEqual(ports.sort(), [500, 501, 502], `round ${n}`);
    assert.equal(two.claim(P, 0, 7, true), -1);
    for (const port of ports) two.release(P, 0, port);
  }
});

test('a plan that takes ports away leaves those in use alone and gives none of them out', () => {
  const p = pool([500, 501]);
  assert.equal(p.claim(P, 0, 500, true), 500);
  p.setPlan(poolPlan([501, 502]));
  assert.ok(p.isUsed(P, 0, 500) && !p.inPool(P, 0, 500));
  assert.deepEqual([p.claim(P, 0, 500, false), p.claim(P, 0, 500, false)].sort(), [501, 502]);
  p.release(P, 0, 500);
  assert.equal(p.claim(P, 0, 500, false), -1);
});

test('sixteen addresses have bitmaps; the seventeenth is refused until one of the others is unused and not planned', () => {
  const addresses = range(1, 16);
  const p = pool([500], addresses);
  for (const address of addresses) assert.equal(p.claim(address, 0, 500, true), 500);
  assert.equal(p.setPlan(poolPlan([500], range(2, 17))), false, 'address 1 still has a port in use');
  p.release(1, 0, 500);
  assert.equal(p.setPlan(poolPlan([500], range(2, 17))), true);
  assert.equal(p.claim(17, 0, 500, true), 500);
});
