/**
 * native/segment.h by its two calls, tunSplit and tunJoin, on a FIFO in place of a TUN: what is written to it is read from it. The twin below makes and judges
 * packets slowly and readably.
 */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { closeSync, constants, mkdtempSync, openSync, readSync, rmSync, writeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { Columns } from '../../src/link/wireguard/columns.js';
import { Outcome } from '../../src/link/wireguard/outcome.js';
import { native } from '../../src/native.js';
import fc from '../property.js';

const dir = mkdtempSync(join(tmpdir(), 'tungate-segment-'));
const path = join(dir, 'fifo');
execFileSync('mkfifo', [path]);
const fifo = openSync(path, constants.O_RDWR | constants.O_NONBLOCK);
after(() => {
  closeSync(fifo);
  rmSync(dir, { recursive: true });
});

const columns = new Columns(512, new Uint8Array(768 * 1024));
const VNET = 10;
const Flag = { FIN: 1, PSH: 8, ACK: 16, ECE: 64, CWR: 128 } as const;

// -- the twin --

interface Packet {
  readonly six: boolean;
  readonly udp: boolean;
  readonly port: number;
  readonly sequence: number;
  readonly flags: number;
  readonly options: Uint8Array;
  readonly payload: Uint8Array;
  /** 0: no GSO, and then the checksum is complete. */
  readonly size: number;
}

function sum(bytes: Uint8Array): number {
  let total = 0;
  for (let i = 0; i < bytes.length; i += 2) total += (bytes[i]! << 8) | (bytes[i + 1] ?? 0);
  while (total > 0xffff) total = (total & 0xffff) + Math.floor(total / 0x10000);
  return total;
}

function pseudo(ip: Buffer, proto: number, length: number): Uint8Array {
  const addresses = ip[0]! >> 4 === 6 ? ip.subarray(8, 40) : ip.subarray(12, 20);
  return Buffer.concat([addresses, Buffer.from([0, proto, length >> 8, length & 255])]);
}

/** With its vnet header in front. */
function make(packet: Packet): Buffer {
  const { six, udp, payload, options, size } = packet;
  const l4 = six ? 40 : 20;
  const header = udp ? 8 : 20 + options.length;
  const length = header + payload.length;
  const whole = Buffer.alloc(VNET + l4 + length);
  const ip = whole.subarray(VNET);
  if (six) {
    ip.writeUInt32BE(0x60012345);
    ip.writeUInt16BE(length, 4);
    ip[6] = udp ? 17 : 6;
    ip[7] = 64;
    ip.fill(7, 8, 24);
    ip.fill(9, 24, 40);
  } else {
    ip.writeUInt16BE(0x4500);
    ip.writeUInt16BE(20 + length, 2);
    ip.writeUInt16BE(0xfff0, 4); // wraps
    ip.writeUInt16BE(0x4000, 6);
    ip[8] = 64;
    ip[9] = udp ? 17 : 6;
    ip.writeUInt32BE(0x0a630001, 12);
    ip.writeUInt32BE(0x0a630002, 16);
    ip.writeUInt16BE(~sum(ip.subarray(0, 20)) & 0xffff, 10);
  }
  const at = ip.subarray(l4);
  at.writeUInt16BE(packet.port);
  at.writeUInt16BE(443, 2);
  if (udp) {
    at.writeUInt16BE(length, 4);
  } else {
    at.writeUInt32BE(packet.sequence >>> 0, 4);
    at.writeUInt32BE(77, 8);
    at[12] = (header / 4) << 4;
    at[13] = packet.flags;
    at.writeUInt16BE(1024, 14);
    at.set(options, 20);
  }
  at.set(payload, header);
  const field = udp ? 6 : 16;
  const head = pseudo(ip, udp ? 17 : 6, length);
  if (size > 0) {
    at.writeUInt16BE(sum(head), field);
    whole[0] = 1;
    whole[1] = udp ? 5 : six ? 4 : 1;
    whole.writeUInt16LE(l4 + header, 2);
    whole.writeUInt16LE(size, 4);
    whole.writeUInt16LE(l4, 6);
    whole.writeUInt16LE(field, 8);
  } else {
    at.writeUInt16BE(~sum(Buffer.concat([head, at])) & 0xffff, field);
  }
  return whole;
}

/** What stands in slot i. */
function slot(i: number): Buffer {
  return Buffer.from(columns.data.slice(columns.from[i]!, columns.from[i]! + columns.len[i]!));
}

function split(whole: Buffer): Buffer[] {
  writeSync(fifo, whole);
  const n = native.tunSplit(fifo, columns.datagrams, 1);
  assert.ok(n >= 0);
  return Array.from({ length: n }, (_, i) => slot(i));
}

/** Puts packets into slots as device.open leaves them, joins, returns how many were written and their bytes. */
function joined(packets: readonly Buffer[], ecn = 0): { writes: number; bytes: Buffer } {
  let off = 0;
  packets.forEach((packet, i) => {
    columns.off[i] = off;
    columns.len[i] = packet.length;
    columns.outcome[i] = Outcome.PASS;
    columns.ecn[i] = ecn;
    columns.data.set(packet, off + 16);
    off += 48 + ((packet.length + 15) & ~15);
  });
  const writes = native.tunJoin(fifo, columns.datagrams, packets.length, 1);
  return { writes, bytes: drain() };
}

function drain(): Buffer {
  const into = Buffer.alloc(256 * 1024);
  try {
    return into.subarray(0, readSync(fifo, into));
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EAGAIN') return into.subarray(0, 0);
    throw error;
  }
}

const tcp = fc.record({
  six: fc.boolean(),
  udp: fc.constant(false),
  port: fc.integer({ min: 1, max: 65_535 }),
  sequence: fc.integer({ min: 0, max: 0xffffffff }),
  flags: fc.constantFrom(Flag.ACK, Flag.ACK | Flag.PSH),
  options: fc.constantFrom(new Uint8Array(0), Uint8Array.from([1, 1, 8, 10, 1, 2, 3, 4, 5, 6, 7, 8])),
  payload: fc.uint8Array({ minLength: 1, maxLength: 50_000, size: 'max' }),
  size: fc.integer({ min: 500, max: 1400 }),
});

// -- split --

test('a TCP packet of many segments: each is right by itself, and together they are the packet', () => {
  fc.assert(
    fc.property(tcp, (packet) => {
      const parts = split(make(packet));
      const want = Math.ceil(packet.payload.length / packet.size);
      assert.equal(parts.length, want);
      parts.forEach((part, i) => {
        const last = i === want - 1;
        const expected = make({
          ...packet,
          size: 0,
          sequence: packet.sequence + i * packet.size,
          flags: last ? packet.flags : packet.flags & ~(Flag.PSH | Flag.FIN),
          payload: packet.payload.slice(i * packet.size, (i + 1) * packet.size),
        }).subarray(VNET);
        if (!packet.six) {
          expected.writeUInt16BE((0xfff0 + i) & 0xffff, 4);
          expected.writeUInt16BE(0, 10);
          expected.writeUInt16BE(~sum(expected.subarray(0, 20)) & 0xffff, 10);
        }
        assert.deepEqual(part, expected);
      });
    }),
    { numRuns: 60 },
  );
});

test('FIN stays with the last segment, CWR with the first', () => {
  const flags = Flag.ACK | Flag.FIN | Flag.PSH | Flag.CWR | Flag.ECE;
  const parts = split(make({ ...base(), flags, payload: new Uint8Array(2500), size: 1000 }));
  assert.deepEqual(
    parts.map((part) => part[33]!),
    [Flag.ACK | Flag.CWR | Flag.ECE, Flag.ACK | Flag.ECE, Flag.ACK | Flag.ECE | Flag.FIN | Flag.PSH],
  );
});

test('UDP segments are datagrams of their own', () => {
  const packet = { ...base(), udp: true, payload: new Uint8Array(3000).fill(5), size: 1200 };
  const parts = split(make(packet));
  assert.deepEqual(
    parts.map((part) => part.readUInt16BE(24) - 8),
    [1200, 1200, 600],
  );
  for (const part of parts)
    assert.equal(sum(Buffer.concat([pseudo(part, 17, part.length - 20), part.subarray(20)])), 0xffff);
});

test('a packet whose checksum is left to the device leaves with a whole one', () => {
  const whole = make({ ...base(), size: 1000, payload: new Uint8Array(100).fill(3) });
  whole[1] = 0; // no GSO, only NEEDS_CSUM
  const [part] = split(whole);
  assert.equal(sum(Buffer.concat([pseudo(part!, 6, 120), part!.subarray(20)])), 0xffff);
});

test('vnet headers that lie are dropped', () => {
  const lies: readonly ((whole: Buffer) => void)[] = [
    (whole) => whole.writeUInt16LE(0, 4), // segments of nothing
    (whole) => whole.writeUInt16LE(9, 6), // layer 4 inside of the IP header
    (whole) => whole.writeUInt16LE(60_000, 6),
    (whole) => whole.writeUInt8(4, 1), // TCPv6 on an IPv4 packet
    (whole) => whole.writeUInt8(3, 1), // UFO, which nobody asked for
    (whole) => whole.writeUInt8(0x10, VNET + 20 + 12), // a TCP header of 4 bytes
    (whole) => whole.writeUInt8(0x15, VNET), // IP version 1
  ];
  for (const lie of lies) {
    const whole = make({ ...base(), payload: new Uint8Array(3000), size: 1000 });
    lie(whole);
    assert.deepEqual(split(whole), []);
  }
});

test('what has no room waits: a packet of more segments than slots comes in two turns', () => {
  const payload = Uint8Array.from({ length: 40_000 }, (_, i) => i);
  const parts = split(make({ ...base(), payload, size: 50 }));
  assert.equal(parts.length, 512);
  const more = native.tunSplit(fifo, columns.datagrams, 1);
  const rest = Array.from({ length: more }, (_, i) => slot(i));
  assert.deepEqual(Buffer.concat([...parts, ...rest].map((part) => part.subarray(40))), Buffer.from(payload));
});

// -- join --

function base(): Packet {
  return {
    six: false,
    udp: false,
    port: 5001,
    sequence: 1000,
    flags: Flag.ACK,
    options: new Uint8Array(0),
    payload: new Uint8Array(0),
    size: 0,
  };
}

/** n whole segments in a row, of 1000 bytes. */
function row(n: number, more: Partial<Packet> = {}): Buffer[] {
  return Array.from({ length: n }, (_, i) =>
    make({ ...base(), payload: new Uint8Array(1000).fill(i), sequence: 1000 + 1000 * i, ...more }).subarray(VNET),
  );
}

test('split and joined again, a packet is what it was', () => {
  fc.assert(
    fc.property(tcp, (packet) => {
      fc.pre(packet.payload.length > packet.size);
      const whole = make(packet);
      const { writes, bytes } = joined(split(whole));
      assert.equal(writes, 1);
      assert.deepEqual(bytes, whole);
    }),
    { numRuns: 60 },
  );
});

test('UDP datagrams of one length are joined where the kernel takes them, and come apart as what they were', () => {
  native.takesUdp(true);
  const datagrams = row(5, { udp: true });
  datagrams[4] = make({ ...base(), udp: true, payload: new Uint8Array(400).fill(4) }).subarray(VNET);
  const { writes, bytes } = joined(datagrams);
  assert.equal(writes, 1);
  assert.deepEqual([...bytes.subarray(0, VNET)], [1, 5, 28, 0, 0xe8, 3, 20, 0, 6, 0]);
  const apart = split(bytes).map((packet, i) => withId(packet, datagrams[i]!.readUInt16BE(4)));
  assert.deepEqual(
    apart,
    datagrams.map((packet) => Buffer.from(packet)),
  );
  const cases: readonly (readonly [string, (packets: Buffer[]) => void, number])[] = [
    ['another port', (packets) => repair(packets, 2, (packet) => packet.writeUInt16BE(9, 20)), 2],
    ['no checksum', (packets) => packets[2]!.writeUInt16BE(0, 26), 3],
    ['a wrong checksum', (packets) => packets[2]!.writeUInt8(packets[2]![50]! ^ 1, 50), 3],
    ['no DF', (packets) => repair(packets, 2, (packet) => packet.writeUInt16BE(0, 6)), 3],
    ['another TTL', (packets) => repair(packets, 2, (packet) => packet.writeUInt8(63, 8)), 3],
    [
      'a longer one',
      (packets) => packets.splice(2, 1, make({ ...base(), udp: true, payload: new Uint8Array(1001) }).subarray(VNET)),
      2,
    ],
  ];
  for (const [what, change, writes] of cases) {
    const packets = row(4, { udp: true }).map((packet) => Buffer.from(packet));
    change(packets);
    assert.equal(joined(packets).writes, writes, what);
  }
  assert.equal(joined(row(65, { udp: true })).writes, 2, 'no more than older kernels take');
  native.takesUdp(false);
  assert.equal(joined(row(4, { udp: true })).writes, 4, 'an older kernel');
});

/** Changes a UDP packet over IPv4 and makes its checksums right again. */
function repair(packets: Buffer[], i: number, change: (packet: Buffer) => void): void {
  const packet = packets[i]!;
  change(packet);
  packet.writeUInt16BE(0, 10);
  packet.writeUInt16BE(~sum(packet.subarray(0, 20)) & 0xffff, 10);
  packet.writeUInt16BE(0, 26);
  const udp = packet.subarray(20);
  packet.writeUInt16BE(~sum(Buffer.concat([pseudo(packet, 17, udp.length), udp])) & 0xffff, 26);
}

function withId(packet: Uint8Array, id: number): Buffer {
  const copy = Buffer.from(packet);
  copy.writeUInt16BE(id, 4);
  copy.writeUInt16BE(0, 10);
  copy.writeUInt16BE(~sum(copy.subarray(0, 20)) & 0xffff, 10);
  return copy;
}

test('two flows that take turns become two packets', () => {
  const [one, two] = [row(5), row(5, { port: 5002 })];
  assert.equal(joined(one.flatMap((packet, i) => [packet, two[i]!])).writes, 2);
});

test('what differs is not joined', () => {
  const cases: readonly (readonly [string, (packets: Buffer[]) => void, number])[] = [
    ['nothing', () => {}, 1],
    ['a hole in the sequence', (packets) => packets.splice(1, 1), 2],
    ['a packet twice', (packets) => packets.splice(1, 0, packets[1]!), 2],
    ['a SYN among them', (packets) => patch(packets, 1, (packet) => packet.writeUInt8(18, 33)), 3],
    ['another TTL', (packets) => patch(packets, 3, (packet) => packet.writeUInt8(63, 8)), 2],
    ['another ECN', (packets) => patch(packets, 3, (packet) => packet.writeUInt8(2, 1)), 2],
    ['another window', (packets) => patch(packets, 3, (packet) => packet.writeUInt16BE(9, 34)), 2],
    ['a fragment', (packets) => patch(packets, 3, (packet) => packet.writeUInt16BE(0x2000, 6)), 2],
  ];
  for (const [what, change, writes] of cases) {
    const packets = row(4);
    change(packets);
    assert.equal(joined(packets).writes, writes, what);
  }
});

test('a wrong checksum is left for the kernel to find', () => {
  const packets = row(3);
  packets[1]![100]! ^= 1;
  const { writes, bytes } = joined(packets);
  assert.equal(writes, 3);
  assert.ok(bytes.includes(packets[1]!), 'unchanged');
});

test('PSH ends a packet; the next one begins anew', () => {
  const packets = row(4);
  patch(packets, 1, (packet) => packet.writeUInt8(Flag.ACK | Flag.PSH, 33));
  assert.equal(joined(packets).writes, 2);
});

test('RFC 6040: congestion met outside is told inside, or the packet is dropped', () => {
  const ect = row(1);
  patch(ect, 0, (packet) => packet.writeUInt8(2, 1));
  const { bytes } = joined(ect, 3);
  assert.equal(bytes[VNET + 1]! & 3, 3);
  assert.equal(sum(bytes.subarray(VNET, VNET + 20)), 0xffff);
  assert.equal(joined(row(1), 3).writes, 0, 'not ECN-capable');
  assert.equal(joined(row(1), 2).writes, 1);
  assert.equal(joined(ect, 1).bytes[VNET + 1]! & 3, 1, 'ECT(1) outside is kept');
});

/** Changes a packet and makes its checksums right again. */
function patch(packets: Buffer[], i: number, change: (packet: Buffer) => void): void {
  const packet = Buffer.from(packets[i]!);
  change(packet);
  packet.writeUInt16BE(0, 10);
  packet.writeUInt16BE(~sum(packet.subarray(0, 20)) & 0xffff, 10);
  packet.writeUInt16BE(0, 36);
  packet.writeUInt16BE(~sum(Buffer.concat([pseudo(packet, 6, packet.length - 20), packet.subarray(20)])) & 0xffff, 36);
  packets[i] = packet;
}
