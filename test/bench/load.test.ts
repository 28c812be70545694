/** The generator and the sink on a wire that loses nothing: what is said to be sent is what arrives, at the rate that was asked. */
import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readdirSync } from 'node:fs';
import { after, before, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { connect, macOf, ownMac, pass, type Stream } from '../../bench/lib/load.js';
import { Lab, type Namespace } from '../../src/lab/index.js';

const file = (path: string) => fileURLToPath(new URL(`../../../${path}`, import.meta.url));

let lab: Lab;
let from: Namespace;
let to: Namespace;
let wire: Stream;

before(async () => {
  const built = spawnSync(process.execPath, [file('scripts/bench-load.mjs')], { encoding: 'utf8' });
  assert.equal(built.status, 0, built.stderr);
  lab = new Lab();
  from = lab.namespace('from');
  to = lab.namespace('to');
  from.ip(
    `link add eth0 type veth peer name eth0 netns ${to.name}`,
    'link set eth0 up',
    'addr add 10.9.0.1/24 dev eth0',
  );
  to.ip('link set eth0 up', 'addr add 10.9.0.2/24 dev eth0', 'route add local 198.18.0.0/15 dev lo');
  const mac = await macOf(from, 'eth0', '10.9.0.2');
  wire = { interface: 'eth0', mac, 'own-mac': await ownMac(from, 'eth0'), from: '10.9.0.1', to: '10.9.0.2' };
});
after(() => lab?.close());

test('every packet arrives, with right checksums (the kernel looks at them), and its delay is known', async () => {
  const seen = await pass(from, to, wire, { rate: 20_000, seconds: 0.5, packets: 5000, delays: true });
  assert.equal(Math.round(seen.received * seen.seconds), 5000);
  assert.equal(seen.foreign, 0);
  assert.ok(seen.p50! > 0 && seen.p50! <= seen.p99! && seen.p99! <= seen.max!, JSON.stringify(seen));
});

test('one packet of each flow: sources, ports and targets multiply, and each is met once', async () => {
  const many = { ...wire, to: '198.18.0.1', sports: 10, targets: 30, flows: 300 };
  const dump = to.spawn(['tcpdump', '-i', 'eth0', '-n', '-l', '-t', '-c', '300', 'udp and dst port 7000']);
  await dump.waitFor(/listening/);
  await pass(from, to, many, { rate: 10_000, seconds: 1, packets: 300 });
  await dump.stop('SIGTERM', 3);
  const flows = new Set(dump.stdout.match(/\d+\.\d+\.\d+\.\d+\.\d+ > \d+\.\d+\.\d+\.\d+\.\d+/g));
  assert.equal(flows.size, 300);
});

test('connections: completed ones, and those that are refused, each by its name', async () => {
  const options = { to: '10.9.0.2', from: '10.9.0.1', sources: 1, sport: 20_000, rate: 200, seconds: 0.2 };
  const refused = await connect(from, { ...options, port: 81 });
  assert.deepEqual([refused.begun, refused.refused, refused.done], [40, 40, 0]);
  const server = to.spawn(['python3', '-m', 'http.server', '80']);
  for (let i = 0; i < 100 && !(await to.must(['ss', '-Hltn', 'sport = :80'])); i++);
  const done = await connect(from, { ...options, sport: 21_000, port: 80 });
  await server.stop();
  assert.deepEqual([done.begun, done.done, done.local], [40, 40, 0]);
});

test('Ctrl-C in the middle of a bench leaves no namespace and no process', async () => {
  const bench = spawn(process.execPath, [file('dist/bench/run.js'), '--suite', 'cpu', '--quick'], { stdio: 'pipe' });
  const ours = () => readdirSync('/run/netns').filter((name) => name.startsWith(`tungate-${bench.pid}-`));
  for await (const text of bench.stderr) if (String(text).includes('round 1')) break;
  assert.ok(ours().length > 0);
  bench.kill('SIGINT');
  const [code] = await once(bench, 'exit');
  assert.equal(code, 130);
  assert.deepEqual(ours(), []);
  assert.ok(!existsSync(`/proc/${bench.pid}`));
});
