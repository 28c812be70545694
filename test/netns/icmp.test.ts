import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { PATIENCE } from '../../src/lab/index.js';
import { Capture, eventually, INTERNET, LAN, P, raise, type Stage } from './stage.js';

/** Sends UDP datagrams with DF until the kernel has learned a smaller path MTU; prints it (0 = learned nothing). */
const PROBE = `
import socket, sys, time
to, port, size, device_mtu = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), 1500
sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
sock.setsockopt(socket.IPPROTO_IP, 10, 2)  # IP_MTU_DISCOVER = IP_PMTUDISC_DO
sock.connect((to, port))
for _ in range(1200):
    try:
        sock.send(b'x' * size)
    except OSError:
        pass
    time.sleep(0.05)
    mtu = sock.getsockopt(socket.IPPROTO_IP, 14)  # IP_MTU
    if mtu < device_mtu:
        print(mtu)
        sys.exit(0)
print(0)
`;

describe('ICMP and path MTU on the real kernel', () => {
  let stage: Stage;
  before(async () => {
    stage = await raise();
  });
  after(() => stage?.lab.close());

  test('REQ-25 ping from both clients at the same time, same id or not, is answered', async () => {
    const ping = ['ping', '-n', '-c', '5', '-i', '0.1', '-W', String(PATIENCE), '-e', '77', INTERNET.one];
    const both = await Promise.all([stage.a.ns.run(ping), stage.b.ns.run(ping)]);
    for (const { stdout } of both) {
      assert.match(stdout, / 5 received/);
      assert.doesNotMatch(stdout, /DUP/);
    }
  });

  test('a ping of 8000 bytes (fragments) is answered', async () => {
    const { stdout } = await stage.a.ns.run([
      'ping',
      '-n',
      '-c',
      '2',
      '-i',
      '0.2',
      '-W',
      String(PATIENCE),
      '-s',
      '8000',
      INTERNET.one,
    ]);
    assert.match(stdout, / 2 received/);
  });

  test('P itself answers ping: to the outside, to a client, to the host', async () => {
    for (const host of [stage.one, stage.a, stage.router]) {
      const { stdout } = await host.ns.run(['ping', '-n', '-c', '1', '-W', String(PATIENCE), P]);
      assert.match(stdout, / 1 received/, host.ns.role);
    }
  });

  for (const [how, option] of [
    ['UDP', '-U'],
    ['ICMP', '-I'],
    ['TCP', '-T'],
  ] as const)
    test(`REQ-43 traceroute by ${how} shows the gateway once and ends at its target`, async () => {
      const { stdout } = await stage.a.ns.run([
        'traceroute',
        option,
        '-n',
        '-q',
        '1',
        '-w',
        '30',
        '-m',
        '6',
        INTERNET.one,
      ]);
      const hops = stdout
        .trim()
        .split('\n')
        .slice(1)
        .map((line) => line.trim().split(/\s+/)[1]);
      assert.deepEqual(hops, [LAN.gateway, INTERNET.gateway, INTERNET.one]);
    });

  test('REQ-27 a closed port outside: the error reaches the inside host', async () => {
    assert.equal(await stage.a.tryAsk('tcp', { to: INTERNET.one, port: 99 }), 'ECONNREFUSED');
    const capture = await Capture.start(stage.a.ns, 'eth0', 'icmp');
    assert.equal(await stage.a.tryAsk('udp', { to: INTERNET.one, port: 99, seconds: 0.5 }), 'timeout');
    await eventually('an error is seen', async () => capture.lines.length > 0);
    const lines = await capture.stop();
    assert.equal(lines.length, 1, lines.join('\n'));
    assert.match(lines[0]!, new RegExp(`${INTERNET.one} > ${LAN.a}: ICMP ${INTERNET.one} udp port 99 unreachable`));
  });

  test('REQ-28 an inside error leaves with P as its source and quotes P', async () => {
    const capture = await Capture.start(stage.one.ns, 'eth0', 'icmp');
    // Nobody listens on client-b's 8001.
    assert.equal(await stage.one.tryAsk('udp', { to: P, port: 30_001, seconds: 0.5 }), 'timeout');
    await eventually('an error is seen', async () => capture.lines.length > 0);
    const lines = await capture.stop();
    assert.equal(lines.length, 1, lines.join('\n'));
    assert.match(lines[0]!, new RegExp(`${P} > ${INTERNET.one}: ICMP ${P} udp port 30001 unreachable`));
  });

  test('REQ-27 a smaller MTU behind the provider: the client learns it, and a download goes on', async () => {
    stage.inet.ip('link set to-2 mtu 1300');
    stage.two.ns.ip('link set eth0 mtu 1300');
    assert.equal((await stage.a.ns.must(['python3', '-c', PROBE, INTERNET.two, '7', '1400'])).trim(), '1300');
  });

  test('REQ-14 a smaller MTU on the LAN side: the outside sender learns it', async () => {
    stage.router.ns.ip('link set vm20 mtu 1400', 'link set vmbr1 mtu 1400');
    stage.b.ns.ip('link set eth0 mtu 1400');
    try {
      const capture = await Capture.start(stage.one.ns, 'eth0', 'icmp');
      const learned = (await stage.one.ns.must(['python3', '-c', PROBE, P, '30042', '1450'])).trim();
      await eventually('an error is seen', async () => capture.lines.length > 0);
      const lines = await capture.stop();
      assert.equal(learned, '1400');
      assert.match(lines[0]!, new RegExp(`ICMP ${P} unreachable - need to frag`));
    } finally {
      stage.b.ns.ip('link set eth0 mtu 1500');
      stage.router.ns.ip('link set vm20 mtu 1500', 'link set vmbr1 mtu 1500');
    }
  });

  test('REQ-14 without DF what is too big for the uplink leaves in fragments, in order', async () => {
    stage.router.ns.ip('link set nic0 mtu 1400', 'link set vmbr0 mtu 1400');
    stage.a.ns.sysctl('net.ipv4.ip_no_pmtu_disc=1');
    try {
      await new Promise((resolve) => setTimeout(resolve, 1000)); // the daemon takes notice of the new MTU
      const capture = await Capture.start(stage.one.ns, 'eth0', `udp and src ${P}`, ['-v']);
      const text = 'x'.repeat(1440);
      assert.equal((await stage.a.askUdp({ to: INTERNET.one, port: 7 }, text)).text, text);
      const lines = (await capture.stop()).join('\n');
      const pieces = [...lines.matchAll(/id (\d+), offset (\d+), flags \[([^\]]*)\]/g)].map((match) => match.slice(1));
      assert.equal(pieces.length, 2, lines);
      assert.deepEqual([pieces[0]![1], pieces[0]![2], pieces[1]![1]], ['0', '+', '1376'], lines);
      assert.equal(pieces[0]![0], pieces[1]![0]);
    } finally {
      stage.a.ns.sysctl('net.ipv4.ip_no_pmtu_disc=0');
      stage.router.ns.ip('link set vmbr0 mtu 1500', 'link set nic0 mtu 1500');
    }
  });

  test('REQ-45 MSS clamping: a smaller uplink MTU lowers the MSS of SYN and SYN-ACK, and nothing else', async () => {
    stage.router.ns.ip('link set nic0 mtu 1400', 'link set vmbr0 mtu 1400');
    stage.inet.ip('link set wan mtu 1400');
    try {
      const outside = await Capture.start(stage.one.ns, 'eth0', 'tcp[tcpflags] & tcp-syn != 0');
      const inside = await Capture.start(stage.a.ns, 'eth0', 'tcp[tcpflags] & tcp-syn != 0');
      // Until the daemon has taken notice of the new MTU.
      await eventually('the MSS of a SYN is lowered', async () => {
        assert.ok((await stage.a.download(`http://${INTERNET.one}:8080/${4 << 20}`)).intact);
        return outside.lines.some((line) => /\[S\].*mss 1360,/.test(line));
      });
      const got = await stage.a.download(`http://${INTERNET.one}:8080/${4 << 20}`);
      assert.ok(got.intact);
      const port = got.peer.split(':').at(-1)!;
      const ofLast = (lines: string[], flags: RegExp) => lines.filter((line) => flags.test(line)).at(-1)!;
      await eventually('the last SYN is seen', async () =>
        outside.lines.some((line) => line.includes(`${P}.${port} >`)),
      );
      assert.match(ofLast(await outside.stop(), /\[S\]/), /mss 1360,/);
      assert.match(ofLast(await inside.stop(), /\[S\.\]/), /mss 1360,/);
    } finally {
      stage.inet.ip('link set wan mtu 1500');
      stage.router.ns.ip('link set vmbr0 mtu 1500', 'link set nic0 mtu 1500');
    }
  });
});
