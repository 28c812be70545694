/**
 * How many flows the forwards with limits have now, and how many they made in this second: exact, and shared by all workers.
 *
 * Theory of operation. Counters (contract/counters.ts) belong to one worker each and never go back, so they cannot say what lives.
 * The few forwards that have a limit therefore get a slot in the table file's header: rule id, live flows, second, flows made in it.
 * Slots are found by open addressing and made anew at each plan, under the table's lock like everything here. A table
 * without limits pays one compare a flow.
 *
 * Who gets a limit while it has flows must be counted first: the whole table is counted anew, a slice between two batches, and a cursor
 * in the header (COUNTED) divides the rows that have been counted, whose births and deaths are booked at once, from those that the
 * cursor will come by. Until it is through the counts are low, and a limit lets more in.
 */
import type { Plan } from '../contract/plan.js';
import {
  Header,
  LIMIT_SLOTS,
  LIMIT_WORDS,
  LIMITS_AT,
  Limit,
  MAX_LIMITED,
  Row,
  Words,
} from '../contract/table-layout.js';

/** COUNTED when every row has been counted. */
const ALL = 0x7fff_ffff;
/** Rows counted in one slice: tens of microseconds. */
const SLICE = 4096;

export class RuleFlows {
  readonly #header: Int32Array;

  constructor(header: Int32Array) {
    this.#header = header;
  }

  /** Before the first plan of a process: rows that were adopted are counted by it. */
  clear(): void {
    this.#header.fill(0, LIMITS_AT, LIMITS_AT + LIMIT_SLOTS * LIMIT_WORDS);
    this.#header[Header.LIMITED] = 0;
    this.#header[Header.COUNTED] = ALL;
  }

  /** Makes the slots of a plan's limited forwards; nothing when they are there (another worker was first). */
  setPlan(plan: Plan): void {
    const header = this.#header;
    const ids = plan.forwards.filter(isLimited).map((forward) => forward.id);
    ids.length = Math.min(ids.length, MAX_LIMITED);
    if (ids.length === header[Header.LIMITED] && ids.every((id) => this.#find(id) >= 0)) return;
    const anew = ids.some((id) => this.#find(id) < 0) || header[Header.COUNTED] !== ALL;
    const live = ids.map((id) => (anew ? 0 : this.liveOf(id)));
    this.clear();
    ids.forEach((id, i) => {
      let slot = id % LIMIT_SLOTS;
      while (header[LIMITS_AT + slot * LIMIT_WORDS + Limit.RULE] !== 0) slot = (slot + 1) % LIMIT_SLOTS;
      header[LIMITS_AT + slot * LIMIT_WORDS + Limit.RULE] = id;
      header[LIMITS_AT + slot * LIMIT_WORDS + Limit.FLOWS] = live[i]!;
    });
    header[Header.LIMITED] = ids.length;
    if (anew && ids.length > 0 && header[Header.LIVE_FLOWS] !== 0) header[Header.COUNTED] = 0;
  }

  /** A flow of `rule` begins (+1) or ends (−1) in `row`. */
  book(rule: number, row: number, change: number): void {
    const header = this.#header;
    if (header[Header.LIMITED] === 0 || row >= header[Header.COUNTED]!) return;
    const at = this.#find(rule);
    if (at >= 0) header[at + Limit.FLOWS]! += change;
  }

  liveOf(rule: number): number {
    const at = this.#find(rule);
    return at < 0 ? 0 : this.#header[at + Limit.FLOWS]!;
  }

  /** May `rule` make one flow more in this second, of `rate`? Counts it. */
  allow(rule: number, rate: number, now: number): boolean {
    const header = this.#header;
    const at = this.#find(rule);
    if (at < 0) return true;
    if (header[at + Limit.SECOND] !== now) {
      header[at + Limit.SECOND] = now;
      header[at + Limit.MADE] = 0;
    }
    if (header[at + Limit.MADE]! >= rate) return false;
    header[at + Limit.MADE]!++;
    return true;
  }

  /** Counts a slice of rows; true when there are none left. */
  step(rows: Int32Array): boolean {
    const header = this.#header;
    const from = header[Header.COUNTED]!;
    if (from === ALL) return true;
    const end = Math.min(from + SLICE, header[Header.HIGH_WATER]!);
    for (let row = from; row < end; row++) {
      const at = row * Words.ROW;
      if ((rows[at]! & 1) === 0) continue;
      const slot = this.#find(rows[at + Row.RULE]! & 0xffff);
      if (slot >= 0) header[slot + Limit.FLOWS]!++;
    }
    const done = end >= header[Header.HIGH_WATER]!;
    header[Header.COUNTED] = done ? ALL : end;
    return done;
  }

  /** Word of a rule's slot, or −1. */
  #find(rule: number): number {
    const header = this.#header;
    for (let slot = rule % LIMIT_SLOTS; ; slot = (slot + 1) % LIMIT_SLOTS) {
      const at = LIMITS_AT + slot * LIMIT_WORDS;
      if (header[at] === 0) return -1;
      if (header[at] === rule) return at;
    }
  }
}

function isLimited({ maxFlows, maxRate }: Plan['forwards'][number]): boolean {
  return maxFlows > 0 || maxRate > 0;
}
