import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { fragment, macOf, sendRaw, udp } from './packet.js';
import { addressOf, assertWorks, INTERNET, LAN, P, raise, type Stage } from './stage.js';

const BIG = 'fragment '.repeat(500); // 4500 bytes, 4 fragments

describe('REQ-15 fragments on the real kernel', () => {
  let stage: Stage;
  before(async () => {
    stage = await raise();
  });
  after(() => stage?.lab.close());

  test('a large datagram goes out and its large answer comes back', async () => {
    const answer = await stage.a.askUdp({ to: INTERNET.one, port: 7 }, BIG);
    assert.equal(answer.text, BIG);
    assert.equal(addressOf(answer.peer), P);
  });

  test('a large datagram reaches a forward and is answered', async () => {
    const answer = await stage.two.askUdp({ to: P, port: 30_042 }, BIG);
    assert.equal(answer.text, BIG);
    assert.equal(answer.host, 'client-b');
  });

  test('a large datagram goes by hairpin', async () => {
    const answer = await stage.a.askUdp({ to: P, port: 30_042 }, BIG);
    assert.equal(answer.text, BIG);
    assert.equal(addressOf(answer.peer), P);
  });

  for (const [order, arrange] of [
    ['last first', (pieces: Uint8Array[]) => pieces.toReversed()],
    ['first in the middle', (pieces: Uint8Array[]) => [pieces[2]!, pieces[0]!, pieces[3]!, pieces[1]!]],
  ] as const)
    test(`out → in, ${order}`, async () => {
      const socket = await stage.one.bind();
      const payload = udp(INTERNET.one, socket.port, P, 30_042, BIG);
      const packet = { src: INTERNET.one, dst: P, proto: 17, id: 4000 + order.length, payload };
      const router = await macOf(stage.router.ns, 'vmbr0');
      await sendRaw(stage.inet, 'wan', router, arrange(fragment(packet, 1480)));
      const answer = JSON.parse((await socket.next()).text) as { host: string; text: string };
      assert.equal(answer.host, 'client-b');
      assert.equal(answer.text, BIG);
      await socket.close();
    });

  test('in → out, last first', async () => {
    const socket = await stage.a.bind();
    const payload = udp(LAN.a, socket.port, INTERNET.one, 7, BIG);
    const packet = { src: LAN.a, dst: INTERNET.one, proto: 17, id: 4100, payload };
    await sendRaw(stage.a.ns, 'eth0', await macOf(stage.router.ns, 'vmbr1'), fragment(packet, 1480).toReversed());
    const answer = JSON.parse((await socket.next()).text) as { peer: string; text: string };
    assert.equal(answer.text, BIG);
    assert.equal(addressOf(answer.peer), P);
    await socket.close();
  });

  test('a fragmented datagram for the host itself reaches the host', async () => {
    const answer = await stage.one.askUdp({ to: P, port: 53 }, BIG);
    assert.equal(answer.host, 'router');
    assert.equal(answer.text, BIG);
  });

  test('a flood of 20,000 first-less fragments leaves other flows unaffected', async () => {
    const connection = await stage.a.connect({ to: INTERNET.one, port: 7 });
    await connection.say('before');
    const router = await macOf(stage.router.ns, 'vmbr0');
    const flood = Array.from({ length: 20_000 }, (_, id) => {
      const payload = new Uint8Array(64);
      return fragment({ src: INTERNET.two, dst: P, proto: 17, id, payload }, 32)[1]!;
    });
    const sending = sendRaw(stage.inet, 'wan', router, flood);
    for (let i = 0; i < 20; i++) assert.equal((await connection.say(`during ${i}`)).text, `during ${i}`);
    await sending;
    await assertWorks(stage);
    // Honest fragments find room again once the flood is dropped or timed out.
    assert.equal((await connection.say('after')).text, 'after');
    await connection.hangUp();
  });
});
