/**
 * batchSplit and batchJoin: a link of the engine between a batch and columns. Splitting and joining themselves are judged in segment.test.ts; here: fragments, what does
 * not fit at once, and numbers that point nowhere.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Batch, Ctl } from '../../src/batch.js';
import { batchId } from '../../src/link/batch-id.js';
import { Columns } from '../../src/link/wireguard/columns.js';
import { Outcome } from '../../src/link/wireguard/outcome.js';
import { native } from '../../src/native.js';
import { build, dissect } from '../lib-packets.js';
import fc from '../property.js';

const columns = new Columns(512, new Uint8Array(768 * 1024));

function put(batch: Batch, packet: Uint8Array, vnet?: Uint8Array): void {
  const slot = batch.append(packet.length);
  const off = batch.off[slot]!;
  batch.data.set(packet, off);
  if (vnet !== undefined) batch.data.set(vnet, off - 10);
  batch.list[slot] = slot;
}

/** Everything that comes out, turn by turn. */
function split(batch: Batch, mtu: number, into = columns): Uint8Array[] {
  const out: Uint8Array[] = [];
  const id = batchId(batch);
  for (let more: 0 | 1 = 0; ; more = 1) {
    const n = native.batchSplit(id, batch.count, into.datagrams, mtu, more);
    if (n <= 0) return out;
    for (let i = 0; i < n; i++) out.push(into.data.slice(into.from[i]!, into.from[i]! + into.len[i]!));
  }
}

/** Readable twin: puts fragments together, whatever their order. */
function reassemble(parts: readonly Uint8Array[]): Uint8Array {
  const looked = parts.map((part) => dissect(part));
  const length = Math.max(...looked.map((p) => p.offset + p.length - p.header));
  const whole = new Uint8Array(length);
  looked.forEach((p, i) => {
    whole.set(parts[i]!.subarray(p.header, p.length), p.offset);
  });
  return whole;
}

test('REQ-14 fragments: in order, none above the MTU, all of the packet, right checksums, options where they belong', () => {
  fc.assert(
    fc.property(
      fc.uint8Array({ minLength: 1, maxLength: 9000, size: 'max' }),
      fc.integer({ min: 68, max: 1500 }),
      // Record route is not copied (RFC 791), a stream id (0x88) is.
      fc.constantFrom(new Uint8Array(0), Uint8Array.of(7, 7, 4, 0, 0, 0, 0, 0, 0x88, 4, 1, 2)),
      fc.boolean(),
      (payload, mtu, ipOptions, mf) => {
        const packet = build({
          proto: 17,
          src: '10.0.0.1',
          dst: '10.0.0.2',
          id: 77,
          ipOptions,
          payload: mf ? payload.subarray(0, payload.length & ~7) : payload,
          mf: mf && payload.length > 7,
          offset: 0,
        });
        const batch = new Batch(2 * 1024 * 1024);
        put(batch, packet);
        const parts = split(batch, mtu);
        const whole = dissect(packet);
        assert.deepEqual(reassemble(parts), packet.slice(whole.header));
        let next = 0;
        parts.forEach((part, i) => {
          const p = dissect(part);
          assert.ok(p.ipChecksumOk && part.length <= mtu);
          assert.deepEqual([p.offset, p.id, p.mf], [next, 77, i + 1 < parts.length || whole.mf]);
          next += p.length - p.header;
          if (ipOptions.length === 0 || parts.length === 1) return;
          assert.equal(part[20], i === 0 ? 7 : 1, 'record route only in the first');
          assert.equal(part[28], 0x88, 'stream id in each');
        });
      },
    ),
    { numRuns: 200 },
  );
});

test('REQ-46 a datagram bears the ECN of the packet inside, also of its fragments (RFC 6040)', () => {
  const batch = new Batch();
  for (const tos of [0, 1, 2, 3, 0xb8 | 2])
    put(batch, build({ proto: 'udp', src: '10.0.0.1', dst: '10.0.0.2', tos, payload: new Uint8Array(100) }));
  put(batch, build({ proto: 'udp', src: '10.0.0.1', dst: '10.0.0.2', tos: 2, payload: new Uint8Array(2000) }));
  assert.equal(native.batchSplit(batchId(batch), batch.count, columns.datagrams, 1400, 0), 7);
  assert.deepEqual([...columns.ecn.subarray(0, 7)], [0, 1, 2, 3, 2, 2, 2]);
});

test('DF is never cut: what is too long then was refused before', () => {
  const batch = new Batch();
  put(batch, build({ proto: 'udp', src: '10.0.0.1', dst: '10.0.0.2', df: true, payload: new Uint8Array(3000) }));
  assert.deepEqual(
    split(batch, 1400).map((part) => part.length),
    [3028],
  );
});

test('segments that are still too long, and may be cut, are cut', () => {
  const payload = Uint8Array.from({ length: 6000 }, (_, i) => i * 3);
  const packet = build({ proto: 'udp', src: '10.0.0.1', dst: '10.0.0.2', sport: 1, dport: 2, payload });
  const vnet = new Uint8Array(10);
  const view = new DataView(vnet.buffer);
  vnet.set([1, 5]); // UDP, segments of 3000
  view.setUint16(4, 3000, true);
  view.setUint16(6, 20, true);
  view.setUint16(8, 6, true);
  const batch = new Batch();
  put(batch, packet, vnet);
  const parts = split(batch, 1400);
  assert.equal(parts.length, 6);
  const [first, second] = [parts.slice(0, 3), parts.slice(3)].map(reassemble);
  assert.deepEqual([...first!.subarray(8), ...second!.subarray(8)], [...payload]);
});

test('more packets than columns have room for come in turns, each once', () => {
  const small = new Columns(4, new Uint8Array(8192));
  const batch = new Batch();
  const packets = Array.from({ length: 100 }, (_, i) =>
    build({
      proto: 'udp',
      src: '10.0.0.1',
      dst: '10.0.0.2',
      sport: i,
      dport: 9,
      payload: new Uint8Array(1000).fill(i),
    }),
  );
  for (const packet of packets) put(batch, packet);
  assert.deepEqual(split(batch, 1440, small), packets);
  small.close();
});

test('lists that point outside of the batch are passed over', () => {
  const batch = new Batch();
  put(batch, build({ proto: 'udp', src: '10.0.0.1', dst: '10.0.0.2' }));
  batch.list.set([-1, 99_999, 0, 255]);
  batch.len[255] = 5;
  batch.off[255] = batch.data.length;
  assert.equal(native.batchSplit(batchId(batch), 4, columns.datagrams, 1440, 0), 1);
  assert.ok(native.batchSplit(12_345, 1, columns.datagrams, 1440, 0) < 0);
  assert.ok(native.batchJoin(columns.datagrams, 1, 12_345, 0) < 0);
  batch.ctl[Ctl.USED] = -16;
  assert.ok(native.batchJoin(columns.datagrams, 1, batchId(batch), 0) < 0);
});

test('what was opened comes out of batchJoin once and in order, however many batches it takes', () => {
  const many = new Columns(1000, new Uint8Array(2 * 1024 * 1024));
  const packets = Array.from({ length: 700 }, (_, i) =>
    build({ proto: 'udp', src: '10.0.0.1', dst: '10.0.0.2', sport: i, dport: 9, payload: new Uint8Array(900).fill(i) }),
  );
  let off = 0;
  packets.forEach((packet, i) => {
    many.off[i] = off;
    many.len[i] = packet.length;
    many.outcome[i] = i % 7 === 3 ? Outcome.FORGED : Outcome.PASS;
    many.data.set(packet, off + 16);
    off += 48 + ((packet.length + 15) & ~15);
  });
  const batch = new Batch();
  const got: Uint8Array[] = [];
  for (let more: 0 | 1 = 0; ; more = 1) {
    batch.clear();
    const n = native.batchJoin(many.datagrams, packets.length, batchId(batch), more);
    if (n === 0) break;
    assert.equal(batch.count, n);
    for (let i = 0; i < n; i++) {
      const at = batch.off[i]!;
      assert.equal(at % 16, 0);
      assert.deepEqual([...batch.data.subarray(at - 10, at)], Array(10).fill(0));
      got.push(batch.data.slice(at, at + batch.len[i]!));
    }
  }
  assert.deepEqual(
    got,
    packets.filter((_, i) => i % 7 !== 3),
  );
  many.close();
});
