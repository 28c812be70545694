import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { before, describe, test } from 'node:test';
import type { LinkRow } from '../../src/contract/api.js';
import { Counter, counterView, newCounters, RuleCounter, ruleBase } from '../../src/contract/counters.js';
import { tableLayout } from '../../src/contract/table-layout.js';
import { VERDICTS, Verdict } from '../../src/contract/verdict.js';
import { TableReader } from '../../src/control/flows.js';
import { compile, parseConfig } from '../../src/control/index.js';
import { REJECTIONS } from '../../src/control/link-answers.js';
import { Metrics, type MetricsSource } from '../../src/control/metrics.js';
import { device, world } from './world-fixture.js';

const HOST = world(
  [device(1, 'lo'), device(2, 'vmbr0'), device(3, 'vmbr1')],
  ['2 203.0.113.10/24', '3 172.22.161.1/24'],
  ['0.0.0.0/0 main unicast 2'],
);
const CONFIG = `
uplink: { interface: vmbr0, ports: "20000-29999" }
lans: [{ interface: vmbr1, subnet: 172.22.161.0/24 }]
forwards:
  - { name: ssh, ports: 2222, to: 172.22.161.10:22, proto: tcp }
`;

const LINK: LinkRow = {
  name: 'hq',
  kind: 'wireguard',
  origin: 't.yaml:1:1',
  up: true,
  problem: '',
  port: 51820,
  mtu: 1420,
  address: '10.99.0.1',
  address6: '',
  publicKey: 'OURS=',
  peers: [
    {
      name: 'branch',
      publicKey: 'THEIRS=',
      endpoint: '192.0.2.1:51820',
      allowedIps: ['10.99.0.2/32'],
      lastHandshake: '2026-01-01T00:00:00.500Z',
      handshakes: { initiated: 3, answered: 2, givenUp: 1 },
      receivedBytes: 2 ** 50,
      sentBytes: 7,
      receivedPackets: 6,
      sentPackets: 5,
      waiting: 4,
    },
  ],
  rejected: [{ reason: 'forged', packets: 9, sentence: '' }],
  sendFailed: 1,
  receiveFailed: 2,
};

function source(): MetricsSource & { counters: Float64Array[] } {
  const parsed = parseConfig(CONFIG, 'test.yaml');
  assert.ok('config' in parsed, JSON.stringify(parsed));
  const layout = tableLayout(1024);
  return {
    version: '1.2.3',
    startedAt: Date.now() / 1000 - 10,
    plan: compile(parsed.config, HOST).plan,
    lastReload: { ok: true, at: 1_700_000_000 },
    problems: 0,
    counters: [counterView(newCounters()), counterView(newCounters())],
    busy: [0.25, 0.5],
    restarts: [0, 1],
    table: new TableReader(new ArrayBuffer(layout.bytes), layout),
    now: 100,
    tunDrops: { queue: 7, write: 3 },
    links: [LINK],
  };
}

/** `name{labels} value` lines as a map. */
function samples(text: string): Map<string, number> {
  const lines = text.split('\n').filter((line) => line !== '' && !line.startsWith('#'));
  return new Map(
    lines.map((line) => [line.slice(0, line.lastIndexOf(' ')), Number(line.slice(line.lastIndexOf(' ') + 1))]),
  );
}

describe('/metrics', () => {
  let text = '';
  let found = new Map<string, number>();
  before(async () => {
    const from = source();
    const [one, two] = from.counters;
    one![Counter.RX_PACKETS] = 5;
    two![Counter.RX_PACKETS] = 2 ** 50;
    one![Counter.VERDICT + Verdict.NO_MAPPING] = 3;
    two![Counter.VERDICT + Verdict.NO_MAPPING] = 4;
    one![Counter.VERDICT + Verdict.FORWARD] = 9;
    const rule = ruleBase(from.plan.forwards[0]!.id);
    one![rule + RuleCounter.BYTES_IN] = 1500;
    two![rule + RuleCounter.FLOWS] = 2;
    text = await new Metrics().scrape(from);
    found = samples(text);
  });

  test('promtool check metrics finds nothing to complain about', () => {
    const result = spawnSync('promtool', ['check', 'metrics'], { input: text, encoding: 'utf8', timeout: 60_000 });
    assert.equal(result.error, undefined, 'promtool is missing: apt-get install prometheus');
    assert.equal(result.status, 0, `${result.stdout}${result.stderr}`);
    assert.equal(`${result.stdout}${result.stderr}`, '');
  });

  test('counters are by worker, exact beyond 32 bits', () => {
    assert.equal(found.get('tungate_received_packets_total{worker="0"}'), 5);
    assert.equal(found.get('tungate_received_packets_total{worker="1"}'), 2 ** 50);
    assert.equal(found.get('tungate_engine_busy_ratio{worker="1"}'), 0.5);
    assert.equal(found.get('tungate_worker_restarts_total{worker="1"}'), 1);
  });

  test('every reason of the verdict table is there, also at zero, and summed over the workers', () => {
    for (const { name, fate } of VERDICTS) {
      const sample =
        fate === 'drop'
          ? `tungate_dropped_packets_total{reason="${name}"}`
          : `tungate_handled_packets_total{verdict="${name}"}`;
      assert.ok(found.has(sample), sample);
    }
    assert.equal(found.get('tungate_dropped_packets_total{reason="no-mapping"}'), 7);
    assert.equal(found.get('tungate_handled_packets_total{verdict="forward"}'), 9);
  });

  test('forwards and nat rules by their name', () => {
    const name = 'name="ssh"';
    assert.equal(found.get(`tungate_forward_bytes_total{${name},direction="in"}`), 1500);
    assert.equal(found.get(`tungate_forward_flows_total{${name}}`), 2);
    assert.equal(found.get('tungate_nat_rule_flows_total{name="default"}'), 0);
  });

  test('site links and their peers; every reason of a rejection is there, also at zero', () => {
    const peer = 'link="hq",peer="branch"';
    assert.equal(found.get('tungate_link_up{link="hq"}'), 1);
    assert.equal(found.get(`tungate_link_peer_info{${peer},public_key="THEIRS="}`), 1);
    assert.equal(found.get(`tungate_link_peer_last_handshake_timestamp_seconds{${peer}}`), 1_767_225_600.5);
    assert.equal(found.get(`tungate_link_peer_handshakes_total{${peer},result="given-up"}`), 1);
    assert.equal(found.get(`tungate_link_peer_received_bytes_total{${peer}}`), 2 ** 50);
    assert.equal(found.get('tungate_link_rejected_packets_total{link="hq",reason="forged"}'), 9);
    for (const { name } of REJECTIONS)
      assert.ok(found.has(`tungate_link_rejected_packets_total{link="hq",reason="${name}"}`), name);
    assert.equal(found.get('tungate_link_socket_errors_total{link="hq",direction="received"}'), 2);
  });

  test('pool, table and device', () => {
    // 2222 is not in the pool, so all 10,000 are free for mappings.
    assert.equal(found.get('tungate_pool_ports{address="203.0.113.10",protocol="udp"}'), 10_000);
    assert.equal(found.get('tungate_pool_ports_used{address="203.0.113.10",protocol="udp"}'), 0);
    assert.equal(found.get('tungate_flows_limit'), 1024);
    assert.equal(found.get('tungate_tun_dropped_packets_total{direction="queue"}'), 7);
    assert.equal(found.get(`tungate_build_info{version="1.2.3",node="${process.version}"}`), 1);
  });
});

test('a second scrape shows new values and forgets rules that are gone', async () => {
  const metrics = new Metrics();
  const from = source();
  from.counters[0]![Counter.BATCHES] = 5;
  assert.match(await metrics.scrape(from), /tungate_forward_flows_total\{/);
  from.counters[0]![Counter.BATCHES] = 6;
  const text = await metrics.scrape({ ...from, plan: { ...from.plan, forwards: [] } });
  assert.equal(samples(text).get('tungate_batches_total{worker="0"}'), 6);
  assert.doesNotMatch(text, /tungate_forward_flows_total\{/);
});

test('before the workers are there it is a valid page too', async () => {
  const text = await new Metrics().scrape({ ...source(), counters: [], busy: [], restarts: [], table: null });
  assert.match(text, /^tungate_build_info\{/m);
  assert.equal(samples(text).get('tungate_dropped_packets_total{reason="no-mapping"}'), 0);
});
