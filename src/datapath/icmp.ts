/**
 * ICMP errors (RFC 5508 §4): translated by the flow of the packet that they quote.
 *
 * The quoted packet is one that we sent, so its reverse is the tuple of the flow's other side: one lookup finds the
 * handle, and the tuple of `handle ^ 1` is what the quoted packet was before we rewrote it. That goes into the quote, its
 * source becomes the error's destination, and the error's source becomes what the sender of the quoted packet knows:
 *
 *   error from outside about P:p → R:r   ⇒ destination X, source unchanged (a router), or R
 *   error from inside about R:r → X:x    ⇒ destination R, source P (REQ-28)
 *   hairpin                              ⇒ both, by the same rule (REQ-29)
 *
 * No error deletes or refreshes anything (REQ-13). An error that no flow answers for is the host's own, if it quotes a
 * packet of the host's; else it is dropped.
 */
import { type Batch, Ctl } from '../batch.js';
import { OWNER_HOST, OWNER_RESERVED } from '../contract/plan.js';
import { Row, RowFlag, Words } from '../contract/table-layout.js';
import { Verdict } from '../contract/verdict.js';
import { protoIndex } from '../flow/mappings.js';
import { addDelta, adjust, checksum, delta32 } from '../wire/checksum.js';
import { Icmp, isIcmpReply, isIcmpRequest } from '../wire/icmp.js';
import { decrementTtl, Fragment, headerBytes, IPPROTO, Ipv4 } from '../wire/ipv4.js';
import { Tcp } from '../wire/tcp.js';
import { Udp } from '../wire/udp.js';
import type { Engine } from './engine.js';

/** RFC 792: an error quotes at least the first 8 bytes behind the IP header. */
const QUOTED_L4 = 8;

/** Translates the ICMP error in slot `i` in place. Returns its verdict. */
export function icmpError(engine: Engine, batch: Batch, i: number, now: number): number {
  const { data, view } = batch;
  const off = batch.off[i]!;
  const l4 = batch.l4[i]!;
  const end = off + batch.len[i]!;
  if (checksum(data, l4, end - l4, 0) !== 0xffff) return Verdict.BAD_CHECKSUM;
  const q = l4 + Icmp.QUOTED;
  if (end - q < Ipv4.BYTES || view.getUint8(q) >>> 4 !== 4) return Verdict.ICMP_EMBEDDED;
  const header = headerBytes(view, q);
  if (header < Ipv4.BYTES || end - q < header + QUOTED_L4) return Verdict.ICMP_EMBEDDED;
  if ((view.getUint16(q + Ipv4.FRAGMENT) & Fragment.OFFSET) !== 0) return Verdict.ICMP_EMBEDDED;
  const proto = view.getUint8(q + Ipv4.PROTO);
  const src = view.getInt32(q + Ipv4.SRC);
  const dst = view.getInt32(q + Ipv4.DST);
  const q4 = q + header;
  const ports = quotedPorts(view, q4, proto);
  // Of ICMP only queries have flows; an error is never about an error (RFC 1122 §3.2.2).
  const mayHaveFlow = proto !== IPPROTO.ICMP || isQuery(view.getUint8(q4 + Icmp.TYPE));
  const handle = mayHaveFlow ? engine.table.find(dst, src, (ports << 16) | (ports >>> 16), proto) : -1;
  const { rows } = engine.table;
  const row = (handle >>> 1) * Words.ROW;
  if (handle < 0 || rows[row + Row.EXPIRES]! < now) return withoutFlow(engine, batch, i, src, ports >>> 16, proto);
  // Errors go to the quoted packet's sender, or somebody is making them up.
  if (batch.dst[i] !== src) return Verdict.ICMP_EMBEDDED;
  if (view.getUint8(off + Ipv4.TTL) <= 1) return Verdict.TTL_EXPIRED;
  // It goes where the packets of this side go.
  const outs = rows[row + Row.RULE]! >>> 16;
  const out = (handle & 1) === 0 ? outs & 0xff : outs >>> 8;
  if (engine.linkOuts[(handle & 1) === 0 ? outs >>> 8 : outs & 0xff] !== batch.ctl[Ctl.INGRESS])
    return Verdict.FOREIGN_SOURCE;
  if (engine.mtus[out] === 0) return Verdict.NO_ROUTE;

  const original = row + Row.SRC0 + ((handle & 1) ^ 1) * 3;
  const oldSrc = rows[original]!;
  const oldDst = rows[original + 1]!;
  const plain = (rows[row + Row.KIND]! & RowFlag.PLAIN) !== 0;
  const sender = batch.src[i]!;
  // Without NAT the error leaves with its sender's address: then it must be one of ours or of a LAN's.
  if (plain && foreign(engine, sender) && foreign(engine, oldSrc)) return Verdict.FOREIGN_SOURCE;
  restoreQuote(view, q, q4, end, proto, oldSrc, oldDst, rows[original + 2]!, src, dst, ports);
  view.setUint16(l4 + Icmp.CHECKSUM, 0);
  view.setUint16(l4 + Icmp.CHECKSUM, ~checksum(data, l4, end - l4, 0) & 0xffff);

  let from = sender;
  if (sender === dst) from = oldDst;
  else if (!plain && hidden(engine, sender, oldSrc)) from = oldDst;
  const delta = addDelta(delta32(sender, from), delta32(batch.dst[i]!, oldSrc));
  view.setInt32(off + Ipv4.SRC, from);
  view.setInt32(off + Ipv4.DST, oldSrc);
  view.setUint16(off + Ipv4.CHECKSUM, adjust(view.getUint16(off + Ipv4.CHECKSUM), delta));
  const site = engine.linkOuts[out]!;
  if (site !== 0) {
    batch.out[i] = site;
    decrementTtl(view, off);
  }
  return Verdict.FORWARD;
}

/**
 * Must `receiver` not see `sender`? Outside only our public addresses are seen: not those of a LAN or of the host, and none
 * that a router behind a LAN brings along, or a guest makes up.
 */
function hidden(engine: Engine, sender: number, receiver: number): boolean {
  const { policy } = engine;
  if (policy.addressIndex(sender) >= 0) return false;
  if (policy.lanOf(sender)) return true;
  if (policy.isSite(sender)) return foreign(engine, receiver);
  return foreign(engine, receiver) || (policy.isHost(sender) && !policy.lanOf(receiver));
}

/** Neither a LAN's address nor a far site's nor one of the router's. */
function foreign(engine: Engine, address: number): boolean {
  const { policy } = engine;
  return (
    !policy.lanOf(address) && !policy.isHost(address) && policy.addressIndex(address) < 0 && !policy.isSite(address)
  );
}

function isQuery(type: number): boolean {
  return isIcmpRequest(type) || isIcmpReply(type);
}

/** Port word (source << 16 | destination) of the quoted packet; a query's id stands on the side that asks. */
function quotedPorts(v: DataView, q4: number, proto: number): number {
  if (proto === IPPROTO.TCP || proto === IPPROTO.UDP) return v.getInt32(q4);
  if (proto !== IPPROTO.ICMP) return 0;
  const type = v.getUint8(q4 + Icmp.TYPE);
  const id = v.getUint16(q4 + Icmp.ID);
  return isIcmpRequest(type) ? id << 16 : isIcmpReply(type) ? id : 0;
}

/** Puts the tuple as it was before our rewrite into the quoted packet, its checksums (as far as quoted) included. */
function restoreQuote(
  v: DataView,
  q: number,
  q4: number,
  end: number,
  proto: number,
  oldSrc: number,
  oldDst: number,
  oldPorts: number,
  src: number,
  dst: number,
  ports: number,
): void {
  const addresses = addDelta(delta32(src, oldSrc), delta32(dst, oldDst));
  const l4 = addDelta(addresses, delta32(ports, oldPorts));
  v.setInt32(q + Ipv4.SRC, oldSrc);
  v.setInt32(q + Ipv4.DST, oldDst);
  v.setUint16(q + Ipv4.CHECKSUM, adjust(v.getUint16(q + Ipv4.CHECKSUM), addresses));
  if (proto === IPPROTO.TCP) {
    v.setInt32(q4, oldPorts);
    const field = q4 + Tcp.CHECKSUM;
    if (field + 2 <= end) v.setUint16(field, adjust(v.getUint16(field), l4));
  } else if (proto === IPPROTO.UDP) {
    v.setInt32(q4, oldPorts);
    const field = q4 + Udp.CHECKSUM;
    if (v.getUint16(field) !== 0) v.setUint16(field, adjust(v.getUint16(field), l4) || 0xffff);
  } else if (proto === IPPROTO.ICMP) {
    v.setUint16(q4 + Icmp.ID, (oldPorts >>> 16) | (oldPorts & 0xffff));
    v.setUint16(q4 + Icmp.CHECKSUM, adjust(v.getUint16(q4 + Icmp.CHECKSUM), delta32(ports, oldPorts)));
  }
}

/** An error of no flow: the host's own business if it quotes a packet that the host may have sent. */
function withoutFlow(engine: Engine, batch: Batch, i: number, quotedSrc: number, port: number, proto: number): number {
  const { policy, plan } = engine;
  if (batch.ctl[Ctl.INGRESS] !== 0 || !policy.isHost(batch.dst[i]!) || quotedSrc !== batch.dst[i])
    return Verdict.ICMP_NO_FLOW;
  const index = policy.addressIndex(quotedSrc);
  if (index < 0 || (proto !== IPPROTO.TCP && proto !== IPPROTO.UDP)) return Verdict.PUNT;
  const owner = plan.addresses[index]!.owners[protoIndex(proto)]![port];
  return owner === OWNER_HOST || owner === OWNER_RESERVED ? Verdict.PUNT : Verdict.ICMP_NO_FLOW;
}
