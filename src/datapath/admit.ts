/**
 * Stage 4, admit: the slow path, for packets that match found no flow for.
 *
 * Before all, foresee.ts asks `policy/` about all of them. Steps: 1 what has no tuple of its own (fragments, ICMP errors, other ICMP) follows what it belongs to. 2 Under the lock,
 * the lookup again: an earlier packet of this batch, or another worker, may have made the flow. 3 What `policy/` said.
 * 4 A port is claimed where the decision needs one. 5 The row is written; from here on the packet is like any other.
 *
 * Everything here may be slow (about a microsecond) and may refuse; nothing here evicts a live flow. Closed TCP flows, and
 * strangers' flows that nobody has answered, give way when a pool or the table runs short (REQ-12).
 */
import { type Batch, Ctl } from '../batch.js';
import { Counter, RuleCounter, ruleBase } from '../contract/counters.js';
import { Filtering, Mapping, Proto } from '../contract/plan.js';
import { MappingKind, Row, RowFlag, Words } from '../contract/table-layout.js';
import { VERDICTS, Verdict } from '../contract/verdict.js';
import { lifetime } from '../flow/expiry.js';
import { protoIndex } from '../flow/mappings.js';
import { flowDelta } from '../flow/table.js';
import { tcpBirth } from '../flow/tcp-state.js';
import { inPrefixes } from '../policy/acl.js';
import { Action } from '../policy/decide.js';
import { Icmp, IcmpType, isIcmpReply, Unreachable } from '../wire/icmp.js';
import { IPPROTO } from '../wire/ipv4.js';
import { TcpFlag } from '../wire/tcp.js';
import { claimPort, end, reclaim, reclaimOf } from './claim.js';
import type { Engine } from './engine.js';
import { foresee } from './foresee.js';
import { icmpError } from './icmp.js';
import { Flag } from './parse.js';
import { replyError } from './reply.js';

const PROHIBITED: readonly number[] = [
  Verdict.PORTS_EXHAUSTED,
  Verdict.HOST_LIMIT,
  Verdict.TABLE_FULL,
  Verdict.BLOCKED,
  Verdict.FORWARD_SOURCE,
  Verdict.FORWARD_LIMIT,
  Verdict.PROTOCOL,
  Verdict.LINK_POLICY,
];
/** Tries to find a port that endpoint-dependent flows, or a client with a taken source port, can share. */
const PORT_TRIES = 64;
/** What `insert` returns instead of a handle. */
const TAKEN = -2;
const DROPS = Uint8Array.from(VERDICTS, (v) => (v.fate === 'drop' ? 1 : 0));
/** RFC 5508 REQ-8: want of resources, and what policy forbids. Whoever is refused so and is inside gets ICMP 3/13. */
const TOLD = Uint8Array.from(VERDICTS, (_, id) => (PROHIBITED.includes(id) ? 1 : 0));

/** Gives every pending slot in [from, count) that has no handle either a handle or a verdict. */
export function admit(engine: Engine, batch: Batch, from: number, now: number): void {
  foresee(engine, batch, from);
  const count = batch.count;
  for (let i = from; i < count; i++) {
    if (batch.verdict[i] !== Verdict.PENDING || batch.handle[i]! >= 0) continue;
    batch.verdict[i] = admitOne(engine, batch, i, now);
  }
}

function admitOne(engine: Engine, batch: Batch, i: number, now: number): number {
  const flags = batch.flags[i]!;
  if ((flags & Flag.NO_TUPLE) !== 0) {
    // Its first fragment may be in this batch: rewrite, which goes in order, asks.
    if ((flags & Flag.LATER_FRAGMENT) !== 0) return Verdict.PENDING;
    if ((flags & Flag.ICMP_ERROR) !== 0) return icmpError(engine, batch, i, now);
    return batch.ctl[Ctl.INGRESS] === 0 && engine.policy.isHost(batch.dst[i]!) ? Verdict.PUNT : Verdict.ICMP_TYPE;
  }
  const { lock } = engine.table;
  lock.acquire();
  const verdict = newFlow(engine, batch, i, now);
  lock.release();
  if (DROPS[verdict] && verdict !== Verdict.PENDING) refused(engine, batch, i, verdict);
  return verdict;
}

/** Step 2 to 5. Lock held. */
function newFlow(engine: Engine, batch: Batch, i: number, now: number): number {
  const { table, policy } = engine;
  const src = batch.src[i]!;
  const dst = batch.dst[i]!;
  const ports = batch.ports[i]!;
  const proto = batch.proto[i]!;
  const f = engine.newFlow;
  f.hash0 = table.hashOf(src, dst, ports, proto);
  const known = table.findHashed(f.hash0, src, dst, ports, proto);
  if (known >= 0) {
    const row = known >>> 1;
    if (table.rows[row * Words.ROW + Row.EXPIRES]! >= now) {
      batch.handle[i] = known;
      batch.generation[i] = table.rows[row * Words.ROW]!;
      return Verdict.PENDING;
    }
    end(engine, row, now);
  }

  const index = proto === IPPROTO.TCP || proto === IPPROTO.UDP || proto === IPPROTO.ICMP ? protoIndex(proto) : -1;
  const d = engine.decisions[i]!;
  engine.decision = d;
  if (d.action === Action.NONE) return d.verdict;
  const tcpFlags = (batch.flags[i]! >>> Flag.TCP_SHIFT) & 0xff;
  if (proto === IPPROTO.TCP && !mayBegin(tcpFlags, d.action)) return Verdict.NO_STATE;
  // An answer to a query that nobody asked.
  if (index === Proto.ICMP && isIcmpReply(batch.view.getUint8(batch.l4[i]! + Icmp.TYPE)))
    return d.action === Action.POOL && batch.ctl[Ctl.INGRESS] === 0 && policy.isHost(dst)
      ? Verdict.PUNT
      : Verdict.NO_STATE;

  f.wayBackIsFree = false;
  f.proto = proto;
  f.state = 0;
  f.flags = proto === IPPROTO.TCP ? tcpBirth(tcpFlags) : 0;
  f.src0 = src;
  f.dst0 = dst;
  f.ports0 = ports;
  f.mapping = 0;
  f.rule = d.rule;
  let verdict: number;
  if (d.action === Action.PLAIN) verdict = plain(engine);
  else if (d.action === Action.MAP) verdict = mapped(engine);
  else if (d.action === Action.SNAT) verdict = sourceNat(engine, index, dst, ports & 0xffff, now);
  else if (d.action === Action.POOL) verdict = toPool(engine, index, now);
  else verdict = byForward(engine, index, now);
  if (verdict !== Verdict.PENDING) return verdict;
  return write(engine, batch, i, now);
}

/** May a TCP segment begin a flow? A SYN always; a plain segment where the way is known without state (picked up). */
function mayBegin(flags: number, action: number): boolean {
  if ((flags & TcpFlag.SYN) !== 0) return (flags & TcpFlag.ACK) === 0;
  return (flags & (TcpFlag.RST | TcpFlag.FIN)) === 0 && action !== Action.POOL;
}

/** Routed without rewrite: side 1's tuple is the reverse. */
function plain(engine: Engine): number {
  const f = engine.newFlow;
  if (hasAllFlows(engine, f.src0)) return Verdict.HOST_LIMIT;
  f.src1 = f.dst0;
  f.dst1 = f.src0;
  f.ports1 = (f.ports0 << 16) | (f.ports0 >>> 16);
  f.flags |= RowFlag.PLAIN;
  f.out0 = engine.decision.out0;
  f.out1 = engine.decision.out1;
  return Verdict.PENDING;
}

/** Between sites with the same subnet: both addresses by prefix, ports as they are. */
function mapped(engine: Engine): number {
  const { newFlow: f, decision: d } = engine;
  if (hasAllFlows(engine, f.src0)) return Verdict.HOST_LIMIT;
  f.src1 = d.target;
  f.dst1 = d.source;
  f.ports1 = (f.ports0 << 16) | (f.ports0 >>> 16);
  f.out0 = d.out0;
  f.out1 = d.out1;
  return Verdict.PENDING;
}

/** Has an inside host as many flows as it may (REQ-33)? All that it begins count, with NAT or without. */
function hasAllFlows({ plan, table }: Engine, host: number): boolean {
  return plan.perHostFlows > 0 && table.mappings.flowsOfHost(host) >= plan.perHostFlows;
}

/**
 * Source to P:p. Fills side 1's destination; its source is (`remote`, `remotePort`), what the answer will come from.
 * `f.mapping` is set and joined when the port is the pool's.
 */
function sourceNat(engine: Engine, index: number, remote: number, remotePort: number, now: number): number {
  const { table, decision: d, newFlow: f, plan, policy } = engine;
  const { mappings } = table;
  const address = policy.addresses[d.address]!.address;
  const x = f.ports0 >>> 16;
  f.src1 = remote;
  f.dst1 = address;
  f.out0 = d.out0;
  f.out1 = d.out1;
  if (hasAllFlows(engine, f.src0)) return Verdict.HOST_LIMIT;
  if (d.staticPort >= 0) {
    f.ports1 = (remotePort << 16) | d.staticPort;
    return Verdict.PENDING;
  }
  // Without ports only the host that the `all` forward names can be told apart, and it has come as the static case.
  if (index < 0) return Verdict.PROTOCOL;
  if (d.mapping === Mapping.ENDPOINT_DEPENDENT) return sharedPort(engine, index, address, remote, remotePort, x, now);
  let mapping = mappings.findInside(f.proto, f.src0, x, address);
  if (mapping >= 0 && !mappings.ports.inPool(address, index, mappings.outsidePort(mapping))) {
    // A new plan gave the port to somebody else (REQ-65). Its flows are about to be ended by the re-decision.
    if (!mappings.isHeld(mapping)) return Verdict.STALE;
    mappings.end(mapping);
    mapping = -1;
  }
  if (mapping < 0) {
    if (plan.perHost > 0 && mappings.countOfHost(f.src0, index) >= plan.perHost) return Verdict.HOST_LIMIT;
    if (plan.perHostRate > 0 && !engine.rates.allow(f.src0, plan.perHostRate, now)) return Verdict.HOST_LIMIT;
    const port = claimPort(engine, f.src0, address, index, x, now);
    if (port < 0) return Verdict.PORTS_EXHAUSTED;
    mapping = mappings.create(f.proto, f.src0, x, address, port, MappingKind.ENDPOINT_INDEPENDENT, d.filtering, d.rule);
    if (mapping < 0) {
      mappings.ports.release(address, index, port);
      return Verdict.TABLE_FULL;
    }
    engine.counters[Counter.MAPPINGS_CREATED]!++;
  }
  f.ports1 = (remotePort << 16) | mappings.outsidePort(mapping);
  f.mapping = mapping + 1;
  f.flags |= RowFlag.OUTBOUND;
  return Verdict.PENDING;
}

/** Endpoint-dependent mapping: any port of the pool whose (remote, port) pair is free; the source port if possible. */
function sharedPort(
  engine: Engine,
  index: number,
  address: number,
  remote: number,
  remotePort: number,
  x: number,
  now: number,
): number {
  const { table, newFlow: f } = engine;
  const { mappings } = table;
  const { ports } = mappings;
  for (let tries = 0; tries < PORT_TRIES; tries++) {
    const port = tries === 0 && ports.inPool(address, index, x) ? x : ports.randomPort(address, index);
    if (port < 0) return Verdict.PORTS_EXHAUSTED;
    let mapping = mappings.findOutside(f.proto, address, port);
    if (mapping >= 0 && !mappings.isShared(mapping)) continue;
    f.ports1 = (remotePort << 16) | port;
    f.hash1 = table.hashOf(remote, address, f.ports1, f.proto);
    const taken = table.findHashed(f.hash1, remote, address, f.ports1, f.proto);
    if (taken >= 0) {
      if (table.rows[(taken >>> 1) * Words.ROW + Row.EXPIRES]! >= now) continue;
      end(engine, taken >>> 1, now);
      mapping = mappings.findOutside(f.proto, address, port);
    }
    if (mapping < 0) {
      if (!ports.claimExactly(address, index, port)) continue;
      mapping = mappings.create(
        f.proto,
        0,
        0,
        address,
        port,
        MappingKind.SHARED_PORT,
        Filtering.ADDRESS_AND_PORT_DEPENDENT,
        0,
      );
      if (mapping < 0) {
        ports.release(address, index, port);
        return Verdict.TABLE_FULL;
      }
      engine.counters[Counter.MAPPINGS_CREATED]!++;
    }
    f.wayBackIsFree = true;
    f.mapping = mapping + 1;
    f.flags |= RowFlag.OUTBOUND;
    return Verdict.PENDING;
  }
  return Verdict.PORTS_EXHAUSTED;
}

/** To a pool port: whose mapping is it, and may this sender use it (RFC 4787 §5)? */
function toPool(engine: Engine, index: number, now: number): number {
  const { table, decision: d, newFlow: f, policy } = engine;
  const { mappings } = table;
  const mapping = mappings.findOutside(f.proto, f.dst0, f.ports0 & 0xffff);
  if (mapping < 0 || mappings.isShared(mapping)) return Verdict.NO_MAPPING;
  // Without a flow of its own it is open only for whom a helper expects (help.ts).
  const expected = mappings.expects(mapping, f.src0, now);
  if (mappings.isHeld(mapping) && !expected && mappings.keptUntil(mapping) < now) return Verdict.NO_MAPPING;
  // Filtering is against strangers outside; a LAN host could speak to the inside address as well.
  if (!d.sourceNat && !expected && !mappings.letsIn(mapping, f.src0)) return Verdict.FILTERED;
  const inside = mappings.insideOf(mapping);
  const lan = policy.lanOf(inside);
  // A LAN that the kernel does not reach now: the packet would follow the default route out.
  if (lan?.out === 0) return Verdict.NO_ROUTE;
  // The host's own mapping (it reaches its own forwards through one).
  d.out0 = policy.outToInside(inside);
  d.target = inside;
  d.targetPort = index === Proto.ICMP ? 0 : mappings.insidePort(mapping);
  if (d.rule === 0) f.rule = mappings.ruleOf(mapping);
  const verdict = destinationNat(engine, index, now);
  if (verdict !== Verdict.PENDING) return verdict;
  f.flags &= ~RowFlag.FORWARD;
  if (!d.sourceNat) f.mapping = mapping + 1;
  else if (expected) mappings.arrived(mapping);
  return Verdict.PENDING;
}

/** Through a forward, as far as its limits go. */
function byForward(engine: Engine, index: number, now: number): number {
  const { table, decision: d, policy } = engine;
  const { maxFlows, maxRate } = policy.forward(d.rule)!;
  const { ruleFlows } = table;
  if (maxFlows > 0 && ruleFlows.liveOf(d.rule) >= maxFlows && !reclaimOf(engine, d.rule, now))
    return Verdict.FORWARD_LIMIT;
  if (maxRate > 0 && !ruleFlows.allow(d.rule, maxRate, now)) return Verdict.FORWARD_LIMIT;
  return destinationNat(engine, index, now);
}

/** Destination to the target; the source stays, or becomes P:p of a sender who is inside (hairpin). */
function destinationNat(engine: Engine, index: number, now: number): number {
  const { table, decision: d, newFlow: f } = engine;
  f.flags |= RowFlag.FORWARD;
  if (d.sourceNat) {
    f.flags |= RowFlag.HAIRPIN;
    return sourceNat(engine, index, d.target, d.targetPort, now);
  }
  f.flags |= RowFlag.INBOUND;
  f.out0 = d.out0;
  f.out1 = d.out1;
  f.src1 = d.target;
  f.dst1 = f.src0;
  // Two forwards to one target may bring one client twice with one source port: the second gets another.
  let port = f.ports0 >>> 16;
  for (let tries = 0; tries < PORT_TRIES; tries++) {
    f.ports1 = (d.targetPort << 16) | port;
    f.hash1 = table.hashOf(f.src1, f.dst1, f.ports1, f.proto);
    const taken = table.findHashed(f.hash1, f.src1, f.dst1, f.ports1, f.proto);
    f.wayBackIsFree = true;
    if (taken < 0) return Verdict.PENDING;
    if (table.rows[(taken >>> 1) * Words.ROW + Row.EXPIRES]! < now) {
      end(engine, taken >>> 1, now);
      return Verdict.PENDING;
    }
    if (index < 0) return Verdict.PORTS_EXHAUSTED;
    port = 1024 + (table.mappings.ports.random() % 64_512);
  }
  return Verdict.PORTS_EXHAUSTED;
}

/** Step 5: the row. */
function write(engine: Engine, batch: Batch, i: number, now: number): number {
  const { table, newFlow: f, counters } = engine;
  const { mappings } = table;
  // What gives way below may be the last flow of the mapping that this one is about to join.
  const joins = f.mapping !== 0 && (f.flags & RowFlag.OUTBOUND) !== 0;
  // What no mapping counts is charged to the inside host that begins it.
  const inbound = (f.flags & RowFlag.INBOUND) !== 0;
  const charged = f.mapping === 0 && !inbound;
  if (joins) mappings.pin(f.mapping - 1);
  else if (charged && !mappings.charge(f.src0)) return Verdict.TABLE_FULL;
  const handle = insert(engine, now);
  if (joins) mappings.unpin(f.mapping - 1);
  if (handle < 0) {
    if (charged) mappings.discharge(f.src0);
    return abandon(engine, handle === TAKEN ? Verdict.PORTS_EXHAUSTED : Verdict.TABLE_FULL, now);
  }
  if (joins && !mappings.join(f.mapping - 1, f.dst0, f.src0)) {
    table.rows[(handle >>> 1) * Words.ROW + Row.KIND]! &= ~RowFlag.OUTBOUND;
    table.remove(handle >>> 1, now, 0);
    return abandon(engine, Verdict.TABLE_FULL, now);
  }
  // It may give way as long as nobody answers it.
  if (inbound) engine.unanswered.push(handle >>> 1, table.rows[(handle >>> 1) * Words.ROW]!);
  counters[Counter.FLOWS_CREATED]!++;
  if (f.rule !== 0) counters[ruleBase(f.rule) + RuleCounter.FLOWS]!++;
  batch.handle[i] = handle;
  batch.generation[i] = table.rows[(handle >>> 1) * Words.ROW]!;
  return Verdict.PENDING;
}

/** Side 0's handle of the new row; TAKEN when its way back is a live flow's, −1 when the table is full. */
function insert(engine: Engine, now: number): number {
  const { table, newFlow: f, plan } = engine;
  if (!f.wayBackIsFree) {
    f.hash1 = table.hashOf(f.src1, f.dst1, f.ports1, f.proto);
    const back = table.findHashed(f.hash1, f.src1, f.dst1, f.ports1, f.proto);
    if (back >= 0 && table.rows[(back >>> 1) * Words.ROW + Row.EXPIRES]! < now) end(engine, back >>> 1, now);
    else if (back >= 0) return TAKEN;
  }

  f.delta = flowDelta(f.proto, f.src0, f.dst0, f.ports0, f.src1, f.dst1, f.ports1);
  f.expires = now + lifetime(f.proto | f.flags, plan.timeouts);
  const handle = table.insertHashed(f, now);
  // One row is enough. Where freed rows rest it is the next one's: more would end closed flows for nothing.
  return handle < 0 && reclaim(engine, now) ? table.insertHashed(f, now) : handle;
}

/** A mapping that was made for a flow that then could not be: it ends, unless others use it. */
function abandon(engine: Engine, verdict: number, now: number): number {
  const { table, newFlow: f } = engine;
  const { mappings } = table;
  const mapping = f.mapping - 1;
  if (
    mapping >= 0 &&
    (f.flags & RowFlag.OUTBOUND) !== 0 &&
    mappings.isHeld(mapping) &&
    !mappings.isHeldAt(mapping, now)
  ) {
    mappings.end(mapping);
  }
  return verdict;
}

/** What a refused sender is told, and the rule's counter. */
function refused(engine: Engine, batch: Batch, i: number, verdict: number): void {
  const syn = ((batch.flags[i]! >>> Flag.TCP_SHIFT) & (TcpFlag.SYN | TcpFlag.ACK)) === TcpFlag.SYN;
  if (verdict === Verdict.NO_MAPPING && syn && batch.ctl[Ctl.INGRESS] === 0 && engine.plan.rejectUnsolicited)
    engine.unsolicited.note(batch, i);
  const byRule = verdict === Verdict.FORWARD_SOURCE || verdict === Verdict.FORWARD_LIMIT;
  if (byRule && engine.decision.rule !== 0) {
    engine.counters[ruleBase(engine.decision.rule) + RuleCounter.REFUSED]!++;
  }
  if (verdict === Verdict.NO_ROUTE || verdict === Verdict.NOT_OURS)
    replyError(engine, batch, i, IcmpType.UNREACHABLE, Unreachable.NET, 0);
  else if (TOLD[verdict] === 1 && mayBeTold(engine, batch.src[i]!, batch.ctl[Ctl.INGRESS]!))
    replyError(engine, batch, i, IcmpType.UNREACHABLE, Unreachable.ADMIN, 0);
}

/** Only insiders are told why they are refused, and not one that is on the block list itself: nothing is exchanged with it. */
function mayBeTold({ policy, plan }: Engine, sender: number, ingress: number): boolean {
  return (ingress > 0 || policy.lanOf(sender) !== undefined) && !inPrefixes(plan.blocked, sender);
}
