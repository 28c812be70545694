import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Filtering, Mapping } from '../../src/contract/plan.js';
import { Header } from '../../src/contract/table-layout.js';
import { emit } from '../../src/datapath/emit.js';
import { Redecision } from '../../src/datapath/reload.js';
import { checkTable } from '../flow/invariants.js';
import { build, dissect, ip, mssOption, withChecksums } from '../lib-packets.js';
import { A, B, C, GATEWAY, makePlan, OTHER, P, Rig, SERVER } from './rig.js';

const ACK = 0x10;
const SYN = 2;
const RST = 4;
const FIN = 1;

function only(out: Uint8Array[]) {
  assert.equal(out.length, 1, `${out.length} packets came out`);
  const packet = dissect(out[0]!);
  assert.ok(packet.ipChecksumOk, 'IP checksum');
  assert.ok(packet.l4ChecksumOk, 'layer 4 checksum');
  return packet;
}

const udp = (src: string, sport: number, dst: string, dport: number, more = {}) =>
  build({ proto: 'udp', src, sport, dst, dport, payload: Uint8Array.of(1, 2, 3), ...more });
const tcp = (src: string, sport: number, dst: string, dport: number, more = {}) =>
  build({ proto: 'tcp', src, sport, dst, dport, flags: SYN, seq: 1000, ...more });

test('REQ-1 SNAT out and back: one inside endpoint has one outside endpoint for two destinations', () => {
  const rig = new Rig();
  const first = only(rig.pass(udp(A, 30001, SERVER, 53)));
  assert.deepEqual([first.src, first.sport, first.dst, first.dport], [P, 30001, SERVER, 53]);
  const second = only(rig.pass(udp(A, 30001, OTHER, 99)));
  assert.deepEqual([second.src, second.sport], [P, first.sport]);
  const back = only(rig.pass(udp(SERVER, 53, P, 30001)));
  assert.deepEqual([back.src, back.sport, back.dst, back.dport], [SERVER, 53, A, 30001]);
});

test('REQ-3 two inside endpoints with one source port get different outside ports, REQ-5 of the same parity', () => {
  const rig = new Rig();
  const a = only(rig.pass(udp(A, 30001, SERVER, 53)));
  const b = only(rig.pass(udp(B, 30001, SERVER, 53)));
  assert.equal(a.sport, 30001);
  assert.notEqual(b.sport, 30001);
  assert.equal(b.sport & 1, 1);
  assert.ok(b.sport >= 20000 && b.sport <= 49999);
  assert.equal(only(rig.pass(udp(SERVER, 53, P, b.sport))).dst, B);
});

test('REQ-9 filtering: address-dependent by default, other remote ports pass, other addresses do not', () => {
  const rig = new Rig();
  rig.pass(udp(A, 30001, SERVER, 53));
  assert.equal(only(rig.pass(udp(SERVER, 999, P, 30001))).dst, A);
  assert.deepEqual(rig.pass(udp(OTHER, 53, P, 30001)), []);
  assert.equal(rig.verdicts().filtered, 1);
  // From the second remote on the pinholes know.
  rig.pass(udp(A, 30001, OTHER, 1));
  assert.equal(only(rig.pass(udp(OTHER, 53, P, 30001))).dst, A);
  assert.equal(only(rig.pass(udp(SERVER, 5, P, 30001))).dst, A);
});

test('REQ-9 filtering endpoint-independent (full cone) and address-and-port-dependent, per rule', () => {
  const cone = new Rig({ nat: [{ filtering: Filtering.ENDPOINT_INDEPENDENT }] });
  cone.pass(udp(A, 30001, SERVER, 53));
  assert.equal(only(cone.pass(udp(OTHER, 7, P, 30001))).dst, A);
  const strict = new Rig({ nat: [{ filtering: Filtering.ADDRESS_AND_PORT_DEPENDENT }] });
  strict.pass(udp(A, 30001, SERVER, 53));
  assert.deepEqual(strict.pass(udp(SERVER, 54, P, 30001)), []);
  assert.equal(only(strict.pass(udp(SERVER, 53, P, 30001))).dst, A);
});

test('forward: one port, range, offset and range to one port; answers carry P:p', () => {
  const rig = new Rig({
    forwards: [
      { first: 2222, to: A, toPort: 22 },
      { first: 30000, last: 30999, to: B, toPort: 10000, protos: ['tcp', 'udp'] },
      { first: 9000, last: 9009, to: A, toPort: 443, single: true },
    ],
  });
  const ssh = only(rig.pass(tcp(SERVER, 5555, P, 2222)));
  assert.deepEqual([ssh.src, ssh.sport, ssh.dst, ssh.dport], [SERVER, 5555, A, 22]);
  const answer = only(rig.pass(tcp(A, 22, SERVER, 5555, { flags: SYN | ACK, seq: 5, ack: 1001 })));
  assert.deepEqual([answer.src, answer.sport, answer.dst, answer.dport], [P, 2222, SERVER, 5555]);
  assert.deepEqual([only(rig.pass(udp(SERVER, 1, P, 30999))).dport], [10999]);
  assert.deepEqual([only(rig.pass(tcp(SERVER, 1, P, 9007))).dport], [443]);
});

test('forward with a source list: others are refused, a LAN host that is not listed too', () => {
  const rig = new Rig({ forwards: [{ first: 2222, to: A, toPort: 22, from: ['198.51.100.0/24'] }] });
  assert.equal(only(rig.pass(tcp(SERVER, 1, P, 2222))).dst, A);
  assert.deepEqual(rig.pass(tcp(OTHER, 1, P, 2222)), []);
  assert.equal(only(rig.pass(tcp(B, 1, P, 2222))).code, 13);
  assert.equal(rig.verdicts()['forward-source'], 2);
});

test('REQ-10 hairpin: the receiver sees P:p of the sender, from another client, itself and another LAN', () => {
  const rig = new Rig({ forwards: [{ first: 8080, to: A, toPort: 80 }] });
  for (const sender of [B, A, C]) {
    const out = only(rig.pass(tcp(sender, 40001, P, 8080)));
    assert.deepEqual([out.src, out.dst, out.dport], [P, A, 80]);
    const back = only(rig.pass(tcp(A, 80, P, out.sport, { flags: SYN | ACK, ack: 1001 })));
    assert.deepEqual([back.src, back.sport, back.dst, back.dport], [P, 8080, sender, 40001]);
  }
});

test('REQ-10 hairpin to a dynamic mapping', () => {
  const rig = new Rig();
  const mapped = only(rig.pass(udp(A, 30001, SERVER, 53))).sport;
  const out = only(rig.pass(udp(B, 30003, P, mapped)));
  assert.deepEqual([out.src, out.sport, out.dst, out.dport], [P, 30003, A, 30001]);
  const back = only(rig.pass(udp(A, 30001, P, 30003)));
  assert.deepEqual([back.src, back.sport, back.dst, back.dport], [P, mapped, B, 30003]);
});

test('REQ-10 the host itself reaches its own forward: the target sees a pool port', () => {
  const rig = new Rig({ forwards: [{ first: 8080, to: A, toPort: 80 }] });
  const out = only(rig.pass(tcp(P, 55555, P, 8080)));
  assert.deepEqual([out.src, out.dst, out.dport], [P, A, 80]);
  assert.ok(out.sport >= 20000 && out.sport <= 49999);
  const back = only(rig.pass(tcp(A, 80, P, out.sport, { flags: SYN | ACK, ack: 1001 })));
  assert.deepEqual([back.src, back.sport, back.dst, back.dport], [P, 8080, P, 55555]);
});

test('REQ-70 what a forward target sends first leaves from its own P:p', () => {
  const rig = new Rig({ forwards: [{ first: 5000, last: 5009, to: A, toPort: 6000, protos: ['udp'] }] });
  const out = only(rig.pass(udp(A, 6003, OTHER, 99)));
  assert.deepEqual([out.src, out.sport], [P, 5003]);
  assert.equal(only(rig.pass(udp(OTHER, 99, P, 5003))).dport, 6003);
});

test('REQ-65 a forwarded port is never given out as a NAT port', () => {
  const rig = new Rig({ pool: [40000, 40003], forwards: [{ first: 40001, to: A, toPort: 80, protos: ['udp'] }] });
  const ports = [1, 2, 3].map((n) => only(rig.pass(udp(B, 40000 + n, SERVER, 9))).sport);
  assert.deepEqual(ports.sort(), [40000, 40002, 40003]);
  assert.equal(dissect(rig.pass(udp(B, 50000, SERVER, 9))[0]!).code, 13, 'exhausted: ICMP 3/13');
  assert.equal(rig.verdicts()['ports-exhausted'], 1);
});

test('REQ-32 mappings of one inside host are limited, per protocol', () => {
  const rig = new Rig({ perHost: 2 });
  assert.equal(only(rig.pass(udp(A, 1001, SERVER, 9))).src, P);
  assert.equal(only(rig.pass(udp(A, 1002, SERVER, 9))).src, P);
  assert.equal(dissect(rig.pass(udp(A, 1003, SERVER, 9))[0]!).type, 3);
  assert.equal(only(rig.pass(tcp(A, 1003, SERVER, 9))).src, P);
  assert.equal(rig.verdicts()['host-limit'], 1);
});

test('edm: one port serves flows to different remotes, far more flows than ports', () => {
  const rig = new Rig({ pool: [40000, 40001], nat: [{ mapping: Mapping.ENDPOINT_DEPENDENT }] });
  const seen = new Set<string>();
  for (let n = 0; n < 200; n++) {
    const out = only(rig.pass(udp(n & 1 ? A : B, 5000 + n, `192.0.2.${n + 1}`, 9)));
    seen.add(`${out.sport}>${out.dst}`);
    const back = only(rig.pass(udp(out.dst, 9, P, out.sport)));
    assert.deepEqual([back.dst, back.dport], [n & 1 ? A : B, 5000 + n]);
  }
  assert.equal(seen.size, 200);
});

test('REQ-34 no-translate list: leaves and answers as it is', () => {
  const rig = new Rig({ nat: [{ to: [{ prefix: 0x0a000000 | 0, mask: 0xff000000 | 0 }], translate: false }] });
  assert.equal(only(rig.pass(udp(A, 5, '10.200.0.1', 6))).src, A);
  assert.equal(only(rig.pass(udp('10.200.0.1', 6, A, 5))).dst, A);
});

test('REQ-66 from outside straight to a LAN address: dropped by name; foreign source: dropped by name', () => {
  const rig = new Rig();
  assert.deepEqual(rig.pass(udp(SERVER, 5, A, 6), udp(SERVER, 5, OTHER, 6), udp(SERVER, 5, P, 20001)), []);
  const { 'outside-to-lan': lan, 'foreign-source': foreign, 'no-mapping': none } = rig.verdicts();
  assert.deepEqual([lan, foreign, none], [1, 1, 1]);
});

test('punt: what is the host’s own goes back unchanged', () => {
  const rig = new Rig();
  const ssh = tcp(SERVER, 5, P, 22);
  const ping = build({ proto: 'icmp', src: SERVER, dst: P, type: 8, icmpId: 7 });
  const answer = build({ proto: 'icmp', src: SERVER, dst: P, type: 0, icmpId: 30007 });
  assert.deepEqual(rig.pass(ssh, ping, answer), [ssh, ping, answer]);
  assert.equal(rig.verdicts().punt, 3);
});

test('REQ-25 ping out and back, ids of two hosts kept apart', () => {
  const rig = new Rig();
  const a = only(rig.pass(build({ proto: 'icmp', src: A, dst: SERVER, icmpId: 30007, payload: new Uint8Array(56) })));
  const b = only(rig.pass(build({ proto: 'icmp', src: B, dst: SERVER, icmpId: 30007, payload: new Uint8Array(56) })));
  assert.equal(a.icmpId, 30007);
  assert.notEqual(b.icmpId, 30007);
  const back = only(rig.pass(build({ proto: 'icmp', type: 0, src: SERVER, dst: P, icmpId: b.icmpId })));
  assert.deepEqual([back.dst, back.icmpId], [B, 30007]);
});

test('forward of protocol icmp, and of every other protocol 1:1', () => {
  const rig = new Rig({ forwards: [{ first: 1, last: 0, to: A, protos: ['icmp', 'other'] }] });
  const ping = only(rig.pass(build({ proto: 'icmp', src: SERVER, dst: P, icmpId: 9 })));
  assert.equal(ping.dst, A);
  const pong = only(rig.pass(build({ proto: 'icmp', type: 0, src: A, dst: SERVER, icmpId: 9 })));
  assert.deepEqual([pong.src, pong.icmpId], [P, 9]);
  assert.equal(only(rig.pass(build({ proto: 47, src: SERVER, dst: P, payload: Uint8Array.of(1, 2, 3, 4) }))).dst, A);
  assert.equal(only(rig.pass(build({ proto: 47, src: A, dst: SERVER, payload: Uint8Array.of(1, 2, 3, 4) }))).src, P);
  assert.equal(only(rig.pass(build({ proto: 47, src: B, dst: SERVER, payload: Uint8Array.of(1) }))).code, 13);
  assert.equal(rig.verdicts().protocol, 1);
});

test('REQ-43 TTL 1 on arrival: ICMP 11 from the gateway inside, from P outside', () => {
  const rig = new Rig({ forwards: [{ first: 80, to: A }] });
  const inside = only(rig.pass(udp(A, 5, SERVER, 33434, { ttl: 1 })));
  assert.deepEqual([inside.src, inside.dst, inside.type, inside.code], [GATEWAY, A, 11, 0]);
  const quoted = dissect(inside.payload);
  assert.deepEqual([quoted.src, quoted.sport, quoted.dst, quoted.dport], [A, 5, SERVER, 33434]);
  const outside = only(rig.pass(tcp(SERVER, 7, P, 80, { ttl: 1 })));
  assert.deepEqual([outside.src, outside.dst, outside.type], [P, SERVER, 11]);
});

test('REQ-14 too big with DF: ICMP 3/4 with the MTU, quoting what was sent; without DF it goes on', () => {
  const rig = new Rig({ mtu: { wan: 1400 }, forwards: [{ first: 80, to: A, protos: ['udp'] }] });
  const big = { payload: new Uint8Array(1440), df: true };
  const error = only(rig.pass(udp(A, 5, SERVER, 9, big)));
  assert.deepEqual([error.src, error.dst, error.type, error.code, error.mtu], [GATEWAY, A, 3, 4, 1400]);
  assert.equal(dissect(error.payload).src, A);
  assert.equal(only(rig.pass(udp(A, 5, SERVER, 9, { ...big, df: false }))).src, P);
  const down = new Rig({ mtu: { lan: 1300 }, forwards: [{ first: 80, to: A, protos: ['udp'] }] });
  const reply = only(down.pass(udp(SERVER, 5, P, 80, { payload: new Uint8Array(1372), df: true })));
  assert.deepEqual([reply.src, reply.dst, reply.mtu, dissect(reply.payload).dst], [P, SERVER, 1300, P]);
});

test('REQ-45 MSS is lowered in SYN to the smaller MTU − 40, and never raised', () => {
  const rig = new Rig({ mtu: { wan: 1400 } });
  const mss = (value: number, odd = false) => {
    const options = odd ? Uint8Array.of(1, 2, 4, value >> 8, value & 255, 1, 1, 0) : mssOption(value);
    const raw = rig.pass(tcp(A, 5000 + value, SERVER, 80, { tcpOptions: options }))[0]!;
    assert.ok(dissect(raw).l4ChecksumOk);
    return (raw[42 + (odd ? 1 : 0)]! << 8) | raw[43 + (odd ? 1 : 0)]!;
  };
  assert.equal(mss(1460), 1360);
  assert.equal(mss(1459, true), 1360);
  assert.equal(mss(1000), 1000);
});

test('REQ-27 an outside error is translated: embedded tuple restored, outer destination is the inside host', () => {
  const rig = new Rig();
  const sent = rig.pass(udp(A, 30001, SERVER, 33434))[0]!;
  const router = '192.0.2.1';
  const out = only(rig.pass(build({ proto: 'icmp', type: 11, src: router, dst: P, payload: sent.slice(0, 28) })));
  assert.deepEqual([out.src, out.dst, out.type], [router, A, 11]);
  const quoted = dissect(out.payload);
  assert.deepEqual([quoted.src, quoted.sport, quoted.dst, quoted.dport], [A, 30001, SERVER, 33434]);
  assert.ok(quoted.ipChecksumOk);
});

test('REQ-28 an inside error leaves with source P; REQ-26 one with a wrong checksum is dropped', () => {
  const rig = new Rig({ forwards: [{ first: 80, to: A, toPort: 8000, protos: ['udp'] }] });
  const inside = rig.pass(udp(SERVER, 7, P, 80))[0]!;
  const error = build({ proto: 'icmp', type: 3, code: 3, src: A, dst: SERVER, payload: inside.slice(0, 28) });
  const out = only(rig.pass(error));
  assert.deepEqual([out.src, out.dst], [P, SERVER]);
  const quoted = dissect(out.payload);
  assert.deepEqual([quoted.dst, quoted.dport], [P, 80]);
  const broken = Uint8Array.from(error);
  broken[23]! ^= 1;
  assert.deepEqual(rig.pass(broken), []);
  assert.equal(rig.verdicts()['bad-checksum'], 1);
});

test('REQ-29 an error about a hairpinned packet traverses both translations', () => {
  const rig = new Rig({ forwards: [{ first: 80, to: A, toPort: 8000, protos: ['udp'] }] });
  const hair = rig.pass(udp(B, 30001, P, 80))[0]!;
  const out = only(rig.pass(build({ proto: 'icmp', type: 3, code: 3, src: A, dst: P, payload: hair.slice(0, 28) })));
  assert.deepEqual([out.src, out.dst], [P, B]);
  const quoted = dissect(out.payload);
  assert.deepEqual([quoted.src, quoted.sport, quoted.dst, quoted.dport], [B, 30001, P, 80]);
});

test('REQ-15 fragments in any order are translated, and none leaves untranslated', () => {
  const payload = Uint8Array.from({ length: 3000 }, (_, i) => i & 255);
  const whole = build({ proto: 'udp', src: A, sport: 30001, dst: SERVER, dport: 9, payload, id: 77 });
  const cut = (from: number, to: number) => {
    const body = whole.slice(20 + from, 20 + to);
    return build({ proto: 17, src: A, dst: SERVER, id: 77, offset: from, mf: to < 3008, payload: body });
  };
  const first = Uint8Array.from([...whole.slice(0, 20), ...whole.slice(20, 20 + 1480)]);
  new DataView(first.buffer).setUint16(2, 1500);
  new DataView(first.buffer).setUint16(6, 0x2000);
  new DataView(first.buffer).setUint16(10, 0);
  const fixed = build({ proto: 200, src: A, dst: SERVER, id: 77, mf: true, payload: first.slice(20) });
  fixed[9] = 17;
  // Protocol changed by hand: the header checksum again.
  const sum = new DataView(fixed.buffer);
  sum.setUint16(10, 0);
  let total = 0;
  for (let i = 0; i < 20; i += 2) total += sum.getUint16(i);
  sum.setUint16(10, 0xffff - ((total & 0xffff) + (total >> 16)));
  for (const order of [
    [0, 1, 2],
    [2, 1, 0],
    [1, 0, 2],
  ]) {
    const rig = new Rig();
    const pieces = [fixed, cut(1480, 2960), cut(2960, 3008)];
    const out = rig.pass(...order.map((n) => pieces[n]!)).map(dissect);
    assert.equal(out.length, 3, `order ${order}`);
    for (const p of out) assert.deepEqual([p.src, p.dst, p.ipChecksumOk], [P, SERVER, true]);
    const bytes = new Uint8Array(3008);
    for (const raw of out) bytes.set(raw.offset === 0 ? whole.slice(20, 20) : raw.payload, raw.offset);
    assert.equal(out.find((p) => p.offset === 0)!.sport, 30001);
  }
});

test('fragments whose first never comes are forgotten and counted', () => {
  const rig = new Rig();
  rig.pass(build({ proto: 17, src: SERVER, dst: P, id: 5, offset: 1480, payload: new Uint8Array(100) }));
  assert.equal(rig.verdicts().held, 1);
  rig.advance(40);
  assert.equal(rig.engine.fragments.expired, 1);
  assert.equal(rig.engine.fragments.held, 0);
});

test('REQ-19, 20 TCP life: handshake, in-window RST closes, out-of-window RST and FIN do not', () => {
  const rig = new Rig();
  const state = () => rig.engine.table.stateOf(0);
  rig.pass(tcp(A, 30001, SERVER, 80, { seq: 100 }));
  assert.equal(state(), 1);
  rig.pass(tcp(SERVER, 80, P, 30001, { flags: SYN | ACK, seq: 900, ack: 101 }));
  assert.equal(state(), 2);
  rig.pass(tcp(A, 30001, SERVER, 80, { flags: ACK, seq: 101, ack: 901 }));
  assert.equal(state(), 3);
  assert.equal(rig.pass(tcp(SERVER, 80, P, 30001, { flags: RST, seq: 5_000_000 })).length, 1, 'forwarded all the same');
  assert.equal(state(), 3);
  rig.pass(tcp(SERVER, 80, P, 30001, { flags: FIN | ACK, seq: 5_000_000, ack: 101 }));
  assert.equal(state(), 3);
  rig.pass(tcp(SERVER, 80, P, 30001, { flags: RST, seq: 901 }));
  assert.equal(state(), 8);
  // The 5-tuple is free again at once.
  rig.pass(tcp(A, 30001, SERVER, 80, { seq: 7000 }));
  assert.equal(state(), 1);
});

test('REQ-19 TCP close: FIN, ACK, FIN, ACK ends in TIME_WAIT, which ends after the transitory time', () => {
  const rig = new Rig();
  const a = (more: object) => rig.pass(tcp(A, 30001, SERVER, 80, more));
  const s = (more: object) => rig.pass(tcp(SERVER, 80, P, 30001, more));
  a({ seq: 100 });
  s({ flags: SYN | ACK, seq: 900, ack: 101 });
  a({ flags: ACK, seq: 101, ack: 901 });
  a({ flags: FIN | ACK, seq: 101, ack: 901 });
  assert.equal(rig.engine.table.stateOf(0), 4);
  s({ flags: ACK, seq: 901, ack: 102 });
  assert.equal(rig.engine.table.stateOf(0), 5);
  s({ flags: FIN | ACK, seq: 901, ack: 102 });
  assert.equal(rig.engine.table.stateOf(0), 6);
  a({ flags: ACK, seq: 102, ack: 902 });
  assert.equal(rig.engine.table.stateOf(0), 7);
  rig.advance(239);
  assert.equal(rig.engine.table.header[13], 1);
  rig.advance(3);
  assert.equal(rig.engine.table.header[13], 0);
});

test('REQ-12 closed flows give way when the pool runs short, live ones never', () => {
  const rig = new Rig({ pool: [40000, 40003] });
  const open = (port: number) => rig.pass(tcp(A, port, SERVER, 80, { seq: 100 }))[0]!;
  for (const port of [40000, 40001, 40002, 40003]) open(port);
  assert.equal(dissect(open(40100)).type, 3);
  rig.pass(tcp(SERVER, 80, P, 40002, { flags: RST | ACK, seq: 0, ack: 101 }));
  assert.equal(dissect(open(40101)).sport, 40002);
  assert.equal(dissect(open(40102)).type, 3);
});

test('REQ-35 a freed UDP port is not given to another host within the hold time, its own host gets it back', () => {
  const rig = new Rig({ pool: [40000, 40000] });
  assert.equal(only(rig.pass(udp(A, 40000, SERVER, 9))).sport, 40000);
  rig.advance(301);
  assert.equal(rig.engine.table.header[13], 0);
  assert.equal(dissect(rig.pass(udp(B, 40000, SERVER, 9))[0]!).type, 3, 'held for A');
  assert.equal(only(rig.pass(udp(A, 40000, SERVER, 9))).sport, 40000);
  rig.advance(301);
  rig.advance(121);
  assert.equal(only(rig.pass(udp(B, 40000, SERVER, 9))).sport, 40000);
});

test('REQ-6, 7 only outbound packets refresh a UDP mapping', () => {
  const rig = new Rig();
  rig.pass(udp(A, 30001, SERVER, 9));
  rig.advance(200);
  rig.pass(udp(SERVER, 9, P, 30001));
  rig.advance(101);
  assert.deepEqual(rig.pass(udp(SERVER, 9, P, 30001)), []);
  rig.pass(udp(A, 30001, SERVER, 9));
  rig.advance(200);
  rig.pass(udp(A, 30001, SERVER, 9));
  rig.advance(200);
  assert.equal(only(rig.pass(udp(SERVER, 9, P, 30001))).dst, A);
});

test('REQ-68 a wrong layer 4 checksum stays wrong; REQ-42 UDP without checksum stays without', () => {
  const rig = new Rig();
  const bad = udp(A, 30001, SERVER, 9);
  bad[bad.length - 1]! ^= 0x55;
  assert.equal(dissect(rig.pass(bad)[0]!).l4ChecksumOk, false);
  const none = rig.pass(udp(A, 30001, SERVER, 9, { noChecksum: true }))[0]!;
  assert.deepEqual([none[26], none[27]], [0, 0]);
});

test('REQ-44 IP options, DSCP and ECN pass unchanged', () => {
  const rig = new Rig();
  const out = only(rig.pass(udp(A, 30001, SERVER, 9, { tos: 0xb9, ipOptions: Uint8Array.of(148, 4, 0, 0) })));
  assert.deepEqual([out.tos, ...out.options], [0xb9, 148, 4, 0, 0]);
});

test('LAN to LAN is routed without rewrite, and answers too', () => {
  const rig = new Rig();
  const out = only(rig.pass(tcp(A, 5, C, 80)));
  assert.deepEqual([out.src, out.sport, out.dst], [A, 5, C]);
  assert.equal(only(rig.pass(tcp(C, 80, A, 5, { flags: SYN | ACK, ack: 1001 }))).dst, A);
});

test('flows wait while an interface is away, and leave nothing', () => {
  const rig = new Rig();
  rig.pass(udp(A, 30001, SERVER, 9));
  const away = makePlan({}, 2);
  const down = {
    ...away,
    interfaces: away.interfaces.map((item, out) => (out === 1 ? { ...item, mtu: 0 } : item)),
    routes: away.routes.slice(0, 2),
  };
  rig.engine.setPlan(down);
  const gone = new Redecision(2);
  while (!gone.step(rig.engine, rig.now / 1000));
  assert.deepEqual([gone.stayed, gone.moved, gone.ended], [1, 0, 0]);
  assert.deepEqual(dissect(rig.pass(udp(A, 30001, SERVER, 9))[0]!).type, 3, 'told: net unreachable');
  rig.engine.setPlan(makePlan({}, 3));
  const back = new Redecision(3);
  while (!back.step(rig.engine, rig.now / 1000));
  assert.deepEqual([back.stayed, back.ended], [1, 0]);
  assert.equal(only(rig.pass(udp(SERVER, 9, P, 30001))).dst, A);
});

test('REQ-24 two inside hosts with one IP id: never one id towards one destination where DF is not set', () => {
  const rig = new Rig();
  const ids = new Set<number>();
  for (let n = 0; n < 500; n++) {
    for (const host of [A, B]) ids.add(only(rig.pass(udp(host, 30001, SERVER, 9, { id: n }))).id);
  }
  assert.equal(ids.size, 1000);
  assert.equal(only(rig.pass(udp(A, 30001, SERVER, 9, { id: 7, df: true }))).id, 7, 'with DF it stays');
});

test('REQ-15 fragments that overlap or come twice are dropped and counted; all that pass carry one id', () => {
  const rig = new Rig();
  const piece = (offset: number, bytes: number, mf: boolean) => {
    const body = new Uint8Array(bytes);
    if (offset === 0) body.set([0x75, 0x31, 0, 9, 0x0b, 0xc0, 0, 0]);
    return fragment({ src: A, dst: SERVER, id: 77, offset, mf, payload: body });
  };
  const out = rig.pass(
    piece(0, 1480, true),
    piece(1480, 1480, true),
    piece(1480, 1480, true),
    piece(1400, 200, true),
    piece(0, 1480, true),
    piece(2960, 48, false),
  );
  assert.deepEqual(
    out.map((raw) => dissect(raw).offset),
    [0, 1480, 2960],
  );
  assert.equal(new Set(out.map((raw) => dissect(raw).id)).size, 1);
  assert.equal(rig.verdicts()['fragment-invalid'], 3);
  // The datagram is complete: the same id may begin another one.
  assert.equal(rig.pass(piece(0, 1480, true)).length, 1);
});

/** A UDP fragment, whose first bytes are the payload's own. */
function fragment(o: {
  src: string;
  dst: string;
  id: number;
  offset: number;
  mf: boolean;
  payload: Uint8Array;
}): Uint8Array {
  const packet = build({ ...o, proto: 200 });
  packet[9] = 17;
  return withChecksums(packet, -1);
}

test('REQ-33, REQ-32 flows of one inside host, and its new mappings a second, are limited', () => {
  const flows = new Rig({ change: (plan) => ({ ...plan, perHostFlows: 3 }) });
  for (let n = 1; n <= 3; n++) assert.equal(only(flows.pass(udp(A, 5000, SERVER, n))).src, P);
  assert.equal(dissect(flows.pass(udp(A, 5000, SERVER, 4))[0]!).code, 13);
  assert.equal(only(flows.pass(udp(B, 5000, SERVER, 4))).src, P, 'others are not touched');
  flows.advance(301);
  assert.equal(only(flows.pass(udp(A, 5000, SERVER, 4))).src, P);

  // Without NAT, and from the port of a forward of its own, they are as many rows as any other.
  const own = { forwards: [{ first: 40_000, last: 40_099, to: A, protos: ['udp' as const] }] };
  for (const remote of [C, SERVER]) {
    const rig = new Rig({ ...own, change: (plan) => ({ ...plan, perHostFlows: 3 }) });
    for (let n = 1; n <= 3; n++) assert.equal(only(rig.pass(udp(A, 40_000, remote, n))).dst, remote);
    assert.equal(only(rig.pass(udp(A, 40_000, remote, 4))).code, 13);
    assert.equal(only(rig.pass(udp(B, 40_000, remote, 4))).dst, remote, 'others are not touched');
    // What strangers begin is not the target's doing.
    assert.equal(only(rig.pass(udp(SERVER, 7, P, 40_050))).dst, A);
    checkTable(rig.engine.table);
    rig.advance(301);
    assert.equal(rig.engine.table.header[Header.LIVE_HOSTS], remote === C ? 0 : 1, 'only B’s held mapping is left');
    assert.equal(only(rig.pass(udp(A, 40_000, remote, 4))).dst, remote);
    checkTable(rig.engine.table);
  }

  const rate = new Rig({ change: (plan) => ({ ...plan, perHostRate: 5 }) });
  const made = () =>
    Array.from({ length: 8 }, (_, n) => dissect(rate.pass(udp(A, 6000 + rate.now / 1000 + n, SERVER, 9))[0]!).src);
  assert.equal(made().filter((src) => src === P).length, 5);
  rate.now += 1000;
  // One of these ports has its mapping already.
  assert.ok(made().filter((src) => src === P).length >= 5);
  assert.ok(rate.verdicts()['host-limit']! >= 3);
});

test('REQ-18 an unsolicited SYN is answered after 6 s and only if no SYN from inside crossed it; by default never', () => {
  const silent = new Rig();
  silent.pass(tcp(SERVER, 7, P, 30001));
  assert.ok(!silent.engine.unsolicited.waits(silent.now + 10_000));

  const rig = new Rig({ change: (plan) => ({ ...plan, rejectUnsolicited: true }) });
  const due = () => {
    rig.batch.clear();
    rig.batch.ctl[3] = rig.now | 0;
    rig.engine.unsolicited.answer(rig.engine, rig.batch, rig.now | 0);
    emit(rig.engine, rig.batch, rig.link);
    return rig.link.take().map((packet) => dissect(packet.bytes));
  };
  assert.deepEqual(rig.pass(tcp(SERVER, 7, P, 30001), tcp(SERVER, 8, P, 30003)), []);
  rig.now += 5999;
  assert.deepEqual(due(), []);
  rig.pass(tcp(A, 30003, SERVER, 8));
  rig.now += 1;
  const answers = due();
  assert.equal(answers.length, 1, 'the SYN that was crossed is dropped silently');
  const [error] = answers;
  assert.deepEqual([error!.src, error!.dst, error!.type, error!.code, error!.l4ChecksumOk], [P, SERVER, 3, 3, true]);
  assert.deepEqual([dissect(error!.payload).sport, dissect(error!.payload).dport], [7, 30001]);
});

test('REQ-20 after a RST state is kept 240 s, and traffic of both sides that goes on brings the connection back', () => {
  const rig = new Rig();
  const a = (more: object) => rig.pass(tcp(A, 30001, SERVER, 80, more));
  const s = (more: object) => rig.pass(tcp(SERVER, 80, P, 30001, more));
  a({ seq: 100 });
  s({ flags: SYN | ACK, seq: 900, ack: 101 });
  a({ flags: ACK, seq: 101, ack: 901 });
  s({ flags: RST, seq: 901 });
  assert.equal(rig.engine.table.stateOf(0), 8);
  a({ flags: ACK, seq: 101, ack: 901, payload: new Uint8Array(10) });
  assert.equal(rig.engine.table.stateOf(0), 8, 'one side alone proves nothing');
  s({ flags: ACK, seq: 901, ack: 111 });
  assert.equal(rig.engine.table.stateOf(0), 3);
});

test('REQ-37 the translation log: off by default, mappings without destinations, or flows', () => {
  const events = (translationLog: 'off' | 'mappings' | 'flows') => {
    const rig = new Rig({ change: (plan) => ({ ...plan, translationLog }) });
    rig.pass(udp(A, 30001, SERVER, 9), udp(A, 30001, OTHER, 9));
    rig.advance(301);
    rig.advance(121);
    const log = rig.engine.translations.take();
    return Array.from({ length: log.length / 8 }, (_, i) => Array.from(log.subarray(i * 8, i * 8 + 8)));
  };
  assert.deepEqual(events('off'), []);
  const endpoint = [17, ip(A), ip(P), (30001 << 16) | 30001];
  assert.deepEqual(events('mappings'), [
    [0, ...endpoint, 0, 0, 0],
    [1, ...endpoint, 0, 0, 0],
  ]);
  assert.deepEqual(events('flows'), [
    [2, ...endpoint, ip(SERVER), 9, 0],
    [2, ...endpoint, ip(OTHER), 9, 0],
    [3, ...endpoint, ip(SERVER), 9, 0],
    [3, ...endpoint, ip(OTHER), 9, 0],
  ]);
});

test('REQ-20 an out-of-window segment or FIN keeps no connection alive', () => {
  const rig = new Rig();
  const out = only(rig.pass(tcp(A, 30_001, SERVER, 80)));
  const back = (flags: number, seq: number) =>
    rig.pass(tcp(SERVER, 80, P, out.sport, { flags, seq, ack: 1001, payload: Uint8Array.of(1) }));
  rig.pass(tcp(SERVER, 80, P, out.sport, { flags: SYN | ACK, seq: 5000, ack: 1001 }));
  rig.pass(tcp(A, 30_001, SERVER, 80, { flags: ACK, seq: 1001, ack: 5001 }));
  for (let hour = 0; hour < 2; hour++) {
    rig.advance(3600);
    for (const flags of [ACK, ACK | 1]) assert.equal(back(flags, 0x7000_0000).length, 1, 'its receiver may judge it');
  }
  rig.advance(241);
  assert.equal(rig.engine.table.header[Header.LIVE_FLOWS], 0);
});
