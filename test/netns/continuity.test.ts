import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { assertWorks, config, FORWARDS, INTERNET, LAN, P, pause, raise, type Stage } from './stage.js';

describe('flows live on', () => {
  let stage: Stage;
  before(async () => {
    stage = await raise();
  });
  after(() => stage?.lab.close());

  /** Connections of each kind; the returned function asks each whether it still works. */
  async function connections(): Promise<(text: string) => Promise<void>> {
    const open = [
      await stage.a.connect({ to: INTERNET.one, port: 7 }),
      await stage.one.connect({ to: P, port: 10_007 }),
      await stage.b.connect({ to: P, port: 10_007 }),
    ];
    return async (text) => {
      for (const [i, connection] of open.entries())
        assert.equal((await connection.say(text, 10)).text, text, `connection ${i}, ${text}`);
    };
  }

  test('REQ-61 a reload that changes one forward: every other flow loses no packet', async () => {
    const others = await connections();
    await others('before');
    const changed = await stage.two.connect({ to: P, port: 30_099 });
    await changed.say('before');
    const ping = stage.a.ns.spawn(['ping', '-n', '-i', '0.01', '-c', '200', '-W', '2', INTERNET.one]);
    await pause(500);
    const moved = FORWARDS.map((line) => line.replace('ports: 30000-30099', 'ports: 31000-31099'));
    const result = await stage.daemon.reload(config('', moved));
    assert.equal(result.code, 0, result.stderr);
    await others('after');
    await ping.ended;
    assert.match(ping.stdout, / 200 received, 0% packet loss/);
    assert.equal((await stage.two.askTcp({ to: P, port: 31_099 })).host, 'client-b');
    await assert.rejects(changed.say('after', 1), /timeout|closed|ECONNRESET/);
  });

  test('REQ-62 established TCP goes on after `tungate stop --keep` and start', async () => {
    const all = await connections();
    await all('before');
    assert.equal((await stage.daemon.cli('stop', '--keep')).code, 0);
    assert.equal(await stage.daemon.process.ended, 0);
    await stage.daemon.up();
    await all('after');
  });

  test('REQ-62 established TCP goes on after SIGUSR2 and start', async () => {
    const all = await connections();
    await all('before');
    assert.equal(await stage.daemon.stop('SIGUSR2'), 0);
    await stage.daemon.up();
    await all('after');
  });

  test('REQ-62 established TCP goes on after SIGKILL and start, also in the middle of a busy time', async () => {
    const all = await connections();
    await all('before');
    const busy = stage.a.ns.spawn(['ping', '-q', '-n', '-i', '0.002', INTERNET.one]);
    for (let round = 0; round < 3; round++) {
      await stage.daemon.kill();
      await stage.daemon.up();
      await all(`after crash ${round}`);
    }
    await busy.stop('SIGINT');
    const seen = await stage.a.askTcp({ to: INTERNET.one, port: 7 });
    assert.ok(seen.peer.startsWith(`${P}:`));
  });

  test('a plain stop and start: new flows work at once', async () => {
    assert.equal(await stage.daemon.stop(), 0);
    await stage.daemon.up();
    await assertWorks(stage);
    assert.equal((await stage.one.askTcp({ to: P, port: 2222 })).local, `${LAN.a}:22`);
  });
});
