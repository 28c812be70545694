import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { STATIC_WORDS, staticPort, staticPorts } from '../../src/contract/static-ports.js';

interface Made {
  readonly id: number;
  readonly target: number;
  readonly offset: number;
  readonly single: number;
  readonly first: number;
  readonly last: number;
}

/** The rule, read off the forwards: the first that leads some port of its own to X:x. */
function expected(owners: Uint16Array, forwards: readonly Made[], target: number, port: number): number {
  for (const forward of forwards) {
    const from = port - forward.offset;
    if (forward.single === 0 && forward.target === target && from > 0 && owners[from] === forward.id) return from;
  }
  return -1;
}

function ownersOf(forwards: readonly Made[]): Uint16Array {
  const owners = new Uint16Array(65_536);
  for (const { id, first, last } of forwards) owners.fill(id, first, last + 1);
  return owners;
}

test('REQ-70 each X:x has the port of the first forward that leads to it', () => {
  const forward = fc.record({
    target: fc.constantFrom(-5, 3, 0x0a000001),
    first: fc.integer({ min: 100, max: 160 }),
    length: fc.integer({ min: 0, max: 12 }),
    offset: fc.integer({ min: -60, max: 60 }),
    single: fc.constantFrom(0, 0, 0, 80),
  });
  fc.assert(
    fc.property(fc.array(forward, { maxLength: 12 }), (list) => {
      const forwards = list.map(({ length, ...rest }, at) => ({ ...rest, id: at + 1, last: rest.first + length }));
      const owners = ownersOf(forwards);
      const statics = staticPorts(owners, forwards);
      for (const target of [-6, -5, 3, 0x0a000001])
        for (let port = 30; port < 240; port++)
          assert.equal(
            staticPort(statics, target, port),
            expected(owners, forwards, target, port),
            `${target}:${port}`,
          );
    }),
    { numRuns: 300 },
  );
});

test('ten thousand forwards to one X:x are one entry, to as many ports ten thousand', () => {
  const forwards = Array.from({ length: 10_000 }, (_, n) => {
    const port = 30_000 + 2 * n;
    return { id: n + 1, target: 7, offset: 7000 - port, single: 0, first: port, last: port };
  });
  const one = staticPorts(ownersOf(forwards), forwards);
  assert.deepEqual([...one], [7, 7000, 7000, 30_000]);
  const straight = forwards.map((forward) => ({ ...forward, offset: 0 }));
  const many = staticPorts(ownersOf(straight), straight);
  assert.equal(many.length, 10_000 * STATIC_WORDS);
  assert.equal(staticPort(many, 7, 49_998), 49_998);
  assert.equal(staticPort(many, 7, 49_999), -1);
});
