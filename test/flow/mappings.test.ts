import assert from 'node:assert/strict';
import { test } from 'node:test';
import { MappingKind } from '../../src/contract/table-layout.js';
import type { Mappings } from '../../src/flow/mappings.js';
import fc from '../property.js';
import { newTable, poolPlan } from './fixture.js';

const P = 9;
const UDP = 17;

/** Claims `port` and makes X:x's mapping, as admit does. */
function make(mappings: Mappings, inside: number, x: number, port = x, proto = UDP): number {
  assert.equal(mappings.ports.claim(P, proto === 6 ? 0 : 1, port, true), port);
  return mappings.create(proto, inside, x, P, port, MappingKind.ENDPOINT_INDEPENDENT, 1, 0);
}

interface Model {
  id: number;
  inside: number;
  x: number;
  remotes: Map<number, number>;
}

const step = fc.record({
  kind: fc.constantFrom('join', 'join', 'join', 'leave', 'leave', 'end'),
  inside: fc.integer({ min: 1, max: 3 }),
  x: fc.integer({ min: 600, max: 603 }),
  remote: fc.integer({ min: 50, max: 54 }),
  hold: fc.constantFrom(0, 120),
});

test('join, leave, hold and pinholes do what a model does: who may come in, which port is whose, what a host has', () => {
  fc.assert(
    fc.property(fc.array(step, { maxLength: 120 }), (steps) => {
      const { mappings } = newTable();
      mappings.ports.setPlan(poolPlan(Array.from({ length: 4 * 4 }, (_, i) => 600 + i)));
      const model = new Map<string, Model>();
      for (const { kind, inside, x, remote, hold } of steps) {
        const key = `${inside}:${x}`;
        let known = model.get(key);
        if (kind === 'join') {
          if (!known) {
            const port = mappings.ports.claim(P, 1, x, true);
            const id = mappings.create(UDP, inside, x, P, port, MappingKind.ENDPOINT_INDEPENDENT, 1, 0);
            known = { id, inside, x, remotes: new Map() };
            model.set(key, known);
          }
          assert.ok(mappings.join(known.id, remote, inside));
          known.remotes.set(remote, (known.remotes.get(remote) ?? 0) + 1);
        } else if (kind === 'leave' && known && known.remotes.size > 0) {
          const [from] = [...known.remotes.keys()].sort((a, b) => Math.abs(a - remote) - Math.abs(b - remote)) as [
            number,
          ];
          mappings.leave(known.id, from, inside, 1000, hold);
          const left = known.remotes.get(from)! - 1;
          if (left > 0) known.remotes.set(from, left);
          else known.remotes.delete(from);
          if (known.remotes.size === 0 && hold === 0) model.delete(key);
        } else if (kind === 'end' && known?.remotes.size === 0) {
          mappings.end(known.id);
          model.delete(key);
        }
        compare(mappings, model);
      }
    }),
    { numRuns: 100 },
  );
});

function compare(mappings: Mappings, model: Map<string, Model>): void {
  const ports = new Set<number>();
  for (let inside = 1; inside <= 3; inside++) {
    let count = 0;
    for (let x = 600; x <= 603; x++) {
      const known = model.get(`${inside}:${x}`);
      assert.equal(mappings.findInside(UDP, inside, x, P), known?.id ?? -1);
      assert.equal(mappings.findInside(6, inside, x, P), -1, 'REQ-22: TCP knows nothing of it');
      if (!known) continue;
      count++;
      const p = mappings.outsidePort(known.id);
      assert.ok(!ports.has(p), 'REQ-3');
      ports.add(p);
      assert.equal(mappings.findOutside(UDP, P, p), known.id);
      assert.ok(mappings.ports.isUsed(P, 1, p));
      assert.ok(mappings.is(known.id, UDP, inside, x, P, p) && !mappings.is(known.id, UDP, inside, x + 1, P, p));
      assert.equal(mappings.isHeld(known.id), known.remotes.size === 0);
      for (let remote = 49; remote <= 55; remote++)
        assert.equal(mappings.hasSentTo(known.id, remote), known.remotes.has(remote), `remote ${remote}`);
    }
    assert.equal(mappings.countOfHost(inside, 1), count);
  }
  assert.equal(mappings.ports.usedCount(P, 1), ports.size);
}

test('one mapping with 600 remotes neither forgets one nor lets another in; pinholes that are full refuse the next', () => {
  const { mappings, layout } = newTable(1024);
  mappings.ports.setPlan(poolPlan([600]));
  const id = make(mappings, 1, 600);
  const most = layout.pinholes - (layout.pinholes >>> 3);
  let n = 0;
  while (mappings.join(id, 1000 + n, 1)) n++;
  assert.equal(n, most);
  for (let i = 0; i < n; i++) assert.ok(mappings.hasSentTo(id, 1000 + i));
  assert.ok(!mappings.hasSentTo(id, 1000 + n));
  for (let i = 0; i < n; i++) mappings.leave(id, 1000 + i, 1, 1000, 120);
  assert.equal(mappings.pinholes.live, 0);
  assert.ok(mappings.isHeld(id) && mappings.isHeldAt(id, 1120) && !mappings.isHeldAt(id, 1121));
});

test('mappings are usable to the last one, then refused, then again', () => {
  const { mappings, layout } = newTable(1024);
  mappings.ports.setPlan(poolPlan(Array.from({ length: 1024 }, (_, i) => 2000 + i)));
  const ids = Array.from({ length: layout.mappings }, (_, i) => make(mappings, 1 + (i % 50), 2000 + i));
  assert.ok(ids.every((id) => id >= 0));
  assert.equal(make(mappings, 1, 3000), -1);
  mappings.ports.release(P, 1, 3000);
  mappings.end(ids[5]!);
  assert.equal(make(mappings, 1, 3000), ids[5]);
  assert.equal(make(mappings, 7, 3001), -1);
});

test('a mapping whose port has a new owner is not taken for the old one', () => {
  const { mappings } = newTable();
  mappings.ports.setPlan(poolPlan([600]));
  const id = make(mappings, 1, 600);
  mappings.end(id);
  assert.ok(!mappings.is(id, UDP, 1, 600, P, 600), 'dead');
  assert.equal(make(mappings, 2, 600), id, 'its memory is given again');
  assert.ok(!mappings.is(id, UDP, 1, 600, P, 600));
  assert.ok(mappings.is(id, UDP, 2, 600, P, 600));
});
