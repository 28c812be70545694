/** Forwards and blocks of the running router, by the verbs that an administrator types. */
import assert from 'node:assert/strict';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import type { BlockRow, ChangeAnswer, Flow, ForwardRow } from '../../src/contract/api.js';
import { eventually, INTERNET, LAN, P, raise, type Stage } from './stage.js';

describe('changes at run time', () => {
  let stage: Stage;
  let own: string;
  before(async () => {
    stage = await raise();
    own = join(stage.daemon.dir, 'conf.d', '90-tungate.yaml');
  });
  after(() => stage?.lab.close());

  const reaches = async (port: number) => (await stage.one.tryAsk('tcp', { to: P, port, seconds: 1 })) === 'client-b';

  test('forward add: at once, with name and sources; written so that it lasts', async () => {
    const { daemon, one, two } = stage;
    const added = await daemon.cli(
      'forward',
      'add',
      `8022:${LAN.b}:22/tcp`,
      '--as',
      'late',
      '--from',
      '198.51.100.0/24',
    );
    assert.equal(added.code, 0, added.stderr);
    assert.match(
      added.stderr,
      /^forwards added: late; generation \d+; flows: \d+ stayed, 0 moved, 0 ended; written to .*90-tungate\.yaml\n$/,
    );
    assert.equal((await one.askTcp({ to: P, port: 8022 })).local, `${LAN.b}:22`);
    assert.notEqual(await two.tryAsk('tcp', { to: P, port: 8022, seconds: 1 }), 'client-b');
    assert.match(readFileSync(own, 'utf8'), /name: late/);
    const rows = await daemon.json<ForwardRow[]>('forward', 'list');
    assert.deepEqual(
      rows.map(({ name, written }) => [name, written]),
      [
        ['10000-10999/tcp', 'config'],
        ['game', 'config'],
        ['ssh-of-vm', 'config'],
        ['late', 'lasting'],
      ],
    );
  });

  test('a change that does not fit is refused with the reason and exit 2, and nothing is written', async () => {
    const { daemon } = stage;
    const text = readFileSync(own, 'utf8');
    for (const [spec, message] of [
      [`10005:${LAN.b}`, /both take tcp port 10005/],
      ['8023:10.0.0.1', /target 10\.0\.0\.1 is in no LAN/],
      ['nonsense', /"nonsense" is not a forward/],
      // As at a start: the host's own SSH keeps its port.
      [
        `22:${LAN.b}`,
        /90-tungate\.yaml:\d+:\d+: \S+ \(pid \d+\) holds tcp port 22 of 203\.0\.113\.10, which forward "22\/tcp" takes/,
      ],
    ] as const) {
      const { code, stderr } = await daemon.cli('forward', 'add', spec);
      assert.equal(code, 2, stderr);
      assert.match(stderr, message);
    }
    assert.equal(readFileSync(own, 'utf8'), text);
    assert.equal((await daemon.cli('status')).stdout.includes('reload refused'), false);
  });

  test('--temporary outlives a crash and a hand-over, not a stop', async () => {
    const { daemon } = stage;
    const added = await daemon.json<ChangeAnswer>('forward', 'add', `8024:${LAN.b}:22`, '--temporary');
    assert.deepEqual(added.files, [join(daemon.runtimeDir, 'default', 'temporary.yaml')]);
    assert.ok(await reaches(8024));
    await daemon.kill();
    await daemon.up();
    assert.ok(await reaches(8024));
    assert.equal(await daemon.stop('SIGUSR2'), 0);
    await daemon.up();
    assert.ok(await reaches(8024));
    assert.equal(await daemon.stop(), 0);
    await daemon.up();
    assert.equal(await reaches(8024), false);
    assert.equal((await stage.one.askTcp({ to: P, port: 8022 })).host, 'client-b', 'what was to last has lasted');
  });

  test('forward remove: its flows end at once; what another file says is removed there', async () => {
    const { daemon, one } = stage;
    const open = await one.connect({ to: P, port: 8022 });
    await open.say('x');
    const removed = await daemon.json<ChangeAnswer>('forward', 'remove', 'late');
    assert.equal(removed.difference, 'forwards removed: late');
    assert.ok(removed.flows.ended >= 1);
    await assert.rejects(open.say('y', 1));
    const { code, stderr } = await daemon.cli('forward', 'remove', 'game');
    assert.equal(code, 1);
    assert.match(stderr, /tungate\.yaml:\d+:\d+: is written in a file that is not tungate's own; remove it there/);
    assert.equal((await daemon.cli('forward', 'remove', 'late')).code, 1);
  });

  test('block: flows of the address end at once, in both directions, until it is over or unblocked', async () => {
    const { daemon, a, one, two } = stage;
    const out = await a.connect({ to: INTERNET.one, port: 7 });
    const inward = await one.connect({ to: P, port: 10_007 });
    await Promise.all([out.say('x'), inward.say('x')]);
    const blocked = await daemon.json<ChangeAnswer>('block', '198.51.100.0/24', '--for', '4s', '--temporary');
    assert.ok(blocked.flows.ended >= 2);
    assert.equal((await daemon.json<BlockRow[]>('block', 'list'))[0]!.address, '198.51.100.0/24');
    await assert.rejects(out.say('y', 1));
    await assert.rejects(inward.say('y', 1));
    assert.notEqual(await one.tryAsk('tcp', { to: P, port: 10_007, seconds: 1 }), 'client-a');
    assert.equal((await two.askTcp({ to: P, port: 10_007 })).host, 'client-a');
    await eventually(
      'the block ends by itself',
      async () => (await a.tryAsk('tcp', { to: INTERNET.one, port: 7, seconds: 1 })) === 'host-1',
    );
    assert.deepEqual(await daemon.json('block', 'list'), []);

    assert.equal((await daemon.cli('block', INTERNET.two)).code, 0);
    assert.match(readFileSync(own, 'utf8'), /192\.0\.2\.10\/32/);
    assert.notEqual(await a.tryAsk('tcp', { to: INTERNET.two, port: 7, seconds: 1 }), 'host-2');
    assert.equal((await daemon.cli('unblock', INTERNET.two)).code, 0);
    assert.equal((await a.askTcp({ to: INTERNET.two, port: 7 })).host, 'host-2');
    assert.equal((await daemon.cli('unblock', INTERNET.two)).code, 1);
    assert.equal((await daemon.cli('block', '1.2.3')).code, 2);
    assert.equal((await daemon.cli('block', '1.2.3.4', '--for', 'ever')).code, 2);
  });

  test('flows delete takes the filters of the list, and none is not all', async () => {
    const { daemon, a, b } = stage;
    const [one, two] = [await a.connect({ to: INTERNET.one, port: 7 }), await b.connect({ to: INTERNET.one, port: 7 })];
    await Promise.all([one.say('x'), two.say('x')]);
    const all = await daemon.cli('flows', 'delete');
    assert.deepEqual([all.code, /which flows\?/.test(all.stderr)], [2, true]);
    const ended = await daemon.json<{ ended: number }>('flows', 'delete', '-p', 'tcp', '-s', LAN.a, '--dport', '7');
    assert.ok(ended.ended >= 1);
    assert.deepEqual(
      (await daemon.json<Flow[]>('flows', '-p', 'tcp', '--dport', '7')).filter((flow) => flow.original.src === LAN.a),
      [],
    );
    await two.say('y');
    assert.equal((await daemon.cli('flows', 'remove')).code, 2);
  });

  test('after `stop` nothing of it is left but what was to last', async () => {
    assert.equal(await stage.daemon.stop(), 0);
    assert.equal(existsSync(join(stage.daemon.runtimeDir, 'default')), false);
    assert.ok(existsSync(own));
  });
});
