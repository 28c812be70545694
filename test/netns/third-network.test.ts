import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { assertWorks, Capture, prepare, type Stage, THIRD } from './stage.js';

let stage: Stage;
before(async () => {
  stage = await prepare(undefined, { third: true });
});
after(() => stage?.lab.close());

test('the witness is able to see one: without the router, a kernel with ip_forward=1 routes between them', async () => {
  stage.router.ns.sysctl('net.ipv4.ip_forward=1');
  assert.equal(await stage.a.tryAsk('tcp', { to: THIRD.host, port: 7 }), 'stranger');
  stage.router.ns.sysctl('net.ipv4.ip_forward=0');
  await stage.daemon.up();
});

test('another private bridge of the host sees no packet from a VM', async () => {
  const arrived = await Capture.start(stage.third!.ns, 'eth0', `dst host ${THIRD.host}`);
  assert.equal(await stage.a.tryAsk('tcp', { to: THIRD.host, port: 7, seconds: 1 }), 'timeout');
  assert.equal(await stage.a.tryAsk('udp', { to: THIRD.host, port: 7, seconds: 0.5 }), 'timeout');
  const { stdout } = await stage.a.ns.run(['ping', '-n', '-c', '2', '-i', '0.2', '-W', '1', THIRD.host]);
  assert.match(stdout, / 0 received/);
  assert.deepEqual(await arrived.stop(), []);
  await assertWorks(stage);
});

test('nor does a VM see a packet from there, and the host still reaches both', async () => {
  const arrived = await Capture.start(stage.a.ns, 'eth0', `src host ${THIRD.host}`);
  assert.notEqual(await stage.third!.tryAsk('tcp', { to: stage.a.address, port: 22, seconds: 1 }), 'client-a');
  assert.deepEqual(await arrived.stop(), []);
  assert.equal(await stage.router.tryAsk('tcp', { to: THIRD.host, port: 7 }), 'stranger');
  assert.equal(await stage.router.tryAsk('tcp', { to: stage.a.address, port: 22 }), 'client-a');
});
