import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { clean } from '../../src/control/offline.js';
import { claimRuntimeDir, isMemoryBacked, ownerOf, runtimePaths } from '../../src/control/runtime-dir.js';

const base = mkdtempSync(join(tmpdir(), 'tungate-run-'));
after(() => rmSync(base, { recursive: true }));
let count = 0;
const fresh = () => runtimePaths(base, `n${count++}`);

test('paths: --runtime-dir, then TUNGATE_RUNTIME_DIR, then /run/tungate; a folder for each name', () => {
  const saved = process.env.TUNGATE_RUNTIME_DIR;
  try {
    delete process.env.TUNGATE_RUNTIME_DIR;
    assert.equal(runtimePaths().socket, '/run/tungate/default/api.sock');
    process.env.TUNGATE_RUNTIME_DIR = '/x';
    assert.equal(runtimePaths(undefined, 'b').undo, '/x/b/undo');
    assert.equal(runtimePaths('/y').flows, '/y/default/flows');
  } finally {
    if (saved === undefined) delete process.env.TUNGATE_RUNTIME_DIR;
    else process.env.TUNGATE_RUNTIME_DIR = saved;
  }
});

test('a name that leaves the directory, and a path too long for a socket, are refused', () => {
  for (const name of ['..', '.', '', 'a/b', '-x', 'x'.repeat(65)])
    assert.throws(() => runtimePaths(base, name), /--name/);
  assert.throws(() => runtimePaths(`/${'d'.repeat(100)}`), /at most 107 bytes/);
});

test('a directory that cannot be made is named, and trying ends: below a file, and where nobody may make one', () => {
  writeFileSync(join(base, 'file'), '');
  for (const dir of [join(base, 'file'), '/proc'])
    assert.throws(() => claimRuntimeDir(runtimePaths(dir, 'x')), /\/x: cannot be made .*another --runtime-dir/);
  const paths = runtimePaths(join(base, 'some', 'folders', 'down'));
  claimRuntimeDir(paths)();
  assert.ok(existsSync(paths.dir));
});

test('a claim names its owner, keeps a second one out, and ends with the release', () => {
  const paths = fresh();
  assert.equal(ownerOf(paths), null);
  const release = claimRuntimeDir(paths);
  assert.equal(statSync(paths.dir).mode & 0o777, 0o750);
  assert.equal(ownerOf(paths), process.pid);
  assert.throws(
    () => claimRuntimeDir(paths),
    new RegExp(`already running here \\(pid ${process.pid}, .*another --name`),
  );
  assert.deepEqual(readdirSync(paths.dir), ['pid'], 'no drafts are left');
  release();
  assert.equal(existsSync(paths.pid), false);
  claimRuntimeDir(paths)();
});

test('a directory that others may write in is refused, by a start and by clean; one made before for its owner is taken', () => {
  const paths = fresh();
  for (const mode of [0o777, 0o1777, 0o770, 0o2775]) {
    mkdirSync(paths.dir);
    chmodSync(paths.dir, mode);
    const refusal = new RegExp(`${paths.dir}: others may write there \\(mode ${mode.toString(8)}\\).* "chmod go-w`);
    assert.throws(() => claimRuntimeDir(paths), refusal);
    writeFileSync(paths.undo, '');
    assert.throws(() => clean(paths), refusal);
    assert.deepEqual(readdirSync(paths.dir), ['undo'], 'nothing is touched');
    rmSync(paths.dir, { recursive: true });
  }
  mkdirSync(paths.dir, { mode: 0o755 });
  claimRuntimeDir(paths)();
  clean(paths);
});

test('a claim of a process that is gone is stale; one whose number somebody else has now, too', async () => {
  const paths = fresh();
  mkdirSync(paths.dir);
  const child = spawn('sleep', ['60']);
  try {
    const start = readFileSync(`/proc/${child.pid}/stat`, 'latin1').split(') ')[1]!.split(' ')[19];
    writeFileSync(paths.pid, `${child.pid} ${start}\n`);
    assert.equal(ownerOf(paths), child.pid);
    writeFileSync(paths.pid, `${child.pid} ${Number(start) - 1}\n`);
    assert.equal(ownerOf(paths), null);
    claimRuntimeDir(paths)();
    writeFileSync(paths.pid, `${child.pid} ${start}\n`);
  } finally {
    child.kill('SIGKILL');
    await new Promise((resolve) => child.once('exit', resolve));
  }
  claimRuntimeDir(paths)();
  for (const torn of ['', 'x', '0 0', `${process.pid}`]) {
    writeFileSync(paths.pid, torn);
    claimRuntimeDir(paths)();
  }
  assert.deepEqual(readdirSync(paths.dir), []);
});

test('of many starters at the same moment over a stale claim exactly one wins', async () => {
  const paths = fresh();
  mkdirSync(paths.dir);
  writeFileSync(paths.pid, '1 1\n');
  const entry = new URL('../../src/control/runtime-dir.js', import.meta.url);
  const script = `
    const { claimRuntimeDir, runtimePaths } = await import(${JSON.stringify(entry.href)});
    while (Date.now() < ${Date.now() + 1500});
    try { claimRuntimeDir(runtimePaths(${JSON.stringify(base)}, ${JSON.stringify(paths.name)})); process.stdout.write('won'); } catch { process.stdout.write('lost'); }
    setTimeout(() => {}, 1500);`;
  const results = await Promise.all(
    Array.from(
      { length: 4 },
      () =>
        new Promise<string>((resolve) => {
          const child = spawn(process.execPath, ['--input-type=module', '-e', script], {
            stdio: ['ignore', 'pipe', 'inherit'],
          });
          let said = '';
          child.stdout.on('data', (chunk) => {
            said += chunk;
          });
          child.on('close', () => resolve(said));
        }),
    ),
  );
  assert.deepEqual(results.sort(), ['lost', 'lost', 'lost', 'won']);
});

test('tmpfs is told from a disk', () => {
  assert.equal(isMemoryBacked('/dev/shm'), true);
  assert.equal(isMemoryBacked('/proc'), false);
});
