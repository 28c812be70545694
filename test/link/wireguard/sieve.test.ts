/** Floods of handshakes beside a running session: what they are called, and the filter that the kernel is given. The kernel is the judge of the latter. */
import assert from 'node:assert/strict';
import { createSocket, type Socket } from 'node:dgram';
import { once } from 'node:events';
import { type TestContext, test } from 'node:test';
import { Lanes, SiteLink } from '../../../src/link/index.js';
import { UdpPort } from '../../../src/link/udp.js';
import { Columns } from '../../../src/link/wireguard/columns.js';
import { MacMaker } from '../../../src/link/wireguard/cookie.js';
import { ENDPOINT_WORDS, parseEndpoint } from '../../../src/link/wireguard/endpoint.js';
import { Initiation, newInitiation, timestampOf } from '../../../src/link/wireguard/messages.js';
import { Initiator, staticShared } from '../../../src/link/wireguard/noise.js';
import { OUTCOMES, Outcome } from '../../../src/link/wireguard/outcome.js';
import { Sieve, sieveProgram, WINDOW } from '../../../src/link/wireguard/sieve.js';
import { native } from '../../../src/native.js';
import { hex, newKeys } from '../../datapath/sites-rig.js';
import { Node, packetOf, pair, World } from './sim.js';

test('REQ-57 floods beside a running session: each kind has its name, and every packet of the peer passes', () => {
  const world = new World(5);
  const { a, b } = pair(world);
  a.keepSent = true;
  a.send([packetOf('10.0.0.1', '10.0.0.2', new Uint8Array(20))]);
  world.run(100);
  const [replayed] = a.sent.filter(({ bytes }) => bytes[0] === 1);
  const stranger = new Node(world, '203.0.113.9:9');
  stranger.keepSent = true;
  stranger.meet(b, []);
  stranger.device.greet(world.now);
  const unknown = stranger.sent[0]!.bytes;
  const wrong = unknown.slice();
  wrong[120]! ^= 1;
  world.nodes.clear();
  const sent = 2000;
  const names = (bytes: Uint8Array): Record<string, number> => {
    world.now += 10_000; // the last flood is over
    const before = b.device.counts.slice();
    for (let i = 0; i < sent; i++) {
      if (i % 20 === 19) world.now += 1; // 20,000 a second
      if (i % 100 === 0) {
        a.send([packetOf('10.0.0.1', '10.0.0.2', new Uint8Array(1000))]);
        assert.deepEqual(b.receive([{ bytes: a.sent.at(-1)!.bytes, from: a.address }]), [Outcome.PASS]);
      }
      b.receive([{ bytes, from: '203.0.113.9:9' }]);
    }
    return Object.fromEntries(
      OUTCOMES.flatMap(({ name }, id) => {
        const n = b.device.counts[id]! - before[id]!;
        return n > 0 && id !== Outcome.PASS ? [[name, n]] : [];
      }),
    );
  };
  assert.deepEqual(names(wrong), { 'bad-mac': sent });
  const strangers = names(unknown);
  assert.deepEqual(Object.keys(strangers).sort(), ['cookie-sent', 'stranger']);
  assert.ok(strangers.stranger! <= 100, `${strangers.stranger} of them cost a multiplication`);
  const replays = names(replayed!.bytes);
  assert.deepEqual(Object.keys(replays).sort(), ['cookie-sent', 'old-handshake']);
  assert.ok(replays['old-handshake']! <= 100);
});

test('the filter begins above 30,000 a second, lets at most 2,000 through, and ends with the flood', () => {
  const sieve = new Sieve();
  let now = 1_000_000;
  assert.ok(sieve.due(now));
  sieve.judge(now);
  const window = (rate: number) => {
    sieve.seen = (rate * WINDOW) / 1000;
    now += WINDOW;
    const changed = sieve.judge(now);
    return [sieve.depth, changed];
  };
  assert.ok(!sieve.due(now + WINDOW - 1));
  assert.deepEqual(window(30_000), [0, false]);
  // The worker cannot read all that comes, so that more comes through than the first look says.
  assert.deepEqual(window(200_000), [7, true]);
  assert.deepEqual(window(50_000), [7, false], 'what stood in the queue came before the filter');
  assert.deepEqual(window(500_000 / 128), [8, true]);
  assert.deepEqual(window(10_000), [8, false]);
  assert.deepEqual(window(500_000 / 256), [8, false]);
  for (const depth of [7, 6, 5, 4, 3, 2, 1, 0]) assert.deepEqual(window(0), [depth, true]);
  assert.deepEqual(window(0), [0, false]);
});

test('a flood that begins is not read to the end of the window', () => {
  const sieve = new Sieve();
  const now = 1_000_000;
  sieve.judge(now);
  sieve.seen = 3000;
  assert.ok(!sieve.due(now + 10));
  sieve.seen++;
  assert.ok(sieve.due(now + 10));
  assert.ok(sieve.judge(now + 10));
  assert.equal(sieve.depth, 8, '300,000 a second');
  sieve.seen = 10_000;
  assert.ok(!sieve.due(now + 20), 'once there is a filter, a window is a window');
});

test("a flood from a peer's address, which the filter lets through, ends that privilege until the flood is over", () => {
  const sieve = new Sieve();
  let now = 1_000_000;
  const window = (rate: number) => {
    sieve.seen = (rate * WINDOW) / 1000;
    now += WINDOW;
    return sieve.judge(now);
  };
  window(0);
  for (let n = 0; n < 4; n++) window(100_000);
  assert.deepEqual([sieve.depth, sieve.trusting], [12, true]);
  assert.ok(window(100_000));
  assert.equal(sieve.trusting, false);
  while (sieve.depth > 1) window(0);
  assert.equal(sieve.trusting, false);
  window(0);
  assert.deepEqual([sieve.depth, sieve.trusting], [0, true]);
});

interface Ground {
  readonly port: UdpPort;
  readonly columns: Columns;
  readonly known: Socket;
  readonly stranger: Socket;
  readonly address: string;
}

async function ground(t: TestContext, family: 4 | 6): Promise<Ground> {
  const port = new UdpPort();
  port.start();
  const columns = new Columns(256, new Uint8Array(16 << 20));
  const address = family === 4 ? '127.0.0.1' : '::1';
  const open = async () => {
    const socket = createSocket(family === 4 ? 'udp4' : 'udp6');
    socket.bind(0, address);
    await once(socket, 'listening');
    return socket;
  };
  const [known, stranger] = [await open(), await open()];
  t.after(() => {
    port.stop();
    columns.close();
    known.close();
    stranger.close();
  });
  return { port, columns, known, stranger, address };
}

/** How many of `count` datagrams of that type arrive. */
async function arrive({ port, columns, address }: Ground, from: Socket, type: number, count: number): Promise<number> {
  const fd = address.includes(':') ? port.six : port.four;
  let got = 0;
  const bytes = new Uint8Array(148);
  bytes[0] = type;
  for (let i = 0; i < count; i++) {
    await new Promise<void>((resolve, reject) =>
      from.send(bytes, port.port, address, (error) => (error ? reject(error) : resolve())),
    );
    if (i % 50 === 49 || i === count - 1) for (let n = 1; n > 0; got += n) n = native.udpReceive(fd, columns.datagrams);
  }
  return got;
}

for (const family of [4, 6] as const)
  test(`the kernel takes the filter (IPv${family}): transport messages and known peers pass, of strangers' handshakes one in 2^n`, async (t) => {
    const g = await ground(t, family);
    const fd = family === 4 ? g.port.four : g.port.six;
    const text = (socket: Socket) => {
      const { address, port } = socket.address();
      return family === 4 ? `${address}:${port}` : `[${address}]:${port}`;
    };
    const known = new Int32Array(21 * ENDPOINT_WORDS);
    // Others before it, of both families; none of them is the stranger.
    for (let i = 0; i < 10; i++) known.set(parseEndpoint(`192.0.2.${i + 1}:1`)!, i * ENDPOINT_WORDS);
    for (let i = 10; i < 20; i++) known.set(parseEndpoint(`[2001:db8::${i}]:1`)!, i * ENDPOINT_WORDS);
    known.set(parseEndpoint(text(g.known))!, 20 * ENDPOINT_WORDS);
    const count = 400;
    assert.equal(await arrive(g, g.stranger, 1, count), count, 'without a filter');
    assert.ok(native.udpFilter(fd, sieveProgram(12, family, known)));
    assert.equal(await arrive(g, g.stranger, 4, count), count, 'transport messages');
    for (const type of [1, 2, 3])
      assert.equal(await arrive(g, g.known, type, count), count, `type ${type} of a known peer`);
    const before = native.udpDropped(fd);
    const few = await arrive(g, g.stranger, 1, count);
    assert.ok(few < count / 10, `${few} of a stranger`);
    assert.equal((native.udpDropped(fd) - before) >>> 0, count - few, 'the rest is counted');
    assert.ok(native.udpFilter(fd, sieveProgram(1, family, known)));
    const half = await arrive(g, g.stranger, 1, count);
    assert.ok(half > count / 4 && half < (count * 3) / 4, `${half} of ${count}`);
    assert.ok(native.udpFilter(fd, sieveProgram(0, family, known)));
    assert.equal(await arrive(g, g.stranger, 1, count), count, 'and without it again');
    assert.ok(
      native.udpFilter(fd, sieveProgram(3, family, new Int32Array(400 * ENDPOINT_WORDS).fill(family))),
      'any number of peers',
    );
  });

test('REQ-57 a right initiation played again 64,000 times a second, from the address where it was taken once, is filtered: its sender has no session', (t) => {
  const [ours, theirs] = [newKeys(), newKeys()];
  const told: boolean[] = [];
  const flooded = (is: boolean) => {
    told.push(is);
  };
  const link = new SiteLink('hq', { lanes: new Lanes(), mtu: 1420, silent: () => {}, narrow: () => {}, flooded });
  let now = 1_000_000;
  link.start(now);
  link.answer(
    `set=1\nprivate_key=${hex(ours.secret)}\npublic_key=${hex(theirs.public)}\nallowed_ip=10.0.0.2/32\n`,
    now,
    assert.fail,
  );
  const message = newInitiation(7);
  const shared = staticShared(theirs, ours.public)!;
  Initiator.start(theirs, ours.public, shared, newKeys().secret, timestampOf(now), message, Initiation.EPHEMERAL);
  new MacMaker(ours.public).stamp(message, now);
  const port = new UdpPort();
  port.start();
  const columns = new Columns(64, new Uint8Array(64 * 160));
  t.after(() => {
    link.close();
    port.stop();
    columns.close();
  });
  for (let i = 0; i < 64; i++) {
    columns.data.set(message, i * 160);
    columns.off[i] = i * 160;
    columns.endpoint.set(parseEndpoint(`127.0.0.1:${link.port.port}`)!, i * ENDPOINT_WORDS);
  }
  const millis = 1000;
  for (let n = 0; n < millis; n++) {
    now += 1;
    columns.len.fill(message.length);
    columns.outcome.fill(Outcome.PASS);
    native.udpSend(port.four, port.six, columns.datagrams, 64);
    link.begin();
    for (let calls = 0; calls < 4; calls++) link.open(link.port.four, now);
    link.tick(now);
  }
  const { outcomes } = link.status();
  assert.deepEqual(told, [true]);
  const read = outcomes['cookie-sent']! + outcomes['old-handshake']!;
  assert.ok(read < (64 * millis) / 5, JSON.stringify(outcomes));
  // Neighbours of one size are one to the kernel.
  assert.ok(outcomes.unread! > 0);
  assert.equal(outcomes.handshake, 1);
  for (let n = 0; n < 30; n++) {
    now += WINDOW;
    link.tick(now);
  }
  assert.deepEqual(told, [true, false], 'and the filter goes with the flood');
});
