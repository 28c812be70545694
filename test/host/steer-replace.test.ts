/**
 * Steering changed while packets come in, and packets that the kernel makes itself.
 *
 *   worker: SYNs ─► in-wire ─► wire ═ veth ═ up0 (P) ─ ingress filters ─► tun0        RSTs of the kernel ─► wire ─► seen0
 */
import assert from 'node:assert/strict';
import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, afterEach, test } from 'node:test';
import { Worker } from 'node:worker_threads';
import type { PortInterval, Steering } from '../../src/contract/steering.js';
import { Journal } from '../../src/host/journal.js';
import { Netlink } from '../../src/host/netlink.js';
import { applySteering, removeSteering } from '../../src/host/steer.js';
import { inNamespace } from '../in-namespace.js';
import { echo, icmp, SYN, tcp, udp } from './packets.js';
import { ip, prefix } from './steer-packets.js';
import { catchPassed, frame, injector, linkIndex, MAC, quietNamespace, sh, snmp, sysctl, Tap } from './wire.js';

const P = '203.0.113.10';
const R = '203.0.113.99';
const VM = '172.22.161.170';

inNamespace('steering under traffic', import.meta.url, ['--net'], () => {
  quietNamespace();
  sysctl('net/ipv4/icmp_ratelimit', 0);
  sh(`ip link add up0 type veth peer name wire; ip link set up0 address ${MAC.host} up; ip link set wire up
      ip link add lan0 type veth peer name lan0w; ip link set lan0 up; ip link set lan0w up
      ip addr add ${P}/24 dev up0; ip neigh add ${R} lladdr 42:00:00:00:00:02 dev up0 nud permanent`);
  const folder = mkdtempSync(join(tmpdir(), 'tungate-steer-'));
  after(() => rmSync(folder, { recursive: true }));
  const nl = new Netlink();
  const journal = new Journal(join(folder, 'undo'));
  const tun = new Tap('tun0');
  const seen = new Tap('seen0');
  catchPassed('wire', 'ingress', 'seen0');
  const wire = injector('wire');
  sysctl('net/ipv4/conf/tun0/accept_local', 1);
  sysctl('net/ipv4/conf/tun0/forwarding', 1);
  sysctl('net/ipv4/conf/tun0/rp_filter', 0);
  sysctl('net/ipv4/conf/all/rp_filter', 0);
  afterEach(() => {
    removeSteering(nl, journal);
    tun.read(10);
    seen.read(10);
  });

  function steering(tcp: PortInterval[]): Steering {
    return {
      tun: tun.index,
      claims: [{ address: ip(P), shared: true, tcp, udp: [{ first: 20_000, last: 49_999 }], other: false }],
      uplinks: [{ interface: 'up0', index: linkIndex('up0') }],
      lans: [{ interface: 'lan0', index: linkIndex('lan0'), subnets: [prefix('172.22.161.0/24')] }],
      lanSubnets: [prefix('172.22.161.0/24')],
      hostAddresses: [ip(P), ip('172.22.161.1')],
      untranslated: [],
      sites: [],
      ipv6: null,
      foreign: [],
    };
  }

  /** Runs `change` again and again beside a flood of SYNs to P:2222. */
  async function underLoad(
    rounds: number,
    change: (round: number) => void,
  ): Promise<{ sent: number; resets: number; got: number }> {
    const words = new Int32Array(new SharedArrayBuffer(8));
    const before = snmp('Tcp', 'OutRsts');
    const load = new Worker(new URL('./steer-load.js', import.meta.url), {
      workerData: { fd: wire.link.fd, words, from: R, to: P, port: 2222 },
    });
    let got = 0;
    try {
      while (Atomics.load(words, 1) === 0) await new Promise((resolve) => setTimeout(resolve, 10));
      for (let round = 0; round < rounds; round++) {
        change(round);
        got += tun.read(0).length;
      }
    } finally {
      Atomics.store(words, 0, 1);
      await once(load, 'exit');
    }
    return { sent: Atomics.load(words, 1), resets: snmp('Tcp', 'OutRsts') - before, got: got + tun.read(20).length };
  }

  const base = [{ first: 2222, last: 2222 }];
  const comb = (count: number): PortInterval[] => [
    ...base,
    ...Array.from({ length: count }, (_, i) => ({ first: 20_000 + i * 10, last: 20_000 + i * 10 + 4 })),
  ];

  test('the kernel answers with RST where nothing is claimed (the stage works)', () => {
    wire.write([frame(MAC.host, tcp({ from: R, to: P }, [1024, 2222], SYN))]);
    assert.ok(seen.expect((packet) => packet[9] === 6 && (packet[33]! & 4) !== 0));
  });

  test('REQ-67 no RST while filters are swapped in place 40 times, from one filter to several and back', async (t) => {
    applySteering(nl, steering(comb(1)), journal);
    const sizes = [1, 3, 250, 40, 400, 2];
    const { sent, resets, got } = await underLoad(40, (round) => {
      const { created, replaced, deleted } = applySteering(
        nl,
        steering(comb(sizes[(round + 1) % sizes.length]!)),
        journal,
      );
      assert.ok(created.length + replaced.length + deleted.length > 0);
    });
    t.diagnostic(`${sent} SYNs sent, ${got} read from the TUN`);
    assert.ok(sent > 10_000 && got > 5000, `${sent} sent, ${got} read`);
    assert.equal(resets, 0);
  });

  test('deleting and adding instead does let the kernel answer (why it is not done)', async () => {
    applySteering(nl, steering(comb(1)), journal);
    const { resets } = await underLoad(30, () => {
      removeSteering(nl, journal);
      applySteering(nl, steering(comb(1)), journal);
    });
    assert.ok(resets > 0);
  });

  test("REQ-41 the kernel's own error that quotes a VM's address goes to the engine, the engine's own goes out", () => {
    sh(`ip route add unreachable ${VM}`);
    applySteering(nl, steering(base), journal);
    const inbound = udp({ from: R, to: VM }, 53, 2222);
    tun.write([inbound]); // a forward, as the engine writes it
    const error = tun.expect((packet) => packet[9] === 1);
    assert.deepEqual(error?.subarray(12, 20), Buffer.from([203, 0, 113, 10, 203, 0, 113, 99]));
    assert.deepEqual(error?.subarray(44, 48), Buffer.from([172, 22, 161, 170]), 'it quotes the private address');
    assert.equal(
      seen.expect((packet) => packet[9] === 1, 50),
      undefined,
      'nothing of it on the wire',
    );
    tun.write([icmp({ from: P, to: R }, 3, 1, inbound.subarray(0, 28))]);
    assert.ok(
      seen.expect((packet) => packet[9] === 1),
      'what the engine writes is let out',
    );
    sh(`ip route del unreachable ${VM}`);
  });

  test('an error of the kernel about a translated packet goes to the engine, one about the host does not', async () => {
    sh('ip route add unreachable 198.51.100.1');
    applySteering(nl, steering(base), journal);
    tun.write([udp({ from: P, to: '198.51.100.1' }, 20_000, 53)]);
    const error = tun.expect((packet) => packet[9] === 1);
    assert.equal(error?.readUInt16BE(48), 20_000);
    const before = snmp('Icmp', 'InDestUnreachs');
    tun.write([udp({ from: P, to: '198.51.100.1' }, 5000, 53)]);
    assert.equal(
      tun.expect((packet) => packet[9] === 1, 60),
      undefined,
    );
    assert.equal(snmp('Icmp', 'InDestUnreachs'), before + 1, 'the host received it');
    sh('ip route del unreachable 198.51.100.1');
  });

  test('REQ-10 the host reaches its own forward by P; its own services and ping are left alone', async () => {
    applySteering(nl, steering(base), journal);
    const service = createSocket('udp4').bind(5353, P);
    const client = createSocket('udp4').bind(0, P);
    await Promise.all([once(service, 'listening'), once(client, 'listening')]);
    client.send('to the forward', 20_500, P);
    await new Promise((resolve) => setTimeout(resolve, 50));
    assert.equal(
      tun
        .expect((packet) => packet[9] === 17)
        ?.subarray(28)
        .toString(),
      'to the forward',
    );
    const heard = once(service, 'message', { signal: AbortSignal.timeout(2000) });
    client.send('to the host', 5353, P);
    assert.equal(String((await heard)[0]), 'to the host');
    sh(`ping -c 1 -W 2 ${P}`);
    assert.deepEqual(tun.read(20), []);
    service.close();
    client.close();
  });

  test('priority tags, one or several, lead no packet around the filters (REQ-41, REQ-67)', () => {
    sh(`ip link set lan0 address ${MAC.host}; ip addr add 172.22.161.1/24 dev lan0
        ip neigh add ${VM} lladdr 42:00:00:00:00:02 dev lan0 nud permanent`);
    sysctl('net/ipv4/ip_forward', 1);
    const lanWire = injector('lan0w');
    const toGateway = frame(MAC.host, echo({ from: VM, to: '172.22.161.1' }));
    const reached = (tap: Tap, bytes: Buffer): boolean => {
      const [pings, resets, forwards] = [snmp('Icmp', 'InMsgs'), snmp('Tcp', 'OutRsts'), snmp('Ip', 'ForwDatagrams')];
      tap.write([bytes]);
      tun.read(20);
      return snmp('Icmp', 'InMsgs') + snmp('Tcp', 'OutRsts') + snmp('Ip', 'ForwDatagrams') > pings + resets + forwards;
    };
    const tagged = (packet: Buffer, count: number): Buffer => frame(MAC.host, packet, Array(count).fill(0));
    const outward = udp({ from: VM, to: R }, 5000, 53);
    const syn = tcp({ from: R, to: P }, [1024, 2222], SYN);
    for (const tags of [1, 2, 3]) {
      assert.ok(reached(lanWire, tagged(outward, tags)), 'without steering the kernel routes it');
      assert.ok(reached(wire, tagged(syn, tags)), 'without steering the kernel answers');
    }
    applySteering(nl, steering(base), journal);
    for (const tags of [0, 1, 2, 3]) {
      assert.ok(!reached(lanWire, tagged(outward, tags)), `${tags} tags from the LAN`);
      assert.ok(!reached(wire, tagged(syn, tags)), `${tags} tags from the uplink`);
    }
    assert.ok(reached(lanWire, toGateway), 'an ordinary packet to the gateway does reach it');
    sysctl('net/ipv4/ip_forward', 0);
  });

  test('a packet of which nothing but the MAC header is in linear memory is steered like any other', () => {
    applySteering(nl, steering(base), journal);
    sh('ip link set up0 mtu 9000; ip link set wire mtu 9000');
    const big = udp({ from: R, to: P }, 53, 20_000, 'x'.repeat(6000));
    wire.write([frame(MAC.host, big)], 14);
    assert.deepEqual(
      tun.expect((packet) => packet[9] === 17),
      big,
    );
  });

  test('ICMP from outside goes to the engine, and what it punts is answered by the host', () => {
    applySteering(nl, steering(base), journal);
    const ping = echo({ from: R, to: P });
    wire.write([frame(MAC.host, ping)]);
    assert.deepEqual(
      tun.expect((packet) => packet[9] === 1),
      ping,
    );
    tun.write([ping]);
    assert.ok(seen.expect((packet) => packet[9] === 1 && packet[20] === 0));
  });
});
