/** `tungate top`, `trace`, and export and import over a stop: on real traffic. */
import assert from 'node:assert/strict';
import { readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import type { ImportAnswer, SeenAnswer, TopAnswer, TraceAnswer } from '../../src/contract/api.js';
import { INTERNET, LAN, P, raise, type Stage } from './stage.js';
import { Ticker } from './ticker.js';

describe('watching and moving', () => {
  let stage: Stage;
  before(async () => {
    stage = await raise();
  });
  after(() => stage?.lab.close());

  test('top: the busy inside host comes first, with its rate', async () => {
    const ping = stage.a.ns.spawn(['ping', '-q', '-n', '-i', '0.005', '-s', '1000', INTERNET.one]);
    await stage.b.askTcp({ to: INTERNET.one, port: 7 });
    const top = await stage.daemon.json<TopAnswer>('top');
    await ping.stop('SIGINT');
    assert.equal(top.hosts[0]!.address, LAN.a);
    assert.ok(top.seconds >= 0.9 && top.hosts[0]!.out > 1000 && top.hosts[0]!.in > 1000, JSON.stringify(top));
    assert.ok(top.received.packets > 10);
    assert.match((await stage.daemon.cli('top', '--once')).stdout, /INSIDE HOST +FLOWS +OUT +IN\n172\.22\.161\.170 /);
  });

  test('trace names the rule that decides, or the drop', async () => {
    const { daemon } = stage;
    const ssh = await daemon.json<TraceAnswer>('trace', INTERNET.one, `${P}:2222`, 'tcp');
    assert.equal(ssh.verdict, 'forward');
    assert.ok(ssh.steps.some(({ text }) => /^forward "ssh-of-vm" \(.*tungate\.yaml:\d+:\d+\)$/.test(text)));
    const other = await daemon.cli('trace', INTERNET.two, `${P}:2222`);
    assert.match(other.stdout, /drop: forward-source {2}To a forward whose `from` list/);
    const out = await daemon.cli('trace', LAN.b, INTERNET.one, 'icmp');
    assert.match(out.stdout, /rewrite +source → 203\.0\.113\.10/);
    assert.equal((await daemon.cli('trace', 'nobody', P)).code, 2);
  });

  test('trace ADDRESS waits for the next packets from or to it, and says what became of each', async () => {
    const { a, one, two, daemon } = stage;
    const live = async (args: string[], send: () => Promise<unknown>): Promise<SeenAnswer> => {
      const answer = daemon.json<SeenAnswer>('trace', ...args);
      let going = true;
      const traffic = (async () => {
        while (going) await send();
      })();
      const seen = await answer;
      going = false;
      await traffic;
      return seen;
    };
    const texts = ({ steps }: SeenAnswer) => steps.map(({ stage, text }) => `${stage}: ${text}`).join('\n');
    const out = await live([LAN.a, '-p', 'udp', '-d', INTERNET.one], () =>
      a.tryAsk('udp', { to: INTERNET.one, port: 7 }),
    );
    assert.equal(out.verdict, 'forward');
    // The question or, as chance has it, an answer that was under way.
    assert.match(
      texts(out),
      /^parse: udp (172\.22\.161\.170:\d+ → 198\.51\.100\.10:7|198\.51\.100\.10:7 → 203\.0\.113\.10:\d+)\n/,
    );
    assert.match(texts(out), /\nemit: [\d.]+:\d+ → [\d.]+:\d+ is sent$/);
    const inward = await live([`${INTERNET.one}:10007`], () => one.askTcp({ to: P, port: 10_007 }));
    assert.match(texts(inward), /forward ".*" \(.*tungate\.yaml:\d+:\d+\)/);
    const refused = await live([INTERNET.two, '-p', 'tcp'], () =>
      two.tryAsk('tcp', { to: P, port: 2222, seconds: 0.2 }),
    );
    assert.deepEqual([refused.verdict, refused.fate], ['forward-source', 'drop']);
  });

  test('trace ADDRESS: silence ends with 1, several packets one after the other, wrong words with 2', async () => {
    const { b, daemon } = stage;
    const silent = await daemon.cli('trace', '192.0.2.200', '--seconds', '0.2');
    assert.equal(silent.code, 1);
    assert.match(silent.stderr, /no packet from or to 192\.0\.2\.200 has reached the router in 0\.2 s/);
    const ping = b.ns.spawn(['ping', '-n', '-q', '-i', '0.05', INTERNET.one]);
    const three = await daemon.cli('trace', LAN.b, '-n', '3', '-p', 'icmp');
    await ping.stop('SIGINT');
    assert.equal(three.stdout.match(/^send: forward/gm)?.length, 3, three.stdout);
    for (const args of [
      ['nobody'],
      [LAN.b, '-n', '0'],
      [LAN.b, '-n', '101'],
      [LAN.b, '-p', 'tcpp'],
      [LAN.b, '--seconds', 'x'],
    ])
      assert.equal((await daemon.cli('trace', ...args)).code, 2, args.join(' '));
    assert.equal((await daemon.cli('trace', LAN.b, P, '-n', '2')).code, 2);
  });

  test('export, plain stop, start, import: a download goes on, and new flows get other ports', async () => {
    const { a, one, daemon } = stage;
    const tcp = await Ticker.start('tcp', a, one, 9001, 5);
    const file = join(daemon.dir, 'flows.state');
    assert.equal((await daemon.cli('flows', 'export', file)).code, 0);
    assert.equal(statSync(file).mode & 0o777, 0o600);
    assert.equal(await daemon.stop(), 0);
    await daemon.up();
    for (const [where, said] of [
      [`${daemon.dir}/none/x`, /there is no folder .*none; make it first/],
      [daemon.dir, /is a folder; name the file in it/],
    ] as const) {
      const { code, stderr } = await daemon.cli('flows', 'export', where);
      assert.deepEqual([code, said.test(stderr)], [1, true], stderr);
    }
    const damaged = readFileSync(file);
    damaged[damaged.length >> 1]! ^= 1;
    writeFileSync(`${file}.bad`, damaged);
    const bad = await daemon.cli('flows', 'import', `${file}.bad`);
    assert.deepEqual([bad.code, /the file is damaged/.test(bad.stderr)], [2, true]);
    const taken = await daemon.json<ImportAnswer>('flows', 'import', file);
    assert.ok(taken.flows.taken >= 1 && taken.mappings.taken >= 1, JSON.stringify(taken));
    const before = await a.askTcp({ to: INTERNET.one, port: 7 });
    assert.ok(before.peer.startsWith(`${P}:`));
    const heard = await tcp.stop();
    assert.deepEqual([heard.error, heard.lost], ['', 0]);
    const again = await daemon.json<ImportAnswer>('flows', 'import', file);
    assert.ok(
      again.flows.refused.some(({ reason }) => reason === 'in-use'),
      JSON.stringify(again),
    );
  });
});
