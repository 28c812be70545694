/**
 * REQ-62: the router ends in three ways and begins again; streams in which only the server speaks go on (the kernel's own NAT
 * loses those with its table), new flows work, and nothing of the LAN is seen outside meanwhile.
 */
import assert from 'node:assert/strict';
import {
  existsSync,
  mkdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import type { Flow, Status } from '../../src/contract/api.js';
import {
  addressOf,
  assertWorks,
  Capture,
  eventually,
  INTERNET,
  LAN,
  P,
  pause,
  raise,
  type Stage,
  works,
} from './stage.js';
import { type Heard, Ticker } from './ticker.js';

const CLI = fileURLToPath(new URL('../../src/cli.js', import.meta.url));
/** Generous: the figures are printed; time limits in tests only stop a hang. */
const BOUND_MS = 60_000;

describe('restart', () => {
  let stage: Stage;
  before(async () => {
    stage = await raise();
  });
  after(() => stage?.lab.close());

  /** Runs `restart` beside streams, and says how long it was dark. `restart` returns when the old process is gone. */
  async function through(
    restart: () => Promise<void>,
    say: (text: string) => void,
    ...options: string[]
  ): Promise<void> {
    const { a, one, daemon, inet } = stage;
    const outside = await Capture.start(inet, 'wan', 'src net 172.22.161.0/24 or src net 10.0.0.0/8');
    const tcp = await Ticker.start('tcp', a, one, 9001, 1);
    const udp = await Ticker.start('udp', a, one, 9002, 1);
    const ping = a.ns.spawn(['ping', '-q', '-n', '-i', '0.005', '-s', '1000', INTERNET.one]);
    await pause(300);
    await restart();
    const begin = performance.now();
    daemon.launch(...options);
    let works = 0;
    // With more patience each time: where the machine is slow no answer comes within 20 ms.
    for (let patience = 0.02; works === 0 && performance.now() - begin < BOUND_MS; patience *= 1.05)
      if ((await a.tryAsk('udp', { to: INTERNET.two, port: 7, seconds: patience })) === 'host-2')
        works = performance.now() - begin;
    await daemon.process.waitFor(/\bready\b/);
    const ready = performance.now() - begin;
    // TCP's own patience (it doubles) is longer than the silence was.
    await pause(1000);
    await ping.stop('SIGINT');
    const heard: { tcp: Heard; udp: Heard } = { tcp: await tcp.stop(), udp: await udp.stop() };
    say(
      `new flows after ${works.toFixed(0)} ms, ready after ${ready.toFixed(0)} ms of the start; silence of a UDP stream ` +
        `${heard.udp.longestGap} ms (${heard.udp.lost} datagrams), of a TCP stream ${heard.tcp.longestGap} ms`,
    );
    assert.ok(works > 0, `no new flow within ${BOUND_MS} ms`);
    assert.deepEqual([heard.tcp.error, heard.tcp.lost, heard.udp.error], ['', 0, '']);
    assert.ok(heard.tcp.count > 500 && heard.udp.longestGap < BOUND_MS, JSON.stringify(heard));
    assert.deepEqual(await outside.stop(), [], 'nothing private left');
    assert.equal((await one.askTcp({ to: P, port: 10_007 })).host, 'client-a');
  }

  test('REQ-62 kill -9 and start', (t) =>
    through(
      () => stage.daemon.kill(),
      (text) => t.diagnostic(text),
    ));

  test('REQ-62 hand-over: stop --keep and start', (t) =>
    through(
      async () => {
        assert.equal((await stage.daemon.cli('stop', '--keep')).code, 0);
        await stage.daemon.process.ended;
      },
      (text) => t.diagnostic(text),
    ));

  test('REQ-62 hand-over: SIGUSR2 and start, as `systemctl restart` does', (t) =>
    through(
      async () => {
        assert.equal(await stage.daemon.stop('SIGUSR2'), 0);
      },
      (text) => t.diagnostic(text),
    ));

  test('REQ-62 hand-over: up --take-over beside the running one', async (t) => {
    const old = stage.daemon.process;
    await through(
      async () => {},
      (text) => t.diagnostic(text),
      '--take-over',
    );
    assert.equal(await old.ended, 0);
  });

  test('up --take-over with a config that does not fit leaves the running one at work', async () => {
    const old = stage.daemon.process;
    const { code, stderr } = await stage.daemon.cli('up', '--take-over', '-c', `${stage.daemon.configFile}.none`);
    assert.equal(code, 2, stderr);
    assert.equal(old.code, undefined);
    assert.equal((await stage.one.askTcp({ to: P, port: 10_007 })).host, 'client-a');
  });

  // ---- Going on before the config is read (control/resume.ts).

  const RESUME = new URL('../../src/control/resume.js', import.meta.url).href;
  /** As `up` begins, and nothing of what follows there. */
  const FIRST_PART = `(async () => {
    const { resume, letGo } = await import('${RESUME}');
    const { parkWorker } = await import('${new URL('park.js', RESUME)}');
    const { runtimePaths } = await import('${new URL('runtime-dir.js', RESUME)}');
    const [dir, config] = process.argv.slice(1);
    const parked = parkWorker();
    const resumed = resume(runtimePaths(dir), config, parked, () => []);
    if (resumed === null) { console.log('nothing to go on with'); process.exit(); }
    await resumed.started;
    console.log('packets flow');
    process.once('SIGTERM', async () => { await letGo(resumed); resumed.release(); process.exit(0); });
    setInterval(() => {}, 1000);
  })()`;
  const firstPart = ({ router, daemon }: Stage) =>
    router.ns.spawn([process.execPath, '-e', FIRST_PART, daemon.runtimeDir, daemon.configFile]);
  /** What the last run left is still there: its TUN, and filters that lead to it. */
  const isLeft = async ({ router }: Stage) =>
    /tungate0/.test(await router.ns.must(['ip', 'link'])) &&
    /mirred/.test(await router.ns.must(['tc', 'filter', 'show', 'dev', 'vmbr1', 'ingress']));

  test('after a crash packets flow by the plan that was in force, before a config is read', async () => {
    const { a, one, daemon } = stage;
    const open = await a.connect({ to: INTERNET.one, port: 7 });
    await open.say('before');
    await daemon.kill();
    const part = firstPart(stage);
    await part.waitFor(/packets flow/);
    assert.equal((await open.say('meanwhile', 10)).text, 'meanwhile');
    assert.equal((await one.askTcp({ to: P, port: 10_007 })).host, 'client-a');
    assert.equal(await part.stop('SIGTERM'), 0);
    assert.ok(await isLeft(stage));
    await daemon.up();
    assert.equal((await open.say('after', 10)).text, 'after');
  });

  test('a plan that is damaged, or of another config, is not gone on with; the start takes the ordinary way', async () => {
    const { daemon } = stage;
    const plan = join(daemon.runtimeDir, 'default', 'plan');
    await daemon.kill();
    const [whole, text] = [readFileSync(plan), readFileSync(daemon.configFile, 'utf8')];
    const refused = async (what: string) => {
      const part = firstPart(stage);
      assert.equal(await part.ended, 0, what);
      assert.match(part.stdout, /nothing to go on with/, what);
    };
    for (const at of [0, 40, whole.length >> 1, whole.length - 1]) {
      const damaged = Buffer.from(whole);
      damaged[at]! ^= 1;
      writeFileSync(plan, damaged);
      await refused(`byte ${at}`);
    }
    writeFileSync(plan, whole.subarray(0, 1000));
    await refused('cut');
    writeFileSync(plan, whole);
    daemon.configure(`${text}# another word\n`);
    await refused('another config');
    await daemon.up();
    await assertWorks(stage);
  });

  test('refused after it went on: everything is as the crash left it, and a config that fits goes on with it', async () => {
    const { a, router, daemon } = stage;
    const open = await a.connect({ to: INTERNET.one, port: 7 });
    await open.say('before');
    const text = readFileSync(daemon.configFile, 'utf8');
    await daemon.kill();
    daemon.configure('lans: 7\n');
    daemon.launch();
    assert.equal(await daemon.process.ended, 2, 'a config that is wrong');
    assert.ok(await isLeft(stage));
    daemon.configure(text);
    router.ns.ip('addr add 172.22.161.200/28 dev vmbr0');
    daemon.launch();
    assert.equal(await daemon.process.ended, 2, 'a host that the config does not fit any more');
    assert.match(daemon.process.stderr, /overlaps/);
    assert.ok(await isLeft(stage));
    router.ns.ip('addr del 172.22.161.200/28 dev vmbr0');
    await daemon.up();
    assert.equal((await open.say('after', 20)).text, 'after');
  });

  test('a table that was cut, or is something else, is refused with the reason, and flows begin anew', async () => {
    const { daemon } = stage;
    const flows = join(daemon.runtimeDir, 'default', 'flows');
    const { size } = statSync(flows);
    const cases: readonly (readonly [string, () => void, RegExp])[] = [
      ['cut', () => truncateSync(flows, 5000), /flows: has 5000 bytes instead of \d+: it was cut, or limits\.flows/],
      ['overwritten', () => writeFileSync(flows, Buffer.alloc(size, 0xa5)), /flows begin anew: not a flow table/],
      ['gone', () => rmSync(flows), /ready/],
    ];
    for (const [what, damage, said] of cases) {
      await daemon.kill();
      damage();
      await daemon.up();
      assert.match(daemon.process.stderr, said, what);
      assert.doesNotMatch(daemon.process.stderr, /"level":"error"/, what);
      assert.equal(statSync(flows).size, size, what);
      await assertWorks(stage);
    }
    for (const [what, lay] of [
      ['a folder', () => mkdirSync(flows)],
      ['a link', () => symlinkSync('/etc/hostname', flows)],
    ] as const) {
      await daemon.kill();
      rmSync(flows);
      lay();
      daemon.launch();
      assert.equal(await daemon.process.ended, 1, what);
      assert.match(daemon.process.stderr, /flows: not an ordinary file; .*move it away/, what);
      rmSync(flows, { force: true, recursive: true });
      await daemon.up();
      await assertWorks(stage);
    }
  });

  // ---- The plan that is gone on with is old by then.

  const bridge = [
    'link add vmbr1 type bridge stp_state 0 forward_delay 0 mcast_snooping 0',
    'link set vm170 master vmbr1',
    'link set vm20 master vmbr1',
    'link set vmbr1 up',
    `addr add ${LAN.gateway}/24 dev vmbr1`,
  ];
  const route = `route replace default via ${INTERNET.gateway}`;
  const move = (from: string, to: string) => [`addr del ${from}/24 dev vmbr0`, `addr add ${to}/24 dev vmbr0`, route];
  const OTHER = '203.0.113.99';

  for (const [what, meanwhile, later, flowEnds] of [
    ['the uplink went down', ['link set vmbr0 down'], ['link set vmbr0 up', route]],
    ['the LAN was deleted', ['link del vmbr1'], bridge],
    ['the LAN was made anew, with another index', ['link del vmbr1', ...bridge], []],
    ['the TUN was deleted', ['link del tungate0'], []],
    ['the uplink has another address', move(P, OTHER), move(OTHER, P), true],
  ] as readonly (readonly [string, readonly string[], readonly string[], boolean?])[])
    test(`while nobody ran ${what}: the start follows, flows go on as far as they can, and it works when the host is whole`, async () => {
      const { a, router, daemon } = stage;
      const open = await a.connect({ to: INTERNET.one, port: 7 });
      await open.say('before');
      await daemon.kill();
      router.ns.ip(...meanwhile);
      await daemon.up();
      assert.match(daemon.process.stderr, /took over \d+ live flows/);
      if (flowEnds) {
        const seen = await a.askTcp({ to: INTERNET.one, port: 7, seconds: 5 });
        assert.equal(addressOf(seen.peer), OTHER);
        await eventually('flows of the old address have ended', async () => {
          const flows = await daemon.json<Flow[]>('flows');
          return flows.every(({ reply }) => reply.dst !== P);
        });
      }
      if (later.length > 0) router.ns.ip(...later);
      await eventually('it works', () => works(stage), 15);
      if (!flowEnds) assert.equal((await open.say('after', 20)).text, 'after');
      assert.doesNotMatch(daemon.process.stderr, /"level":"(error|fatal)"/);
      assert.equal((await daemon.json<Status>('status')).problems.length, 0);
    });

  test('two starts at the same moment after a crash: one goes on, the other says who is there', async () => {
    const { router, daemon } = stage;
    await daemon.kill();
    const argv = [process.execPath, CLI, 'up', '-c', daemon.configFile, '--runtime-dir', daemon.runtimeDir];
    const both = [router.ns.spawn(argv), router.ns.spawn(argv)];
    const lost = await Promise.race(both.map((each) => each.ended.then(() => each)));
    assert.equal(lost.code, 1, lost.tail());
    assert.match(lost.stderr, /is already running here \(pid \d+|others start here at the same moment/);
    const won = both.find((each) => each !== lost)!;
    await won.waitFor(/\bready\b/);
    daemon.process = won;
    await assertWorks(stage);
  });

  test('killed again and again at any moment of its starts, hand-overs and reloads: the flow that was there goes on', async (t) => {
    const { a, daemon } = stage;
    const open = await a.connect({ to: INTERNET.one, port: 7 });
    await open.say('before');
    const text = readFileSync(daemon.configFile, 'utf8');
    for (let round = 0; round < 12; round++) {
      await daemon.kill();
      daemon.configure(round % 3 === 2 ? text : `${text}# round ${round}\n`);
      daemon.launch();
      await pause(round * 60 + Math.random() * 60);
      if (round % 4 === 3) daemon.process.child.kill('SIGUSR2');
      if (round % 4 === 1) daemon.process.child.kill('SIGHUP');
      await pause(Math.random() * 30);
    }
    await daemon.kill();
    daemon.configure(text);
    await daemon.up();
    t.diagnostic(daemon.process.stderr.match(/took over \d+ live flows/)?.[0] ?? 'no flow was taken over');
    assert.equal((await open.say('after', 20)).text, 'after');
    await assertWorks(stage);
    assert.equal((await daemon.json<Status>('status')).problems.length, 0);
  });

  test('a plain stop leaves no plan behind', async () => {
    assert.equal(await stage.daemon.stop(), 0);
    assert.equal(existsSync(join(stage.daemon.runtimeDir, 'default')), false);
    await stage.daemon.up();
  });
});
