/** What gives way when rows or ports run short, and what does not (REQ-12). */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Counter, RuleCounter, ruleBase } from '../../src/contract/counters.js';
import { Header, Row, Words } from '../../src/contract/table-layout.js';
import { Engine } from '../../src/datapath/engine.js';
import { Redecision } from '../../src/datapath/reload.js';
import { openTable } from '../../src/flow/open.js';
import { native } from '../../src/native.js';
import { checkTable } from '../flow/invariants.js';
import { build, dissect } from '../lib-packets.js';
import { A, B, C, makePlan, OTHER, P, Rig, type RigOptions, SERVER } from './rig.js';

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

const FORWARD: RigOptions = { flows: 1024, forwards: [{ first: 80, to: A, protos: ['tcp', 'udp'] }] };
const flood = (n: number) => syn('8.8.8.8', 1024 + (n % 60_000), P, 80);

test('REQ-12, REQ-19 a SYN flood on a forward gives way to itself and to everybody else, and never a live flow', () => {
  const rig = new Rig(FORWARD);
  const { header } = rig.engine.table;
  // Live: a dialogue inside out, a connection that has come in, one that is opening from inside.
  assert.equal(rig.pass(udp(B, 5000, SERVER, 9)).length, 1);
  assert.equal(rig.pass(syn(B, 5001, SERVER, 80)).length, 1);
  const segment = (flags: number, seq: number, ack: number) =>
    build({ proto: 'tcp', src: SERVER, sport: 7, dst: P, dport: 80, flags, seq, ack });
  rig.pass(segment(2, 1000, 0));
  rig.pass(build({ proto: 'tcp', src: A, sport: 80, dst: SERVER, dport: 7, flags: 0x12, seq: 5000, ack: 1001 }));
  rig.pass(segment(0x10, 1001, 5001));
  const made = () => rig.counters[Counter.FLOWS_CREATED]!;
  const before = made();
  for (let n = 0; n < 5000; n++) {
    assert.equal(rig.pass(flood(n)).length, 1);
    // Every other one is answered by the server, and goes no further.
    if (n % 2 === 0)
      rig.pass(
        build({ proto: 'tcp', src: A, sport: 80, dst: '8.8.8.8', dport: 1024 + n, flags: 0x12, seq: 9, ack: 1001 }),
      );
  }
  assert.equal(header[Header.LIVE_FLOWS], 1024);
  assert.equal(rig.counters[Counter.GAVE_WAY_UNANSWERED], 5003 - 1024);
  assert.equal(rig.counters[Counter.GAVE_WAY_CLOSED], 0);
  assert.equal(rig.pass(syn(B, 5002, SERVER, 80)).length, 1, 'an insider finds a row');
  const now = made();
  assert.equal(rig.pass(udp(B, 5000, SERVER, 9)).length, 1);
  assert.equal(rig.pass(syn(B, 5001, SERVER, 80)).length, 1);
  assert.equal(rig.pass(segment(0x18, 1001, 5001)).length, 1);
  assert.equal(made(), now, 'these went on in the rows that they had');
  assert.equal(before, 3);
  checkTable(rig.engine.table);
  rig.advance(31);
  assert.equal(header[Header.LIVE_FLOWS], 4, 'nothing is left of the flood');
  checkTable(rig.engine.table);
});

test('REQ-12 unanswered datagrams of strangers give way too; what was answered does not', () => {
  const rig = new Rig(FORWARD);
  for (let n = 0; n < 24; n++) {
    rig.pass(udp(SERVER, 100 + n, P, 80));
    rig.pass(udp(A, 80, SERVER, 100 + n));
  }
  for (let n = 0; n < 2000; n++) assert.equal(rig.pass(udp(OTHER, 2000 + n, P, 80)).length, 1);
  for (let n = 0; n < 24; n++) rig.pass(udp(SERVER, 100 + n, P, 80));
  assert.equal(rig.counters[Counter.FLOWS_CREATED], 2024);
  assert.equal(rig.verdicts()['table-full'], undefined);
  checkTable(rig.engine.table);
});

test('REQ-12 a table of live flows gives nothing away, and refuses', () => {
  const rig = fullRig(() => {}, FORWARD);
  for (let n = 0; n < 100; n++) assert.deepEqual(rig.pass(flood(n)), []);
  assert.equal(rig.verdicts()['table-full'], 100);
  checkTable(rig.engine.table);
});

/** Another worker on the rig's table, with queues of its own. */
const secondWorker = (rig: Rig) => new Engine(rig.engine.table, rig.engine.plan, rig.counters);
/** What takes over after a crash: the same file, opened anew. */
function successor(rig: Rig, options: RigOptions): Engine {
  const { buffer } = rig.engine.table.rows;
  const { table } = openTable(buffer as ArrayBuffer, 1024, new Int32Array(4), Math.floor(rig.now / 1000), native);
  table.quarantine = 0;
  return new Engine(table, makePlan(options), rig.counters);
}

for (const [who, take] of [
  ['another worker saw close', (rig: Rig) => secondWorker(rig)],
  ['a process before this one saw close', successor],
] as const) {
  test(`REQ-12 connections that ${who} give up their ports, the oldest first`, () => {
    const options: RigOptions = { flows: 1024, pool: [40_000, 40_007] };
    const rig = new Rig(options);
    for (let i = 0; i < 8; i++) {
      closedFlow(rig, A, 40_000 + i, 80);
      rig.now += 1000;
    }
    const engine = take(rig, options);
    const other = Object.assign(Object.create(Rig.prototype) as Rig, rig, { engine });
    for (let i = 0; i < 8; i++) assert.equal(dissect(other.pass(syn(B, 50_000 + i, SERVER, 80))[0]!).sport, 40_000 + i);
    assert.equal(rig.counters[Counter.GAVE_WAY_CLOSED], 8);
    // Live ones stay.
    assert.equal(dissect(other.pass(syn(B, 51_000, SERVER, 80))[0]!).code, 13);
    checkTable(engine.table);
  });

  test(`REQ-12 and their rows (${who})`, () => {
    const rig = fullRig((r) => {
      for (let i = 0; i < 20; i++) closedFlow(r, A, 30_001 + i, 80);
    });
    const engine = take(rig, {});
    const other = Object.assign(Object.create(Rig.prototype) as Rig, rig, { engine });
    for (let i = 0; i < 20; i++) assert.equal(dissect(other.pass(syn(B, 41_000 + i, OTHER, 80))[0]!).dst, OTHER);
    assert.equal(dissect(other.pass(syn(B, 42_000, OTHER, 80))[0]!).code, 13);
    checkTable(engine.table);
  });
}

const LIMITED: RigOptions = {
  flows: 1024,
  forwards: [
    { first: 80, to: A, maxFlows: 3 },
    { first: 81, to: A },
  ],
};

test('a forward has `max_flows` flows at once: more are refused and counted, closed ones give way', () => {
  const rig = new Rig(LIMITED);
  const visit = (n: number, port = 80) => rig.pass(syn(SERVER, 2000 + n, P, port)).length;
  const refused = () => rig.counters[ruleBase(1) + RuleCounter.REFUSED]!;
  for (let n = 0; n < 3; n++) assert.equal(visit(n), 1);
  assert.equal(visit(3), 0);
  assert.deepEqual([rig.verdicts()['forward-limit'], refused()], [1, 1]);
  assert.equal(visit(0), 1, 'who has a flow keeps it');
  assert.equal(visit(4, 81), 1, 'the other forward has no limit');
  // Who is inside is told.
  assert.equal(dissect(rig.pass(syn(B, 7, P, 80))[0]!).code, 13);
  rig.pass(build({ proto: 'tcp', src: A, sport: 80, dst: SERVER, dport: 2001, flags: RST_ACK, ack: 1001 }));
  assert.equal(visit(5), 1, 'the place of the one that is closed');
  assert.equal(visit(6), 0);
  rig.advance(31);
  for (let n = 0; n < 3; n++) assert.equal(visit(10 + n), 1);
  assert.equal(visit(20), 0);
  checkTable(rig.engine.table);
});

test('a forward makes `max_rate` new flows a second, all workers together', () => {
  const rig = new Rig({ flows: 1024, forwards: [{ first: 80, to: A, maxRate: 5 }] });
  const other = Object.assign(Object.create(Rig.prototype) as Rig, rig, { engine: secondWorker(rig) });
  const burst = (from: number) =>
    Array.from({ length: 20 }, (_, n) => (n % 2 ? rig : other).pass(syn(SERVER, from + n, P, 80)).length).filter(
      Boolean,
    );
  assert.equal(burst(1000).length, 5);
  assert.equal(burst(2000).length, 0);
  rig.now += 1000;
  assert.equal(burst(3000).length, 5);
  assert.equal(rig.verdicts()['forward-limit'], 50);
});

test('flows that are there when a forward gets its limit count, whatever comes and goes meanwhile', () => {
  const { forwards } = LIMITED;
  const open = forwards!.map((forward) => ({ ...forward, maxFlows: 0 }));
  const rig = new Rig({ flows: 16_384, forwards: open });
  const { table } = rig.engine;
  const visit = (n: number, port: number) => rig.pass(syn(SERVER, 1024 + n, P, port)).length;
  for (let n = 0; n < 5000; n++) visit(n, n % 2 ? 80 : 81);
  const limits = open.map((forward) => ({ ...forward, maxFlows: 4000 }));
  rig.engine.setPlan(makePlan({ forwards: limits }, 2));
  const redecision = new Redecision(2);
  for (let n = 0; !redecision.step(rig.engine, rig.now / 1000); n++) {
    for (const more of [0, 20_000, 40_000]) visit(10_000 + n + more, 80);
    // The oldest and the youngest go.
    for (const row of [n, table.header[Header.HIGH_WATER]! - 1 - n])
      if ((table.rows[row * Words.ROW]! & 1) !== 0) {
        table.lock.acquire();
        table.remove(row, rig.now / 1000, 0);
        table.lock.release();
      }
  }
  const live = [0, 0, 0];
  for (let row = 0; row < table.header[Header.HIGH_WATER]!; row++)
    if ((table.rows[row * Words.ROW]! & 1) !== 0) live[table.rows[row * Words.ROW + Row.RULE]! & 0xffff]!++;
  assert.deepEqual([table.ruleFlows.liveOf(1), table.ruleFlows.liveOf(2)], live.slice(1));
  assert.ok(live[1]! > 2000 && live[2]! > 2000);
  // A plan with the same limits counts nothing anew; one without forgets them.
  rig.engine.setPlan(makePlan({ forwards: limits }, 3));
  assert.equal(table.ruleFlows.liveOf(1), live[1]);
  rig.engine.setPlan(makePlan({ forwards: open }, 4));
  assert.equal(table.header[Header.LIMITED], 0);
});

test('after a crash the flows of limited forwards are counted again', () => {
  const rig = new Rig(LIMITED);
  for (let n = 0; n < 3; n++) rig.pass(syn(SERVER, 2000 + n, P, 80));
  const engine = successor(rig, LIMITED);
  while (!new Redecision(1).step(engine, rig.now / 1000));
  const other = Object.assign(Object.create(Rig.prototype) as Rig, rig, { engine });
  assert.equal(engine.table.ruleFlows.liveOf(1), 3);
  assert.deepEqual(other.pass(syn(SERVER, 2009, P, 80)), []);
});
