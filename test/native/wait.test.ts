import assert from 'node:assert/strict';
import { once } from 'node:events';
import { test } from 'node:test';
import { Worker } from 'node:worker_threads';
import { native } from '../../src/native.js';

const nativeUrl = JSON.stringify(new URL('../../src/native.js', import.meta.url).href);

test('the poller names each descriptor that is ready by its tag, until it is read', () => {
  const poller = native.pollerCreate();
  const low = native.wakeCreate();
  const high = native.wakeCreate();
  native.pollerAdd(poller, low, 0);
  native.pollerAdd(poller, high, 30);
  assert.equal(native.pollerWait(poller, 0), 0);
  native.wakeSet(low);
  native.wakeSet(low);
  native.wakeSet(high);
  assert.equal(native.pollerWait(poller, -1), 1 | (1 << 30));
  assert.equal(native.pollerWait(poller, 0), 1 | (1 << 30), 'level-triggered');
  native.wakeClear(low);
  native.wakeClear(low);
  assert.equal(native.pollerWait(poller, 0), 1 << 30);
  native.pollerRemove(poller, high);
  assert.equal(native.pollerWait(poller, 20), 0);
  for (const fd of [poller, low, high]) native.closeFd(fd);
});

test('a wait that times out has waited, by the boottime clock', () => {
  const poller = native.pollerCreate();
  const start = native.boottime();
  assert.equal(native.pollerWait(poller, 50), 0);
  assert.ok(native.boottime() - start >= 45);
  native.closeFd(poller);
});

test('a worker that blocks in the poller is woken by another thread', async () => {
  const fd = native.wakeCreate();
  const worker = new Worker(
    `import { parentPort, workerData } from 'node:worker_threads';
     const { native } = await import(${nativeUrl});
     const poller = native.pollerCreate();
     native.pollerAdd(poller, workerData, 5);
     parentPort.postMessage('waiting');
     parentPort.postMessage(native.pollerWait(poller, 20_000));`,
    { eval: true, workerData: fd },
  );
  const seen: unknown[] = [];
  worker.on('message', (message) => {
    seen.push(message);
    if (message === 'waiting') setTimeout(() => native.wakeSet(fd), 30);
  });
  const [code] = await once(worker, 'exit');
  assert.deepEqual([code, ...seen], [0, 'waiting', 1 << 5]);
  native.closeFd(fd);
});

test('a watch calls back while its descriptor is readable, and not after its end', async () => {
  const fd = native.wakeCreate();
  let calls = 0;
  const end = native.watch(fd, () => {
    calls++;
    native.wakeClear(fd);
  });
  for (let round = 1; round <= 3; round++) {
    native.wakeSet(fd);
    while (calls < round) await new Promise(setImmediate);
  }
  end();
  end();
  native.wakeSet(fd);
  await new Promise((resolve) => setTimeout(resolve, 30));
  assert.equal(calls, 3);
  native.closeFd(fd);
});

test('a watch may end itself in its callback', async () => {
  const fd = native.wakeCreate();
  await new Promise<void>((resolve) => {
    const end = native.watch(fd, () => {
      end();
      resolve();
    });
    native.wakeSet(fd);
  });
  await new Promise(setImmediate);
  native.closeFd(fd);
});

test('a worker that ends with an open watch ends cleanly', async () => {
  const worker = new Worker(
    `const { native } = await import(${nativeUrl});
     native.watch(native.wakeCreate(), () => {});
     setTimeout(() => process.exit(7), 30);`,
    { eval: true },
  );
  assert.deepEqual(await once(worker, 'exit'), [7]);
});

test('what a watch throws is an uncaught exception of its thread', async () => {
  const worker = new Worker(
    `const { native } = await import(${nativeUrl});
     const fd = native.wakeCreate();
     native.wakeSet(fd);
     native.watch(fd, () => { throw new Error('from the callback'); });`,
    { eval: true },
  );
  const [error] = await once(worker, 'error');
  assert.equal(error.message, 'from the callback');
});

test('a wrong descriptor is an error with code, errno and syscall, not a loop', () => {
  const fd = native.wakeCreate();
  native.closeFd(fd);
  assert.throws(() => native.closeFd(fd), { code: 'EBADF', errno: -9, syscall: 'close' });
  assert.throws(() => native.pollerWait(fd, 0), { code: 'EBADF' });
  assert.throws(() => native.wakeSet(fd), { code: 'EBADF' });
  assert.throws(() => native.pollerAdd(fd, fd, 0), { code: 'EBADF' });
  assert.throws(() => native.watch(fd, () => {}), { code: 'EBADF' });
  assert.throws(() => native.pollerAdd(0, 0, 31), RangeError);
  assert.throws(() => native.closeFd('3' as unknown as number), TypeError);
});
