/**
 * ICMP errors that the engine sends itself: it sees the packet before translation, so what it quotes is what the sender
 * sent. The kernel's own errors about translated packets would go to P, that is, to nobody.
 *
 * Never about ICMP errors, later fragments, or senders that are no single host (RFC 1122 §3.2.2); at most as many as
 * `mayReply` allows; quoting as much as fits 576 bytes (RFC 1812 §4.3.2.3).
 */
import { type Batch, Ctl } from '../batch.js';
import { Verdict } from '../contract/verdict.js';
import { checksum } from '../wire/checksum.js';
import { Icmp } from '../wire/icmp.js';
import { IPPROTO, Ipv4, ipv4ChecksumOk, writeIpv4 } from '../wire/ipv4.js';
import type { Engine } from './engine.js';
import { Flag } from './parse.js';

const REPLY_MAX = 576;

/**
 * Appends an ICMP error about slot `i` (still as it arrived) to the batch. `mtu` is the next hop's for 3/4, else 0.
 * Silent when an error may not be sent; the packet's own verdict is the caller's.
 */
export function replyError(engine: Engine, batch: Batch, i: number, type: number, code: number, mtu: number): void {
  if ((batch.flags[i]! & Flag.NO_TUPLE) !== 0) return;
  const { data, view } = batch;
  const off = batch.off[i]!;
  const src = batch.src[i]!;
  // A LAN that the kernel does not reach now: what is written for it would follow the default route out.
  const ingress = batch.ctl[Ctl.INGRESS]!;
  if (ingress === 0 && engine.policy.lanOf(src)?.out === 0) return;
  if (!ipv4ChecksumOk(data, view, off) || !engine.mayReply(batch.ctl[Ctl.MILLIS]!)) return;
  const quoted = Math.min(batch.len[i]!, REPLY_MAX - Ipv4.BYTES - Icmp.BYTES);
  const slot = batch.append(Ipv4.BYTES + Icmp.BYTES + quoted);
  if (slot < 0) return;
  const at = batch.off[slot]!;
  const l4 = at + Ipv4.BYTES;
  const length = Ipv4.BYTES + Icmp.BYTES + quoted;
  const from = sourceFor(engine, src, batch.dst[i]!, ingress);
  const id = engine.takeIds(src, IPPROTO.ICMP, 1);
  // RFC 1812 §4.3.2.5: precedence 6 (internetwork control).
  writeIpv4(data, view, at, { src: from, dst: src, proto: IPPROTO.ICMP, length, id, tos: 0xc0 });
  view.setUint8(l4 + Icmp.TYPE, type);
  view.setUint8(l4 + Icmp.CODE, code);
  view.setUint16(l4 + Icmp.CHECKSUM, 0);
  view.setUint32(l4 + Icmp.ID, mtu);
  data.copyWithin(l4 + Icmp.QUOTED, off, off + quoted);
  view.setUint16(l4 + Icmp.CHECKSUM, ~checksum(data, l4, length - Ipv4.BYTES, 0) & 0xffff);
  batch.src[slot] = from;
  batch.dst[slot] = src;
  batch.proto[slot] = IPPROTO.ICMP;
  batch.l4[slot] = l4;
  batch.flags[slot] = Flag.ICMP_ERROR;
  batch.handle[slot] = -1;
  batch.verdict[slot] = Verdict.REPLY;
  batch.out[slot] = ingress;
}

/** Our address as the sender knows it: its gateway, that of its link, or the public address that it spoke to. */
function sourceFor(engine: Engine, sender: number, dst: number, ingress: number): number {
  const { policy, plan } = engine;
  const own = ingress > 0 ? plan.links[ingress - 1]!.address : 0;
  if (own !== 0) return own;
  const lan = policy.lanOf(sender);
  if (lan) return lan.gateway;
  if (policy.addressIndex(dst) >= 0) return dst;
  return plan.addresses[0]?.address ?? dst;
}
