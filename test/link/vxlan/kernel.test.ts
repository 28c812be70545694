/**
 * The Linux vxlan device and Wireshark as judges. One veth, ours on one end, the kernel's device in a namespace of its own on the other:
 *
 *     this test: endpoint, UDP socket ─ under0 (10.9.0.1, fd09::1) ═══ under1 (10.9.0.2, fd09::2) ─ vx0 (10.0.0.2)
 *     behind our TAP: a host of a few lines, 10.0.0.1, that answers ARP and ping
 */
import assert from 'node:assert/strict';
import { type ChildProcess, execFileSync, spawn, spawnSync } from 'node:child_process';
import { createSocket, type Socket } from 'node:dgram';
import { once } from 'node:events';
import { mkdtempSync, readlinkSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { Outcome, Outer, writeOuter } from '../../../src/link/vxlan/index.js';
import { ENDPOINT_WORDS, Ep, formatAddress } from '../../../src/link/wireguard/endpoint.js';
import { inNamespace } from '../../in-namespace.js';
import { judge } from '../../netns/tools.js';
import { writePcap } from '../../pcap.js';
import {
  arp,
  Bench,
  BROADCAST,
  bytesOf,
  endpoint,
  ethernet,
  hex,
  ip,
  mac,
  message,
  nd,
  udp4,
  whoHas,
} from './frames.js';

const HOST = ['02:00:00:00:00:01', '10.0.0.1'] as const;
const KERNEL = ['02:00:00:00:00:02', '10.0.0.2'] as const;
const HOST6 = [HOST[0], 'fd00::1'] as const;
const KERNEL6 = [KERNEL[0], 'fd00::2'] as const;
const PORT = 4789;
const viewOf = (bytes: Uint8Array) => new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);

/** Prints every frame that comes in by under0, as hex. */
const CAPTURE = `
import socket, sys
sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
sock.bind(('under0', 0))
print('ready', flush=True)
while True:
    frame, where = sock.recvfrom(65536)
    if where[2] != 4: print(frame.hex(), flush=True)
`;
/** Sends IP packets as they are, one hex line each. */
const RAW = `
import socket, sys
for line in sys.stdin:
    packet = bytes.fromhex(line)
    six = packet[0] >> 4 == 6
    sock = socket.socket(socket.AF_INET6 if six else socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
    to = socket.inet_ntop(socket.AF_INET6, packet[24:40]) if six else socket.inet_ntoa(packet[16:20])
    sock.sendto(packet, (to, 0, 0, 0) if six else (to, 0))
`;

let holder: ChildProcess;

function ipHere(...lines: string[]): void {
  execFileSync('ip', ['-batch', '-'], { input: `${lines.join('\n')}\n` });
}

function there(...argv: string[]): { status: number | null; stdout: string; stderr: string } {
  return spawnSync('nsenter', [`--target=${holder.pid}`, '--net', ...argv], { encoding: 'utf8', timeout: 20_000 });
}

function mustThere(...argv: string[]): string {
  const { status, stdout, stderr } = there(...argv);
  assert.equal(status, 0, `${argv.join(' ')}: ${stderr}${stdout}`);
  return stdout;
}

async function until(what: string, holds: () => boolean): Promise<void> {
  for (let i = 0; i < 500; i++) {
    if (holds()) return;
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  assert.fail(`${what}: not within 10 s`);
}

/** Our end: a socket, the endpoint, and the host behind its TAP. */
class Site {
  readonly bench: Bench;
  /** Frames that came out of the tunnel. */
  readonly got: Uint8Array[] = [];
  readonly outcomes: number[] = [];

  constructor(
    readonly socket: Socket,
    readonly remote: string,
    readonly remotePort: number,
    options = {},
  ) {
    this.bench = new Bench(options);
    this.bench.vtep.remotes.add(endpoint(remote, remotePort));
    socket.on('message', (bytes, from) => {
      const [got] = this.bench.tunnel([{ bytes, from: from.address }]);
      this.outcomes.push(got!.outcome);
      if (got!.outcome !== Outcome.PASS) return;
      this.got.push(got!.frame);
      const reply = answer(got!.frame);
      if (reply) this.send(reply);
    });
  }

  static async open(own: string, port: number, remote: string, remotePort: number, options = {}): Promise<Site> {
    const socket = createSocket(own.includes(':') ? 'udp6' : 'udp4');
    socket.bind(port, own);
    await once(socket, 'listening');
    return new Site(socket, remote, remotePort, options);
  }

  /** A frame from the TAP. */
  send(frame: Uint8Array): void {
    const [got] = this.bench.tap([frame]);
    for (const bytes of got!.messages) this.socket.send(bytes, this.remotePort, this.remote);
    if (got!.answer) this.got.push(got!.answer);
  }
}

/** The host's part: ARP and ping. */
function answer(frame: Uint8Array): Uint8Array | null {
  const v = viewOf(frame);
  const type = v.getUint16(12);
  if (type === 0x0806 && v.getUint16(20) === 1 && v.getInt32(38) === ip(HOST[1])[3]) {
    return ethernet(KERNEL[0], HOST[0], 0x0806, arp(2, HOST, KERNEL));
  }
  const reply = frame.slice();
  reply.set(frame.subarray(6, 12));
  reply.set(bytesOf(HOST[0]), 6);
  if (type === 0x0800 && frame[23] === 1 && frame[34] === 8) {
    reply.set(frame.subarray(26, 30), 30);
    reply.set(frame.subarray(30, 34), 26);
    reply[34] = 0;
    const sum = viewOf(reply).getUint16(36) + 0x0800;
    viewOf(reply).setUint16(36, (sum & 0xffff) + (sum >> 16));
    return reply;
  }
  return null;
}

function vxlan(...options: string[]): void {
  there('ip', 'link', 'del', 'vx0');
  mustThere('ip', 'link', 'add', 'vx0', 'address', KERNEL[0], 'type', 'vxlan', 'id', '42', ...options);
  mustThere('ip', 'addr', 'add', `${KERNEL[1]}/24`, 'dev', 'vx0');
  mustThere('ip', 'link', 'set', 'vx0', 'up');
}

/** By netlink: /sys shows the namespace that mounted it. */
function rxPackets(): number {
  const [link] = JSON.parse(mustThere('ip', '-s', '-j', 'link', 'show', 'vx0'));
  return link.stats64.rx.packets;
}

inNamespace('VXLAN with the kernel', import.meta.url, ['--net'], () => {
  before(async () => {
    holder = spawn('unshare', ['--net', 'sleep', '160'], { stdio: 'ignore' });
    const own = readlinkSync('/proc/self/ns/net');
    await until('a namespace for the kernel', () => readlinkSync(`/proc/${holder.pid}/ns/net`) !== own);
    ipHere(
      'link set lo up',
      'link add under0 type veth peer name under1',
      `link set under1 netns ${holder.pid}`,
      'addr add 10.9.0.1/24 dev under0',
      'addr add 10.9.0.3/24 dev under0',
      'addr add fd09::1/64 dev under0 nodad',
      'link set under0 up',
    );
    mustThere('ip', 'addr', 'add', '10.9.0.2/24', 'dev', 'under1');
    mustThere('ip', 'addr', 'add', 'fd09::2/64', 'dev', 'under1', 'nodad');
    mustThere('ip', 'link', 'set', 'under1', 'up');
    // Checksums are complete on this wire, as on a real one.
    mustThere('ethtool', '-K', 'under1', 'tx', 'off');
  });
  after(() => {
    holder.kill('SIGKILL');
  });

  for (const [family, own, remote] of [
    ['IPv4', '10.9.0.1', '10.9.0.2'],
    ['IPv6', 'fd09::1', 'fd09::2'],
  ] as const) {
    test(`REQ-53 the Linux device over ${family}: ARP and ping both ways, up to the full MTU`, async () => {
      vxlan('local', remote, 'remote', own, 'dstport', String(PORT));
      const site = await Site.open(own, PORT, remote, PORT, { mtu: family === 'IPv4' ? 1450 : 1430 });
      try {
        // The kernel answers what we ask.
        site.send(whoHas(HOST, KERNEL[1]));
        const wanted = hex(ethernet(HOST[0], KERNEL[0], 0x0806, arp(2, KERNEL, HOST)));
        await until('an ARP reply', () => site.got.some((frame) => hex(frame) === wanted));
        // Known by now: the next question is answered here, in the same words.
        site.got.length = 0;
        const sent = site.bench.vtep.counts[Outcome.FLOODED]!;
        site.send(whoHas(HOST, KERNEL[1]));
        assert.ok(site.got.some((frame) => hex(frame) === wanted));
        assert.deepEqual(
          [site.bench.vtep.counts[Outcome.ANSWERED], site.bench.vtep.counts[Outcome.FLOODED]],
          [1, sent],
        );
        const size = String((family === 'IPv4' ? 1450 : 1430) - 28);
        for (const more of [
          ['-s', '56'],
          ['-s', size, '-M', 'do'],
        ]) {
          const ping = spawn('nsenter', [
            `--target=${holder.pid}`,
            '--net',
            'ping',
            ...['-c', '2', '-i', '0.2', '-W', '5', '-q'],
            ...more,
            HOST[1],
          ]);
          const [code] = await once(ping, 'close');
          assert.equal(code, 0, `ping ${more.join(' ')}: ${site.outcomes}`);
        }
      } finally {
        site.socket.close();
      }
    });
  }

  test('static entries as flannel programs them, port 8472, no learning', async () => {
    vxlan('local', '10.9.0.2', 'dstport', '8472', 'nolearning');
    mustThere('bridge', 'fdb', 'append', HOST[0], 'dev', 'vx0', 'dst', '10.9.0.1');
    mustThere('ip', 'neigh', 'replace', HOST[1], 'lladdr', HOST[0], 'dev', 'vx0', 'nud', 'permanent');
    const site = await Site.open('10.9.0.1', 8472, '10.9.0.2', 8472, { learning: false });
    try {
      const { hi, lo } = mac(KERNEL[0]);
      site.bench.vtep.fdb.setStatic(hi, lo, 0);
      site.bench.vtep.neighbours.setStatic(ip(KERNEL[1]), hi, lo);
      site.send(whoHas(HOST, KERNEL[1]));
      assert.equal(hex(site.got[0]!), hex(ethernet(HOST[0], KERNEL[0], 0x0806, arp(2, KERNEL, HOST))));
      const ping = spawn('nsenter', [
        `--target=${holder.pid}`,
        '--net',
        'ping',
        '-c',
        '2',
        '-i',
        '0.2',
        '-W',
        '5',
        HOST[1],
      ]);
      const [code] = await once(ping, 'close');
      assert.equal(code, 0);
      assert.equal(site.bench.vtep.counts[Outcome.FLOODED], 0);
      assert.equal(site.bench.vtep.counts[Outcome.PASS]! > 3, true);
    } finally {
      site.socket.close();
    }
  });

  test('what the Linux device puts on the wire reads back with our eyes: header, VNI, outer checksum and ECN', async () => {
    const capture = spawn('python3', ['-c', CAPTURE], { stdio: ['ignore', 'pipe', 'inherit'] });
    let text = '';
    capture.stdout.setEncoding('utf8').on('data', (more: string) => {
      text += more;
    });
    try {
      await until('the capture', () => text.includes('ready'));
      for (const [own, remote, type] of [
        ['10.9.0.1', '10.9.0.2', '0800'],
        ['fd09::1', 'fd09::2', '86dd'],
      ] as const) {
        text = '';
        vxlan('local', remote, 'remote', own, 'dstport', String(PORT), 'tos', 'inherit');
        there('ping', '-c', '1', '-W', '1', '-Q', '0x02', '-b', '10.0.0.255');
        const bench = new Bench();
        bench.remotes(remote);
        const wanted = () =>
          text
            .split('\n')
            .filter((line) => line.slice(24, 28) === type)
            .map((line) => bytesOf(line).slice(14))
            .filter((packet) => packet[type === '0800' ? 9 : 6] === 17);
        await until('a packet of the device', () => wanted().length > 2);
        let pings = 0;
        for (const packet of wanted()) {
          const [outer, from] = [new Outer(), new Int32Array(ENDPOINT_WORDS)];
          assert.equal(outer.read(packet, viewOf(packet), 0, packet.length, PORT, from, 0), Outcome.PASS);
          assert.equal(formatAddress(from[Ep.FAMILY]!, from, Ep.ADDRESS), remote);
          const payload = packet.slice(outer.off, outer.off + outer.len);
          const [got] = bench.tunnel([{ bytes: payload, from: remote, tos: outer.tos }]);
          assert.equal(got!.outcome, Outcome.PASS);
          assert.equal(hex(got!.frame.subarray(6, 12)), KERNEL[0].replaceAll(':', ''));
          if (got!.frame[12] !== 8 || got!.frame[13] !== 0) continue;
          pings++;
          assert.deepEqual([outer.tos & 3, got!.frame[15]], [2, 2]);
        }
        assert.ok(pings > 0);
      }
    } finally {
      capture.kill('SIGKILL');
    }
  });

  test('REQ-48 REQ-50 the Linux device takes what we encode whole, outer headers included, and refuses a wrong checksum as we do', async () => {
    for (const [own, remote, zero] of [
      ['10.9.0.1', '10.9.0.2', true],
      ['fd09::1', 'fd09::2', false],
    ] as const) {
      vxlan('local', remote, 'dstport', String(PORT));
      const inner = ethernet(KERNEL[0], HOST[0], 0x0800, udp4(HOST[1], KERNEL[1], [1, 2], 100));
      const [sent] = (() => {
        const bench = new Bench();
        bench.remotes(remote);
        return bench.tap([inner]);
      })();
      const payload = sent!.messages[0]!;
      const packet = (checksum: boolean) => {
        const bytes = new Uint8Array(48 + payload.length);
        const size = own.includes(':') ? 48 : 28;
        bytes.set(payload, size);
        const options = { ttl: 64, checksum };
        writeOuter(bytes, viewOf(bytes), 0, payload.length, endpoint(own), endpoint(remote), 0, 50_000, 0, options);
        return bytes.slice(0, size + payload.length);
      };
      const wrong = packet(true);
      wrong[wrong.length - 1]! ^= 1;
      const start = rxPackets();
      const raw = (packets: Uint8Array[]) =>
        execFileSync('python3', ['-c', RAW], { input: packets.map((each) => `${hex(each)}\n`).join('') });
      raw([wrong, packet(true), ...(zero ? [packet(false)] : [])]);
      const wanted = start + (zero ? 2 : 1);
      await until(`${wanted} packets at vx0`, () => rxPackets() >= wanted);
      assert.equal(rxPackets(), wanted);
    }
  });

  test('Wireshark reads our messages and answers as what they are, without a complaint', () => {
    const bench = new Bench();
    bench.remotes('192.0.2.2');
    const asks6 = nd(135, HOST6, ['33:33:ff:00:00:02', 'ff02::1:ff00:2'], KERNEL6[1], [1, HOST[0]]);
    const says6 = nd(136, KERNEL6, HOST6, KERNEL6[1], [2, KERNEL[0]], 0x6000_0000);
    bench.tunnel(
      [ethernet(BROADCAST, KERNEL[0], 0x0806, arp(2, KERNEL, HOST)), says6].map((frame) => ({
        bytes: message(frame),
        from: '192.0.2.2',
      })),
    );
    const [asked, asked6] = bench.tap([whoHas(HOST, KERNEL[1]), asks6]);
    const [plain] = bench.tap([ethernet(KERNEL[0], HOST[0], 0x0800, udp4(HOST[1], KERNEL[1], [7, 9]))]);
    const wrapped = [true, false].map((four) => {
      const size = four ? 28 : 48;
      const packet = new Uint8Array(size + plain!.messages[0]!.length);
      packet.set(plain!.messages[0]!, size);
      const [own, to] = four ? ['192.0.2.1', '192.0.2.2'] : ['2001:db8::1', '2001:db8::2'];
      writeOuter(packet, viewOf(packet), 0, packet.length - size, endpoint(own!), endpoint(to!), 0, 50_000, 0, {
        ttl: 64,
        checksum: !four,
      });
      return ethernet('02:00:00:00:01:02', '02:00:00:00:01:01', four ? 0x0800 : 0x86dd, packet);
    });
    const dir = mkdtempSync(join(tmpdir(), 'tungate-vxlan-'));
    try {
      const file = join(dir, 'x.pcap');
      const frames = [...wrapped, asked!.answer!, asked6!.answer!];
      writeFileSync(
        file,
        writePcap(
          1,
          frames.map((bytes, i) => ({ time: BigInt(i), bytes })),
        ),
      );
      const checks = ['ip.check_checksum', 'udp.check_checksum'].flatMap((name) => ['-o', `${name}:TRUE`]);
      const fields = ['frame.protocols', 'vxlan.vni', 'vxlan.flags', 'eth.dst', 'ip.flags.df', 'udp.checksum.status'];
      const more = ['arp.src.proto_ipv4', 'icmpv6.checksum.status', 'icmpv6.opt.linkaddr', '_ws.expert.message'];
      const [program, ...args] = judge('tshark', '-n', '-r', file, '-T', 'fields', '-E', 'separator=|', ...checks);
      const text = execFileSync(program!, [...args, ...[...fields, ...more].flatMap((field) => ['-e', field])], {
        encoding: 'utf8',
        stdio: ['ignore', 'pipe', 'ignore'],
      });
      const [four, six, one, two] = text
        .trim()
        .split('\n')
        .map((line) => line.split('|'));
      const inside = 'eth:ethertype:ip:udp';
      assert.match(four![0]!, new RegExp(`^eth:ethertype:ip:udp:vxlan:${inside}`));
      assert.match(six![0]!, new RegExp(`^eth:ethertype:ipv6:udp:vxlan:${inside}`));
      for (const line of [four!, six!]) {
        assert.deepEqual([line[1], line[2], line[3]], ['42', '0x0800', `02:00:00:00:01:02,${KERNEL[0]}`]);
      }
      // 1 = good, 3 = not present (zero): outer, then inner.
      assert.deepEqual([four![4], four![5], six![5]], ['1,0', '3,1', '1,1'], text);
      assert.equal(one![6], KERNEL[1]);
      assert.deepEqual([two![7], two![8]], ['1', KERNEL[0]]);
      for (const line of [four!, six!, one!, two!]) assert.ok(!/malformed|bad|illegal/i.test(line[9] ?? ''), line[9]);
    } finally {
      rmSync(dir, { recursive: true, force: true });
    }
  });
});
