/** What trace says is what happens: the dry run before, the packet after, for random first packets and for known flows. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { trace } from '../../src/datapath/trace.js';
import { xorshift } from '../flow/fixture.js';
import { build, ip } from '../lib-packets.js';
import { A, B, C, OTHER, P, Rig, SERVER } from './rig.js';

const PROTO = { tcp: 6, udp: 17, icmp: 1 } as const;

function rig(): Rig {
  return new Rig({
    pool: [40_000, 40_007],
    perHost: 5,
    forwards: [
      { first: 2222, to: A, toPort: 22, from: ['198.51.100.0/24'] },
      { first: 30_000, last: 30_010, to: B, protos: ['tcp', 'udp'] },
      { first: 53, to: B, protos: ['udp'], single: true },
    ],
    nat: [{ to: [{ prefix: ip('192.0.2.0') & -256, mask: -256 }], translate: false }],
    change: (plan) => ({ ...plan, blocked: [{ prefix: ip('203.0.113.66'), mask: -1 }] }),
  });
}

test('the verdict of a trace is the verdict of the packet, and it changes nothing', () => {
  const random = xorshift(5);
  const pick = <T>(list: readonly T[]) => list[random() % list.length]!;
  const seen = new Set<string>();
  for (let round = 0; round < 20; round++) {
    const r = rig();
    for (let i = 0; i < 120; i++) {
      const name = pick(['tcp', 'udp', 'udp', 'icmp'] as const);
      const proto = PROTO[name];
      const src = pick([A, A, A, A, B, C, SERVER, OTHER, OTHER, OTHER, '10.9.9.9', '203.0.113.66', '127.0.0.1']);
      const dst = pick([P, P, P, P, SERVER, SERVER, SERVER, OTHER, A, B, '203.0.113.66', '172.17.0.5', '224.0.0.1']);
      const sport =
        proto === 1 ? 100 + (random() % 6) : pick([22, 30_003, 40_001, 1000 + (random() % 9), 40_000 + (random() % 8)]);
      const dport = proto === 1 ? 0 : pick([22, 2222, 53, 30_003, 40_000 + (random() % 8), 7]);
      const { table } = r.engine;
      const image = Buffer.from(new Uint8Array(table.rows.buffer as ArrayBuffer).slice());
      const said = trace(r.engine, { src: ip(src), dst: ip(dst), sport, dport, proto }, r.now / 1000);
      assert.ok(image.equals(new Uint8Array(table.rows.buffer as ArrayBuffer)), 'the table is as it was');
      const before = r.verdicts();
      const packet =
        proto === 1 ? { src, dst, proto, icmpType: 8, icmpId: sport } : { src, dst, sport, dport, proto, flags: 2 };
      r.pass(build(packet as Parameters<typeof build>[0]));
      const after = r.verdicts();
      const got = Object.keys(after).filter((verdict) => verdict !== 'reply' && after[verdict] !== before[verdict]);
      assert.deepEqual(got, [said.verdict], `${name} ${src}:${sport} → ${dst}:${dport}: ${JSON.stringify(said.steps)}`);
      seen.add(said.verdict);
    }
  }
  for (const verdict of [
    'forward',
    'punt',
    'blocked',
    'bad-address',
    'multicast',
    'no-mapping',
    'filtered',
    'forward-source',
    'not-ours',
    'host-limit',
    'foreign-source',
    'outside-to-lan',
  ])
    assert.ok(seen.has(verdict), `${verdict} was among them: ${[...seen].join(' ')}`);
});

test('each stage says what decided, with names and places', () => {
  const r = rig();
  const steps = (packet: { src: string; dst: string; sport: number; dport: number; proto: number }) =>
    trace(r.engine, { ...packet, src: ip(packet.src), dst: ip(packet.dst) }, r.now / 1000).steps.map(
      ({ stage, text }) => `${stage}: ${text}`,
    );
  const inward = { src: SERVER, dst: P, sport: 5000, dport: 30_003, proto: 6 };
  assert.deepEqual(steps(inward), [
    'parse: tcp 198.51.100.10:5000 → 203.0.113.10:30003',
    'match: no flow; a new one would be decided',
    'policy: from outside',
    'policy: forward "f2" (test:2:1)',
    'rewrite: destination → 172.22.161.20:30003',
    'emit: by lan, MTU 1500',
  ]);
  r.pass(build({ ...inward, flags: 2 }));
  assert.deepEqual(steps(inward).slice(1), [
    'match: flow 0, side that began it; SYN_SENT, ends in 30 s if nothing comes',
    'policy: decided when it began: forward "f2" (test:2:1)',
    'rewrite: 198.51.100.10:5000 → 172.22.161.20:30003',
    'emit: by lan, MTU 1500',
  ]);
  assert.deepEqual(steps({ src: A, dst: SERVER, sport: 40_001, dport: 80, proto: 17 }).slice(2), [
    'policy: from LAN lan',
    "mapping: a new one; 8 of the pool's 8 UDP ports are free",
    'rewrite: source → 203.0.113.10, port 40001 kept',
    'emit: by wan, MTU 1500',
  ]);
});
