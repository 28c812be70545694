/**
 * Packets that no honest socket sends, and the way onto the wire for them: built here byte by byte (without the router's own
 * code, which is what they are to test), sent by Python through a packet socket.
 */
import type { Namespace } from '../../src/lab/index.js';

export interface Ipv4 {
  readonly src: string;
  readonly dst: string;
  readonly proto: number;
  readonly payload: Uint8Array;
  readonly id?: number;
  /** Bytes; a multiple of 8. */
  readonly fragmentOffset?: number;
  readonly moreFragments?: boolean;
  readonly dontFragment?: boolean;
  readonly ttl?: number;
}

export function sum16(bytes: Uint8Array, start = 0): number {
  let sum = start;
  for (let i = 0; i < bytes.length; i += 2) sum += (bytes[i]! << 8) | (bytes[i + 1] ?? 0);
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16);
  return sum;
}

function octets(address: string): number[] {
  return address.split('.').map(Number);
}

export function ipv4(packet: Ipv4): Uint8Array {
  const out = new Uint8Array(20 + packet.payload.length);
  const view = new DataView(out.buffer);
  view.setUint8(0, 0x45);
  view.setUint16(2, out.length);
  view.setUint16(4, packet.id ?? 0x1234);
  const flags = (packet.dontFragment ? 0x4000 : 0) | (packet.moreFragments ? 0x2000 : 0);
  view.setUint16(6, flags | ((packet.fragmentOffset ?? 0) >>> 3));
  view.setUint8(8, packet.ttl ?? 64);
  view.setUint8(9, packet.proto);
  out.set(octets(packet.src), 12);
  out.set(octets(packet.dst), 16);
  view.setUint16(10, ~sum16(out.subarray(0, 20)) & 0xffff);
  out.set(packet.payload, 20);
  return out;
}

function withChecksum(segment: Uint8Array, at: number, src: string, dst: string, proto: number): Uint8Array {
  const pseudo = new Uint8Array([...octets(src), ...octets(dst), 0, proto, segment.length >>> 8, segment.length & 255]);
  new DataView(segment.buffer).setUint16(at, ~sum16(segment, sum16(pseudo)) & 0xffff);
  return segment;
}

export function udp(src: string, sport: number, dst: string, dport: number, text: string): Uint8Array {
  const body = Buffer.from(text, 'latin1');
  const segment = new Uint8Array(8 + body.length);
  const view = new DataView(segment.buffer);
  view.setUint16(0, sport);
  view.setUint16(2, dport);
  view.setUint16(4, segment.length);
  segment.set(body, 8);
  return withChecksum(segment, 6, src, dst, 17);
}

export const FIN = 1;
export const SYN = 2;
export const RST = 4;
export const ACK = 16;

export function tcp(
  src: string,
  sport: number,
  dst: string,
  dport: number,
  flags: number,
  seq = 1,
  ack = 1,
): Uint8Array {
  const segment = new Uint8Array(20);
  const view = new DataView(segment.buffer);
  view.setUint16(0, sport);
  view.setUint16(2, dport);
  view.setUint32(4, seq);
  view.setUint32(8, ack);
  view.setUint8(12, 0x50);
  view.setUint8(13, flags);
  view.setUint16(14, 1024);
  return withChecksum(segment, 16, src, dst, 6);
}

/** Cuts a packet's payload into fragments of `size` bytes (a multiple of 8), in order. */
export function fragment(packet: Ipv4, size: number): Uint8Array[] {
  const pieces: Uint8Array[] = [];
  for (let at = 0; at < packet.payload.length; at += size) {
    const last = at + size >= packet.payload.length;
    pieces.push(
      ipv4({ ...packet, payload: packet.payload.subarray(at, at + size), fragmentOffset: at, moreFragments: !last }),
    );
  }
  return pieces;
}

const SENDER = `
import socket, sys
device, mac = sys.argv[1], bytes.fromhex(sys.argv[2].replace(':', ''))
sock = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, 0)
for line in sys.stdin:
    sock.sendto(bytes.fromhex(line), (device, 0x0800, 0, 0, mac))
`;

/** Puts IP packets on `device`'s wire for `mac`, as they are. */
export async function sendRaw(
  ns: Namespace,
  device: string,
  mac: string,
  packets: readonly Uint8Array[],
): Promise<void> {
  const input = packets.map((packet) => `${Buffer.from(packet).toString('hex')}\n`).join('');
  await ns.must(['python3', '-c', SENDER, device, mac], { input });
}

export async function macOf(ns: Namespace, device: string): Promise<string> {
  return (JSON.parse(await ns.must(['ip', '-j', 'link', 'show', device])) as [{ address: string }])[0].address;
}
