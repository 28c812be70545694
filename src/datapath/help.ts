/**
 * Helpers on the packet's way (REQ-11): control connections whose payload announces addresses.
 *
 * Beside stage 5, for TCP flows to a helper's port and only where a helper is switched on. Two calls for a packet:
 *
 *   1 `acknowledge`, before the flow's TCP state sees it: acknowledgements and SACK blocks back into the count of whom they
 *     are sent to. So the state of a flow is kept in each sender's own count.
 *   2 `announce`, after it: sequence number, then lines that were written anew before (a retransmission), then new lines.
 *
 * An announcement of X:x by X becomes P:p. p is a port that a forward maps to X:x anyway, or one of the pool with a mapping
 * that waits a minute for the other end of the control connection and lets nobody else in (expect.ts). When
 * the data connection comes it is a flow like any other, made by admit; what is not used ends by time. Sides whose address
 * is not translated (a client outside, a server outside) have nothing to be written anew.
 *
 * Refused: addresses of others and ports below 1024 (the bounce attack and worse; RFC 2577), more than EXPECTED waiting for
 * one connection or MAX_EXPECTED in all, lines cut by a segment's end, texts that would not fit MTU or slot. All of these go
 * on as they are, counted. ICMP errors that quote a shifted segment are not shifted back.
 */
import { ANNOUNCEMENT_BYTES, Announcement, type Helper, Line } from '../alg/alg.js';
import { helpers } from '../alg/index.js';
import type { Batch } from '../batch.js';
import { Counter } from '../contract/counters.js';
import { HELPERS, type Plan } from '../contract/plan.js';
import { Kind, Row, RowFlag, State, Tcp as TcpWord, Words } from '../contract/table-layout.js';
import { Verdict } from '../contract/verdict.js';
import { INSIDE, LINE_MAX, StreamFlag } from '../flow/control-streams.js';
import type { FlowTable } from '../flow/table.js';
import { sackAt, sackBlocks, Tcp, TcpFlag, tcpHeaderBytes } from '../wire/tcp.js';
import type { Engine } from './engine.js';
import { expectAt } from './expect.js';
import { Flag } from './parse.js';
import { Splice, setCounted } from './splice.js';

/** Well-known ports are nobody's data connection (RFC 2577 §3). */
const FIRST_PORT = 1024;
const LF = 0x0a;
/** No record: the connection is not read. */
const NONE = -1;

/** What a worker keeps ready for its helpers. */
export class Help {
  /** Helper + 1 by port of the server. */
  readonly byPort = new Uint8Array(65_536);
  readonly all: readonly Helper[];
  /** New connections are read; else numbers of old ones are shifted, and that is all. */
  readonly reading = new Uint8Array(HELPERS.length + 1);
  readonly found = new Announcement();
  readonly text = new Uint8Array(ANNOUNCEMENT_BYTES);
  readonly splice = new Splice();

  constructor() {
    this.all = HELPERS.map((name) => helpers[name]);
    this.all.forEach((helper, index) => {
      this.byPort[helper.port] = index + 1;
    });
  }

  /** Returns whether any packet concerns a helper now: one is on, or connections are left from when one was. */
  setPlan(plan: Plan, table: FlowTable): boolean {
    HELPERS.forEach((name, index) => {
      this.reading[index + 1] = plan.helpers.includes(name) ? 1 : 0;
    });
    return plan.helpers.length > 0 || table.controls.anyLive();
  }

  /** Helper + 1 whose control connection the row at `at` may be, or 0. */
  of(rows: Int32Array, at: number): number {
    if ((rows[at + Row.KIND]! & RowFlag.PLAIN) !== 0) return 0;
    return this.byPort[rows[at + Row.PORTS1]! >>> 16]! || this.byPort[rows[at + Row.PORTS0]! & 0xffff]!;
  }
}

/** Call 1: shifts ACK and SACK blocks of a packet back. */
export function acknowledge(engine: Engine, batch: Batch, i: number): void {
  const { table } = engine;
  const { controls, rows } = table;
  const handle = batch.handle[i]!;
  const row = handle >>> 1;
  table.lock.acquire();
  const record = controls.find(row, batch.generation[i]!);
  if (record !== NONE) {
    const tcpFlags = batch.flags[i]! >>> Flag.TCP_SHIFT;
    const state = (rows[row * Words.ROW + Row.KIND]! >>> Kind.STATE_SHIFT) & Kind.STATE_MASK;
    const again =
      (tcpFlags & (TcpFlag.SYN | TcpFlag.ACK)) === TcpFlag.SYN && (state === State.TIME_WAIT || state === State.CLOSE);
    // The 5-tuple is used again, and the row with it.
    if (again) controls.forget(record);
    else if ((tcpFlags & TcpFlag.ACK) !== 0) shiftBack(engine, batch, i, record, (handle & 1) ^ 1);
  }
  table.lock.release();
}

function shiftBack(engine: Engine, batch: Batch, i: number, record: number, other: number): void {
  const { controls } = engine.table;
  if (controls.corrections(record, other) === 0 && controls.shift(record, other, 0) === 0) return;
  const v = batch.view;
  const l4 = batch.l4[i]!;
  const partial = (batch.flags[i]! & Flag.PARTIAL) !== 0;
  setCounted(v, l4, l4 + Tcp.ACK, controls.original(record, other, v.getInt32(l4 + Tcp.ACK)), partial);
  for (let at = sackAt(v, l4), left = sackBlocks(v, at) * 2; left > 0; left--, at += 4)
    setCounted(v, l4, at + 2, controls.original(record, other, v.getInt32(at + 2)), partial);
}

/**
 * Call 2: shifts the sequence number and writes announcements anew. `mtu` is the way out's. Returns PENDING, or the verdict
 * of a packet that cannot be sent on.
 */
export function announce(engine: Engine, batch: Batch, i: number, mtu: number, now: number): number {
  const { table } = engine;
  const { controls } = table;
  const handle = batch.handle[i]!;
  const side = handle & 1;
  const v = batch.view;
  const l4 = batch.l4[i]!;
  const seq = v.getInt32(l4 + Tcp.SEQ);
  table.lock.acquire();
  // A connection that is closed and still speaks must not end for the port that it asks for.
  engine.keep = handle >>> 1;
  let record = controls.find(handle >>> 1, batch.generation[i]!);
  if (record === NONE) record = begin(engine, batch, i, side);
  let verdict: number = Verdict.PENDING;
  if (record !== NONE) {
    const shift = controls.shift(record, side, seq);
    const partial = (batch.flags[i]! & Flag.PARTIAL) !== 0;
    if (payloadOf(batch, i) > 0)
      verdict = shift === INSIDE ? Verdict.HELPER_SEGMENT : lines(engine, batch, i, record, mtu, now);
    if (shift !== INSIDE && shift !== 0) setCounted(v, l4, l4 + Tcp.SEQ, (seq + shift) | 0, partial);
  }
  engine.keep = -1;
  table.lock.release();
  return verdict;
}

function payloadOf(batch: Batch, i: number): number {
  const l4 = batch.l4[i]!;
  return batch.off[i]! + batch.len[i]! - l4 - tcpHeaderBytes(batch.view, l4);
}

/**
 * The server greets, which it does when the handshake is complete: from here on the connection is read. Its acknowledgement
 * says where the client's first line begins.
 */
function begin(engine: Engine, batch: Batch, i: number, side: number): number {
  const { table, help } = engine;
  const { controls } = table;
  const row = batch.handle[i]! >>> 1;
  const which = help.of(table.rows, row * Words.ROW);
  if (side !== 1 || help.reading[which] === 0) return NONE;
  const v = batch.view;
  const l4 = batch.l4[i]!;
  const end = batch.off[i]! + batch.len[i]!;
  if (!help.all[which - 1]!.greets(batch.data, end - payloadOf(batch, i), end)) return NONE;
  const record = controls.create(row, batch.generation[i]!);
  if (record === NONE) {
    engine.counters[Counter.HELPER_REFUSED]!++;
    return NONE;
  }
  controls.begin(record, v.getInt32(l4 + Tcp.ACK), v.getInt32(l4 + Tcp.SEQ));
  return record;
}

/** Lines of a segment with payload: those that were written anew before, then new ones. */
function lines(engine: Engine, batch: Batch, i: number, record: number, mtu: number, now: number): number {
  const { controls, tcp } = engine.table;
  const { splice } = engine.help;
  const handle = batch.handle[i]!;
  const side = handle & 1;
  const seq = batch.view.getInt32(batch.l4[i]! + Tcp.SEQ);
  const bytes = payloadOf(batch, i);
  const from = batch.off[i]! + batch.len[i]! - bytes;
  const endSeq = (seq + bytes) | 0;
  splice.begin(batch, i, from);
  for (let k = 0; k < controls.corrections(record, side); k++) {
    const position = controls.position(record, side, k);
    if (((position - seq) | 0) < 0 || ((endSeq - position) | 0) <= 0) continue;
    if (!again(engine, record, k, from, seq, endSeq, handle, mtu)) return Verdict.HELPER_SEGMENT;
  }
  // Only what the receiver will take counts: TCP's state has just judged it. Of fragments not all is here.
  const taken = ((tcp[(handle >>> 1) * Words.TCP + TcpWord.END0 + side]! - endSeq) | 0) >= 0;
  if ((batch.flags[i]! & Flag.FIRST_FRAGMENT) !== 0) controls.set(record, side, StreamFlag.SEALED, true);
  else if (taken) read(engine, batch, i, record, seq, endSeq, from, mtu, now);
  splice.finish();
  return Verdict.PENDING;
}

/** A line that was written anew before: again in the same words. False when the segment does not hold it as it was. */
function again(
  engine: Engine,
  record: number,
  k: number,
  from: number,
  seq: number,
  endSeq: number,
  handle: number,
  mtu: number,
): boolean {
  const side = handle & 1;
  const { help, table } = engine;
  const { controls, rows } = table;
  const position = controls.position(record, side, k);
  const old = controls.oldLength(record, side, k);
  if (((endSeq - position - old) | 0) < 0) return false;
  const at = (handle >>> 1) * Words.ROW;
  const helper = help.all[help.of(rows, at) - 1]!;
  const { found, splice } = help;
  const start = from + splice.grown + ((position - seq) | 0);
  found.memory = 0;
  // The line's end may be in another segment; without it the address is whole all the same.
  if (helper.read(splice.data, start, lineEnd(splice.data, start, splice.end), side, found) !== Line.ADDRESS)
    return false;
  if (found.to - start !== old) return false;
  const face = rows[at + Row.DST0 + (side ^ 1) * 3]!;
  const length = helper.write(help.text, found, face, controls.port(record, side, k));
  if (found.from - start + length !== controls.newLength(record, side, k)) return false;
  if (!splice.fits(controls.newLength(record, side, k) - old, mtu)) return false;
  splice.replace(found.from, found.to, help.text, length);
  return true;
}

/** Behind the line end of the line at `start`, or `end`. */
function lineEnd(data: Uint8Array, start: number, end: number): number {
  let at = start;
  while (at < end) if (data[at++] === LF) return at;
  return end;
}

/** Reads the bytes of a segment that are new, line by line. */
function read(
  engine: Engine,
  batch: Batch,
  i: number,
  record: number,
  seq: number,
  endSeq: number,
  from: number,
  mtu: number,
  now: number,
): void {
  const { controls, rows } = engine.table;
  const { help } = engine;
  const { splice, found } = help;
  const side = batch.handle[i]! & 1;
  const next = controls.next(record, side);
  const fresh = (next - seq) | 0;
  if (((endSeq - next) | 0) <= 0) return;
  const wasStart = controls.has(record, side, StreamFlag.LINE_START);
  controls.setNext(record, side, endSeq);
  controls.set(record, side, StreamFlag.LINE_START, splice.data[splice.end - 1] === LF);
  const which = help.of(rows, (batch.handle[i]! >>> 1) * Words.ROW);
  // Behind a gap nothing is certain: what fills it later has been passed by what follows.
  if (fresh < 0 || help.reading[which] === 0 || controls.has(record, side, StreamFlag.SEALED)) return;

  const helper = help.all[which - 1]!;
  let at = from + splice.grown + fresh;
  if (!wasStart) at = lineEnd(splice.data, at, splice.end);
  while (at < splice.end) {
    const end = lineEnd(splice.data, at, splice.end);
    if (splice.data[end - 1] !== LF) {
      if (helper.mayAnnounce(splice.data, at, end, side)) engine.counters[Counter.HELPER_SPLIT]!++;
      return;
    }
    found.memory = controls.memory(record, side);
    const line = helper.read(splice.data, at, end, side, found);
    controls.setMemory(record, side, found.memory);
    const grown = splice.grown;
    const position = (endSeq - (splice.end - at)) | 0;
    if (line === Line.ADDRESS) writeAnew(engine, batch, i, record, helper, at, position, mtu, now);
    else if (line === Line.SEALED) {
      controls.set(record, 0, StreamFlag.SEALED, true);
      controls.set(record, 1, StreamFlag.SEALED, true);
    }
    at = end + splice.grown - grown;
  }
}

/** One new announcement, `help.found`, in the line at `start`: opens the port and writes P:p, or leaves the line and counts why. */
function writeAnew(
  engine: Engine,
  batch: Batch,
  i: number,
  record: number,
  helper: Helper,
  start: number,
  position: number,
  mtu: number,
  now: number,
): void {
  const { help, counters, table } = engine;
  const { controls, rows, tcp } = table;
  const { found, splice, text } = help;
  const handle = batch.handle[i]!;
  const side = handle & 1;
  const at = (handle >>> 1) * Words.ROW;
  const real = rows[at + Row.SRC0 + side * 3]!;
  const face = rows[at + Row.DST0 + (side ^ 1) * 3]!;
  if (real === face) return;
  if ((found.address !== 0 && found.address !== real && found.address !== face) || found.port < FIRST_PORT) {
    counters[Counter.HELPER_FOREIGN]!++;
    return;
  }
  const old = found.to - start;
  // A text of the longest port tells whether there is room, before anything is claimed.
  const longest = found.from - start + helper.write(text, found, face, 65_535);
  const acknowledged = tcp[(handle >>> 1) * Words.TCP + TcpWord.ACK0 + (side ^ 1)]!;
  const port =
    Math.max(old, longest) <= LINE_MAX &&
    splice.fits(longest - old, mtu) &&
    controls.hasRoom(record, side, acknowledged)
      ? expectAt(engine, record, at, side, real, face, now)
      : -1;
  if (port < 0) {
    counters[Counter.HELPER_REFUSED]!++;
    return;
  }
  counters[Counter.HELPER_REWRITTEN]!++;
  const length = helper.write(text, found, face, port);
  if (!splice.differs(found.from, found.to, text, length)) return;
  controls.add(record, side, position, old, found.from - start + length, port);
  splice.replace(found.from, found.to, text, length);
}
