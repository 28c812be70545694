import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Header, Words } from '../../src/contract/table-layout.js';
import fc from '../property.js';
import { newTable, plainFlow, xorshift } from './fixture.js';
import { checkTable } from './invariants.js';

/** Few addresses and ports, so that a random sequence meets its own flows again. */
const tuple = fc.record({
  src: fc.integer({ min: 1, max: 4 }),
  dst: fc.integer({ min: 5, max: 8 }),
  ports: fc.integer({ min: 0, max: 5 }).map((n) => (n << 16) | 7),
  proto: fc.constantFrom(6, 17, 1, 47),
});
const step = fc.oneof(
  { weight: 3, arbitrary: fc.record({ kind: fc.constant('insert' as const), t: tuple }) },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant('remove' as const), t: tuple }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('find' as const), t: tuple }) },
);

test('insert, find and remove do what a Map does, and the table is consistent after every sequence', () => {
  fc.assert(
    fc.property(fc.array(step, { maxLength: 200 }), (steps) => {
      const table = newTable();
      const model = new Map<string, number>();
      for (const { kind, t } of steps) {
        const key = `${t.src} ${t.dst} ${t.ports} ${t.proto}`;
        const found = table.find(t.src, t.dst, t.ports, t.proto);
        assert.equal(found, model.get(key) ?? -1);
        const back = table.find(t.dst, t.src, (t.ports << 16) | (t.ports >>> 16), t.proto);
        assert.equal(back, found < 0 ? -1 : found ^ 1, 'the reply is the same row from its other side');
        if (kind === 'insert' && found < 0)
          model.set(key, table.insert(plainFlow(t.src, t.dst, t.ports, t.proto), 1000));
        if (kind === 'remove' && found >= 0) {
          table.remove(found >>> 1, 1000, 0);
          model.delete(key);
        }
      }
      assert.equal(table.header[Header.LIVE_FLOWS], model.size);
      checkTable(table);
    }),
    { numRuns: 60 },
  );
});

test('a table of 20,000 rows takes exactly 20,000 flows, finds each, refuses one more, and works on', () => {
  const flows = 20_000;
  const table = newTable(flows);
  const flow = (n: number) => plainFlow(0x0a000000 | n, 0x08080808, (n << 16) | 53);
  for (let n = 1; n <= flows; n++) assert.ok(table.insert(flow(n), 1000) >= 0, `flow ${n}`);
  assert.equal(table.insert(flow(flows + 1), 1000), -1);
  checkTable(table);
  for (let n = 1; n <= flows; n++) assert.ok(table.find(0x0a000000 | n, 0x08080808, (n << 16) | 53, 17) >= 0, `${n}`);
  for (let n = 1; n <= flows; n += 2)
    table.remove(table.find(0x0a000000 | n, 0x08080808, (n << 16) | 53, 17) >>> 1, 1000, 0);
  for (let n = flows + 1; n <= flows * 1.5; n++) assert.ok(table.insert(flow(n), 1000) >= 0, `flow ${n}`);
  assert.equal(table.insert(flow(1), 1000), -1);
  checkTable(table);
});

test('age does not slow the table down or fill it: 200,000 flows come and go in 1,024 rows', () => {
  const table = newTable();
  const random = xorshift(7);
  const live: number[] = [];
  for (let n = 0; n < 200_000; n++) {
    if (live.length < 1000 && (live.length === 0 || random() & 1)) {
      const handle = table.insert(plainFlow(random() | 0, random() | 0, random() | 0, 6), 1000);
      assert.ok(handle >= 0, `insert ${n} with ${live.length} live`);
      live.push(handle >>> 1);
    } else {
      const at = random() % live.length;
      table.remove(live[at]!, 1000, 0);
      live[at] = live[live.length - 1]!;
      live.pop();
    }
  }
  checkTable(table);
});

test('findMany says what find says, also where tags collide', () => {
  const table = newTable(4096);
  const random = xorshift(3);
  const src = new Int32Array(256);
  const dst = new Int32Array(256);
  const ports = new Int32Array(256);
  const proto = new Uint8Array(256);
  const list = Int32Array.from({ length: 256 }, (_, i) => 255 - i);
  const handle = new Int32Array(256);
  for (let n = 0; n < 4096; n++) table.insert(plainFlow(n + 1, 99, n, 17), 1000);
  for (let round = 0; round < 50; round++) {
    for (let i = 0; i < 256; i++) {
      const n = random() % 8192;
      const back = random() & 1;
      src[i] = back ? 99 : n + 1;
      dst[i] = back ? n + 1 : 99;
      ports[i] = back ? n << 16 : n;
      proto[i] = random() % 20 === 0 ? 6 : 17;
    }
    table.findMany(list, 256, src, dst, ports, proto, handle);
    for (let i = 0; i < 256; i++) assert.equal(handle[i], table.find(src[i]!, dst[i]!, ports[i]!, proto[i]!));
  }
});

test('where workers share the table, a freed row rests for QUARANTINE seconds, oldest first', () => {
  const table = newTable();
  table.quarantine = 2;
  const first = table.insert(plainFlow(1, 2, 3), 1000);
  const second = table.insert(plainFlow(4, 5, 6), 1000);
  table.remove(first >>> 1, 1000, 0);
  table.remove(second >>> 1, 1001, 0);
  assert.equal(table.insert(plainFlow(7, 8, 9), 1001) >>> 1, 2, 'a fresh one');
  assert.equal(table.insert(plainFlow(1, 8, 9), 1002) >>> 1, first >>> 1);
  assert.equal(table.insert(plainFlow(2, 8, 9), 1002) >>> 1, 3);
  assert.equal(table.insert(plainFlow(3, 8, 9), 1003) >>> 1, second >>> 1);
  checkTable(table);
});

test('a packet that lost the race writes into a dead row and harms neither the free list nor the next flow', () => {
  const table = newTable();
  const row = table.insert(plainFlow(1, 2, 3), 1000) >>> 1;
  const other = table.insert(plainFlow(4, 5, 6), 1000) >>> 1;
  table.remove(row, 1000, 0);
  table.remove(other, 1000, 0);
  // What rewrite stores: kind, expiry, bytes.
  const at = row * Words.ROW;
  table.rows[at + 1] = 0x12345;
  table.rows[at + 9] = 1_000_000;
  table.bytes[(at + 12) >>> 1]! += 1500;
  table.bytes[(at + 14) >>> 1]! += 1500;
  checkTable(table);
  assert.equal(table.insert(plainFlow(7, 8, 9), 1000) >>> 1, row);
  assert.equal(table.insert(plainFlow(7, 8, 10), 1000) >>> 1, other);
  checkTable(table);
});
