/** The endpoint: where frames go, who is heard, what floods may cost, and what hostile input does. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  Arrival,
  FIRST_DROP,
  LOCAL,
  Outcome,
  RemoteStat,
  STAT_WORDS,
  UNKNOWN,
  Vtep,
} from '../../../src/link/vxlan/index.js';
import fc from '../../property.js';
import { Bench, BROADCAST, bytesOf, ethernet, hex, mac, message, udp4 } from './frames.js';

const [A, B, C] = ['02:00:00:00:00:0a', '02:00:00:00:00:0b', '02:00:00:00:00:0c'];
const [FIRST, SECOND, THIRD] = ['192.0.2.1', '192.0.2.2', '2001:db8::3'];
const data = (dst: string, src: string) => ethernet(dst, src, 0x0800, udp4('10.0.0.1', '10.0.0.2', [1, 2]));

function three(options = {}, copies?: number) {
  const bench = new Bench(options, copies);
  const ids = bench.remotes(FIRST, SECOND, THIRD);
  const from = (address: string, frame: Uint8Array) => bench.tunnel([{ bytes: message(frame), from: address }])[0]!;
  const tap = (frame: Uint8Array) => bench.tap([frame])[0]!;
  return { bench, ids, from, tap, vtep: bench.vtep };
}

test('REQ-53 unknown unicast, broadcast and multicast go to every remote of the head-end list, once', () => {
  const { tap, ids } = three();
  for (const dst of [B, BROADCAST, '01:00:5e:00:00:fb', '33:33:00:00:00:01']) {
    const got = tap(data(dst, A));
    assert.equal(got.outcome, Outcome.FLOODED);
    assert.deepEqual(got.to, ids);
    for (const bytes of got.messages) assert.equal(hex(bytes), `0800000000002a00${hex(data(dst, A))}`);
  }
});

test('REQ-53 what was learned from a remote goes to it alone; the newest place counts', () => {
  const { tap, from, ids, vtep } = three();
  assert.deepEqual(from(SECOND, data(A, B)).outcome, Outcome.PASS);
  assert.deepEqual([tap(data(B, A)).outcome, tap(data(B, A)).to], [Outcome.PASS, [ids[1]]]);
  from(THIRD, data(A, B));
  assert.deepEqual(tap(data(B, A)).to, [ids[2]]);
  assert.equal(vtep.fdb.moves, 1);
});

test('REQ-53 with learning off only static entries are known', () => {
  const { tap, from, ids, vtep } = three({ learning: false });
  from(SECOND, data(A, B));
  assert.equal(tap(data(B, A)).outcome, Outcome.FLOODED);
  vtep.fdb.setStatic(mac(B).hi, mac(B).lo, ids[0]!);
  assert.deepEqual(tap(data(B, A)).to, [ids[0]]);
  assert.equal(vtep.fdb.size, 1);
});

test('REQ-53 static beats learned, both ways: what contradicts it is dropped and counted', () => {
  const { tap, from, ids, vtep } = three();
  from(FIRST, data(A, B));
  vtep.fdb.setStatic(mac(B).hi, mac(B).lo, ids[1]!);
  vtep.fdb.setStatic(mac(A).hi, mac(A).lo, LOCAL);
  assert.deepEqual(tap(data(B, A)).to, [ids[1]]);
  assert.equal(from(FIRST, data(A, B)).outcome, Outcome.STATIC_MOVED);
  assert.equal(from(FIRST, data(B, A)).outcome, Outcome.STATIC_MOVED);
  assert.equal(tap(data(C, B)).outcome, Outcome.STATIC_MOVED);
  assert.deepEqual(tap(data(B, A)).to, [ids[1]]);
  assert.equal(vtep.counts[Outcome.STATIC_MOVED], 3);
});

test('REQ-53 frames for an address on the TAP side stay out of the tunnel', () => {
  const { tap } = three();
  tap(data(BROADCAST, A));
  assert.deepEqual([tap(data(A, B)).outcome, tap(data(A, B)).to], [Outcome.LOCAL, []]);
});

test('an address that was forgotten is flooded again', () => {
  const { bench, tap, from } = three();
  from(SECOND, data(A, B));
  bench.now += 299_999;
  assert.equal(tap(data(B, A)).outcome, Outcome.PASS);
  bench.now += 1;
  assert.equal(tap(data(B, A)).outcome, Outcome.FLOODED);
});

test('only configured remotes are heard, and nothing is learned from a stranger', () => {
  const { from, vtep, ids } = three();
  assert.equal(from('192.0.2.99', data(A, B)).outcome, Outcome.STRANGER);
  assert.equal(from('2001:db8::99', data(A, B)).outcome, Outcome.STRANGER);
  assert.equal(vtep.fdb.size, 0);
  from(SECOND, data(A, B));
  assert.ok(vtep.removeRemote(ids[1]!));
  assert.equal(from(SECOND, data(A, C)).outcome, Outcome.STRANGER);
  assert.equal(vtep.fdb.find(mac(B).hi, mac(B).lo, 0), UNKNOWN);
});

test('REQ-48 REQ-51 REQ-64 hostile datagrams are dropped by name and teach nothing', () => {
  const { bench, vtep } = three();
  const good = data(A, B);
  const cases: [number, Uint8Array, number?][] = [
    [Outcome.MALFORMED, new Uint8Array(0)],
    [Outcome.MALFORMED, message(good).slice(0, 7)],
    [Outcome.NO_VNI, message(good, 42, 0xf7)],
    [Outcome.WRONG_VNI, message(good, 43)],
    [Outcome.WRONG_VNI, message(good, 42 << 8)],
    [Outcome.FRAGMENTED, message(good), Arrival.FRAGMENTED],
    [Outcome.FRAGMENTED, message(good), Arrival.FRAGMENTED | Arrival.TRUNCATED],
    [Outcome.TRUNCATED, message(good), Arrival.TRUNCATED],
    [Outcome.RUNT, message(good).slice(0, 8)],
    [Outcome.RUNT, message(good).slice(0, 21)],
    [Outcome.RUNT, message(ethernet(A, B, 0x8100, bytesOf('0001')))],
    [Outcome.BAD_MAC, message(data(A, '00:00:00:00:00:00'))],
    [Outcome.BAD_MAC, message(data(A, '01:00:5e:00:00:01'))],
    [Outcome.BAD_MAC, message(data(A, BROADCAST))],
    [Outcome.BAD_MAC, message(data('00:00:00:00:00:00', B))],
    [Outcome.RESERVED, message(data('01:80:c2:00:00:01', B))],
  ];
  for (const [wanted, bytes, arrival = 0] of cases) {
    const before = vtep.counts[wanted]!;
    const [got] = bench.tunnel([{ bytes, from: FIRST, arrival }]);
    assert.equal(got!.outcome, wanted);
    assert.equal(vtep.counts[wanted], before + 1);
  }
  assert.equal(vtep.fdb.size + vtep.neighbours.size, 0);
  assert.equal(bench.tunnel([{ bytes: message(data('01:80:c2:00:00:00', B)), from: FIRST }])[0]!.outcome, Outcome.PASS);
});

test('REQ-64 any bytes from anywhere: counted once, never thrown on, and what passes is what was sent', () => {
  const address = fc.constantFrom(FIRST, SECOND, THIRD, '192.0.2.9');
  const valid = fc
    .tuple(fc.constantFrom(A, B, C, BROADCAST), fc.constantFrom(A, B, C))
    .map(([dst, src]) => message(data(dst, src)));
  const bytes = fc.oneof(
    fc.uint8Array({ maxLength: 120, size: 'max' }),
    fc.uint8Array({ maxLength: 120, size: 'max' }).map((body) => message(body)),
    fc.tuple(valid, fc.nat(70), fc.nat(255)).map(([start, at, value]) => {
      start[at % start.length] = value;
      return start.slice(0, Math.max(at, 20));
    }),
  );
  const { bench, vtep } = three({ vlan: 'strip' });
  fc.assert(
    fc.property(fc.array(fc.tuple(bytes, address, fc.boolean()), { maxLength: 8 }), (all) => {
      const before = vtep.counts.reduce((sum, n) => sum + n, 0);
      for (const [each, from, toTap] of all) {
        if (toTap) bench.tap([each]);
        else {
          const [got] = bench.tunnel([{ bytes: each, from }]);
          if (got!.outcome === Outcome.PASS) assert.equal(hex(got!.frame), hex(each.subarray(8)));
          else assert.ok(got!.outcome >= FIRST_DROP || got!.outcome === Outcome.PROBE);
        }
      }
      assert.equal(
        vtep.counts.reduce((sum, n) => sum + n, 0),
        before + all.length,
      );
    }),
    { numRuns: 1000 },
  );
});

test('storm control: a second of the rate passes at once, then the rate; each kind and way by itself', () => {
  const { bench, tap, from, vtep } = three({ storm: { broadcast: 10, multicast: 20, unknown: 30 } });
  const group = '01:00:5e:00:00:fb';
  const count = (times: number, act: () => { outcome: number }, wanted: number) =>
    Array.from({ length: times }, act).filter(({ outcome }) => outcome === wanted).length;
  assert.equal(
    count(100, () => tap(data(BROADCAST, A)), Outcome.FLOODED),
    10,
  );
  assert.equal(
    count(100, () => tap(data(group, A)), Outcome.FLOODED),
    20,
  );
  assert.equal(
    count(100, () => tap(data(C, A)), Outcome.FLOODED),
    30,
  );
  assert.equal(
    count(100, () => from(FIRST, data(BROADCAST, B)), Outcome.PASS),
    10,
  );
  assert.equal(
    count(100, () => from(FIRST, data(group, B)), Outcome.PASS),
    20,
  );
  assert.equal(
    count(100, () => from(FIRST, data(A, B)), Outcome.PASS),
    100,
  );
  assert.equal(
    count(100, () => tap(data(B, A)), Outcome.PASS),
    100,
  );
  assert.equal(vtep.counts[Outcome.STORM_BROADCAST], 180);
  assert.equal(vtep.counts[Outcome.STORM_MULTICAST], 160);
  assert.equal(vtep.counts[Outcome.STORM_UNKNOWN], 70);
  bench.now += 500;
  assert.equal(
    count(100, () => tap(data(BROADCAST, A)), Outcome.FLOODED),
    5,
  );
  bench.now += 60_000;
  assert.equal(
    count(100, () => tap(data(BROADCAST, A)), Outcome.FLOODED),
    10,
  );
  bench.now -= 30_000;
  assert.equal(
    count(100, () => tap(data(BROADCAST, A)), Outcome.FLOODED),
    0,
  );
});

test('storm control does not slow a point-to-point link without learning, nor a known address', () => {
  const bench = new Bench({ learning: false, storm: { unknown: 5 } });
  bench.remotes(FIRST);
  for (let i = 0; i < 100; i++) assert.equal(bench.tap([data(B, A)])[0]!.outcome, Outcome.FLOODED);
});

test('a super-frame costs as much as the frames that it is cut into', () => {
  const { bench, vtep, ids } = three({ storm: { broadcast: 10 } });
  const big = ethernet(BROADCAST, A, 0x0800, udp4('10.0.0.1', '10.0.0.2', [1, 2], 1500));
  const outcomes = [1, 2, 3].map(() => bench.tap([big], 400)[0]!.outcome);
  assert.deepEqual(outcomes, [Outcome.FLOODED, Outcome.FLOODED, Outcome.STORM_BROADCAST]);
  assert.equal(vtep.remotes.stats[ids[0]! * STAT_WORDS + RemoteStat.TX_FRAMES], 8);
});

test('a super-frame keeps its vnet header: its VXLAN headers are written by who cuts it', () => {
  const { bench, vtep } = three();
  const c = bench.columns;
  const frame = ethernet(B, A, 0x0800, udp4('10.0.0.1', '10.0.0.2', [1, 2], 1500));
  c.data.fill(0xee, 0, 64);
  c.data.set(frame, 64);
  [c.off[0], c.len[0], c.segment[0]] = [64, frame.length, 500];
  vtep.fromTap(c, 1, 0);
  assert.equal(hex(c.data.subarray(54, 64)), 'ee'.repeat(10));
  assert.equal(hex(vtep.header), '0800000000002a00');
});

test('copies are bounded; what did not fit is counted', () => {
  const { bench, vtep } = three({}, 7);
  const got = bench.tap([1, 2, 3].map(() => data(BROADCAST, A)));
  assert.deepEqual(
    got.map(({ to }) => to.length),
    [3, 3, 1],
  );
  assert.equal(vtep.counts[Outcome.COPIES_FULL], 2);
});

test('nobody to send to', () => {
  const bench = new Bench();
  assert.equal(bench.tap([data(BROADCAST, A)])[0]!.outcome, Outcome.NO_REMOTE);
});

test('frames and bytes are counted for each remote', () => {
  const { tap, from, ids, vtep } = three();
  from(SECOND, data(A, B));
  tap(data(B, A));
  tap(data(BROADCAST, A));
  const bytes = data(A, B).length;
  const stats = (id: number) => [...vtep.remotes.stats.subarray(id * STAT_WORDS, (id + 1) * STAT_WORDS)];
  assert.deepEqual(stats(ids[1]!), [2, 2 * bytes, 1, bytes]);
  assert.deepEqual(stats(ids[0]!), [1, bytes, 0, 0]);
});

test('a wrong configuration is refused with its reason', () => {
  const make = (options: object) => () => new Vtep({ name: 'x', vni: 1, mtu: 1450, ...options });
  assert.throws(make({ vni: 2 ** 24 }), /VNI 16777216 of link x: it is a number from 0 to 16777215/);
  assert.throws(make({ vni: 1.5 }), RangeError);
  assert.throws(make({ dscp: 64 }), /DSCP 64 of link x/);
  assert.doesNotThrow(make({ vni: 0xff_ffff, dscp: -1 }));
});
