/** Memory that runs out: a full runtime directory, at the start and later, and a process that may not grow. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { LAB_ENV } from '../../src/lab/index.js';
import { upAsPuppet } from './faults.js';
import {
  assertWorks,
  config,
  diffState,
  eventually,
  FORWARDS,
  INTERNET,
  kernelState,
  P,
  prepare,
  type Stage,
} from './stage.js';

const run = (file: string, ...args: string[]) => {
  const { status, stderr } = spawnSync(file, args, { encoding: 'utf8', env: LAB_ENV });
  assert.equal(status, 0, stderr);
};

describe('a runtime directory that is full', () => {
  let stage: Stage;
  before(async () => {
    stage = await prepare(config('limits: { flows: 16384 }\n'));
  });
  after(async () => {
    if (!stage) return;
    await stage.daemon.process?.stop('SIGKILL');
    spawnSync('umount', [stage.daemon.runtimeDir], { env: LAB_ENV });
    await stage.lab.close();
  });

  test('too small for the flow table: a start that says so and changes nothing', async () => {
    const { daemon, router } = stage;
    run('mount', '-t', 'tmpfs', '-o', 'size=1m', 'none', daemon.runtimeDir);
    const untouched = await kernelState(router.ns);
    daemon.launch();
    assert.equal(await daemon.process.ended, 1);
    assert.match(daemon.process.stderr, /ENOSPC.*flows|flows.*ENOSPC/s);
    assert.deepEqual(diffState(untouched, await kernelState(router.ns)), []);
  });

  test('full while it runs: packets flow; a reload that cannot be noted is refused, and taken when there is room', async () => {
    const { daemon, router, a } = stage;
    run('mount', '-o', 'remount,size=8m', daemon.runtimeDir);
    const untouched = await kernelState(router.ns);
    await daemon.up();
    const open = await a.connect({ to: INTERNET.one, port: 7 });
    await open.say('before');
    const hog = join(daemon.runtimeDir, 'hog');
    const filled = spawnSync('dd', ['if=/dev/zero', `of=${hog}`, 'bs=4096'], { env: LAB_ENV });
    assert.notEqual(filled.status, 0, 'it is full');
    assert.equal((await open.say('full')).text, 'full');
    await assertWorks(stage);
    const changed = config('limits: { flows: 16384 }\n', FORWARDS.slice(1));
    const refused = await daemon.reload(changed);
    assert.equal(refused.code, 1);
    assert.match(refused.stderr, /ENOSPC/);
    assert.equal((await open.say('after a reload')).text, 'after a reload');
    await assertWorks(stage); // the old forwards
    run('rm', hog);
    assert.equal((await daemon.reload(changed)).code, 0);
    assert.notEqual(
      await stage.one.tryAsk('tcp', { to: P, port: 10_007, seconds: 1 }),
      'client-a',
      'now it is in force',
    );
    assert.equal((await daemon.reload(config('limits: { flows: 16384 }\n'))).code, 0);
    await eventually('all is well', () =>
      assertWorks(stage).then(
        () => true,
        () => false,
      ),
    );
    await open.hangUp();

    spawnSync('dd', ['if=/dev/zero', `of=${hog}`, 'bs=4096'], { env: LAB_ENV });
    assert.equal(await daemon.stop(), 0, 'and a stop on a full file system puts everything back');
    assert.deepEqual(diffState(untouched, await kernelState(router.ns)), []);
    run('rm', hog);
    assert.deepEqual(
      readdirSync(daemon.runtimeDir, { recursive: true }).filter((name) => /undo|flows/.test(String(name))),
      [],
    );
  });
});

test('a process that may not grow: it serves what it can; when it dies the next start takes every flow', async () => {
  // RLIMIT_DATA stands in for a memory cgroup: it is reached in the same way, by the next page, and needs no cgroup of ours.
  const stage = await prepare();
  try {
    await upAsPuppet(stage);
    const { daemon, a } = stage;
    const open = await a.connect({ to: INTERNET.one, port: 7 });
    await open.say('before');
    const inside = await stage.one.connect({ to: P, port: 10_007 });
    await inside.say('before');
    const pid = daemon.process.child.pid!;
    const kib = Number(/^VmData:\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, 'latin1'))![1]);
    run('prlimit', '--pid', String(pid), `--data=${kib * 1024}:${kib * 1024}`);
    for (let round = 0; round < 5; round++) await open.say(`capped ${round}`, 10);
    // Work until it dies, or bears it: both are right. Wrong would be to hang, or to lose the flows.
    for (let round = 0; round < 20 && daemon.process.code === undefined; round++) {
      await daemon.cli('flows', '--json');
      writeFileSync(daemon.configFile, config('', round % 2 ? FORWARDS : FORWARDS.slice(0, 2)));
      await daemon.cli('reload');
    }
    console.log(
      `# at its limit of ${Math.round(kib / 1024)} MiB data: ${daemon.process.code === undefined ? 'bears it' : `ended with ${daemon.process.code}`}`,
    );
    daemon.configure(config());
    await daemon.kill();
    await daemon.up();
    assert.equal((await open.say('after', 20)).text, 'after');
    assert.equal((await inside.say('after', 20)).text, 'after');
    await assertWorks(stage);
  } finally {
    await stage.lab.close();
  }
});
