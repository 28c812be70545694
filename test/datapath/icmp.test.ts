/** ICMP on the engine: errors that are translated, errors that we send, and messages that a NAT does not pass (RFC 5508). */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Counter } from '../../src/contract/counters.js';
import { Row, Words } from '../../src/contract/table-layout.js';
import { build, dissect, fullChecksum } from '../lib-packets.js';
import { A, B, C, GATEWAY, OTHER, P, prefix, Rig, SERVER } from './rig.js';

const ROUTER = '192.0.2.1';
const SYN = 2;
const ACK = 0x10;

const udp = (src: string, sport: number, dst: string, dport: number, more = {}) =>
  build({ proto: 'udp', src, sport, dst, dport, payload: Uint8Array.of(1, 2, 3), ...more });
const tcp = (src: string, sport: number, dst: string, dport: number, more = {}) =>
  build({ proto: 'tcp', src, sport, dst, dport, flags: SYN, seq: 1000, ...more });
const error = (src: string, dst: string, quoted: Uint8Array, type = 3, code = 1) =>
  build({ proto: 'icmp', type, code, src, dst, payload: quoted });

function only(out: Uint8Array[]) {
  assert.equal(out.length, 1, `${out.length} packets came out`);
  const packet = dissect(out[0]!);
  assert.ok(packet.ipChecksumOk && packet.l4ChecksumOk, 'checksums');
  return packet;
}

test('REQ-13 no ICMP error deletes or refreshes a mapping or flow, whoever sends it', () => {
  for (const make of [udp, tcp]) {
    const rig = new Rig();
    const { rows } = rig.engine.table;
    const sent = rig.pass(make(A, 30001, SERVER, 80))[0]!;
    const before = rows.slice(0, Words.ROW);
    rig.now += 20_000;
    for (const [type, code] of [
      [3, 0],
      [3, 1],
      [3, 3],
      [3, 13],
      [11, 0],
      [12, 0],
    ] as const) {
      for (const sender of [ROUTER, SERVER, OTHER])
        assert.equal(only(rig.pass(error(sender, P, sent.slice(0, 28), type, code))).dst, A, 'not filtered by source');
    }
    assert.equal(rows[Row.EXPIRES], before[Row.EXPIRES], 'the life of the flow is what it was');
    assert.equal(rows[0], before[0], 'it is the same flow');
    const answer = make(SERVER, 80, P, 30001, make === tcp ? { flags: SYN | ACK, seq: 9, ack: 1001 } : {});
    assert.equal(only(rig.pass(answer)).dst, A);
  }
});

test('REQ-21 unreachable for a TCP flow reaches the inside host, with the ports that it knows', () => {
  const rig = new Rig();
  rig.pass(tcp(B, 30001, SERVER, 80));
  const sent = rig.pass(tcp(A, 30001, SERVER, 80))[0]!;
  assert.notEqual(dissect(sent).sport, 30001);
  const out = only(rig.pass(error(ROUTER, P, sent.slice(0, 28), 3, 4)));
  assert.deepEqual([out.src, out.dst, out.type, out.code], [ROUTER, A, 3, 4]);
  const quoted = dissect(out.payload);
  assert.deepEqual([quoted.src, quoted.sport, quoted.dst, quoted.dport], [A, 30001, SERVER, 80]);
});

test('REQ-26 IP options in the quoted packet, and a quoted checksum that is wrong, are no hindrance', () => {
  const rig = new Rig();
  const sent = rig.pass(udp(A, 30001, SERVER, 9, { ipOptions: Uint8Array.of(148, 4, 0, 0) }))[0]!;
  const quote = sent.slice(0, 32);
  quote[30]! ^= 0x55;
  const out = only(rig.pass(error(ROUTER, P, quote)));
  const quoted = dissect(out.payload);
  assert.deepEqual([out.dst, quoted.src, quoted.sport, ...quoted.options], [A, A, 30001, 148, 4, 0, 0]);
  assert.ok(quoted.ipChecksumOk);
});

test('REQ-26 RFC 4884: the length field and the extensions behind the quote are kept', () => {
  const rig = new Rig();
  const sent = rig.pass(udp(A, 30001, SERVER, 9, { payload: new Uint8Array(100) }))[0]!;
  const extension = Uint8Array.of(0x20, 0, 0xde, 0xad, 0, 8, 1, 1, 1, 2, 3, 4);
  const packet = error(ROUTER, P, Uint8Array.from([...sent.slice(0, 128), ...extension]), 11, 0);
  // The length of the quote in words stands in byte 5 of the ICMP header.
  packet[25] = 32;
  const sum = new DataView(packet.buffer);
  sum.setUint16(22, 0);
  sum.setUint16(22, fullChecksum(packet.subarray(20)));
  const out = rig.pass(packet)[0]!;
  assert.equal(only([out]).dst, A);
  assert.equal(out[25], 32);
  assert.deepEqual(out.slice(-extension.length), extension);
});

test('REQ-27 an outside error without a mapping is dropped, or is the host’s own when the host sent what it quotes', () => {
  const rig = new Rig();
  assert.deepEqual(rig.pass(error(ROUTER, P, udp(P, 30001, SERVER, 9).slice(0, 28))), []);
  // Nor does the host care for what it cannot have sent, or what is for a LAN host.
  assert.deepEqual(rig.pass(error(ROUTER, P, udp(A, 5, SERVER, 9).slice(0, 28))), []);
  assert.deepEqual(rig.pass(error(ROUTER, A, udp(A, 5, SERVER, 9).slice(0, 28))), []);
  assert.equal(rig.verdicts()['icmp-no-flow'], 3);
  const own = error(ROUTER, P, udp(P, 53, SERVER, 9).slice(0, 28));
  assert.deepEqual(rig.pass(own), [own]);
  // An error that does not go to the sender of what it quotes is made up.
  const sent = rig.pass(udp(A, 30001, SERVER, 9))[0]!;
  assert.deepEqual(rig.pass(error(ROUTER, OTHER, sent.slice(0, 28))), []);
  assert.equal(rig.verdicts()['icmp-embedded'], 1);
});

test('REQ-28, REQ-41 an error from a router behind the LAN, or with a made up source, leaves with source P', () => {
  const rig = new Rig({ forwards: [{ first: 80, to: A, protos: ['udp'] }] });
  const inside = rig.pass(udp(SERVER, 7, P, 80))[0]!;
  for (const sender of [A, B, '192.168.55.1']) {
    const out = only(rig.pass(error(sender, SERVER, inside.slice(0, 28))));
    assert.deepEqual([out.src, out.dst, dissect(out.payload).dst], [P, SERVER, P]);
  }
});

test('REQ-30 no resources: insiders get ICMP 3/13, at a limited rate, and everything is counted; outsiders get nothing', () => {
  const rig = new Rig({ pool: [40000, 40000], forwards: [{ first: 80, to: A }], flows: 1024 });
  rig.pass(udp(A, 40000, SERVER, 9));
  const told = only(rig.pass(udp(B, 5, SERVER, 9)));
  assert.deepEqual([told.dst, told.type, told.code], [B, 3, 13]);
  assert.equal(dissect(told.payload).src, B);
  const flood = Array.from({ length: 1000 }, (_, n) => udp(B, 1000 + n, SERVER, 9));
  const errors = flood.flatMap((packet) => rig.pass(packet)).length;
  assert.ok(errors >= 100 && errors <= 300, `${errors} errors in no time`);
  assert.equal(rig.verdicts()['ports-exhausted'], 1001);
  assert.equal(rig.counters[Counter.ICMP_LIMITED], 1000 - errors);
  rig.now += 1000;
  assert.equal(only(rig.pass(udp(B, 6, SERVER, 9))).type, 3, 'a second later there is room again');
  for (let n = 0; n < 1100; n++) rig.pass(udp(B, 2000 + n, C, 80));
  assert.ok(rig.verdicts()['table-full']! > 0);
  rig.now += 1000;
  assert.deepEqual(rig.pass(tcp(SERVER, 1, P, 80)), [], 'nobody outside learns how full we are');
});

test('REQ-30 not allowed: insiders get ICMP 3/13 for the block list, a `from` list and other protocols; outsiders get nothing', () => {
  const rig = new Rig({
    forwards: [{ first: 80, to: A, from: ['198.51.100.0/24'] }],
    change: (plan) => ({ ...plan, blocked: [prefix('192.0.2.0/24'), prefix(C)] }),
  });
  const gre = (src: string, dst: string) => build({ proto: 47, src, dst, payload: new Uint8Array(8) });
  for (const [packet, verdict] of [
    [udp(B, 5, OTHER, 9), 'blocked'],
    [tcp(B, 5, P, 80), 'forward-source'],
    [gre(B, SERVER), 'protocol'],
  ] as const) {
    const told = only(rig.pass(packet));
    assert.deepEqual([told.src, told.dst, told.type, told.code], [GATEWAY, B, 3, 13], verdict);
    assert.equal(rig.verdicts()[verdict], 1);
    assert.deepEqual(told.payload, packet);
  }
  // Strangers, and a host of ours that is itself on the block list, learn nothing.
  for (const packet of [tcp(OTHER, 5, P, 80), tcp('8.8.8.8', 5, P, 80), gre(SERVER, P), udp(C, 5, SERVER, 9)])
    assert.equal(rig.pass(packet).filter((out) => dissect(out).type === 3).length, 0);
  const flood = Array.from({ length: 1000 }, (_, n) => rig.pass(udp(B, 1000 + n, OTHER, 9)).length);
  const errors = flood.reduce((sum, n) => sum + n);
  assert.ok(errors >= 100 && errors <= 300, `${errors} errors in no time`);
});

test('REQ-41 nobody is told anything in a LAN that the kernel does not reach: it would leave by the uplink', () => {
  const rig = new Rig({
    change: (plan) => ({ ...plan, lans: plan.lans.map((lan) => ({ ...lan, out: lan.out === 3 ? 0 : lan.out })) }),
  });
  assert.deepEqual(rig.pass(udp(C, 5, SERVER, 9)), []);
  assert.equal(rig.verdicts()['no-route'], 1);
});

test('REQ-31 types 0, 3, 8, 11, 12 and timestamps pass; redirects and all others never do', () => {
  const rig = new Rig();
  const sent = rig.pass(udp(A, 30001, SERVER, 9))[0]!.slice(0, 28);
  for (let type = 0; type < 256; type++) {
    const inward = build({ proto: 'icmp', type, src: ROUTER, dst: P, payload: sent });
    const outward = build({ proto: 'icmp', type, src: A, dst: SERVER, icmpId: 7, payload: sent });
    const [fromOutside] = rig.pass(inward);
    if ([3, 11, 12].includes(type)) assert.equal(dissect(fromOutside!).dst, A, `type ${type}`);
    // To P: the host's own, which hears of redirects and advertisements as without us. (Queries are the host's as well.)
    else assert.deepEqual(fromOutside, inward, `type ${type}`);
    const out = rig.pass(outward);
    assert.equal(out.length, [8, 13].includes(type) ? 1 : 0, `type ${type} outwards`);
    rig.now += 100;
  }
});
