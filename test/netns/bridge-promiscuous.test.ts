import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { assertWorks, Capture, LAN, raise, type Stage } from './stage.js';

let stage: Stage;
before(async () => {
  stage = await raise();
});
after(() => stage?.lab.close());

test('frames between two VMs stay between them while tcpdump runs on the bridge', async () => {
  const capture = await Capture.start(stage.router.ns, 'vmbr1', `src host ${LAN.a} and dst host ${LAN.b} and icmp`);
  const received = async () => (await stage.daemon.json<{ packets: { received: number } }>('status')).packets.received;
  const before = await received();
  const { stdout } = await stage.a.ns.run(['ping', '-n', '-c', '20', '-i', '0.01', '-W', '2', LAN.b]);
  assert.match(stdout, / 20 received/);
  assert.doesNotMatch(stdout, /DUP/);
  assert.equal((await stage.a.askTcp({ to: LAN.b, port: 22 })).peer.split(':')[0], LAN.a);
  assert.ok((await received()) - before < 5, 'the engine was not handed the frames');
  assert.ok((await capture.stop()).length >= 20, 'the bridge was promiscuous: tcpdump saw the frames');
  await assertWorks(stage);
});
