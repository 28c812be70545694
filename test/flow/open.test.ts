import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { Header, tableLayout, Words } from '../../src/contract/table-layout.js';
import { Engine } from '../../src/datapath/engine.js';
import { openTable } from '../../src/flow/open.js';
import { MemoryLink } from '../../src/link/index.js';
import { native } from '../../src/native.js';
import { makePlan, Rig } from '../datapath/rig.js';
import { BUSY, Traffic } from '../datapath/traffic.js';
import { build } from '../lib-packets.js';
import fc from '../property.js';
import { BOOT, xorshift } from './fixture.js';
import { checkTable } from './invariants.js';

const FLOWS = 1024;
const NOW = 1000;
const NO_BOOT = new Int32Array(4);

/** A table file with some hundred flows of every kind, as bytes. */
function busyImage(seed: number): Uint8Array {
  const rig = new Rig({ ...BUSY, flows: FLOWS });
  const traffic = new Traffic(seed);
  for (let n = 0; n < 10; n++) {
    rig.pass(...traffic.packets(100));
    rig.advance(1);
  }
  checkTable(rig.engine.table);
  return new Uint8Array(rig.engine.table.rows.buffer as ArrayBuffer).slice();
}

function open(image: Uint8Array, now = NOW) {
  const buffer = native.mapAnonymous(image.length);
  new Uint8Array(buffer).set(image);
  const opened = openTable(buffer, FLOWS, NO_BOOT, now, native);
  opened.table.quarantine = 0;
  return opened;
}

/** Passes traffic through an engine over an adopted table: it must work, and leave the table consistent. */
function useTable(opened: ReturnType<typeof open>, seed: number): void {
  const rig = new Rig({ ...BUSY, flows: FLOWS });
  const engine = new Engine(opened.table, makePlan(BUSY), rig.counters);
  const busy = Object.assign(Object.create(Rig.prototype) as Rig, rig, {
    engine,
    link: new MemoryLink('x', () => 1_011_000),
  });
  busy.pass(...new Traffic(seed).packets(300));
  checkTable(opened.table);
}

test('a file that was left in order is adopted whole: every flow goes on', () => {
  const rig = new Rig({ ...BUSY, flows: FLOWS });
  rig.pass(...new Traffic(5).packets(1000));
  const live = rig.engine.table.header[Header.LIVE_FLOWS]!;
  const before = Array.from(rig.engine.table.rows.subarray(0, FLOWS * Words.ROW));
  const opened = open(new Uint8Array(rig.engine.table.rows.buffer as ArrayBuffer));
  assert.equal(opened.refused, '');
  assert.ok(live > 100);
  assert.equal(opened.adopted, live);
  for (let row = 0; row < FLOWS; row++) {
    const at = row * Words.ROW;
    if ((before[at]! & 1) === 0) continue;
    assert.deepEqual(Array.from(opened.table.rows.subarray(at, at + Words.ROW)), before.slice(at, at + Words.ROW));
  }
  checkTable(opened.table);
  useTable(opened, 6);
});

test('flows that ran out while nobody looked are gone, and their ports are free', () => {
  const opened = open(busyImage(1), NOW + 100_000);
  assert.equal(opened.adopted, 0);
  checkTable(opened.table);
  assert.equal(opened.table.header[Header.LIVE_MAPPINGS], 0);
});

test('REQ-35 a port that was held for its inside host is still held after a restart', () => {
  const rig = new Rig({ pool: [40_000, 40_000], flows: FLOWS });
  const from = (src: string) => ({ proto: 'udp' as const, src, sport: 40_000, dst: '192.0.2.1', dport: 9 });
  rig.pass(build(from('172.22.161.170')));
  rig.advance(301);
  assert.equal(rig.engine.table.header[Header.LIVE_FLOWS], 0);
  const opened = open(new Uint8Array(rig.engine.table.rows.buffer as ArrayBuffer), rig.now / 1000);
  assert.equal(opened.table.header[Header.LIVE_MAPPINGS], 1);
  checkTable(opened.table);
});

test('another version, size or boot is refused with a reason, and the table is new', () => {
  const image = busyImage(2);
  const words = new Int32Array(image.buffer);
  const refusal = (word: number, value: number) => {
    const was = words[word]!;
    words[word] = value;
    const opened = open(image);
    words[word] = was;
    assert.equal(opened.adopted, 0);
    checkTable(opened.table);
    return opened.refused;
  };
  assert.match(refusal(Header.VERSION, 99), /layout version 99/);
  assert.match(refusal(Header.ROWS, 2048), /made for 2048 flows, limits.flows is 1024/);
  assert.match(refusal(Header.BOOT_ID, 7), /boot/);
  assert.match(refusal(Header.MAGIC, 7), /not a flow table/);
  assert.equal(refusal(Header.MAGIC, 0), '', 'a file whose making was interrupted');
});

/** Where a random corruption falls: anywhere, or into the parts that are believed. */
const layout = tableLayout(FLOWS);
const spot = fc.oneof(
  fc.record({ at: fc.integer({ min: 4, max: 63 }), section: fc.constant('header') }),
  fc.record({ at: fc.nat(300 * Words.ROW), section: fc.constant('rows') }),
  fc.record({ at: fc.nat(FLOWS * Words.TCP - 1), section: fc.constant('tcp') }),
  fc.record({ at: fc.nat(100 * Words.MAPPING), section: fc.constant('mappings') }),
  fc.record({ at: fc.nat(layout.bytes / 4 - 1025), section: fc.constant('anywhere') }),
);
const starts: Record<string, number> = {
  header: 0,
  rows: layout.rowsAt / 4,
  tcp: layout.tcpAt / 4,
  mappings: layout.mappingsAt / 4,
  anywhere: 1024,
};
const damage = fc.record({
  where: spot,
  value: fc.oneof(
    fc.integer(),
    fc.constantFrom(0, 1, -1, 3, 0x7fffffff, -0x80000000),
    fc.integer({ min: 0, max: 2000 }),
  ),
  length: fc.constantFrom(1, 1, 1, 16, 300),
});

const images = [11, 12, 13].map(busyImage);

test('whatever a file image holds, opening it neither crashes nor hangs, and what is live afterwards is consistent', () => {
  fc.assert(
    fc.property(fc.nat(2), fc.array(damage, { minLength: 1, maxLength: 30 }), fc.integer(), (which, list, seed) => {
      const image = images[which]!.slice();
      const words = new Int32Array(image.buffer);
      for (const { where, value, length } of list) {
        const at = starts[where.section]! + where.at;
        words.fill(value, at, at + length);
      }
      const opened = open(image);
      checkTable(opened.table);
      useTable(opened, seed);
    }),
    { numRuns: 30 },
  );
});

test('an image whose rows and mappings are copies of one another is adopted once each', () => {
  fc.assert(
    fc.property(
      fc.array(fc.record({ from: fc.nat(60), to: fc.nat(300), mapping: fc.boolean() }), { maxLength: 60 }),
      (copies) => {
        const image = images[0]!.slice();
        const words = new Int32Array(image.buffer);
        for (const { from, to, mapping } of copies) {
          const start = (mapping ? layout.mappingsAt : layout.rowsAt) / 4;
          const width = mapping ? Words.MAPPING : Words.ROW;
          words.copyWithin(start + to * width, start + from * width, start + (from + 1) * width);
        }
        checkTable(open(image).table);
      },
    ),
    { numRuns: 25 },
  );
});

test('a truncated file (zeros behind some point) keeps the rows before it', () => {
  const random = xorshift(9);
  for (let n = 0; n < 10; n++) {
    const image = images[n % 3]!.slice();
    image.fill(0, 4096 + (random() % (image.length - 4096)));
    const opened = open(image);
    checkTable(opened.table);
    useTable(opened, n);
  }
});

test('noise is refused or survived', () => {
  for (let n = 1; n <= 5; n++) {
    const image = new Uint8Array(layout.bytes);
    const words = new Int32Array(image.buffer);
    const random = xorshift(n);
    for (let i = 0; i < words.length; i++) words[i] = random();
    words.set(new Int32Array(images[0]!.buffer).subarray(0, 7));
    const opened = open(image);
    assert.equal(opened.refused, '');
    checkTable(opened.table);
    useTable(opened, n);
  }
});

test('REQ-62 a writer that is killed at any moment leaves a file that is adopted in order', async (t) => {
  const dir = mkdtempSync(join(tmpdir(), 'tungate-open-'));
  t.after(() => rmSync(dir, { recursive: true, force: true }));
  let adopted = 0;
  for (let round = 0; round < 6; round++) {
    const path = join(dir, `flows-${round}`);
    const child = spawn(process.execPath, [fileURLToPath(new URL('churn.js', import.meta.url)), path, String(round)], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    await new Promise((resolve, reject) => {
      child.stdout.once('data', resolve);
      child.once('exit', (code) => reject(new Error(`the writer ended by itself with code ${code}`)));
    });
    await new Promise((resolve) => setTimeout(resolve, 20 + ((round * 37) % 80)));
    child.kill('SIGKILL');
    await new Promise((resolve) => child.once('exit', resolve));
    const { buffer } = native.mapFile(path, layout.bytes);
    const opened = openTable(buffer, FLOWS, BOOT, NOW, native);
    assert.equal(opened.refused, '');
    adopted += opened.adopted;
    checkTable(opened.table);
  }
  assert.ok(adopted > 0);
});
