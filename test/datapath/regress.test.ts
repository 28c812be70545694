/** Faults that once were: each of these failed before its repair. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Counter, RuleCounter, ruleBase } from '../../src/contract/counters.js';
import { Header } from '../../src/contract/table-layout.js';
import { checkTable } from '../flow/invariants.js';
import { build, dissect } from '../lib-packets.js';
import { A, B, P, Rig, SERVER } from './rig.js';

const SYN = 2;
const ACK = 0x10;
const udp = (src: string, sport: number, dst: string, dport: number, more = {}) =>
  build({ proto: 'udp', src, sport, dst, dport, df: true, payload: Uint8Array.of(1), ...more });
const tcp = (src: string, sport: number, dst: string, dport: number, flags: number, seq = 1, ack = 0) =>
  build({ proto: 'tcp', src, sport, dst, dport, df: true, flags, seq, ack });

test('REQ-3 a TCP flow that came in through a mapping keeps it once the inside host has answered', () => {
  const rig = new Rig({ pool: [40_000, 40_000] });
  rig.pass(tcp(A, 40_000, SERVER, 80, SYN, 100));
  rig.pass(tcp(SERVER, 7777, P, 40_000, SYN, 500));
  rig.pass(tcp(A, 40_000, SERVER, 7777, SYN | ACK, 900, 501));
  rig.pass(tcp(SERVER, 7777, P, 40_000, ACK, 501, 901));
  rig.advance(300);
  assert.equal(rig.engine.table.header[Header.LIVE_FLOWS], 1, 'the unanswered outbound SYN has timed out');
  assert.equal(rig.engine.table.header[Header.LIVE_MAPPINGS], 1);
  assert.equal(dissect(rig.pass(tcp(B, 40_000, SERVER, 80, SYN))[0]!).type, 3, 'the port is not given to B');
  checkTable(rig.engine.table);
});

test('a flow that came in through a mapping which has ended since is not answered through another host’s', () => {
  const rig = new Rig({ pool: [40_000, 40_000] });
  rig.pass(tcp(A, 40_000, SERVER, 80, SYN, 100));
  rig.now += 220_000;
  rig.pass(tcp(SERVER, 7777, P, 40_000, SYN, 500));
  rig.advance(25);
  assert.equal(dissect(rig.pass(tcp(B, 40_000, SERVER, 80, SYN))[0]!).src, P, 'B has the port now');
  assert.deepEqual(rig.pass(tcp(A, 40_000, SERVER, 7777, SYN | ACK, 900, 501)), []);
  assert.equal(rig.verdicts()['no-mapping'], 1);
  checkTable(rig.engine.table);
});

test('an `all` forward is no hairpin: a protocol without ports is refused by name and claims no port', () => {
  const rig = new Rig({ forwards: [{ first: 1, last: 0, to: A, protos: ['other'] }] });
  assert.equal(dissect(rig.pass(build({ proto: 47, src: B, dst: P, payload: new Uint8Array(8) }))[0]!).code, 13);
  assert.deepEqual(rig.verdicts(), { reply: 1, protocol: 1 });
  checkTable(rig.engine.table);
});

test('REQ-25 a ping with id 0 goes out and its answer comes back', () => {
  const rig = new Rig();
  const out = dissect(rig.pass(build({ proto: 'icmp', src: A, dst: SERVER, icmpId: 0 }))[0]!);
  assert.deepEqual([out.src, out.icmpId !== 0], [P, true]);
  const back = dissect(rig.pass(build({ proto: 'icmp', type: 0, src: SERVER, dst: P, icmpId: out.icmpId }))[0]!);
  assert.deepEqual([back.dst, back.icmpId, back.l4ChecksumOk], [A, 0, true], 'all words zero: the checksum is 0xffff');
});

test('ICMP errors are sent after 25 days of uptime as well', () => {
  const rig = new Rig();
  rig.now = 2 ** 31 + 1_000_000;
  for (let n = 0; n < 400; n++) {
    rig.now += 10;
    assert.equal(rig.pass(udp(A, 5, SERVER, 33_434, { ttl: 1 })).length, 1, `error ${n + 1}`);
  }
  assert.equal(rig.counters[Counter.ICMP_LIMITED], 0);
});

test('a vnet header that says "checksum verified" asks for nothing, on a later fragment too', () => {
  const rig = new Rig();
  const vnet = Uint8Array.of(2, 0, 0, 0, 0, 0, 0, 0, 0, 0);
  rig.passWithVnet({ bytes: udp(A, 30_001, SERVER, 9), vnet });
  const fragment = build({ proto: 17, src: A, dst: SERVER, id: 5, offset: 1480, payload: new Uint8Array(8) });
  rig.passWithVnet({ bytes: fragment, vnet });
  assert.deepEqual(rig.verdicts(), { forward: 1, held: 1 });
});

test('per-forward counters: towards the target is in, also from inside by hairpin', () => {
  const rig = new Rig({ forwards: [{ first: 8080, to: A, toPort: 80, protos: ['udp'] }] });
  rig.pass(udp(SERVER, 5, P, 8080), udp(B, 6, P, 8080), udp(A, 80, SERVER, 5));
  const at = ruleBase(1);
  assert.equal(rig.counters[at + RuleCounter.PACKETS_IN], 2);
  assert.equal(rig.counters[at + RuleCounter.PACKETS_OUT], 1);
});

test('REQ-13 an ICMP error about a flow that has run out is about no flow', () => {
  const rig = new Rig();
  const sent = rig.pass(udp(A, 30_001, SERVER, 9))[0]!;
  rig.now += 301_000;
  assert.deepEqual(rig.pass(build({ proto: 'icmp', type: 3, code: 1, src: SERVER, dst: P, payload: sent })), []);
  assert.equal(rig.verdicts()['icmp-no-flow'], 1);
});
