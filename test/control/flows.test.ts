import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { Worker } from 'node:worker_threads';
import { Header, MappingRow, Row, RowFlag, State, tableLayout, Words } from '../../src/contract/table-layout.js';
import { parseAddress, parsePrefix } from '../../src/control/address.js';
import { type FlowFilter, protocolNumber, TableReader } from '../../src/control/flows.js';

const FLOWS = 1024;
const NOW = 1000;
const layout = tableLayout(FLOWS);

interface Written {
  readonly proto: number;
  readonly state?: number;
  readonly flags?: number;
  readonly original: readonly [string, number, string, number];
  readonly reply: readonly [string, number, string, number];
  readonly expires?: number;
  readonly bytes?: readonly [number, number];
  readonly rule?: number;
}

/** A table with these rows, written as the engine writes them. */
function tableOf(rows: readonly Written[]): { reader: TableReader; words: Int32Array; at: (row: number) => number } {
  const buffer = new SharedArrayBuffer(layout.bytes);
  const words = new Int32Array(buffer);
  const bytes = new Float64Array(buffer);
  const at = (row: number) => layout.rowsAt / 4 + row * Words.ROW;
  rows.forEach((row, index) => {
    const base = at(index);
    const [src0, sport0, dst0, dport0] = row.original;
    const [src1, sport1, dst1, dport1] = row.reply;
    words[base + Row.KIND] = row.proto | ((row.state ?? 0) << 8) | (row.flags ?? 0);
    words[base + Row.SRC0] = parseAddress(src0);
    words[base + Row.DST0] = parseAddress(dst0);
    words[base + Row.PORTS0] = (sport0 << 16) | dport0;
    words[base + Row.SRC1] = parseAddress(src1);
    words[base + Row.DST1] = parseAddress(dst1);
    words[base + Row.PORTS1] = (sport1 << 16) | dport1;
    words[base + Row.EXPIRES] = row.expires ?? NOW + 60;
    words[base + Row.RULE] = (row.rule ?? 0) | (1 << 16) | (2 << 24);
    bytes[(base + Row.BYTES0) / 2] = row.bytes?.[0] ?? 0;
    bytes[(base + Row.BYTES1) / 2] = row.bytes?.[1] ?? 0;
    words[base + Row.GENERATION] = 1;
  });
  words[Header.HIGH_WATER] = rows.length;
  words[Header.LIVE_FLOWS] = rows.length;
  return { reader: new TableReader(buffer, layout), words, at };
}

const SNAT_TCP: Written = {
  proto: 6,
  state: State.ESTABLISHED,
  flags: RowFlag.REPLIED | RowFlag.ASSURED,
  original: ['172.22.161.170', 50140, '198.51.100.10', 443],
  reply: ['198.51.100.10', 443, '203.0.113.10', 20000],
  expires: NOW + 7440,
  bytes: [1500, 2 ** 40],
  rule: 65_533,
};
const UDP: Written = {
  proto: 17,
  original: ['172.22.161.20', 5000, '192.0.2.53', 53],
  reply: ['192.0.2.53', 53, '203.0.113.10', 65_535],
};
const PING: Written = {
  proto: 1,
  flags: RowFlag.REPLIED,
  original: ['172.22.161.20', 40_000, '192.0.2.1', 40_000],
  reply: ['192.0.2.1', 20_001, '203.0.113.10', 20_001],
};

describe('a row of the table as a flow', () => {
  test('TCP: both tuples, state, timeout, bytes beyond 32 bits, rule', () => {
    const { reader } = tableOf([SNAT_TCP]);
    assert.deepEqual(reader.read(0, NOW), {
      index: 0,
      generation: 1,
      proto: 6,
      protocol: 'tcp',
      state: 'ESTABLISHED',
      timeout: 7440,
      original: { src: '172.22.161.170', dst: '198.51.100.10', sport: 50140, dport: 443 },
      reply: { src: '198.51.100.10', dst: '203.0.113.10', sport: 443, dport: 20000 },
      bytes: { original: 1500, reply: 2 ** 40 },
      replied: true,
      assured: true,
      hairpin: false,
      rule: 65_533,
    });
  });

  test('a TCP state is told apart from the marks beside it (FINs seen and acknowledged)', () => {
    const flags = RowFlag.FIN0 | RowFlag.FIN1 | RowFlag.FIN0_ACKED | RowFlag.FIN1_ACKED;
    const flow = tableOf([{ ...SNAT_TCP, state: State.TIME_WAIT, flags }]).reader.read(0, NOW);
    assert.equal(flow?.state, 'TIME_WAIT');
  });

  test('UDP has no state; ports above 32767 stay positive', () => {
    const flow = tableOf([UDP]).reader.read(0, NOW);
    assert.equal(flow?.state, '');
    assert.equal(flow?.reply.dport, 65_535);
    assert.equal(flow?.replied, false);
  });

  test('ICMP has an id on each side and no ports', () => {
    const flow = tableOf([PING]).reader.read(0, NOW);
    assert.deepEqual(flow?.original, { src: '172.22.161.20', dst: '192.0.2.1', id: 40_000 });
    assert.deepEqual(flow?.reply, { src: '192.0.2.1', dst: '203.0.113.10', id: 20_001 });
  });

  test('free rows, and rows whose time is over, are no flows', () => {
    const { reader, words, at } = tableOf([SNAT_TCP, { ...UDP, expires: NOW - 1 }, { ...PING, expires: NOW }]);
    words[at(0) + Row.GENERATION] = 2;
    assert.equal(reader.read(0, NOW), null);
    assert.equal(reader.read(1, NOW), null);
    assert.equal(reader.read(2, NOW)?.timeout, 0, 'the last second counts');
    assert.equal(reader.read(3, NOW), null);
  });
});

describe('filters', () => {
  const { reader } = tableOf([SNAT_TCP, UDP, PING]);
  const cases: readonly (readonly [string, FlowFilter, readonly number[]])[] = [
    ['none', {}, [0, 1, 2]],
    ['protocol', { proto: 17 }, [1]],
    ['source address', { src: parsePrefix('172.22.161.20') }, [1, 2]],
    ['source prefix', { src: parsePrefix('172.22.161.0/24') }, [0, 1, 2]],
    ['everything', { src: parsePrefix('0.0.0.0/0') }, [0, 1, 2]],
    ['destination', { dst: parsePrefix('192.0.2.0/24') }, [1, 2]],
    ['source port', { sport: 50140 }, [0]],
    ['destination port', { dport: 53 }, [1]],
    ['a query id is no port', { sport: 40_000 }, []],
    ['all together', { proto: 6, src: parsePrefix('172.22.161.170'), dport: 443 }, [0]],
    ['one that fails is enough', { proto: 6, dport: 53 }, []],
  ];
  for (const [name, filter, expected] of cases) {
    test(name, () => {
      assert.deepEqual(
        [0, 1, 2].filter((row) => reader.read(row, NOW, filter) !== null),
        expected,
      );
    });
  }

  test('protocols have names and numbers', () => {
    assert.equal(protocolNumber('TCP'), 6);
    assert.equal(protocolNumber('gre'), 47);
    assert.equal(protocolNumber('255'), 255);
    assert.equal(protocolNumber('256'), undefined);
    assert.equal(protocolNumber('tpc'), undefined);
  });
});

describe('counts', () => {
  test('flows by protocol and state, dead ones left out', () => {
    const { reader } = tableOf([
      SNAT_TCP,
      { ...SNAT_TCP, state: State.TIME_WAIT },
      SNAT_TCP,
      UDP,
      { ...UDP, proto: 50 },
      { ...UDP, expires: NOW - 1 },
      PING,
    ]);
    const counts = reader.countFlows(NOW);
    assert.deepEqual([...(counts.get('tcp') ?? [])].sort(), [
      ['ESTABLISHED', 2],
      ['TIME_WAIT', 1],
    ]);
    assert.deepEqual([...(counts.get('udp') ?? [])], [['NONE', 1]]);
    assert.deepEqual([...(counts.get('icmp') ?? [])], [['NONE', 1]]);
    assert.deepEqual([...(counts.get('esp') ?? [])], [['NONE', 1]]);
  });

  test('mappings by public address and protocol', () => {
    const { reader, words } = tableOf([]);
    const outside = parseAddress('203.0.113.10');
    [6, 6, 17, 1].forEach((proto, index) => {
      const at = layout.mappingsAt / 4 + index * Words.MAPPING;
      words[at + MappingRow.OUTSIDE] = outside;
      words[at + MappingRow.META] = proto;
      words[at + MappingRow.GENERATION] = index === 1 ? 4 : 5;
    });
    words[Header.MAPPING_HIGH_WATER] = 4;
    assert.deepEqual([...reader.countMappings()], [[outside, [1, 1, 1]]]);
  });
});

test('a row that is deleted and reused while it is read is never a mixture of two flows', async () => {
  const { reader, words, at } = tableOf([SNAT_TCP]);
  // A writer as the engine is one, as fast as it can: even generation, new words, odd generation. All words of one life agree.
  const writer = new Worker(
    `const { workerData } = require('node:worker_threads');
     const words = new Int32Array(workerData.buffer), at = workerData.at;
     for (let n = 1; Atomics.load(words, 0) === 0; n = (n + 1) & 0xffff) {
       Atomics.store(words, at, words[at] + 1);
       for (const word of [2, 3, 4, 5, 6, 7]) words[at + word] = (n << 16) | n;
       Atomics.store(words, at, words[at] + 1);
     }`,
    { eval: true, workerData: { buffer: words.buffer, at: at(0) } },
  );
  try {
    let seen = 0;
    const lives = new Set<number>();
    for (const end = Date.now() + 20_000; (seen < 20_000 || lives.size < 50) && Date.now() < end; ) {
      const flow = reader.read(0, NOW);
      if (!flow || flow.original.src === '172.22.161.170') continue;
      seen++;
      lives.add(flow.generation);
      const { src, dst, sport, dport } = flow.original;
      assert.equal(src, dst);
      assert.equal(flow.reply.src, src);
      assert.equal(sport, dport);
      assert.equal(flow.reply.dport, sport);
      const octets = src.split('.').map(Number);
      assert.equal(octets[0]! * 256 + octets[1]!, sport, 'addresses and ports are of one life');
    }
    assert.ok(lives.size >= 50, `read ${seen} flows in ${lives.size} lives`);
  } finally {
    Atomics.store(words, 0, 1);
    await writer.terminate();
  }
});
