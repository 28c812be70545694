import assert from 'node:assert/strict';
import { test } from 'node:test';
import { hashTables } from '../../src/flow/hash.js';
import { ProbeTable } from '../../src/flow/probe-table.js';
import fc from '../property.js';

const step = fc.record({ a: fc.integer({ min: 1, max: 12 }), b: fc.integer({ min: 0, max: 3 }), remove: fc.boolean() });

test('find, insert and remove with backward shift do what a Map does, in a table of 16 slots that wraps around', () => {
  fc.assert(
    fc.property(
      fc.array(step, { maxLength: 150 }),
      fc.integer(),
      fc.constantFrom(1 as const, 2 as const),
      (steps, key, keys) => {
        const counts = new Int32Array(1);
        const table = new ProbeTable(new Int32Array(16 * 3), 3, keys, hashTables(key, ~key), counts, 0);
        const model = new Map<string, number>();
        let stamp = 0;
        for (const { a, b: second, remove } of steps) {
          const b = keys === 2 ? second : 0;
          const name = `${a} ${b}`;
          const at = table.find(a, b);
          assert.equal(at >= 0, model.has(name));
          if (remove) {
            if (at < 0) continue;
            table.removeAt(at);
            model.delete(name);
          } else {
            const made = table.findOrInsert(a, b);
            if (made < 0) assert.ok(model.size >= 14 && !model.has(name), 'refused only above seven eighths');
            else table.words[made + 2] = model.set(name, ++stamp).get(name)!;
          }
          for (const [key2, value] of model) {
            const [x, y] = key2.split(' ').map(Number) as [number, number];
            assert.equal(table.words[table.find(x, y) + 2], value, key2);
          }
          assert.equal(table.live, model.size);
        }
      },
    ),
    { numRuns: 200 },
  );
});

test('two workers’ views count the same rows: one inserts, the other removes, for ever', () => {
  const words = new Int32Array(64 * 4);
  const counts = new Int32Array(1);
  const hash = hashTables(1, 2);
  const one = new ProbeTable(words, 4, 1, hash, counts, 0);
  const two = new ProbeTable(words, 4, 1, hash, counts, 0);
  for (let n = 1; n <= 1000; n++) {
    assert.ok(one.findOrInsert(n, 0) >= 0, `insert ${n}`);
    two.removeAt(two.find(n, 0));
  }
  assert.equal(one.live, 0);
});
