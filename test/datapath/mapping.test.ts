/** Mappings and flows on the engine: what RFC 4787, 5382 and 6888 ask beside what nat.test.ts shows. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Filtering } from '../../src/contract/plan.js';
import { Header, Row } from '../../src/contract/table-layout.js';
import { Redecision } from '../../src/datapath/reload.js';
import { checkTable } from '../flow/invariants.js';
import { build, dissect, ip } from '../lib-packets.js';
import { A, B, C, makePlan, OTHER, P, Rig, type RigOptions, SERVER } from './rig.js';

const SYN = 2;
const ACK = 0x10;
const RST = 4;

const udp = (src: string, sport: number, dst: string, dport: number, more = {}) =>
  build({ proto: 'udp', src, sport, dst, dport, payload: Uint8Array.of(1, 2, 3), ...more });
const tcp = (src: string, sport: number, dst: string, dport: number, more = {}) =>
  build({ proto: 'tcp', src, sport, dst, dport, flags: SYN, seq: 1000, ...more });

function only(out: Uint8Array[]) {
  assert.equal(out.length, 1, `${out.length} packets came out`);
  const packet = dissect(out[0]!);
  assert.ok(packet.ipChecksumOk && packet.l4ChecksumOk, 'checksums');
  return packet;
}

/** A second public address on the uplink. */
const P2 = '203.0.113.11';
const TWO_ADDRESSES: RigOptions = {
  change: (plan) => ({
    ...plan,
    uplinks: [{ ...plan.uplinks[0]!, addresses: [0, 1] }],
    addresses: [plan.addresses[0]!, { ...plan.addresses[0]!, address: ip(P2) }],
    hostAddresses: [...plan.hostAddresses, ip(P2)],
  }),
};

test('REQ-2 of several outside addresses all mappings of one inside host use one, and the hosts are spread', () => {
  const rig = new Rig(TWO_ADDRESSES);
  const used = new Set<string>();
  for (let host = 2; host < 34; host++) {
    const sources = new Set<string>();
    for (let n = 0; n < 8; n++) {
      const from = `172.22.161.${host}`;
      sources.add(only(rig.pass(udp(from, 30_000 + n, SERVER, 9))).src);
      sources.add(only(rig.pass(tcp(from, 30_000 + n, OTHER, 80 + n))).src);
    }
    assert.equal(sources.size, 1, `host ${host}: ${[...sources]}`);
    used.add([...sources][0]!);
  }
  assert.deepEqual([...used].sort(), [P, P2]);
});

test('REQ-4 a source port below 1024 gets one below 1024, another one does not, as long as there are some', () => {
  const rig = new Rig({ pool: [1000, 1063] });
  rig.pass(udp(A, 1001, SERVER, 9), udp(A, 1025, SERVER, 9));
  for (let n = 0; n < 20; n++) assert.ok(only(rig.pass(udp(B, 101 + n, SERVER, 9))).sport < 1024, `low ${n}`);
  for (let n = 0; n < 36; n++) assert.ok(only(rig.pass(udp(C, 5001 + n, SERVER, 9))).sport >= 1024, `high ${n}`);
  const { ports } = rig.engine.table.mappings;
  assert.ok(!ports.sideChanged);
  for (let n = 0; n < 4; n++) rig.pass(udp(C, 6001 + n, SERVER, 9));
  assert.ok(ports.sideChanged, 'somebody is to hear of it');
});

test('REQ-5 parity is kept, or not where the plan turns it off; a free source port is kept either way', () => {
  const parities = (parity: boolean) => {
    const rig = new Rig({ change: (plan) => ({ ...plan, parity }) });
    assert.equal(only(rig.pass(udp(A, 30_001, SERVER, 9))).sport, 30_001);
    return new Set(Array.from({ length: 40 }, (_, n) => only(rig.pass(udp(A, 5001 + 2 * n, SERVER, 9))).sport & 1));
  };
  assert.deepEqual([...parities(true)], [1]);
  assert.deepEqual([...parities(false)].sort(), [0, 1]);
});

test('REQ-6 a UDP flow whose 300 s are over is over, also before the sweep comes by', () => {
  const rig = new Rig();
  rig.pass(udp(A, 30_001, SERVER, 9));
  rig.now += 300_000;
  assert.equal(only(rig.pass(udp(SERVER, 9, P, 30_001))).dst, A);
  rig.now += 1000;
  assert.deepEqual(rig.pass(udp(SERVER, 9, P, 30_001)), []);
  assert.equal(rig.verdicts()['no-mapping'], 1);
});

test('REQ-7 inbound packets refresh where the plan says so; a filtered one refreshes nothing', () => {
  for (const inboundRefresh of [false, true]) {
    const rig = new Rig({ change: (plan) => ({ ...plan, inboundRefresh }) });
    rig.pass(udp(A, 30_001, SERVER, 9));
    rig.now += 200_000;
    assert.deepEqual(rig.pass(udp(OTHER, 9, P, 30_001)), [], 'filtered');
    assert.equal(rig.engine.table.rows[Row.EXPIRES], 1300);
    rig.pass(udp(SERVER, 9, P, 30_001));
    assert.equal(rig.engine.table.rows[Row.EXPIRES], inboundRefresh ? 1500 : 1300);
  }
});

test('REQ-12 a DNS query’s flow ends 10 s after its answer, others do not', () => {
  const rig = new Rig();
  rig.pass(udp(A, 30_001, SERVER, 53), udp(A, 30_003, SERVER, 54));
  rig.pass(udp(SERVER, 53, P, 30_001), udp(SERVER, 54, P, 30_003));
  rig.advance(9);
  assert.equal(rig.engine.table.header[Header.LIVE_FLOWS], 2);
  rig.advance(3);
  assert.equal(rig.engine.table.header[Header.LIVE_FLOWS], 1);
  assert.equal(only(rig.pass(udp(SERVER, 54, P, 30_003))).dst, A);
});

test('REQ-12 a closed connection that was opened again is live, and keeps its port under pressure', () => {
  const rig = new Rig({ pool: [40_000, 40_000] });
  const a = (more: object) => rig.pass(tcp(A, 40_000, SERVER, 80, more));
  a({ seq: 100 });
  rig.pass(tcp(SERVER, 80, P, 40_000, { flags: RST | ACK, seq: 0, ack: 101 }));
  a({ seq: 5000 });
  rig.pass(tcp(SERVER, 80, P, 40_000, { flags: SYN | ACK, seq: 900, ack: 5001 }));
  a({ flags: ACK, seq: 5001, ack: 901 });
  assert.equal(only(rig.pass(tcp(B, 40_000, SERVER, 80))).type, 3, 'B is refused');
  assert.equal(only(rig.pass(tcp(SERVER, 80, P, 40_000, { flags: ACK, seq: 901, ack: 5001 }))).dst, A);
});

test('REQ-17 simultaneous open through a mapping: the SYN from outside goes in, and the connection comes to be', () => {
  for (const [filtering, passes] of [
    [Filtering.ENDPOINT_INDEPENDENT, true],
    [Filtering.ADDRESS_DEPENDENT, false],
  ] as const) {
    const rig = new Rig({ nat: [{ filtering }] });
    rig.pass(tcp(A, 30_001, SERVER, 80));
    // REQ-16: a connection from outside to the mapping, in three steps.
    const third = rig.pass(tcp(OTHER, 555, P, 30_001, { seq: 7 }));
    assert.equal(third.length, passes ? 1 : 0);
    if (passes) {
      rig.pass(tcp(A, 30_001, OTHER, 555, { flags: SYN | ACK, seq: 70, ack: 8 }));
      rig.pass(tcp(OTHER, 555, P, 30_001, { flags: ACK, seq: 8, ack: 71 }));
      assert.equal(rig.engine.table.stateOf(1), 3, 'ESTABLISHED');
    }
    // Both SYNs cross.
    assert.equal(only(rig.pass(tcp(SERVER, 80, P, 30_001, { seq: 900 }))).dst, A);
    rig.pass(tcp(A, 30_001, SERVER, 80, { flags: SYN | ACK, seq: 1000, ack: 901 }));
    rig.pass(tcp(SERVER, 80, P, 30_001, { flags: SYN | ACK, seq: 900, ack: 1001 }));
    rig.pass(tcp(A, 30_001, SERVER, 80, { flags: ACK, seq: 1001, ack: 901 }));
    assert.equal(rig.engine.table.stateOf(0), 3, 'ESTABLISHED');
  }
});

test('REQ-22 TCP and UDP mappings are independent: each protocol has all ports, and opens only its own', () => {
  const rig = new Rig();
  assert.equal(only(rig.pass(udp(A, 30_001, SERVER, 9))).sport, 30_001);
  assert.deepEqual(rig.pass(tcp(SERVER, 9, P, 30_001)), [], 'the UDP mapping lets no TCP in');
  assert.equal(only(rig.pass(tcp(B, 30_001, SERVER, 9))).sport, 30_001, 'another host has the same port for TCP');
  assert.equal(only(rig.pass(udp(SERVER, 9, P, 30_001))).dst, A);
  assert.equal(only(rig.pass(tcp(SERVER, 9, P, 30_001, { flags: SYN | ACK, ack: 1001 }))).dst, B);
});

test('REQ-40 other protocols are dropped and counted, or go 1:1 by an `all` forward', () => {
  const esp = (src: string, dst: string) => build({ proto: 50, src, dst, payload: new Uint8Array(16) });
  const closed = new Rig({ shared: false });
  assert.equal(only(closed.pass(esp(A, SERVER), esp(SERVER, P))).code, 13, 'REQ-30: who is inside is told');
  assert.equal(closed.verdicts().protocol, 2);
  const rig = new Rig({ forwards: [{ first: 1, last: 0, to: A, protos: ['other'] }] });
  assert.equal(only(rig.pass(esp(SERVER, P))).dst, A);
  assert.equal(only(rig.pass(esp(A, SERVER))).src, P);
  assert.equal(only(rig.pass(esp(A, OTHER))).src, P);
  assert.equal(only(rig.pass(esp(B, SERVER))).code, 13, 'nobody else may');
  assert.equal(rig.verdicts().protocol, 1);
});

test('REQ-61 a new plan ends the flows whose answer changed, and no other', () => {
  const forwards = [
    { first: 80, to: A },
    { first: 81, to: A },
    { first: 82, to: A, from: ['198.51.100.0/24'] },
  ];
  const rig = new Rig({ forwards });
  for (const port of [80, 81, 82]) rig.pass(tcp(SERVER, 5, P, port));
  rig.pass(udp(A, 30_001, SERVER, 9), tcp(B, 30_001, SERVER, 9), tcp(C, 7, P, 80), udp(A, 5, C, 6));
  const generations = () => Array.from({ length: 7 }, (_, row) => rig.engine.table.rows[row * 16]! & 1);
  const decide = (o: RigOptions, generation: number) => {
    rig.engine.setPlan(makePlan(o, generation));
    const again = new Redecision(generation);
    while (!again.step(rig.engine, rig.now / 1000));
    return [again.stayed + again.moved, again.ended];
  };
  assert.deepEqual(decide({ forwards }, 2), [7, 0], 'the same plan');
  const moved = [forwards[0]!, { first: 81, to: B }, { ...forwards[2]!, from: ['192.0.2.0/24'] }];
  assert.deepEqual(decide({ forwards: moved }, 3), [5, 2], 'one forward has another target, one another source list');
  assert.equal(generations().filter((live) => live === 1).length, 5);
  assert.equal(only(rig.pass(tcp(SERVER, 5, P, 81))).dst, B, 'decided anew');
  assert.deepEqual(rig.pass(tcp(SERVER, 5, P, 82, { flags: ACK })), [], 'no longer allowed');
  assert.equal(only(rig.pass(udp(SERVER, 9, P, 30_001))).dst, A);
});

test('REQ-67 what comes for a claimed port is never handed to the kernel, which would answer it', () => {
  const rig = new Rig({ forwards: [{ first: 80, to: A, from: ['192.0.2.0/24'] }] });
  for (const port of [30_001, 80]) {
    for (const flags of [SYN, ACK, RST, SYN | ACK, ACK | 1])
      assert.deepEqual(rig.pass(tcp(SERVER, 5, P, port, { flags })), []);
    assert.deepEqual(rig.pass(udp(SERVER, 5, P, 30_001)), []);
  }
  assert.equal(rig.verdicts().punt, undefined);
});

test('REQ-10 the target’s answers to a hairpin flow keep its mapping alive, open and its own', () => {
  for (const make of [udp, tcp]) {
    const rig = new Rig({ pool: [30_000, 30_003] });
    const protocol = make === udp ? 'udp' : 'tcp';
    rig.pass(make(A, 30_000, SERVER, 9));
    const answer = (dst: string, dport: number, seq: number) =>
      build({ proto: protocol, src: A, sport: 30_000, dst, dport, flags: 0x12, seq, ack: 1001 });
    const visit = (seq = 1000) =>
      only(rig.pass(build({ proto: protocol, src: B, sport: 30_001, dst: P, dport: 30_000, flags: 2, seq })));
    for (let minute = 0; minute < 10; minute++) {
      const inward = visit();
      assert.deepEqual([inward.src, inward.dst, inward.dport], [P, A, 30_000]);
      assert.equal(only(rig.pass(answer(P, inward.sport, 5000))).dst, B);
      rig.advance(60);
      checkTable(rig.engine.table);
    }
    // Nobody else got the port, and a newcomer inside is let in by it.
    assert.notEqual(only(rig.pass(make(C, 30_000, SERVER, 9))).sport, 30_000);
    assert.equal(only(rig.pass(make(C, 30_000, P, 30_000))).dst, A);
    // Without answers it ends, hold included, like any other.
    rig.advance(500);
    rig.advance(200);
    assert.equal(rig.engine.table.header[Header.LIVE_MAPPINGS], 0);
    checkTable(rig.engine.table);
  }
});

test('REQ-9, REQ-61 a reload that changes the filtering takes effect on mappings that live', () => {
  const rig = new Rig();
  const reload = (filtering: number, generation: number) => {
    rig.engine.setPlan(makePlan({ nat: [{ filtering }] }, generation));
    const redecision = new Redecision(generation);
    while (!redecision.step(rig.engine, Math.floor(rig.now / 1000)));
    return redecision;
  };
  const stranger = (port: number) => rig.pass(udp(OTHER, port, P, 30_001)).length;
  reload(Filtering.ADDRESS_DEPENDENT, 2);
  rig.pass(udp(A, 30_001, SERVER, 9));
  assert.equal(stranger(1), 0);
  reload(Filtering.ENDPOINT_INDEPENDENT, 3);
  assert.equal(stranger(1), 1, 'opened');
  assert.equal(stranger(2), 1);
  rig.pass(udp(A, 30_001, OTHER, 2));
  const { ended } = reload(Filtering.ADDRESS_AND_PORT_DEPENDENT, 4);
  assert.equal(ended, 1, 'who was let in, and has had no answer');
  assert.equal(stranger(1), 0, 'closed');
  assert.equal(stranger(2), 1, 'A has answered this one');
  assert.equal(only(rig.pass(udp(SERVER, 9, P, 30_001))).dst, A);
  checkTable(rig.engine.table);
});
