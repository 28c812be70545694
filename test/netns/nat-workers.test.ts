/**
 * Several workers: the kernel hands a flow's packets to one of the TUN's queues by its own hash, fragments and answers perhaps to
 * another one. What is true of one worker must be true of six.
 */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import type { Status } from '../../src/contract/api.js';
import { type Host, niceAllowed, niceOf, PATIENCE } from '../../src/lab/index.js';
import { ipv4, macOf, sendRaw, udp } from './packet.js';
import { addressOf, config, eventually, INTERNET, P, portOf, raise, type Stage } from './stage.js';

const WORKERS = 6;
const RATE = 200;
/** The one inside address that keeps to no rate. */
const GREEDY = '172.22.161.60';

/** From one socket to many remote ports, all at once; prints answers and the outside endpoints that were seen. */
const SPRAY = `
import json, socket, sys, time
to, first, count = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
sock.bind(('0.0.0.0', 24777))
sock.settimeout(1)
waiting, seen, end = set(range(first, first + count)), set(), time.monotonic() + 60
while waiting and time.monotonic() < end:
    for port in waiting: sock.sendto(b'x', (to, port))
    try:
        while waiting:
            data, peer = sock.recvfrom(2048)
            waiting.discard(peer[1])
            seen.add(data.decode())
    except OSError:
        pass
print(len(waiting), *seen)
`;

/** Answers each datagram on a range of ports with where it came from. */
const ECHO = `
import select, socket, sys
poll, socks = select.epoll(), {}
for port in range(int(sys.argv[1]), int(sys.argv[1]) + int(sys.argv[2])):
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind(('0.0.0.0', port))
    socks[sock.fileno()] = sock
    poll.register(sock, select.EPOLLIN)
print('ready', flush=True)
while True:
    for fd, _ in poll.poll():
        data, peer = socks[fd].recvfrom(2048)
        socks[fd].sendto(b'%s:%d' % (peer[0].encode(), peer[1]), peer)
`;

function pattern(bytes: number): string {
  return Buffer.from(Uint8Array.from({ length: bytes }, (_, i) => i % 251)).toString('latin1');
}

describe(`${WORKERS} workers`, () => {
  let stage: Stage;
  before(async () => {
    stage = await raise(config(`workers: ${WORKERS}\nlimits: { per_host_rate: ${RATE} }\n`));
    stage.a.ns.ip(`addr add ${GREEDY}/24 dev eth0`);
    for (const { ns } of [stage.a, stage.b, stage.one]) ns.trySysctl('net.ipv4.ipfrag_high_thresh=16777216');
    stage.one.ns.sysctl('net.ipv4.icmp_ratelimit=0');
  });
  after(() => stage?.lab.close());

  const status = () => stage.daemon.json<Status>('status');

  test('REQ-1 one socket to 200 destinations at once has one outside port, whoever sees which packet', async () => {
    const server = stage.one.ns.spawn(['python3', '-c', ECHO, '5000', '200']);
    await server.waitFor(/ready/);
    const said = await stage.a.ns.must(['python3', '-c', SPRAY, INTERNET.one, '5000', '200'], {
      seconds: 2 * PATIENCE,
    });
    assert.equal(said.trim(), `0 ${P}:24777`);
    await server.stop();
    const { workers } = await status();
    assert.deepEqual(
      workers.map(({ state, restarts }) => [state, restarts]),
      Array(WORKERS).fill(['ready', 0]),
    );
  });

  test('REQ-69 beside full processors the workers come before other programs, and control does not', () => {
    const pid = stage.daemon.process.child.pid!;
    const allowed = niceAllowed(-10);
    const nices = niceOf(pid);
    assert.equal(nices.get(pid), 0);
    const raised = [...nices.values()].filter((nice) => nice === -10);
    assert.equal(raised.length, allowed === -10 ? WORKERS : 0, `allowed is ${allowed}`);
  });

  for (const [way, from, to, port, local] of [
    ['out through SNAT and back', 'a', 'one', 8000, 8000],
    ['in through a forward and back', 'one', 'b', 30_060, 8060],
    ['by hairpin and back', 'a', 'b', 30_061, 8061],
  ] as const)
    test(`REQ-15 twenty datagrams of 20,000 bytes, in fragments, ${way}`, async () => {
      const [sender, receiver]: [Host, Host] = [stage[from], stage[to]];
      const right = await receiver.bind(local);
      const text = pattern(20_000);
      for (let i = 0; i < 20; i++) {
        const left = await sender.bind();
        await left.send(to === 'one' ? INTERNET.one : P, port, text);
        const there = await right.next();
        assert.ok(there.text === text, `${there.bytes} bytes came, another content`);
        await right.send(addressOf(there.peer), portOf(there.peer), text);
        assert.ok((await left.next()).text === text, 'the answer');
        await left.close();
      }
      await right.close();
    });

  test('REQ-16, REQ-62 sixty connections out, in and by hairpin at once, each with its answers', async () => {
    const all = await Promise.all(
      Array.from({ length: 20 }, () => [
        stage.a.connect({ to: INTERNET.one, port: 7 }),
        stage.one.connect({ to: P, port: 10_007 }),
        stage.b.connect({ to: P, port: 10_007 }),
      ]).flat(),
    );
    for (let i = 0; i < 5; i++)
      for (const { text } of await Promise.all(all.map((each) => each.say(`round ${i}`))))
        assert.equal(text, `round ${i}`);
    await Promise.all(all.map((each) => each.hangUp()));
    const { flows } = await status();
    assert.ok(flows.live >= 60, `${flows.live} flows`);
  });

  test('REQ-27 an error reaches its socket, whichever worker it comes to', async () => {
    // A connection that is refused, and datagrams to closed ports from many sockets.
    assert.equal(await stage.a.tryAsk('tcp', { to: INTERNET.one, port: 99 }), 'ECONNREFUSED');
    const closed = `
import socket
told = 0
for n in range(20):
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.settimeout(${PATIENCE})
    sock.connect(('${INTERNET.one}', 99))
    for _ in range(${PATIENCE}):
        # The kernel of the host outside makes few errors a second.
        sock.settimeout(1)
        try:
            sock.send(b'x')
            sock.recv(10)
        except ConnectionRefusedError:
            told += 1
            break
        except OSError:
            pass
print(told)
`;
    assert.equal((await stage.a.ns.must(['python3', '-c', closed], { seconds: 2 * PATIENCE })).trim(), '20');
  });

  test('REQ-32 the rate of new mappings of one inside host is one for all workers', async () => {
    const lan = await macOf(stage.router.ns, 'vmbr1');
    // Every packet begins a mapping: 20,000 source ports, to remotes that spread them over the queues.
    const packets = Array.from({ length: 20_000 }, (_, i) => {
      const dst = `198.18.${(i >>> 8) & 255}.${i & 255}`;
      return ipv4({ src: GREEDY, dst, proto: 17, payload: udp(GREEDY, 30_000 + i, dst, 9, 'x') });
    });
    const refusedBefore = (await status()).drops.find(({ reason }) => reason === 'host-limit')?.packets ?? 0;
    const begun = performance.now();
    await sendRaw(stage.a.ns, 'eth0', lan, packets);
    let made = 0;
    await eventually('the flood has been seen to', async () => {
      const before = made;
      made = (await stage.daemon.json<unknown[]>('flows', '-p', 'udp', '-s', GREEDY)).length;
      const refused = (await status()).drops.find(({ reason }) => reason === 'host-limit')!.packets - refusedBefore;
      return made === before && made + refused > 5000;
    });
    // A burst of one second's worth at its begin and at each second that began meanwhile.
    const seconds = Math.ceil((performance.now() - begun) / 1000) + 1;
    assert.ok(made >= RATE, `${made} mappings`);
    assert.ok(made <= RATE * seconds, `${made} mappings in at most ${seconds} s, ${RATE} a second are allowed`);
    const { workers } = await status();
    assert.ok(workers.every(({ state, restarts }) => state === 'ready' && restarts === 0));
  });
});
