/**
 * Opening a table file: adopt what a former process left, or format it anew.
 *
 * Adopted is a file whose magic, version, row count and boot id are ours; anything else is refused with a reason and made
 * anew. What was adopted is not believed but rebuilt: the lock is reset (its holder is dead), both free lists, the three
 * indexes, the pinholes, hosts and port bitmaps are made again from the rows and mappings that are whole, and a row or
 * mapping that contradicts another (two rows with one tuple, a flow without its mapping) is dropped.
 */
import { randomFillSync } from 'node:crypto';
import {
  Header,
  MAPPING_WORDS,
  MappingRow,
  ROW_WORDS,
  Row,
  RowFlag,
  TABLE_MAGIC,
  TABLE_VERSION,
} from '../contract/table-layout.js';
import type { Futex } from './lock.js';
import { protoIndex } from './mappings.js';
import { FlowTable } from './table.js';

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
    return { table: new FlowTable(buffer, flows, futex), adopted: 0, refused };
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
  const { header, rows, mappings } = table;
  table.lock.reset();
  table.index.clear();
  mappings.inside.clear();
  mappings.outside.clear();
  mappings.pinholes.clear();
  mappings.hosts.clear();
  mappings.ports.clear();
  for (const word of [
    Header.FREE_HEAD,
    Header.FREE_TAIL,
    Header.LIVE_FLOWS,
    Header.MAPPING_FREE,
    Header.LIVE_MAPPINGS,
  ]) {
    header[word] = 0;
  }
  header[Header.HIGH_WATER] = clamp(header[Header.HIGH_WATER]!, table.layout.rows);
  header[Header.MAPPING_HIGH_WATER] = clamp(header[Header.MAPPING_HIGH_WATER]!, mappings.capacity);
  const counts = rebuildMappings(table, now);

  let live = 0;
  for (let row = 0; row < header[Header.HIGH_WATER]!; row++) {
    const at = row * ROW_WORDS;
    if ((rows[at]! & 1) !== 0) {
      if (rows[at + Row.EXPIRES]! >= now && adoptRow(table, row)) {
        live++;
        continue;
      }
      rows[at] = (rows[at]! + 1) | 0;
    }
    table.release(row, now);
  }
  header[Header.LIVE_FLOWS] = live;

  // A mapping that was live and whose flows are all gone is held, as if the last one had just ended.
  for (let mapping = 0; mapping < header[Header.MAPPING_HIGH_WATER]!; mapping++) {
    const m = mapping * MAPPING_WORDS;
    if ((mappings.words[m]! & 1) === 0) continue;
    if (
      mappings.words[m + MappingRow.COUNT] === 0 &&
      (counts[mapping]! > 0 || mappings.words[m + MappingRow.EXPIRES]! < now)
    ) {
      mappings.end(mapping);
    }
  }
  return live;
}

/** Indexes every whole mapping. Returns the flow counts that they had; COUNT itself starts from 0 again. */
function rebuildMappings(table: FlowTable, now: number): Int32Array {
  const { header, mappings } = table;
  const { words } = mappings;
  const counts = new Int32Array(mappings.capacity);
  for (let mapping = 0; mapping < header[Header.MAPPING_HIGH_WATER]!; mapping++) {
    const m = mapping * MAPPING_WORDS;
    if ((words[m]! & 1) !== 0) {
      const proto = words[m + MappingRow.META]! & 0xff;
      const outside = words[m + MappingRow.OUTSIDE]!;
      const port = words[m + MappingRow.PORTS]! & 0xffff;
      const twin = mappings.findOutside(proto, outside, port) >= 0;
      counts[mapping] = words[m + MappingRow.COUNT]!;
      words[m + MappingRow.COUNT] = 0;
      words[m + MappingRow.REMOTE] = 0;
      const gone = counts[mapping] === 0 && words[m + MappingRow.EXPIRES]! < now;
      if (!twin && !gone && mappings.attach(mapping)) {
        mappings.ports.markUsed(outside, protoIndex(proto), port);
        continue;
      }
      words[m] = (words[m]! + 1) | 0;
    }
    mappings.release(mapping);
  }
  return counts;
}

function adoptRow(table: FlowTable, row: number): boolean {
  const { rows, mappings } = table;
  const at = row * ROW_WORDS;
  const kind = rows[at + Row.KIND]!;
  for (let side = 0; side < 2; side++) {
    const t = at + Row.SRC0 + side * 3;
    if (table.find(rows[t]!, rows[t + 1]!, rows[t + 2]!, kind & 0xff) >= 0) return false;
  }
  const mapping = rows[at + Row.MAPPING]! - 1;
  if (mapping >= 0) {
    if (mapping >= mappings.capacity || (mappings.words[mapping * MAPPING_WORDS]! & 1) === 0) return false;
    if ((kind & RowFlag.OUTBOUND) !== 0) {
      const remote = rows[at + ((kind & RowFlag.INBOUND) !== 0 ? Row.SRC0 : Row.DST0)]!;
      if (!mappings.join(mapping, remote)) return false;
    }
  }
  if (!table.index.insert(table.hashOfHandle(row * 2), row * 2 + 1)) return false;
  if (table.index.insert(table.hashOfHandle(row * 2 + 1), row * 2 + 2)) return true;
  table.index.remove(table.hashOfHandle(row * 2), row * 2 + 1);
  return false;
}

function clamp(value: number, max: number): number {
  return value < 0 || value > max ? max : value;
}
