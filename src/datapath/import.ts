/**
 * Flows and mappings from elsewhere: another boot, another machine, another layout of the table.
 *
 * Nothing is taken because a file says so. A mapping must have a port of the present pool that nobody holds, and an inside
 * host of the present LANs; it comes in as held, so that its port waits for the flows behind it, and ends by itself when none
 * follows. A flow must be what the present plan would make of its first packet (the same question that a reload asks of a live
 * row), must not meet a live flow with one of its tuples, and must fit its mapping. Everything under the table's lock, a
 * slice between two batches; control sends all mappings before the first flow.
 */
import { MAX_RULES } from '../contract/counters.js';
import {
  IMPORT_FLOW_BYTES,
  IMPORT_FLOW_WORDS,
  IMPORT_MAPPING_WORDS,
  ImportFate,
  ImportFlow,
  ImportMapping,
} from '../contract/import.js';
import { Filtering } from '../contract/plan.js';
import { Kind, MappingKind, MappingRow, Row, RowFlag, STATE_NAMES, Words } from '../contract/table-layout.js';
import { holdTime, lifetime } from '../flow/expiry.js';
import { protoIndex } from '../flow/mappings.js';
import { flowDelta, NewFlow } from '../flow/table.js';
import { Action } from '../policy/decide.js';
import type { Engine } from './engine.js';
import { sameAnswer } from './reload.js';

/** A mapping waits this long for its flows at least: the rest of the import. */
const WAIT_SECONDS = 60;

const scratch = new Int32Array(Words.ROW);
const flow = new NewFlow();

const hasPorts = (proto: number) => proto === 1 || proto === 6 || proto === 17;

/** Takes packed mappings in; adds to `fates` (by ImportFate). */
export function importMappings(engine: Engine, words: Int32Array, now: number, fates: number[]): void {
  engine.table.lock.acquire();
  for (let at = 0; at + IMPORT_MAPPING_WORDS <= words.length; at += IMPORT_MAPPING_WORDS)
    fates[importMapping(engine, words, at, now)]!++;
  engine.table.lock.release();
}

/** Takes packed flows in; `bytes` has two counts for each. */
export function importFlows(
  engine: Engine,
  words: Int32Array,
  bytes: Float64Array,
  now: number,
  fates: number[],
): void {
  engine.table.lock.acquire();
  let count = 0;
  for (let at = 0; at + IMPORT_FLOW_WORDS <= words.length; at += IMPORT_FLOW_WORDS, count++)
    fates[importFlow(engine, words, at, bytes, count * IMPORT_FLOW_BYTES, now)]!++;
  engine.table.lock.release();
}

function importMapping(engine: Engine, w: Int32Array, at: number, now: number): number {
  const { table, policy, plan } = engine;
  const { mappings } = table;
  const proto = w[at + ImportMapping.PROTO]!;
  const kind = w[at + ImportMapping.KIND]!;
  const filtering = w[at + ImportMapping.FILTERING]!;
  const rule = w[at + ImportMapping.RULE]!;
  const shared = kind === MappingKind.SHARED_PORT;
  if (!hasPorts(proto) || (!shared && kind !== MappingKind.ENDPOINT_INDEPENDENT)) return ImportFate.INVALID;
  if (filtering < 0 || filtering > Filtering.ADDRESS_AND_PORT_DEPENDENT || rule < 0 || rule > MAX_RULES)
    return ImportFate.INVALID;
  const index = protoIndex(proto);
  const outside = w[at + ImportMapping.OUTSIDE]!;
  const inside = w[at + ImportMapping.INSIDE]!;
  const x = w[at + ImportMapping.PORTS]! >>> 16;
  const p = w[at + ImportMapping.PORTS]! & 0xffff;
  if (policy.poolIndex(outside) < 0) return ImportFate.DECIDED;
  if (!mappings.ports.inPool(outside, index, p)) return ImportFate.PORT;
  const there = mappings.findOutside(proto, outside, p);
  if (shared) {
    if (inside !== 0 || x !== 0) return ImportFate.INVALID;
    if (there >= 0) return mappings.isShared(there) ? ImportFate.TAKEN : ImportFate.PORT;
  } else {
    if (!policy.lanOf(inside) && !policy.isHost(inside) && !policy.isSite(inside)) return ImportFate.DECIDED;
    if (there >= 0) return mappings.is(there, proto, inside, x, outside, p) ? ImportFate.TAKEN : ImportFate.PORT;
    // The inside host has come back already and got another port.
    if (mappings.findInside(proto, inside, x, outside) >= 0) return ImportFate.IN_USE;
  }
  if (!mappings.ports.claimExactly(outside, index, p)) return ImportFate.PORT;
  const made = mappings.create(proto, inside, x, outside, p, kind, filtering, rule);
  if (made < 0) {
    mappings.ports.release(outside, index, p);
    return ImportFate.FULL;
  }
  const seconds = Math.min(Math.max(w[at + ImportMapping.SECONDS]!, WAIT_SECONDS), plan.timeouts.hold + WAIT_SECONDS);
  mappings.words[made * Words.MAPPING + MappingRow.EXPIRES] = now + seconds;
  return ImportFate.TAKEN;
}

function importFlow(
  engine: Engine,
  w: Int32Array,
  at: number,
  bytes: Float64Array,
  bytesAt: number,
  now: number,
): number {
  const { table, plan } = engine;
  const kind = w[at + ImportFlow.KIND]!;
  const proto = kind & 0xff;
  const seconds = w[at + ImportFlow.SECONDS]!;
  if (((kind >>> Kind.STATE_SHIFT) & Kind.STATE_MASK) >= STATE_NAMES.length || seconds <= 0) return ImportFate.INVALID;
  if (!(bytes[bytesAt]! >= 0 && bytes[bytesAt + 1]! >= 0) || !wellFormed(w, at, kind)) return ImportFate.INVALID;
  for (let side = 0; side < 2; side++) {
    const t = at + ImportFlow.SRC0 + side * 3;
    const found = table.find(w[t]!, w[t + 1]!, w[t + 2]!, proto);
    if (found < 0) continue;
    const row = found >>> 1;
    if (table.rows[row * Words.ROW + Row.EXPIRES]! >= now) return ImportFate.IN_USE;
    table.remove(row, now, holdTime(proto, plan.timeouts));
  }
  const mapping = w[at + ImportFlow.MAPPED] === 1 ? mappingOf(engine, w, at, kind) : -1;
  if (mapping < 0 && w[at + ImportFlow.MAPPED] === 1) return ImportFate.PORT;

  scratch.set(w.subarray(at + ImportFlow.SRC0, at + ImportFlow.SRC0 + 6), Row.SRC0);
  scratch[Row.KIND] = kind;
  scratch[Row.MAPPING] = mapping + 1;
  if (!sameAnswer(engine, scratch, 0, proto)) return ImportFate.DECIDED;
  if (engine.decision.action === Action.POOL && !leadsToTarget(engine, proto)) return ImportFate.PORT;
  return write(engine, kind, mapping, w, at, bytes, bytesAt, now);
}

/** To a pool port: is it still the port of the inside host that the flow goes to? Then the flow has that mapping's rule. */
function leadsToTarget({ table, decision }: Engine, proto: number): boolean {
  const { mappings } = table;
  const mapping = mappings.findOutside(proto, scratch[Row.DST0]!, scratch[Row.PORTS0]! & 0xffff);
  if (mapping < 0 || mappings.isShared(mapping) || mappings.insideOf(mapping) !== scratch[Row.SRC1]) return false;
  if (decision.rule === 0) decision.rule = mappings.ruleOf(mapping);
  // An ICMP query bears its id on the other side.
  return proto === 1 || mappings.insidePort(mapping) === scratch[Row.PORTS1]! >>> 16;
}

/** Is the other side's tuple a possible answer to the first one? (Which addresses it should have, the plan says.) */
function wellFormed(w: Int32Array, at: number, kind: number): boolean {
  const [src0, dst0, ports0] = [w[at + ImportFlow.SRC0]!, w[at + ImportFlow.DST0]!, w[at + ImportFlow.PORTS0]!];
  const [src1, dst1, ports1] = [w[at + ImportFlow.SRC1]!, w[at + ImportFlow.DST1]!, w[at + ImportFlow.PORTS1]!];
  const hairpin = (kind & RowFlag.HAIRPIN) !== 0;
  const toUs = hairpin || (kind & RowFlag.INBOUND) !== 0;
  if ((kind & RowFlag.PLAIN) !== 0)
    return src1 === dst0 && dst1 === src0 && ports1 === ((ports0 << 16) | (ports0 >>> 16));
  // Out: the destination stays. In: the source's address does. Hairpin: neither.
  if (!toUs) return src1 === dst0 && ports1 >>> 16 === (ports0 & 0xffff);
  return hairpin || dst1 === src0;
}

/** The mapping that a mapped flow's tuples name, or −1. As flow/open.ts asks of a row that it adopts. */
function mappingOf({ table }: Engine, w: Int32Array, at: number, kind: number): number {
  const { mappings } = table;
  const proto = kind & 0xff;
  if (!hasPorts(proto)) return -1;
  const inbound = (kind & RowFlag.INBOUND) !== 0;
  const outside = w[at + (inbound ? ImportFlow.DST0 : ImportFlow.DST1)]!;
  const p = w[at + (inbound ? ImportFlow.PORTS0 : ImportFlow.PORTS1)]! & 0xffff;
  const inside = w[at + (inbound ? ImportFlow.SRC1 : ImportFlow.SRC0)]!;
  const x = w[at + (inbound ? ImportFlow.PORTS1 : ImportFlow.PORTS0)]! >>> 16;
  const mapping = mappings.findOutside(proto, outside, p);
  if (mapping < 0) return -1;
  if (mappings.isShared(mapping)) return inbound ? -1 : mapping;
  return mappings.is(mapping, proto, inside, x, outside, p) ? mapping : -1;
}

function write(
  engine: Engine,
  kind: number,
  mapping: number,
  w: Int32Array,
  at: number,
  bytes: Float64Array,
  bytesAt: number,
  now: number,
): number {
  const { table, plan, policy, decision: d } = engine;
  const { mappings } = table;
  const proto = kind & 0xff;
  const joins = mapping >= 0 && (kind & RowFlag.OUTBOUND) !== 0;
  const inbound = (kind & RowFlag.INBOUND) !== 0;
  const pool = d.action === Action.POOL;
  flow.proto = proto;
  flow.state = (kind >>> Kind.STATE_SHIFT) & Kind.STATE_MASK;
  flow.flags = kind & ~((Kind.STATE_MASK << Kind.STATE_SHIFT) | 0xff) & (joins ? -1 : ~RowFlag.OUTBOUND);
  flow.src0 = scratch[Row.SRC0]!;
  flow.dst0 = scratch[Row.DST0]!;
  flow.ports0 = scratch[Row.PORTS0]!;
  flow.src1 = scratch[Row.SRC1]!;
  flow.dst1 = scratch[Row.DST1]!;
  flow.ports1 = scratch[Row.PORTS1]!;
  flow.delta = flowDelta(proto, flow.src0, flow.dst0, flow.ports0, flow.src1, flow.dst1, flow.ports1);
  flow.expires = now + Math.min(w[at + ImportFlow.SECONDS]!, lifetime(kind, plan.timeouts));
  flow.mapping = mapping + 1;
  flow.rule = d.rule;
  flow.out0 = pool ? policy.outToInside(flow.src1) : d.out0;
  flow.out1 = d.out1;
  const charged = mapping < 0 && !inbound;
  if (charged && !mappings.charge(flow.src0)) return ImportFate.FULL;
  const handle = table.insert(flow, now);
  if (handle < 0) {
    if (charged) mappings.discharge(flow.src0);
    return ImportFate.FULL;
  }
  const row = handle >>> 1;
  for (let i = 0; i < Words.TCP; i++) table.tcp[row * Words.TCP + i] = w[at + ImportFlow.TCP + i]!;
  table.bytes[(row * Words.ROW + Row.BYTES0) >>> 1] = bytes[bytesAt]!;
  table.bytes[(row * Words.ROW + Row.BYTES1) >>> 1] = bytes[bytesAt + 1]!;
  const [remote, inside] = inbound ? [flow.src0, flow.src1] : [flow.dst0, flow.src0];
  if (!joins || mappings.join(mapping, remote, inside)) return ImportFate.TAKEN;
  table.rows[row * Words.ROW + Row.KIND]! &= ~RowFlag.OUTBOUND;
  table.remove(row, now, 0);
  return ImportFate.FULL;
}
