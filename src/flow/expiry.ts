/**
 * When flows end: lifetimes by protocol and state, and the sweep that finds the dead.
 *
 * Theory of operation. A row carries the second in which it dies; refreshing it is one store into a cache line that the
 * packet has touched anyway, so there is no timer structure to maintain. A cursor walks the rows a slice a cycle
 * (SWEEP_SECONDS for a whole round), ends what is past its time, and then does the same for held mappings. A dead row
 * that a packet meets before the sweep does is ended there (admit). One worker sweeps.
 *
 * To end a flow costs a microsecond or two, so a slice in which many die at once stops after MOST_ENDS (a million flows of
 * one second would else be pauses of 30 ms) and says that it is behind: then the next slice follows soon, not in SLICE_MS.
 *
 * Refused: timer wheels (8 more bytes a flow, and each refresh writes two other cache lines).
 */
import type { Timeouts } from '../contract/plan.js';
import { Header, Kind, MappingRow, Row, RowFlag, State, Words } from '../contract/table-layout.js';
import type { FlowTable } from './table.js';

const TCP = 6;
/** Seconds for one round over all rows. */
const SWEEP_SECONDS = 4;
/** Milliseconds between slices. */
export const SLICE_MS = 100;
/** Flows, and mappings, that one slice ends at most: less than half a millisecond each. */
const MOST_ENDS = 256;
const SLICES = (SWEEP_SECONDS * 1000) / SLICE_MS;

/**
 * Seconds without a packet after which a flow of this Row.KIND ends. One that a stranger began has a short life until it is
 * answered, TCP's until its handshake is complete: a flood is nothing but such flows.
 */
export function lifetime(kind: number, timeouts: Timeouts): number {
  const proto = kind & 0xff;
  const inbound = (kind & RowFlag.INBOUND) !== 0;
  if (proto === TCP) {
    const state = (kind >>> Kind.STATE_SHIFT) & Kind.STATE_MASK;
    if (isOpening(kind)) return inbound ? Math.min(timeouts.tcpOpening, timeouts.unanswered) : timeouts.tcpOpening;
    return state === State.ESTABLISHED ? timeouts.tcpEstablished : timeouts.tcpClosing;
  }
  const life = proto === 1 ? timeouts.icmp : timeouts.udp;
  return inbound && isOpening(kind) ? Math.min(life, timeouts.unanswered) : life;
}

/** Is nobody known to want this flow yet? TCP: its handshake is not complete; others: side 1 has not answered. */
export function isOpening(kind: number): boolean {
  const replied = (kind & RowFlag.REPLIED) !== 0;
  if ((kind & 0xff) !== TCP) return !replied;
  const state = (kind >>> Kind.STATE_SHIFT) & Kind.STATE_MASK;
  // Picked up in mid-stream counts as lasting only when the other side has answered.
  if (state === State.ESTABLISHED) return !replied && (kind & RowFlag.LOOSE) !== 0;
  return state === State.SYN_SENT || state === State.SYN_RECV || state === State.SYN_SENT2;
}

/**
 * May the row at word `at` give way when ports or rows run short (REQ-12)? It is past its time, or a TCP connection that is closed,
 * or a stranger's that nobody has answered and no mapping lives by.
 */
export function mayGiveWay(rows: Int32Array, at: number, now: number): boolean {
  if ((rows[at]! & 1) === 0) return false;
  if (rows[at + Row.EXPIRES]! < now) return true;
  const kind = rows[at + Row.KIND]!;
  const state = (kind >>> Kind.STATE_SHIFT) & Kind.STATE_MASK;
  if ((kind & 0xff) === TCP && (state === State.TIME_WAIT || state === State.CLOSE)) return true;
  return isStrangers(kind) && isOpening(kind);
}

/** Begun outside, and no mapping counts it. */
function isStrangers(kind: number): boolean {
  return (kind & (RowFlag.INBOUND | RowFlag.OUTBOUND)) === RowFlag.INBOUND;
}

/** Seconds for which a mapping of this protocol keeps its port after its last flow (REQ-35: UDP and ICMP). */
export function holdTime(proto: number, timeouts: Timeouts): number {
  return proto === TCP ? 0 : timeouts.hold;
}

export class Sweeper {
  readonly #table: FlowTable;
  #row = 0;
  #mapping = 0;
  /** Flows and mappings ended by time since the reader set these to 0. */
  flows = 0;
  mappings = 0;
  /** The last slice left something to do. */
  behind = false;

  constructor(table: FlowTable) {
    this.#table = table;
  }

  /** One slice. Call it every SLICE_MS, and sooner while it is `behind`; takes the lock. */
  step(now: number, timeouts: Timeouts): void {
    const table = this.#table;
    const { header } = table;
    table.lock.acquire();
    let ends = MOST_ENDS;
    const high = header[Header.HIGH_WATER]!;
    for (let left = Math.ceil(high / SLICES); left > 0 && ends > 0; left--) {
      if (this.#row >= high) this.#row = 0;
      if (this.#sweepRow(this.#row++, now, timeouts)) ends--;
    }
    this.behind = ends === 0;
    ends = MOST_ENDS;
    const top = header[Header.MAPPING_HIGH_WATER]!;
    for (let left = Math.ceil(top / SLICES); left > 0 && ends > 0; left--) {
      if (this.#mapping >= top) this.#mapping = 0;
      if (this.#sweepMapping(this.#mapping++, now)) ends--;
    }
    this.behind ||= ends === 0;
    table.lock.release();
  }

  #sweepRow(row: number, now: number, timeouts: Timeouts): boolean {
    const { rows } = this.#table;
    const at = row * Words.ROW;
    if ((rows[at]! & 1) === 0 || rows[at + Row.EXPIRES]! >= now) return false;
    this.#table.remove(row, now, holdTime(rows[at + Row.KIND]! & 0xff, timeouts));
    this.flows++;
    return true;
  }

  #sweepMapping(mapping: number, now: number): boolean {
    const { mappings } = this.#table;
    const m = mapping * Words.MAPPING;
    if ((mappings.words[m]! & 1) === 0 || mappings.words[m + MappingRow.COUNT] !== 0) return false;
    if (mappings.words[m + MappingRow.EXPIRES]! >= now) return false;
    mappings.end(mapping);
    this.mappings++;
    return true;
  }
}
