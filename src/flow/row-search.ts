/**
 * Rows that could give way (REQ-12) but stand in no queue of this worker: another worker saw them close, or a former process.
 *
 * Only asked when the queues are empty and a port or row is wanted. A cursor goes over the rows a slice a call; what it finds is put
 * into the queues, within a slice in the order in which it would have ended by time, so that the longest closed goes first. The price
 * is bounded twice: a call looks at MOST_A_CALL rows (measured: 40 µs), a second at MOST_A_SECOND (2.6 ms), so that a table
 * full of live flows costs those who are refused next to nothing. A table of 262,144 rows is known after 128 calls.
 */
import { Header, Row, RowFlag, Words } from '../contract/table-layout.js';
import type { ClosedQueue } from './closed-queue.js';
import { isOpening, mayGiveWay } from './expiry.js';
import type { FlowTable } from './table.js';

const MOST_A_CALL = 2048;
const MOST_A_SECOND = 131_072;
/** Enough for a while. */
const MOST_FOUND = 256;
/** More rows than MAX_FLOWS: a key is seconds · ROWS + row, exact in a double. */
const ROWS = 2 ** 22;

/** Where rows go that could give way, by what they hold. */
export interface Queues {
  /** Begun by strangers and never answered: no port, and nobody inside who would miss them. */
  readonly unanswered: ClosedQueue;
  /** Closed; only a row. */
  readonly closedRows: ClosedQueue;
  /** Closed; their mapping may hold a port of a pool. */
  readonly closedPorts: ClosedQueue;
}

export class RowSearch {
  readonly #found = new Float64Array(MOST_FOUND);
  #row = 0;
  #second = 0;
  #left = 0;

  /** One slice. True when something was put into the queues. Lock held. */
  search(table: FlowTable, queues: Queues, now: number): boolean {
    if (now !== this.#second) {
      this.#second = now;
      this.#left = MOST_A_SECOND;
    }
    const { rows, header } = table;
    const high = header[Header.HIGH_WATER]!;
    let looks = Math.min(high, MOST_A_CALL, this.#left);
    if (looks === 0) return false;
    this.#left -= looks;
    let n = 0;
    for (; looks > 0 && n < MOST_FOUND; looks--) {
      if (this.#row >= high) this.#row = 0;
      const at = this.#row * Words.ROW;
      if (mayGiveWay(rows, at, now)) this.#found[n++] = rows[at + Row.EXPIRES]! * ROWS + this.#row;
      this.#row++;
    }
    const found = this.#found.subarray(0, n).sort();
    for (let i = 0; i < n; i++) this.#sortIn(rows, found[i]! % ROWS, queues);
    return n > 0;
  }

  #sortIn(rows: Int32Array, row: number, queues: Queues): void {
    const at = row * Words.ROW;
    const kind = rows[at + Row.KIND]!;
    const holdsPort = rows[at + Row.MAPPING] !== 0 && (kind & RowFlag.OUTBOUND) !== 0;
    const queue = holdsPort ? queues.closedPorts : isOpening(kind) ? queues.unanswered : queues.closedRows;
    queue.push(row, rows[at]!);
  }
}
