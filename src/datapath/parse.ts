/**
 * Stage 2, parse: offsets and 5-tuple. Every length is checked here and only here; behind this stage accessors are unchecked.
 *
 * A packet that cannot be what it says gets a named drop. Layer 4 checksums are not looked at: rewriting is incremental,
 * so a wrong one stays wrong (REQ-68).
 */
import { type Batch, VNET_BYTES } from '../batch.js';
import { Counter } from '../contract/counters.js';
import { Verdict } from '../contract/verdict.js';
import { Icmp, isIcmpError, isIcmpReply, isIcmpRequest } from '../wire/icmp.js';
import { Fragment, IPPROTO, Ipv4, impossibleSource } from '../wire/ipv4.js';
import { impossibleFlags, Tcp, tcpHeaderBytes } from '../wire/tcp.js';
import { Udp } from '../wire/udp.js';
import { Gso, Vnet, VnetFlag } from '../wire/vnet.js';

/** Bits of Batch.flags. The TCP flags byte stands above them. */
export const enum Flag {
  FIRST_FRAGMENT = 1,
  LATER_FRAGMENT = 2,
  ICMP_ERROR = 4,
  /** An ICMP message that is neither query nor error: redirect, router advertisement… */
  ICMP_OTHER = 8,
  /** The layer 4 checksum is partial (NEEDS_CSUM). */
  PARTIAL = 16,
  GSO = 32,
  /** Packets of no flow by themselves: they follow a first fragment, or what they quote. */
  NO_TUPLE = LATER_FRAGMENT | ICMP_ERROR | ICMP_OTHER,
  /** Where the TCP flags byte begins. */
  TCP_SHIFT = 8,
}

const PENDING = Verdict.PENDING;
/** First two bytes of a vnet header: what asks for something. (DATA_VALID only says that somebody verified the checksum.) */
const OFFLOADS = (VnetFlag.NEEDS_CSUM << 8) | 0xff;

/** Fills the tuple columns of slots [from, count) and gives each a verdict: PENDING, or why it goes no further. */
export function parse(batch: Batch, from: number, counters: Float64Array): void {
  const { off, len, verdict, handle, out, view } = batch;
  const count = batch.count;
  let bytes = 0;
  let segments = 0;
  for (let i = from; i < count; i++) {
    handle[i] = -1;
    batch.flags[i] = 0;
    out[i] = 0;
    bytes += len[i]!;
    verdict[i] = parseOne(batch, view, i, off[i]!, len[i]!);
    segments += (batch.flags[i]! & Flag.GSO) === 0 ? 1 : segmentsOf(batch, view, i);
  }
  counters[Counter.RX_PACKETS]! += count - from;
  counters[Counter.RX_BYTES]! += bytes;
  counters[Counter.RX_SEGMENTS]! += segments;
}

function parseOne(batch: Batch, v: DataView, i: number, off: number, len: number): number {
  if (len < Ipv4.BYTES) return Verdict.TRUNCATED;
  const first = v.getUint8(off);
  if (first >>> 4 !== 4) return Verdict.NOT_IPV4;
  const header = (first & 15) << 2;
  const total = v.getUint16(off + Ipv4.LENGTH);
  if (header < Ipv4.BYTES || total < header) return Verdict.BAD_HEADER;
  if (total > len) return Verdict.TRUNCATED;
  // Bytes behind the packet (Ethernet padding) are no part of it.
  batch.len[i] = total;
  const src = v.getInt32(off + Ipv4.SRC);
  const dst = v.getInt32(off + Ipv4.DST);
  batch.src[i] = src;
  batch.dst[i] = dst;
  const proto = v.getUint8(off + Ipv4.PROTO);
  batch.proto[i] = proto;
  const l4 = off + header;
  batch.l4[i] = l4;
  batch.ports[i] = 0;
  if (impossibleSource(src)) return Verdict.BAD_ADDRESS;
  const top = dst >>> 24;
  if (top >= 224) return Verdict.MULTICAST;
  if (top === 0 || top === 127) return Verdict.BAD_ADDRESS;

  const room = total - header;
  let flags = 0;
  const fragment = v.getUint16(off + Ipv4.FRAGMENT) & (Fragment.MF | Fragment.OFFSET);
  if (fragment !== 0) {
    const offset = (fragment & Fragment.OFFSET) << 3;
    if (room === 0 || offset + room > 65_535 || ((fragment & Fragment.MF) !== 0 && (room & 7) !== 0))
      return Verdict.FRAGMENT_INVALID;
    // RFC 1858: a second fragment at offset 8 would overwrite the TCP flags that the first one was judged by.
    if (offset === 8 && proto === IPPROTO.TCP) return Verdict.FRAGMENT_INVALID;
    flags = offset === 0 ? Flag.FIRST_FRAGMENT : Flag.LATER_FRAGMENT;
    if (offset !== 0) {
      batch.flags[i] = flags;
      return (v.getUint16(off - VNET_BYTES) & OFFLOADS) === 0 ? PENDING : Verdict.BAD_VNET_HEADER;
    }
  }

  if (proto === IPPROTO.TCP) {
    if (room < Tcp.BYTES) return flags === 0 ? Verdict.BAD_L4_HEADER : Verdict.FRAGMENT_INVALID;
    const bytes = tcpHeaderBytes(v, l4);
    if (bytes < Tcp.BYTES || bytes > room) return Verdict.BAD_L4_HEADER;
    const tcpFlags = v.getUint8(l4 + Tcp.FLAGS);
    if (impossibleFlags(tcpFlags)) return Verdict.TCP_INVALID;
    flags |= tcpFlags << Flag.TCP_SHIFT;
    batch.ports[i] = v.getInt32(l4);
  } else if (proto === IPPROTO.UDP) {
    if (room < Udp.BYTES) return flags === 0 ? Verdict.BAD_L4_HEADER : Verdict.FRAGMENT_INVALID;
    const length = v.getUint16(l4 + Udp.LENGTH);
    if (length < Udp.BYTES || (flags === 0 && length > room)) return Verdict.BAD_L4_HEADER;
    batch.ports[i] = v.getInt32(l4);
  } else if (proto === IPPROTO.ICMP) {
    if (room < Icmp.BYTES) return flags === 0 ? Verdict.BAD_L4_HEADER : Verdict.FRAGMENT_INVALID;
    const type = v.getUint8(l4 + Icmp.TYPE);
    const id = v.getUint16(l4 + Icmp.ID);
    if (isIcmpRequest(type)) batch.ports[i] = id << 16;
    else if (isIcmpReply(type)) batch.ports[i] = id;
    else if (!isIcmpError(type)) flags |= Flag.ICMP_OTHER;
    else if (flags !== 0) return Verdict.FRAGMENT_INVALID;
    else flags |= Flag.ICMP_ERROR;
  }

  if ((v.getUint16(off - VNET_BYTES) & OFFLOADS) !== 0) {
    flags |= offloadFlags(v, off - VNET_BYTES, proto, header, flags);
    if (flags < 0) return Verdict.BAD_VNET_HEADER;
  }
  batch.flags[i] = flags;
  return PENDING;
}

/** Flags for a vnet header that asks for something, or −1 when it cannot be meant for this packet. */
function offloadFlags(v: DataView, vnet: number, proto: number, header: number, flags: number): number {
  let result = 0;
  if ((v.getUint8(vnet + Vnet.FLAGS) & VnetFlag.NEEDS_CSUM) !== 0) {
    const start = v.getUint16(vnet + Vnet.CSUM_START, true);
    const offset = v.getUint16(vnet + Vnet.CSUM_OFFSET, true);
    // A guest chooses these: with any other place, or protocol, the kernel would write a sum where we have written an address.
    const field = proto === IPPROTO.TCP ? Tcp.CHECKSUM : proto === IPPROTO.UDP ? Udp.CHECKSUM : -1;
    if (start !== header || offset !== field) return -1;
    result = Flag.PARTIAL;
  }
  const gso = v.getUint8(vnet + Vnet.GSO_TYPE) & ~Gso.ECN;
  if (gso === Gso.NONE) return result;
  const fits = gso === Gso.TCPV4 ? proto === IPPROTO.TCP : gso === Gso.UDP_L4 && proto === IPPROTO.UDP;
  if (!fits || result === 0 || flags & Flag.FIRST_FRAGMENT || v.getUint16(vnet + Vnet.GSO_SIZE, true) === 0) return -1;
  return result | Flag.GSO;
}

/** Bytes of the layer 4 header of a TCP or UDP packet. */
function l4Bytes(batch: Batch, v: DataView, i: number): number {
  return batch.proto[i] === IPPROTO.TCP ? tcpHeaderBytes(v, batch.l4[i]!) : Udp.BYTES;
}

/** Packets on the wire that a GSO packet becomes. */
export function segmentsOf(batch: Batch, v: DataView, i: number): number {
  const off = batch.off[i]!;
  const payload = off + batch.len[i]! - batch.l4[i]! - l4Bytes(batch, v, i);
  return Math.max(1, Math.ceil(payload / v.getUint16(off - VNET_BYTES + Vnet.GSO_SIZE, true)));
}

/** Size on the wire: of the packet, or of the largest segment of a GSO packet. */
export function wireBytes(batch: Batch, i: number): number {
  if ((batch.flags[i]! & Flag.GSO) === 0) return batch.len[i]!;
  const v = batch.view;
  const off = batch.off[i]!;
  const headers = batch.l4[i]! - off + l4Bytes(batch, v, i);
  return Math.min(batch.len[i]!, headers + v.getUint16(off - VNET_BYTES + Vnet.GSO_SIZE, true));
}
