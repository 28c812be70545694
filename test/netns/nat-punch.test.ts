import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { Daemon, type Namespace, type Process } from '../../src/lab/index.js';
import { Capture, INTERNET, P, raise, type Stage } from './stage.js';

/**
 * Two clients, each behind a router of ours, and a line between the two on which a packet takes a while:
 *
 *   client-a ── router P ── inet ~200 ms~ host-2, a router too ── peer 10.9.0.10
 *
 * So each one's SYN is under way before the other's comes: both routers see a simultaneous open (RFC 5382 REQ-2).
 */
const PEER = '10.9.0.10';

/** Takes what is routed into a TUN device, and lets it go on a while later. */
const DELAY = `
import fcntl, heapq, os, select, struct, sys, time
fd = os.open('/dev/net/tun', os.O_RDWR)
fcntl.ioctl(fd, 0x400454ca, struct.pack('16sH14x', b'delay', 0x1001))  # TUNSETIFF: IFF_TUN, IFF_NO_PI
print('ready', flush=True)
waiting, count = [], 0
while True:
    wait = max(0, waiting[0][0] - time.monotonic()) if waiting else None
    if select.select([fd], [], [], wait)[0]:
        heapq.heappush(waiting, (time.monotonic() + float(sys.argv[1]), count, os.read(fd, 65536)))
        count += 1
    while waiting and waiting[0][0] <= time.monotonic():
        os.write(fd, heapq.heappop(waiting)[2])
`;

/** Learns its outside endpoint from the echo server, is told the other's, and connects to it from the same port. */
const PUNCH = `
import json, socket, sys, time
name, server, port = sys.argv[1], sys.argv[2], int(sys.argv[3])
def reusable():
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    sock.bind(('0.0.0.0', port))
    return sock
out = reusable()
out.connect((server, 7))
out.sendall(b'who am I\\n')
print('outside', json.loads(out.recv(4096))['peer'], flush=True)
host, peer_port, at = sys.stdin.readline().split()
sock = reusable()
sock.settimeout(60)
time.sleep(float(at) - time.time())
sock.connect((host, int(peer_port)))
sock.sendall(name.encode())
print('met', sock.recv(100).decode(), 'at %s:%d' % sock.getpeername(), flush=True)
`;

describe('REQ-16 TCP simultaneous open through two routers', () => {
  let stage: Stage;
  let peer: Namespace;
  before(async () => {
    stage = await raise();
    const { lab, two, inet } = stage;
    peer = lab.namespace('peer');
    two.ns.ip(
      `link add lan0 type veth peer name eth0 netns ${peer.name}`,
      'link set lan0 up',
      'addr add 10.9.0.1/24 dev lan0',
    );
    peer.ip('link set eth0 up', `addr add ${PEER}/24 dev eth0`, 'route add default via 10.9.0.1');
    await Daemon.start(
      two.ns,
      'uplink: { interface: eth0, ports: "30000-39999" }\nlans: [{ interface: lan0, subnet: 10.9.0.0/24 }]\n',
    );
    const delay = inet.spawn(['python3', '-c', DELAY, '0.2']);
    await delay.waitFor(/ready/);
    inet.ip(
      'link set delay up',
      `rule add iif to-2 to ${P} lookup 100`,
      `rule add iif wan to ${INTERNET.two} lookup 100`,
      'route add default dev delay table 100',
    );
  });
  after(() => stage?.lab.close());

  function start(ns: Namespace, name: string, port: number): Process {
    return ns.spawn(['python3', '-c', PUNCH, name, INTERNET.one, String(port)], { stdio: ['pipe', 'pipe', 'pipe'] });
  }

  async function outsideOf(program: Process): Promise<string> {
    return (await program.waitFor(/outside \S+/)).split(' ')[1]!;
  }

  /** Both connect to each other, `headStart` seconds apart. Returns the flags of the first two segments on the slow line. */
  async function meet(port: number, headStart: number): Promise<(string | undefined)[]> {
    const left = start(stage.a.ns, 'left', port);
    const right = start(peer, 'right', port + 11_000);
    const [leftOutside, rightOutside] = [await outsideOf(left), await outsideOf(right)];
    assert.equal(leftOutside, `${P}:${port}`);
    assert.equal(rightOutside, `${INTERNET.two}:${port + 11_000}`);
    const capture = await Capture.start(stage.inet, 'delay', 'tcp', ['-Q', 'in']);
    const at = Date.now() / 1000 + 0.5;
    left.child.stdin!.end(`${rightOutside.replace(':', ' ')} ${at}\n`);
    right.child.stdin!.end(`${leftOutside.replace(':', ' ')} ${at + headStart}\n`);
    assert.equal(await left.ended, 0, left.tail());
    assert.equal(await right.ended, 0, right.tail());
    assert.match(left.stdout, new RegExp(`met right at ${rightOutside}`));
    assert.match(right.stdout, new RegExp(`met left at ${leftOutside}`));
    const lines = await capture.stop();
    assert.ok(!lines.some((line) => line.includes('[R')), lines.join('\n'));
    return lines.slice(0, 2).map((line) => /Flags \[(\S+)\]/.exec(line)?.[1]);
  }

  test('SYNs that cross: both sides are connected', async () => {
    // On a busy machine one of them may come too late to cross the other; whichever way, they are connected.
    const seen: string[] = [];
    for (let i = 0; i < 10 && seen.at(-1) !== 'S S'; i++) seen.push((await meet(24_000 + i, 0)).join(' '));
    assert.equal(seen.at(-1), 'S S', `the SYNs did cross: ${seen.join(', ')}`);
  });

  test('the one SYN when the other is there already (refused by nobody, repeated): both sides are connected', async () => {
    await meet(24_020, 0.6);
  });
});
