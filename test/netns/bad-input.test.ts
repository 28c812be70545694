import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { ipv4, macOf, SYN, sendRaw, tcp, udp } from './packet.js';
import { assertWorks, config, eventually, INTERNET, LAN, P, prepare, raise, type Stage, works } from './stage.js';

interface Status {
  phase: string;
  problems: string[];
  packets: { dropped: number };
  drops: { reason: string; packets: number }[];
}

/** Bears what follows, one thing after the other. */
let stage: Stage;
before(async () => {
  stage = await raise();
});
after(() => stage?.lab.close());

describe('a config that is wrong', () => {
  test('on reload: refused with file:line:col, exit 2, and nothing changes', async () => {
    const connection = await stage.a.connect({ to: INTERNET.one, port: 7 });
    await connection.say('before');
    const result = await stage.daemon.reload(config('forwrds: []\n'));
    assert.equal(result.code, 2);
    assert.match(result.stderr, /tungate\.yaml:\d+:\d+: .*forwrds/);
    assert.equal((await connection.say('after')).text, 'after');
    await assertWorks(stage);
    assert.equal((await stage.daemon.reload(config())).code, 0);
    await assertWorks(stage);
  });

  test('SIGHUP with a broken file keeps the old plan', async () => {
    stage.daemon.configure('uplink: [');
    stage.daemon.process.child.kill('SIGHUP');
    await stage.daemon.process.waitFor(/tungate\.yaml:\d+:\d+:/);
    await assertWorks(stage);
    stage.daemon.configure(config());
  });

  test('at start: exit 2, every error at once, the kernel untouched', async () => {
    const other = await prepare('uplink: { interface: vmbr0, adress: auto }\nlans: 7\n');
    try {
      other.daemon.launch();
      assert.equal(await other.daemon.process.ended, 2);
      assert.match(other.daemon.process.stderr, /adress/);
      assert.match(other.daemon.process.stderr, /lans/);
    } finally {
      await other.lab.close();
    }
  });
});

describe('a world that changes', { concurrency: true }, () => {
  // Two routers at once: what changes without a bell is found by the next look, seconds later.
  describe('with a bell', { concurrency: 1 }, () => changesWithBell());
  describe('without a bell', { concurrency: 1 }, () => changesWithoutBell());
});

function changesWithBell(): void {
  const problems = async () => (await stage.daemon.json<Status>('status')).problems;

  test('the uplink vanishes and returns: a clear line, no crash, recovery without restart', async () => {
    const { router, inet, daemon } = stage;
    router.ns.ip('link del vmbr0');
    await eventually('status names the problem', async () => (await problems()).some((line) => line.includes('vmbr0')));
    router.ns.ip(
      'link add vmbr0 type bridge stp_state 0 forward_delay 0 mcast_snooping 0',
      'link set nic0 master vmbr0 up',
      'link set vmbr0 up',
      `addr add ${P}/24 dev vmbr0`,
      `route add default via ${INTERNET.gateway}`,
    );
    inet.ip('neigh flush all');
    await eventually('the router works again', () => works(stage));
    assert.deepEqual(await problems(), []);
    assert.equal(daemon.process.code, undefined);
  });

  test('a LAN vanishes and returns', async () => {
    const { router } = stage;
    router.ns.ip('link del vmbr1');
    await eventually('status names the problem', async () => (await problems()).some((line) => line.includes('vmbr1')));
    router.ns.ip(
      'link add vmbr1 type bridge stp_state 0 forward_delay 0 mcast_snooping 0',
      'link set vm170 master vmbr1',
      'link set vm20 master vmbr1',
      'link set vmbr1 up',
      `addr add ${LAN.gateway}/24 dev vmbr1`,
    );
    await eventually('the router works again', () => works(stage));
  });

  test('the uplink goes down and comes up again', async () => {
    const { router } = stage;
    router.ns.ip('link set vmbr0 down');
    await new Promise((resolve) => setTimeout(resolve, 300));
    router.ns.ip('link set vmbr0 up', `route replace default via ${INTERNET.gateway}`);
    await eventually('the router works again', () => works(stage));
  });

  test('the address changes (DHCP uplink): new flows leave from the new one, forwards listen on it', async () => {
    const { router, a, one } = stage;
    const next = '203.0.113.99';
    router.ns.ip(
      `addr del ${P}/24 dev vmbr0`,
      `addr add ${next}/24 dev vmbr0`,
      `route replace default via ${INTERNET.gateway}`,
    );
    await eventually('SNAT by the new address', async () => {
      try {
        return (await a.askTcp({ to: INTERNET.one, port: 7, seconds: 1 })).peer.startsWith(`${next}:`);
      } catch {
        return false;
      }
    });
    assert.equal((await one.askTcp({ to: next, port: 10_007 })).host, 'client-a');
    assert.equal(await one.tryAsk('tcp', { to: next, port: 22 }), 'router');
    router.ns.ip(
      `addr del ${next}/24 dev vmbr0`,
      `addr add ${P}/24 dev vmbr0`,
      `route replace default via ${INTERNET.gateway}`,
    );
    await eventually('the router works with the old one again', () => works(stage));
  });

  test('somebody deletes our filters: they are put back', async () => {
    const { router } = stage;
    await router.ns.must(['tc', 'filter', 'del', 'dev', 'vmbr0', 'ingress']);
    await router.ns.must(['tc', 'filter', 'del', 'dev', 'vmbr1', 'ingress']);
    await eventually('the router works again', () => works(stage), 30);
  });

  test('the TUN device is deleted: it comes back', async () => {
    const { tun } = await stage.daemon.json<{ tun: string }>('status');
    stage.router.ns.ip(`link del ${tun}`);
    await eventually('the router works again', () => works(stage), 30);
  });
}

function changesWithoutBell(): void {
  let other: Stage;
  before(async () => {
    other = await raise();
  });
  after(() => other?.lab.close());

  test('somebody turns ip_forward on and off, strict rp_filter on, the TUN down: it is put right', async () => {
    const { tun } = await other.daemon.json<{ tun: string }>('status');
    const { router } = other;
    // A write to ip_forward reaches `forwarding` of every interface, the TUN's too.
    router.ns.sysctl('net.ipv4.ip_forward=1');
    router.ns.sysctl('net.ipv4.ip_forward=0');
    await eventually('works after ip_forward', () => works(other), 30);
    router.ns.sysctl('net.ipv4.conf.all.rp_filter=1');
    await eventually('works after rp_filter', () => works(other), 30);
    router.ns.ip(`link set ${tun} down`);
    await eventually('works after link down', () => works(other), 30);
  });
}

test('REQ-64 hostile packets are dropped and counted under a name, and the router goes on', async () => {
  const counters = async () => (await stage.daemon.json<Status>('status')).packets.dropped;
  const before = await counters();
  const good = ipv4({
    src: INTERNET.two,
    dst: P,
    proto: 17,
    payload: udp(INTERNET.two, 7, P, 30_042, 'x'.repeat(100)),
  });
  const broken = (change: (bytes: Uint8Array) => void) => {
    const copy = good.slice();
    change(copy);
    return copy;
  };
  const random = Array.from({ length: 500 }, (_, i) => {
    const bytes = Uint8Array.from({ length: 20 + (i % 200) }, (_, k) => Math.imul(i * 31 + k, 2654435761) >>> 24);
    bytes[0] = 0x45;
    return bytes;
  });
  const hostile = [
    ipv4({ src: INTERNET.two, dst: P, proto: 6, payload: tcp(INTERNET.two, 1, P, 10_007, SYN | 1) }), // SYN+FIN
    ipv4({ src: INTERNET.two, dst: P, proto: 6, payload: tcp(INTERNET.two, 1, P, 10_007, 0) }), // no flag
    ipv4({ src: INTERNET.two, dst: P, proto: 6, payload: new Uint8Array([0, 1, 0x27, 0x17]) }), // TCP cut off
    ipv4({ src: INTERNET.two, dst: P, proto: 17, payload: new Uint8Array([0, 1, 0x75, 0x30, 0xff, 0xff, 0, 0]) }), // UDP length
    ipv4({ src: INTERNET.two, dst: P, proto: 1, payload: new Uint8Array([3, 3]) }), // ICMP cut off
    ipv4({ src: INTERNET.two, dst: P, proto: 1, payload: new Uint8Array(8).fill(3) }), // error without a quote
    ipv4({ src: P, dst: P, proto: 6, payload: tcp(P, 10_007, P, 10_007, SYN) }), // LAND
    ipv4({ src: INTERNET.two, dst: P, proto: 17, fragmentOffset: 65_528, payload: new Uint8Array(64) }), // ping of death
    broken((bytes) => new DataView(bytes.buffer).setUint16(2, 20)),
    broken((bytes) => new DataView(bytes.buffer).setUint16(2, 1500)),
    broken((bytes) => bytes.fill(0x4f, 0, 1)),
    ...random,
  ];
  await sendRaw(stage.inet, 'wan', await macOf(stage.router.ns, 'vmbr0'), hostile);
  await sendRaw(stage.a.ns, 'eth0', await macOf(stage.router.ns, 'vmbr1'), hostile);
  await assertWorks(stage);
  await eventually('the drops are counted', async () => (await counters()) - before >= 5);
  const { drops } = await stage.daemon.json<Status>('status');
  assert.ok(drops.every((drop) => drop.reason !== '' && drop.packets > 0));
  assert.equal(stage.daemon.process.code, undefined);
});
