/** Site links on the real kernel: the daemon on both sides, Debian's wireguard-go as the road warrior (drawn in site-stage.ts). */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { type Host, until } from '../../src/lab/index.js';
import {
  FAR,
  LINK_MTU,
  meet,
  NEAR_LINK,
  nearConfig,
  PHONE,
  raisePhone,
  raiseSites,
  SIX,
  type SiteStage,
} from './site-stage.js';
import { addressOf, Capture, diffState, INTERNET, kernelState, LAN, P } from './stage.js';

/** A gigabyte where somebody asks for it. */
const BYTES = Number(process.env.TUNGATE_SITE_BYTES ?? 64 << 20);

async function ping(from: Host, to: string, ...more: string[]): Promise<{ ok: boolean; text: string }> {
  const { code, stdout } = await from.ns.run(['ping', '-c', '1', '-W', '5', ...more, to]);
  return { ok: code === 0, text: stdout };
}

async function hops(from: Host, to: string): Promise<string[]> {
  const text = await from.ns.must(['traceroute', '-n', '-q', '1', '-w', '5', '-m', '8', to]);
  return text
    .trim()
    .split('\n')
    .slice(1)
    .map((line) => line.trim().split(/\s+/)[1]!);
}

describe('two sites', () => {
  let stage: SiteStage;
  before(async () => {
    stage = await raiseSites();
    await meet(stage.a, FAR.d);
  });
  after(() => stage?.lab.close());

  test('LAN to LAN, both ways, untranslated: TCP, UDP, ping', async () => {
    const { a, d } = stage;
    for (const proto of ['tcp', 'udp'] as const) {
      assert.equal(addressOf((await a.ask(proto, { to: FAR.d, port: 7 })).peer), LAN.a);
      assert.equal(addressOf((await d.ask(proto, { to: LAN.a, port: 7 })).peer), FAR.d);
    }
    assert.ok((await ping(d, LAN.b)).ok);
  });

  test('REQ-58, REQ-43 traceroute sees each router once', async () => {
    assert.deepEqual(await hops(stage.a, FAR.d), [LAN.gateway, FAR.link, FAR.d]);
    assert.deepEqual(await hops(stage.d, LAN.a), [FAR.gateway, NEAR_LINK, LAN.a]);
  });

  test('REQ-47 the MTU of the link: the largest ping passes, one byte more is told, without DF it is fragmented', async () => {
    const { a } = stage;
    assert.ok((await ping(a, FAR.d, '-M', 'do', '-s', String(LINK_MTU - 28))).ok);
    const more = await ping(a, FAR.d, '-M', 'do', '-s', String(LINK_MTU - 27));
    assert.match(more.text, new RegExp(`From ${LAN.gateway} .*mtu = ${LINK_MTU}`));
    assert.ok((await ping(a, FAR.d, '-M', 'dont', '-s', '5000')).ok);
  });

  test('a large download arrives intact, both ways, and nothing of it is seen in the clear', async () => {
    const { a, d, inet } = stage;
    const watch = await Capture.start(inet, 'any', `host ${FAR.d} or host ${LAN.a}`);
    for (const [from, to] of [
      [a, FAR.d],
      [d, LAN.a],
    ] as const) {
      const got = await from.download(`http://${to}:8080/${BYTES}`, 600);
      assert.deepEqual([got.intact, got.bytes, addressOf(got.peer)], [true, BYTES, from.address]);
    }
    assert.deepEqual(await watch.stop(), []);
    // A worker whose clock stood still beside a busy link would have been taken for stuck.
    for (const router of [stage.near, stage.far]) {
      const { workers } = await router.json<{ workers: { state: string; restarts: number }[] }>('status');
      assert.ok(
        workers.every(({ state, restarts }) => state === 'ready' && restarts === 0),
        JSON.stringify(workers),
      );
    }
  });

  test('the host itself reaches the far site, and the far site its services at the link address', async () => {
    const { router, d } = stage;
    const out = await router.askTcp({ to: FAR.d, port: 7 });
    assert.equal(addressOf(out.peer), NEAR_LINK);
    const into = await d.askTcp({ to: NEAR_LINK, port: 22 });
    assert.deepEqual([into.host, addressOf(into.peer)], ['router', FAR.d]);
    assert.ok((await ping(router, FAR.link)).ok);
  });

  test('a forward to a VM behind a peer: the client from the internet is served, the VM sees the link', async () => {
    const answer = await stage.one.askTcp({ to: P, port: 8081 });
    assert.deepEqual([answer.host, addressOf(answer.peer)], ['client-d', NEAR_LINK]);
  });

  test('REQ-10 hairpin from a site link: the receiver sees P', async () => {
    for (const proto of ['tcp', 'udp'] as const) {
      const answer = await stage.d.ask(proto, { to: P, port: 8000 });
      assert.deepEqual([answer.host, addressOf(answer.peer)], ['client-b', P]);
    }
  });

  test('the far LAN still goes out by its own uplink', async () => {
    assert.equal(addressOf((await stage.d.askTcp({ to: INTERNET.one, port: 7 })).peer), INTERNET.two);
  });

  test("the router's own UDP port is never captured, nor given out (REQ-65)", async () => {
    const sender = await stage.a.bind(51820);
    await sender.send(INTERNET.one, 7, 'who am I');
    const { peer } = JSON.parse((await sender.next()).text) as { peer: string };
    await sender.close();
    assert.notEqual(peer, `${P}:51820`);
    await meet(stage.a, FAR.d);
  });

  test('kill -9 of either side: the session is new at once, connections through it and beside it go on', async () => {
    const { a, d, near, far } = stage;
    const across = await a.connect({ to: FAR.d, port: 7 });
    const outside = await a.connect({ to: INTERNET.one, port: 7 });
    await across.say('before');
    await outside.say('before');
    await near.kill();
    await near.up();
    assert.equal((await across.say('after near')).text, 'after near');
    assert.equal((await outside.say('after near')).text, 'after near');
    await far.kill();
    await far.up();
    assert.equal((await across.say('after far')).text, 'after far');
    await across.hangUp();
    await outside.hangUp();
    assert.ok((await ping(d, LAN.a)).ok);
  });

  test('a road warrior by wireguard-go: to the LAN, to the far site, to the internet by P', async () => {
    const phone = await raisePhone(stage, [
      LAN.subnet,
      `${NEAR_LINK}/32`,
      `${INTERNET.two.replace(/\.\d+$/, '.0')}/24`,
    ]);
    const { one, a } = stage;
    await meet(one, LAN.a);
    assert.equal(addressOf((await one.askTcp({ to: LAN.a, port: 7 })).peer), PHONE);
    assert.equal((await one.askTcp({ to: NEAR_LINK, port: 22 })).host, 'router');
    const out = await one.askTcp({ to: INTERNET.two, port: 22 });
    assert.deepEqual([out.host, addressOf(out.peer)], ['host-2', P]);
    // Nobody listed that peers reach each other.
    one.ns.ip(`route add ${FAR.subnet} dev ${phone} src ${PHONE}`);
    const refused = await ping(one, FAR.d);
    assert.match(refused.text, /Packet filtered/);
    assert.ok((await ping(a, PHONE)).ok);
  });

  test('IPv6: LAN to LAN both ways, TCP intact and untranslated, the host itself, and each router is one hop', async () => {
    const { a, d, router } = stage;
    assert.ok((await ping(a, SIX.far.d)).ok);
    assert.ok((await ping(d, SIX.near.a)).ok);
    for (const [from, to, source] of [
      [a, SIX.far.d, SIX.near.a],
      [d, SIX.near.a, SIX.far.d],
    ] as const) {
      assert.equal(addressOf((await from.askTcp({ to, port: 7 })).peer), source);
      const got = await from.download(`http://[${to}]:8080/${BYTES / 4}`, 600);
      assert.deepEqual([got.intact, got.bytes, addressOf(got.peer)], [true, BYTES / 4, source]);
    }
    assert.equal(addressOf((await router.askTcp({ to: SIX.far.d, port: 7 })).peer), SIX.near.link);
    assert.equal((await d.askTcp({ to: SIX.near.link, port: 22 })).host, 'router');
    assert.deepEqual(await hops(a, SIX.far.d), [SIX.near.gateway, SIX.far.link, SIX.far.d]);
    assert.deepEqual(await hops(d, SIX.near.a), [SIX.far.gateway, SIX.near.link, SIX.near.a]);
  });

  test('IPv6: the largest packet passes, one byte more is told, fragments pass; the forwarding of other interfaces is as it was', async () => {
    const { a, router } = stage;
    const largest = await ping(a, SIX.far.d, '-M', 'do', '-s', String(LINK_MTU - 48));
    assert.ok(largest.ok, largest.text);
    const more = await ping(a, SIX.far.d, '-M', 'do', '-s', String(LINK_MTU - 47));
    assert.match(more.text, new RegExp(`From ${SIX.near.gateway} .*Packet too big: mtu=${LINK_MTU}`));
    // The first answer is lost: its sender has yet to be told the MTU.
    await until(async () => (await ping(a, SIX.far.d, '-s', '5000')).ok, 'fragments pass');
    const forwards = async (name: string) =>
      (await router.ns.must(['sysctl', '-n', `net.ipv6.conf.${name}.forwarding`])).trim();
    assert.deepEqual([await forwards('all'), await forwards('vmbr0'), await forwards('vmbr1')], ['0', '0', '0']);
  });

  test('IPv6: a road warrior by wireguard-go reaches the LAN, not the far site that nobody listed; a LAN host cannot pretend', async () => {
    const { a, one, near } = stage;
    assert.ok((await ping(one, SIX.near.a)).ok);
    assert.equal(addressOf((await one.askTcp({ to: SIX.near.a, port: 7 })).peer), SIX.phone);
    assert.match((await ping(one, SIX.far.d)).text, /Administratively prohibited/);
    const { drops } = await near.json<{ drops: { reason: string; packets: number }[] }>('status');
    assert.ok(drops.some(({ reason, packets }) => reason === 'link-policy' && packets > 0));
    // As somebody else of no LAN, and as the router itself: nothing of it gets across.
    for (const source of ['2001:db8:77::7', SIX.near.link]) {
      a.ns.ip(`addr add ${source}/128 dev eth0 nodad`);
      const pretended = await a.ns.run(['ping', '-c', '2', '-i', '0.2', '-W', '1', '-I', source, SIX.far.d]);
      assert.notEqual(pretended.code, 0);
      a.ns.ip(`addr del ${source}/128 dev eth0`);
    }
    assert.ok((await ping(a, SIX.far.d)).ok);
  });

  test('REQ-46 a path that carries less: datagrams have DF, the link learns it, and says so to who sends too much', async () => {
    const { a, d, inet, two } = stage;
    const watch = await Capture.start(inet, 'wan', 'udp port 51820 and ip[6] & 0x40 = 0');
    inet.ip('link set to-2 mtu 1400');
    two.ns.ip('link set eth0 mtu 1400');
    const told = new RegExp(`From ${LAN.gateway} .*mtu = ${1400 - 60}`);
    await until(
      async () => told.test((await a.ns.run(['ping', '-c', '1', '-W', '1', '-M', 'do', '-s', '1392', FAR.d])).stdout),
      'the sender is told the new MTU',
    );
    assert.ok((await ping(a, FAR.d, '-M', 'do', '-s', String(1400 - 60 - 28))).ok);
    assert.ok((await ping(a, FAR.d, '-M', 'dont', '-s', '4000')).ok);
    const got = await d.download(`http://${LAN.a}:8080/${8 << 20}`);
    assert.ok(got.intact);
    assert.deepEqual(await watch.stop(), [], 'every datagram had DF');
  });

  test('IPv6: a reload takes it away from the TUN, and another one brings it back', async () => {
    const { a, near, router } = stage;
    const whole = nearConfig(stage);
    const four = whole
      .replace(/, ipv6: "[^"]+"/, '')
      .replace(/"fd99::1\/64", /, '')
      .replace(/, "[0-9a-f:]+\/\d+"/g, '');
    assert.doesNotMatch(four, /[0-9a-f]::/);
    const off = async () => (await router.ns.must(['sysctl', '-n', 'net.ipv6.conf.tungate0.disable_ipv6'])).trim();
    assert.equal(await off(), '0');
    assert.equal((await near.reload(four)).code, 0);
    assert.equal(await off(), '1');
    assert.equal(await router.ns.must(['ip', '-6', 'route', 'show', 'dev', 'tungate0']), '');
    assert.ok((await ping(a, FAR.d)).ok);
    assert.equal((await a.ns.run(['ping', '-c', '1', '-W', '1', SIX.far.d])).code, 1);
    assert.equal((await near.reload(whole)).code, 0);
    await until(async () => (await ping(a, SIX.far.d)).ok, 'IPv6 is back');
    assert.match(await router.ns.must(['ip', '-6', 'addr', 'show', 'dev', 'tungate0']), /fd99::1\/128/);
  });

  test('a plain stop leaves the kernel as it was', async () => {
    const { near, far, router, untouched } = stage;
    assert.equal(await near.stop(), 0);
    assert.equal(await far.stop(), 0);
    assert.deepEqual(diffState(untouched, await kernelState(router.ns)), []);
    assert.doesNotMatch(await router.ns.must(['ip', 'route', 'show', 'table', 'all']), /tun|10\.99|192\.168\.20/);
  });
});

describe('two sites with the same subnet', () => {
  let stage: SiteStage;
  before(async () => {
    stage = await raiseSites({ sameSubnet: true });
    await meet(stage.a, '10.71.2.170');
  });
  after(() => stage?.lab.close());

  test('several workers: flows of every queue reach the link, and come back', async () => {
    const { a, d, near } = stage;
    const { workers } = await near.json<{ workers: unknown[] }>('status');
    assert.equal(workers.length, 2);
    const asked = Array.from({ length: 16 }, () => a.askTcp({ to: '10.71.2.170', port: 7 }));
    assert.deepEqual(new Set((await Promise.all(asked)).map(({ host }) => host)), new Set(['client-d']));
    const got = await a.download(`http://10.71.2.170:8080/${8 << 20}`);
    assert.ok(got.intact);
    assert.ok((await d.download(`http://10.71.1.170:8080/${8 << 20}`)).intact);
  });

  test('map: each sees the other by the other name, connections and errors alike', async () => {
    const { a, d } = stage;
    const there = await a.askTcp({ to: '10.71.2.170', port: 7 });
    assert.deepEqual([there.host, there.peer.replace(/:\d+$/, '')], ['client-d', '10.71.1.170']);
    const back = await d.askUdp({ to: '10.71.1.20', port: 7 });
    assert.deepEqual([back.host, addressOf(back.peer)], ['client-b', '10.71.2.170']);
    assert.equal(await a.tryAsk('tcp', { to: '10.71.2.170', port: 9 }), 'ECONNREFUSED');
    // The last line is a port-unreachable that quotes what the VM got.
    assert.deepEqual(await hops(a, '10.71.2.170'), [LAN.gateway, FAR.link, '10.71.2.170']);
  });
});
