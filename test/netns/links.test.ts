/**
 * Site links of the router, driven as a user drives them: a config, `tungate` verbs, and the stock wg(8) on the link's socket. The far side is
 * Debian's wireguard-go on host-1 of the standard topology (src/lab/topology.ts):
 *
 *   client-a ── vmbr1 ── router ══ link 10.99.0.1 ═══ 10.99.0.2 ══ host-1 192.168.20.1
 *                                (over the internet: P:51820 ↔ 198.51.100.10:51820)
 */
import assert from 'node:assert/strict';
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import type { LinkRow, ReloadAnswer, Status } from '../../src/contract/api.js';
import { type KernelState, Site, until } from '../../src/lab/index.js';
import { addressOf, config, diffState, INTERNET, kernelState, LAN, P, prepare, type Stage } from './stage.js';
import { judge } from './tools.js';

const CLI = fileURLToPath(new URL('../../src/cli.js', import.meta.url));
const LINK = `tg${process.pid}r`;
const FAR = '192.168.20.1';

let stage: Stage;
let far: Site;
let secrets: string[] = [];
let before_: KernelState;
let publicKey = '';

const wg = (...args: string[]) => stage.router.ns.run(judge('wg', ...args));
const wgMust = async (...args: string[]) => (await stage.router.ns.must(judge('wg', ...args))).trim();

/** The config with the link; `peers` are further ones, `branch` more words of the first. */
function withLink(peers = '', branch = ''): string {
  return config(`links:
  - name: ${LINK}
    wireguard: { private_key_file: keys/hq, listen: 51820 }
    address: 10.99.0.1/24
    peers:
      - { name: branch, public_key: "${far.publicKey}", preshared_key_file: keys/psk, endpoint: "${INTERNET.one}:51820", allowed_ips: [10.99.0.2/32, 192.168.20.0/24]${branch} }
${peers}    policy: { lan: allow }
metrics: { listen: 127.0.0.1:9469 }
`);
}

async function links(): Promise<LinkRow> {
  return (await stage.daemon.json<LinkRow[]>('links'))[0]!;
}

describe('site links', () => {
  before(async () => {
    stage = await prepare();
    const { one, daemon, lab } = stage;
    far = new Site(lab, one.ns, `tg${process.pid}f`, ['10.99.0.2/24'], judge('wg'));
    await far.start((name) => judge('wireguard-go', '-f', name));
    one.ns.ip(`addr add ${FAR}/32 dev lo`, 'addr add 192.168.21.1/32 dev lo');
    mkdirSync(join(daemon.dir, 'keys'));
    const [hq, psk] = [await wgMust('genkey'), await wgMust('genpsk')];
    writeFileSync(join(daemon.dir, 'keys/hq'), `${hq}\n`, { mode: 0o600 });
    writeFileSync(join(daemon.dir, 'keys/psk'), `${psk}\n`, { mode: 0o600 });
    secrets = [hq, psk].flatMap((key) => [key, Buffer.from(key, 'base64').toString('hex')]);
    publicKey = (await one.ns.must(judge('wg', 'pubkey'), { input: hq })).trim();
    await far.set(['peer', publicKey, 'preshared-key', '/dev/stdin', 'allowed-ips', `10.99.0.1/32,${LAN.subnet}`], psk);
    one.ns.ip(`route add ${LAN.subnet} dev ${far.name}`);
    before_ = await kernelState(stage.router.ns);
    daemon.configure(withLink());
    await daemon.up();
  });

  after(() => stage.lab.close());

  test('LAN and far site reach each other with their own addresses, and the host reaches the far site', async () => {
    const { a, one, router } = stage;
    assert.equal(addressOf((await a.askTcp({ to: FAR, port: 7 })).peer), LAN.a);
    assert.equal(addressOf((await one.askTcp({ to: LAN.a, port: 22, from: FAR })).peer), FAR);
    assert.equal(addressOf((await router.askTcp({ to: FAR, port: 7 })).peer), '10.99.0.1');
    assert.equal(
      addressOf((await a.askTcp({ to: INTERNET.two, port: 7 })).peer),
      P,
      'the internet is reached as before',
    );
  });

  test('REQ-59 wg(8) finds the link: show, show all dump, showconf', async () => {
    const shown = await wgMust('show', LINK);
    assert.match(shown, new RegExp(`public key: ${publicKey.replaceAll('+', '\\+')}`));
    assert.match(shown, /listening port: 51820/);
    assert.match(shown, /endpoint: 198\.51\.100\.10:51820\n {2}allowed ips: .*192\.168\.20\.0\/24/);
    assert.match(shown, /latest handshake: /);
    const dump = (await wgMust('show', 'all', 'dump')).split('\n').filter((line) => line.startsWith(`${LINK}\t`));
    assert.equal(dump.length, 2);
    const conf = await wgMust('showconf', LINK);
    assert.match(conf, /AllowedIPs = (10\.99\.0\.2\/32, 192\.168\.20\.0\/24|192\.168\.20\.0\/24, 10\.99\.0\.2\/32)/);
  });

  test('tungate links, status and metrics tell how it is, and nothing that is said anywhere is secret', async () => {
    const { daemon, router } = stage;
    const row = await links();
    assert.deepEqual(
      [row.name, row.up, row.port, row.address, row.publicKey, row.mtu],
      [LINK, true, 51820, '10.99.0.1', publicKey, 1420],
    );
    const [peer] = row.peers;
    assert.deepEqual([peer!.name, peer!.endpoint], ['branch', `${INTERNET.one}:51820`]);
    assert.ok(Date.now() - Date.parse(peer!.lastHandshake!) < 600_000);
    assert.ok(
      peer!.receivedBytes > 0 && peer!.sentBytes > 0 && peer!.handshakes.initiated + peer!.handshakes.answered > 0,
    );
    const text = await daemon.cli('links');
    assert.match(text.stdout, /up, UDP port 51820, MTU 1420, address 10\.99\.0\.1/);
    assert.match(text.stdout, /branch +198\.51\.100\.10:51820 +\d+ \S+ ago/);
    const metrics = (await router.ns.must(['curl', '-sS', 'http://127.0.0.1:9469/metrics'])).toString();
    assert.match(metrics, new RegExp(`tungate_link_up\\{link="${LINK}"\\} 1`));
    assert.match(
      metrics,
      new RegExp(
        `tungate_link_peer_handshakes_total\\{link="${LINK}",peer="branch",result="(initiated|answered)"\\} [1-9]`,
      ),
    );
    const said = [
      JSON.stringify(row),
      text.stdout,
      metrics,
      JSON.stringify(await daemon.json<Status>('status')),
      daemon.process.tail(),
      ...filesOf(daemon.runtimeDir),
    ];
    const api = join(daemon.runtimeDir, 'default/api.sock');
    said.push(await router.ns.must(['curl', '-sS', '--unix-socket', api, 'http://x/config']));
    for (const secret of secrets) for (const place of said) assert.ok(!place.includes(secret));
    assert.ok(
      said.some((place) => place.includes('keys/hq')),
      'the files are named',
    );
  });

  test("REQ-59 wg set beside the config: policy follows, port and mark stay the config's, a reload brings the config back", async () => {
    const { a, daemon } = stage;
    await wgMust('set', LINK, 'peer', far.publicKey, 'allowed-ips', '10.99.0.2/32,192.168.20.0/24,192.168.21.0/24');
    assert.equal(addressOf((await a.askTcp({ to: '192.168.21.1', port: 7 })).peer), LAN.a);
    assert.deepEqual((await links()).peers[0]!.allowedIps.toSorted(), [
      '10.99.0.2/32',
      '192.168.20.0/24',
      '192.168.21.0/24',
    ]);
    const refused = await wg('set', LINK, 'listen-port', '51999');
    assert.notEqual(refused.code, 0);
    assert.match(refused.stderr, /not permitted/);
    await daemon.process.waitFor(/listen_port is the config's \(wireguard\.listen\); change it there and reload/);
    // What showconf prints is taken by syncconf and setconf, and changes nothing.
    const file = join(daemon.dir, 'as-it-is');
    writeFileSync(file, await wgMust('showconf', LINK), { mode: 0o600 });
    await wgMust('syncconf', LINK, file);
    await wgMust('setconf', LINK, file);
    assert.equal(addressOf((await a.askTcp({ to: '192.168.21.1', port: 7 })).peer), LAN.a);
    const answer = await daemon.json<ReloadAnswer>('reload');
    assert.match(answer.difference, /peers changed: branch/);
    assert.deepEqual((await links()).peers[0]!.allowedIps, ['10.99.0.2/32', '192.168.20.0/24']);
    assert.doesNotMatch(await wgMust('show', LINK, 'allowed-ips'), /192\.168\.21/);
    await assert.rejects(a.askTcp({ to: '192.168.21.1', port: 7, seconds: 2 }));
  });

  test('a reload adds and removes peers and changes one; the session of the others goes on', async () => {
    const { a, daemon } = stage;
    await a.askTcp({ to: FAR, port: 7 });
    const before = (await links()).peers[0]!;
    const other = Buffer.alloc(32, 3).toString('base64');
    const connection = await a.connect({ to: FAR, port: 7 });
    const more = `      - { name: laptop, public_key: "${other}", allowed_ips: 10.99.0.3 }\n`;
    const added = await daemon.reload(withLink(more, ', keepalive: 25'));
    assert.equal(added.code, 0, added.stderr);
    assert.match(added.stdout + added.stderr, /peers added: laptop/);
    assert.match(added.stdout + added.stderr, /peer branch: keepalive/);
    assert.match(await wgMust('show', LINK, 'peers'), new RegExp(other.replaceAll('+', '\\+')));
    assert.match(await wgMust('show', LINK, 'persistent-keepalive'), /\t25/);
    assert.equal((await connection.say('still there')).text, 'still there');
    const removed = await daemon.reload(withLink());
    assert.match(removed.stdout + removed.stderr, /peers removed: laptop/);
    assert.doesNotMatch(await wgMust('show', LINK, 'peers'), new RegExp(other.replaceAll('+', '\\+')));
    assert.equal((await connection.say('and now')).text, 'and now');
    await connection.hangUp();
    const now = (await links()).peers[0]!;
    assert.equal(now.lastHandshake, before.lastHandshake, 'no handshake was needed');
    assert.ok(now.receivedBytes > before.receivedBytes);
  });

  test('doctor: port, keys, names, and the way to the endpoint, with a smaller MTU where the way is narrow', async () => {
    const { daemon, inet, router } = stage;
    const doctor = async () => {
      const { stdout, stderr } = await router.ns.run([
        process.execPath,
        CLI,
        'doctor',
        '-c',
        daemon.configFile,
        '--json',
      ]);
      const checks = JSON.parse(stdout || assert.fail(stderr)) as {
        name: string;
        status: string;
        detail: string;
        remedy: string;
      }[];
      return checks
        .filter(({ name }) => name === 'links')
        .map(({ status, detail, remedy }) => `${status} ${detail}; ${remedy}`);
    };
    const wide = await doctor();
    const has = (lines: readonly string[], what: RegExp) =>
      assert.ok(
        lines.some((line) => what.test(line)),
        lines.join('\n'),
      );
    has(wide, /^ok UDP port 51820 of link .* is free/); // the router that runs does not count
    has(wide, /^ok WireGuard is tungate's own/);
    has(wide, new RegExp(`^ok link .* has public key ${publicKey.replaceAll('+', '\\+')}`));
    has(wide, /^ok peer "branch" of link .*: datagrams of 1480 bytes reach 198\.51\.100\.10:51820, as MTU 1420 needs/);
    has(wide, /^ok whether peers reach UDP port 51820 from outside cannot be seen from here/);
    inet.ip('link set to-1 mtu 1400');
    const narrow = await doctor();
    inet.ip('link set to-1 mtu 1500');
    has(
      narrow,
      /^warn peer "branch" of link .*: datagrams of 1480 bytes, .* do not reach .*; those of 139[2-9]|1400 do; write mtu: 13\d\d/,
    );
    await router.ns.must(['ip', 'route', 'flush', 'cache']);
  });

  test('a config that is wrong changes nothing: a key file that others may read, a port of the pool', async () => {
    const { a, daemon } = stage;
    const file = join(daemon.dir, 'keys/open');
    writeFileSync(file, `${Buffer.alloc(32, 5).toString('base64')}\n`, { mode: 0o644 });
    const text = withLink().replace('keys/hq', 'keys/open').replace('51820 }', '20001 }');
    const { code, stderr } = await daemon.reload(text);
    assert.equal(code, 2, stderr);
    assert.match(
      stderr,
      /private_key_file: .*keys\/open: others may read this private key \(mode 0644\); run: chmod 600/,
    );
    assert.match(stderr, /wireguard\.listen: 20001 is in the pool of the uplink at .*:1:9/);
    daemon.configure(withLink());
    await a.askTcp({ to: FAR, port: 7 });
  });

  test('kill -9 and up again: the far side is reached as soon as packets flow', async () => {
    const { a, daemon } = stage;
    await daemon.kill();
    assert.ok(existsSync(`/var/run/wireguard/${LINK}.sock`), 'a stale socket');
    await daemon.up();
    assert.equal(addressOf((await a.askTcp({ to: FAR, port: 7 })).peer), LAN.a);
    assert.match(await wgMust('show', LINK), /latest handshake/);
  });

  test('a link that is taken out of the config is gone, with its socket, port, address and routes; and comes back', async () => {
    const { a, daemon, router } = stage;
    const gone = await daemon.reload(config('metrics: { listen: 127.0.0.1:9469 }\n'));
    assert.match(gone.stdout + gone.stderr, new RegExp(`links removed: ${LINK}`));
    assert.ok(!existsSync(`/var/run/wireguard/${LINK}.sock`));
    assert.doesNotMatch(await router.ns.must(['ip', 'addr']), /10\.99\.0\.1/);
    assert.doesNotMatch(await router.ns.must(['ip', 'route']), /192\.168\.20/);
    assert.doesNotMatch(await router.ns.must(['ss', '-lun']), /:51820/);
    assert.deepEqual(await daemon.json<LinkRow[]>('links'), []);
    const back = await daemon.reload(withLink());
    assert.match(back.stdout + back.stderr, new RegExp(`links added: ${LINK}`));
    await until(
      async () => (await links()).peers[0]?.lastHandshake !== null || (await works(a)),
      'the link works again',
    );
    await a.askTcp({ to: FAR, port: 7 });
  });

  for (const end of ['stop', 'kill -9 and clean'] as const)
    test(`${end}: the kernel is as it was before, and the socket is gone`, async () => {
      const { daemon, router } = stage;
      if (end === 'stop') assert.equal(await daemon.stop(), 0);
      else {
        await daemon.up();
        await daemon.kill();
        const { code, stderr } = await daemon.cli('clean');
        assert.equal(code, 0, stderr);
      }
      assert.deepEqual(diffState(before_, await kernelState(router.ns)), []);
      assert.ok(!existsSync(`/var/run/wireguard/${LINK}.sock`));
    });
});

async function works(a: Stage['a']): Promise<boolean> {
  return a.askTcp({ to: FAR, port: 7, seconds: 1 }).then(
    () => true,
    () => false,
  );
}

/** Everything that the router left on disk. */
function filesOf(dir: string): string[] {
  return readdirSync(dir, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile() && entry.name !== 'flows')
    .map((entry) => readFileSync(join(entry.parentPath, entry.name), 'latin1'));
}
