import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { Batch } from '../../src/batch.js';
import {
  copyOut,
  FaultInjector,
  type Faults,
  type Link,
  MemoryLink,
  RECEIVE_SLOTS,
  Recorder,
} from '../../src/link/index.js';
import { parsePcap, readPcap } from '../pcap.js';

const dir = mkdtempSync(join(tmpdir(), 'tungate-wrap-'));
after(() => rmSync(dir, { recursive: true }));

function packet(bytes: number, fill: number): Uint8Array {
  return new Uint8Array(bytes).fill(fill);
}

/** Receives until nothing comes any more. */
function drain(link: Link): Uint8Array[] {
  const batch = new Batch();
  const all: Uint8Array[] = [];
  while (link.receive(batch) > 0) {
    for (let slot = 0; slot < batch.count; slot++) all.push(copyOut(batch, slot).bytes);
    batch.clear();
  }
  return all;
}

/** Sends packets of 100 bytes, numbered in their first byte, through the faults; returns what came out. */
function through(faults: Faults, count: number): { out: Uint8Array[]; injector: FaultInjector } {
  const inner = new MemoryLink();
  const injector = new FaultInjector(inner, faults);
  if (faults.on === 'transmitted') {
    const batch = new Batch();
    for (let i = 0; i < count; i++) {
      const slot = batch.append(100);
      batch.data.fill(i, batch.off[slot]!, batch.off[slot]! + 100);
      batch.list[i] = slot;
    }
    assert.equal(injector.transmit(batch, count), count, 'what a wire loses was taken');
    return { out: inner.take().map((sent) => sent.bytes), injector };
  }
  for (let i = 0; i < count; i++) inner.push(packet(100, i));
  return { out: drain(injector), injector };
}

test('the recorder writes raw IP with nanosecond times, received and transmitted, and lets all pass', () => {
  let now = 1_700_000_000_123;
  const inner = new MemoryLink('edge', () => now);
  const path = join(dir, 'both.pcap');
  const link = new Recorder(inner, path, { epoch: 0 });
  inner.push(packet(40, 1));
  inner.push(packet(1500, 2));
  const batch = new Batch();
  assert.equal(link.receive(batch), 2);
  now += 5000; // the batch's time counts, not the time of writing
  batch.list[0] = 1;
  assert.equal(link.transmit(batch, 1), 1);
  assert.equal(inner.sent.length, 1);
  link.flush();
  const { linkType, packets } = readPcap(path);
  assert.equal(linkType, 101);
  assert.deepEqual(
    packets.map(({ time, length, bytes }) => [time, length, bytes.length, bytes[0]]),
    [
      [1_700_000_000_123_000_000n, 40, 40, 1],
      [1_700_000_000_123_000_000n, 1500, 1500, 2],
      [1_700_000_000_123_000_000n, 1500, 1500, 2],
    ],
  );
  assert.equal(statSync(path).mode & 0o777, 0o600);
  link.close();
});

test('the recorder keeps to one direction when told, uses the time of day, and writes more than its buffer', () => {
  const inner = new MemoryLink();
  const path = join(dir, 'received.pcap');
  const link = new Recorder(inner, path, { only: 'received' });
  for (let i = 0; i < 60; i++) inner.push(packet(65_535, i));
  const batch = new Batch();
  let count = 0;
  for (let n = link.receive(batch); n > 0; n = link.receive(batch)) {
    link.transmit(batch, n);
    count += n;
    batch.clear();
  }
  link.close();
  const { packets } = readPcap(path);
  assert.deepEqual([count, packets.length], [60, 60]);
  for (const [i, { bytes }] of packets.entries()) {
    assert.ok(bytes.length === 65_535 && bytes.every((byte) => byte === i));
  }
  assert.ok(Math.abs(Number(packets[0]!.time / 1_000_000n) - Date.now()) < 60_000);
});

test('the pcap reader refuses what is cut off or something else', () => {
  assert.throws(() => parsePcap(new Uint8Array(10)), /10 bytes/);
  assert.throws(() => parsePcap(new Uint8Array(24)), /magic/);
});

test('without faults the injector changes nothing', () => {
  for (const on of ['received', 'transmitted'] as const) {
    const { out } = through({ seed: 1, on }, 100);
    assert.deepEqual(
      out.map((bytes) => [bytes.length, bytes[0]]),
      Array.from({ length: 100 }, (_, i) => [100, i]),
    );
  }
});

test('each fault happens about as often as asked, is counted, and does what its name says', () => {
  for (const on of ['received', 'transmitted'] as const) {
    const drop = through({ seed: 2, on, drop: 0.3 }, 180);
    assert.equal(drop.out.length, 180 - drop.injector.done.drop);
    assert.ok(drop.injector.done.drop > 30 && drop.injector.done.drop < 80, `${drop.injector.done.drop} dropped`);

    const twice = through({ seed: 3, on, duplicate: 0.2 }, 180);
    assert.ok(twice.injector.done.duplicate > 15);
    assert.equal(twice.out.length, 180 + twice.injector.done.duplicate);
    assert.equal(new Set(twice.out.map((bytes) => bytes[0])).size, 180);

    const shorter = through({ seed: 4, on, truncate: 0.2 }, 180);
    assert.ok(shorter.injector.done.truncate > 15);
    assert.equal(shorter.out.filter((bytes) => bytes.length < 100).length, shorter.injector.done.truncate);

    const flipped = through({ seed: 5, on, flip: 0.2 }, 180);
    const wrong = flipped.out.filter((bytes) => bytes.some((byte) => byte !== bytes[50]) || bytes.length !== 100);
    assert.ok(flipped.injector.done.flip > 15);
    assert.equal(wrong.length, flipped.injector.done.flip);

    const mixed = through({ seed: 6, on, reorder: 0.2 }, 180);
    const order = mixed.out.map((bytes) => bytes[0]!);
    assert.ok(mixed.injector.done.reorder > 15);
    assert.notDeepEqual(
      order,
      Array.from({ length: 180 }, (_, i) => i),
    );
    assert.deepEqual(
      order.toSorted((a, b) => a - b),
      Array.from({ length: 180 }, (_, i) => i),
    );
  }
});

test('the same seed does the same, another seed something else', () => {
  const faults = { drop: 0.1, duplicate: 0.1, reorder: 0.1, truncate: 0.1, flip: 0.1 };
  const play = (seed: number) => through({ seed, ...faults }, 500).out;
  assert.deepEqual(play(7), play(7));
  assert.notDeepEqual(play(7), play(8));
});

test('a packet alone in its batch can be late too: it comes with the next receive, even if nothing else does', () => {
  const inner = new MemoryLink();
  const link = new FaultInjector(inner, { seed: 9, reorder: 1 });
  inner.push(packet(20, 1));
  const batch = new Batch();
  assert.equal(link.receive(batch), 0);
  inner.push(packet(20, 2));
  assert.equal(link.receive(batch), 1);
  assert.equal(copyOut(batch, 0).bytes[0], 1);
  batch.clear();
  assert.equal(link.receive(batch), 1);
  assert.equal(copyOut(batch, 0).bytes[0], 2);
});

test('duplicates do not take the room that receive leaves to the engine', () => {
  const inner = new MemoryLink();
  const link = new FaultInjector(inner, { seed: 10, duplicate: 1 });
  for (let i = 0; i < RECEIVE_SLOTS; i++) inner.push(packet(20, i));
  const batch = new Batch();
  assert.equal(link.receive(batch), RECEIVE_SLOTS);
  batch.clear();
  assert.equal(link.receive(batch), RECEIVE_SLOTS, 'they come later');
});
