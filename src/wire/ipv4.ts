/**
 * IPv4 header (RFC 791). Pure functions on (view, off): `off` is the first byte of the header, lengths were checked by
 * whoever calls. Addresses are int32.
 */
import { adjust, checksum, delta32 } from './checksum.js';

export const enum IPPROTO {
  ICMP = 1,
  TCP = 6,
  UDP = 17,
  GRE = 47,
  ESP = 50,
}

/** Byte offsets in the header, and what it has without options. */
export const enum Ipv4 {
  VERSION = 0,
  TOS = 1,
  LENGTH = 2,
  ID = 4,
  FRAGMENT = 6,
  TTL = 8,
  PROTO = 9,
  CHECKSUM = 10,
  SRC = 12,
  DST = 16,
  BYTES = 20,
}

/** Bits of the FRAGMENT word: don't fragment, more fragments, offset in units of 8 bytes. */
export const enum Fragment {
  DF = 0x4000,
  MF = 0x2000,
  OFFSET = 0x1fff,
}

/** Bytes of the header, options included; 0…60, not yet checked. */
export function headerBytes(v: DataView, off: number): number {
  return (v.getUint8(off) & 15) << 2;
}

export interface Ipv4Fields {
  readonly src: number;
  readonly dst: number;
  readonly proto: number;
  /** Of the whole packet. */
  readonly length: number;
  readonly ttl?: number;
  readonly tos?: number;
  readonly id?: number;
  /** The FRAGMENT word. */
  readonly fragment?: number;
}

/** Writes a header without options, checksum included. */
export function writeIpv4(bytes: Uint8Array, v: DataView, off: number, f: Ipv4Fields): void {
  v.setUint8(off, 0x45);
  v.setUint8(off + Ipv4.TOS, f.tos ?? 0);
  v.setUint16(off + Ipv4.LENGTH, f.length);
  v.setUint16(off + Ipv4.ID, f.id ?? 0);
  v.setUint16(off + Ipv4.FRAGMENT, f.fragment ?? 0);
  v.setUint8(off + Ipv4.TTL, f.ttl ?? 64);
  v.setUint8(off + Ipv4.PROTO, f.proto);
  v.setUint16(off + Ipv4.CHECKSUM, 0);
  v.setInt32(off + Ipv4.SRC, f.src);
  v.setInt32(off + Ipv4.DST, f.dst);
  v.setUint16(off + Ipv4.CHECKSUM, ~checksum(bytes, off, Ipv4.BYTES, 0) & 0xffff);
}

/** Is the header's checksum right? */
export function ipv4ChecksumOk(bytes: Uint8Array, v: DataView, off: number): boolean {
  return checksum(bytes, off, headerBytes(v, off), 0) === 0xffff;
}

/** One less, the header's checksum with it (RFC 1624): what a router does that no kernel follows. TTL is above 0. */
export function decrementTtl(v: DataView, off: number): void {
  const word = v.getUint16(off + Ipv4.TTL);
  v.setUint16(off + Ipv4.TTL, word - 0x100);
  v.setUint16(off + Ipv4.CHECKSUM, adjust(v.getUint16(off + Ipv4.CHECKSUM), delta32(word, word - 0x100)));
}

/** Can never be a source on the wire (RFC 1122 §3.2.1.3, RFC 6890): 0/8, 127/8, multicast, class E, broadcast. */
export function impossibleSource(address: number): boolean {
  const top = address >>> 24;
  return top === 0 || top === 127 || top >= 224;
}

/** Dotted decimal. */
export function formatIpv4(address: number): string {
  return `${address >>> 24}.${(address >>> 16) & 255}.${(address >>> 8) & 255}.${address & 255}`;
}

/** Int32 of a dotted decimal that is known to be well formed (tests, constants); config parses with a library. */
export function parseIpv4(text: string): number {
  const parts = text.split('.');
  if (parts.length !== 4) throw new RangeError(`not an IPv4 address: ${text}`);
  let value = 0;
  for (const part of parts) {
    const n = Number(part);
    if (!/^(0|[1-9]\d{0,2})$/.test(part) || n > 255) throw new RangeError(`not an IPv4 address: ${text}`);
    value = (value << 8) | n;
  }
  return value;
}
