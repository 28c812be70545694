/** Packets for the fuzzer: made in a microsecond or two, by code that shares nothing with src/. */
import type { MemoryPacket } from '../../src/link/memory.js';

export const TCP = 6;
export const UDP = 17;
export const ICMP = 1;
export const FIN = 1;
export const SYN = 2;
export const RST = 4;
export const ACK = 16;
export const VNET_BYTES = 10;

/** What a packet says. Ports of ICMP: type << 8 | code as `sport`, the identifier as `dport`. */
export interface Shape {
  src: number;
  dst: number;
  proto: number;
  sport?: number;
  dport?: number;
  payload?: number | Uint8Array;
  flags?: number;
  seq?: number;
  ack?: number;
  window?: number;
  ttl?: number;
  tos?: number;
  id?: number;
  /** The fragment word: DF 0x4000, MF 0x2000, offset in units of 8. */
  fragment?: number;
  ipOptions?: Uint8Array;
  tcpOptions?: Uint8Array;
}

export function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
}

/** Room for one packet and its vnet header, as links hold it. */
export function newPacket(length: number): MemoryPacket {
  const both = new Uint8Array(VNET_BYTES + length);
  return { vnet: both.subarray(0, VNET_BYTES), bytes: both.subarray(VNET_BYTES) };
}

export function clone(packet: MemoryPacket): MemoryPacket {
  const copy = newPacket(packet.bytes.length);
  copy.vnet.set(packet.vnet);
  copy.bytes.set(packet.bytes);
  return copy;
}

/** Plain ones' complement sum, reduced to 0…0xfffe: what two packets have in common when both are right or equally wrong. */
export function residue(bytes: Uint8Array, from: number, to: number, initial = 0): number {
  let sum = initial;
  for (let i = from; i + 1 < to; i += 2) sum += bytes[i]! * 256 + bytes[i + 1]!;
  if ((to - from) & 1) sum += bytes[to - 1]! * 256;
  return sum % 0xffff;
}

function field(sum: number): number {
  return 0xffff - sum;
}

/** Writes the header's checksum. */
export function sealHeader(bytes: Uint8Array): void {
  const header = (bytes[0]! & 15) * 4;
  if (header < 20 || header > bytes.length) return;
  const v = viewOf(bytes);
  v.setUint16(10, 0);
  v.setUint16(10, field(residue(bytes, 0, header)));
}

/** Where layer 4's checksum stands in the packet, or −1. */
export function checksumAt(bytes: Uint8Array): number {
  const header = (bytes[0]! & 15) * 4;
  const at = header + (bytes[9] === TCP ? 16 : bytes[9] === UDP ? 6 : 2);
  return [TCP, UDP, ICMP].includes(bytes[9]!) && at + 2 <= bytes.length ? at : -1;
}

/** Sum of a TCP or UDP pseudo-header. */
export function pseudo(bytes: Uint8Array, length: number): number {
  return residue(bytes, 12, 20, bytes[9]! + length);
}

/** Writes layer 4's checksum: over the whole of it, or with `partial` only the pseudo-header's sum, not complemented. */
export function sealL4(bytes: Uint8Array, partial = false): void {
  const header = (bytes[0]! & 15) * 4;
  const at = checksumAt(bytes);
  if (at < 0 || (viewOf(bytes).getUint16(6) & 0x3fff) !== 0) return;
  const v = viewOf(bytes);
  const length = bytes.length - header;
  v.setUint16(at, 0);
  const start = bytes[9] === ICMP ? 0 : pseudo(bytes, length);
  if (partial) v.setUint16(at, start);
  else v.setUint16(at, field(residue(bytes, header, bytes.length, start)) || (bytes[9] === UDP ? 0xffff : 0));
}

/** A packet with right lengths and checksums. */
export function craft(s: Shape): MemoryPacket {
  const payload = s.payload ?? 0;
  const data = typeof payload === 'number' ? payload : payload.length;
  const ipOptions = s.ipOptions?.length ?? 0;
  const header = 20 + ipOptions;
  const tcpOptions = s.proto === TCP ? (s.tcpOptions?.length ?? 0) : 0;
  const later = ((s.fragment ?? 0) & 0x1fff) !== 0;
  const known = s.proto === TCP || s.proto === UDP || s.proto === ICMP;
  const l4 = later || !known ? 0 : s.proto === TCP ? 20 + tcpOptions : 8;
  const packet = newPacket(header + l4 + data);
  const { bytes } = packet;
  const v = viewOf(bytes);
  v.setUint8(0, 0x40 | (header >> 2));
  v.setUint8(1, s.tos ?? 0);
  v.setUint16(2, bytes.length);
  v.setUint16(4, s.id ?? 0);
  v.setUint16(6, s.fragment ?? 0);
  v.setUint8(8, s.ttl ?? 64);
  v.setUint8(9, s.proto);
  v.setInt32(12, s.src);
  v.setInt32(16, s.dst);
  if (s.ipOptions) bytes.set(s.ipOptions, 20);
  if (l4 > 0) {
    v.setUint16(header, s.sport ?? 0);
    if (s.proto === ICMP) v.setUint16(header + 4, s.dport ?? 0);
    else v.setUint16(header + 2, s.dport ?? 0);
    if (s.proto === UDP) v.setUint16(header + 4, 8 + data);
    if (s.proto === TCP) {
      v.setUint32(header + 4, (s.seq ?? 1) >>> 0);
      v.setUint32(header + 8, (s.ack ?? 0) >>> 0);
      v.setUint8(header + 12, ((20 + tcpOptions) >> 2) << 4);
      v.setUint8(header + 13, s.flags ?? SYN);
      v.setUint16(header + 14, s.window ?? 65535);
      if (s.tcpOptions) bytes.set(s.tcpOptions, header + 20);
    }
  }
  if (typeof payload === 'number') bytes.fill((s.id ?? 0x5a) & 0xff, header + l4);
  else bytes.set(payload, header + l4);
  sealHeader(bytes);
  sealL4(bytes);
  return packet;
}

/** The vnet header of a packet whose checksum, and with `gsoSize` also the cutting, is left to the device. */
export function offload(packet: MemoryPacket, gsoSize = 0): MemoryPacket {
  const { bytes, vnet } = packet;
  const header = (bytes[0]! & 15) * 4;
  const tcp = bytes[9] === TCP;
  const v = viewOf(vnet);
  v.setUint8(0, 1);
  v.setUint16(6, header, true);
  v.setUint16(8, tcp ? 16 : 6, true);
  if (gsoSize > 0) {
    v.setUint8(1, tcp ? 1 : 5);
    v.setUint16(2, header + (tcp ? (bytes[header + 12]! >> 4) * 4 : 8), true);
    v.setUint16(4, gsoSize, true);
  }
  sealL4(bytes, true);
  return packet;
}
