/**
 * Facts about what the kernel does with packets that are written to the TUN, and about the packets that it makes itself.
 *
 *   tun0 (written by the test as the engine would) ─► kernel routes ─► eth (P/24) ═ veth ═ wire ─ ingress ─► seen0
 */
import assert from 'node:assert/strict';
import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { beforeEach, test } from 'node:test';
import { echo, icmp, udp } from '../host/packets.js';
import { CATCH_ALL, catchPassed, MAC, quietNamespace, sh, sysctl, Tap } from '../host/wire.js';
import { inNamespace } from '../in-namespace.js';

const P = '203.0.113.10';
const R = '203.0.113.99';
const VM = '172.22.161.170';

inNamespace('kernel facts: routing', import.meta.url, ['--net'], () => {
  quietNamespace();
  sysctl('net/ipv4/ip_forward', 0);
  sysctl('net/ipv4/icmp_ratelimit', 0);
  sysctl('net/ipv4/icmp_msgs_per_sec', 100000);
  sysctl('net/ipv4/conf/all/rp_filter', 0);
  sh(`ip link add eth mtu 1500 type veth peer name wire
      ip link set eth address ${MAC.host} up; ip link set wire up; ip addr add ${P}/24 dev eth
      ip neigh add ${R} lladdr 42:00:00:00:00:02 dev eth nud permanent`);
  const tun = new Tap('tun0');
  const seen = new Tap('seen0');
  catchPassed('wire', 'ingress', 'seen0');
  const conf = (name: string, value: number): void => sysctl(`net/ipv4/conf/tun0/${name}`, value);

  beforeEach(() => {
    conf('accept_local', 1);
    conf('forwarding', 1);
    conf('rp_filter', 0);
    tun.read(0);
    seen.read(0);
  });

  const outbound = udp({ from: P, to: R, ttl: 9 }, 20_000, 53);
  const leaves = (ms = 2000): Buffer | undefined => {
    tun.write([outbound]);
    return seen.expect((packet) => packet[9] === 17, ms);
  };

  test('tun0.forwarding=1 is enough, ip_forward stays 0; the TTL goes down by one', () => {
    const packet = leaves();
    assert.equal(packet?.[8], 8);
    assert.deepEqual(packet?.subarray(12), outbound.subarray(12), 'addresses, ports and payload are untouched');
    conf('forwarding', 0);
    assert.equal(leaves(100), undefined);
  });

  test("accept_local=1 is needed for packets with the host's own source", () => {
    conf('accept_local', 0);
    assert.equal(leaves(100), undefined);
  });

  test('rp_filter: 1 drops, 2 lets through once the TUN has an address, 0 always', () => {
    conf('rp_filter', 1);
    assert.equal(leaves(100), undefined);
    conf('rp_filter', 2);
    sh('ip addr add 192.0.0.8/32 dev tun0');
    assert.ok(leaves());
    sh('ip addr del 192.0.0.8/32 dev tun0');
    conf('rp_filter', 0);
    assert.ok(leaves());
  });

  test('all.rp_filter=1 wins over tun0.rp_filter=0', () => {
    sysctl('net/ipv4/conf/all/rp_filter', 1);
    assert.equal(leaves(100), undefined);
    sysctl('net/ipv4/conf/all/rp_filter', 0);
  });

  test('a packet for P that is written to the TUN reaches the socket, also with source P', async () => {
    const socket = createSocket('udp4').bind(5353, P);
    await once(socket, 'listening');
    for (const from of [R, P]) {
      const heard = once(socket, 'message', { signal: AbortSignal.timeout(2000) });
      tun.write([udp({ from, to: P }, 20_000, 5353, from)]);
      const [data, peer] = await heard;
      assert.deepEqual([String(data), peer.address, peer.port], [from, from, 20_000]);
    }
    socket.close();
  });

  test('what the host sends to P leaves and enters by lo, where an egress redirect to the TUN takes it', async () => {
    sh(`tc qdisc add dev lo clsact
        tc filter add dev lo egress pref 1 protocol all ${CATCH_ALL} action mirred egress redirect dev tun0`);
    const socket = createSocket('udp4').bind(0, P);
    await once(socket, 'listening');
    socket.send('own forward', 2222, P);
    await new Promise((resolve) => setTimeout(resolve, 50));
    const packet = tun.expect((one) => one[9] === 17 && one.readUInt16BE(22) === 2222);
    sh('tc qdisc del dev lo clsact');
    assert.equal(packet?.subarray(28).toString(), 'own forward');
    // The engine's answer: from the forward, to the socket.
    const heard = once(socket, 'message', { signal: AbortSignal.timeout(2000) });
    tun.write([udp({ from: P, to: P }, 2222, socket.address().port, 'answer')]);
    assert.equal(String((await heard)[0]), 'answer');
    socket.close();
  });

  test('at an egress hook the queue number is 0 for what the kernel made, and not for what came in by the TUN', () => {
    sh(`ip route add unreachable ${VM}
        tc qdisc add dev eth clsact
        tc filter add dev eth egress pref 1 protocol ip bpf bytecode '4,32 0 0 4294963224,21 0 1 0,6 0 0 4294967295,6 0 0 0,' action mirred egress redirect dev tun0`);
    const inbound = udp({ from: R, to: VM }, 53, 40_000);
    tun.write([inbound]);
    const error = tun.expect((packet) => packet[9] === 1);
    assert.deepEqual([error?.[20], error?.[21]], [3, 1], 'host unreachable, made by the kernel: redirected');
    assert.deepEqual(error?.subarray(40, 44), inbound.subarray(12, 16), 'it quotes the packet');
    assert.deepEqual(error?.subarray(44, 48), inbound.subarray(16, 20), 'with the private address');

    tun.write([icmp({ from: P, to: R }, 3, 1, inbound.subarray(0, 28))]);
    assert.ok(
      seen.expect((packet) => packet[9] === 1),
      'an error that was written to the TUN goes out',
    );
    assert.equal(
      tun.expect((packet) => packet[9] === 1, 50),
      undefined,
    );
    sh('tc qdisc del dev eth clsact');
  });

  test('an error about a packet with source P comes by lo: an egress redirect there sees it', () => {
    sh(`ip route add unreachable 198.51.100.1
        tc qdisc add dev lo clsact
        tc filter add dev lo egress pref 1 protocol ip ${CATCH_ALL} action mirred egress redirect dev tun0`);
    tun.write([udp({ from: P, to: '198.51.100.1' }, 20_000, 53)]);
    const error = tun.expect((packet) => packet[9] === 1 && packet[20] === 3);
    assert.ok(error);
    assert.equal(error.readUInt16BE(48), 20_000, 'quotes the translated source port');
    sh('tc qdisc del dev lo clsact');
  });

  test('TTL 1: the kernel answers from its own address (so the engine must be first)', () => {
    tun.write([echo({ from: R, to: '203.0.113.98', ttl: 1 })]);
    const error = seen.expect((packet) => packet[9] === 1 && packet[20] === 11);
    assert.ok(error);
  });
});
