/**
 * ICMPv6 errors that the engine sends itself (RFC 4443): never about another error or a redirect (§2.4 e), at most as many as `mayReply` allows (§2.4 f),
 * quoting as much as fits the least MTU.
 */
import { type Batch, Ctl } from '../batch.js';
import { Verdict } from '../contract/verdict.js';
import { checksum, fold } from '../wire/checksum.js';
import { Icmpv6, Icmpv6Type } from '../wire/icmpv6.js';
import { IPV6_MIN_MTU, Ipv6, Next, writeIpv6 } from '../wire/ipv6.js';
import type { Engine } from './engine.js';
import type { Ipv6Sites } from './ipv6.js';

const own = new Int32Array(4);

/**
 * Appends an error about slot `i` to the batch, back the way that it came. `upper`: of `upperLayer`. Silent when none may be sent, or when the router has no
 * address to send it from; the packet's own verdict is the caller's.
 */
export function replyError6(
  engine: Engine,
  sites: Ipv6Sites,
  batch: Batch,
  i: number,
  type: number,
  code: number,
  parameter: number,
  upper: number,
): void {
  const { data, view } = batch;
  const off = batch.off[i]!;
  const ingress = batch.ctl[Ctl.INGRESS]!;
  if (isError(view, off, batch.len[i]!, upper)) return;
  const from = sites.ownFor(ingress);
  if (from === null || !engine.mayReply(batch.ctl[Ctl.MILLIS]!)) return;
  const quoted = Math.min(batch.len[i]!, IPV6_MIN_MTU - Ipv6.BYTES - Icmpv6.BYTES);
  const length = Icmpv6.BYTES + quoted;
  const slot = batch.append(Ipv6.BYTES + length);
  if (slot < 0) return;
  const at = batch.off[slot]!;
  const l4 = at + Ipv6.BYTES;
  for (let n = 0; n < 4; n++) own[n] = from[n]!;
  writeIpv6(view, at, own, sites.src, Next.ICMPV6, length);
  view.setUint8(l4 + Icmpv6.TYPE, type);
  view.setUint8(l4 + Icmpv6.CODE, code);
  view.setUint16(l4 + Icmpv6.CHECKSUM, 0);
  view.setUint32(l4 + Icmpv6.PARAMETER, parameter);
  data.copyWithin(l4 + Icmpv6.QUOTED, off, off + quoted);
  const pseudo = fold(checksum(data, at + Ipv6.SRC, 32, 0) + length + Next.ICMPV6);
  view.setUint16(l4 + Icmpv6.CHECKSUM, ~checksum(data, l4, length, pseudo) & 0xffff);
  batch.flags[slot] = 0;
  batch.handle[slot] = -1;
  batch.verdict[slot] = Verdict.REPLY;
  batch.out[slot] = ingress;
}

/** An ICMPv6 error or redirect, or one that is too short to tell. */
function isError(view: DataView, off: number, len: number, upper: number): boolean {
  if (upper < 0 || (upper & 0xff) !== Next.ICMPV6) return false;
  const l4 = upper >>> 8;
  if (l4 >= len) return true;
  const type = view.getUint8(off + l4);
  return type < Icmpv6Type.FIRST_QUERY || type === Icmpv6Type.REDIRECT;
}
