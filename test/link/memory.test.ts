import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Batch, BORN_BYTES, BORN_SLOTS, Ctl, HEADROOM, PACKET_BYTES, VNET_BYTES } from '../../src/batch.js';
import {
  copyOut,
  MemoryLink,
  memoryPacket,
  RECEIVE_SLOTS,
  ReplayLink,
  receiveBytes,
  stampedMillis,
} from '../../src/link/index.js';
import { native } from '../../src/native.js';

/** A packet of `bytes` bytes, all of them `fill`. */
function packet(bytes: number, fill: number): Uint8Array {
  return new Uint8Array(bytes).fill(fill);
}

function contents(batch: Batch): number[][] {
  return Array.from({ length: batch.count }, (_, slot) => [batch.len[slot]!, copyOut(batch, slot).bytes[0]!]);
}

test('a memory link lays packets out as the addon does: headroom, multiples of 16, vnet header in front', () => {
  const link = new MemoryLink();
  const vnet = Uint8Array.from([1, 1, 52, 0, 168, 5, 20, 0, 16, 0]);
  link.push(packet(33, 7), vnet);
  link.push(packet(40, 8));
  const batch = new Batch();
  batch.data.fill(0xee);
  assert.equal(link.receive(batch), 2);
  assert.deepEqual([...batch.off.subarray(0, 2)], [HEADROOM, 112 + HEADROOM]);
  assert.deepEqual([...batch.len.subarray(0, 2)], [33, 40]);
  assert.equal(batch.ctl[Ctl.USED], 112 + HEADROOM + 48);
  assert.deepEqual(copyOut(batch, 0), memoryPacket(packet(33, 7), vnet));
  assert.deepEqual(copyOut(batch, 1), memoryPacket(packet(40, 8), new Uint8Array(VNET_BYTES)));
  assert.equal(link.receive(batch), 0);
});

test('the packet is a copy: what the engine writes into the batch changes nothing outside', () => {
  const [a, b] = MemoryLink.pair();
  const original = packet(20, 1);
  a.push(original);
  const batch = new Batch();
  a.receive(batch);
  a.transmit(batch, 1);
  batch.data.fill(9);
  const other = new Batch();
  assert.equal(b.receive(other), 1);
  assert.equal(original[0], 1);
  assert.deepEqual(contents(other), [[20, 1]]);
});

test('receive leaves room for what the engine adds: slots and bytes', () => {
  const link = new MemoryLink();
  for (let i = 0; i < 300; i++) link.push(packet(20, i));
  const batch = new Batch();
  assert.equal(link.receive(batch), RECEIVE_SLOTS);
  for (let i = 0; i < BORN_SLOTS; i++) assert.notEqual(batch.append(BORN_BYTES / BORN_SLOTS - HEADROOM), -1);
  assert.equal(link.waiting, 300 - RECEIVE_SLOTS);

  const large = new MemoryLink();
  for (let i = 0; i < 40; i++) large.push(packet(65_535, i));
  batch.clear();
  const n = large.receive(batch);
  assert.ok(n > 1 && n < 40);
  assert.ok(batch.ctl[Ctl.USED]! <= receiveBytes(batch));
  batch.clear();
  large.receive(batch);
  assert.equal(contents(batch)[0]![1], n, 'the next packet comes next');
});

test('transmit sends the list in its order, and take empties what was sent', () => {
  const link = new MemoryLink();
  for (const fill of [1, 2, 3]) link.push(packet(20, fill));
  const batch = new Batch();
  link.receive(batch);
  batch.list.set([2, 0, 2]);
  assert.equal(link.transmit(batch, 3), 3);
  assert.deepEqual(
    link.take().map((sent) => sent.bytes[0]),
    [3, 1, 3],
  );
  assert.equal(link.sent.length, 0);
});

test('the time of a batch is the clock’s, also when milliseconds pass 2^31 and 2^32', () => {
  const batch = new Batch();
  for (const now of [0, 999, 1000, 2 ** 31 - 1, 2 ** 31 + 5, 2 ** 32 + 1234, 10 * 2 ** 32 + 777]) {
    new MemoryLink('m', () => now).receive(batch);
    assert.equal(batch.ctl[Ctl.SECONDS], Math.floor(now / 1000));
    assert.equal(batch.ctl[Ctl.MILLIS], now | 0);
    assert.equal(stampedMillis(batch), now);
  }
  new MemoryLink().receive(batch);
  assert.ok(Math.abs(stampedMillis(batch) - native.boottime()) < 5000);
});

test('what is no packet and no vnet header is refused', () => {
  assert.throws(() => memoryPacket(new Uint8Array(PACKET_BYTES + 1)), RangeError);
  assert.throws(() => memoryPacket(new Uint8Array(20), new Uint8Array(12)), RangeError);
});

test('a replay plays every packet of every lap in order, and counts what is sent', () => {
  const packets = Array.from({ length: 500 }, (_, i) => packet(20 + (i % 50), i));
  const link = new ReplayLink(packets, { laps: 3, batch: 64 });
  const batch = new Batch();
  const seen: number[][] = [];
  for (let n = link.receive(batch); n > 0; n = link.receive(batch)) {
    assert.ok(n <= 64);
    seen.push(...contents(batch));
    for (let slot = 0; slot < n; slot++) batch.list[slot] = slot;
    assert.equal(link.transmit(batch, n), n);
    batch.data.fill(0xff, 0, batch.ctl[Ctl.USED]); // the next lap must not see what the engine wrote
    batch.clear();
  }
  const lap = packets.map((bytes) => [bytes.length, bytes[0]!]);
  assert.deepEqual(seen, [...lap, ...lap, ...lap]);
  assert.equal(link.sentPackets, 1500);
  assert.equal(link.sentBytes, 3 * packets.reduce((sum, bytes) => sum + bytes.length, 0));
});

test('a replay appends to a batch that holds packets, keeps vnet headers, and takes 64 KiB packets', () => {
  const vnet = Uint8Array.from([1, 1, 0, 0, 0, 0, 20, 0, 16, 0]);
  const large = Array.from({ length: 40 }, (_, i) => memoryPacket(packet(65_535, i), vnet));
  const link = new ReplayLink(large, { laps: 1 });
  const batch = new Batch();
  let played = 0;
  for (let n = link.receive(batch); n > 0; n = link.receive(batch)) {
    assert.ok(batch.ctl[Ctl.USED]! <= receiveBytes(batch));
    assert.deepEqual(copyOut(batch, n - 1), large[played + n - 1]);
    played += n;
    batch.clear();
  }
  assert.equal(played, 40);

  const small = new ReplayLink([packet(20, 1), packet(20, 2)]);
  small.receive(batch);
  assert.equal(small.receive(batch), 2);
  assert.deepEqual(contents(batch), [
    [20, 1],
    [20, 2],
    [20, 1],
    [20, 2],
  ]);
  for (const off of batch.off.subarray(0, 4)) assert.equal(off % 16, 0);
});

test('a replay allocates nothing on the heap', () => {
  const link = new ReplayLink(
    Array.from({ length: 1000 }, (_, i) => packet(64, i)),
    { clock: () => 1000 },
  );
  const batch = new Batch();
  const rounds = (n: number) => {
    for (let i = 0; i < n; i++) {
      batch.clear();
      link.transmit(batch, link.receive(batch));
    }
  };
  rounds(10_000);
  const before = process.memoryUsage().heapUsed;
  rounds(10_000);
  const bytes = process.memoryUsage().heapUsed - before;
  assert.ok(bytes < 40_000, `${bytes} bytes for 1.9 million packets`);
});
