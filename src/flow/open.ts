/**
 * Opening a table file: adopt what a former process left, or format it anew.
 *
 * Adopted is a file whose magic, version, row count and boot id are ours; anything else is refused with a reason and made
 * anew. What was adopted is not believed but rebuilt: the lock is reset (its holder is dead), both free lists, the three
 * indexes, the pinholes, hosts and port bitmaps are made again from the rows and mappings that are whole. A row or mapping
 * that cannot be what the engine writes, or that contradicts another (two rows with one tuple, a flow that is not its
 * mapping's, a rewrite whose checksum delta is wrong), is dropped: whatever is in the file, what is live afterwards is
 * consistent.
 */
import { randomFillSync } from 'node:crypto';
import { MAX_RULES } from '../contract/counters.js';
import { Filtering } from '../contract/plan.js';
import {
  Header,
  Kind,
  MappingKind,
  MappingRow,
  Row,
  RowFlag,
  STATE_NAMES,
  TABLE_MAGIC,
  TABLE_VERSION,
  Words,
} from '../contract/table-layout.js';
import { IPPROTO } from '../wire/ipv4.js';
import type { Futex } from './lock.js';
import { protoIndex } from './mappings.js';
import { FlowTable, flowDelta } from './table.js';

/** No flow or hold lasts longer than this many seconds (a year); a later expiry was not written by the engine. */
const LONGEST = 366 * 86_400;

export interface Opened {
  readonly table: FlowTable;
  /** Flows that live on. */
  readonly adopted: number;
  /** Why the file's former content was not taken, or '' (also for a new file). */
  readonly refused: string;
}

/** Makes `buffer` (tableLayout(flows).bytes long) a table. `bootId`: 4 words. Only while nobody else uses the file. */
export function openTable(buffer: ArrayBuffer, flows: number, bootId: Int32Array, now: number, futex: Futex): Opened {
  const header = new Int32Array(buffer, 0, 64);
  const refused = header[Header.MAGIC] === 0 ? '' : refusal(header, flows, bootId);
  if (refused !== '' || header[Header.MAGIC] === 0) {
    new Uint8Array(buffer).fill(0);
    randomFillSync(header.subarray(Header.HASH_KEY, Header.HASH_KEY + 2));
    header[Header.VERSION] = TABLE_VERSION;
    header[Header.ROWS] = flows;
    header.set(bootId, Header.BOOT_ID);
    // The magic last: a process killed in here leaves a file that the next one formats.
    Atomics.store(header, Header.MAGIC, TABLE_MAGIC);
    const table = new FlowTable(buffer, flows, futex);
    table.ruleFlows.clear();
    return { table, adopted: 0, refused };
  }
  const table = new FlowTable(buffer, flows, futex);
  return { table, adopted: rebuild(table, now), refused };
}

/** A further worker's view on a table that worker 0 has opened. */
export function joinTable(buffer: ArrayBuffer, flows: number, futex: Futex): FlowTable {
  return new FlowTable(buffer, flows, futex);
}

function refusal(header: Int32Array, flows: number, bootId: Int32Array): string {
  if (header[Header.MAGIC] !== TABLE_MAGIC) return 'not a flow table';
  if (header[Header.VERSION] !== TABLE_VERSION) {
    return `layout version ${header[Header.VERSION]}, this is version ${TABLE_VERSION}`;
  }
  if (header[Header.ROWS] !== flows) return `made for ${header[Header.ROWS]} flows, limits.flows is ${flows}`;
  for (let i = 0; i < 4; i++) if (header[Header.BOOT_ID + i] !== bootId[i]) return 'made before the last boot';
  return '';
}

/** Makes everything that can be derived again from rows and mappings. Returns the live flows. */
function rebuild(table: FlowTable, now: number): number {
  const { header, mappings } = table;
  table.lock.reset();
  table.index.clear();
  mappings.inside.clear();
  mappings.outside.clear();
  mappings.pinholes.clear();
  mappings.hosts.clear();
  mappings.ports.clear();
  table.ruleFlows.clear();
  const counts = [
    Header.FREE_HEAD,
    Header.FREE_TAIL,
    Header.LIVE_FLOWS,
    Header.MAPPING_FREE,
    Header.LIVE_MAPPINGS,
    Header.LIVE_EXPECTED,
  ];
  for (const word of counts) header[word] = 0;
  header[Header.HIGH_WATER] = used(header[Header.HIGH_WATER]!, table.rows, Words.ROW);
  header[Header.MAPPING_HIGH_WATER] = used(header[Header.MAPPING_HIGH_WATER]!, mappings.words, Words.MAPPING);
  rebuildMappings(table, now);
  const live = rebuildRows(table, now);
  header[Header.LIVE_FLOWS] = live;

  // Neither held nor any flow's: its flows ended by time while nobody looked.
  for (let mapping = 0; mapping < header[Header.MAPPING_HIGH_WATER]!; mapping++) {
    const m = mapping * Words.MAPPING;
    if ((mappings.words[m]! & 1) === 0 || mappings.words[m + MappingRow.COUNT] !== 0) continue;
    if (mappings.words[m + MappingRow.EXPIRES]! < now) mappings.end(mapping);
  }
  return live;
}

/** Rows in use: the header's word if it can be believed, else all. What lies behind must be dead, that is, even. */
function used(highWater: number, words: Int32Array, width: number): number {
  const all = words.length / width;
  const high = highWater < 0 || highWater > all ? all : highWater;
  for (let at = high * width; at < words.length; at += width) if ((words[at]! & 1) !== 0) return all;
  return high;
}

/** Indexes every whole mapping; COUNT starts from 0 again. */
function rebuildMappings(table: FlowTable, now: number): void {
  const { header, mappings } = table;
  const { words } = mappings;
  for (let mapping = 0; mapping < header[Header.MAPPING_HIGH_WATER]!; mapping++) {
    const m = mapping * Words.MAPPING;
    if ((words[m]! & 1) !== 0) {
      // Without count and expiry it was just being made: the flow that it was made for may be whole.
      const held = words[m + MappingRow.COUNT] === 0 && words[m + MappingRow.EXPIRES] !== 0;
      words[m + MappingRow.COUNT] = 0;
      // With a remote it is held for a connection that a helper expects.
      if (!held) words[m + MappingRow.REMOTE] = 0;
      // One that had flows is kept by the flows that live on, and by nothing else.
      if (!held) words[m + MappingRow.EXPIRES] = 0;
      if (adoptMapping(table, mapping, held, now)) {
        if (words[m + MappingRow.REMOTE] !== 0) header[Header.LIVE_EXPECTED]!++;
        continue;
      }
      words[m] = (words[m]! + 1) | 0;
    }
    mappings.release(mapping);
  }
}

function adoptMapping(table: FlowTable, mapping: number, held: boolean, now: number): boolean {
  const { mappings } = table;
  const { words } = mappings;
  const m = mapping * Words.MAPPING;
  const meta = words[m + MappingRow.META]!;
  const proto = meta & 0xff;
  const outside = words[m + MappingRow.OUTSIDE]!;
  const inside = words[m + MappingRow.INSIDE]!;
  const expires = words[m + MappingRow.EXPIRES]!;
  const x = words[m + MappingRow.PORTS]! >>> 16;
  const p = words[m + MappingRow.PORTS]! & 0xffff;
  if (!hasPorts(proto) || outside === 0 || meta >>> 16 > MAX_RULES) return false;
  if (((meta >>> 12) & 15) > Filtering.ADDRESS_AND_PORT_DEPENDENT) return false;
  if (held && (expires < now || expires > now + LONGEST)) return false;
  if (mappings.isShared(mapping)) {
    if (inside !== 0 || x !== 0) return false;
  } else {
    if (((meta >>> 8) & 7) !== MappingKind.ENDPOINT_INDEPENDENT || inside === 0) return false;
    if (mappings.findInside(proto, inside, x, outside) >= 0) return false;
  }
  if (mappings.findOutside(proto, outside, p) >= 0) return false;
  if (!mappings.ports.markUsed(outside, protoIndex(proto), p)) return false;
  if (mappings.attach(mapping)) return true;
  mappings.ports.release(outside, protoIndex(proto), p);
  return false;
}

/** Indexes every whole row that has time left. Returns how many. */
function rebuildRows(table: FlowTable, now: number): number {
  const { header, rows } = table;
  let live = 0;
  for (let row = 0; row < header[Header.HIGH_WATER]!; row++) {
    const at = row * Words.ROW;
    if ((rows[at]! & 1) !== 0) {
      if (isWhole(table, row, now) && adoptRow(table, row)) {
        live++;
        continue;
      }
      rows[at] = (rows[at]! + 1) | 0;
    }
    table.release(row, now);
  }
  return live;
}

/** Could the engine have written this row, and does it have time left? */
function isWhole(table: FlowTable, row: number, now: number): boolean {
  const { rows } = table;
  const at = row * Words.ROW;
  const kind = rows[at + Row.KIND]!;
  const proto = kind & 0xff;
  const expires = rows[at + Row.EXPIRES]!;
  const bytes = (at + Row.BYTES0) >>> 1;
  if (expires < now || expires > now + LONGEST) return false;
  if (
    ((kind >>> Kind.STATE_SHIFT) & Kind.STATE_MASK) >= STATE_NAMES.length ||
    (rows[at + Row.RULE]! & 0xffff) > MAX_RULES
  )
    return false;
  if (!(table.bytes[bytes]! >= 0 && table.bytes[bytes + 1]! >= 0)) return false;
  const [src0, dst0, ports0] = [rows[at + Row.SRC0]!, rows[at + Row.DST0]!, rows[at + Row.PORTS0]!];
  const [src1, dst1, ports1] = [rows[at + Row.SRC1]!, rows[at + Row.DST1]!, rows[at + Row.PORTS1]!];
  return (
    rows[at + Row.DELTA] === flowDelta(proto, src0, dst0, ports0, src1, dst1, ports1) && ofItsMapping(table, at, kind)
  );
}

/** Has the row no mapping, or a live one whose endpoints are the row's? */
function ofItsMapping(table: FlowTable, at: number, kind: number): boolean {
  const { rows, mappings } = table;
  const mapping = rows[at + Row.MAPPING]! - 1;
  if (mapping === -1) return true;
  if (mapping < 0 || mapping >= mappings.capacity) return false;
  const proto = kind & 0xff;
  const inbound = (kind & RowFlag.INBOUND) !== 0;
  const outside = rows[at + (inbound ? Row.DST0 : Row.DST1)]!;
  const p = rows[at + (inbound ? Row.PORTS0 : Row.PORTS1)]! & 0xffff;
  if (!inbound && mappings.isShared(mapping)) return mappings.findOutside(proto, outside, p) === mapping;
  const inside = rows[at + (inbound ? Row.SRC1 : Row.SRC0)]!;
  const x = rows[at + (inbound ? Row.PORTS1 : Row.PORTS0)]! >>> 16;
  return mappings.is(mapping, proto, inside, x, outside, p);
}

/** Indexes a whole row and joins it to its mapping, unless another row has one of its tuples. */
function adoptRow(table: FlowTable, row: number): boolean {
  const { rows, mappings, index } = table;
  const at = row * Words.ROW;
  const kind = rows[at + Row.KIND]!;
  for (let side = 0; side < 2; side++) {
    const t = at + Row.SRC0 + side * 3;
    if (table.find(rows[t]!, rows[t + 1]!, rows[t + 2]!, kind & 0xff) >= 0) return false;
  }
  const hash0 = table.hashOfHandle(row * 2);
  const hash1 = table.hashOfHandle(row * 2 + 1);
  if (!index.insert(hash0, row * 2 + 1)) return false;
  if (index.insert(hash1, row * 2 + 2)) {
    const mapping = rows[at + Row.MAPPING]! - 1;
    const inbound = (kind & RowFlag.INBOUND) !== 0;
    const inside = rows[at + (inbound ? Row.SRC1 : Row.SRC0)]!;
    const remote = rows[at + (inbound ? Row.SRC0 : Row.DST0)]!;
    if (mapping < 0 ? inbound || mappings.charge(inside) : (kind & RowFlag.OUTBOUND) === 0) return true;
    if (mapping >= 0 && mappings.join(mapping, remote, inside)) return true;
    index.remove(hash1, row * 2 + 2);
  }
  index.remove(hash0, row * 2 + 1);
  return false;
}

function hasPorts(proto: number): boolean {
  return proto === IPPROTO.TCP || proto === IPPROTO.UDP || proto === IPPROTO.ICMP;
}
