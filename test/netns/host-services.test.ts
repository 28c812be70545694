import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { config, FORWARDS, LAN, P, pause, prepare, repeat, type Stage } from './stage.js';

let stage: Stage;
before(async () => {
  stage = await prepare();
});
after(() => stage?.lab.close());

test("the host's own TCP service on P:22 answers at every moment: start, run, reload, crash, start, hand-over, stop", async () => {
  const { daemon, one, router } = stage;
  // One connection that lives through all of it, and a new one every few milliseconds.
  const standing = await one.connect({ to: P, port: 22 });
  let moment = 'before';
  const fresh = repeat(async () => `tcp ${moment}: ${await one.tryAsk('tcp', { to: P, port: 22 })}`, 5);
  // A client of a UDP service asks again: attaching the first filter to an interface, by whomever, makes the kernel drop
  // what leaves by it in that instant (see "clsact" in docs/architecture.md).
  const datagrams = repeat(async () => {
    const first = await one.tryAsk('udp', { to: P, port: 53, seconds: 0.5 });
    return `udp ${moment}: ${first === 'router' ? first : await one.tryAsk('udp', { to: P, port: 53 })}`;
  }, 5);
  const moments: [name: string, act: () => Promise<unknown>][] = [
    ['start', () => daemon.up()],
    ['run', () => pause(500)],
    ['reload', () => daemon.reload(config('', FORWARDS.slice(1)))],
    ['crash', () => daemon.kill()],
    ['after the crash', () => pause(300)],
    ['start after the crash', () => daemon.up()],
    ['hand-over', () => daemon.cli('stop', '--keep').then(() => daemon.process.ended)],
    ['start after the hand-over', () => daemon.up()],
    ['crash again', () => daemon.kill()],
    ['clean', () => daemon.cli('clean')],
    ['last start', () => daemon.up()],
    ['stop', () => daemon.stop()],
  ];
  for (const [name, act] of moments) {
    moment = name;
    await act();
    assert.equal((await standing.say(name)).text, name);
  }
  const seen = [...(await fresh.stop()), ...(await datagrams.stop())];
  assert.ok(seen.length > 100, `${seen.length} rounds`);
  assert.deepEqual(
    seen.filter((line) => !line.endsWith(': router')),
    [],
  );
  await standing.hangUp();
  assert.equal(await router.tryAsk('tcp', { to: LAN.gateway, port: 22 }), 'router');
});

test('the router itself uses the internet from P while the daemon runs', async () => {
  await stage.daemon.up();
  const answer = await stage.router.askTcp({ to: '198.51.100.10', port: 7 });
  assert.match(answer.peer, new RegExp(`^${P}:`));
  const { stdout } = await stage.router.ns.run(['ping', '-n', '-c', '2', '-i', '0.2', '-W', '2', '198.51.100.10']);
  assert.match(stdout, / 2 received/);
  assert.equal(await stage.a.tryAsk('tcp', { to: P, port: 22 }), 'router');
  assert.equal(await stage.a.tryAsk('udp', { to: LAN.gateway, port: 53 }), 'router');
});
