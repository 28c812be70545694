/** Headers and checksums on the engine, malformed packets included: what goes out, byte by byte. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { build, dissect, fullChecksum, ip, mssOption, withChecksums } from '../lib-packets.js';
import { A, B, P, Rig, SERVER } from './rig.js';

const SYN = 2;
const ACK = 0x10;

const udp = (src: string, sport: number, dst: string, dport: number, more = {}) =>
  build({ proto: 'udp', src, sport, dst, dport, payload: Uint8Array.of(1, 2, 3), ...more });
const tcp = (src: string, sport: number, dst: string, dport: number, more = {}) =>
  build({ proto: 'tcp', src, sport, dst, dport, flags: SYN, seq: 1000, ...more });

const word = (packet: Uint8Array, at: number) => (packet[at]! << 8) | packet[at + 1]!;

test('REQ-42 a UDP checksum that comes out as 0 is sent as 0xffff, which means the same', () => {
  // Two bytes of payload are chosen so that the translated packet's sum is 0xffff, whose complement is 0.
  const rig = new Rig();
  const v = new DataView(new ArrayBuffer(2));
  const packet = (value: number) => {
    v.setUint16(0, value);
    return udp(A, 30_001, SERVER, 9, { payload: new Uint8Array(v.buffer.slice(0)) });
  };
  const out = rig.pass(packet(0))[0]!;
  // With payload 0 the field is what is missing to 0xffff.
  const zero = rig.pass(packet(word(out, 26)))[0]!;
  assert.equal(word(zero, 26), 0xffff);
  assert.ok(dissect(zero).l4ChecksumOk);
});

test('REQ-42 a partial checksum is left for the kernel to complete, and comes out right', () => {
  const rig = new Rig();
  for (const proto of ['tcp', 'udp'] as const) {
    const field = proto === 'tcp' ? 16 : 6;
    const bytes = build({ proto, src: A, sport: 5, dst: SERVER, dport: 9, payload: Uint8Array.of(9, 8, 7, 6) });
    // As a guest with checksum offload sends it: the field holds the pseudo-header's sum.
    const pseudo = new Uint8Array(12);
    pseudo.set(bytes.subarray(12, 20));
    pseudo[9] = bytes[9]!;
    pseudo[11] = bytes.length - 20;
    const sum = ~fullChecksum(pseudo) & 0xffff;
    bytes[20 + field] = sum >> 8;
    bytes[21 + field] = sum & 255;
    const vnet = Uint8Array.of(1, 0, 0, 0, 0, 0, 20, 0, field, 0);
    const [out] = rig.passWithVnet({ bytes, vnet });
    assert.equal(out!.vnet[0], 1, 'still partial');
    // What the kernel does: the sum over layer 4, with that start, into the field.
    const done = Uint8Array.from(out!.bytes);
    const complete = fullChecksum(done.subarray(20));
    done[20 + field] = complete >> 8;
    done[21 + field] = complete & 255;
    const seen = dissect(done);
    assert.deepEqual([seen.src, seen.l4ChecksumOk, seen.ipChecksumOk], [P, true, true], proto);
  }
});

test('REQ-45 MSS: SYN and SYN-ACK alone, an absent option stays absent, a packet without SYN keeps what it has', () => {
  const rig = new Rig({ mtu: { wan: 1400 } });
  const mss = (packet: Uint8Array) => word(rig.pass(packet)[0]!, 42);
  assert.equal(mss(tcp(A, 5, SERVER, 80, { tcpOptions: mssOption(1460) })), 1360);
  const back = { flags: SYN | ACK, seq: 7, ack: 1001, tcpOptions: mssOption(1460) };
  const port = dissect(rig.pass(tcp(A, 30_007, SERVER, 80))[0]!).sport;
  assert.equal(mss(tcp(SERVER, 80, P, port, back)), 1360);
  assert.equal(mss(tcp(A, 30_007, SERVER, 80, { flags: ACK, seq: 1001, ack: 8, tcpOptions: mssOption(1460) })), 1460);
  const bare = rig.pass(tcp(A, 30_009, SERVER, 80))[0]!;
  assert.deepEqual([bare.length, dissect(bare).header], [40, 20]);
});

test('REQ-64 each malformed packet is dropped under its name, and the next good one passes', () => {
  const good = () => udp(A, 30_001, SERVER, 9);
  const change = (at: number, value: number, packet = good()) => {
    const copy = Uint8Array.from(packet);
    copy[at] = value;
    return copy;
  };
  const cases: [string, Uint8Array][] = [
    ['truncated', good().slice(0, 19)],
    ['truncated', change(3, 200)],
    ['not-ipv4', change(0, 0x65)],
    ['bad-header', change(0, 0x44)],
    ['bad-header', change(3, 19)],
    ['bad-l4-header', change(25, 200)],
    ['bad-l4-header', change(25, 7)],
    ['bad-l4-header', change(32, 0xf0, tcp(A, 5, SERVER, 80))],
    ['bad-l4-header', change(32, 0x40, tcp(A, 5, SERVER, 80))],
    ['tcp-invalid', tcp(A, 5, SERVER, 80, { flags: 0 })],
    ['tcp-invalid', tcp(A, 5, SERVER, 80, { flags: SYN | 1 })],
    ['bad-address', udp('127.0.0.1', 5, SERVER, 9)],
    ['bad-address', udp('255.255.255.255', 5, SERVER, 9)],
    ['bad-address', udp(A, 5, '127.0.0.1', 9)],
    ['multicast', udp(A, 5, '224.0.0.1', 9)],
    ['fragment-invalid', withChecksums(build({ proto: 17, src: A, dst: SERVER, offset: 65_528, payload: good() }), -1)],
    ['fragment-invalid', build({ proto: 6, src: A, dst: SERVER, offset: 8, payload: new Uint8Array(40) })],
    ['fragment-invalid', build({ proto: 'tcp', src: A, sport: 1, dst: SERVER, dport: 2, mf: true }).slice(0, 36)],
  ];
  // The tiny first fragment needs a length that agrees.
  const tiny = cases.at(-1)![1];
  tiny[3] = 36;
  for (const [name, packet] of cases) {
    const rig = new Rig();
    assert.deepEqual(rig.pass(packet), [], name);
    assert.equal(rig.verdicts()[name], 1, `${name}: ${JSON.stringify(rig.verdicts())}`);
    assert.equal(rig.pass(good()).length, 1);
  }
});

test('REQ-68 a corrupt TCP segment or IP header is never given a right checksum', () => {
  const rig = new Rig();
  for (let bit = 0; bit < 16; bit++) {
    const bad = tcp(A, 30_000 + bit, SERVER, 80, { payload: Uint8Array.of(1, 2, 3, 4), tcpOptions: mssOption(1460) });
    bad[44 + (bit >> 3)]! ^= 1 << (bit & 7);
    assert.equal(dissect(rig.pass(bad)[0]!).l4ChecksumOk, false);
  }
  // Nor a corrupt IP header: its wrong checksum stays wrong.
  const header = udp(B, 5, SERVER, 9);
  header[11]! ^= 1;
  assert.equal(dissect(rig.pass(header)[0]!).ipChecksumOk, false);
  assert.equal(ip(dissect(header).src), ip(B));
});
