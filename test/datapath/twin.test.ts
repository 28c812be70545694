import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Filtering } from '../../src/contract/plan.js';
import { checkTable } from '../flow/invariants.js';
import { makeRepeatable, Random } from '../fuzz/random.js';
import { build, dissect } from '../lib-packets.js';
import fc from '../property.js';
import { A, B, OTHER, P, Rig, type RigOptions, SERVER } from './rig.js';
import { BUSY, Traffic } from './traffic.js';
import { type Outcome, Twin } from './twin.js';

function difference(after: Record<string, number>, before: Record<string, number>): Record<string, number> {
  const result: Record<string, number> = {};
  for (const [name, n] of Object.entries(after)) if (n !== (before[name] ?? 0)) result[name] = n - (before[name] ?? 0);
  return result;
}

const hex = (packets: readonly Uint8Array[]) => packets.map((packet) => Buffer.from(packet).toString('hex'));

/** Runs `n` random packets, some of them ICMP errors about earlier ones, through engine and twin. */
function compare(options: RigOptions, seed: number, n: number, only?: (packet: Uint8Array) => boolean): void {
  const rig = new Rig(options);
  const twin = new Twin(rig.engine.plan);
  const traffic = new Traffic(seed);
  const sent: { original: Uint8Array; out: Uint8Array }[] = [];
  for (let i = 0; i < n; i++) {
    // Refills the limit of ICMP errors; no timer runs out.
    if (i % 40 === 0) rig.now += 100;
    const before = rig.verdicts();
    let packet: Uint8Array;
    let expected: (out: Uint8Array[]) => Outcome;
    if (sent.length > 0 && traffic.random() % 10 === 0) {
      const { original, out } = traffic.pick(sent);
      const about = dissect(out);
      const sender = traffic.pick([about.dst, '192.0.2.1', '172.22.161.99']);
      const quoted = traffic.pick([28, out.length]);
      const [type, code] = traffic.pick([
        [3, 1],
        [3, 3],
        [11, 0],
        [12, 0],
      ] as const);
      const payload = out.slice(0, quoted);
      packet = build({ proto: 'icmp', type, code, src: sender, dst: about.src, payload });
      expected = () => twin.error(sender, type, code, original, out, quoted);
    } else {
      packet = traffic.packet();
      if (only && !only(packet)) continue;
      expected = (out) => twin.pass(packet, out);
    }
    const out = rig.pass(packet);
    const want = expected(out);
    const about = `packet ${i}: ${JSON.stringify({ ...dissect(packet), payload: 0, options: 0 })}`;
    const counted = difference(rig.verdicts(), before);
    delete counted.reply;
    assert.deepEqual(counted, { [want.verdict]: 1 }, about);
    assert.deepEqual(hex(out), hex(want.out), about);
    if (want.verdict === 'forward' && packet[9] !== 1) sent.push({ original: packet, out: out[0]! });
  }
  checkTable(rig.engine.table);
}

const seeds = fc.integer({ min: 1 });

test('random traffic of all kinds: bytes and verdicts are those of the readable twin', () => {
  fc.assert(
    fc.property(seeds, (seed) => compare({ ...BUSY, pool: [39_800, 40_311] }, seed, 300)),
    { numRuns: 20 },
  );
});

test('a pool that runs dry: the same, with UDP and ICMP, and nobody loses what he has', () => {
  const { forwards } = BUSY;
  const portless = (packet: Uint8Array) => packet[9] !== 6;
  fc.assert(
    fc.property(seeds, (seed) => compare({ forwards: forwards!, pool: [40_000, 40_011] }, seed, 300, portless)),
    { numRuns: 20 },
  );
});

test('filtering by rule: endpoint-independent for A, address-and-port-dependent for B', () => {
  const from = (host: string) => [{ prefix: (host === A ? 0xac16a1aa : 0xac16a114) | 0, mask: -1 }];
  const nat = [
    { from: from(A), filtering: Filtering.ENDPOINT_INDEPENDENT },
    { from: from(B), filtering: Filtering.ADDRESS_AND_PORT_DEPENDENT },
  ];
  fc.assert(
    fc.property(seeds, (seed) => compare({ nat, pool: [40_000, 40_127] }, seed, 300, (packet) => packet[9] !== 6)),
    { numRuns: 15 },
  );
});

test('a batch of many packets becomes what the same packets become one by one', () => {
  fc.assert(
    fc.property(seeds, fc.integer({ min: 2, max: 190 }), (seed, size) => {
      const packets = new Traffic(seed).packets(size);
      const options: RigOptions = { forwards: BUSY.forwards!, pool: [40_000, 60_000] };
      // Both rigs make the same free choices: a port that one gives to nobody may be the next packet's destination.
      makeRepeatable(new Random(seed));
      const one = new Rig(options);
      const alone = packets.flatMap((packet) => one.pass(packet));
      makeRepeatable(new Random(seed));
      const many = new Rig(options);
      const together = many.pass(...packets);
      const shape = (list: Uint8Array[]) =>
        list.map((p) => dissect(p)).map((p) => `${p.proto} ${p.src} ${p.dst}:${p.dport}`);
      assert.deepEqual(shape(together.filter((p) => p[9] !== 1)), shape(alone.filter((p) => p[9] !== 1)));
      assert.deepEqual(many.verdicts(), one.verdicts());
      checkTable(many.engine.table);
    }),
    { numRuns: 30 },
  );
});

test('the host reaches its own forwards from any port, and strangers of the same port stay apart', () => {
  const rig = new Rig(BUSY);
  const twin = new Twin(rig.engine.plan);
  const udp = (src: string, sport: number, dst: string, dport: number) =>
    build({ proto: 'udp', src, sport, dst, dport });
  for (const packet of [
    udp(P, 5353, P, 30_001),
    udp(SERVER, 5353, P, 30_001),
    udp(OTHER, 5353, P, 30_001),
    udp(P, 5353, P, 30_002),
    udp(B, 10_001, SERVER, 5353),
    udp(B, 10_001, P, 30_001),
  ]) {
    const out = rig.pass(packet);
    assert.deepEqual(hex(out), hex(twin.pass(packet, out).out));
    const [answer] = out.map((bytes) => dissect(bytes));
    const back = udp(answer!.dst, answer!.dport, answer!.src, answer!.sport);
    const returned = rig.pass(back);
    assert.deepEqual(hex(returned), hex(twin.pass(back, returned).out));
  }
  checkTable(rig.engine.table);
});
