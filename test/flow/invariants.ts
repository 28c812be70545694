/**
 * What must hold in a flow table at every moment when nobody holds its lock. Walks the whole file image, shares nothing with
 * the code under test but the layout and the hash, and names the first thing that is wrong.
 */
import assert from 'node:assert/strict';
import {
  BITMAP_ADDRESSES,
  BITMAP_WORDS,
  BUCKET,
  Header,
  MappingKind,
  MappingRow,
  Row,
  RowFlag,
  Words,
} from '../../src/contract/table-layout.js';
import type { BucketIndex } from '../../src/flow/bucket-index.js';
import { hashTuple } from '../../src/flow/hash.js';
import { type FlowTable, flowDelta, NEXT_FREE } from '../../src/flow/table.js';

const PORT_WORDS = 2048;
const protoOf = (proto: number) => [6, 17, 1].indexOf(proto);

/** Throws an AssertionError that says what does not fit. */
export function checkTable(table: FlowTable): void {
  checkRows(table);
  checkMappings(table);
  checkPinholes(table);
  checkPorts(table);
  checkFreeLists(table);
  assert.equal(table.header[Header.LOCK], 0, 'nobody holds the lock');
}

function liveRows(table: FlowTable): number[] {
  const rows: number[] = [];
  for (let row = 0; row < table.layout.rows; row++) if ((table.rows[row * Words.ROW]! & 1) !== 0) rows.push(row);
  return rows;
}

function liveMappings(table: FlowTable): number[] {
  const { words, capacity } = table.mappings;
  const live: number[] = [];
  for (let mapping = 0; mapping < capacity; mapping++)
    if ((words[mapping * Words.MAPPING]! & 1) !== 0) live.push(mapping);
  return live;
}

/** Value → how often it stands in the index; every entry must lie in one of its hash's two buckets and bear its tag. */
function entriesOf(index: BucketIndex, name: string, hashOf: (value: number) => number): Map<number, number> {
  const seen = new Map<number, number>();
  index.words.forEach((entry, at) => {
    if (entry === 0) return;
    const value = entry & index.mask;
    const hash = hashOf(value);
    const bucket = at - (at % BUCKET);
    assert.ok(bucket === index.first(hash) || bucket === index.second(hash), `${name}: ${value} is in a wrong bucket`);
    assert.equal(entry & ~index.mask, (hash << index.shift) & ~index.mask, `${name}: ${value} has a wrong tag`);
    seen.set(value, (seen.get(value) ?? 0) + 1);
  });
  return seen;
}

function checkRows(table: FlowTable): void {
  const { rows, header } = table;
  const live = liveRows(table);
  assert.equal(header[Header.LIVE_FLOWS], live.length, 'LIVE_FLOWS counts the live rows');
  const entries = entriesOf(table.index, 'flow index', (value) => table.hashOfHandle(value - 1));
  assert.equal(entries.size, live.length * 2, 'the flow index has two entries for each live row and no others');
  for (const row of live) {
    const at = row * Words.ROW;
    assert.ok(row < header[Header.HIGH_WATER]!, `live row ${row} lies below HIGH_WATER`);
    const proto = rows[at + Row.KIND]! & 0xff;
    const tuple = (side: number) => Array.from(rows.subarray(at + Row.SRC0 + side * 3, at + Row.SRC0 + side * 3 + 3));
    const self = tuple(0).join() === tuple(1).join();
    for (const side of [0, 1]) {
      assert.equal(entries.get(row * 2 + side + 1), 1, `row ${row} side ${side} stands in the index once`);
      const [src, dst, ports] = tuple(side) as [number, number, number];
      const found = table.find(src, dst, ports, proto);
      assert.equal(self ? found >>> 1 : found, self ? row : row * 2 + side, `row ${row} is found from side ${side}`);
    }
    const [a, b] = [tuple(0), tuple(1)] as [number[], number[]];
    const delta = flowDelta(proto, a[0]!, a[1]!, a[2]!, b[0]!, b[1]!, b[2]!);
    assert.equal(rows[at + Row.DELTA], delta, `row ${row} has the delta of its tuples`);
  }
}

function checkMappings(table: FlowTable): void {
  const { header, mappings, rows } = table;
  const { words } = mappings;
  const live = liveMappings(table);
  assert.equal(header[Header.LIVE_MAPPINGS], live.length, 'LIVE_MAPPINGS counts the live mappings');
  const field = (mapping: number, word: number) => words[mapping * Words.MAPPING + word]!;
  const shared = (mapping: number) => ((field(mapping, MappingRow.META) >>> 8) & 15) === MappingKind.SHARED_PORT;
  const proto = (mapping: number) => field(mapping, MappingRow.META) & 0xff;
  const inside = entriesOf(mappings.inside, 'inside index', (value) => {
    const m = value - 1;
    const x = field(m, MappingRow.PORTS) & 0xffff0000;
    return hashTuple(table.hash, field(m, MappingRow.INSIDE), field(m, MappingRow.OUTSIDE), x, proto(m));
  });
  const outside = entriesOf(mappings.outside, 'outside index', (value) => {
    const m = value - 1;
    return hashTuple(table.hash, field(m, MappingRow.OUTSIDE), 0, field(m, MappingRow.PORTS) & 0xffff, proto(m));
  });
  assert.equal(outside.size, live.length, 'the outside index has one entry for each mapping and no others');
  assert.equal(inside.size, live.filter((m) => !shared(m)).length, 'the inside index has one entry for each mapping');

  const flows = new Map<number, number>();
  const sent = new Map<number, number>();
  for (const row of liveRows(table)) {
    const at = row * Words.ROW;
    const mapping = rows[at + Row.MAPPING]! - 1;
    const inbound = (rows[at + Row.KIND]! & RowFlag.INBOUND) !== 0;
    if (mapping < 0 ? inbound : (rows[at + Row.KIND]! & RowFlag.OUTBOUND) === 0) continue;
    if (mapping >= 0) flows.set(mapping, (flows.get(mapping) ?? 0) + 1);
    const host = rows[at + (inbound ? Row.SRC1 : Row.SRC0)]!;
    sent.set(host, (sent.get(host) ?? 0) + 1);
  }
  const hosts = new Map<number, number[]>();
  const ends = { inside: new Set<string>(), outside: new Set<string>() };
  for (const m of live) {
    assert.ok(m < header[Header.MAPPING_HIGH_WATER]!, `live mapping ${m} lies below MAPPING_HIGH_WATER`);
    assert.equal(outside.get(m + 1), 1, `mapping ${m} stands in the outside index once`);
    assert.equal(field(m, MappingRow.COUNT), flows.get(m) ?? 0, `mapping ${m} counts its flows`);
    flows.delete(m);
    const out = `${proto(m)} ${field(m, MappingRow.OUTSIDE)}:${field(m, MappingRow.PORTS) & 0xffff}`;
    assert.ok(!ends.outside.has(out), `REQ-3: ${out} belongs to one mapping`);
    ends.outside.add(out);
    if (shared(m)) continue;
    assert.equal(inside.get(m + 1), 1, `mapping ${m} stands in the inside index once`);
    const host = field(m, MappingRow.INSIDE);
    const within = `${proto(m)} ${host}:${field(m, MappingRow.PORTS) >>> 16} ${field(m, MappingRow.OUTSIDE)}`;
    assert.ok(!ends.inside.has(within), `REQ-1: ${within} has one mapping`);
    ends.inside.add(within);
    const counts = hosts.get(host) ?? [0, 0, 0];
    counts[protoOf(proto(m))]!++;
    hosts.set(host, counts);
  }
  assert.deepEqual([...flows], [], 'every flow that counts in a mapping has a live one');
  for (const host of sent.keys()) if (!hosts.has(host)) hosts.set(host, [0, 0, 0]);
  assert.equal(header[Header.LIVE_HOSTS], hosts.size, 'LIVE_HOSTS counts the hosts');
  const table2 = mappings.hosts.words;
  for (let at = 0; at + Words.HOST <= table2.length; at += Words.HOST) {
    const host = table2[at]!;
    const counts = Array.from(table2.subarray(at + 1, at + Words.HOST));
    if (host === 0) assert.deepEqual(counts, [0, 0, 0, 0], 'an empty host slot is empty');
    else {
      assert.deepEqual(
        counts,
        [...hosts.get(host)!, sent.get(host) ?? 0],
        `host ${host} counts its mappings and flows`,
      );
      assert.equal(mappings.hosts.find(host, 0), at, `host ${host} is found`);
    }
  }
}

function checkPinholes(table: FlowTable): void {
  const { rows, mappings, header } = table;
  const expected = new Map<string, number>();
  for (const row of liveRows(table)) {
    const at = row * Words.ROW;
    const mapping = rows[at + Row.MAPPING]! - 1;
    const kind = rows[at + Row.KIND]!;
    if (mapping < 0 || (kind & RowFlag.OUTBOUND) === 0) continue;
    const m = mapping * Words.MAPPING;
    if (((mappings.words[m + MappingRow.META]! >>> 8) & 15) === MappingKind.SHARED_PORT) continue;
    const remote = rows[at + ((kind & RowFlag.INBOUND) !== 0 ? Row.SRC0 : Row.DST0)]!;
    assert.ok(mappings.hasSentTo(mapping, remote), `mapping ${mapping} lets ${remote} in, to whom it sends`);
    const only = mappings.words[m + MappingRow.REMOTE]!;
    if (only !== 0) assert.equal(only, remote, `mapping ${mapping} has one remote`);
    else expected.set(`${mapping + 1} ${remote}`, (expected.get(`${mapping + 1} ${remote}`) ?? 0) + 1);
  }
  const { words } = mappings.pinholes;
  const seen = new Map<string, number>();
  for (let at = 0; at + Words.PINHOLE <= words.length; at += Words.PINHOLE) {
    if (words[at] !== 0) seen.set(`${words[at]} ${words[at + 1]}`, words[at + 2]!);
  }
  assert.deepEqual(new Map([...seen].sort()), new Map([...expected].sort()), 'pinholes are the flows of each remote');
  assert.equal(header[Header.LIVE_PINHOLES], seen.size, 'LIVE_PINHOLES counts the pinholes');
}

function checkPorts(table: FlowTable): void {
  const { mappings } = table;
  const expected = new Map<number, Int32Array>();
  for (const mapping of liveMappings(table)) {
    const m = mapping * Words.MAPPING;
    const address = mappings.words[m + MappingRow.OUTSIDE]!;
    const bits = expected.get(address) ?? new Int32Array(3 * PORT_WORDS);
    const port = mappings.words[m + MappingRow.PORTS]! & 0xffff;
    bits[protoOf(mappings.words[m + MappingRow.META]! & 0xff) * PORT_WORDS + (port >>> 5)]! |= 1 << (port & 31);
    expected.set(address, bits);
  }
  const words = new Int32Array(table.rows.buffer, table.layout.bitmapsAt, BITMAP_ADDRESSES * BITMAP_WORDS);
  const none = new Int32Array(3 * PORT_WORDS);
  for (let slot = 0; slot < BITMAP_ADDRESSES; slot++) {
    const line = words.subarray(slot * BITMAP_WORDS, (slot + 1) * BITMAP_WORDS);
    const address = line[0]!;
    const bits = expected.get(address) ?? none;
    if (address !== 0) expected.delete(address);
    const used = line.subarray(16);
    if (Buffer.compare(bytesOf(used), bytesOf(bits)) !== 0)
      assert.fail(`ports marked as used of address ${address} are not those of its mappings`);
    for (let proto = 0; proto < 3; proto++) {
      const count = bits.subarray(proto * PORT_WORDS, (proto + 1) * PORT_WORDS).reduce((n, word) => n + ones(word), 0);
      assert.equal(line[1 + proto], count, `ports in use of address ${address} are counted`);
    }
  }
  assert.deepEqual([...expected.keys()], [], 'every mapping has its address among the bitmaps');
}

function bytesOf(words: Int32Array): Uint8Array {
  return new Uint8Array(words.buffer, words.byteOffset, words.byteLength);
}

function ones(word: number): number {
  let n = 0;
  for (let bits = word; bits !== 0; bits &= bits - 1) n++;
  return n;
}

function checkFreeLists(table: FlowTable): void {
  const { header, rows, mappings } = table;
  const seen = new Set<number>();
  let last = 0;
  for (let next = header[Header.FREE_HEAD]!; next !== 0; next = rows[(next - 1) * Words.ROW + NEXT_FREE]!) {
    assert.ok(!seen.has(next), `row ${next - 1} is free once`);
    assert.ok(next >= 1 && next <= header[Header.HIGH_WATER]!, `free row ${next - 1} lies below HIGH_WATER`);
    assert.equal(rows[(next - 1) * Words.ROW]! & 1, 0, `free row ${next - 1} is dead`);
    seen.add(next);
    last = next;
  }
  assert.equal(header[Header.FREE_TAIL], last, 'FREE_TAIL is the last free row');
  assert.equal(seen.size + header[Header.LIVE_FLOWS]!, header[Header.HIGH_WATER], 'a row is live or free');

  const free = new Set<number>();
  const { words } = mappings;
  for (
    let next = header[Header.MAPPING_FREE]!;
    next !== 0;
    next = words[(next - 1) * Words.MAPPING + MappingRow.REMOTE]!
  ) {
    assert.ok(!free.has(next), `mapping ${next - 1} is free once`);
    assert.ok(next >= 1 && next <= header[Header.MAPPING_HIGH_WATER]!, 'a free mapping lies below MAPPING_HIGH_WATER');
    assert.equal(words[(next - 1) * Words.MAPPING]! & 1, 0, `free mapping ${next - 1} is dead`);
    free.add(next);
  }
  const total = free.size + header[Header.LIVE_MAPPINGS]!;
  assert.equal(total, header[Header.MAPPING_HIGH_WATER], 'a mapping is live or free');
}
