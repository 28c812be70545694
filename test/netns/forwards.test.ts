import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { addressOf, config, FORWARDS, INTERNET, LAN, P, raise, type Stage } from './stage.js';

describe('forwards on the real kernel', () => {
  let stage: Stage;
  before(async () => {
    stage = await raise(
      config('', [
        ...FORWARDS,
        `{ name: one-port, ports: 4000-4009, to: "${LAN.a}:9999", proto: tcp }`,
        `{ name: ping-b, to: "${LAN.b}", proto: icmp }`,
      ]),
    );
  });
  after(() => stage?.lab.close());

  for (const port of [10_000, 10_007, 10_999])
    test(`a range to the same ports: TCP ${port} reaches client-a, which sees the client's own address and port`, async () => {
      const answer = await stage.one.askTcp({ to: P, port });
      assert.deepEqual([answer.host, answer.local, answer.peer], ['client-a', `${LAN.a}:${port}`, answer.from]);
    });

  for (const [proto, port, target] of [
    ['tcp', 30_000, 8000],
    ['tcp', 30_099, 8099],
    ['udp', 30_042, 8042],
  ] as const)
    test(`a range with an offset: ${proto} ${port} reaches client-b on ${target}`, async () => {
      const answer = await stage.two.ask(proto, { to: P, port });
      assert.equal(answer.host, 'client-b');
      assert.equal(answer.local.split(':')[1], String(target));
      assert.equal(answer.peer, answer.from);
    });

  test('a range to one port', async () => {
    for (const port of [4000, 4009]) assert.equal((await stage.one.askTcp({ to: P, port })).local, `${LAN.a}:9999`);
  });

  test('`from`: the listed source gets in, another one is not answered', async () => {
    assert.equal(await stage.one.tryAsk('tcp', { to: P, port: 2222 }), 'client-a');
    assert.equal(await stage.two.tryAsk('tcp', { to: P, port: 2222, seconds: 1 }), 'timeout');
  });

  test('`from` is matched before NAT: a LAN that is not listed is refused too, and told so at once (REQ-30)', async () => {
    assert.equal(await stage.b.tryAsk('tcp', { to: P, port: 2222, seconds: 1 }), 'EHOSTUNREACH');
  });

  test('an ICMP forward: echo to P is answered by client-b', async () => {
    const { stdout } = await stage.one.ns.run(['ping', '-n', '-c', '2', '-i', '0.2', '-W', '2', P]);
    assert.match(stdout, /2 received/);
    const before = await stage.b.ns.must(['nstat', '-asz', 'IcmpInEchos']);
    assert.match(before, /IcmpInEchos\s+[2-9]/);
  });

  test('REQ-70: what the target endpoint sends first leaves from its own P:p', async () => {
    const socket = await stage.b.bind(8055);
    await socket.send(INTERNET.two, 7, 'first');
    const seen = JSON.parse((await socket.next()).text) as { peer: string };
    assert.equal(seen.peer, `${P}:30055`);
    await socket.close();
  });

  test('`tungate rules` counts each forward', async () => {
    const rules =
      await stage.daemon.json<{ name: string; flows: number; packetsIn: number; refused: number }[]>('rules');
    const game = rules.find((rule) => rule.name === 'game');
    assert.ok(game && game.flows >= 3 && game.packetsIn >= 3, JSON.stringify(game));
    const ssh = rules.find((rule) => rule.name === 'ssh-of-vm');
    assert.ok(ssh && ssh.refused >= 1, JSON.stringify(ssh));
  });

  test("a port beside the ranges is the host's: refused by its own kernel", async () => {
    assert.equal(await stage.one.tryAsk('tcp', { to: P, port: 11_000 }), 'ECONNREFUSED');
    assert.equal(addressOf((await stage.one.askUdp({ to: P, port: 53 })).peer), INTERNET.one);
  });
});
