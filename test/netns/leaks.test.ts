import assert from 'node:assert/strict';
import { after, beforeEach, describe, test } from 'node:test';
import {
  assertWorks,
  Capture,
  config,
  eventually,
  FORWARDS,
  INTERNET,
  LAN,
  P,
  pause,
  prepare,
  repeat,
  type Stage,
} from './stage.js';
import { Ticker } from './ticker.js';

/** A private address on the uplink's wire: as source (ARP included), or quoted inside an ICMP error. */
const PRIVATE = [
  `src net ${LAN.subnet}`,
  '(icmp and (icmp[0] = 3 or icmp[0] = 11 or icmp[0] = 12) and (icmp[20:4] & 0xffffff00 = 0xac16a100 or icmp[24:4] & 0xffffff00 = 0xac16a100))',
].join(' or ');

/** To a VM that is not there: the kernel itself says so, quoting its address. */
const FORWARDS_TO_ALL = [...FORWARDS, '{ ports: 12000, to: "172.22.161.99:80", proto: [tcp, udp] }'];

/** What a VM sends all the time: new TCP and UDP flows, echoes, fragments, hairpin, and packets for hosts that are not there. */
function busyClient({ a, b, one }: Stage) {
  const flows = repeat(async () => {
    await Promise.all([
      a.tryAsk('udp', { to: INTERNET.one, port: 7, seconds: 0.1 }),
      a.tryAsk('tcp', { to: INTERNET.one, port: 7, seconds: 0.1 }),
      a.tryAsk('tcp', { to: INTERNET.two, port: 99, seconds: 0.1 }),
      one.tryAsk('udp', { to: P, port: 30_001, seconds: 0.1 }), // closed port of client-b: an error from inside
      one.tryAsk('tcp', { to: P, port: 10_100, seconds: 0.1 }),
      one.tryAsk('udp', { to: P, port: 12_000, seconds: 0.1 }),
      a.tryAsk('udp', { to: P, port: 30_042, seconds: 0.1 }),
      a.tryAsk('udp', { to: P, port: 30_001, seconds: 0.1 }), // the same error by hairpin
      b.tryAsk('tcp', { to: P, port: 10_007, seconds: 0.1 }),
    ]);
  }, 5);
  const ping = a.ns.spawn(['ping', '-q', '-n', '-i', '0.01', '-s', '3000', INTERNET.one]);
  return async () => {
    await flows.stop();
    await ping.stop('SIGINT');
  };
}

describe('REQ-41 no private address on the uplink, captured on its wire', () => {
  const stages: Stage[] = [];
  let stage: Stage;
  beforeEach(async () => {
    await Promise.all(stages.splice(0).map((each) => each.lab.close()));
    stage = await prepare(config('', FORWARDS_TO_ALL));
    stages.push(stage);
  });
  after(() => Promise.all(stages.map((each) => each.lab.close())));

  test('REQ-66 the LAN bridge is deleted and made again, twenty times, with ip_forward on: nothing from or to the LAN', async () => {
    const { a, one, daemon, inet, router } = stage;
    router.ns.sysctl('net.ipv4.ip_forward=1');
    await daemon.up();
    const capture = await Capture.start(inet, 'wan', `net ${LAN.subnet}`);
    const inwards = await Ticker.start('udp', a, one, 9003, 2);
    const ping = a.ns.spawn(['ping', '-q', '-n', '-i', '0.005', INTERNET.two]);
    for (let round = 0; round < 20; round++) {
      router.ns.ip('link del vmbr1');
      await pause(30 + 10 * (round % 5));
      router.ns.ip(
        'link add vmbr1 type bridge stp_state 0 forward_delay 0 mcast_snooping 0',
        'link set vm170 master vmbr1',
        'link set vm20 master vmbr1',
        'link set vmbr1 up',
        `addr add ${LAN.gateway}/24 dev vmbr1`,
      );
      await pause(200);
    }
    await eventually('the LAN works again', () =>
      assertWorks(stage).then(
        () => true,
        () => false,
      ),
    );
    await inwards.stop();
    await ping.stop('SIGINT');
    assert.match(ping.stdout + ping.stderr, / packets transmitted/);
    assert.deepEqual((await capture.stop()).slice(0, 3), []);
  });

  test('the witness is able to see one: a kernel that routes without NAT leaks', async () => {
    stage.router.ns.sysctl('net.ipv4.ip_forward=1');
    const capture = await Capture.start(stage.inet, 'wan', PRIVATE);
    await stage.a.tryAsk('udp', { to: INTERNET.one, port: 7, seconds: 0.1 });
    assert.ok((await capture.stop()).length > 0);
  });

  test('before, start, run, reload, stop, after', async () => {
    const { daemon, inet } = stage;
    const capture = await Capture.start(inet, 'wan', PRIVATE);
    const witness = await Capture.start(inet, 'wan', `src host ${P} and icmp`);
    const stop = busyClient(stage);
    await pause(300);
    await daemon.up();
    await pause(800);
    for (let round = 0; round < 3; round++) {
      assert.equal((await daemon.reload(config('', round % 2 ? FORWARDS_TO_ALL : FORWARDS_TO_ALL.slice(1)))).code, 0);
      await pause(200);
    }
    assert.equal(await daemon.stop(), 0);
    await pause(300);
    await stop();
    assert.deepEqual(await capture.stop(), []);
    assert.ok((await witness.stop()).length > 20, 'traffic did flow');
  });

  test('a VM that does not answer: the router is gone before the kernel gives up asking for it', async () => {
    const { daemon, inet, one } = stage;
    const capture = await Capture.start(inet, 'wan', PRIVATE);
    const knock = () => one.tryAsk('udp', { to: P, port: 12_000, seconds: 0.1 });
    await daemon.up();
    await knock();
    assert.equal(await daemon.stop(), 0);
    await daemon.up();
    await knock();
    await daemon.kill();
    assert.equal((await daemon.cli('clean')).code, 0);
    await pause(3500); // 3 requests, a second apart
    assert.deepEqual(await capture.stop(), []);
  });

  test('crash, the time after it, start again, crash, clean', async () => {
    const { daemon, inet } = stage;
    const capture = await Capture.start(inet, 'wan', PRIVATE);
    const stop = busyClient(stage);
    await daemon.up();
    await pause(300);
    await daemon.kill();
    await pause(500);
    await daemon.up();
    await pause(300);
    await daemon.kill();
    await pause(100);
    assert.equal((await daemon.cli('clean')).code, 0);
    await pause(300);
    await stop();
    assert.deepEqual(await capture.stop(), []);
  });

  test('ip_forward=1, where the kernel would route what is not steered: from ready to crash and hand-over', async () => {
    const { daemon, inet, router } = stage;
    router.ns.sysctl('net.ipv4.ip_forward=1');
    await daemon.up();
    const stop = busyClient(stage);
    const capture = await Capture.start(inet, 'wan', PRIVATE);
    await pause(500);
    assert.equal((await daemon.reload(config('', FORWARDS_TO_ALL.slice(1)))).code, 0);
    await pause(300);
    await daemon.kill();
    await pause(500);
    await daemon.up();
    await pause(300);
    assert.equal((await daemon.cli('stop', '--keep')).code, 0);
    await daemon.process.ended;
    await pause(300);
    await daemon.up();
    await pause(300);
    assert.deepEqual(await capture.stop(), []);
    await stop();
  });
});
