import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { isMainThread, Worker, workerData } from 'node:worker_threads';
import { native } from '../../src/native.js';

const ROUNDS = 50_000;
const WORKERS = 3;

/** A lock as the flow table has one: 0 free, 1 held, 2 held with sleepers. */
function lock(words: Int32Array): void {
  let seen = Atomics.compareExchange(words, 0, 0, 1);
  if (seen === 0) return;
  if (seen !== 2) seen = Atomics.exchange(words, 0, 2);
  while (seen !== 0) {
    native.futexWait(words, 0, 2, 1000);
    seen = Atomics.exchange(words, 0, 2);
  }
}

function unlock(words: Int32Array): void {
  if (Atomics.exchange(words, 0, 0) === 2) native.futexWake(words, 0);
}

if (!isMainThread) {
  const words = new Int32Array(native.mapFile(workerData.path, 4096).buffer);
  for (let i = 0; i < ROUNDS; i++) {
    lock(words);
    words[1]!++; // not atomic on purpose: only the lock keeps it right
    words[2 + workerData.index]!++;
    unlock(words);
  }
} else {
  const dir = mkdtempSync(join(tmpdir(), 'tungate-memory-'));
  after(() => rmSync(dir, { recursive: true }));

  test('a file that is not there is made: 0600, zeroed, all its pages allocated', () => {
    const path = join(dir, 'new');
    const { buffer, created } = native.mapFile(path, 1024 * 1024);
    assert.equal(created, true);
    assert.equal(buffer.byteLength, 1024 * 1024);
    assert.ok(new Uint8Array(buffer).every((byte) => byte === 0));
    const status = statSync(path);
    assert.equal(status.mode & 0o7777, 0o600);
    assert.equal(status.size, 1024 * 1024);
    assert.ok(status.blocks * 512 >= 1024 * 1024, 'pages are not allocated');
  });

  test('a file that is there keeps its words, and both mappings show what either writes', () => {
    const path = join(dir, 'again');
    const first = new Int32Array(native.mapFile(path, 8192).buffer);
    first[7] = 42;
    const again = native.mapFile(path, 8192);
    assert.equal(again.created, false);
    const second = new Int32Array(again.buffer);
    assert.equal(second[7], 42);
    second[8] = 43;
    assert.equal(first[8], 43);
    assert.equal(readFileSync(path).readInt32LE(32), 43);
  });

  test('what cannot be mapped is refused with code, call and path', () => {
    const target = join(dir, 'target');
    writeFileSync(target, 'mine');
    symlinkSync(target, join(dir, 'symlink'));
    assert.throws(() => native.mapFile(join(dir, 'symlink'), 4096), { code: 'ELOOP', syscall: 'open' });
    assert.equal(readFileSync(target, 'utf8'), 'mine');
    mkdirSync(join(dir, 'folder'));
    assert.throws(() => native.mapFile(join(dir, 'folder'), 4096), { code: 'EISDIR' });
    assert.throws(() => native.mapFile(join(dir, 'no', 'such'), 4096), { code: 'ENOENT', message: /no\/such/ });
    for (const bytes of [0, -1, 1.5, Number.NaN, 2 ** 60]) {
      assert.throws(() => native.mapFile(join(dir, 'size'), bytes), RangeError);
    }
    assert.equal(existsSync(join(dir, 'size')), false);
    assert.throws(() => native.mapFile('/tmp/a\0b', 4096), TypeError);
    chmodSync(target, 0o600);
  });

  test('three workers and one lock in a mapped file: no increment is lost', async () => {
    const path = join(dir, 'lock');
    const words = new Int32Array(native.mapFile(path, 4096).buffer);
    await Promise.all(
      Array.from({ length: WORKERS }, (_, index) => {
        const worker = new Worker(fileURLToPath(import.meta.url), { workerData: { path, index } });
        return new Promise<void>((resolve, reject) => {
          worker.once('error', reject);
          worker.once('exit', (code) => (code === 0 ? resolve() : reject(new Error(`worker ended with ${code}`))));
        });
      }),
    );
    assert.deepEqual([...words.subarray(0, 2 + WORKERS)], [0, WORKERS * ROUNDS, ROUNDS, ROUNDS, ROUNDS]);
  });

  test('a futex wait ends by time, and at once when the word is another already', () => {
    const words = new Int32Array(native.mapAnonymous(4096));
    let start = native.boottime();
    native.futexWait(words, 3, 0, 30);
    assert.ok(native.boottime() - start >= 25);
    start = native.boottime();
    native.futexWait(words, 3, 1, 10_000);
    assert.ok(native.boottime() - start < 5000);
    assert.throws(() => native.futexWait(words, 1024, 0, 1), RangeError);
    assert.throws(() => native.futexWait(new Uint32Array(4) as unknown as Int32Array, 0, 0, 1), TypeError);
  });

  test('memory is given back when its buffer is collected', () => {
    // 300 buffers of 64 MiB, each touched once: kept, they would be 19 GiB of address space and 300 mappings.
    const script = `const { native } = await import(${JSON.stringify(new URL('../../src/native.js', import.meta.url).href)});
      const { readFileSync } = await import('node:fs');
      for (let i = 0; i < 300; i++) {
        new Uint8Array(native.mapAnonymous(64 * 1024 * 1024))[0] = 1;
        if (i % 10 === 9) { gc(); await new Promise(setImmediate); }
      }
      const maps = readFileSync('/proc/self/maps', 'utf8').match(/ \\/dev\\/zero/g) ?? [];
      console.log(maps.length);`;
    const out = execFileSync(process.execPath, ['--expose-gc', '--input-type=module', '-e', script], {
      encoding: 'utf8',
    });
    assert.ok(Number(out) < 100, `${out.trim()} mappings are left`);
  });
}
