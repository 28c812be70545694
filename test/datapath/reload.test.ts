import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Plan } from '../../src/contract/plan.js';
import { Header, Row, Words } from '../../src/contract/table-layout.js';
import { Redecision } from '../../src/datapath/reload.js';
import { checkTable } from '../flow/invariants.js';
import { build, dissect, ip } from '../lib-packets.js';
import { A, B, C, makePlan, OTHER, P, Rig, type RigOptions, SERVER } from './rig.js';

const udp = (src: string, sport: number, dst: string, dport: number) =>
  build({ proto: 'udp', src, sport, dst, dport, df: true, payload: Uint8Array.of(1) });
const tcp = (src: string, sport: number, dst: string, dport: number) =>
  build({ proto: 'tcp', src, sport, dst, dport, df: true, flags: 2, seq: 1 });

/** Puts a new plan into force, as the worker does, and decides every flow again. */
function reload(rig: Rig, plan: Plan): { stayed: number; moved: number; ended: number } {
  rig.engine.setPlan(plan);
  const redecision = new Redecision(plan.generation);
  while (!redecision.step(rig.engine, rig.now / 1000));
  checkTable(rig.engine.table);
  const { stayed, moved, ended } = redecision;
  assert.equal(rig.engine.table.header[Header.LIVE_FLOWS], stayed + moved, 'what was not ended lives');
  return { stayed, moved, ended };
}

const BASE: RigOptions = {
  forwards: [
    { first: 2222, to: A, toPort: 22 },
    { first: 8080, to: B, toPort: 80, protos: ['tcp', 'udp'] },
  ],
};

/** One flow of each kind: SNAT, inbound through a mapping, two forwards, hairpin, LAN to LAN. */
function flows(rig: Rig): void {
  rig.pass(udp(A, 30_001, SERVER, 53), udp(SERVER, 99, P, 30_001), tcp(SERVER, 5, P, 2222), tcp(SERVER, 5, P, 8080));
  rig.pass(tcp(A, 40_001, P, 8080), udp(A, 7, C, 9));
  assert.equal(rig.engine.table.header[Header.LIVE_FLOWS], 6);
}

test('REQ-61 the same plan again: every flow stays as it is', () => {
  const rig = new Rig(BASE);
  flows(rig);
  assert.deepEqual(reload(rig, makePlan(BASE, 2)), { stayed: 6, moved: 0, ended: 0 });
});

test('REQ-61 a forward with another target ends its own flows, hairpin included, and no other', () => {
  const rig = new Rig(BASE);
  flows(rig);
  const other: RigOptions = { forwards: [BASE.forwards![0]!, { ...BASE.forwards![1]!, to: A }] };
  assert.deepEqual(reload(rig, makePlan(other, 2)), { stayed: 4, moved: 0, ended: 2 });
  assert.equal(dissect(rig.pass(tcp(SERVER, 5, P, 8080))[0]!).dst, A, 'the next packet is decided anew');
});

test('a forward that now has a source list ends the flows of those who are not on it', () => {
  const rig = new Rig(BASE);
  rig.pass(tcp(SERVER, 5, P, 2222), tcp(OTHER, 5, P, 2222));
  const listed: RigOptions = { forwards: [{ ...BASE.forwards![0]!, from: ['198.51.100.0/24'] }, BASE.forwards![1]!] };
  assert.deepEqual(reload(rig, makePlan(listed, 2)), { stayed: 1, moved: 0, ended: 1 });
});

test('a flow whose way has another number now is moved, not ended: interfaces may be listed in another order', () => {
  const rig = new Rig(BASE);
  flows(rig);
  const plan = makePlan(BASE, 2);
  const [self, wan, lan, lan2] = plan.interfaces as [object, object, object, object];
  const swapped = (out: number) => (out === 2 ? 3 : out === 3 ? 2 : out);
  const turned = {
    ...plan,
    interfaces: [self, wan, lan2, lan] as unknown as Plan['interfaces'],
    lans: plan.lans.map((l) => ({ ...l, out: swapped(l.out) })),
    forwards: plan.forwards.map((f) => ({ ...f, out: swapped(f.out) })),
    routes: plan.routes.map((r) => ({ ...r, out: swapped(r.out) })),
  };
  assert.deepEqual(reload(rig, turned), { stayed: 0, moved: 6, ended: 0 });
  // What comes in through A's mapping goes to A's LAN by its new number, though the decision knows only the pool port.
  const { table } = rig.engine;
  const inbound = table.find(ip(SERVER), ip(P), (99 << 16) | 30_001, 17) >>> 1;
  assert.equal((table.rows[inbound * Words.ROW + Row.RULE]! >>> 16) & 255, 3);
});

test('REQ-65 a port that a new plan gives to a forward is never again the NAT’s: not even for who had it, or holds it', () => {
  for (const idle of [0, 301]) {
    const rig = new Rig({ pool: [40_000, 40_010] });
    assert.equal(dissect(rig.pass(udp(A, 40_005, SERVER, 53))[0]!).sport, 40_005);
    rig.advance(idle);
    const taken: RigOptions = {
      pool: [40_000, 40_010],
      forwards: [{ first: 40_005, to: B, toPort: 80, protos: ['udp'] }],
    };
    const plan = makePlan(taken, 2);
    rig.engine.setPlan(plan);
    if (idle === 0) {
      assert.deepEqual(
        rig.pass(udp(A, 40_005, OTHER, 53)),
        [],
        'until its flows are ended the mapping makes no new ones',
      );
      assert.equal(rig.verdicts().stale, 1);
    }
    reload(rig, plan);
    const again = dissect(rig.pass(udp(A, 40_005, SERVER, 53))[0]!);
    assert.notEqual(again.sport, 40_005);
    assert.equal(dissect(rig.pass(udp(SERVER, 53, P, 40_005))[0]!).dst, B);
    checkTable(rig.engine.table);
  }
});

test('flows of a LAN that is gone end, of a public address that is gone too', () => {
  const rig = new Rig(BASE);
  flows(rig);
  const plan = makePlan(BASE, 2);
  const { ended } = reload(rig, { ...plan, lans: plan.lans.slice(0, 1) });
  assert.equal(ended, 1, 'LAN to LAN');
  const { ended: all } = reload(rig, { ...plan, addresses: [{ ...plan.addresses[0]!, address: 0x01020304 }] });
  assert.equal(all, 5);
});
