import assert from 'node:assert/strict';
import { test } from 'node:test';
import { BUCKET } from '../../src/contract/table-layout.js';
import { BucketIndex } from '../../src/flow/bucket-index.js';
import fc from '../property.js';
import { xorshift } from './fixture.js';

function lookup(index: BucketIndex, hash: number, value: number): boolean {
  const entry = (hash << index.shift) | value;
  for (const bucket of [index.first(hash), index.second(hash)]) {
    if (index.words.subarray(bucket, bucket + BUCKET).includes(entry)) return true;
  }
  return false;
}

test('what was inserted is found and removed, under any hashes, until insert itself says that there is no room', () => {
  // Four buckets and clustered hashes: overflow and moving are the rule here.
  const hash = fc.oneof(
    fc.integer(),
    fc.constantFrom(0, 1, -1, 0x40000000, 0x7fffffff, -0x80000000),
    fc.integer({ min: 0, max: 3 }).map((n) => n << 30),
  );
  const steps = fc.array(fc.record({ hash, remove: fc.boolean() }), { maxLength: 150 });
  fc.assert(
    fc.property(steps, (list) => {
      const hashes: number[] = [0];
      const index = new BucketIndex(new Int32Array(4 * BUCKET), 4, 200, (value) => hashes[value]!);
      const live = new Set<number>();
      for (const { hash: h, remove } of list) {
        if (remove && live.size > 0) {
          const value = [...live][(h >>> 0) % live.size]!;
          assert.ok(index.remove(hashes[value]!, value));
          assert.ok(!index.remove(hashes[value]!, value), 'gone');
          live.delete(value);
        } else {
          const value = hashes.push(h) - 1;
          if (index.insert(h, value)) live.add(value);
        }
        assert.equal(index.words.filter((entry) => entry !== 0).length, live.size);
        for (const value of live) assert.ok(lookup(index, hashes[value]!, value), `value ${value}`);
      }
    }),
    { numRuns: 100 },
  );
});

test('random hashes fill the index to nine tenths before the first refusal', () => {
  for (const seed of [1, 2, 3]) {
    const random = xorshift(seed);
    const buckets = 512;
    const hashes: number[] = [0];
    const index = new BucketIndex(new Int32Array(buckets * BUCKET), buckets, 10_000, (value) => hashes[value]!);
    for (;;) {
      const h = random() | 0;
      hashes.push(h);
      if (!index.insert(h, hashes.length - 1)) break;
    }
    assert.ok(hashes.length > buckets * BUCKET * 0.9, `seed ${seed}: refused at ${hashes.length}`);
  }
});
