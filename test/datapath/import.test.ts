/**
 * Export and import at the engine: what one table writes, another takes over, as far as its own plan would make it again.
 * Topology in rig.ts.
 */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { IMPORT_FATES } from '../../src/contract/import.js';
import { TableReader } from '../../src/control/flows.js';
import { exportState, readState, StateError } from '../../src/control/state-file.js';
import { importFlows, importMappings } from '../../src/datapath/import.js';
import { xorshift } from '../flow/fixture.js';
import { checkTable } from '../flow/invariants.js';
import { build, dissect } from '../lib-packets.js';
import { P, Rig, type RigOptions, SERVER } from './rig.js';
import { BUSY, Traffic } from './traffic.js';

function write(rig: Rig): Buffer {
  const { table } = rig.engine;
  const reader = new TableReader(table.rows.buffer as ArrayBuffer, table.layout);
  return Buffer.concat([...exportState(reader, (id) => (id ? `rule${id}` : ''), '0.0.0', rig.now / 1000)]);
}

function read(rig: Rig, file: Uint8Array): { mappings: Record<string, number>; flows: Record<string, number> } {
  const mappings = IMPORT_FATES.map(() => 0);
  const flows = IMPORT_FATES.map(() => 0);
  for (const chunk of readState(file, (name) => Number(name.slice(4)))) {
    importMappings(rig.engine, chunk.mappings, rig.now / 1000, mappings);
    importFlows(rig.engine, chunk.flows, chunk.bytes, rig.now / 1000, flows);
  }
  const named = (fates: number[]) =>
    Object.fromEntries(IMPORT_FATES.flatMap(([name], fate) => (fates[fate] ? [[name, fates[fate]!]] : [])));
  return { mappings: named(mappings), flows: named(flows) };
}

/** Everything about the live flows that must be the same on the other side; rows may stand elsewhere. */
function flowsOf(rig: Rig): string[] {
  const { table } = rig.engine;
  const reader = new TableReader(table.rows.buffer as ArrayBuffer, table.layout);
  const lines: string[] = [];
  for (let i = 0; i < reader.highWater; i++) {
    const flow = reader.read(i, rig.now / 1000);
    if (flow) lines.push(JSON.stringify({ ...flow, index: 0, generation: 0, timeout: 0 }));
  }
  return lines.sort();
}

function busyRig(options: RigOptions = BUSY): Rig {
  const rig = new Rig(options);
  rig.pass(...new Traffic(7).packets(3000));
  assert.ok(rig.engine.table.header[13]! > 200);
  return rig;
}

describe('export and import', () => {
  test('flows of every kind are the same in an empty table of another size, at another time; the next packet finds them', () => {
    const old = busyRig();
    const fresh = new Rig({ ...BUSY, flows: 8192 });
    fresh.now = 77_000_000;
    const { flows, mappings } = read(fresh, write(old));
    assert.deepEqual([Object.keys(flows), Object.keys(mappings)], [['taken-over'], ['taken-over']]);
    assert.deepEqual(flowsOf(fresh), flowsOf(old));
    checkTable(fresh.engine.table);
  });

  test('a download in which only the server speaks goes on', () => {
    const old = new Rig();
    const syn = { src: '172.22.161.170', dst: SERVER, sport: 40_000, dport: 80, proto: 6 };
    const out = dissect(old.pass(build({ ...syn, flags: 2, seq: 1000 }))[0]!);
    const back = { src: SERVER, dst: P, sport: 80, dport: out.sport, proto: 6 };
    old.pass(build({ ...back, flags: 0x12, seq: 5000, ack: 1001 }));
    old.pass(build({ ...syn, flags: 0x10, seq: 1001, ack: 5001 }));
    const fresh = new Rig();
    read(fresh, write(old));
    const heard = dissect(
      fresh.pass(build({ ...back, flags: 0x18, seq: 5001, ack: 1001, payload: Buffer.from('x') }))[0]!,
    );
    assert.deepEqual([heard.dst, heard.dport], ['172.22.161.170', 40_000]);
  });

  test('what the plan would decide otherwise, what is in use, and whose port is gone is refused by name', () => {
    const old = busyRig();
    const file = write(old);
    assert.deepEqual(Object.keys(read(old, file).flows), ['in-use']);
    const elsewhere = new Rig({
      change: (plan) => ({ ...plan, addresses: [{ ...plan.addresses[0]!, address: 0x01020304 }] }),
    });
    assert.equal(read(elsewhere, file).mappings['taken-over'], undefined);
    checkTable(elsewhere.engine.table);
    const narrow = new Rig({ ...BUSY, pool: [20_000, 20_010] });
    const fates = read(narrow, file);
    assert.ok(fates.mappings.port! > 0 && fates.flows.port! > 0, JSON.stringify(fates));
    checkTable(narrow.engine.table);
    const blocked = new Rig({ ...BUSY, change: (plan) => ({ ...plan, blocked: [{ prefix: 0, mask: 0 }] }) });
    assert.equal(read(blocked, file).flows['taken-over'], undefined);
  });

  test('mappings whose flows do not follow end by themselves', () => {
    const fresh = new Rig(BUSY);
    const file = write(busyRig());
    const chunks = readState(file, () => 0);
    const fates = IMPORT_FATES.map(() => 0);
    for (const { mappings } of chunks) importMappings(fresh.engine, mappings, fresh.now / 1000, fates);
    assert.ok(fresh.engine.table.header[16]! > 0);
    fresh.advance(200);
    assert.equal(fresh.engine.table.header[16], 0);
    checkTable(fresh.engine.table);
  });

  test('a file that is cut, longer, or has any bit flipped is refused as a whole, with the place', () => {
    const file = write(busyRig());
    const random = xorshift(3);
    for (let round = 0; round < 300; round++) {
      const cut = random() % file.length;
      assert.throws(() => readState(file.subarray(0, cut), () => 0), StateError);
      const flipped = Buffer.from(file);
      flipped[cut]! ^= 1 << (random() % 8);
      assert.throws(() => readState(flipped, () => 0), StateError, `bit in byte ${cut}`);
    }
    assert.throws(() => readState(Buffer.concat([file, Buffer.of(0)]), () => 0), /1 bytes behind its end/);
    assert.throws(() => readState(Buffer.from('PK'), () => 0), /is not a file of "tungate flows export"/);
  });

  test('whatever records say, the table stays consistent', () => {
    const chunks = readState(write(busyRig()), () => 0);
    const random = xorshift(11);
    const rig = new Rig(BUSY);
    const fates = IMPORT_FATES.map(() => 0);
    for (let round = 0; round < 50; round++) {
      for (const { mappings, flows, bytes } of chunks) {
        const wild = (words: Int32Array) =>
          words.map((word) => (random() % 12 === 0 ? (random() % 2 ? random() : word ^ (1 << (random() % 32))) : word));
        importMappings(rig.engine, wild(mappings), rig.now / 1000, fates);
        importFlows(
          rig.engine,
          wild(flows),
          bytes.map((n) => (random() % 9 ? n : Number.NaN)),
          rig.now / 1000,
          fates,
        );
      }
      checkTable(rig.engine.table);
      rig.pass(...new Traffic(round).packets(50));
      rig.advance(100);
    }
    assert.ok(fates[0]! > 0 && fates[1]! > 0);
  });
});

test('state-codec.ts is what the script makes of state.proto', () => {
  const script = fileURLToPath(new URL('../../../scripts/state-codec.mjs', import.meta.url));
  execFileSync(process.execPath, [script, '--check']);
});
