import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { addressOf, config, INTERNET, P, portOf, raise, type Stage } from './stage.js';

describe('REQ-10 hairpin on the real kernel', () => {
  let stage: Stage;
  before(async () => {
    stage = await raise(config('nat:\n  - { proto: udp, filtering: endpoint-independent }\n'));
  });
  after(() => stage?.lab.close());

  test('TCP forward, from the other client: the receiver sees P', async () => {
    const answer = await stage.b.askTcp({ to: P, port: 10_007 });
    assert.equal(answer.host, 'client-a');
    assert.equal(addressOf(answer.peer), P);
  });

  test('TCP forward, from the same client: the receiver sees P', async () => {
    const answer = await stage.a.askTcp({ to: P, port: 10_000 });
    assert.equal(answer.host, 'client-a');
    assert.equal(addressOf(answer.peer), P);
  });

  test('UDP forward, from the other client', async () => {
    const answer = await stage.a.askUdp({ to: P, port: 30_042 });
    assert.equal(answer.host, 'client-b');
    assert.equal(addressOf(answer.peer), P);
  });

  test('UDP forward, from the same client', async () => {
    const answer = await stage.b.askUdp({ to: P, port: 30_042 });
    assert.equal(answer.host, 'client-b');
    assert.equal(addressOf(answer.peer), P);
  });

  test('dynamic mapping: the receiver sees P:p of the sender, and its answer comes back', async () => {
    const left = await stage.a.bind();
    const right = await stage.b.bind();
    await left.send(INTERNET.one, 7, 'who am I');
    const leftOutside = (JSON.parse((await left.next()).text) as { peer: string }).peer;
    await right.send(INTERNET.one, 7, 'who am I');
    const rightOutside = (JSON.parse((await right.next()).text) as { peer: string }).peer;
    await right.send(P, portOf(leftOutside), 'hello neighbour');
    assert.deepEqual(await left.next(), { text: 'hello neighbour', peer: rightOutside, bytes: 15 });
    await left.send(P, portOf(rightOutside), 'hello back');
    assert.deepEqual(await right.next(), { text: 'hello back', peer: leftOutside, bytes: 10 });
    await Promise.all([left.close(), right.close()]);
  });

  test('the host itself reaches its own forward by P', async () => {
    const answer = await stage.router.askTcp({ to: P, port: 10_007 });
    assert.equal(answer.host, 'client-a');
    assert.equal(addressOf(answer.peer), P);
  });

  test('a download by hairpin arrives intact', async () => {
    const got = await stage.b.download(`http://${P}:10080/${16 << 20}`);
    assert.ok(got.intact);
    assert.equal(got.bytes, 16 << 20);
  });
});
