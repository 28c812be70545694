/**
 * The outer headers, for the ways that have no UDP socket below them: through a WireGuard link, or as packets of the TUN. (With a socket the kernel does the same
 * by its options; docs say which.)
 *
 * Sent: DF always (REQ-46, 51: nothing is fragmented here or on the way), identification 0 (RFC 6864: of no meaning with DF), UDP checksum 0 over IPv4
 * (REQ-50). Over IPv6 a zero checksum is allowed for tunnels (RFC 6935, 6936), but the Linux device refuses it unless told `udp6zerocsumrx`, so it is
 * computed unless the option says otherwise.
 *
 * Received: a fragment is refused; a UDP checksum of zero is taken, any other must be right.
 */
import { checksum, fold, pseudoSum, sum32 } from '../../wire/checksum.js';
import { Fragment, headerBytes, Ipv4, ipv4ChecksumOk, writeIpv4 } from '../../wire/ipv4.js';
import { Udp } from '../../wire/udp.js';
import { Ep } from '../wireguard/endpoint.js';
import { Outcome } from './outcome.js';

const UDP = 17;
const IPV6_BYTES = 40;
const FRAGMENT_HEADER = 44;
export const TTL = 64;

export const OUTER4_BYTES: number = Ipv4.BYTES + Udp.BYTES;
export const OUTER6_BYTES: number = IPV6_BYTES + Udp.BYTES;

export interface OuterOptions {
  /** 1–255. */
  readonly ttl: number;
  /** Compute the UDP checksum. */
  readonly checksum: boolean;
}

/**
 * Writes IP and UDP headers from `off` on, for `len` bytes of UDP payload behind them. `own` and `remote` are endpoints (Ep) of the same family; the port of `remote` is
 * the destination's. Returns their size.
 */
export function writeOuter(
  bytes: Uint8Array,
  v: DataView,
  off: number,
  len: number,
  own: Int32Array,
  remote: Int32Array,
  remoteOff: number,
  sourcePort: number,
  tos: number,
  options: OuterOptions,
): number {
  const four = remote[remoteOff + Ep.FAMILY] === 4;
  const ip = four ? Ipv4.BYTES : IPV6_BYTES;
  const length = Udp.BYTES + len;
  if (four) {
    writeIpv4(bytes, v, off, {
      src: own[Ep.ADDRESS]!,
      dst: remote[remoteOff + Ep.ADDRESS]!,
      proto: UDP,
      length: ip + length,
      ttl: options.ttl,
      tos,
      fragment: Fragment.DF,
    });
  } else {
    v.setInt32(off, 0x6000_0000 | (tos << 20) | (sourcePort & 0x3fff));
    v.setUint16(off + 4, length);
    v.setUint8(off + 6, UDP);
    v.setUint8(off + 7, options.ttl);
    for (let i = 0; i < 4; i++) {
      v.setInt32(off + 8 + 4 * i, own[Ep.ADDRESS + i]!);
      v.setInt32(off + 24 + 4 * i, remote[remoteOff + Ep.ADDRESS + i]!);
    }
  }
  const udp = off + ip;
  v.setUint16(udp, sourcePort);
  v.setUint16(udp + 2, remote[remoteOff + Ep.PORT]!);
  v.setUint16(udp + Udp.LENGTH, length);
  v.setUint16(udp + Udp.CHECKSUM, 0);
  if (options.checksum) {
    const field = ~checksum(bytes, udp, length, pseudo(v, off, four, length)) & 0xffff;
    v.setUint16(udp + Udp.CHECKSUM, field === 0 ? 0xffff : field);
  }
  return ip + Udp.BYTES;
}

/** What an outer packet said; made once and filled anew. */
export class Outer {
  /** The UDP payload. */
  off = 0;
  len = 0;
  tos = 0;

  /** Reads the IP packet at off…off+len, writes its source to `endpoint[at…]`. PASS, or why it is refused; `port`: ours. */
  read(
    bytes: Uint8Array,
    v: DataView,
    off: number,
    len: number,
    port: number,
    endpoint: Int32Array,
    at: number,
  ): number {
    if (len < OUTER4_BYTES) return Outcome.BAD_OUTER;
    const version = v.getUint8(off) >> 4;
    endpoint.fill(0, at, at + Ep.OWN_ADDRESS + 4);
    let ip = IPV6_BYTES;
    if (version === 4) {
      ip = headerBytes(v, off);
      const total = v.getUint16(off + Ipv4.LENGTH);
      if (ip < Ipv4.BYTES || total > len || total < ip + Udp.BYTES) return Outcome.BAD_OUTER;
      if (!ipv4ChecksumOk(bytes, v, off)) return Outcome.BAD_CHECKSUM;
      if ((v.getUint16(off + Ipv4.FRAGMENT) & (Fragment.MF | Fragment.OFFSET)) !== 0) return Outcome.FRAGMENTED;
      if (v.getUint8(off + Ipv4.PROTO) !== UDP) return Outcome.BAD_OUTER;
      this.tos = v.getUint8(off + Ipv4.TOS);
      len = total;
      endpoint[at + Ep.ADDRESS] = v.getInt32(off + Ipv4.SRC);
    } else {
      if (version !== 6 || len < OUTER6_BYTES) return Outcome.BAD_OUTER;
      const total = v.getUint16(off + 4) + IPV6_BYTES;
      if (total > len || total < OUTER6_BYTES) return Outcome.BAD_OUTER;
      if (v.getUint8(off + 6) === FRAGMENT_HEADER) return Outcome.FRAGMENTED;
      if (v.getUint8(off + 6) !== UDP) return Outcome.BAD_OUTER;
      this.tos = (v.getUint16(off) >>> 4) & 255;
      len = total;
      for (let i = 0; i < 4; i++) endpoint[at + Ep.ADDRESS + i] = v.getInt32(off + 8 + 4 * i);
    }
    endpoint[at + Ep.FAMILY] = version;
    return this.#udp(bytes, v, off, ip, len - ip, port, endpoint, at);
  }

  #udp(
    bytes: Uint8Array,
    v: DataView,
    off: number,
    ip: number,
    room: number,
    port: number,
    endpoint: Int32Array,
    at: number,
  ): number {
    const udp = off + ip;
    const length = v.getUint16(udp + Udp.LENGTH);
    if (v.getUint16(udp + 2) !== port || length < Udp.BYTES || length > room) return Outcome.BAD_OUTER;
    if (v.getUint16(udp + Udp.CHECKSUM) !== 0) {
      const sum = checksum(bytes, udp, length, pseudo(v, off, endpoint[at + Ep.FAMILY] === 4, length));
      if (sum !== 0xffff) return Outcome.BAD_CHECKSUM;
    }
    endpoint[at + Ep.PORT] = v.getUint16(udp);
    this.off = udp + Udp.BYTES;
    this.len = length - Udp.BYTES;
    return Outcome.PASS;
  }
}

function pseudo(v: DataView, off: number, four: boolean, length: number): number {
  if (four) return pseudoSum(v.getInt32(off + Ipv4.SRC), v.getInt32(off + Ipv4.DST), UDP, length);
  let sum = UDP + length;
  for (let i = 8; i < IPV6_BYTES; i += 4) sum += sum32(v.getInt32(off + i));
  return fold(sum);
}
