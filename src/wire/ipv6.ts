/**
 * IPv6 header (RFC 8200). Pure functions on (view, off): `off` is the first byte of the header, lengths were checked by whoever calls.
 */

/** Byte offsets in the header, and its size. */
export const enum Ipv6 {
  LENGTH = 4,
  NEXT = 6,
  HOP_LIMIT = 7,
  SRC = 8,
  DST = 24,
  BYTES = 40,
}

/** Next header values: extension headers, and what ICMPv6 is. */
export const enum Next {
  HOP_BY_HOP = 0,
  ROUTING = 43,
  FRAGMENT = 44,
  AUTHENTICATION = 51,
  ICMPV6 = 58,
  DESTINATION = 60,
  MOBILITY = 135,
}

/** The least MTU that IPv6 works with (RFC 8200 §5). */
export const IPV6_MIN_MTU = 1280;

/** Extension headers that are walked: more than any packet has that means well. */
const MOST_EXTENSIONS = 16;
const FRAGMENT_OFFSET = 0xfff8;

/**
 * Where the layer 4 header of the packet in view[off…end) begins and which it is, as one number: bytes from `off` << 8 | next header. −1: there is none here
 * (a later fragment, a chain that is cut off or too long).
 */
export function upperLayer(v: DataView, off: number, end: number): number {
  let next = v.getUint8(off + Ipv6.NEXT);
  let at = off + Ipv6.BYTES;
  for (let n = 0; n < MOST_EXTENSIONS; n++) {
    let bytes: number;
    switch (next) {
      case Next.HOP_BY_HOP:
      case Next.ROUTING:
      case Next.DESTINATION:
      case Next.MOBILITY:
        if (at + 8 > end) return -1;
        bytes = (v.getUint8(at + 1) + 1) << 3;
        break;
      case Next.AUTHENTICATION:
        if (at + 8 > end) return -1;
        bytes = (v.getUint8(at + 1) + 2) << 2;
        break;
      case Next.FRAGMENT:
        if (at + 8 > end || (v.getUint16(at + 2) & FRAGMENT_OFFSET) !== 0) return -1;
        bytes = 8;
        break;
      default:
        return at <= end ? ((at - off) << 8) | next : -1;
    }
    next = v.getUint8(at);
    at += bytes;
  }
  return -1;
}

/** One less: what a router does that no kernel follows. It is above 0. There is no checksum. */
export function decrementHopLimit(v: DataView, off: number): void {
  v.setUint8(off + Ipv6.HOP_LIMIT, v.getUint8(off + Ipv6.HOP_LIMIT) - 1);
}

/** Can never be a source that is routed: unspecified, loopback, IPv4-mapped (RFC 4291 §2.5), multicast, link-local. */
export function impossibleSource6(v: DataView, off: number): boolean {
  const first = v.getInt32(off);
  if (first !== 0) return first >>> 24 === 0xff || first >>> 22 === 0x3fa;
  return v.getInt32(off + 4) === 0 && isLowMapped(v, off);
}

/** `::`, `::1` and ::ffff:0:0/96, of an address whose first half is zero. */
function isLowMapped(v: DataView, off: number): boolean {
  const third = v.getInt32(off + 8);
  return third === 0xffff || (third === 0 && v.getUint32(off + 12) <= 1);
}

export const isMulticast6 = (v: DataView, off: number): boolean => v.getUint8(off) === 0xff;

/** Addresses have four words each; `length`: of what follows the header. */
export function writeIpv6(
  v: DataView,
  off: number,
  src: Int32Array,
  dst: Int32Array,
  next: number,
  length: number,
): void {
  v.setUint32(off, 0x60000000);
  v.setUint16(off + Ipv6.LENGTH, length);
  v.setUint8(off + Ipv6.NEXT, next);
  v.setUint8(off + Ipv6.HOP_LIMIT, 64);
  for (let i = 0; i < 4; i++) {
    v.setInt32(off + Ipv6.SRC + 4 * i, src[i]!);
    v.setInt32(off + Ipv6.DST + 4 * i, dst[i]!);
  }
}
