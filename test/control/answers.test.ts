import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { Counter, counterView, newCounters, RuleCounter, ruleBase } from '../../src/contract/counters.js';
import { Verdict } from '../../src/contract/verdict.js';
import { interfaces, planDifference, poolStatus, ruleRows, traffic } from '../../src/control/answers.js';
import { laterChanges, sameMeaning } from '../../src/control/config-change.js';
import { type Compiled, type Config, compile, parseConfig } from '../../src/control/index.js';
import { proxmox } from './world-fixture.js';

const BASE = `
uplink: { interface: vmbr0, ports: "20000-29999" }
lans: [{ interface: vmbr1, subnet: 172.22.161.0/24 }]
forwards:
  - { name: same, ports: 10000-10999, to: 172.22.161.170, proto: tcp }
  - { name: offset, ports: 30000-30099, to: 172.22.161.20:8000-8099, proto: [tcp, udp] }
  - { name: one, ports: 2222, to: 172.22.161.10:22, proto: tcp, from: [198.51.100.0/24] }
  - { name: ping, to: 172.22.161.10, proto: icmp }
nat:
  - { from: [172.22.161.40], proto: udp, filtering: endpoint-independent }
  - { to: [10.0.0.0/8], translate: false }
`;

function config(text: string): Config {
  const parsed = parseConfig(text, 'test.yaml');
  assert.ok('config' in parsed, JSON.stringify(parsed));
  return parsed.config;
}

const build = (text: string, previous?: Compiled, world = proxmox()) => compile(config(text), world, previous);

test('rules are said in a few words, with the sums of all workers', () => {
  const { plan } = build(BASE);
  const counters = [counterView(newCounters()), counterView(newCounters())];
  for (const block of counters) block[ruleBase(plan.forwards[2]!.id) + RuleCounter.PACKETS_IN] = 4;
  const rows = ruleRows(config(BASE), plan, counters);
  assert.deepEqual(
    rows.map(({ kind, what }) => `${kind}: ${what}`),
    [
      'forward: tcp 10000-10999 → 172.22.161.170:10000-10999',
      'forward: tcp+udp 30000-30099 → 172.22.161.20:8000-8099',
      'forward: tcp 2222 → 172.22.161.10:22, from 198.51.100.0/24',
      'forward: icmp → 172.22.161.10',
      'nat: udp from 172.22.161.40/32',
      'nat: all to 10.0.0.0/8: not translated',
      'nat: everything else',
    ],
  );
  assert.equal(rows[2]!.packetsIn, 8);
  assert.match(rows[2]!.origin, /^test\.yaml:7:\d+$/);
});

test('traffic: drops by reason, the largest first; what was not dropped is no drop', () => {
  const block = counterView(newCounters());
  block[Counter.RX_PACKETS] = 100;
  block[Counter.VERDICT + Verdict.FORWARD] = 90;
  block[Counter.VERDICT + Verdict.FILTERED] = 2;
  block[Counter.VERDICT + Verdict.NO_MAPPING] = 8;
  const { packets, drops } = traffic([block]);
  assert.deepEqual(packets, { received: 100, sent: 0, dropped: 10 });
  assert.deepEqual(
    drops.map(({ reason, packets }) => [reason, packets]),
    [
      ['no-mapping', 8],
      ['filtered', 2],
    ],
  );
});

test('interfaces and pools', () => {
  const { plan } = build(BASE);
  assert.deepEqual(interfaces(plan), {
    uplinks: [{ interface: 'vmbr0', addresses: ['203.0.113.8'] }],
    lans: [{ interface: 'vmbr1', subnet: '172.22.161.0/24', gateway: '172.22.161.1' }],
  });
  assert.deepEqual(poolStatus(plan, null)[0], { address: '203.0.113.8', protocol: 'tcp', used: 0, size: 10_000 });
});

describe('what changed, in one line', () => {
  const before = build(BASE);
  const difference = (text: string, world = proxmox()) => planDifference(before.plan, build(text, before, world).plan);

  test('nothing: only the generation differs', () => assert.equal(difference(BASE), ''));

  test('a line that moved is no change', () => assert.equal(difference(`\n\n${BASE}`), ''));

  test('forwards: added, removed, changed', () => {
    const text = BASE.replace(
      /.*name: ping.*\n/,
      '  - { name: new, ports: 5000, to: 172.22.161.5, proto: udp }\n',
    ).replace('172.22.161.10:22', '172.22.161.11:22');
    assert.equal(difference(text), 'forwards added: new; forwards removed: ping; forwards changed: one');
  });

  test("the uplink's address and the routes", () => {
    const moved = proxmox(['198.18.0.0/15 main unicast 3']);
    const addresses = moved.addresses.map((item) =>
      item.interface === 3 ? { ...item, address: item.address + 1 } : item,
    );
    const words = difference(BASE, { ...moved, addresses });
    assert.match(words, /^address of vmbr0: 203\.0\.113\.8 → 203\.0\.113\.9; /);
    assert.match(words, /routes: \d+ → \d+/);
  });

  test('the block list: who was added to it and who was taken off', () => {
    const blocked = build(`${BASE}block: [198.51.100.1, 198.51.100.2]\n`, before);
    assert.equal(planDifference(before.plan, blocked.plan), 'blocked: 198.51.100.1/32, 198.51.100.2/32');
    const other = build(`${BASE}block: [198.51.100.2, 192.0.2.0/24]\n`, blocked);
    assert.equal(planDifference(blocked.plan, other.plan), 'blocked: 192.0.2.0/24; no longer blocked: 198.51.100.1/32');
  });

  for (const [line, word] of [
    ['timeouts: { udp: 200 }', 'timeouts'],
    ['limits: { per_host: 100 }', 'limits'],
    ['log: { translations: mappings }', 'log.translations'],
    ['port_blocks: 64', 'port_blocks'],
    ['inbound_refresh: true', 'inbound_refresh'],
    ['reject_unsolicited: true', 'reject_unsolicited'],
    ['parity: false', 'parity'],
    ['helpers: [ftp]', 'helpers'],
  ])
    test(`a setting: ${word}`, () => assert.equal(difference(`${BASE}${line}\n`), word));

  test('whatever differs in a plan but its generation and places has a word', () => {
    const { generation, ...rest } = before.plan;
    assert.ok(generation > 0);
    // Said by others: rules, addresses and their ports by forwards and uplinks, and the default rule stands for none of these.
    const own = new Set(['uplinks', 'addresses']);
    for (const key of Object.keys(rest)) {
      if (own.has(key)) continue;
      const value = (rest as Record<string, unknown>)[key];
      const altered = Array.isArray(value)
        ? [...(value as unknown[]), { name: 'x', prefix: 1, mask: -1 }]
        : typeof value === 'object' && value !== null
          ? { ...value, udp: 1 }
          : `other than ${String(value)}`;
      assert.notEqual(planDifference(before.plan, { ...before.plan, [key]: altered }), '', key);
    }
  });
});

test('a reload tells a config that says the same from one that does not, and what has to wait', () => {
  const old = config(BASE);
  assert.ok(sameMeaning(old, config(`# a comment\n${BASE}`)));
  assert.ok(!sameMeaning(old, config(`${BASE}metrics: { listen: off }\n`)));
  assert.deepEqual(laterChanges(old, old), []);
  const next = config(`${BASE}limits: { flows: 4096 }\nworkers: 2\ntun: { name: nat0 }\n`);
  assert.deepEqual(laterChanges(old, next), [
    'limits.flows: 4096 takes effect at the next start (now 262144)',
    'workers: 2 takes effect at the next start (now auto)',
    'tun.name: nat0 takes effect at the next start (now tungate0)',
  ]);
});
