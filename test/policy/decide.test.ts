/**
 * Every branch of the decision, one line each: who speaks to whom ⇒ action, or the verdict of a refusal, and what matters
 * of the rest. Topology: see datapath/rig.ts.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Filtering, Mapping, OWNER_RESERVED, type Plan } from '../../src/contract/plan.js';
import { VERDICTS } from '../../src/contract/verdict.js';
import { allowedBy, inPrefixes } from '../../src/policy/acl.js';
import { Action, Decision, Policy } from '../../src/policy/decide.js';
import { RouteTable } from '../../src/policy/route.js';
import { A, B, C, GATEWAY, makePlan, OTHER, P, prefix, type RigOptions, SERVER } from '../datapath/rig.js';
import { ip } from '../lib-packets.js';

const TCP = 0;
const UDP = 1;
const ICMP = 2;
const NONE = -1;
const NAMES = ['NONE', 'PLAIN', 'SNAT', 'DNAT', 'POOL'];

const OPTIONS: RigOptions = {
  forwards: [
    { first: 2222, to: A, toPort: 22, from: ['198.51.100.0/24'] },
    { first: 31_000, last: 31_099, to: B, toPort: 8000, protos: ['tcp', 'udp'] },
    { first: 9000, last: 9009, to: A, toPort: 443, single: true },
    { first: 1, last: 0, to: A, protos: ['icmp', 'other'] },
  ],
  nat: [
    { from: [prefix(`${C}/32`)], to: [prefix('192.0.2.0/24')], translate: false },
    { from: [prefix(`${C}/32`)], mapping: Mapping.ENDPOINT_DEPENDENT, filtering: Filtering.ADDRESS_AND_PORT_DEPENDENT },
    { protos: 1 << UDP, filtering: Filtering.ENDPOINT_INDEPENDENT },
  ],
};

function ask(plan: Plan, src: string, sport: number, dst: string, dport: number, index: number) {
  const d = new Decision();
  new Policy(plan).decide(d, ip(src), ip(dst), sport, dport, index);
  const what = d.action === Action.NONE ? VERDICTS[d.verdict]!.name : NAMES[d.action]!;
  return { what, d };
}

type Line = readonly [
  src: string,
  sport: number,
  dst: string,
  dport: number,
  index: number,
  what: string,
  rest?: Partial<Decision>,
];

const LINES: Record<string, readonly Line[]> = {
  'from outside to P': [
    [SERVER, 5, P, 22, TCP, 'punt'],
    [SERVER, 5, P, 2222, TCP, 'DNAT', { target: ip(A), targetPort: 22, rule: 1, sourceNat: false, out0: 2, out1: 1 }],
    [OTHER, 5, P, 2222, TCP, 'forward-source', { rule: 1 }],
    [SERVER, 5, P, 2222, UDP, 'punt'],
    [SERVER, 5, P, 31_099, UDP, 'DNAT', { target: ip(B), targetPort: 8099, rule: 2 }],
    [SERVER, 5, P, 9009, TCP, 'DNAT', { target: ip(A), targetPort: 443, rule: 3 }],
    [SERVER, 5, P, 20_000, TCP, 'POOL', { sourceNat: false, out1: 1 }],
    [SERVER, 5, P, 50_000, TCP, 'punt'],
    [SERVER, 7, P, 0, ICMP, 'DNAT', { target: ip(A), targetPort: 0, rule: 4 }],
    [SERVER, 0, P, 20_007, ICMP, 'POOL'],
    [SERVER, 0, P, 7, ICMP, 'punt'],
    [SERVER, 0, P, 0, NONE, 'DNAT', { target: ip(A), rule: 4 }],
  ],
  'from outside to anything else': [
    [SERVER, 5, A, 22, TCP, 'outside-to-lan'],
    [SERVER, 5, C, 22, TCP, 'outside-to-lan'],
    [SERVER, 5, '127.0.0.1', 22, TCP, 'punt'],
    [SERVER, 5, OTHER, 22, TCP, 'foreign-source'],
  ],
  'from a LAN out': [
    [A, 5, SERVER, 80, TCP, 'SNAT', { staticPort: -1, mapping: 0, filtering: 1, out0: 1, out1: 2, rule: 0 }],
    [A, 5, SERVER, 80, UDP, 'SNAT', { filtering: 0, rule: 1002 }],
    [A, 22, SERVER, 80, TCP, 'SNAT', { staticPort: 2222 }],
    [A, 22, SERVER, 80, UDP, 'SNAT', { staticPort: -1 }],
    [B, 8050, SERVER, 80, UDP, 'SNAT', { staticPort: 31_050 }],
    [B, 8100, SERVER, 80, UDP, 'SNAT', { staticPort: -1 }],
    [A, 443, SERVER, 80, TCP, 'SNAT', { staticPort: -1 }],
    [C, 5, SERVER, 80, TCP, 'SNAT', { mapping: 1, filtering: 2, rule: 1001, out1: 3 }],
    [C, 5, OTHER, 80, TCP, 'PLAIN', { rule: 1000, out0: 1, out1: 3 }],
    [A, 7, SERVER, 0, ICMP, 'SNAT', { staticPort: -1 }],
    [A, 0, SERVER, 0, NONE, 'SNAT', { staticPort: 0, rule: 4 }],
    [B, 0, SERVER, 0, NONE, 'protocol'],
  ],
  'from a LAN to the host, another LAN, P': [
    [A, 5, GATEWAY, 53, UDP, 'punt'],
    [A, 5, '10.7.0.1', 53, UDP, 'punt'],
    [A, 5, C, 80, TCP, 'PLAIN', { out0: 3, out1: 2 }],
    [A, 5, B, 80, TCP, 'PLAIN', { out0: 2, out1: 2 }],
    [A, 5, P, 22, TCP, 'punt'],
    [B, 5, P, 9000, TCP, 'DNAT', { sourceNat: true, target: ip(A), targetPort: 443, out0: 2, out1: 2, rule: 3 }],
    [C, 5, P, 9000, TCP, 'DNAT', { sourceNat: true, mapping: 1, out1: 3 }],
    [B, 8001, P, 9000, TCP, 'DNAT', { sourceNat: true, staticPort: 31_001 }],
    [B, 5, P, 2222, TCP, 'forward-source'],
    [B, 5, P, 30_000, UDP, 'POOL', { sourceNat: true, staticPort: -1, filtering: 0 }],
  ],
  'from the host itself': [
    [P, 5, P, 9000, TCP, 'DNAT', { sourceNat: true, staticPort: -1, out0: 2, out1: 0 }],
    [GATEWAY, 5, P, 9000, TCP, 'DNAT', { sourceNat: true }],
    [P, 5, A, 80, TCP, 'outside-to-lan'],
  ],
};

for (const [name, lines] of Object.entries(LINES)) {
  test(`decision ${name}`, () => {
    const plan = makePlan(OPTIONS);
    for (const [src, sport, dst, dport, index, what, rest] of lines) {
      const line = `${src}:${sport} > ${dst}:${dport} ${['tcp', 'udp', 'icmp', 'other'].at(index)}`;
      const answer = ask(plan, src, sport, dst, dport, index);
      assert.equal(answer.what, what, line);
      for (const [key, value] of Object.entries(rest ?? {}))
        assert.equal(answer.d[key as keyof Decision], value, `${line}: ${key}`);
    }
  });
}

test('a decision owes nothing to the one before', () => {
  const policy = new Policy(makePlan(OPTIONS));
  const all = Object.values(LINES).flat();
  const used = new Decision();
  for (const before of all) {
    for (const [src, sport, dst, dport, index, what, rest] of all) {
      policy.decide(used, ip(before[0]), ip(before[2]), before[1], before[3], before[4]);
      policy.decide(used, ip(src), ip(dst), sport, dport, index);
      assert.equal(used.action === Action.NONE ? VERDICTS[used.verdict]!.name : NAMES[used.action], what);
      for (const [key, value] of Object.entries(rest ?? {})) assert.equal(used[key as keyof Decision], value, key);
    }
  }
});

test('an address that the host does not have: what nobody claims is dropped, not handed to the kernel', () => {
  const plan = makePlan({ ...OPTIONS, shared: false });
  assert.equal(ask(plan, SERVER, 5, P, 22, TCP).what, 'no-mapping');
  const none = { ...plan, addresses: [{ ...plan.addresses[0]!, otherForward: 0 }] };
  assert.equal(ask(none, SERVER, 0, P, 0, NONE).what, 'protocol');
  const own = makePlan(OPTIONS);
  own.addresses[0]!.owners[TCP][7000] = OWNER_RESERVED;
  assert.equal(ask(own, SERVER, 5, P, 7000, TCP).what, 'punt', 'the router’s own socket');
});

test('the block list comes first, for source and destination', () => {
  const plan = { ...makePlan(OPTIONS), blocked: [prefix('198.51.100.0/24')] };
  assert.equal(ask(plan, SERVER, 5, P, 22, TCP).what, 'blocked');
  assert.equal(ask(plan, A, 5, SERVER, 80, TCP).what, 'blocked');
  assert.equal(ask(plan, A, 5, OTHER, 80, TCP).what, 'SNAT');
});

test('REQ-2 with several addresses each inside host has one for all its flows, and hosts are spread', () => {
  const plan = makePlan();
  const more = [1, 2, 3].map((n) => ({ ...plan.addresses[0]!, address: ip(P) + n }));
  const many = {
    ...plan,
    addresses: [...plan.addresses, ...more],
    uplinks: [{ ...plan.uplinks[0]!, addresses: [0, 1, 2, 3] }],
  };
  const used = new Set<number>();
  for (let n = 2; n < 250; n++) {
    const inside = `172.22.161.${n}`;
    const answers = [1, 2, 3].map((k) => ask(many, inside, 1000 * k, `192.0.2.${k}`, k, k % 2).d.address);
    assert.equal(new Set(answers).size, 1);
    used.add(answers[0]!);
  }
  assert.equal(used.size, 4);
});

test('routes: the longest prefix wins, of equal ones the first; 0.0.0.0/0 takes the rest; −1 without it', () => {
  const route = (text: string, out: number) => ({ ...prefix(text), out });
  const list = [
    route('10.0.0.0/8', 1),
    route('10.1.0.0/16', 2),
    route('10.1.0.0/16', 9),
    route('10.1.2.3/32', 3),
    route('200.0.0.0/8', 4),
  ];
  const table = new RouteTable(list);
  for (const [to, out] of [
    ['10.9.9.9', 1],
    ['10.1.9.9', 2],
    ['10.1.2.3', 3],
    ['10.1.2.4', 2],
    ['200.1.1.1', 4],
    ['11.0.0.1', -1],
  ] as const) {
    assert.equal(table.lookup(ip(to)), out, to);
  }
  assert.equal(new RouteTable([...list, route('0.0.0.0/0', 7)]).lookup(ip('11.0.0.1')), 7);
  assert.equal(new RouteTable([]).lookup(ip('11.0.0.1')), -1);
});

test('prefix lists: an empty one holds nobody, and allows everybody', () => {
  const list = [prefix('10.0.0.0/8'), prefix('198.51.100.10/32')];
  assert.ok(inPrefixes(list, ip('10.255.0.1')) && inPrefixes(list, ip(SERVER)) && !inPrefixes(list, ip('11.0.0.1')));
  assert.ok(!inPrefixes([], ip(SERVER)) && allowedBy([], ip(SERVER)) && !allowedBy(list, ip('11.0.0.1')));
});
