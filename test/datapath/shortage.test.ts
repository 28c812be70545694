/** What gives way when rows or ports run short, and what does not (REQ-12). */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Header } from '../../src/contract/table-layout.js';
import { checkTable } from '../flow/invariants.js';
import { build, dissect } from '../lib-packets.js';
import { A, B, C, OTHER, P, Rig, type RigOptions, SERVER } from './rig.js';

const RST_ACK = 0x14;

const udp = (src: string, sport: number, dst: string, dport: number) =>
  build({ proto: 'udp', src, sport, dst, dport, payload: Uint8Array.of(1) });
const syn = (src: string, sport: number, dst: string, dport: number) =>
  build({ proto: 'tcp', src, sport, dst, dport, flags: 2, seq: 1000 });

/** A TCP flow that its server refuses: closed at once, its row kept. */
function closedFlow(rig: Rig, src: string, sport: number, dport: number): void {
  const [out] = rig.pass(syn(src, sport, SERVER, dport));
  const { sport: p } = dissect(out!);
  const refusal = build({ proto: 'tcp', src: SERVER, sport: dport, dst: P, dport: p, flags: RST_ACK, ack: 1001 });
  assert.equal(rig.pass(refusal).length, 1);
}

function fullRig(closed: (rig: Rig) => void, options: RigOptions = {}): Rig {
  const rig = new Rig({ flows: 1024, ...options });
  closed(rig);
  const { header } = rig.engine.table;
  // From one LAN to the other: rows without mappings.
  for (let port = 1; port <= 1024; port++) if (header[Header.LIVE_FLOWS]! < 1024) rig.pass(udp(B, port, C, 53));
  assert.equal(header[Header.LIVE_FLOWS], 1024);
  return rig;
}

test('REQ-12 a closed flow that gives way leaves its mapping to the flow it gives way to', () => {
  const rig = fullRig((r) => closedFlow(r, A, 30_001, 80));
  const [out] = rig.pass(syn(A, 30_001, OTHER, 80));
  assert.equal(dissect(out!).sport, 30_001);
  checkTable(rig.engine.table);
});

test('REQ-12 a full table costs one closed flow for each new one', () => {
  const rig = fullRig((r) => {
    for (let i = 0; i < 20; i++) closedFlow(r, A, 30_001 + i, 80);
  });
  assert.equal(rig.pass(syn(A, 40_001, OTHER, 80)).length, 1);
  assert.equal(rig.engine.closedPorts.length, 19);
  checkTable(rig.engine.table);
});

test('REQ-12 freed rows that still rest cost no more closed flows', () => {
  const rig = fullRig((r) => {
    for (let i = 0; i < 20; i++) closedFlow(r, A, 30_001 + i, 80);
  });
  rig.engine.table.quarantine = 2;
  rig.pass(syn(A, 40_001, OTHER, 80));
  assert.equal(rig.verdicts()['table-full'], 1);
  assert.equal(rig.engine.closedPorts.length, 19);
  rig.now += 3000;
  assert.equal(rig.pass(syn(A, 40_001, OTHER, 80)).length, 1);
  checkTable(rig.engine.table);
});

test('REQ-12 a UDP pool that is used up ends no closed TCP flow, from which it could get nothing', () => {
  const rig = new Rig({ pool: [40_000, 40_003] });
  closedFlow(rig, A, 40_000, 80);
  for (let i = 0; i < 5; i++) rig.pass(udp(B, 40_000 + i, SERVER, 9));
  assert.equal(rig.verdicts()['ports-exhausted'], 1);
  assert.equal(rig.engine.closedPorts.length, 1);
  checkTable(rig.engine.table);
});

test('REQ-12 closed flows of forwards, which hold no port, do not stand before those that could give one', () => {
  const rig = new Rig({ pool: [40_000, 40_003], forwards: [{ first: 80, to: A, protos: ['tcp'] }] });
  for (let i = 0; i < 1000; i++) {
    assert.equal(rig.pass(syn(SERVER, 2000 + i, P, 80)).length, 1);
    rig.pass(build({ proto: 'tcp', src: A, sport: 80, dst: SERVER, dport: 2000 + i, flags: RST_ACK, ack: 1001 }));
  }
  for (let i = 0; i < 4; i++) closedFlow(rig, B, 40_000 + i, 80);
  assert.equal(rig.pass(syn(C, 50_000, SERVER, 80)).length, 1);
  assert.equal(rig.engine.closedRows.length, 1000);
  checkTable(rig.engine.table);
});
