/**
 * The cases: what goes in, in order, and under which plan. Packets are described here and stored as pcap beside; what comes
 * out, and the verdict counters, are stored too and compared byte by byte. Free choices (random ports, IP ids) are avoided
 * by the cases (source ports that can be kept, DF set) or masked by the runner.
 *
 * An entry of `packets` is a packet, a packet with a vnet header, or a number: that many seconds pass.
 */

import { A, B, C, OTHER, P, type RigOptions, SERVER } from '../datapath/rig.js';
import { build, mssOption, type PacketOptions, withChecksums } from '../lib-packets.js';

export interface WithVnet {
  bytes: Uint8Array;
  vnet: Uint8Array;
}

export interface Case {
  readonly options: RigOptions;
  readonly packets: readonly (Uint8Array | WithVnet | number)[];
}

const SYN = 2;
const ACK = 0x10;
const FIN = 1;
const RST = 4;
const text = (line: string) => new TextEncoder().encode(line);

const packet = (o: PacketOptions) => build({ df: true, ...o });
const udp = (src: string, sport: number, dst: string, dport: number, more: Partial<PacketOptions> = {}) =>
  packet({ proto: 'udp', src, sport, dst, dport, payload: text('hello'), ...more });
const tcp = (src: string, sport: number, dst: string, dport: number, flags: number, seq: number, ack = 0, more = {}) =>
  packet({ proto: 'tcp', src, sport, dst, dport, flags, seq, ack, ...more });
const icmp = (src: string, dst: string, type: number, more: Partial<PacketOptions> = {}) =>
  packet({ proto: 'icmp', src, dst, type, ...more });

/** One IPv4 datagram cut into fragments at multiples of `size` bytes. */
function cut(whole: Uint8Array, size: number): Uint8Array[] {
  const pieces: Uint8Array[] = [];
  for (let at = 20; at < whole.length; at += size) {
    const body = whole.subarray(at, Math.min(at + size, whole.length));
    const piece = Uint8Array.from([...whole.subarray(0, 20), ...body]);
    const v = new DataView(piece.buffer);
    v.setUint16(2, piece.length);
    v.setUint16(6, ((at - 20) >> 3) | (at + size < whole.length ? 0x2000 : 0));
    pieces.push(withChecksums(piece, -1));
  }
  return pieces;
}

/** A GSO packet as a TUN gives it: partial checksum, segments of `size` bytes. `type` 1 = TCPv4, 5 = UDP_L4. */
function gso(bytes: Uint8Array, type: number, size: number): WithVnet {
  const tcpPacket = type === 1;
  const vnet = new Uint8Array(10);
  const v = new DataView(vnet.buffer);
  v.setUint8(0, 1);
  v.setUint8(1, type);
  v.setUint16(2, tcpPacket ? 40 : 28, true);
  v.setUint16(4, size, true);
  v.setUint16(6, 20, true);
  v.setUint16(8, tcpPacket ? 16 : 6, true);
  const field = 20 + (tcpPacket ? 16 : 6);
  const length = bytes.length - 20;
  let sum = bytes[9]! + length;
  for (let i = 12; i < 20; i += 2) sum += (bytes[i]! << 8) | bytes[i + 1]!;
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16);
  bytes[field] = sum >> 8;
  bytes[field + 1] = sum & 255;
  return { bytes, vnet };
}

const sentUdp = (sport: number, dport: number) => udp(P, sport, SERVER, dport);

export const CASES: Record<string, Case> = {
  snat: {
    options: {},
    packets: [
      udp(A, 30_001, SERVER, 53),
      udp(SERVER, 53, P, 30_001),
      tcp(A, 30_002, SERVER, 443, SYN, 100),
      tcp(SERVER, 443, P, 30_002, SYN | ACK, 900, 101),
      tcp(A, 30_002, SERVER, 443, ACK, 101, 901, { payload: text('GET /') }),
      icmp(A, SERVER, 8, { icmpId: 30_003 }),
      icmp(SERVER, P, 0, { icmpId: 30_003 }),
    ],
  },
  forward: {
    options: {
      forwards: [
        { first: 2222, to: A, toPort: 22, from: ['198.51.100.0/24'] },
        { first: 31_000, last: 31_099, to: B, toPort: 8000, protos: ['tcp', 'udp'] },
        { first: 9000, last: 9009, to: A, toPort: 443, single: true },
      ],
    },
    packets: [
      tcp(SERVER, 5000, P, 2222, SYN, 1),
      tcp(A, 22, SERVER, 5000, SYN | ACK, 7, 2),
      tcp(OTHER, 5000, P, 2222, SYN, 1),
      udp(OTHER, 6000, P, 31_050),
      udp(B, 8050, OTHER, 6000),
      tcp(OTHER, 6001, P, 9005, SYN, 1),
      tcp(A, 443, OTHER, 6001, SYN | ACK, 9, 2),
    ],
  },
  'forward-own-port': {
    options: { forwards: [{ first: 5000, last: 5009, to: A, toPort: 6000, protos: ['udp'] }] },
    packets: [udp(A, 6003, OTHER, 99), udp(OTHER, 99, P, 5003), udp(A, 6003, SERVER, 98)],
  },
  hairpin: {
    options: { forwards: [{ first: 8080, to: A, toPort: 80 }] },
    packets: [
      tcp(B, 40_001, P, 8080, SYN, 100),
      tcp(A, 80, P, 40_001, SYN | ACK, 900, 101),
      tcp(A, 40_002, P, 8080, SYN, 100),
      tcp(C, 40_003, P, 8080, SYN, 100),
      udp(A, 30_001, SERVER, 53),
      udp(B, 30_003, P, 30_001),
      udp(A, 30_001, P, 30_003),
    ],
  },
  'icmp-error-in': {
    options: {},
    packets: [
      udp(A, 30_001, SERVER, 33_434),
      icmp('192.0.2.1', P, 11, { payload: sentUdp(30_001, 33_434).slice(0, 28) }),
      icmp(SERVER, P, 3, { code: 3, payload: sentUdp(30_001, 33_434) }),
      icmp('192.0.2.1', P, 11, { payload: sentUdp(30_002, 33_434).slice(0, 28) }),
      icmp('192.0.2.1', P, 5, { payload: sentUdp(30_001, 33_434).slice(0, 28) }),
    ],
  },
  'icmp-error-out': {
    options: { forwards: [{ first: 80, to: A, toPort: 8000, protos: ['udp'] }] },
    packets: [
      udp(SERVER, 7, P, 80),
      icmp(A, SERVER, 3, { code: 3, payload: udp(SERVER, 7, A, 8000) }),
      icmp('172.22.161.99', SERVER, 3, { code: 1, payload: udp(SERVER, 7, A, 8000).slice(0, 28) }),
    ],
  },
  fragments: {
    options: {},
    packets: (() => {
      const whole = packet({
        proto: 'udp',
        src: A,
        sport: 30_001,
        dst: SERVER,
        dport: 9,
        id: 77,
        df: false,
        payload: Uint8Array.from({ length: 3000 }, (_, i) => i & 255),
      });
      const back = packet({
        proto: 'udp',
        src: SERVER,
        sport: 9,
        dst: P,
        dport: 30_001,
        id: 5,
        df: false,
        payload: Uint8Array.from({ length: 2000 }, (_, i) => 255 - (i & 255)),
      });
      const [a, b, c] = cut(whole, 1480) as [Uint8Array, Uint8Array, Uint8Array];
      const [x, y] = cut(back, 1480) as [Uint8Array, Uint8Array];
      return [a, b, c, y, x];
    })(),
  },
  gso: {
    options: { mtu: { wan: 1500 } },
    packets: [
      tcp(A, 30_001, SERVER, 80, SYN, 100),
      tcp(SERVER, 80, P, 30_001, SYN | ACK, 900, 101),
      gso(tcp(A, 30_001, SERVER, 80, ACK, 101, 901, { payload: new Uint8Array(4380).fill(7) }), 1, 1460),
      gso(udp(A, 30_002, SERVER, 443, { payload: new Uint8Array(3600).fill(9) }), 5, 1200),
      gso(tcp(A, 30_001, SERVER, 80, ACK, 101, 901, { payload: new Uint8Array(4380) }), 1, 1461),
      gso(tcp(A, 30_001, SERVER, 80, ACK, 101, 901, { payload: new Uint8Array(100) }), 5, 1460),
    ],
  },
  mss: {
    options: { mtu: { wan: 1400 } },
    packets: [
      tcp(A, 30_001, SERVER, 80, SYN, 1, 0, { tcpOptions: mssOption(1460, 7) }),
      tcp(SERVER, 80, P, 30_001, SYN | ACK, 1, 2, { tcpOptions: mssOption(1460) }),
      tcp(A, 30_002, SERVER, 80, SYN, 1, 0, { tcpOptions: mssOption(1000) }),
      tcp(A, 30_003, SERVER, 80, SYN, 1, 0, { tcpOptions: Uint8Array.of(1, 2, 4, 5, 180, 0, 0, 0) }),
      tcp(A, 30_004, SERVER, 80, SYN, 1),
    ],
  },
  'ttl-and-mtu': {
    options: { mtu: { wan: 1400, lan: 1300 }, forwards: [{ first: 80, to: A, protos: ['udp'] }] },
    packets: [
      udp(A, 30_001, SERVER, 33_434, { ttl: 1 }),
      udp(SERVER, 7, P, 80, { ttl: 1 }),
      udp(A, 30_002, SERVER, 9, { payload: new Uint8Array(1400) }),
      udp(SERVER, 8, P, 80, { payload: new Uint8Array(1300) }),
      udp(A, 30_003, SERVER, 9, { ttl: 2 }),
    ],
  },
  filtered: {
    options: {},
    packets: [
      udp(A, 30_001, SERVER, 53),
      udp(SERVER, 999, P, 30_001),
      udp(OTHER, 53, P, 30_001),
      udp(OTHER, 53, P, 30_002),
      udp(OTHER, 53, A, 30_001),
      udp(OTHER, 53, SERVER, 1),
      udp('127.0.0.1', 53, P, 30_001),
      tcp(OTHER, 1, P, 30_001, ACK, 1, 1),
      tcp(OTHER, 1, P, 30_001, SYN | FIN, 1),
      tcp(OTHER, 1, P, 22, SYN, 1),
    ],
  },
  exhausted: {
    options: { pool: [40_000, 40_001] },
    packets: [
      udp(A, 40_000, SERVER, 9),
      udp(A, 40_001, SERVER, 9),
      udp(B, 40_000, SERVER, 9),
      udp(SERVER, 9, P, 40_001),
      301,
      udp(B, 40_000, SERVER, 9),
      121,
      udp(B, 40_000, SERVER, 9),
    ],
  },
  'tcp-close': {
    options: {},
    packets: [
      tcp(A, 30_001, SERVER, 80, SYN, 100),
      tcp(SERVER, 80, P, 30_001, SYN | ACK, 900, 101),
      tcp(A, 30_001, SERVER, 80, ACK, 101, 901),
      tcp(SERVER, 80, P, 30_001, RST, 5_000_000),
      tcp(A, 30_001, SERVER, 80, FIN | ACK, 101, 901),
      tcp(SERVER, 80, P, 30_001, FIN | ACK, 901, 102),
      tcp(A, 30_001, SERVER, 80, ACK, 102, 902),
      241,
      tcp(SERVER, 80, P, 30_001, ACK, 902, 102),
    ],
  },
  'other-protocols': {
    options: { forwards: [{ first: 1, last: 0, to: A, protos: ['icmp', 'other'] }] },
    packets: [
      packet({ proto: 47, src: SERVER, dst: P, payload: text('tunnel..') }),
      packet({ proto: 47, src: A, dst: SERVER, payload: text('tunnel..') }),
      packet({ proto: 47, src: B, dst: SERVER, payload: text('tunnel..') }),
      packet({ proto: 47, src: B, dst: P, payload: text('tunnel..') }),
      icmp(SERVER, P, 8, { icmpId: 9 }),
      icmp(A, SERVER, 0, { icmpId: 9 }),
    ],
  },
  malformed: {
    options: {},
    packets: [
      Uint8Array.of(0x45, 0, 0, 20),
      udp(A, 1, SERVER, 1).slice(0, 30),
      Uint8Array.from([0x60, ...new Uint8Array(39)]),
      Uint8Array.from([0x44, ...udp(A, 1, SERVER, 1).slice(1)]),
      withChecksums(
        Uint8Array.from(udp(A, 1, SERVER, 1), (byte, i) => (i === 25 ? 7 : byte)),
        -1,
      ),
      udp(A, 1, '224.0.0.1', 1),
      udp('240.0.0.1', 1, P, 1),
      packet({ proto: 6, src: SERVER, dst: P, offset: 8, payload: new Uint8Array(16) }),
      packet({ proto: 17, src: SERVER, dst: P, offset: 65_528, payload: new Uint8Array(16) }),
      withChecksums(
        Uint8Array.from(packet({ proto: 200, src: A, dst: SERVER, payload: new Uint8Array(19) }), (byte, i) =>
          i === 9 ? 6 : byte,
        ),
        -1,
      ),
      icmp(SERVER, P, 3, { payload: new Uint8Array(10) }),
    ],
  },
};
