/**
 * Facts about tc, classic BPF and mirred that the steering stands on. If one of these fails on a kernel, look at
 * src/host/steer-clauses.ts and steer.ts before anything else.
 *
 *   in-wire ─► wire ═ veth ═ eth (203.0.113.10/24) ─ ingress: the filter in question ─► tun0, or the kernel's stack
 *   what the kernel sends by eth arrives at wire and is shown by seen0
 */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createServer, type Socket } from 'node:net';
import { beforeEach, test } from 'node:test';
import { echo, udp } from '../host/packets.js';
import { CATCH_ALL, catchPassed, frame, injector, MAC, quietNamespace, sh, snmp, Tap } from '../host/wire.js';
import { inNamespace } from '../in-namespace.js';

const P = '203.0.113.10';
const R = '203.0.113.99';

inNamespace('kernel facts: tc', import.meta.url, ['--net'], () => {
  quietNamespace();
  sh(`ip link add eth mtu 9000 type veth peer name wire mtu 9000
      ip link set eth address ${MAC.host} up; ip link set wire up; ip addr add ${P}/24 dev eth
      ip neigh add ${R} lladdr 42:00:00:00:00:02 dev eth nud permanent
      tc qdisc add dev eth clsact`);
  const tun = new Tap('tun0');
  const seen = new Tap('seen0');
  catchPassed('wire', 'ingress', 'seen0');
  const wire = injector('wire');
  const ping = echo({ from: R, to: P });
  const isReply = (packet: Buffer): boolean => packet[9] === 1 && packet[20] === 0;

  const filter = (rest: string): string => sh(`tc filter add dev eth ingress ${rest}`);
  const toTun = 'action mirred egress redirect dev tun0';
  const program = (text: string): string => `bpf bytecode '${text},'`;

  beforeEach(() => {
    sh('tc filter del dev eth ingress');
    tun.read(0);
    seen.read(0);
  });

  test('without a filter the kernel answers (the stage works)', () => {
    wire.write([frame(MAC.host, ping)]);
    assert.ok(seen.expect(isReply));
  });

  test('a redirect to a TUN strips the MAC header and touches nothing else, TTL included', () => {
    filter(`pref 1 protocol all ${CATCH_ALL} ${toTun}`);
    const packet = udp({ from: R, to: P, ttl: 7 }, 1, 2);
    wire.write([frame(MAC.host, packet)]);
    assert.deepEqual(tun.take(1), [packet]);
  });

  test('GSO packets arrive whole', async () => {
    sh(`ip link add near type veth peer name far; ip addr add 10.50.0.1/24 dev near; ip link set near up
        tc qdisc add dev near clsact`);
    const server = createServer().listen(5001, '10.50.0.1');
    await once(server, 'listening');
    const accepted = once(server, 'connection');
    const client = spawn('unshare', [
      '--net',
      process.execPath,
      '-e',
      `process.stdin.once('data', () => {
        const socket = require('node:net').connect(5001, '10.50.0.1', () => {
          process.stdin.once('data', () => socket.write(Buffer.alloc(500000)));
          console.log('connected');
        });
      });
      console.log('here');`,
    ]);
    try {
      await once(client.stdout, 'data');
      sh(`ip link set far netns ${client.pid}
          nsenter --net --target=${client.pid} ip addr add 10.50.0.2/24 dev far
          nsenter --net --target=${client.pid} ip link set far up`);
      client.stdin.write('connect\n');
      // Or it ends before that, with a message on stderr.
      await Promise.race([
        Promise.all([accepted, once(client.stdout, 'data')]),
        once(client, 'exit').then(() => assert.fail('the client ended before it was connected')),
      ]);
      const [socket] = (await accepted) as [Socket];
      sh(`tc filter add dev near ingress pref 1 protocol ip ${CATCH_ALL} ${toTun}`);
      client.stdin.write('send\n');
      const packet = tun.expect(({ length }) => length > 1500, 5000);
      assert.ok(packet && packet.length > 2 * 1460, `${packet?.length} bytes at an MTU of 1500`);
      socket.destroy();
    } finally {
      client.kill('SIGKILL');
      server.close();
      sh('ip link del near'); // and with it what would be sent again
    }
  });

  test('direct action: −1 asks the next filter, 2 drops, and 0 (a failed load too) ends the search', () => {
    const cases: [string, string, boolean][] = [
      ['-1', '1,6 0 0 4294967295', true],
      ['2', '1,6 0 0 2', false],
      ['0', '1,6 0 0 0', false],
      ['a load behind the end', '2,48 0 0 9999,6 0 0 4294967295', false],
    ];
    for (const [name, text, continues] of cases) {
      filter(`pref 1 protocol all ${program(text)} direct-action`);
      filter(`pref 2 protocol all ${CATCH_ALL} ${toTun}`);
      wire.write([frame(MAC.host, ping)]);
      assert.equal(tun.take(Number(continues)).length, Number(continues), name);
      const answers = Number(!continues && name !== '2');
      assert.equal(seen.take(answers).length, answers, name);
      sh('tc filter del dev eth ingress');
    }
  });

  test('ordinary offsets see all of a packet, however little of it a sender has put into the linear part', () => {
    // With SKF_NET_OFF the second case matches since Linux 6.16 only.
    const big = udp({ from: R, to: P }, 1, 2, 'x'.repeat(6000));
    filter(`pref 1 protocol all ${program('4,48 0 0 14,21 0 1 69,6 0 0 4294967295,6 0 0 0')} ${toTun}`);
    for (const linear of [0, 14]) {
      wire.write([frame(MAC.host, big)], linear);
      assert.equal(tun.take(1).length, 1, `linear ${linear}`);
    }
  });

  test('IPv4 behind a priority tag is not ETH_P_IP for a filter, but is for the stack; behind two of them too', () => {
    filter(`pref 1 protocol ip ${CATCH_ALL} ${toTun}`);
    for (const tags of [[0], [0xe000], [0, 0], [0, 0, 0]]) {
      wire.write([frame(MAC.host, ping, tags)]);
      assert.equal(tun.take(0).length, 0);
      assert.ok(seen.expect(isReply), `the kernel answers to ${tags.length} tags`);
    }
    wire.write([frame(MAC.host, ping, [5])]);
    assert.equal(seen.expect(isReply, 100), undefined, 'another VLAN is not taken');
  });

  test('a filter for all protocols sees it; SKF_AD_PROTOCOL and the tag tell', () => {
    // ld proto; jeq 0x800; ld vlan_avail; jeq 1; ld vlan_tci; and 0xfff; jeq 0
    filter(
      `pref 1 protocol all ${program('9,32 0 0 4294963200,21 0 6 2048,32 0 0 4294963248,21 0 4 1,32 0 0 4294963244,84 0 0 4095,21 0 1 0,6 0 0 4294967295,6 0 0 0')} direct-action`,
    );
    filter(`pref 2 protocol all ${CATCH_ALL} ${toTun}`);
    wire.write([frame(MAC.host, ping)]);
    assert.equal(tun.take(0).length, 0, 'untagged: 0 ends the search');
    assert.equal(seen.take(1).length, 1);
    wire.write([frame(MAC.host, ping, [0xe000])]);
    assert.equal(tun.take(1).length, 1, 'tagged: −1, so the redirect saw it');
  });

  test('the packet type tells frames for other MAC addresses, which a promiscuous bridge shows', () => {
    sh(`ip link add br0 type bridge; ip link set br0 address 42:00:00:00:00:0b up promisc on
        ip link add port0 type veth peer name port0w; ip link set port0 master br0 up; ip link set port0w up
        tc qdisc add dev br0 clsact
        tc filter add dev br0 ingress pref 1 protocol all ${program('4,32 0 0 4294963204,21 0 1 0,6 0 0 4294967295,6 0 0 0')} ${toTun}
        tc filter add dev br0 ingress pref 2 protocol all ${CATCH_ALL} action mirred egress redirect dev seen0`);
    const bridged = injector('port0w');
    bridged.write([frame('42:00:00:00:00:0b', ping), frame(MAC.other, ping)]);
    assert.equal(tun.take(1).length, 1, 'for the bridge: type HOST');
    assert.equal(seen.take(1).length, 1, 'between VMs: seen by the hook, not HOST');
  });

  test('a redirect to a TUN that nobody reads, is down or deleted drops: nothing reaches the stack', () => {
    sh('ip tuntap add dev gone0 mode tun; ip link set gone0 up');
    filter(`pref 1 protocol all ${CATCH_ALL} action mirred egress redirect dev gone0`);
    const before = snmp('Icmp', 'InMsgs');
    for (const step of ['true', 'ip link set gone0 down', 'ip link del gone0']) {
      sh(step);
      wire.write([frame(MAC.host, ping)]);
      assert.equal(seen.expect(isReply, 60), undefined, step);
      assert.equal(snmp('Icmp', 'InMsgs'), before, step);
    }
  });

  test('the queue of a TUN is as long as txqueuelen: 500 overflow, 2000 hold what a burst brings', () => {
    filter(`pref 1 protocol all ${CATCH_ALL} ${toTun}`);
    // Fewer than net.core.netdev_max_backlog, which a busy machine may need on the way.
    const burst = Array.from({ length: 900 }, () => frame(MAC.host, ping));
    for (const [length, whole] of [
      [500, false],
      [2000, true],
    ] as const) {
      sh(`ip link set tun0 txqueuelen ${length}`);
      wire.write(burst);
      const got = tun.take(whole ? burst.length : 500).length;
      assert.equal(got === burst.length, whole, `txqueuelen ${length}: ${got} of ${burst.length}`);
    }
  });

  test('a qdisc ingress can be addressed as the ingress hook of clsact', () => {
    sh('ip link add old type veth peer name oldw; tc qdisc add dev old ingress');
    sh(`tc filter add dev old parent ffff:fff2 pref 1 protocol all ${CATCH_ALL} ${toTun}`);
    assert.match(sh('tc filter show dev old ingress'), /bytecode/);
    assert.throws(() => sh('tc qdisc add dev old clsact'), /File exists|Exclusivity/);
  });
});
