import assert from 'node:assert/strict';
import { openSync } from 'node:fs';
import { test } from 'node:test';
import { Worker } from 'node:worker_threads';
import { Batch, Ctl, HEADROOM, PACKET_BYTES, VNET_BYTES } from '../../src/batch.js';
import { native } from '../../src/native.js';

const EINVAL = 22;

function register(batch: Batch, slots = 192, bytes = batch.data.length): number {
  return native.batchRegister(batch.ctl, batch.data, batch.off, batch.len, batch.list, slots, bytes);
}

test('the addon and batch.ts agree on the layout of a batch', () => {
  const ctl = { COUNT: Ctl.COUNT, USED: Ctl.USED, SECONDS: Ctl.SECONDS, MILLIS: Ctl.MILLIS };
  assert.deepEqual({ ...native.layout }, { HEADROOM, VNET_BYTES, PACKET_BYTES, ...ctl });
});

test('a batch whose arrays cannot hold what receive may fill is refused', () => {
  const batch = new Batch();
  assert.throws(() => register(batch, 0), RangeError);
  assert.throws(() => register(batch, 257), RangeError);
  assert.throws(() => register(batch, 192, batch.data.length + 1), RangeError);
  assert.throws(() => register(batch, 192, PACKET_BYTES), RangeError);
  const wrong = batch.data as unknown as Int32Array;
  assert.throws(() => native.batchRegister(wrong, batch.data, batch.off, batch.len, batch.list, 1, 100_000), TypeError);
  const short = new Int32Array(3);
  assert.throws(
    () => native.batchRegister(short, batch.data, batch.off, batch.len, batch.list, 1, 100_000),
    RangeError,
  );
});

test('numbers of batches are given out again, and a released one is not known', () => {
  const first = register(new Batch());
  const second = register(new Batch());
  assert.notEqual(first, second);
  native.batchRelease(first);
  assert.equal(native.tunReceive(0, first), -EINVAL);
  assert.equal(native.tunTransmit(0, first, 1), 0);
  assert.throws(() => native.batchRelease(first), RangeError);
  assert.equal(register(new Batch()), first);
  native.batchRelease(first);
  native.batchRelease(second);
});

test('a batch belongs to the thread that registered it', async () => {
  const id = register(new Batch());
  const worker = new Worker(
    `import { parentPort, workerData } from 'node:worker_threads';
     const { native } = await import(${JSON.stringify(new URL('../../src/native.js', import.meta.url).href)});
     parentPort.postMessage(native.tunReceive(0, workerData));`,
    { eval: true, workerData: id },
  );
  const answer = await new Promise((resolve, reject) => worker.once('message', resolve).once('error', reject));
  assert.equal(answer, -EINVAL);
  native.batchRelease(id);
});

test('slots and offsets that point outside of the batch are not sent, and the hot calls never throw', () => {
  const batch = new Batch();
  const id = register(batch);
  const fd = openSync('/dev/null', 'r+'); // takes whatever it is given
  const cases = [
    [-1, 0, 20],
    [256, 0, 20],
    [0, VNET_BYTES - 1, 20],
    [0, -64, 20],
    [0, 64, -1],
    [0, 64, batch.data.length],
    [0, batch.data.length + 1, 0],
    [0, 0x7fffffff, 0x7fffffff],
  ] as const;
  for (const [slot, off, len] of cases) {
    batch.list[0] = slot;
    batch.off[0] = off;
    batch.len[0] = len;
    assert.equal(native.tunTransmit(fd, id, 1), 0, `${slot} ${off} ${len}`);
  }
  [batch.list[0], batch.off[0], batch.len[0]] = [0, 64, 20];
  assert.equal(native.tunTransmit(fd, id, 1), 1);
  batch.list.fill(-1);
  assert.equal(native.tunTransmit(fd, id, 1_000_000), 0);
  for (const [count, used] of [
    [-1, 0],
    [0, -16],
    [0, 8],
  ]) {
    batch.ctl[Ctl.COUNT] = count!;
    batch.ctl[Ctl.USED] = used!;
    assert.equal(native.tunReceive(fd, id), -EINVAL);
  }
  batch.ctl[Ctl.COUNT] = 0;
  batch.ctl[Ctl.USED] = 0x7ffffff0;
  assert.equal(native.tunReceive(fd, id), 0, 'no room left');
  assert.equal(native.tunReceive('x' as unknown as number, id), -EINVAL);
  assert.equal(native.tunTransmit(undefined as unknown as number, id, 1), 0);
  native.batchRelease(id);
  native.closeFd(fd);
});
