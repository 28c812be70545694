import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { PortInterval } from '../../src/contract/steering.js';
import { intersectPorts, mergePorts, parsePorts, portsText, subtractPorts } from '../../src/host/ports.js';
import fc from '../property.js';

const interval = fc.tuple(fc.nat(60), fc.nat(8)).map(([first, more]): PortInterval => ({ first, last: first + more }));
const intervals = fc.array(interval, { maxLength: 12 });
const members = (set: readonly PortInterval[]) =>
  new Set(set.flatMap(({ first, last }) => Array.from({ length: last - first + 1 }, (_, i) => first + i)));

test('sets of ports: difference and intersection are those of their members, and come out merged', () => {
  fc.assert(
    fc.property(intervals, intervals, (a, b) => {
      const inB = members(b);
      const minus = subtractPorts(a, b);
      const both = intersectPorts(a, b);
      assert.deepEqual(members(minus), new Set([...members(mergePorts(a))].filter((port) => !inB.has(port))));
      assert.deepEqual(members(both), new Set([...members(mergePorts(a))].filter((port) => inB.has(port))));
      for (const set of [minus, both]) assert.deepEqual(set, mergePorts(set));
      assert.deepEqual(parsePorts(portsText(minus)), minus);
    }),
  );
});

test('twenty thousand holes in twenty thousand intervals are a matter of milliseconds, not of minutes', {
  timeout: 60_000,
}, () => {
  const odd = Array.from({ length: 20_000 }, (_, i) => ({ first: 3 * i, last: 3 * i + 1 }));
  const holes = odd.map(({ last }) => ({ first: last, last }));
  assert.deepEqual(
    subtractPorts(odd, holes),
    odd.map(({ first }) => ({ first, last: first })),
  );
});
