/** The forwarding table, the table of remotes and the chains under both, against Maps that read like the rules. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Fdb, formatMac, LOCAL, parseMac, UNKNOWN } from '../../../src/link/vxlan/fdb.js';
import { Chains, hashMac, hashTables, NONE, systemRandom } from '../../../src/link/vxlan/hash.js';
import { MAX_REMOTES, Remotes } from '../../../src/link/vxlan/remotes.js';
import fc from '../../property.js';
import { endpoint, seeded, seededBytes } from './frames.js';

/** The rules of fdb.ts, written down without columns. */
class Twin {
  readonly rows = new Map<number, { place: number; fixed: boolean; seen: number }>();
  moves = 0;
  refused = 0;

  constructor(
    readonly capacity: number,
    readonly perPlace: number,
    readonly age: number,
  ) {}

  #old(mac: number, now: number): boolean {
    const row = this.rows.get(mac)!;
    return !row.fixed && now - row.seen >= this.age;
  }

  #room(place: number): boolean {
    return [...this.rows.values()].filter((row) => !row.fixed && row.place === place).length < this.perPlace;
  }

  find(mac: number, now: number): number {
    return this.rows.has(mac) && !this.#old(mac, now) ? this.rows.get(mac)!.place : UNKNOWN;
  }

  learn(mac: number, place: number, now: number): boolean {
    const row = this.rows.get(mac);
    if (row === undefined) {
      if (this.#room(place) && this.rows.size < this.capacity) this.rows.set(mac, { place, fixed: false, seen: now });
      else this.refused++;
      return true;
    }
    if (row.place === place) {
      row.seen = now;
      return true;
    }
    if (row.fixed) return false;
    if (!this.#room(place)) {
      this.refused++;
      return true;
    }
    if (!this.#old(mac, now)) this.moves++;
    this.rows.set(mac, { place, fixed: false, seen: now });
    return true;
  }

  setStatic(mac: number, place: number): boolean {
    this.rows.delete(mac);
    if (this.rows.size === this.capacity) {
      this.refused++;
      return false;
    }
    this.rows.set(mac, { place, fixed: true, seen: 0 });
    return true;
  }

  sweep(now: number): void {
    for (const mac of [...this.rows.keys()]) if (this.#old(mac, now)) this.rows.delete(mac);
  }
}

test('REQ-53 the table does what its rules say, for any history', () => {
  // Mostly few places, so that their shares fill; some beyond the first eight, so that the counts grow.
  const few = { weight: 9, arbitrary: fc.integer({ min: LOCAL, max: 1 }) };
  const place = fc.oneof(few, { weight: 1, arbitrary: fc.integer({ min: 2, max: 12 }) });
  const mac = fc.nat(15);
  const step = fc.oneof(
    { weight: 6, arbitrary: fc.tuple(fc.constant('learn' as const), mac, place) },
    { weight: 1, arbitrary: fc.tuple(fc.constant('static' as const), mac, place) },
    { weight: 1, arbitrary: fc.tuple(fc.constant('remove' as const), mac, place) },
    { weight: 1, arbitrary: fc.tuple(fc.constant('place' as const), mac, place) },
    { weight: 2, arbitrary: fc.tuple(fc.constant('wait' as const), fc.nat(40), place) },
    { weight: 1, arbitrary: fc.tuple(fc.constant('sweep' as const), mac, place) },
  );
  fc.assert(
    fc.property(fc.array(step, { maxLength: 80, size: 'max' }), (steps) => {
      const options = { capacity: 10, perPlace: 4, age: 50 };
      const fdb = new Fdb({ ...options, random: seededBytes(3) });
      const twin = new Twin(options.capacity, options.perPlace, options.age);
      let now = 0;
      for (const [what, n, at] of steps) {
        const [hi, lo] = [0x200, n - 8];
        if (what === 'learn') assert.equal(fdb.learn(hi, lo, at, now), twin.learn(n, at, now));
        else if (what === 'static') assert.equal(fdb.setStatic(hi, lo, at), twin.setStatic(n, at));
        else if (what === 'remove') assert.equal(fdb.remove(hi, lo), twin.rows.delete(n));
        else if (what === 'wait') now += n;
        else if (what === 'place') {
          fdb.removePlace(at);
          for (const [each, row] of twin.rows) if (row.place === at) twin.rows.delete(each);
        } else {
          fdb.sweep(10, now);
          twin.sweep(now);
        }
        for (let each = 0; each < 16; each++) {
          assert.equal(fdb.find(0x200, each - 8, now), twin.find(each, now));
          const fixed = twin.rows.get(each)?.fixed ? twin.rows.get(each)!.place : null;
          assert.equal(fdb.agrees(0x200, each - 8, at), fixed === null || fixed === at);
        }
        assert.equal(fdb.size, twin.rows.size);
        assert.equal(fdb.moves, twin.moves);
        assert.equal(fdb.refused, twin.refused);
      }
      const live = [...fdb.rows(now)].map((row) => [row.lo + 8, row.place, row.fixed]);
      const wanted = [...twin.rows].filter(([each]) => twin.find(each, now) !== UNKNOWN);
      assert.deepEqual(
        live.sort((a, b) => Number(a[0]) - Number(b[0])),
        wanted.map(([each, row]) => [each, row.place, row.fixed]).sort((a, b) => Number(a[0]) - Number(b[0])),
      );
    }),
    { numRuns: 500 },
  );
});

test('REQ-53 a learned address is forgotten after its age, a static one never', () => {
  const fdb = new Fdb({ age: 300_000 });
  fdb.learn(0x200, 1, 3, 1000);
  fdb.setStatic(0x200, 2, 4);
  assert.equal(fdb.find(0x200, 1, 300_999), 3);
  assert.equal(fdb.find(0x200, 1, 301_000), UNKNOWN);
  fdb.learn(0x200, 1, 3, 200_000);
  assert.equal(fdb.find(0x200, 1, 499_999), 3);
  assert.equal(fdb.find(0x200, 2, 1e12), 4);
  for (let i = 0; i < 60; i++) fdb.sweep(Math.ceil(fdb.capacity / 60), 1e12);
  assert.deepEqual([fdb.size, fdb.aged], [1, 1]);
});

test('a flood of made-up addresses fills its own share and evicts nobody', () => {
  const fdb = new Fdb({ capacity: 1000, perPlace: 500 });
  fdb.setStatic(0x200, -1, 0);
  for (let i = 0; i < 100; i++) fdb.learn(0x300 << 1, i, 1, 0);
  for (let i = 0; i < 100_000; i++) fdb.learn(0x200, i * 977, 0, 0);
  assert.equal(fdb.size, 601);
  assert.equal(fdb.refused, 99_500);
  for (let i = 0; i < 100; i++) assert.equal(fdb.find(0x300 << 1, i, 0), 1);
  assert.ok(fdb.learn(0x400, 5, 2, 0));
  assert.equal(fdb.find(0x400, 5, 0), 2);
});

test('moves between TAP and tunnel are counted by themselves', () => {
  const fdb = new Fdb();
  for (const place of [0, 1, LOCAL, LOCAL, 1]) fdb.learn(0x200, 1, place, 0);
  assert.deepEqual([fdb.moves, fdb.crossings], [3, 2]);
});

test('chains: what goes in comes out, rows are given out again', () => {
  const chains = new Chains(100);
  const random = seeded(1);
  const live = new Map<number, number>();
  for (let i = 0; i < 20_000; i++) {
    if (random() < 0.5) {
      const hash = (random() * 50) | 0;
      const row = chains.insert(hash);
      assert.equal(row === NONE, live.size === 100);
      if (row !== NONE) {
        assert.ok(!live.has(row));
        live.set(row, hash);
      }
    } else if (live.size > 0) {
      const [row, hash] = [...live][Math.floor(random() * live.size)]!;
      chains.remove(hash, row);
      live.delete(row);
    }
    assert.equal(chains.size, live.size);
  }
  for (const [row, hash] of live) {
    let at = chains.first(hash);
    while (at !== row && at !== NONE) at = chains.next(at);
    assert.equal(at, row);
  }
});

test('addresses that a stranger chose without the key do not share a chain', () => {
  const t = hashTables(6, systemRandom);
  const loads = new Int32Array(1024);
  for (let i = 0; i < 4096; i++) loads[hashMac(t, 0x200, i << 10) & 1023]! += 1;
  assert.ok(Math.max(...loads) < 24, `${Math.max(...loads)}`);
});

test('MAC addresses are written and read', () => {
  fc.assert(
    fc.property(fc.integer({ min: 0, max: 0xffff }), fc.integer(), (hi, lo) => {
      const text = formatMac(hi, lo);
      assert.match(text, /^[0-9a-f]{2}(:[0-9a-f]{2}){5}$/);
      assert.deepEqual(parseMac(text), { hi, lo });
    }),
  );
  assert.equal(formatMac(0x0200, -1), '02:00:ff:ff:ff:ff');
  for (const bad of ['', '02:00:00:00:00', '02:00:00:00:00:0g', '020000000001', '2:0:0:0:0:1'])
    assert.equal(parseMac(bad), null);
});

test('remotes are found by their address, whatever the source port, also as IPv4-mapped IPv6', () => {
  const remotes = new Remotes();
  const a = remotes.add(endpoint('192.0.2.1'));
  const b = remotes.add(endpoint('2001:db8::1'), false);
  assert.equal(remotes.find(endpoint('192.0.2.1', 60_000), 0), a);
  assert.equal(remotes.find(endpoint('::ffff:192.0.2.1', 60_000), 0), a);
  assert.equal(remotes.find(endpoint('2001:db8::1', 1), 0), b);
  assert.equal(remotes.find(endpoint('192.0.2.2'), 0), NONE);
  assert.equal(remotes.find(endpoint('::192.0.2.1'), 0), NONE);
  assert.deepEqual([...remotes.floodList.subarray(0, remotes.floods)], [a]);
  assert.equal(remotes.add(endpoint('2001:db8::1', 8472)), b);
  assert.equal(remotes.floods, 2);
  assert.ok(remotes.remove(a));
  assert.ok(!remotes.remove(a));
  assert.equal(remotes.find(endpoint('192.0.2.1'), 0), NONE);
  assert.deepEqual([...remotes.floodList.subarray(0, remotes.floods)], [b]);
});

test('remotes are bounded', () => {
  const remotes = new Remotes();
  const at = (i: number) => endpoint(`10.0.${i >> 8}.${i & 255}`);
  for (let i = 0; i < MAX_REMOTES; i++) assert.ok(remotes.add(at(i)) >= 0);
  assert.equal(remotes.add(at(MAX_REMOTES)), NONE);
  assert.equal(remotes.size, MAX_REMOTES);
});

test('rows of one chain are told apart by the whole key', () => {
  const oneChain = (bytes: Uint8Array) => bytes.fill(0);
  const remotes = new Remotes(oneChain);
  const fdb = new Fdb({ random: oneChain });
  const texts = ['2001:db8::1', '2001:db8:1::1', '2001:db8::1:0:0:1', '2001:db8::1:0:1', '192.0.2.1', '192.0.2.2'];
  const ids = texts.map((text) => remotes.add(endpoint(text)));
  assert.equal(new Set(ids).size, texts.length);
  for (const [i, text] of texts.entries()) assert.equal(remotes.find(endpoint(text), 0), ids[i]);
  const macs = [
    [0x200, 1],
    [0x200, 2],
    [0x400, 1],
  ] as const;
  for (const [i, [hi, lo]] of macs.entries()) fdb.learn(hi, lo, i, 0);
  for (const [i, [hi, lo]] of macs.entries()) assert.equal(fdb.find(hi, lo, 0), i);
});
