import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import type { Status } from '../../src/contract/api.js';
import type { Host } from '../../src/lab/index.js';
import { ipv4, macOf, sendRaw, udp } from './packet.js';
import { addressOf, Capture, config, INTERNET, LAN, P, pause, portOf, raise, type Stage } from './stage.js';

/** One datagram from each local port to the echo server, all sockets open at the same time; prints {port: outside endpoint or errno}. */
const MANY = `
import errno, json, select, socket, sys, time
address, to, port, first, count, step = sys.argv[1], sys.argv[2], *map(int, sys.argv[3:7])
poll, open_, seen = select.poll(), {}, {}
for local in range(first, first + count * step, step):
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.setblocking(False)
    sock.bind((address, local))
    sock.connect((to, port))
    open_[sock.fileno()] = sock
    poll.register(sock, select.POLLIN)
    sock.send(b'x')
    if local % 50 == 0: time.sleep(0.01)
end = time.monotonic() + 60
while len(seen) < count and time.monotonic() < end:
    for fd, _ in poll.poll(100):
        local = open_[fd].getsockname()[1]
        try:
            seen[local] = json.loads(open_[fd].recv(4096))['peer']
        except OSError as error:
            seen[local] = errno.errorcode[error.errno]
        poll.unregister(fd)
print(json.dumps({local: seen.get(local, 'timeout') for local in range(first, first + count * step, step)}))
`;

/** Answers each datagram with where it came from, on ports × addresses. */
const ECHO = `
import select, socket, sys
addresses, first, count = sys.argv[1].split(','), int(sys.argv[2]), int(sys.argv[3])
poll, socks = select.epoll(), {}
for address in addresses:
    for port in range(first, first + count):
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sock.bind((address, port))
        socks[sock.fileno()] = sock
        poll.register(sock, select.EPOLLIN)
print('ready', flush=True)
while True:
    for fd, _ in poll.poll():
        data, peer = socks[fd].recvfrom(2048)
        socks[fd].sendto(b'%s:%d' % (peer[0].encode(), peer[1]), peer)
`;

/** From each of a few sockets to every endpoint of the above; prints flows answered and the outside ports they left from. */
const FAN = `
import select, socket, sys, time
addresses, first, count, sockets = sys.argv[1].split(','), *map(int, sys.argv[2:5])
answered, ports = 0, set()
for number in range(sockets):
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind(('0.0.0.0', 43000 + number))
    sock.settimeout(20)
    for address in addresses:
        for port in range(first, first + count):
            sock.sendto(b'x', (address, port))
        for _ in range(count):
            try:
                ports.add(int(sock.recvfrom(2048)[0].split(b':')[1]))
                answered += 1
            except OSError:
                break
print(answered, len(ports), min(ports), max(ports))
`;

const FIRST = 20_000;
const SIZE = 64;

function pool(ports: string, more = ''): string {
  return config(more).replace('20000-29999', ports);
}

describe('the port pool under pressure', () => {
  let stage: Stage;
  before(async () => {
    stage = await raise(pool(`${FIRST}-${FIRST + SIZE - 1}`));
  });
  after(() => stage?.lab.close());

  /** Outside endpoint, or the error's name, by inside port. */
  async function many(host: Host, first: number, count: number, step = 1, from = host.address) {
    const argv = ['python3', '-c', MANY, from, INTERNET.one, '7', String(first), String(count), String(step)];
    return new Map(
      Object.entries(JSON.parse(await host.ns.must(argv, { seconds: 120 })) as Record<string, string>).map(
        ([x, seen]) => [Number(x), seen],
      ),
    );
  }

  const mapped = (seen: Map<number, string>) => [...seen.values()].filter((each) => each.startsWith(`${P}:`));

  async function dropped(reason: string): Promise<number> {
    const { drops } = await stage.daemon.json<Status>('status');
    return drops.find((drop) => drop.reason === reason)?.packets ?? 0;
  }

  async function reload(text: string): Promise<void> {
    const result = await stage.daemon.reload(text);
    assert.equal(result.code, 0, result.stderr);
  }

  let byA: Map<number, string>;
  let byB: Map<number, string>;

  test('REQ-23 the pool is used to 100 %: 64 inside endpoints on 64 ports, each with its own', async () => {
    byA = await many(stage.a, 41_000, 40);
    byB = await many(stage.b, 42_000, 24);
    const outside = new Set([...mapped(byA), ...mapped(byB)].map(portOf));
    assert.equal(outside.size, SIZE);
    assert.deepEqual([Math.min(...outside), Math.max(...outside)], [FIRST, FIRST + SIZE - 1]);
    const { pools } = await stage.daemon.json<Status>('status');
    assert.deepEqual(
      pools.find(({ protocol }) => protocol === 'udp'),
      { address: P, protocol: 'udp', used: SIZE, size: SIZE },
    );
  });

  test('REQ-12, REQ-30 one more is told so at once (ICMP 3/13) and counted; who has a port keeps it', async () => {
    const before = await dropped('ports-exhausted');
    const capture = await Capture.start(stage.b.ns, 'eth0', 'icmp');
    assert.deepEqual([...(await many(stage.b, 42_500, 1)).values()], ['EHOSTUNREACH']);
    const lines = await capture.stop();
    assert.match(
      lines[0]!,
      new RegExp(`${LAN.gateway} > ${LAN.b}: ICMP host ${INTERNET.one} unreachable - admin prohib`),
    );
    assert.equal((await dropped('ports-exhausted')) - before, 1);
    assert.deepEqual(await many(stage.a, 41_000, 40), byA);
    assert.deepEqual(await many(stage.b, 42_000, 24), byB);
  });

  test('REQ-22 TCP has ports of its own', async () => {
    assert.equal(addressOf((await stage.b.askTcp({ to: INTERNET.one, port: 7 })).peer), P);
  });

  test('REQ-30 what refused senders are told is limited in rate', async () => {
    const packets = Array.from({ length: 5000 }, (_, i) => {
      const payload = udp(LAN.b, 50_000 + i, INTERNET.one, 9, 'x');
      return ipv4({ src: LAN.b, dst: INTERNET.one, proto: 17, payload });
    });
    const before = await dropped('ports-exhausted');
    const capture = await Capture.start(stage.b.ns, 'eth0', 'icmp');
    await sendRaw(stage.b.ns, 'eth0', await macOf(stage.router.ns, 'vmbr1'), packets);
    await pause(200);
    const told = (await capture.stop()).map((line) => Number(line.split(' ')[0]));
    const refused = (await dropped('ports-exhausted')) - before;
    assert.ok(refused > 1000, `${refused} refused`);
    // A burst of 200, and 1,000 a second while they were sent; the witness may see the first ones late.
    const allowed = 201 + 1000 * (told.at(-1)! - told[0]! + 0.5);
    assert.ok(told.length <= allowed, `${told.length} messages, at most ${allowed} are allowed`);
  });

  test('REQ-35 a freed port is held for its own inside endpoint, and for nobody else', async () => {
    const ended = await stage.daemon.cli('flows', 'delete', '-p', 'udp', '-s', LAN.a);
    assert.equal(ended.code, 0, ended.stderr);
    assert.deepEqual([...(await many(stage.b, 42_600, 1)).values()], ['EHOSTUNREACH']);
    assert.deepEqual(await many(stage.a, 41_000, 40), byA);
  });

  test('REQ-3 endpoint-dependent by rule: 6,000 flows leave from a pool of 64 ports', async () => {
    await reload(pool('21000-21063', 'nat:\n  - { mapping: endpoint-dependent }\n'));
    const addresses = Array.from({ length: 10 }, (_, i) => `198.51.100.${100 + i}`);
    stage.one.ns.ip(...addresses.map((address) => `addr add ${address}/24 dev eth0`));
    const server = stage.one.ns.spawn(['python3', '-c', ECHO, addresses.join(','), '5000', '20']);
    await server.waitFor(/ready/);
    const said = await stage.a.ns.must(['python3', '-c', FAN, addresses.join(','), '5000', '20', '30'], {
      seconds: 120,
    });
    const [answered, ports, least, most] = said.trim().split(' ').map(Number);
    assert.equal(answered, 6000, 'every flow is answered');
    assert.equal(ports, 64);
    assert.deepEqual([least, most], [21_000, 21_063]);
    await server.stop();
  });

  test('REQ-32 per-host limit: the host that is above it is refused and told, the others are not', async () => {
    await reload(pool('22000-22999', 'limits: { per_host: 20 }\n'));
    // Other addresses than those whose ports from the tests above are still held, and count.
    const [greedyHost, modestHost] = ['172.22.161.60', '172.22.161.61'];
    stage.a.ns.ip(`addr add ${greedyHost}/24 dev eth0`, `addr add ${modestHost}/24 dev eth0`);
    const greedy = await many(stage.a, 44_000, 30, 1, greedyHost);
    assert.equal(mapped(greedy).length, 20);
    assert.deepEqual([...greedy.values()].slice(20), Array(10).fill('EHOSTUNREACH'));
    assert.equal(mapped(await many(stage.a, 44_000, 20, 1, modestHost)).length, 20);
    assert.equal(
      addressOf((await stage.a.askTcp({ to: INTERNET.one, port: 7, from: greedyHost })).peer),
      P,
      'TCP is counted apart',
    );
    assert.equal(await dropped('host-limit'), 10);
  });

  test('REQ-38 a pool in pieces: exactly its ports are used', async () => {
    await reload(pool('23000-23015,23100-23115,~23005-23006'));
    const seen = await many(stage.a, 45_000, 31);
    const outside = mapped(seen).map(portOf);
    const allowed = [...Array(16).keys()].flatMap((i) => [23_000 + i, 23_100 + i]);
    assert.deepEqual(
      outside.toSorted((x, y) => x - y),
      allowed.filter((port) => port !== 23_005 && port !== 23_006).sort((x, y) => x - y),
    );
    assert.equal([...seen.values()].filter((each) => each === 'EHOSTUNREACH').length, 1);
  });

  test('REQ-4, REQ-5 parity and the range below 1024 are kept while the pool allows it', async () => {
    await reload(pool('700-799,24000-27999'));
    // First of all, while nobody has been given one of them at random.
    assert.deepEqual(
      [...(await many(stage.a, 24_100, 10))].map(([x, outside]) => x - portOf(outside)),
      Array(10).fill(0),
      'a source port of the pool that is free is kept',
    );
    for (const [first, low] of [
      [900, true],
      [46_000, false],
    ] as const) {
      const seen = await many(stage.a, first, 40);
      assert.equal(mapped(seen).length, 40);
      for (const [x, outside] of seen) {
        const port = portOf(outside);
        assert.equal(port % 2, x % 2, `parity of ${x} → ${port}`);
        assert.equal(port < 1024, low, `range of ${x} → ${port}`);
      }
    }
  });

  test('REQ-23 ports that are not kept are random: spread over the pool, their order says nothing', async () => {
    const ports = mapped(await many(stage.b, 47_000, 400)).map(portOf);
    assert.equal(ports.length, 400);
    // 10 equal parts of the pool, 40 expected in each; chi-square with 9 degrees of freedom is above 33.7 once in 10,000 runs.
    const parts = Array<number>(10).fill(0);
    for (const port of ports) parts[Math.min(9, Math.floor((port - 24_000) / 400))]!++;
    const chi = parts.reduce((sum, n) => sum + (n - 40) ** 2 / 40, 0);
    assert.ok(chi < 33.7, `${parts.join(' ')}: ${chi}`);
    // Of 399 steps a sequential allocator takes all upwards; at random it is half of them (± 5 sigma), and few are short.
    const steps = ports.slice(1).map((port, i) => port - ports[i]!);
    const up = steps.filter((step) => step > 0).length;
    assert.ok(up > 150 && up < 250, `${up} of 399 steps are upwards`);
    const short = steps.filter((step) => Math.abs(step) <= 8).length;
    assert.ok(short < 20, `${short} of 399 steps are short`);
  });

  test('REQ-65 port shadow: a source port that is a forward is never given out, and the forward stays its own', async () => {
    await reload(pool('30000-30199'));
    const seen = await many(stage.a, 30_000, 100);
    for (const [x, outside] of seen) assert.ok(portOf(outside) >= 30_100, `${x} → ${outside}`);
    assert.equal((await stage.one.askUdp({ to: P, port: 30_042 })).host, 'client-b');
    // The attack itself: from the forward's port to the host that uses the forward.
    const thief = await stage.a.bind(30_042);
    await thief.send(INTERNET.two, 7, 'knock');
    assert.ok(portOf((JSON.parse((await thief.next()).text) as { peer: string }).peer) >= 30_100);
    assert.equal((await stage.two.askUdp({ to: P, port: 30_042, localPort: 7777 })).host, 'client-b');
    await thief.close();
  });
});
