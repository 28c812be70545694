/** Mutators: what is wrong with a packet when it is wrong. Each changes one thing; checksums are then mended, or not. */
import type { MemoryPacket } from '../../src/link/memory.js';
import { newPacket, sealHeader, sealL4, TCP, UDP, viewOf } from './packet.js';
import type { Random } from './random.js';

const EDGES = [0, 1, 2, 3, 7, 8, 9, 19, 20, 21, 27, 28, 59, 60, 61, 127, 128, 255];
const EDGES16 = [0, 1, 7, 8, 19, 20, 27, 28, 576, 1500, 0x1fff, 0x2000, 0x3fff, 0x4000, 0x7fff, 0x8000, 0xfffe, 0xffff];

/** A changed copy. `other` is a packet to splice with. */
export function mutate(r: Random, packet: MemoryPacket, other: MemoryPacket): MemoryPacket {
  let p = newPacket(packet.bytes.length);
  p.vnet.set(packet.vnet);
  p.bytes.set(packet.bytes);
  const rounds = r.chance(0.7) ? 1 : r.between(2, 4);
  for (let i = 0; i < rounds; i++) p = once(r, p, other);
  if (p.bytes.length >= 20) {
    if (r.chance(0.75)) sealHeader(p.bytes);
    if (r.chance(0.5)) sealL4(p.bytes, (p.vnet[0]! & 1) !== 0);
  }
  return p;
}

function once(r: Random, p: MemoryPacket, other: MemoryPacket): MemoryPacket {
  const { bytes, vnet } = p;
  if (bytes.length === 0) return other;
  const v = viewOf(bytes);
  switch (r.below(11)) {
    case 0: // one bit
      bytes[r.below(bytes.length)]! ^= 1 << r.below(8);
      return p;
    case 1: // one byte of the headers
      bytes[r.below(Math.min(bytes.length, 64))] = r.chance(0.5) ? r.pick(EDGES) : r.below(256);
      return p;
    case 2: // one 16-bit field of the headers
      if (bytes.length >= 4) v.setUint16(r.below(Math.min(bytes.length, 64) >> 1) * 2, r.pick(EDGES16));
      return p;
    case 3: // cut off, with or without saying so
      return resized(r, p, r.below(bytes.length + 1));
    case 4: // something behind it
      return resized(r, p, bytes.length + r.between(1, 64));
    case 5: // its head, the other's tail
      return spliced(r, p, other);
    case 6: // a hostile vnet header
      hostileVnet(r, vnet);
      return p;
    case 7: // one field of a vnet header
      vnet[r.below(vnet.length)] = r.pick(EDGES);
      return p;
    case 8: // IP options
      return withOptions(r, p);
    case 9: // fragment, ttl, protocol
      if (bytes.length < 20) return p;
      if (r.chance(0.4)) v.setUint16(6, r.pick([0x2000, 0x2001, 0x0001, 0x1fff, 0x3fff, 0x8000, 0x4000, 0x2002]));
      else if (r.chance(0.5)) bytes[8] = r.below(3);
      else bytes[9] = r.pick([0, 1, 6, 17, 47, 58, 255]);
      return p;
    default: // layer 4's own lengths
      lengths(r, bytes);
      return p;
  }
}

function resized(r: Random, p: MemoryPacket, length: number): MemoryPacket {
  const q = newPacket(length);
  q.vnet.set(p.vnet);
  q.bytes.set(p.bytes.subarray(0, length));
  if (length >= 20 && r.chance(0.5)) viewOf(q.bytes).setUint16(2, length);
  return q;
}

function spliced(r: Random, p: MemoryPacket, other: MemoryPacket): MemoryPacket {
  const head = r.below(p.bytes.length + 1);
  const tail = other.bytes.subarray(
    Math.min(other.bytes.length, r.chance(0.5) ? head : r.below(other.bytes.length + 1)),
  );
  const q = newPacket(Math.min(65_535, head + tail.length));
  q.vnet.set(r.chance(0.5) ? p.vnet : other.vnet);
  q.bytes.set(p.bytes.subarray(0, head));
  q.bytes.set(tail.subarray(0, q.bytes.length - head), head);
  if (q.bytes.length >= 20 && r.chance(0.7)) viewOf(q.bytes).setUint16(2, q.bytes.length);
  return q;
}

/** Fields of the right kind with values of the wrong one: checksum start, offset and size that point anywhere. */
function hostileVnet(r: Random, vnet: Uint8Array): void {
  const v = viewOf(vnet);
  v.setUint8(0, r.pick([0, 1, 1, 1, 2, 3, 255]));
  v.setUint8(1, r.pick([0, 0, 1, 3, 4, 5, 0x80, 0x81, 0x85, 255]));
  for (const at of [2, 4, 6, 8]) if (r.chance(0.6)) v.setUint16(at, r.pick([...EDGES, ...EDGES16]), true);
}

function withOptions(r: Random, p: MemoryPacket): MemoryPacket {
  const header = (p.bytes[0]! & 15) * 4;
  if (header < 20 || header > 56 || p.bytes.length < header) return p;
  const more = r.between(1, (60 - header) >> 2) * 4;
  const q = newPacket(p.bytes.length + more);
  q.vnet.set(p.vnet);
  q.bytes.set(p.bytes.subarray(0, header));
  for (let i = 0; i < more; i++) q.bytes[header + i] = r.pick([0, 1, 7, 68, 131, 148, 4, 255]);
  q.bytes.set(p.bytes.subarray(header), header + more);
  q.bytes[0] = 0x40 | ((header + more) >> 2);
  viewOf(q.bytes).setUint16(2, q.bytes.length);
  return q;
}

function lengths(r: Random, bytes: Uint8Array): void {
  const header = (bytes[0]! & 15) * 4;
  if (bytes.length < header + 14 || header < 20) return;
  if (bytes[9] === TCP) bytes[header + 12] = r.below(256);
  else if (bytes[9] === UDP) viewOf(bytes).setUint16(header + 4, r.pick(EDGES16));
  else bytes[header] = r.below(20);
}
