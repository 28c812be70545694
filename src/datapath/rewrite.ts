/**
 * Stage 5, rewrite: obey the row. State and lifetime, TTL and MTU, then addresses, ports, MSS and checksums.
 *
 * Checksums by RFC 1624 from the row's two deltas. With NEEDS_CSUM the layer 4 field holds the un-complemented
 * pseudo-header sum: there the address delta goes in un-complemented, and ports and payload leave it alone, because the
 * kernel sums them when it completes the field.
 */
import { type Batch, Ctl } from '../batch.js';
import { Counter, RuleCounter, ruleBase } from '../contract/counters.js';
import { Kind, Row, RowFlag, State, Words } from '../contract/table-layout.js';
import { Verdict } from '../contract/verdict.js';
import { lifetime } from '../flow/expiry.js';
import { segment, tcpUpdate } from '../flow/tcp-state.js';
import { adjust, adjustPartial, delta32 } from '../wire/checksum.js';
import { Icmp, IcmpType, Unreachable } from '../wire/icmp.js';
import { decrementTtl, Fragment, IPPROTO, Ipv4 } from '../wire/ipv4.js';
import { clampMss, Tcp, TcpFlag, tcpHeaderBytes, windowScale } from '../wire/tcp.js';
import { Udp } from '../wire/udp.js';
import type { Engine } from './engine.js';
import { firstFragment, fragmentKey, laterFragment, repeatsFirst } from './fragment.js';
import { acknowledge, announce } from './help.js';
import { keepTarget } from './keep.js';
import { Flag, segmentsOf, wireBytes } from './parse.js';
import { replyError } from './reply.js';

const DNS_PORT = 53;
/** IPv4 and TCP header without options: what an MSS leaves of an MTU (RFC 6691). */
const MSS_HEADERS = 40;

/**
 * Rewrites every pending slot: those with a flow, and later fragments, which find theirs only now that the first ones before
 * them are done; also the fragments that a first one releases (they are appended).
 */
export function rewrite(engine: Engine, batch: Batch, from: number, now: number): void {
  const { verdict, handle, flags } = batch;
  for (let i = from; i < batch.count; i++) {
    if ((flags[i]! & Flag.FIRST_FRAGMENT) !== 0) rewriteFirst(engine, batch, i, now);
    else if (verdict[i] === Verdict.PENDING) {
      if (handle[i]! < 0) verdict[i] = laterFragment(engine, batch, i, now);
      if (verdict[i] === Verdict.PENDING) verdict[i] = rewriteOne(engine, batch, i, now);
    }
  }
}

/** A first fragment, and what its datagram's other fragments need to know of it. */
function rewriteFirst(engine: Engine, batch: Batch, i: number, now: number): void {
  const key = fragmentKey(batch, i);
  if (repeatsFirst(engine, batch, i, key, now)) {
    // With other ports it may be anybody's business, but the datagram's ports are those that it was let through by.
    if (batch.verdict[i] === Verdict.PENDING || batch.verdict[i] === Verdict.PUNT)
      batch.verdict[i] = Verdict.FRAGMENT_INVALID;
    return;
  }
  if (batch.verdict[i] === Verdict.PENDING) batch.verdict[i] = rewriteOne(engine, batch, i, now);
  firstFragment(engine, batch, i, key, now);
}

function rewriteOne(engine: Engine, batch: Batch, i: number, now: number): number {
  const { rows } = engine.table;
  const handle = batch.handle[i]!;
  const side = handle & 1;
  const at = (handle >>> 1) * Words.ROW;
  if (rows[at] !== batch.generation[i]) return Verdict.STALE;
  const view = batch.view;
  const off = batch.off[i]!;
  const flags = batch.flags[i]!;
  const later = (flags & Flag.LATER_FRAGMENT) !== 0;
  const rule = rows[at + Row.RULE]!;
  const out = side === 0 ? (rule >>> 16) & 0xff : rule >>> 24;
  const back = side === 0 ? rule >>> 24 : (rule >>> 16) & 0xff;

  // What side s sends comes from where its answers go: nobody else can speak for it, whatever tuple he writes.
  if (engine.linkOuts[back] !== batch.ctl[Ctl.INGRESS]) return Verdict.FOREIGN_SOURCE;
  // What is for the host itself (out 0) is not routed.
  if (out !== 0) {
    if (view.getUint8(off + Ipv4.TTL) <= 1 && hops(engine, out, back)) {
      replyError(engine, batch, i, IcmpType.TIME_EXCEEDED, 0, 0);
      return Verdict.TTL_EXPIRED;
    }
    const mtu = engine.mtus[out]!;
    if (mtu === 0) {
      replyError(engine, batch, i, IcmpType.UNREACHABLE, Unreachable.NET, 0);
      return Verdict.NO_ROUTE;
    }
    if (batch.len[i]! > mtu && (view.getUint16(off + Ipv4.FRAGMENT) & Fragment.DF) !== 0 && wireBytes(batch, i) > mtu) {
      replyError(engine, batch, i, IcmpType.UNREACHABLE, Unreachable.TOO_BIG, mtu);
      return Verdict.TOO_BIG;
    }
  }

  const proto = batch.proto[i]!;
  const inside = (rows[at + Row.KIND]! & RowFlag.INBOUND) !== 0 ? 1 : 0;
  if (
    side === inside &&
    rows[at + Row.MAPPING] !== 0 &&
    (rows[at + Row.KIND]! & RowFlag.OUTBOUND) === 0 &&
    !joinMapping(engine, at, batch.generation[i]!, now)
  ) {
    return Verdict.NO_MAPPING;
  }
  const helped = engine.helping && proto === IPPROTO.TCP && !later && engine.help.of(rows, at) !== 0;
  if (helped) acknowledge(engine, batch, i);
  const kind = nextKind(engine, batch, i, at, later);
  refresh(engine, at, side, kind, proto, flags, now);
  if (side === 1 && (kind & (RowFlag.HAIRPIN | RowFlag.FORWARD)) === RowFlag.HAIRPIN) keepTarget(engine, at, kind, now);
  count(engine, at, side, kind, rule & 0xffff, batch.len[i]!);

  const l4 = batch.l4[i]!;
  if (helped) {
    const verdict = announce(engine, batch, i, engine.mtus[out]!, now);
    if (verdict !== Verdict.PENDING) return verdict;
  }
  if ((kind & RowFlag.PLAIN) === 0) translate(rows, at, side, view, off, l4, proto, flags);
  if (((flags >>> Flag.TCP_SHIFT) & TcpFlag.SYN) !== 0 && !later) {
    clampMss(view, l4, Math.min(engine.mtus[out]!, engine.mtus[back]!) - MSS_HEADERS, (flags & Flag.PARTIAL) !== 0);
  }
  if (later) setId(view, off, batch.ports[i]!);
  else if (engine.uplinkOuts[out] !== 0 && (kind & RowFlag.PLAIN) === 0) freshId(engine, batch, i, at, side);
  const site = engine.linkOuts[out]!;
  if (site !== 0) {
    batch.out[i] = site;
    if (hops(engine, out, back)) decrementTtl(view, off);
  }
  return Verdict.FORWARD;
}

/** Is this router a hop on the packet's way? Not for what the host itself sends into a link: there the far side is the next one. */
function hops({ linkOuts }: Engine, out: number, back: number): boolean {
  return back !== 0 || linkOuts[out] === 0;
}

/**
 * A new IP id for what leaves by an uplink and may be fragmented: two inside hosts behind one address must not use one id
 * towards one destination (RFC 6864 §5.3). A GSO packet takes as many as it has segments. Where DF is set the id means nothing.
 */
function freshId(engine: Engine, batch: Batch, i: number, at: number, side: number): void {
  const off = batch.off[i]!;
  const v = batch.view;
  if ((v.getUint16(off + Ipv4.FRAGMENT) & Fragment.DF) !== 0) return;
  const remote = engine.table.rows[at + Row.SRC0 + (side ^ 1) * 3]!;
  const segments = (batch.flags[i]! & Flag.GSO) !== 0 ? segmentsOf(batch, v, i) : 1;
  setId(v, off, engine.takeIds(remote, batch.proto[i]!, segments));
}

function setId(v: DataView, off: number, id: number): void {
  const delta = delta32(v.getUint16(off + Ipv4.ID), id);
  v.setUint16(off + Ipv4.ID, id);
  v.setUint16(off + Ipv4.CHECKSUM, adjust(v.getUint16(off + Ipv4.CHECKSUM), delta));
}

/**
 * Row.KIND after this packet, stored. It changes a few times in a flow's life, and both sides' workers change it: so only a
 * change is written, and only over what it was made from.
 */
function nextKind(engine: Engine, batch: Batch, i: number, at: number, later: boolean): number {
  const { rows } = engine.table;
  const handle = batch.handle[i]!;
  const tcp = batch.proto[i] === IPPROTO.TCP;
  for (;;) {
    const before = rows[at + Row.KIND]!;
    let kind = before;
    if ((handle & 1) === 1) kind |= RowFlag.REPLIED;
    else if (!tcp && (kind & RowFlag.REPLIED) !== 0) kind |= RowFlag.ASSURED;
    if (tcp && !later) kind = followTcp(engine, batch, i, handle, kind);
    if (kind === before) return kind;
    if (Atomics.compareExchange(rows, at + Row.KIND, before, kind) !== before) continue;
    const state = (kind >>> Kind.STATE_SHIFT) & Kind.STATE_MASK;
    const closed = tcp && (state === State.TIME_WAIT || state === State.CLOSE);
    if (closed && state !== ((before >>> Kind.STATE_SHIFT) & Kind.STATE_MASK)) {
      const queue = rows[at + Row.MAPPING] !== 0 ? engine.closedPorts : engine.closedRows;
      queue.push(handle >>> 1, rows[at]!);
    }
    return kind;
  }
}

/** Takes the segment into the flow's TCP state. */
function followTcp(engine: Engine, batch: Batch, i: number, handle: number, kind: number): number {
  const view = batch.view;
  const l4 = batch.l4[i]!;
  const header = tcpHeaderBytes(view, l4);
  const tcpFlags = view.getUint8(l4 + Tcp.FLAGS);
  return tcpUpdate(
    kind,
    engine.table.tcp,
    (handle >>> 1) * Words.TCP,
    handle & 1,
    view.getInt32(l4 + Tcp.SEQ),
    view.getInt32(l4 + Tcp.ACK),
    view.getUint16(l4 + Tcp.WINDOW),
    tcpFlags,
    batch.off[i]! + batch.len[i]! - l4 - header,
    (tcpFlags & TcpFlag.SYN) !== 0 ? windowScale(view, l4) : -1,
  );
}

/**
 * Lifetime (REQ-6, 7): through a mapping, only what the inside host sends refreshes UDP and ICMP, unless the plan says
 * otherwise; without one, both ways do. A DNS answer ends its flow soon (REQ-12).
 */
function refresh(
  engine: Engine,
  at: number,
  side: number,
  kind: number,
  proto: number,
  flags: number,
  now: number,
): void {
  const { rows } = engine.table;
  const { timeouts } = engine.plan;
  if (proto === IPPROTO.TCP) {
    // What its receiver would not take refreshes nothing. Of a later fragment it is not known.
    if (segment.accepted || (flags & Flag.LATER_FRAGMENT) !== 0)
      rows[at + Row.EXPIRES] = now + lifetime(kind, timeouts);
    return;
  }
  const inbound = (kind & RowFlag.INBOUND) !== 0;
  const fromInside = inbound ? side === 1 : side === 0;
  if (rows[at + Row.MAPPING] !== 0) {
    if (!fromInside && !engine.plan.inboundRefresh) {
      if (proto === IPPROTO.UDP && side === 1 && (rows[at + Row.PORTS0]! & 0xffff) === DNS_PORT) {
        rows[at + Row.EXPIRES] = Math.min(rows[at + Row.EXPIRES]!, now + timeouts.dns);
      }
      return;
    }
  }
  rows[at + Row.EXPIRES] = now + lifetime(kind, timeouts);
}

/**
 * The inside host answers a flow that came through its mapping: from now on the flow keeps the mapping alive. False when the
 * mapping is no more: the port may be another host's by now, so the flow ends.
 */
function joinMapping(engine: Engine, at: number, generation: number, now: number): boolean {
  const { table } = engine;
  const { rows, mappings, lock } = table;
  lock.acquire();
  const kind = rows[at + Row.KIND]!;
  const ports0 = rows[at + Row.PORTS0]!;
  const mapping = rows[at + Row.MAPPING]! - 1;
  let stays = rows[at] === generation;
  // The other side's worker may have been first.
  if (stays && (kind & RowFlag.OUTBOUND) === 0) {
    const proto = kind & 0xff;
    const x = rows[at + Row.PORTS1]! >>> 16;
    stays = mappings.is(mapping, proto, rows[at + Row.SRC1]!, x, rows[at + Row.DST0]!, ports0 & 0xffff);
    if (stays && mappings.join(mapping, rows[at + Row.SRC0]!, rows[at + Row.SRC1]!))
      Atomics.or(rows, at + Row.KIND, RowFlag.OUTBOUND);
    else if (!stays) {
      table.remove(at / Words.ROW, now, 0);
      engine.counters[Counter.FLOWS_ENDED]!++;
    }
  }
  lock.release();
  return stays;
}

function count(engine: Engine, at: number, side: number, kind: number, rule: number, bytes: number): void {
  engine.table.bytes[((at + Row.BYTES0) >>> 1) + side]! += bytes;
  if (rule === 0) return;
  const { counters } = engine;
  const inward = (side === 0) === ((kind & (RowFlag.INBOUND | RowFlag.FORWARD)) !== 0);
  const base = ruleBase(rule) + (inward ? RuleCounter.PACKETS_IN : RuleCounter.PACKETS_OUT);
  counters[base]!++;
  counters[base + 1]! += bytes;
}

/** Addresses, ports and checksums of one packet, from the row's other side. */
function translate(
  rows: Int32Array,
  at: number,
  side: number,
  v: DataView,
  off: number,
  l4: number,
  proto: number,
  flags: number,
): void {
  const other = at + Row.SRC0 + (side ^ 1) * 3;
  const deltas = side === 0 ? rows[at + Row.DELTA]! : ~rows[at + Row.DELTA]!;
  const addressDelta = deltas >>> 16;
  const l4Delta = deltas & 0xffff;
  v.setInt32(off + Ipv4.SRC, rows[other + 1]!);
  v.setInt32(off + Ipv4.DST, rows[other]!);
  v.setUint16(off + Ipv4.CHECKSUM, adjust(v.getUint16(off + Ipv4.CHECKSUM), addressDelta));
  if ((flags & Flag.LATER_FRAGMENT) !== 0) return;
  const reply = rows[other + 2]!;
  const ports = (reply << 16) | (reply >>> 16);
  if (proto === IPPROTO.TCP) {
    v.setInt32(l4, ports);
    const at16 = l4 + Tcp.CHECKSUM;
    const field = v.getUint16(at16);
    v.setUint16(at16, (flags & Flag.PARTIAL) !== 0 ? adjustPartial(field, addressDelta) : adjust(field, l4Delta));
  } else if (proto === IPPROTO.UDP) {
    v.setInt32(l4, ports);
    const at16 = l4 + Udp.CHECKSUM;
    const field = v.getUint16(at16);
    if ((flags & Flag.PARTIAL) !== 0) v.setUint16(at16, adjustPartial(field, addressDelta));
    // 0 = the sender made none; a computed 0 is written 0xffff (RFC 768).
    else if (field !== 0) v.setUint16(at16, adjust(field, l4Delta) || 0xffff);
  } else if (proto === IPPROTO.ICMP) {
    // The id stands on the side that asks; the other half is 0.
    v.setUint16(l4 + Icmp.ID, (ports >>> 16) | (ports & 0xffff));
    const field = adjust(v.getUint16(l4 + Icmp.CHECKSUM), l4Delta);
    // Without a pseudo-header all words may be zero (an echo reply with id and sequence 0), whose checksum is 0xffff and not 0.
    v.setUint16(
      l4 + Icmp.CHECKSUM,
      field === 0 && allZero(v, l4, off + v.getUint16(off + Ipv4.LENGTH)) ? 0xffff : field,
    );
  }
}

/** Are the bytes of an ICMP message but its checksum zero? */
function allZero(v: DataView, l4: number, end: number): boolean {
  if (v.getUint16(l4) !== 0) return false;
  for (let at = l4 + Icmp.ID; at < end; at++) if (v.getUint8(at) !== 0) return false;
  return true;
}
