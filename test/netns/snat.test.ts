import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { addressOf, config, INTERNET, LAN, P, portOf, raise, type Stage } from './stage.js';

describe('SNAT on the real kernel', () => {
  let stage: Stage;
  before(async () => {
    stage = await raise(
      config(
        `nat:\n  - { from: [${LAN.b}], proto: udp, mapping: endpoint-independent, filtering: endpoint-independent }\n`,
      ),
    );
  });
  after(() => stage?.lab.close());

  test('a download of 32 MiB arrives intact and the server sees P', async () => {
    const got = await stage.a.download(`http://${INTERNET.one}:8080/${32 << 20}`);
    assert.equal(got.bytes, 32 << 20);
    assert.ok(got.intact);
    assert.equal(addressOf(got.peer), P);
  });

  test('an upload of 32 MiB arrives intact', async () => {
    const got = await stage.one.download(`http://${P}:10080/${32 << 20}`);
    assert.equal(got.bytes, 32 << 20);
    assert.ok(got.intact);
  });

  for (const proto of ['tcp', 'udp'] as const) {
    test(`REQ-1 ${proto}: one inside endpoint to two destinations has one outside endpoint`, async () => {
      const first = await stage.a.ask(proto, { to: INTERNET.one, port: 7, localPort: 41_001 });
      const second = await stage.a.ask(proto, { to: INTERNET.two, port: 7, localPort: 41_001 });
      assert.equal(addressOf(first.peer), P);
      assert.equal(first.peer, second.peer);
    });

    test(`REQ-3 ${proto}: two inside endpoints with one source port have different outside ports`, async () => {
      const first = await stage.a.ask(proto, { to: INTERNET.one, port: 7, localPort: 26_002 });
      const second = await stage.b.ask(proto, { to: INTERNET.one, port: 7, localPort: 26_002 });
      assert.notEqual(first.peer, second.peer);
    });

    test(`REQ-5 ${proto}: the source port is kept when it is free in the pool, parity otherwise`, async () => {
      const kept = await stage.a.ask(proto, { to: INTERNET.one, port: 7, localPort: 26_123 });
      assert.equal(kept.peer, `${P}:26123`);
      for (const localPort of [41_003, 41_004]) {
        const port = portOf((await stage.a.ask(proto, { to: INTERNET.one, port: 7, localPort })).peer);
        assert.ok(port >= 20_000 && port <= 29_999, `${port} is in the pool`);
        assert.equal(port % 2, localPort % 2);
      }
    });
  }

  test('REQ-9 address-dependent filtering (default): the remote may answer from another port, a third host may not', async () => {
    const inside = await stage.a.bind();
    await inside.send(INTERNET.one, 7, 'open');
    const seen = JSON.parse((await inside.next()).text) as { peer: string };
    const other = await stage.one.bind(5000);
    const stranger = await stage.two.bind(5000);
    await stranger.send(P, portOf(seen.peer), 'from a stranger');
    await other.send(P, portOf(seen.peer), 'from another port');
    const got = await inside.next();
    assert.deepEqual(got, { text: 'from another port', peer: `${INTERNET.one}:5000`, bytes: 17 });
    await assert.rejects(inside.next(0.5), /timeout/);
    await Promise.all([inside.close(), other.close(), stranger.close()]);
  });

  test('REQ-9 endpoint-independent filtering by rule: a third host is let in', async () => {
    const inside = await stage.b.bind();
    await inside.send(INTERNET.one, 7, 'open');
    const seen = JSON.parse((await inside.next()).text) as { peer: string };
    const stranger = await stage.two.bind(5001);
    await stranger.send(P, portOf(seen.peer), 'from a stranger');
    assert.equal((await inside.next()).peer, `${INTERNET.two}:5001`);
    await Promise.all([inside.close(), stranger.close()]);
  });

  test('many connections at once: 200 clients of one server are answered', async () => {
    const answers = await Promise.all(
      Array.from({ length: 200 }, (_, i) => stage.a.askTcp({ to: INTERNET.one, port: 7 }, `n${i}`)),
    );
    assert.equal(new Set(answers.map((answer) => answer.peer)).size, 200);
    assert.ok(answers.every((answer, i) => answer.text === `n${i}`));
  });
});
