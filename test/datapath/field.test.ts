/**
 * What the tests of other routers check and ours did not yet: Open vSwitch (system-traffic), Linux (selftests of netfilter), VPP
 * (NAT44). The facts are theirs, the code is ours.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Filtering, Mapping } from '../../src/contract/plan.js';
import { STATE_NAMES } from '../../src/contract/table-layout.js';
import { checkTable } from '../flow/invariants.js';
import { build, dissect, type PacketOptions } from '../lib-packets.js';
import { A, B, C, OTHER, P, Rig, SERVER } from './rig.js';

const FIN = 1;
const SYN = 2;
const RST = 4;
const PSH = 8;
const ACK = 0x10;
const ECE = 0x40;
const CWR = 0x80;
const ROUTER = '192.0.2.1';
const GRE = 47;
const IPIP = 4;

const udp = (src: string, sport: number, dst: string, dport: number, more: Partial<PacketOptions> = {}) =>
  build({ proto: 'udp', src, sport, dst, dport, payload: Uint8Array.of(1, 2, 3), ...more });
const tcp = (src: string, sport: number, dst: string, dport: number, more: Partial<PacketOptions> = {}) =>
  build({ proto: 'tcp', src, sport, dst, dport, flags: SYN, seq: 1000, ...more });
const error = (src: string, dst: string, quoted: Uint8Array, type = 3, code = 1) =>
  build({ proto: 'icmp', type, code, src, dst, payload: quoted });

function only(out: Uint8Array[]) {
  assert.equal(out.length, 1, `${out.length} packets came out`);
  const packet = dissect(out[0]!);
  assert.ok(packet.ipChecksumOk && packet.l4ChecksumOk, 'checksums');
  return packet;
}

const tuple = ({ src, sport, dst, dport }: ReturnType<typeof dissect>) => `${src}:${sport} ${dst}:${dport}`;

/** The state of the only flow between two ports, whoever began it. */
function stateOf(rig: Rig, src: string, sport: number, dst: string, dport: number): string {
  const { table } = rig.engine;
  const number = (text: string) => text.split('.').reduce((value, part) => (value << 8) | Number(part), 0);
  const handle = table.find(number(src), number(dst), (sport << 16) | dport, 6);
  assert.ok(handle >= 0, `no flow ${src}:${sport} ${dst}:${dport}`);
  return STATE_NAMES[table.stateOf(handle >>> 1)]!;
}

test('REQ-10, REQ-17 simultaneous open by hairpin: both SYNs in one batch are one connection, each sees P:p of the other', () => {
  const rig = new Rig();
  const [a, b] = [only(rig.pass(udp(A, 30_001, SERVER, 9))).sport, only(rig.pass(udp(B, 30_002, SERVER, 9))).sport];
  // The TCP mappings, with the same outside ports as they are free.
  rig.pass(tcp(A, 30_001, SERVER, 80), tcp(B, 30_002, SERVER, 80));
  const crossed = rig.pass(tcp(A, 30_001, P, b, { seq: 100 }), tcp(B, 30_002, P, a, { seq: 900 })).map(dissect);
  assert.deepEqual(crossed.map(tuple), [`${P}:${a} ${B}:30002`, `${P}:${b} ${A}:30001`]);
  const answers = rig.pass(
    tcp(A, 30_001, P, b, { flags: SYN | ACK, seq: 100, ack: 901 }),
    tcp(B, 30_002, P, a, { flags: SYN | ACK, seq: 900, ack: 101 }),
    tcp(A, 30_001, P, b, { flags: ACK, seq: 101, ack: 901 }),
    tcp(B, 30_002, P, a, { flags: ACK, seq: 901, ack: 101 }),
  );
  assert.equal(answers.length, 4);
  assert.equal(stateOf(rig, A, 30_001, P, b), 'ESTABLISHED');
  checkTable(rig.engine.table);
});

test('REQ-10 two hosts that write to each other’s mapping at the same time keep their ports, whoever is first', () => {
  for (const filtering of [Filtering.ENDPOINT_INDEPENDENT, Filtering.ADDRESS_AND_PORT_DEPENDENT]) {
    const rig = new Rig({ nat: [{ filtering }] });
    const [a, b] = [only(rig.pass(udp(A, 30_001, SERVER, 9))).sport, only(rig.pass(udp(B, 30_002, SERVER, 9))).sport];
    for (let round = 0; round < 3; round++) {
      const out = rig.pass(udp(A, 30_001, P, b), udp(B, 30_002, P, a)).map(dissect);
      assert.deepEqual(out.map(tuple), [`${P}:${a} ${B}:30002`, `${P}:${b} ${A}:30001`]);
    }
    checkTable(rig.engine.table);
  }
});

test('REQ-10 an ICMP forward by hairpin: the echo reaches its target from P, the answer comes from P', () => {
  const rig = new Rig({ forwards: [{ first: 1, last: 0, to: B, protos: ['icmp'] }] });
  for (const sender of [A, C]) {
    const ping = only(rig.pass(build({ proto: 'icmp', src: sender, dst: P, icmpId: 9 })));
    assert.deepEqual([ping.src, ping.dst], [P, B]);
    const pong = only(rig.pass(build({ proto: 'icmp', type: 0, src: B, dst: P, icmpId: ping.icmpId })));
    assert.deepEqual([pong.src, pong.dst, pong.icmpId], [P, sender, 9]);
  }
});

test('REQ-3, REQ-27 endpoint-dependent: flows of two hosts on one port; each error goes to the one that it is about', () => {
  const rig = new Rig({ pool: [20_000, 20_000], nat: [{ mapping: Mapping.ENDPOINT_DEPENDENT }] });
  for (const make of [udp, tcp]) {
    const toServer = rig.pass(make(A, 30_001, SERVER, 80))[0]!;
    const toOther = rig.pass(make(B, 30_002, OTHER, 80))[0]!;
    assert.deepEqual([dissect(toServer).sport, dissect(toOther).sport], [20_000, 20_000]);
    for (const [quoted, host, port] of [
      [toServer, A, 30_001],
      [toOther, B, 30_002],
    ] as const) {
      const out = only(rig.pass(error(ROUTER, P, quoted.slice(0, 28), 3, 4)));
      assert.deepEqual([out.src, out.dst], [ROUTER, host]);
      assert.deepEqual([dissect(out.payload).src, dissect(out.payload).sport], [host, port]);
    }
  }
});

test('REQ-27, REQ-28, REQ-40 an error about a tunnel’s packet (GRE, IPIP) passes both ways, as its path MTU discovery needs', () => {
  const rig = new Rig({ forwards: [{ first: 1, last: 0, to: A, protos: ['other'] }] });
  for (const proto of [GRE, IPIP]) {
    const payload = new Uint8Array(64).fill(7);
    const out = rig.pass(build({ proto, src: A, dst: SERVER, payload, df: true }))[0]!;
    const told = only(rig.pass(error(ROUTER, P, out.slice(0, 28), 3, 4)));
    assert.deepEqual([told.src, told.dst, told.code], [ROUTER, A, 4]);
    assert.deepEqual([dissect(told.payload).src, dissect(told.payload).dst], [A, SERVER]);
    const inward = rig.pass(build({ proto, src: OTHER, dst: P, payload, df: true }))[0]!;
    const said = only(rig.pass(error(A, OTHER, inward.slice(0, 28), 3, 4)));
    assert.deepEqual([said.src, said.dst], [P, OTHER]);
    assert.deepEqual([dissect(said.payload).src, dissect(said.payload).dst], [OTHER, P]);
  }
});

test('REQ-14 a tunnel’s packet that is too big with DF: its sender is told, with the MTU', () => {
  const rig = new Rig({ forwards: [{ first: 1, last: 0, to: A, protos: ['other'] }], mtu: { wan: 1400 } });
  const told = only(rig.pass(build({ proto: GRE, src: A, dst: SERVER, payload: new Uint8Array(1400), df: true })));
  assert.deepEqual([told.dst, told.type, told.code, told.mtu], [A, 3, 4, 1400]);
});

test('bytes behind the packet (Ethernet padding) are left out, and no checksum counts them', () => {
  const rig = new Rig();
  const padded = (packet: Uint8Array) => Uint8Array.from([...packet, ...new Uint8Array(18).fill(0xaa)]);
  const ping = rig.pass(padded(build({ proto: 'icmp', src: A, dst: SERVER, icmpId: 7 })))[0]!;
  assert.equal(ping.length, 28);
  only([ping]);
  const seen = dissect(ping);
  const pong = rig.pass(padded(build({ proto: 'icmp', type: 0, src: SERVER, dst: P, icmpId: seen.icmpId })));
  assert.deepEqual([pong[0]!.length, only(pong).dst], [28, A]);
  assert.equal(rig.pass(padded(udp(A, 30_001, SERVER, 9)))[0]!.length, 31);
  const unreachable = error(ROUTER, P, ping.slice(0, 28));
  assert.equal(only(rig.pass(padded(unreachable))).dst, A, 'an error’s checksum is that of the message');
});

test('one client reaches one target by two forwards and with one source port: both connections come to be, apart', () => {
  const rig = new Rig({
    forwards: [
      { first: 8080, to: A, toPort: 80 },
      { first: 8081, to: A, toPort: 80 },
    ],
  });
  const sports = new Set<number>();
  for (const [client, port] of [
    [SERVER, 8080],
    [SERVER, 8081],
    [OTHER, 8080],
  ] as const) {
    const inward = only(rig.pass(tcp(client, 5555, P, port)));
    assert.deepEqual([inward.src, inward.dst, inward.dport], [client, A, 80]);
    if (client === SERVER) sports.add(inward.sport);
    const answer = only(rig.pass(tcp(A, 80, client, inward.sport, { flags: SYN | ACK, seq: 9, ack: 1001 })));
    assert.equal(tuple(answer), `${P}:${port} ${client}:5555`);
  }
  assert.equal(sports.size, 2);
  checkTable(rig.engine.table);
});

test('TCP flags that real stacks send pass: ECN in the SYN, PSH with FIN, URG; those that none sends do not', () => {
  const rig = new Rig();
  const pass = (flags: number) => rig.pass(tcp(A, 30_001, SERVER, 80, { flags, seq: 1000, ack: 1 })).length;
  for (const flags of [
    SYN | ECE | CWR,
    SYN | 0x20,
    SYN | PSH,
    ACK | CWR,
    FIN | PSH | ACK,
    FIN | PSH | 0x20 | ACK,
    ACK | 0x20,
  ])
    assert.equal(pass(flags), 1, flags.toString(2));
  for (const flags of [0, FIN, SYN | FIN, SYN | RST, SYN | FIN | ACK, 0x3f, FIN | PSH | 0x20])
    assert.equal(pass(flags), 0, flags.toString(2));
});

test('REQ-20 an outside port whose connection is gone: a challenged SYN, its RST and the SYN again open a new connection', () => {
  const rig = new Rig();
  const inside = (more: Partial<PacketOptions>) => rig.pass(tcp(A, 30_001, SERVER, 80, more)).length;
  const outside = (more: Partial<PacketOptions>) => rig.pass(tcp(SERVER, 80, P, 30_001, more)).length;
  const state = () => stateOf(rig, A, 30_001, SERVER, 80);
  // The server still has the connection of before; what it acknowledges is far ahead of the new SYN, or far behind it.
  for (const [seq, stale] of [
    [5000, 643_160_523],
    [1_943_160_523, 643_160_523],
  ] as const) {
    assert.equal(inside({ flags: SYN, seq }), 1);
    assert.equal(outside({ flags: ACK, seq: 145_824_453, ack: stale }), 1, 'the challenge');
    assert.equal(inside({ flags: RST, seq: stale }), 1);
    assert.equal(inside({ flags: SYN, seq }), 1);
    assert.equal(outside({ flags: SYN | ACK, seq: 77, ack: seq + 1 }), 1);
    assert.equal(inside({ flags: ACK, seq: seq + 1, ack: 78 }), 1);
    assert.equal(state(), 'ESTABLISHED');
    inside({ flags: RST, seq: seq + 1 });
    assert.equal(state(), 'CLOSE');
  }
});

test('REQ-20 a closed connection: FIN and ACK that come again pass and open nothing; its port is not another host’s meanwhile', () => {
  const rig = new Rig({ pool: [20_000, 20_001] });
  const port = only(rig.pass(tcp(A, 30_000, SERVER, 80, { seq: 100 }))).sport;
  rig.pass(tcp(SERVER, 80, P, port, { flags: SYN | ACK, seq: 900, ack: 101 }));
  rig.pass(tcp(A, 30_000, SERVER, 80, { flags: ACK, seq: 101, ack: 901 }));
  rig.pass(tcp(A, 30_000, SERVER, 80, { flags: FIN | ACK, seq: 101, ack: 901 }));
  rig.pass(tcp(SERVER, 80, P, port, { flags: FIN | ACK, seq: 901, ack: 102 }));
  rig.pass(tcp(A, 30_000, SERVER, 80, { flags: ACK, seq: 102, ack: 902 }));
  assert.equal(stateOf(rig, A, 30_000, SERVER, 80), 'TIME_WAIT');
  assert.equal(only(rig.pass(tcp(SERVER, 80, P, port, { flags: FIN | ACK, seq: 901, ack: 102 }))).dst, A);
  assert.equal(only(rig.pass(tcp(A, 30_000, SERVER, 80, { flags: ACK, seq: 102, ack: 902 }))).sport, port);
  assert.equal(stateOf(rig, A, 30_000, SERVER, 80), 'TIME_WAIT');
  assert.notEqual(only(rig.pass(tcp(B, 30_000, SERVER, 80))).sport, port);
});

test('fragments by hairpin, of an echo request, and last one first: translated alike, nothing leaves before the first', () => {
  const rig = new Rig({ forwards: [{ first: 8080, to: B, protos: ['udp'] }] });
  const cut = (whole: Uint8Array, id: number) => {
    const { src, dst, proto } = dissect(whole);
    const l4 = whole.subarray(20);
    const piece = (offset: number, end: number) => {
      const made = build({ proto: 200, src, dst, id, offset, mf: end < l4.length, payload: l4.slice(offset, end) });
      made[9] = proto;
      // The protocol is another one: so is the header's checksum.
      const view = new DataView(made.buffer);
      const sum = 0xffff - view.getUint16(10) + proto - 200;
      view.setUint16(10, 0xffff - (sum < 0 ? sum + 0xffff : sum));
      return made;
    };
    return [piece(0, 64), piece(64, 128), piece(128, l4.length)] as const;
  };
  for (const [whole, from, to] of [
    [udp(A, 30_001, P, 8080, { payload: new Uint8Array(200) }), P, B],
    [build({ proto: 'icmp', src: A, dst: SERVER, icmpId: 9, payload: new Uint8Array(200) }), P, SERVER],
    [udp(A, 30_001, SERVER, 9, { payload: new Uint8Array(200) }), P, SERVER],
  ] as const) {
    const [first, middle, last] = cut(whole, 4000);
    assert.deepEqual(rig.pass(last), []);
    const out = rig.pass(first, middle).map(dissect);
    assert.equal(out.length, 3);
    assert.deepEqual(
      new Set(out.map(({ src, dst, ipChecksumOk }) => `${src} ${dst} ${ipChecksumOk}`)),
      new Set([`${from} ${to} true`]),
    );
    assert.equal(new Set(out.map(({ id }) => id)).size, 1);
    assert.deepEqual(
      out.map(({ offset }) => offset).toSorted((x, y) => x - y),
      [0, 64, 128],
    );
    assert.equal(out[0]!.offset, 0, 'the first leaves first');
  }
});

test('port 0 and ICMP id 0 are numbers like others: mapped to one of the pool, and back', () => {
  const rig = new Rig();
  for (const make of [udp, tcp]) {
    const out = only(rig.pass(make(A, 0, SERVER, 80)));
    assert.ok(out.sport >= 20_000 && out.sport <= 49_999, String(out.sport));
    const answer = make === tcp ? { flags: SYN | ACK, seq: 9, ack: 1001 } : {};
    const back = only(rig.pass(make(SERVER, 80, P, out.sport, answer)));
    assert.deepEqual([back.dst, back.dport], [A, 0]);
    assert.equal(only(rig.pass(make(B, 30_001, SERVER, 0))).dport, 0);
  }
  const ping = only(rig.pass(build({ proto: 'icmp', src: A, dst: SERVER, icmpId: 0 })));
  assert.ok(ping.icmpId >= 20_000 && ping.icmpId <= 49_999, String(ping.icmpId));
  const pong = only(rig.pass(build({ proto: 'icmp', type: 0, src: SERVER, dst: P, icmpId: ping.icmpId })));
  assert.deepEqual([pong.dst, pong.icmpId], [A, 0]);
  // An answer that nobody asked for, with id 0, is no question to an ICMP forward.
  const forward = new Rig({ forwards: [{ first: 1, last: 0, to: A, protos: ['icmp'] }] });
  assert.deepEqual(
    forward.pass(build({ proto: 'icmp', type: 0, src: SERVER, dst: P, icmpId: 0 })).map((out) => dissect(out).dst),
    [],
  );
  checkTable(rig.engine.table);
});

test('REQ-15, REQ-40 fragments of a tunnel’s packet go 1:1 by its `all` forward, in any order', () => {
  const rig = new Rig({ forwards: [{ first: 1, last: 0, to: A, protos: ['other'] }] });
  const piece = (src: string, dst: string, offset: number, mf: boolean) =>
    build({ proto: GRE, src, dst, id: 9, offset, mf, payload: new Uint8Array(64) });
  for (const [src, dst, from, to] of [
    [A, SERVER, P, SERVER],
    [SERVER, P, SERVER, A],
  ] as const) {
    assert.deepEqual(rig.pass(piece(src, dst, 64, false)), []);
    const out = rig.pass(piece(src, dst, 0, true)).map(dissect);
    assert.deepEqual(
      out.map((each) => [each.src, each.dst, each.offset]),
      [
        [from, to, 0],
        [from, to, 64],
      ],
    );
  }
});
