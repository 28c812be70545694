/**
 * After a new plan: every live flow is decided again, a slice of rows between two batches, so that nothing waits.
 *
 * A flow stays untouched when the new answer is the rewrite that its row already holds; its rule id and out interfaces are
 * brought up to date in passing (moved). A flow whose answer changed ends; its next packet is decided like a first one.
 * (Neither the kernel's conntrack nor VPP does this: there, flows outlive the rules that made them.)
 */
import { OWNER_POOL } from '../contract/plan.js';
import { Header, Row, RowFlag, Words } from '../contract/table-layout.js';
import { Verdict } from '../contract/verdict.js';
import { holdTime } from '../flow/expiry.js';
import { protoIndex } from '../flow/mappings.js';
import { Action } from '../policy/decide.js';
import type { Engine } from './engine.js';

/** Rows looked at between two batches: less than a millisecond, also when every one of them ends. */
const SLICE = 256;

export class Redecision {
  readonly generation: number;
  stayed = 0;
  moved = 0;
  ended = 0;
  #row = 0;
  /** Some mapping lets fewer in than before: a second walk looks for those that it would not let in now. */
  #stricter = false;
  #guest = 0;

  constructor(generation: number) {
    this.generation = generation;
  }

  /** One slice; true when every row has been looked at. */
  step(engine: Engine, now: number): boolean {
    const { table } = engine;
    table.lock.acquire();
    const counted = table.ruleFlows.step(table.rows);
    let done = false;
    const end = Math.min(this.#row + SLICE, table.header[Header.HIGH_WATER]!);
    for (; this.#row < end; this.#row++)
      if ((table.rows[this.#row * Words.ROW]! & 1) !== 0) this.#look(engine, this.#row, now);
    if (this.#row >= table.header[Header.HIGH_WATER]!) done = counted && this.#guests(engine, now);
    table.lock.release();
    return done;
  }

  #look(engine: Engine, row: number, now: number): void {
    const { rows } = engine.table;
    const at = row * Words.ROW;
    const proto = rows[at + Row.KIND]! & 0xff;
    if (dormant(engine, rows[at + Row.RULE]!)) {
      this.stayed++;
      return;
    }
    if (!sameAnswer(engine, rows, at, proto)) {
      // No route at all may be for a moment (a default route goes with its link); nothing can leave meanwhile.
      if (engine.decision.verdict === Verdict.NO_ROUTE) {
        this.stayed++;
        return;
      }
      engine.table.remove(row, now, holdTime(proto, engine.plan.timeouts));
      this.ended++;
      return;
    }
    const { decision: d } = engine;
    // A flow through a mapping belongs to the mapping's rule and goes where its inside host is; the decision about a pool
    // port knows neither.
    const pool = d.action === Action.POOL;
    const rule = pool ? rows[at + Row.RULE]! & 0xffff : d.rule;
    const out0 = pool ? engine.policy.outToInside(rows[at + Row.SRC1]!) : d.out0;
    const word = rule | (out0 << 16) | (d.out1 << 24);
    const mapping = rows[at + Row.MAPPING]! - 1;
    const before = rows[at + Row.RULE]! & 0xffff;
    const { mappings } = engine.table;
    // Who may come in is the mapping's affair. It was decided with this row's rule, or with another of its flows'.
    if (d.action === Action.SNAT && mapping >= 0 && !mappings.isShared(mapping) && mappings.ruleOf(mapping) === before)
      if (mappings.setRule(mapping, d.rule, d.filtering)) this.#stricter = true;
    if (before !== rule) {
      engine.table.ruleFlows.book(before, row, -1);
      engine.table.ruleFlows.book(rule, row, 1);
    }
    if (word === rows[at + Row.RULE]) this.stayed++;
    else this.moved++;
    rows[at + Row.RULE] = word;
  }

  /** A slice of the second walk: ends what came in through a mapping that would not let it in now, and is not answered yet. */
  #guests(engine: Engine, now: number): boolean {
    const { rows, header, mappings } = engine.table;
    if (!this.#stricter) return true;
    const end = Math.min(this.#guest + SLICE, header[Header.HIGH_WATER]!);
    for (; this.#guest < end; this.#guest++) {
      const at = this.#guest * Words.ROW;
      const mapping = rows[at + Row.MAPPING]! - 1;
      const kind = rows[at + Row.KIND]!;
      if ((rows[at]! & 1) === 0 || mapping < 0) continue;
      if ((kind & (RowFlag.INBOUND | RowFlag.OUTBOUND)) !== RowFlag.INBOUND) continue;
      if (mappings.letsIn(mapping, rows[at + Row.SRC0]!)) continue;
      engine.table.remove(this.#guest, now, holdTime(kind & 0xff, engine.plan.timeouts));
      this.ended++;
    }
    return this.#guest >= header[Header.HIGH_WATER]!;
  }
}

/**
 * Is an interface of the row's away? Then routes and addresses that the decision would need are away with it: the row waits,
 * sending nothing, and is decided when the interface is back (a plan of its own).
 */
function dormant(engine: Engine, rule: number): boolean {
  return engine.mtus[(rule >>> 16) & 0xff] === 0 || engine.mtus[rule >>> 24] === 0;
}

/** Would the row at word `at` be made again as it is? Leaves the new decision in engine.decision. */
export function sameAnswer(engine: Engine, rows: Int32Array, at: number, proto: number): boolean {
  const { decision: d, policy } = engine;
  const kind = rows[at + Row.KIND]!;
  const ports = rows[at + Row.PORTS0]!;
  const ingress = engine.linkOuts[rows[at + Row.RULE]! >>> 24]!;
  const index = proto === 6 || proto === 17 || proto === 1 ? protoIndex(proto) : -1;
  policy.decide(d, rows[at + Row.SRC0]!, rows[at + Row.DST0]!, ports >>> 16, ports & 0xffff, index, ingress);

  if ((kind & RowFlag.PLAIN) !== 0) return d.action === Action.PLAIN;
  if (d.action === Action.MAP) {
    const straight = rows[at + Row.PORTS1] === ((ports << 16) | (ports >>> 16));
    return straight && d.target === rows[at + Row.SRC1] && d.source === rows[at + Row.DST1];
  }
  const hairpin = (kind & RowFlag.HAIRPIN) !== 0;
  if ((kind & RowFlag.FORWARD) !== 0) {
    if (d.action !== Action.DNAT || d.sourceNat !== hairpin) return false;
    if (d.target !== rows[at + Row.SRC1] || d.targetPort !== rows[at + Row.PORTS1]! >>> 16) return false;
    return !hairpin || sourceStays(engine, rows, at, index);
  }
  if (d.action === Action.POOL) return d.sourceNat === hairpin && (!hairpin || sourceStays(engine, rows, at, index));
  if (d.action !== Action.SNAT) return false;
  const p = policy.addressIndex(rows[at + Row.DST1]!);
  return (
    p >= 0 &&
    policy.addresses[p]!.uplink === policy.addresses[d.address]!.uplink &&
    sourceStays(engine, rows, at, index)
  );
}

/** Is the port that the row's source was translated to still what the plan would allow it? */
function sourceStays(engine: Engine, rows: Int32Array, at: number, index: number): boolean {
  const { decision: d, policy } = engine;
  const address = policy.poolIndex(rows[at + Row.DST1]!);
  if (address < 0) return false;
  const port = rows[at + Row.PORTS1]! & 0xffff;
  if (d.staticPort >= 0) return d.staticPort === port && rows[at + Row.MAPPING] === 0;
  return index < 0 || (rows[at + Row.MAPPING] !== 0 && policy.addresses[address]!.owners[index]![port] === OWNER_POOL);
}
