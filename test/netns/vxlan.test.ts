/**
 * Ethernet between sites: the daemon's VXLAN links against the Linux vxlan device, three sites in a triangle, over the internet of the standard topology
 * (src/lab/topology.ts), beside NAT on the same public address:
 *
 *   router: br0 10.0.0.1 ─ vx0 ══ P ════ 198.51.100.10 (host-1): kernel's vx0 10.0.0.2
 *                                 ╚═════ host-2:                 kernel's vx0 10.0.0.3
 *
 * The kernel's devices are judges that we did not write.
 */
import assert from 'node:assert/strict';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import type { LinkRow, VxlanFdb, VxlanLinkRow } from '../../src/contract/api.js';
import { type Host, Site } from '../../src/lab/index.js';
import { assertWorks, config, eventually, INTERNET, P, prepare, type Stage } from './stage.js';
import { judge } from './tools.js';

const CLI = fileURLToPath(new URL('../../src/cli.js', import.meta.url));

const MAC = ['', '02:00:00:00:00:01', '02:00:00:00:00:02', '02:00:00:00:00:03'] as const;
const EVERYBODY = '00:00:00:00:00:00';
const UNDERLAY = { router: P, one: INTERNET.one, two: INTERNET.two } as const;
let stage: Stage;

function withLinks(vxlan = '', more = ''): string {
  return config(`links:
  - name: lan-a
    vxlan: { vni: 42, local: ${P}, remotes: [${INTERNET.one}, ${INTERNET.two}]${vxlan} }
    tap: vx0
    bridge: br0
${more}`);
}

/** The kernel's device at a site; `everybody`: where floods go. */
function device(
  host: Host,
  local: string,
  n: number,
  everybody: readonly string[],
  port = 4789,
  ...options: string[]
): void {
  host.ns.ip(
    `link add vx0 address ${MAC[n]} type vxlan id 42 local ${local} dstport ${port} ${options.join(' ')}`,
    `addr add 10.0.0.${n}/24 dev vx0`,
    'link set vx0 up',
  );
  for (const to of everybody) host.ns.run(['bridge', 'fdb', 'append', EVERYBODY, 'dev', 'vx0', 'dst', to]);
}

async function row(): Promise<VxlanLinkRow> {
  return (await stage.daemon.json<VxlanLinkRow[]>('links'))[0]!;
}

async function reasons(): Promise<Record<string, number>> {
  return Object.fromEntries((await row()).rejected.map(({ reason, packets }) => [reason, packets]));
}

/** Datagrams that the kernel dropped for their checksum. */
async function udpErrors(host: Host): Promise<number> {
  const text = await host.ns.must(['cat', '/proc/self/net/snmp']);
  const [names, values] = text.split('\n').filter((line) => line.startsWith('Udp:'));
  return Number(values!.split(' ')[names!.split(' ').indexOf('InCsumErrors')]);
}

async function ping(from: Host, to: string, ...options: string[]): Promise<void> {
  const end = Date.now() + 60_000;
  for (;;) {
    const { code, stdout } = await from.ns.run(['ping', '-c', '1', '-W', '2', ...options, to]);
    if (code === 0) return;
    if (Date.now() > end) assert.fail(`${from.ns.role} does not reach ${to} (${options}): ${stdout}`);
  }
}

/** Sends one UDP datagram with these bytes (hex) to the router's VXLAN port. */
function forge(from: Host, hex: string, port = 4789): Promise<string> {
  const code = `import socket; socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(bytes.fromhex('${hex}'), ('${P}', ${port}))`;
  return from.ns.must(['python3', '-c', code]);
}

const RECEIVE = `import socket, zlib
server = socket.create_server(('', 5001)); print('listening', flush=True)
sock, _ = server.accept(); crc = total = 0
while data := sock.recv(1 << 20): crc = zlib.crc32(data, crc); total += len(data)
print('received', total, crc, flush=True)`;
const SEND = `import socket, sys, os, zlib
sock = socket.create_connection((sys.argv[1], 5001), 60); block = os.urandom(1000000); crc = 0
for _ in range(int(sys.argv[2])): sock.sendall(block); crc = zlib.crc32(block, crc)
sock.shutdown(socket.SHUT_WR); print(int(sys.argv[2]) * len(block), crc)`;

/** One TCP stream of that many million bytes: what arrives is what was sent. */
async function stream(from: Host, to: Host, address: string, megabytes: number): Promise<void> {
  const receiver = to.ns.spawn(['python3', '-c', RECEIVE]);
  await receiver.waitFor(/listening/);
  const sent = (await from.ns.must(['python3', '-c', SEND, address, String(megabytes)], { seconds: 300 })).trim();
  await receiver.waitFor(new RegExp(`^received ${sent}$`, 'm'));
}

describe('Ethernet between sites', () => {
  before(async () => {
    stage = await prepare();
    const { router, one, two, daemon } = stage;
    router.ns.ip('link add br0 type bridge', `link set br0 address ${MAC[1]} up`, 'addr add 10.0.0.1/24 dev br0');
    device(one, UNDERLAY.one, 2, [UNDERLAY.router, UNDERLAY.two]);
    device(two, UNDERLAY.two, 3, [UNDERLAY.router, UNDERLAY.one]);
    daemon.configure(withLinks());
    await daemon.up();
  });

  after(() => stage.lab.close());

  test('REQ-53 three sites in a triangle: each reaches each, beside NAT on the same address', async () => {
    const { router, one, two } = stage;
    for (const to of ['10.0.0.2', '10.0.0.3']) await ping(router, to);
    for (const from of [one, two]) await ping(from, '10.0.0.1');
    await ping(one, '10.0.0.3');
    await assertWorks(stage);
    const { up, problem, addresses, remotes } = await row();
    assert.deepEqual([up, problem], [true, '']);
    assert.ok(addresses >= 3, `${addresses}`);
    assert.ok(remotes.every(({ txFrames, rxFrames }) => txFrames > 0 && rxFrames > 0));
  });

  test('links fdb: which address is where, how it is known, and since when', async () => {
    const { daemon, one, two } = stage;
    for (const host of [one, two]) await ping(host, '10.0.0.1');
    const [table] = await daemon.json<VxlanFdb[]>('links', 'fdb', 'lan-a');
    const at = Object.fromEntries(table!.rows.map(({ mac, remote, fixed }) => [mac, `${remote} ${fixed}`]));
    assert.equal(at[MAC[1]], ' false');
    assert.equal(at[MAC[2]], `${INTERNET.one} false`);
    assert.equal(at[MAC[3]], `${INTERNET.two} false`);
    assert.ok(table!.rows.every(({ age }) => age >= 0 && age < 300));
    const text = (await daemon.cli('links', 'fdb')).stdout;
    assert.match(text, new RegExp(`^lan-a +${MAC[2]} +198\\.51\\.100\\.10 +learned, \\d+ s`, 'm'));
    assert.match(text, new RegExp(`^lan-a +${MAC[1]} +vx0 +learned`, 'm'));
    const wrong = await daemon.cli('links', 'fdb', 'lan-z');
    assert.notEqual(wrong.code, 0);
    assert.match(wrong.stderr, /there is no VXLAN link "lan-z"/);
    assert.equal((await daemon.cli('links', 'fbd')).code, 2);
  });

  test('doctor: address, port, bridge, TAP, the way to each remote and its MTU, two links for one bridge', async () => {
    const { daemon, router, inet } = stage;
    const doctor = async (file: string) => {
      const { stdout, stderr } = await router.ns.run([process.execPath, CLI, 'doctor', '-c', file, '--json']);
      const checks = JSON.parse(stdout || assert.fail(stderr)) as Record<string, string>[];
      return checks.filter(({ name }) => name === 'links').map(({ status, detail }) => `${status} ${detail}`);
    };
    const has = (lines: readonly string[], ...what: RegExp[]) => {
      for (const each of what)
        assert.ok(
          lines.some((line) => each.test(line)),
          `${each}\n${lines.join('\n')}`,
        );
    };
    const well = await doctor(daemon.configFile);
    has(
      well,
      /^ok UDP port 4789 at 203\.0\.113\.10 of link "lan-a" is held by the router that runs/,
      /^ok the bridge br0 of link "lan-a" is there/,
      /^ok link "lan-a": MTU 1450; machines behind br0/,
      /^ok link "lan-a": datagrams of 1500 bytes reach 198\.51\.100\.10, as MTU 1450 needs/,
      /^ok TCP leaves VXLAN links in super-frames/,
    );
    inet.ip('link set to-1 mtu 1400');
    const narrow = await doctor(daemon.configFile);
    inet.ip('link set to-1 mtu 1500');
    await router.ns.must(['ip', 'route', 'flush', 'cache']);
    has(
      narrow,
      /^warn link "lan-a": datagrams of 1500 bytes.* do not reach 198\.51\.100\.10; those of 139[2-9]|1400 do/,
    );
    const taken = router.ns.spawn([
      'python3',
      '-c',
      `import socket, time; s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.bind(('${P}', 4791)); print('bound', flush=True); time.sleep(600)`,
    ]);
    await taken.waitFor(/bound/);
    router.ns.ip('link add taken type vxlan id 9 dstport 4792 local 203.0.113.10');
    router.ns.ip('link set taken up');
    const file = join(daemon.dir, 'sick.yaml');
    const link = (name: string, vxlan: string, more: string) =>
      `  - { name: ${name}, vxlan: { vni: 7, ${vxlan} }, tap: ${name}0, ${more} }\n`;
    const sick = [
      link('away', 'local: 203.0.113.99, remotes: 198.51.100.10', 'bridge: br9'),
      link('one', `local: ${P}, port: 4791, remotes: 198.51.100.10`, 'bridge: br0, mtu: 1460'),
      link('two', `local: ${P}, port: 4792, remotes: [198.51.100.10, 198.18.0.1]`, 'bridge: br0'),
      link('nic', `local: ${P}, port: 4793, remotes: 192.0.2.10`, 'bridge: lo'),
    ];
    writeFileSync(file, `links:\n${sick.join('')}`);
    has(
      await doctor(file),
      /^fail this host has not the address 203\.0\.113\.99 of link "away"/,
      /^fail the bridge br9 of link "away" is not there/,
      /^fail .*python3.* holds UDP port 4791 at 203\.0\.113\.10 of link "one"/,
      /^fail link "one": MTU 1460 is too large: a path MTU of 1500 less 50 bytes/,
      /^fail the kernel holds UDP port 4792 at 203\.0\.113\.10 of link "two", for a vxlan device like taken/,
      /^warn links "one" and "two" join the bridge br0 with 198\.51\.100\.10 twice/,
      /^fail an interface nic0 is there already, which link "nic" would make/,
      /^fail lo of link "nic" is no bridge/,
      /^ok UDP port 4793 at 203\.0\.113\.10 of link "nic" is free/,
    );
    router.ns.ip('link del taken');
    await taken.stop();
  });

  test('REQ-46 REQ-47 REQ-51 the MTU follows from the way: full-sized DF probes pass, and larger ones are told so', async () => {
    const { router, one } = stage;
    const { mtu } = await row();
    assert.equal(mtu, 1450);
    await ping(router, '10.0.0.2', '-M', 'do', '-s', String(mtu - 28));
    await ping(one, '10.0.0.1', '-M', 'do', '-s', String(mtu - 28));
    // In fragments of the inner packet.
    await ping(router, '10.0.0.2', '-s', '8000');
    await ping(one, '10.0.0.1', '-s', '8000');
    const refused = await router.ns.run([
      'ping',
      '-I',
      'vx0',
      '-c',
      '1',
      '-W',
      '1',
      '-M',
      'do',
      '-s',
      '1423',
      '10.0.0.2',
    ]);
    assert.notEqual(refused.code, 0);
  });

  test('multicast reaches every site once', async () => {
    const { router, one, two } = stage;
    const code = `import socket, struct
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.bind(('', 5353))
s.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, struct.pack('4s4s', socket.inet_aton('239.1.2.3'), socket.inet_aton('OWN')))
s.settimeout(60)
print('listening', flush=True)
got = s.recv(99)
s.settimeout(1)
try:
    s.recv(99); got += b' twice'
except TimeoutError: pass
print('got', got.decode(), flush=True)`;
    const ears = [one, two].map((host, i) => host.ns.spawn(['python3', '-c', code.replace('OWN', `10.0.0.${i + 2}`)]));
    await Promise.all(ears.map((ear) => ear.waitFor(/listening/)));
    const say = `import socket; s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton('10.0.0.1')); s.sendto(b'hello', ('239.1.2.3', 5353))`;
    await router.ns.must(['python3', '-c', say]);
    await Promise.all(ears.map((ear) => ear.waitFor(/got hello$/m)));
  });

  test('1 GB of TCP each way', async () => {
    const { router, one } = stage;
    await stream(router, one, '10.0.0.2', 1000);
    await stream(one, router, '10.0.0.1', 1000);
  });

  test('REQ-50 TCP super-frames leave whole and are cut up by the kernel: DF, no UDP checksum, a source port of the flow, every byte right', async () => {
    const { router, one } = stage;
    const watch = async (at: Host, device: string, count: number, bytes: number) => {
      const filter = `udp dst port 4789 and src host ${P} and greater ${bytes}`;
      const capture = at.ns.spawn(['tcpdump', '-lnvvi', device, '-c', String(count), filter]);
      await capture.waitFor(/listening/);
      return capture;
    };
    const whole = await watch(router, 'tgouter0', 3, 3000);
    // The bridge of the uplink takes no super-frames of a tunnel: the kernel cuts them up in front of it.
    const cut = await watch(one, 'eth0', 50, 1400);
    await stream(router, one, '10.0.0.2', 20);
    await whole.waitFor(/3 packets captured/);
    await cut.waitFor(/50 packets captured/);
    const outer =
      /flags \[DF\], proto UDP \(17\), length (\d+)\)\s+203\.0\.113\.10\.(\d+) > \S+\.4789: \[no cksum\] VXLAN/g;
    const seen = [whole, cut].map(({ stdout }) =>
      [...stdout.matchAll(outer)].map(([, length, port]) => ({ length: Number(length), port: Number(port) })),
    );
    assert.deepEqual([seen[0]!.length, seen[1]!.length], [3, 50], `${whole.tail()}\n${cut.tail()}`);
    assert.ok(seen[1]!.every(({ length }) => length <= 1500));
    const ports = new Set(seen.flat().map(({ port }) => port));
    assert.equal(ports.size, 1, `${[...ports]}`);
    assert.ok([...ports][0]! >= 49_152);
    assert.doesNotMatch(cut.stdout, /incorrect/);
    // Somebody switches routing off for the whole host, and with it that of our device.
    for (const value of ['1', '0']) await router.ns.must(['sysctl', '-w', `net.ipv4.ip_forward=${value}`]);
    const forwarding = ['cat', '/proc/sys/net/ipv4/conf/tgouter0/forwarding'];
    await eventually('the device forwards again', async () => (await router.ns.must(forwarding)).trim() === '1');
    await stream(router, one, '10.0.0.2', 20);
  });

  test('complete checksums and single packets, as from a real network card', async () => {
    const { router, two } = stage;
    await two.ns.must(['ethtool', '-K', 'eth0', 'tx', 'off', 'gso', 'off']);
    await stream(router, two, '10.0.0.3', 100);
    await stream(two, router, '10.0.0.1', 100);
  });

  test('REQ-48 strangers, wrong networks and malformed datagrams are dropped and counted', async () => {
    const { one } = stage;
    const frame = `${'ff'.repeat(6)}0200000000990800${'00'.repeat(46)}`;
    const good = `0800000000002a00${frame}`;
    const before = await reasons();
    await forge(one, '0800'); // too short
    await forge(one, `0000000000002a00${frame}`); // no VNI
    await forge(one, `0800000000002b00${frame}`); // another network
    await forge(one, '0800000000002a00ffff'); // no frame
    await one.ns.must(['ip', 'addr', 'add', '198.51.100.99/32', 'dev', 'eth0']);
    const stranger = `import socket; s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.bind(('198.51.100.99', 0)); s.sendto(bytes.fromhex('${good}'), ('${P}', 4789))`;
    await one.ns.must(['python3', '-c', stranger]);
    const names = ['malformed', 'no-vni', 'wrong-vni', 'runt', 'stranger'];
    await eventually('five refusals', async () => {
      const now = await reasons();
      return names.every((name) => (now[name] ?? 0) > (before[name] ?? 0));
    });
    const text = (await stage.daemon.cli('links')).stdout;
    assert.match(text, /lan-a: up, VXLAN 42 on vx0 in br0, .* UDP port 4789, MTU 1450/);
    assert.match(text, /rejected +\S+ stranger: From an address that is none of the configured remotes/);
  });

  test('REQ-51 REQ-50 a datagram that came in fragments is dropped and counted; a wrong UDP checksum never arrives', async () => {
    const { one, router } = stage;
    const frame = `${MAC[1].replaceAll(':', '')}${MAC[2].replaceAll(':', '')}0800${'00'.repeat(46)}`;
    const before = await reasons();
    await forge(one, `0800000000002a00${frame}${'00'.repeat(2000)}`);
    await eventually(
      'the fragments are counted',
      async () => ((await reasons()).fragmented ?? 0) > (before.fragmented ?? 0),
    );
    // From a remote and of a wrong network, so that it would be counted if it were taken.
    const forged = (sum: string) =>
      one.ns.must([
        'python3',
        '-c',
        `import socket; s = socket.socket(socket.AF_INET, socket.SOCK_RAW, 17); d = bytes.fromhex('0800000000002b00${frame}'); s.sendto((50000).to_bytes(2) + (4789).to_bytes(2) + (8 + len(d)).to_bytes(2) + bytes.fromhex('${sum}') + d, ('${P}', 0))`,
      ]);
    const wrong = async () => (await reasons())['wrong-vni'] ?? 0;
    const [seen, errors] = [await wrong(), await udpErrors(router)];
    await forged('1234');
    await forged('0000');
    await eventually('the one without a checksum is taken', async () => (await wrong()) > seen);
    assert.equal(await wrong(), seen + 1);
    assert.ok((await udpErrors(router)) > errors, 'the kernel counted the other');
  });

  test('who floods with made-up addresses fills its own share of the table, which is said; the others are known on', async () => {
    const { one, two, router } = stage;
    await ping(two, '10.0.0.1');
    const flood = `import socket
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
for i in range(9000):
    s.sendto(bytes.fromhex('0800000000002a00${MAC[1].replaceAll(':', '')}0211') + i.to_bytes(4) + bytes.fromhex('0800') + bytes(46), ('${P}', 4789))`;
    await eventually('its share is full', async () => {
      await one.ns.must(['python3', '-c', flood]);
      return (await row()).addressesRefused > 0;
    });
    const [table] = await stage.daemon.json<VxlanFdb[]>('links', 'fdb', 'lan-a');
    assert.equal(table!.rows.filter(({ remote }) => remote === INTERNET.one).length, 4096);
    assert.ok(table!.rows.some(({ mac }) => mac === MAC[3]));
    assert.match((await stage.daemon.cli('links')).stdout, /full +\S+.* an address was not learned/);
    await ping(router, '10.0.0.3');
    // The table begins anew with another network.
    assert.equal((await stage.daemon.reload(config())).code, 0);
    assert.equal((await stage.daemon.reload(withLinks())).code, 0);
    await ping(router, '10.0.0.2');
  });

  test('REQ-47 REQ-53 over IPv6: what fits is 70 bytes less, TCP both ways, checksums in both directions', async () => {
    const { router, one, daemon } = stage;
    router.ns.ip(
      `link add six type veth peer name six netns ${one.ns.name}`,
      'addr add 2001:db8:6::1/64 dev six nodad',
      'link set six up',
    );
    one.ns.ip(
      'addr add 2001:db8:6::2/64 dev six nodad',
      'link set six up',
      'link add vx6 type vxlan id 6 local 2001:db8:6::2 remote 2001:db8:6::1 dstport 4789',
      'addr add 10.6.0.2/24 dev vx6',
      'link set vx6 up',
    );
    const link = '  - { name: lan-6, vxlan: { vni: 6, local: "2001:db8:6::1", remotes: "2001:db8:6::2" }, tap: vx6 }\n';
    const { code, stderr } = await daemon.reload(withLinks('', link));
    assert.equal(code, 0, stderr);
    router.ns.ip('addr add 10.6.0.1/24 dev vx6');
    await ping(router, '10.6.0.2', '-M', 'do', '-s', String(1430 - 28));
    await ping(one, '10.6.0.1', '-M', 'do', '-s', String(1430 - 28));
    const rows = await daemon.json<VxlanLinkRow[]>('links');
    assert.deepEqual(
      rows.map(({ mtu, problem }) => [mtu, problem]),
      [
        [1450, ''],
        [1430, ''],
      ],
    );
    const wire = one.ns.spawn(['tcpdump', '-lnvvi', 'six', '-c', '20', 'udp dst port 4789 and src host 2001:db8:6::1']);
    await wire.waitFor(/listening/);
    await stream(router, one, '10.6.0.2', 20);
    await stream(one, router, '10.6.0.1', 20);
    await wire.waitFor(/20 packets captured/);
    assert.doesNotMatch(wire.stdout, /no cksum/);
    one.ns.ip('link del vx6', 'link del six');
    assert.equal((await daemon.reload(withLinks())).code, 0);
  });

  test('a second way between two bridges is found, named and broken', async () => {
    const { one, daemon } = stage;
    // Host-1 sends what comes out of our first network into our second one: both end in br0.
    one.ns.ip(
      `link add vx1 type vxlan id 43 local ${UNDERLAY.one} dstport 4790 remote ${P}`,
      'link add brl type bridge',
      'link set vx0 master brl',
      'link set vx1 master brl',
      'link set vx1 up',
    );
    const second = `  - { name: lan-b, vxlan: { vni: 43, local: ${P}, port: 4790, remotes: ${INTERNET.one} }, tap: vx1, bridge: br0 }\n`;
    assert.equal((await daemon.reload(withLinks('', second))).code, 0);
    one.ns.ip('link set brl up');
    await eventually('the loop is told', async () =>
      (await daemon.json<VxlanLinkRow[]>('links')).some(({ loop }) => /lan-a.*lan-b|lan-b.*lan-a/.test(loop)),
    );
    one.ns.ip('link del brl', 'link del vx1');
    assert.equal((await daemon.reload(withLinks())).code, 0);
    assert.equal((await daemon.json<VxlanLinkRow[]>('links')).length, 1);
    assert.doesNotMatch((await stage.router.ns.must(['ip', '-br', 'link'])).toString(), /vx1/);
  });

  test('two networks share a port; each goes on when the other goes, and a changed link keeps what it learned', async () => {
    const { router, one, daemon } = stage;
    const other = '  - { name: lan-c, vxlan: { vni: 99, local: 203.0.113.10, remotes: 198.51.100.10 }, tap: vx9 }\n';
    one.ns.ip(
      `link add vx9 type vxlan id 99 local ${INTERNET.one} remote ${P} dstport 4789`,
      'addr add 10.9.9.2/24 dev vx9',
      'link set vx9 up',
    );
    const reload = async (text: string) => {
      const { code, stderr } = await daemon.reload(text);
      assert.equal(code, 0, stderr);
    };
    const fdb = async () => (await daemon.json<VxlanFdb[]>('links', 'fdb', 'lan-a'))[0]!.rows.map(({ mac }) => mac);
    for (const host of [one, stage.two]) await ping(host, '10.0.0.1');
    await reload(withLinks('', other));
    router.ns.ip('addr add 10.9.9.1/24 dev vx9');
    await ping(router, '10.9.9.2');
    await ping(one, '10.9.9.1');
    await ping(router, '10.0.0.2');
    await ping(one, '10.0.0.1');
    await stream(one, router, '10.9.9.1', 20);
    assert.equal(
      (await daemon.json<VxlanLinkRow[]>('links')).every(({ problem }) => problem === ''),
      true,
    );
    const before = await fdb();
    assert.ok(before.includes(MAC[2]) && before.includes(MAC[3]), `${before}`);
    // One remote less: what is behind the other is known on.
    await reload(withLinks('', other).replace(`, ${INTERNET.two}]`, ']'));
    const after = await fdb();
    assert.ok(after.includes(MAC[2]) && !after.includes(MAC[3]), `${after}`);
    await ping(router, '10.0.0.2');
    // The one whose socket it was goes; then it comes back, and the other goes.
    await reload(config(`links:\n${other}`));
    await ping(one, '10.9.9.1');
    await reload(withLinks());
    await ping(one, '10.0.0.1');
    await ping(router, '10.0.0.3');
    one.ns.ip('link del vx9');
  });

  test('REQ-49 REQ-50 as flannel has it: port 8472, nothing learned, nothing flooded; zero checksums, ports of the dynamic range', async () => {
    const { router, one, daemon } = stage;
    one.ns.ip('link del vx0');
    device(one, UNDERLAY.one, 2, [], 8472, 'nolearning');
    await one.ns.must(['bridge', 'fdb', 'append', MAC[1], 'dev', 'vx0', 'dst', P]);
    one.ns.ip(`neigh replace 10.0.0.1 lladdr ${MAC[1]} dev vx0 nud permanent`);
    const text = withLinks().replace(
      /vxlan: .*/,
      `vxlan: { vni: 42, local: ${P}, port: 8472, learning: false, fdb: { "${MAC[2]}": ${INTERNET.one} }, neighbours: { 10.0.0.2: "${MAC[2]}" } }`,
    );
    assert.equal((await daemon.reload(text)).code, 0);
    const single = 'udp dst port 8472 and udp[6:2] = 0';
    const capture = one.ns.spawn(['tcpdump', '-lnvi', 'eth0', '-c', '4', `${single} and src host ${P}`]);
    await capture.waitFor(/listening/);
    for (let i = 0; i < 4; i++) await ping(router, '10.0.0.2');
    await ping(one, '10.0.0.1');
    await capture.waitFor(/4 packets captured/);
    const ports = [...capture.tail().matchAll(/\.(\d+) > \S+\.8472: /g)];
    assert.ok(ports.length >= 4, capture.tail());
    for (const [, port] of ports) assert.ok(Number(port) >= 49_152, port);
    assert.match(capture.tail(), /flags \[DF\]/);
  });

  test('REQ-47 over a WireGuard link: encrypted Ethernet, its MTU less by both, nothing of it in the clear', async () => {
    const { router, one, daemon, lab } = stage;
    const far = new Site(lab, one.ns, `tg${process.pid}x`, ['10.99.0.2/24'], judge('wg'));
    await far.start((name) => judge('wireguard-go', '-f', name));
    mkdirSync(join(daemon.dir, 'keys'), { recursive: true });
    const key = (await one.ns.must(judge('wg', 'genkey'))).trim();
    writeFileSync(join(daemon.dir, 'keys/hq'), `${key}\n`, { mode: 0o600 });
    const own = (await one.ns.must(judge('wg', 'pubkey'), { input: key })).trim();
    await far.set(['peer', own, 'allowed-ips', '10.99.0.1/32']);
    one.ns.ip('link del vx0');
    device(one, '10.99.0.2', 2, ['10.99.0.1']);
    one.ns.ip('link set vx0 mtu 1370');
    const link = `  - name: hq
    wireguard: { private_key_file: keys/hq, listen: 51820 }
    address: 10.99.0.1/24
    peers: [{ name: branch, public_key: "${far.publicKey}", endpoint: "${INTERNET.one}:51820", allowed_ips: 10.99.0.2/32 }]
    policy: { host: allow }
`;
    const text = withLinks('', link).replace(/vxlan: .*/, 'vxlan: { vni: 42, remotes: 10.99.0.2, over: hq }');
    const reload = await daemon.reload(text);
    assert.equal(reload.code, 0, reload.stderr);
    const clear = one.ns.spawn(['tcpdump', '-lni', 'eth0', 'udp port 4789']);
    await clear.waitFor(/listening/);
    await ping(router, '10.0.0.2', '-M', 'do', '-s', String(1370 - 28));
    await ping(one, '10.0.0.1', '-M', 'do', '-s', String(1370 - 28));
    await stream(router, one, '10.0.0.2', 20);
    await stream(one, router, '10.0.0.1', 20);
    assert.doesNotMatch(clear.tail(), /VXLAN/);
    await clear.stop();
    const rows = await daemon.json<(VxlanLinkRow | LinkRow)[]>('links');
    assert.deepEqual(rows.map(({ mtu }) => mtu).toSorted(), [1370, 1420]);
    one.ns.ip('link del vx0');
    device(one, UNDERLAY.one, 2, [], 8472, 'remote', P);
  });

  test('links alone, without uplink and LANs; a bridge that is missing is named; stop leaves nothing', async () => {
    const { router, one, daemon } = stage;
    const mac = async () => /vx0 +\S+ +(\S+)/.exec(await router.ns.must(['ip', '-br', 'link', 'show', 'vx0']))![1];
    assert.equal(await daemon.stop(), 0);
    assert.doesNotMatch((await router.ns.must(['ip', '-br', 'link'])).toString(), /vx0|tgouter/);
    const only = `links: [{ name: lan-a, vxlan: { vni: 42, local: ${P}, port: 8472, remotes: ${INTERNET.one} }, tap: vx0, bridge: br9 }]\n`;
    daemon.configure(only);
    await daemon.up();
    assert.match((await row()).problem, /bridge br9 is not there/);
    assert.equal((await daemon.reload(only.replace('br9', 'br0'))).code, 0);
    await ping(router, '10.0.0.2');
    await ping(one, '10.0.0.1');
    const before = await mac();
    await daemon.kill();
    daemon.configure(only.replace('br9', 'br0'));
    await daemon.up();
    assert.equal(await mac(), before, 'the TAP has the address that it had');
    await ping(one, '10.0.0.1');
    const named = only.replace('br9', 'br0').replace('tap: vx0', 'tap: vx0, mac: "02:00:00:00:00:77"');
    assert.equal((await daemon.reload(named)).code, 0);
    assert.equal(await mac(), '02:00:00:00:00:77');
    await ping(one, '10.0.0.1');
    assert.equal(await daemon.stop(), 0);
  });
});
