import assert from 'node:assert/strict';
import { test } from 'node:test';
import { CONTROL_WINDOW, CONTROLS, CORRECTIONS, Words } from '../../src/contract/table-layout.js';
import { ControlStreams, INSIDE, StreamFlag } from '../../src/flow/control-streams.js';
import fc from '../property.js';

function make(rows = 4096): { streams: ControlStreams; rows: Int32Array } {
  const table = new Int32Array(rows * Words.ROW);
  for (let row = 0; row < rows; row++) table[row * Words.ROW] = 1;
  return { streams: new ControlStreams(new Int32Array(CONTROLS * Words.CONTROL), table), rows: table };
}

test('a record is found by row and generation, and is free again when the row goes on', () => {
  const { streams, rows } = make();
  const record = streams.create(7, 1);
  assert.equal(streams.find(7, 1), record);
  assert.equal(streams.find(7, 3), -1);
  assert.equal(streams.find(8, 1), -1);
  assert.ok(streams.anyLive());
  rows[7 * Words.ROW] = 2;
  assert.equal(streams.anyLive(), false);
  rows[7 * Words.ROW] = 3;
  assert.equal(streams.anyLive(), false, 'another flow in the same row');
});

test('records are refused only when a window is full of live ones; dead ones give their place', () => {
  const { streams, rows } = make();
  let made = 0;
  let refused = -1;
  for (let row = 0; row < 4096 && refused < 0; row++) {
    if (streams.create(row, 1) >= 0) made++;
    else refused = row;
  }
  assert.ok(made > CONTROLS / 2 && made <= CONTROLS, `${made} of ${CONTROLS}`);
  for (let row = 0; row < refused; row++) rows[row * Words.ROW] = 2;
  assert.ok(streams.create(refused, 1) >= 0);
  assert.ok(made >= CONTROL_WINDOW);
});

test('a new record has nothing of the one before it in its place', () => {
  const { streams, rows } = make();
  const record = streams.create(7, 1);
  streams.set(record, 1, StreamFlag.SEALED, true);
  streams.setMemory(record, 1, 227);
  streams.setNext(record, 1, 99);
  streams.add(record, 1, 5, 10, 12, 40000);
  streams.setExpected(record, 7, 3);
  rows[7 * Words.ROW] = 3;
  const next = streams.create(7, 3);
  assert.equal(next, record);
  assert.deepEqual(
    [streams.has(next, 1, StreamFlag.SEALED), streams.memory(next, 1), streams.next(next, 1)],
    [false, 0, 0],
  );
  assert.deepEqual([streams.corrections(next, 1), streams.expected(next, 7)], [0, -1]);
});

/** Lines of two lengths each, and what comes between them. */
const change = fc.record({
  gap: fc.integer({ min: 1, max: 5000 }),
  old: fc.integer({ min: 1, max: 255 }),
  now: fc.integer({ min: 1, max: 255 }),
  port: fc.nat(0xffff),
});

test('REQ-11 numbers are shifted as bytes are counted one by one: a table of all of them is the model, wrap-around included (property)', () => {
  fc.assert(
    fc.property(fc.integer(), fc.array(change, { minLength: 1, maxLength: 12 }), fc.nat(1), (isn, changes, side) => {
      const { streams } = make(16);
      const record = streams.create(3, 1);
      // Old and new place of every byte that has a counterpart.
      const pairs: [number, number][] = [];
      const kept: { from: number; to: number; nowFrom: number; nowTo: number }[] = [];
      let old = 0;
      let now = 0;
      for (const { gap, old: oldLength, now: newLength, port } of changes) {
        for (let i = 0; i < gap; i += Math.max(1, gap >> 3)) pairs.push([old + i, now + i]);
        old += gap;
        now += gap;
        // Everything before is acknowledged, so there is always room.
        assert.ok(streams.hasRoom(record, side, (isn + old) | 0));
        streams.add(record, side, (isn + old) | 0, oldLength, newLength, port);
        pairs.push([old, now]);
        kept.push({ from: old, to: old + oldLength, nowFrom: now, nowTo: now + newLength });
        old += oldLength;
        now += newLength;
        pairs.push([old, now]);
        assert.equal(streams.port(record, side, streams.corrections(record, side) - 1), port);
      }
      const known = kept.slice(-CORRECTIONS);
      const first = changes.length > CORRECTIONS ? known[0]!.from : 0;
      for (const [a, b] of pairs) {
        if (a < first) continue;
        assert.equal(streams.shift(record, side, (isn + a) | 0), b - a, `shift of ${a}`);
        assert.equal(streams.original(record, side, (isn + b) | 0), (isn + a) | 0, `original of ${b}`);
      }
      for (const line of known) {
        if (line.to - line.from > 1) assert.equal(streams.shift(record, side, (isn + line.from + 1) | 0), INSIDE);
        if (line.nowTo - line.nowFrom > 1)
          assert.equal(streams.original(record, side, (isn + line.nowTo - 1) | 0), (isn + line.from) | 0);
      }
      assert.equal(streams.shift(record, side ^ 1, isn), 0, 'the other side is not concerned');
    }),
    { numRuns: 2000 },
  );
});

test('the oldest of four corrections stays until the receiver has acknowledged its line', () => {
  const { streams } = make(16);
  const record = streams.create(3, 1);
  for (let k = 0; k < CORRECTIONS; k++) streams.add(record, 0, k * 100, 10, 12, 1);
  assert.equal(streams.hasRoom(record, 0, 9), false);
  assert.equal(streams.corrections(record, 0), CORRECTIONS);
  assert.equal(streams.hasRoom(record, 0, 10), true);
  assert.equal(streams.corrections(record, 0), CORRECTIONS - 1);
  assert.equal(streams.shift(record, 0, 350), 8);
});
