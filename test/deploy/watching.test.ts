/** Prometheus and Grafana files, judged by promtool and by a real Prometheus that watches a running router under load. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { cpSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { LAB_ENV, needTools, type Process } from '../../src/lab/index.js';
import { ipv4, macOf, SYN, sendRaw, tcp } from '../netns/packet.js';
import { config, eventually, FORWARDS, INTERNET, P, prepare, repeat, type Stage } from '../netns/stage.js';

const DEPLOY = join(dirname(fileURLToPath(import.meta.url)), '..', '..', '..', 'deploy');
const RULES = join(DEPLOY, 'prometheus', 'tungate.rules.yml');

interface Panel {
  readonly title: string;
  readonly targets?: readonly { readonly expr: string }[];
}

interface Sample {
  readonly metric: Readonly<Record<string, string>>;
  readonly value: readonly [number, string];
}

const dashboard = JSON.parse(readFileSync(join(DEPLOY, 'grafana', 'tungate.json'), 'utf8')) as {
  panels: Panel[];
  annotations: { list: { name: string; expr: string }[] };
  templating: { list: { query: string | { query: string } }[] };
};

/** Title and expression of everything that the dashboard asks. */
const questions: readonly (readonly [string, string])[] = [
  ...dashboard.panels.flatMap(({ title, targets = [] }) => targets.map(({ expr }) => [title, expr] as const)),
  ...dashboard.annotations.list.map(({ name, expr }) => [name, expr] as const),
];
const ruleExpressions = [...readFileSync(RULES, 'utf8').matchAll(/expr: (?:\|\n((?: {10,}.*\n)+)|(.*))/g)].map(
  ([, block, line]) => block ?? line!,
);

const metricsIn = (text: string) => text.match(/\b(tungate|process)_[a-z_]+\b/g) ?? [];
const promtool = (...args: string[]) =>
  spawnSync('promtool', args, { encoding: 'utf8', env: LAB_ENV, timeout: 30_000 });

test('promtool: the scrape config and the alert rules are right, and the rules fire when they should and only then', () => {
  for (const args of [
    ['check', 'config', join(DEPLOY, 'prometheus', 'prometheus.yml')],
    ['check', 'rules', '--lint=all', '--lint-fatal', RULES],
    ['test', 'rules', join(DEPLOY, 'prometheus', 'tungate.rules.test.yml')],
  ]) {
    const { error, status, stdout, stderr } = promtool(...args);
    assert.equal(error, undefined, 'promtool is missing: "npm run setup" fetches it');
    assert.equal(status, 0, stdout + stderr);
  }
});

test('every alert has a rule test, a severity, and says what to do', () => {
  const text = readFileSync(RULES, 'utf8');
  const tests = readFileSync(join(DEPLOY, 'prometheus', 'tungate.rules.test.yml'), 'utf8');
  const alerts = text.split('- alert: ').slice(1);
  assert.ok(alerts.length >= 10 && ruleExpressions.length === alerts.length);
  for (const alert of alerts) {
    const name = alert.split('\n')[0]!;
    assert.match(alert, /severity: (critical|warning)/, name);
    assert.match(alert, /summary: .+\n +description: .+/, name);
    assert.ok(tests.includes(`alertname="${name}"`), `${name} has no test`);
  }
});

describe('a Prometheus that watches a router under load', () => {
  let stage: Stage;
  let prometheus: Process;
  let load: { stop(): Promise<unknown[]> }[] = [];

  before(async () => {
    needTools(['prometheus']);
    stage = await prepare(
      config(`metrics: { listen: 127.0.0.1:9469 }
nat:
  - { name: office, from: [172.22.161.170] }
links:
  - name: tg${process.pid}w
    wireguard: { private_key_file: key }
    peers: [{ name: away, public_key: "${Buffer.alloc(32, 9).toString('base64')}", allowed_ips: 10.99.0.2 }]
`),
    );
    const key = `${Buffer.alloc(32, 8).toString('base64')}\n`;
    writeFileSync(join(stage.daemon.dir, 'key'), key, { mode: 0o600 });
    await stage.daemon.up();
    const dir = join(stage.lab.dir, 'prometheus');
    mkdirSync(dir);
    cpSync(join(DEPLOY, 'prometheus'), dir, { recursive: true });
    // As shipped, only quicker.
    const shipped = readFileSync(join(dir, 'prometheus.yml'), 'utf8');
    writeFileSync(join(dir, 'prometheus.yml'), shipped.replaceAll(/_interval: 15s/g, '_interval: 500ms'));
    prometheus = stage.router.ns.spawn([
      'prometheus',
      `--config.file=${join(dir, 'prometheus.yml')}`,
      `--storage.tsdb.path=${join(dir, 'data')}`,
      '--web.listen-address=127.0.0.1:9090',
    ]);
    const { a, one, two } = stage;
    load = [
      repeat(() => a.download(`http://${INTERNET.one}:8080/2000000`), 50),
      repeat(() => one.download(`http://${P}:10080/500000`), 50),
      repeat(() => a.askUdp({ to: INTERNET.two, port: 7 }), 50),
      repeat(() => two.tryAsk('tcp', { to: P, port: 20_099, seconds: 1 }), 100),
    ];
    await prometheus.waitFor(/Server is ready/);
  });
  after(async () => {
    await Promise.allSettled(load.map((each) => each.stop()));
    await stage?.lab.close();
  });

  async function ask<T>(path: string): Promise<T> {
    const { status, text } = await stage.router.fetch(`http://127.0.0.1:9090/api/v1/${path}`);
    assert.equal(status, 200, `${path}: ${text}`);
    return (JSON.parse(text) as { data: T }).data;
  }

  async function query(expr: string): Promise<readonly Sample[]> {
    const { result } = await ask<{ result: Sample[] }>(`query?query=${encodeURIComponent(expr)}`);
    return result;
  }

  const number = async (expr: string) => Number((await query(expr))[0]?.value[1] ?? Number.NaN);

  test('rates come back: bytes, forwards, flows, drops by reason', async () => {
    await eventually('the router is scraped', async () => (await number('up{job="tungate"}')) === 1);
    await eventually('enough scrapes', async () => (await number('count_over_time(up[30s])')) >= 6);
    for (const expr of [
      'sum(rate(tungate_received_bytes_total[5s]))',
      'sum(rate(tungate_handled_packets_total{verdict="forward"}[5s]))',
      'sum(rate(tungate_forward_bytes_total{direction="out"}[5s]))',
      'sum(rate(tungate_nat_rule_bytes_total{name="office",direction="in"}[5s]))',
      'sum(rate(tungate_flows_created_total[5s]))',
      'rate(tungate_dropped_packets_total{reason="no-mapping"}[5s])',
      'sum(tungate_flows{protocol="tcp"})',
    ])
      await eventually(expr, async () => (await number(expr)) > 0);
    // What left is what came: nothing is sent that was not received, but ICMP errors and fragments.
    const ratio = 'sum(rate(tungate_sent_bytes_total[5s])) / sum(rate(tungate_received_bytes_total[5s]))';
    await eventually(ratio, async () => Math.abs((await number(ratio)) - 1) < 0.1);
  });

  test('every metric that dashboard and alerts name is in a scrape', async () => {
    const { text } = await stage.router.fetch('http://127.0.0.1:9469/metrics');
    const there = new Set([...text.matchAll(/^# TYPE (\S+)/gm)].map((match) => match[1]!));
    const asked = [...questions.map(([, expr]) => expr), ...ruleExpressions].flatMap(metricsIn);
    assert.ok(asked.length > 50);
    assert.deepEqual(
      [...new Set(asked)].filter((name) => !there.has(name)),
      [],
    );
    // And the other way round: what nobody can see was not worth counting.
    const unseen = [...there].filter((name) => !asked.includes(name));
    const known = ['process_start_time_seconds', 'tungate_config_last_reload_timestamp_seconds'];
    assert.deepEqual(
      unseen.filter(
        (name) =>
          !known.includes(name) &&
          !/helper|nat_rule|fragmented|forward_packets|link_mtu|link_peer_(info|received_packets|sent_packets)/.test(
            name,
          ),
      ),
      [],
    );
  });

  test("every expression of the dashboard is Prometheus' language and answers", async () => {
    // Nothing was refused or rejected, nothing reloaded, the peer is away, and no link is VXLAN: these have nothing to say now.
    const quiet = [
      ...['Forwards: flows and refusals', 'Reloads', 'Starts', 'Site links: sessions', 'Site links: rejected'],
      ...['VXLAN: bits', 'VXLAN: frames', 'VXLAN: addresses and loops'],
    ];
    let silent: string[] = [];
    const look = async () => {
      silent = [];
      for (const [title, expr] of questions) {
        const text = expr.replaceAll('$__rate_interval', '30s').replaceAll(/\$(job|instance)/g, '.*');
        if ((await query(text)).length === 0) silent.push(title);
      }
      return silent.every((title) => quiet.includes(title));
    };
    await eventually('every panel answers', look).catch(() => {});
    assert.deepEqual(new Set(silent), new Set(quiet));
  });

  test('the alert rules are loaded and healthy, and a healthy router raises none', async () => {
    const { groups } = await ask<{ groups: { rules: { name: string; health: string; lastError?: string }[] }[] }>(
      'rules',
    );
    const rules = groups.flatMap((group) => group.rules);
    assert.equal(rules.length, ruleExpressions.length);
    await eventually('all are evaluated', async () => {
      const now = await ask<{ groups: typeof groups }>('rules');
      return now.groups.flatMap((group) => group.rules).every(({ health }) => health === 'ok');
    });
    assert.deepEqual(await query('ALERTS{alertstate="firing"}'), []);
  });

  test('a flood that fills the table, and a forward at its limit: both have rates, and alerts that wait for them to last', async () => {
    await Promise.allSettled(load.splice(0).map((each) => each.stop()));
    const { daemon, inet, one, router } = stage;
    assert.equal(await daemon.stop(), 0);
    const limited = '{ name: limited, ports: 2300, to: "172.22.161.170:10000", proto: tcp, max_rate: 1 }';
    daemon.configure(config('metrics: { listen: 127.0.0.1:9469 }\nlimits: { flows: 1024 }\n', [...FORWARDS, limited]));
    await daemon.up();
    const wan = await macOf(router.ns, 'vmbr0');
    let round = 0;
    const flood = repeat(() => {
      const syns = Array.from({ length: 1000 }, (_, i) => {
        const src = `198.18.${round & 255}.${i & 255}`;
        return ipv4({ src, dst: P, proto: 6, payload: tcp(src, 2048 + i, P, 10_007, SYN, i, 0) });
      });
      round++;
      return sendRaw(inet, 'wan', wan, syns);
    }, 100);
    const knocks = repeat(() => one.tryAsk('tcp', { to: P, port: 2300, seconds: 0.1 }), 20);
    try {
      for (const expr of [
        'sum(rate(tungate_flows_gave_way_total{state="unanswered"}[5s]))',
        'rate(tungate_dropped_packets_total{reason="forward-limit"}[5s])',
        'rate(tungate_forward_refused_packets_total{name="limited"}[5s])',
        'rate(tungate_forward_flows_total{name="limited"}[5s])',
        'sum without (protocol, state) (tungate_flows) / tungate_flows_limit > 0.9',
      ])
        await eventually(expr, async () => (await number(expr)) > 0);
      const waiting = new Set<string>();
      await eventually(
        'alerts',
        async () => {
          for (const { metric } of await query('ALERTS{alertstate="pending"}')) waiting.add(metric.alertname!);
          return ['TungateFlood', 'TungateForwardAtItsLimit'].every((name) => waiting.has(name));
        },
        30,
      );
    } finally {
      await Promise.allSettled([flood.stop(), knocks.stop()]);
    }
  });

  test('a killed router: up is 0', async () => {
    await stage.daemon.kill();
    await eventually('seen', async () => (await number('up{job="tungate"}')) === 0);
  });
});
