/**
 * The unit file, judged by systemd's own tools, and the daemon run as the unit would run it. systemd itself cannot run here,
 * so user, capabilities and mounts are made by setpriv and unshare from what the unit says, and manager.py hears what the
 * daemon says. The system call filter is not applied (nothing but
 * systemd does that); what a life of the daemon calls was compared with it by strace, by hand.
 */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { chmodSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { type KernelState, LAB_ENV, needTools, niceOf } from '../../src/lab/index.js';
import {
  assertWorks,
  diffState,
  eventually,
  INTERNET,
  kernelState,
  LAN,
  P,
  prepare,
  type Stage,
} from '../netns/stage.js';
import { Manager } from './manager.js';

const ROOT = join(dirname(fileURLToPath(import.meta.url)), '..', '..', '..');
const CLI = join(ROOT, 'dist', 'src', 'cli.js');
const UNIT = join(ROOT, 'deploy', 'systemd', 'tungate.service');
const unit = readFileSync(UNIT, 'utf8');
/** Any user who is nobody else; root's capabilities are what must not be needed. */
const UID = 64_646;

function setting(name: string): string {
  const match = new RegExp(`^${name}=(.*)$`, 'm').exec(unit);
  assert.ok(match, `the unit has no ${name}=`);
  return match[1]!;
}

const run = (file: string, ...args: string[]) =>
  spawnSync(file, args, { encoding: 'utf8', env: LAB_ENV, timeout: 30_000 });

describe('the unit file', () => {
  test('systemd-analyze security: exposure at most 3.0', () => {
    const { status, stdout, stderr } = run('systemd-analyze', 'security', '--offline=true', '--threshold=30', UNIT);
    assert.equal(status, 0, stdout + stderr);
  });

  test('systemd-analyze verify has nothing to say about what install-service prints', () => {
    const dir = mkdtempSync(join(tmpdir(), 'tungate-unit-'));
    try {
      const printed = run(
        process.execPath,
        CLI,
        'install-service',
        '--print',
        '--config',
        '/etc/tungate/two words.yaml',
      );
      assert.equal(printed.status, 0, printed.stderr);
      assert.match(printed.stdout, /^ReadWritePaths=-\/etc\/tungate\/conf\.d$/m);
      assert.match(printed.stdout, /^ExecStart=\S+ \S+cli\.js up --config "\/etc\/tungate\/two words\.yaml"$/m);
      writeFileSync(join(dir, 'tungate.service'), printed.stdout);
      const { status, stderr } = run('systemd-analyze', 'verify', '--man=no', join(dir, 'tungate.service'));
      assert.equal(
        stderr
          .split('\n')
          .filter((line) => line.includes('tungate'))
          .join('\n'),
        '',
      );
      assert.equal(status, 0, stderr);
    } finally {
      rmSync(dir, { recursive: true });
    }
  });

  test('it says what the hand-over needs, and nothing that breaks the router', () => {
    const wanted = {
      Type: 'notify',
      KillSignal: 'SIGTERM',
      RestartKillSignal: 'SIGUSR2',
      RuntimeDirectoryPreserve: 'yes',
      RestartPreventExitStatus: '2 77',
      LimitNICE: '-10',
      AmbientCapabilities: 'CAP_NET_ADMIN',
      CapabilityBoundingSet: 'CAP_NET_ADMIN',
    };
    for (const [name, value] of Object.entries(wanted)) assert.equal(setting(name), value, name);
    assert.ok(Number(setting('FileDescriptorStoreMax')) >= 16);
    assert.doesNotMatch(
      unit,
      /^(Nice|ProtectKernelTunables|PrivateDevices|MemoryDenyWriteExecute|PrivateNetwork|PrivateUsers)=/m,
    );
  });

  test('install-service --root writes unit, user and the folder for overlays', () => {
    const dir = mkdtempSync(join(tmpdir(), 'tungate-root-'));
    try {
      const { status, stderr } = run(process.execPath, CLI, 'install-service', '--root', dir);
      assert.equal(status, 0, stderr);
      assert.match(readFileSync(join(dir, 'etc/systemd/system/tungate.service'), 'utf8'), /^ExecStart=\//m);
      assert.match(readFileSync(join(dir, 'etc/sysusers.d/tungate.conf'), 'utf8'), /^u tungate /m);
      assert.ok(existsSync(join(dir, 'etc/tungate/conf.d')));
      assert.equal(statSync(join(dir, 'etc/tungate/keys')).mode & 0o777, 0o700);
    } finally {
      rmSync(dir, { recursive: true });
    }
  });

  test('the folder for overlays is the one beside the config, and the service may write there', () => {
    const dir = mkdtempSync(join(tmpdir(), 'tungate-root-'));
    try {
      const config = '/srv/my routers/one.yaml';
      assert.equal(run(process.execPath, CLI, 'install-service', '--root', dir, '--config', config).status, 0);
      const file = join(dir, 'etc/systemd/system/tungate.service');
      assert.match(readFileSync(file, 'utf8'), /^ReadWritePaths="-\/srv\/my routers\/conf\.d"$/m);
      assert.ok(existsSync(join(dir, 'srv/my routers/conf.d')));
      const { stderr } = run('systemd-analyze', 'verify', '--man=no', file);
      assert.doesNotMatch(stderr, /ReadWritePaths/);
    } finally {
      rmSync(dir, { recursive: true });
    }
  });
});

describe('the daemon as the unit runs it', () => {
  let stage: Stage;
  let manager: Manager;
  let argv: string[];
  let untouched: KernelState;
  let raised: boolean;

  before(async () => {
    needTools(['setpriv', 'unshare', 'mount', 'prlimit', 'python3']);
    stage = await prepare();
    const { lab, router, daemon } = stage;
    // In a user namespace of one user there is nobody else to be: capabilities and mounts are tried all the same.
    const others = readFileSync('/proc/self/uid_map', 'latin1').trim().split(/\s+/)[2] !== '1';
    const program = join(lab.dir, 'program');
    mkdirSync(program);
    for (const dir of [lab.dir, daemon.dir]) chmodSync(dir, 0o711);
    if (others) assert.equal(run('chown', '-R', `${UID}:${UID}`, daemon.runtimeDir).status, 0);
    const capabilities = setting('CapabilityBoundingSet').toLowerCase().replace('cap_', '+');
    const ambient = setting('AmbientCapabilities').toLowerCase().replace('cap_', '+');
    const user = others ? [`--reuid=${UID}`, `--regid=${UID}`, '--clear-groups'] : [];
    const overlays = join(daemon.dir, 'conf.d');
    mkdirSync(overlays);
    if (others) assert.equal(run('chown', `${UID}:${UID}`, overlays).status, 0);
    assert.match(setting('ReadWritePaths'), /\/conf\.d$/);
    // ProtectSystem=strict: all read-only but /dev, /proc, /sys, the runtime directory and ReadWritePaths. The checkout may lie where only
    // its owner gets, so it is shown under another path.
    const mounts = [
      'mount --make-rprivate /',
      `mount --bind '${ROOT}' '${program}'`,
      `mount --bind '${daemon.runtimeDir}' '${daemon.runtimeDir}'`,
      `mount --bind '${overlays}' '${overlays}'`,
      'mount -o remount,bind,ro / 2>/dev/null || mount --bind / / && mount -o remount,bind,ro /',
      `mount -o remount,bind,ro '${program}'`,
      'mount -t tmpfs -o ro none /home',
      // udev makes it 0666; where no udev runs the kernel's 0600 is left. A user namespace cannot make nodes, and is root.
      ...(others ? ['mount -t tmpfs none /dev/net', 'mknod -m 666 /dev/net/tun c 10 200'] : []),
      `umask ${setting('UMask')}`,
    ];
    // RLIMIT_NICE counts from 20 down. Where we may not set it (CAP_SYS_RESOURCE) the workers stay where they are.
    const limit = ['prlimit', `--nice=${20 - Number(setting('LimitNICE'))}`] as const;
    raised = run(...limit, 'true').status === 0;
    const drop = ['setpriv', ...user, `--bounding-set=-all,${capabilities}`, `--inh-caps=-all,${ambient}`];
    if (raised) drop.unshift(...limit);
    argv = router.ns.enter([
      ...['unshare', '--mount', 'sh', '-ec', `${mounts.join('\n')}\nexec "$@"`, 'sh', ...drop],
      ...[`--ambient-caps=-all,${ambient}`, '--no-new-privs', process.execPath, join(program, 'dist/src/cli.js'), 'up'],
      ...['--runtime-dir', daemon.runtimeDir, '-c', daemon.configFile],
    ]);
    manager = new Manager(lab, join(daemon.runtimeDir, 'notify'));
    untouched = await kernelState(router.ns);
    await eventually('the manager listens', async () => existsSync(manager.socket));
  });
  after(() => stage?.lab.close());

  test('it starts with CAP_NET_ADMIN alone on read-only mounts, says READY=1 with a status, and routes', async () => {
    manager.start(argv, { WATCHDOG_USEC: '1000000' });
    const { message } = await manager.says('READY=1');
    assert.match(message!, /^STATUS=203\.0\.113\.10 on vmbr0 for 172\.22\.161\.0\/24 on vmbr1; 0 flows$/m);
    await assertWorks(stage);
    const pid = manager.events.find((event) => event.pid)!.pid!;
    const status = readFileSync(`/proc/${pid}/status`, 'latin1');
    assert.match(status, /^CapEff:\t0000000000001000$/m);
    assert.match(status, /^NoNewPrivs:\t1$/m);
    const nices = niceOf(pid);
    assert.equal(nices.get(pid), 0, 'control comes behind');
    assert.equal([...nices.values()].includes(-10), raised, 'the workers before other programs');
  });

  test('`forward add` lasts: it is written to conf.d, which is all of the config that the service may write', async () => {
    const { daemon, one } = stage;
    const spec = `2223:${LAN.a}:22/tcp`;
    assert.equal((await daemon.cli('forward', 'add', spec, '--as', 'lasting')).code, 0);
    const file = join(daemon.dir, 'conf.d', '90-tungate.yaml');
    assert.match(readFileSync(file, 'utf8'), /name: lasting/);
    assert.equal((await one.askTcp({ to: P, port: 2223 })).local, `${LAN.a}:22`);
    assert.equal((await daemon.cli('forward', 'remove', 'lasting')).code, 0);
    assert.doesNotMatch(readFileSync(file, 'utf8'), /lasting/);
  });

  test('the watchdog is fed while the workers move packets', async () => {
    const from = manager.events.length;
    await manager.says('WATCHDOG=1', from);
    await manager.says('WATCHDOG=1', from + 1);
  });

  test('a reload says RELOADING=1 with the time, then READY=1; a refused one too', async () => {
    for (const text of ['lans: 7\n', readFileSync(stage.daemon.configFile, 'utf8')]) {
      const from = manager.events.length;
      await stage.daemon.reload(text);
      const { message } = await manager.says('RELOADING=1', from);
      const micros = Number(/^MONOTONIC_USEC=(\d+)$/m.exec(message!)![1]);
      assert.ok(Math.abs(micros / 1e6 - Number(process.hrtime.bigint()) / 1e9) < 30, message);
      await manager.says('READY=1', from);
    }
  });

  test('a restart: the store keeps the queues, and packets that come meanwhile wait instead of being lost', async () => {
    const connection = await stage.a.connect({ to: INTERNET.one, port: 7 });
    await connection.say('before');
    const stored = manager.events.findLast((event) => event.stored !== undefined)!;
    assert.ok(stored.stored! > 0, 'the TUN is in the store');
    // With a deadline ping goes on until it has its answers, however long the start takes on a busy machine.
    const ping = stage.a.ns.spawn(['ping', '-n', '-i', '0.02', '-c', '150', '-w', '20', INTERNET.one]);
    await ping.waitFor(/icmp_seq=10 /);
    const from = manager.events.length;
    const down = performance.now();
    manager.signal('USR2');
    assert.equal((await manager.wait('the end', (event) => event.exit !== undefined, from)).exit, 0);
    assert.ok(manager.messages.some((message) => message.includes('STOPPING=1')));
    manager.start(argv, { WATCHDOG_USEC: '1000000' });
    await manager.says('READY=1', from);
    console.log(`# restart: ${Math.round(performance.now() - down)} ms from the signal to READY=1`);
    assert.equal((await connection.say('after', 10)).text, 'after');
    await ping.ended;
    const [sent = 0, received = 0] = (/(\d+) packets transmitted, (\d+) received/.exec(ping.stdout) ?? [])
      .slice(1)
      .map(Number);
    assert.ok(
      received >= 150 && sent - received <= 3,
      `all but those under way are answered: ${ping.stdout.slice(-200)}`,
    );
    const links = await stage.router.ns.must(['ip', '-d', 'link', 'show', 'type', 'tun']);
    assert.match(links, new RegExp(`numqueues ${stored.stored} `), 'as many queues as before, none opened twice');
  });

  test('after a crash the next start takes the stored queues too', async () => {
    const connection = await stage.a.connect({ to: INTERNET.one, port: 7 });
    await connection.say('before');
    const from = manager.events.length;
    manager.signal('KILL');
    await manager.wait('the end', (event) => event.exit !== undefined, from);
    manager.start(argv);
    await manager.says('READY=1', from);
    assert.equal((await connection.say('after', 10)).text, 'after');
  });

  test('a deleted TUN is replaced in the store', async () => {
    const from = manager.events.length;
    const { tun } = await stage.daemon.json<{ tun: string }>('status');
    stage.router.ns.ip(`link del ${tun}`);
    await manager.says('FDSTOREREMOVE=1', from, 30);
    await manager.says('FDSTORE=1', from, 30);
    await eventually(
      'the router works again',
      async () =>
        assertWorks(stage).then(
          () => true,
          () => false,
        ),
      30,
    );
  });

  test('SIGTERM: STOPPING=1, the store is emptied, the kernel is as before, the runtime directory stays', async () => {
    const from = manager.events.length;
    manager.signal('TERM');
    assert.equal((await manager.wait('the end', (event) => event.exit !== undefined, from)).exit, 0);
    assert.equal(manager.events.findLast((event) => event.stored !== undefined)!.stored, 0);
    assert.deepEqual(diffState(untouched, await kernelState(stage.router.ns)), []);
    assert.ok(statSync(stage.daemon.runtimeDir).isDirectory());
  });
});
