/** Frames as test cases write them, and a batch of them through an endpoint. */
import {
  Columns,
  LOCAL_SIDE,
  parseIp,
  parseMac,
  Vtep,
  type VtepOptions,
  VXLAN_BYTES,
} from '../../../src/link/vxlan/index.js';
import { ENDPOINT_WORDS, parseEndpoint } from '../../../src/link/wireguard/endpoint.js';
import { checksum, fold, pseudoSum, sum32 } from '../../../src/wire/checksum.js';
import { writeIpv4 } from '../../../src/wire/ipv4.js';

export const BROADCAST = 'ff:ff:ff:ff:ff:ff';
export const VNI = 42;
export const MTU = 1450;

/** Numbers from 0 to 1, the same for the same seed (mulberry32). */
export function seeded(seed: number): () => number {
  let state = seed | 0;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}

/** The same bytes for the same seed. */
export function seededBytes(seed: number): (bytes: Uint8Array) => void {
  const random = seeded(seed);
  return (bytes) => {
    for (let i = 0; i < bytes.length; i++) bytes[i] = random() * 256;
  };
}

export function mac(text: string): { hi: number; lo: number } {
  const words = parseMac(text);
  if (words === null) throw new Error(`no MAC address: ${text}`);
  return words;
}

export function ip(text: string): Int32Array {
  const words = parseIp(text);
  if (words === null) throw new Error(`no IP address: ${text}`);
  return words;
}

export function bytesOf(hex: string): Uint8Array {
  return Uint8Array.from(Buffer.from(hex.replaceAll(/[\s:]/g, ''), 'hex'));
}

export function hex(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString('hex');
}

/** A frame; `tags` as 4-byte words. */
export function ethernet(
  dst: string,
  src: string,
  type: number,
  body: Uint8Array,
  tags: readonly number[] = [],
): Uint8Array {
  const frame = new Uint8Array(14 + tags.length * 4 + body.length);
  const v = new DataView(frame.buffer);
  frame.set(bytesOf(dst));
  frame.set(bytesOf(src), 6);
  tags.forEach((tag, i) => {
    v.setInt32(12 + 4 * i, tag);
  });
  v.setUint16(12 + 4 * tags.length, type);
  frame.set(body, 14 + 4 * tags.length);
  return frame;
}

/** An IPv4 packet with UDP (or `proto`) from and to ports; `tos`, `fragment` as in the header. */
export function udp4(
  src: string,
  dst: string,
  ports: readonly [number, number],
  size = 20,
  more: { tos?: number; fragment?: number; proto?: number } = {},
): Uint8Array {
  const packet = new Uint8Array(28 + size);
  const v = new DataView(packet.buffer);
  const [from, to] = [ip(src)[3]!, ip(dst)[3]!];
  const { proto = 17, ...rest } = more;
  writeIpv4(packet, v, 0, { src: from, dst: to, proto, length: packet.length, ...rest });
  v.setUint16(20, ports[0]);
  v.setUint16(22, ports[1]);
  v.setUint16(24, 8 + size);
  for (let i = 28; i < packet.length; i++) packet[i] = i;
  v.setUint16(26, ~checksum(packet, 20, 8 + size, pseudoSum(from, to, 17, 8 + size)) & 0xffff);
  return packet;
}

export function arp(
  operation: 1 | 2,
  sender: readonly [string, string],
  target: readonly [string, string],
): Uint8Array {
  const body = new Uint8Array(28);
  body.set([0, 1, 8, 0, 6, 4, 0, operation]);
  body.set(bytesOf(sender[0]), 8);
  body.set(bytesOf(target[0]), 18);
  const v = new DataView(body.buffer);
  v.setInt32(14, ip(sender[1])[3]!);
  v.setInt32(24, ip(target[1])[3]!);
  return body;
}

export function whoHas(asker: readonly [string, string], target: string, dst: string = BROADCAST): Uint8Array {
  return ethernet(dst, asker[0], 0x0806, arp(1, asker, ['00:00:00:00:00:00', target]));
}

/** A neighbour solicitation (135) or advertisement (136). `option`: link-layer address option, type and MAC. */
export function nd(
  type: 135 | 136,
  src: readonly [string, string],
  dst: readonly [string, string],
  target: string,
  option: readonly [number, string] | null,
  flags = 0,
): Uint8Array {
  const body = new Uint8Array(40 + 24 + (option ? 8 : 0));
  const v = new DataView(body.buffer);
  const length = body.length - 40;
  v.setInt32(0, 0x6000_0000);
  v.setUint16(4, length);
  v.setUint16(6, 0x3aff);
  ip(src[1]).forEach((word, i) => {
    v.setInt32(8 + 4 * i, word);
  });
  ip(dst[1]).forEach((word, i) => {
    v.setInt32(24 + 4 * i, word);
  });
  v.setUint8(40, type);
  v.setInt32(44, flags);
  ip(target).forEach((word, i) => {
    v.setInt32(48 + 4 * i, word);
  });
  if (option) {
    v.setUint16(64, (option[0] << 8) | 1);
    body.set(bytesOf(option[1]), 66);
  }
  let sum = 58 + length;
  for (let i = 8; i < 40; i += 4) sum += sum32(v.getInt32(i));
  v.setUint16(42, ~checksum(body, 40, length, fold(sum)) & 0xffff);
  return ethernet(dst[0], src[0], 0x86dd, body);
}

const SLOT = 2048;
const FRONT = 32;

/** What became of one frame from the TAP. */
export interface Sent {
  readonly outcome: number;
  /** Remotes, in order. */
  readonly to: number[];
  /** VXLAN messages, one a remote. */
  readonly messages: Uint8Array[];
  readonly source: number;
  readonly tos: number;
  /** For the TAP. */
  readonly answer: Uint8Array | null;
}

export interface Received {
  readonly outcome: number;
  readonly remote: number;
  readonly frame: Uint8Array;
}

export interface Datagram {
  readonly bytes: Uint8Array;
  /** Address without port. */
  readonly from: string;
  readonly tos?: number;
  readonly arrival?: number;
}

/** An endpoint with columns, spoken to in frames. */
export class Bench {
  readonly vtep: Vtep;
  readonly columns: Columns;
  now = 1_000_000;

  constructor(options: Partial<VtepOptions> = {}, copies?: number, slots = 64) {
    this.vtep = new Vtep({ name: 'a', vni: VNI, mtu: MTU, sourcePorts: 64, random: seededBytes(7), ...options });
    this.columns = new Columns(slots, new Uint8Array(slots * SLOT), copies);
  }

  /** Adds remotes by address; returns their numbers. */
  remotes(...addresses: string[]): number[] {
    return addresses.map((address) => this.vtep.remotes.add(endpoint(address)));
  }

  tap(frames: readonly Uint8Array[], segment = 0): Sent[] {
    const c = this.columns;
    for (const [i, frame] of frames.entries()) {
      c.off[i] = i * SLOT + FRONT;
      c.len[i] = frame.length;
      c.segment[i] = segment;
      c.data.set(frame, c.off[i]!);
    }
    this.vtep.fromTap(c, frames.length, this.now);
    return frames.map((_, i) => {
      const [to, messages]: [number[], Uint8Array[]] = [[], []];
      for (let k = 0; k < c.out; k++) {
        if (c.outFrame[k] !== i) continue;
        to.push(c.outRemote[k]!);
        messages.push(c.data.slice(c.off[i]! - VXLAN_BYTES, c.off[i]! + c.len[i]!));
      }
      const answered = c.answer.subarray(0, c.answers).includes(i);
      const answer = answered ? c.data.slice(c.off[i]!, c.off[i]! + c.len[i]!) : null;
      return { outcome: c.outcome[i]!, to, messages, source: c.source[i]!, tos: c.tos[i]!, answer };
    });
  }

  tunnel(datagrams: readonly Datagram[]): Received[] {
    const c = this.columns;
    for (const [i, { bytes, from, tos, arrival }] of datagrams.entries()) {
      c.off[i] = i * SLOT + FRONT;
      c.len[i] = bytes.length;
      c.tos[i] = tos ?? -1;
      c.arrival[i] = arrival ?? 0;
      c.data.set(bytes, c.off[i]!);
      c.endpoint.set(endpoint(from, 50_000 + i), i * ENDPOINT_WORDS);
    }
    this.vtep.fromTunnel(c, datagrams.length, this.now);
    c.arrival.fill(0);
    return datagrams.map((_, i) => ({
      outcome: c.outcome[i]!,
      remote: c.remote[i]!,
      frame: c.data.slice(c.off[i]!, c.off[i]! + c.len[i]!),
    }));
  }

  /** The host itself, as tests of answers need it. */
  pinLocal(address: string, text: string): void {
    const { hi, lo } = mac(text);
    this.vtep.neighbours.setStatic(ip(address), hi, lo, LOCAL_SIDE);
  }
}

export function endpoint(address: string, port = 4789): Int32Array {
  const words = parseEndpoint(address.includes(':') ? `[${address}]:${port}` : `${address}:${port}`);
  if (words === null) throw new Error(`no endpoint: ${address}`);
  return words;
}

/** A VXLAN message around a frame. */
export function message(frame: Uint8Array, vni = VNI, flags = 8): Uint8Array {
  const bytes = new Uint8Array(VXLAN_BYTES + frame.length);
  const v = new DataView(bytes.buffer);
  v.setInt32(0, flags << 24);
  v.setInt32(4, vni << 8);
  bytes.set(frame, VXLAN_BYTES);
  return bytes;
}
