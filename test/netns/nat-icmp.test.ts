import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import type { Namespace } from '../../src/lab/index.js';
import { fragment, ipv4, macOf, sendRaw, sum16, udp } from './packet.js';
import { addressOf, Capture, eventually, INTERNET, LAN, P, portOf, raise, type Stage } from './stage.js';

/** Two connected UDP sockets, the first to a closed port: which of them hears of it? */
const REFUSED = `
import errno, socket, sys
to, closed, other = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
def connected(port):
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.settimeout(60)
    sock.connect((to, port))
    return sock
first, second = connected(closed), connected(other)
first.send(b'anybody there?')
try:
    print(first.recv(100))
except OSError as error:
    print(errno.errorcode.get(error.errno, error))
print('second', second.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR))
`;

/** Sends one datagram and prints the errors that come back: origin, type, code, offender. */
const ERRORS = `
import socket, struct, sys
to, port, size, ttl, count = sys.argv[1], *map(int, sys.argv[2:6])
sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
sock.setsockopt(socket.IPPROTO_IP, 11, 1)  # IP_RECVERR
sock.setsockopt(socket.IPPROTO_IP, 10, 0)  # IP_MTU_DISCOVER = IP_PMTUDISC_DONT: fragments, no DF
sock.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, ttl)
sock.settimeout(60)
sock.connect((to, port))
sock.send(b'x' * size)
try:
    sock.recv(100)
except OSError:
    pass
for _ in range(count):
    _, extra, _, peer = sock.recvmsg(100, 512, 0x2000)  # MSG_ERRQUEUE
    for level, kind, data in extra:
        if kind == 11:
            _, origin, type, code, _, _, _ = struct.unpack('IBBBBII', data[:16])
            print(type, code, socket.inet_ntoa(data[20:24]), 'about', '%s:%d' % peer)
`;

describe('ICMP errors reach whom they are about', () => {
  let stage: Stage;
  before(async () => {
    stage = await raise();
    // veth leaves checksums unfinished; then a quoted one is not what it would be on a wire.
    for (const { ns } of [stage.a, stage.b, stage.one]) await ns.must(['ethtool', '-K', 'eth0', 'tx', 'off']);
  });
  after(() => stage?.lab.close());

  const run = async (ns: Namespace, program: string, ...args: (string | number)[]) =>
    (await ns.must(['python3', '-c', program, ...args.map(String)])).trim();

  test('REQ-27 port unreachable reaches the socket that it is about, and no other', async () => {
    assert.equal(await run(stage.a.ns, REFUSED, INTERNET.one, 99, 7), 'ECONNREFUSED\nsecond 0');
  });

  test('REQ-28 port unreachable from inside reaches the outside socket', async () => {
    assert.equal(await run(stage.one.ns, REFUSED, P, 30_001, 30_042), 'ECONNREFUSED\nsecond 0');
  });

  test('REQ-29 port unreachable of a hairpinned flow reaches the inside socket, from P and about P', async () => {
    assert.equal(await run(stage.a.ns, REFUSED, P, 30_001, 30_042), 'ECONNREFUSED\nsecond 0');
    assert.equal(await run(stage.a.ns, ERRORS, P, 30_001, 10, 64, 1), `3 3 ${P} about ${P}:30001`);
  });

  test('REQ-29 the answering side of a hairpinned flow hears that the asker is gone, from P and about P:p', async () => {
    const right = await stage.b.bind(8050);
    const left = await stage.a.bind();
    await left.send(P, 30_050, 'hello');
    const { peer } = await right.next();
    assert.equal(addressOf(peer), P);
    await left.close();
    const capture = await Capture.start(stage.b.ns, 'eth0', 'icmp', ['-vv']);
    await right.send(P, portOf(peer), 'too late');
    await eventually('an error is seen', async () => capture.lines.length >= 4);
    const seen = (await capture.stop()).join('\n');
    assert.match(seen, new RegExp(`${P} > ${LAN.b}: ICMP ${P} udp port ${portOf(peer)} unreachable`));
    assert.match(seen, new RegExp(`${LAN.b}\\.8050 > ${P}\\.${portOf(peer)}:`));
    assert.doesNotMatch(seen, /wrong|bad/, 'every checksum is right, the quoted ones too');
    assert.ok(!seen.includes(LAN.a), seen);
    await right.close();
  });

  test('REQ-29 TTL that runs out in a hairpinned flow is told once, by the gateway', async () => {
    assert.match(
      await run(stage.a.ns, ERRORS, P, 30_042, 10, 1, 1),
      new RegExp(`^11 0 ${LAN.gateway} about ${P}:30042`),
    );
  });

  for (const [what, size] of [
    ['a whole datagram', 100],
    ['a first fragment', 5000],
  ] as const) {
    test(`REQ-26, REQ-27 an error on the way that quotes ${what} reaches the sender`, async () => {
      const said = await run(stage.a.ns, ERRORS, INTERNET.one, 7, size, 2, 1);
      assert.equal(said, `11 0 ${INTERNET.gateway} about ${INTERNET.one}:7`);
    });

    test(`REQ-28 an error from inside that quotes ${what} reaches the outside sender, with P in place of the inside`, async () => {
      // The client's own kernel would reassemble: the error is made here, about what did arrive.
      const socket = await stage.one.bind();
      await socket.send(P, 30_042, 'x'.repeat(size));
      await socket.next();
      const payload = udp(INTERNET.one, socket.port, LAN.b, 8042, 'x'.repeat(size)).subarray(
        0,
        Math.min(size + 8, 1480),
      );
      const quoted = ipv4({
        src: INTERNET.one,
        dst: LAN.b,
        proto: 17,
        ttl: 1,
        moreFragments: size > 1472,
        payload,
      }).subarray(0, 548);
      const outside = await Capture.start(stage.one.ns, 'eth0', 'icmp', ['-vv']);
      const error = ipv4({ src: LAN.b, dst: INTERNET.one, proto: 1, payload: icmpError(11, 1, quoted) });
      await sendRaw(stage.b.ns, 'eth0', await macOf(stage.router.ns, 'vmbr1'), [error]);
      await eventually('an error is seen', async () => outside.lines.length >= 4);
      const seen = (await outside.stop()).join('\n');
      assert.match(seen, new RegExp(`${P} > ${INTERNET.one}: ICMP ip reassembly time exceeded`));
      assert.match(seen, new RegExp(`${INTERNET.one}\\.${socket.port} > ${P}\\.30042:`));
      assert.doesNotMatch(seen, /172\.22\.161|wrong|bad ip cksum/);
      await socket.close();
    });
  }

  test('REQ-26 an error that quotes a later fragment has no ports to go by: dropped', async () => {
    const later = fragment({ src: P, dst: INTERNET.one, proto: 17, payload: new Uint8Array(64) }, 32)[1]!;
    const error = ipv4({ src: INTERNET.one, dst: P, proto: 1, payload: icmpError(11, 1, later) });
    const capture = await Capture.start(stage.router.ns, 'vmbr1', 'icmp');
    await sendRaw(stage.inet, 'wan', await macOf(stage.router.ns, 'vmbr0'), [error]);
    assert.deepEqual(await capture.stop(), []);
    const { drops } = await stage.daemon.json<{ drops: { reason: string; packets: number }[] }>('status');
    assert.ok(drops.some(({ reason }) => reason === 'icmp-embedded'));
  });

  test('REQ-43 traceroute with packets of 3,000 bytes (fragments) shows the same way', async () => {
    const { stdout } = await stage.a.ns.run('traceroute -n -q 1 -w 30 -m 6'.split(' ').concat(INTERNET.one, '3000'));
    const hops = stdout.trim().split('\n').slice(1);
    assert.deepEqual(
      hops.map((line) => line.trim().split(/\s+/)[1]),
      [LAN.gateway, INTERNET.gateway, INTERNET.one],
    );
  });

  test('REQ-43 traceroute by hairpin shows the gateway and P', async () => {
    const argv = ['traceroute', '-n', '-q', '1', '-w', '30', '-m', '4', '-U', '-p', '30001', P];
    const { stdout } = await stage.a.ns.run(argv);
    const hops = stdout.trim().split('\n').slice(1);
    assert.deepEqual(
      hops.map((line) => line.trim().split(/\s+/)[1]),
      [LAN.gateway, P],
    );
  });
});

function icmpError(type: number, code: number, quoted: Uint8Array): Uint8Array {
  const message = new Uint8Array(8 + quoted.length);
  message[0] = type;
  message[1] = code;
  message.set(quoted, 8);
  new DataView(message.buffer).setUint16(2, ~sum16(message) & 0xffff);
  return message;
}

describe('path MTU discovery on live TCP connections', () => {
  let stage: Stage;
  before(async () => {
    stage = await raise();
    for (const host of [stage.a, stage.one]) host.ns.sysctl('net.ipv4.route.min_adv_mss=256');
  });
  after(() => stage?.lab.close());

  const BULK = 'y'.repeat(600_000);

  /** Every device on the way between client-a and host-1. */
  const devices = (): [Namespace, string][] => [
    [stage.a.ns, 'eth0'],
    [stage.router.ns, 'vm170'],
    [stage.router.ns, 'nic0'],
    [stage.inet, 'wan'],
    [stage.inet, 'to-1'],
    [stage.one.ns, 'eth0'],
  ];

  const links = {
    LAN: (mtu: number) => {
      stage.router.ns.ip(`link set vm170 mtu ${mtu}`, `link set vmbr1 mtu ${mtu}`);
      stage.a.ns.ip(`link set eth0 mtu ${mtu}`);
    },
    uplink: (mtu: number) => {
      stage.router.ns.ip(`link set nic0 mtu ${mtu}`, `link set vmbr0 mtu ${mtu}`);
      stage.inet.ip(`link set wan mtu ${mtu}`);
    },
    'link behind the uplink': (mtu: number) => {
      stage.inet.ip(`link set to-1 mtu ${mtu}`);
      stage.one.ns.ip(`link set eth0 mtu ${mtu}`);
    },
  };

  for (const offload of ['on', 'off'] as const)
    for (const [where, setMtu] of Object.entries(links))
      test(`REQ-14, REQ-21 a smaller ${where}, GSO ${offload}: connections that were there before it go on, both ways`, async () => {
        for (const [ns, device] of devices())
          await ns.must(['ethtool', '-K', device, 'tso', offload, 'gso', offload, 'gro', offload]);
        const out = await stage.a.connect({ to: INTERNET.one, port: 7 });
        const inward = await stage.one.connect({ to: P, port: 10_007 });
        assert.equal((await out.say(BULK)).text, BULK);
        assert.equal((await inward.say(BULK)).text, BULK);
        setMtu(1300);
        try {
          assert.equal((await out.say(BULK)).text.length, BULK.length, 'from inside');
          assert.equal((await inward.say(BULK)).text.length, BULK.length, 'from outside');
        } finally {
          setMtu(1500);
          for (const host of [stage.a, stage.one, stage.router]) await host.ns.must(['ip', 'route', 'flush', 'cache']);
          await Promise.all([out.hangUp(), inward.hangUp()]);
        }
      });
});
