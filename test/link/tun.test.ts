/**
 * The TUN link against the real kernel, in a network namespace of its own.
 *
 *   this process, sockets ── kernel ── tun (10.9.0.1/24) ── TunLink ── this test, as everybody else in 10.9.0.0/24
 *
 * The last test has two TUNs and carries the packets between them:
 *
 *   client ── kernel ── tun-a (10.8.0.1) ── TunLink ⇄ TunLink ── tun-b (10.8.0.2) ── kernel, other namespace ── server
 */
import assert from 'node:assert/strict';
import { execFileSync, spawn, spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { createSocket, type Socket } from 'node:dgram';
import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { test } from 'node:test';
import { Worker } from 'node:worker_threads';
import { Batch, Ctl, HEADROOM, PACKET_BYTES, VNET_BYTES } from '../../src/batch.js';
import { LinkLost, RECEIVE_SLOTS, receiveBytes, stampedMillis, TunLink } from '../../src/link/index.js';
import { native } from '../../src/native.js';
import { inNamespace } from '../in-namespace.js';

const NEEDS_CSUM = 1;
const GSO_TCPV4 = 1;

function ip(...args: string[]): string {
  return execFileSync('ip', args, { encoding: 'utf8' });
}

/** A TUN with 10.9.0.1/24 on it and no packet of the kernel's own in its queue. */
function openTun(name: string, mtu = 1500): TunLink {
  writeFileSync('/proc/sys/net/ipv6/conf/default/disable_ipv6', '1'); // no router solicitations between our packets
  const link = TunLink.open(name);
  ip('link', 'set', name, 'mtu', String(mtu), 'txqueuelen', '2000', 'up');
  ip('addr', 'add', '10.9.0.1/24', 'dev', name);
  return link;
}

async function udpSocket(port = 0): Promise<Socket> {
  const socket = createSocket('udp4');
  socket.bind(port);
  await once(socket, 'listening');
  return socket;
}

function send(socket: Socket, payload: Uint8Array, address = '10.9.0.2', port = 7): Promise<unknown> {
  return new Promise((resolve, reject) => {
    socket.send(payload, port, address, (error) => (error ? reject(error) : resolve(undefined)));
  });
}

/** An IPv4/UDP packet 10.9.0.2:9 → 10.9.0.1:`port`. */
function udpPacket(port: number, payload: Uint8Array): Buffer {
  const packet = Buffer.alloc(28 + payload.length);
  packet.set([0x45, 0], 0);
  packet.writeUInt16BE(packet.length, 2);
  packet.set([64, 17], 8);
  packet.set([10, 9, 0, 2, 10, 9, 0, 1], 12);
  packet.writeUInt16BE(~native.checksum(packet, 0, 20, 0) & 0xffff, 10);
  packet.writeUInt16BE(9, 20);
  packet.writeUInt16BE(port, 22);
  packet.writeUInt16BE(8 + payload.length, 24); // UDP checksum 0: none
  packet.set(payload, 28);
  return packet;
}

function put(batch: Batch, packet: Uint8Array): number {
  const slot = batch.append(packet.length);
  batch.data.set(packet, batch.off[slot]!);
  return slot;
}

inNamespace('TUN link', import.meta.url, ['--net'], () => {
  test('a packet of the kernel’s: header on a multiple of 16, vnet header in front, time stamped', async () => {
    const link = openTun('tun0');
    const socket = await udpSocket();
    const batch = new Batch();
    assert.equal(link.receive(batch), 0, 'nothing there yet');
    await send(socket, Buffer.from('hello'));
    const before = native.boottime();
    assert.equal(link.receive(batch), 1);
    assert.ok(stampedMillis(batch) >= before && stampedMillis(batch) <= native.boottime());
    assert.equal(batch.ctl[Ctl.SECONDS], Math.floor(stampedMillis(batch) / 1000));
    const off = batch.off[0]!;
    assert.deepEqual([batch.count, off, batch.len[0]], [1, HEADROOM, 33]);
    assert.equal(batch.ctl[Ctl.USED], 112); // 64 + 33, up to the next multiple of 16
    assert.equal(batch.data[off], 0x45);
    assert.equal(Buffer.from(batch.data.subarray(off + 28, off + 33)).toString(), 'hello');
    const vnet = Buffer.from(batch.data.subarray(off - VNET_BYTES, off));
    assert.equal(vnet[0], NEEDS_CSUM);
    assert.deepEqual([vnet.readUInt16LE(6), vnet.readUInt16LE(8)], [20, 6], 'checksum start and offset');
    assert.equal(link.receive(batch), 0, 'EAGAIN is no packet and no error');
    socket.close();
    link.close();
  });

  test('what is written reaches the socket; what the kernel refuses is not counted', async () => {
    const link = openTun('tun0');
    const socket = await udpSocket();
    const batch = new Batch();
    const good = put(batch, udpPacket(socket.address().port, Buffer.from('first')));
    const bad = put(batch, Buffer.alloc(40)); // IP version 0
    const empty = put(batch, Buffer.alloc(0));
    const last = put(batch, udpPacket(socket.address().port, Buffer.from('second')));
    batch.list.set([last, bad, empty, good]);
    const heard: string[] = [];
    const both = new Promise<void>((resolve) => {
      socket.on('message', (message) => heard.push(message.toString()) === 2 && resolve());
    });
    assert.equal(link.transmit(batch, 4), 2);
    await both;
    assert.deepEqual(heard, ['second', 'first'], 'in the order of the list');
    socket.close();
    link.close();
  });

  test('a full batch leaves the rest for the next call: slots', async () => {
    const link = openTun('tun0');
    const socket = await udpSocket();
    for (let i = 0; i < RECEIVE_SLOTS + 10; i++) await send(socket, Buffer.from([i]));
    const batch = new Batch();
    assert.equal(link.receive(batch), RECEIVE_SLOTS);
    assert.equal(batch.data[batch.off[RECEIVE_SLOTS - 1]! + 28], RECEIVE_SLOTS - 1);
    assert.equal(link.receive(batch), 0, 'the batch is full');
    batch.clear();
    assert.equal(link.receive(batch), 10);
    assert.equal(batch.data[batch.off[0]! + 28], RECEIVE_SLOTS);
    socket.close();
    link.close();
  });

  test('a full batch leaves the rest for the next call: bytes', async () => {
    const link = openTun('tun0', 65_535);
    const socket = await udpSocket();
    for (let i = 0; i < 20; i++) await send(socket, Buffer.alloc(60_000, i));
    const batch = new Batch();
    const n = link.receive(batch);
    assert.ok(n >= 17 && n < 20, `${n} packets of 60,000 bytes`);
    assert.ok(batch.ctl[Ctl.USED]! <= receiveBytes(batch));
    assert.ok(batch.ctl[Ctl.USED]! + HEADROOM + PACKET_BYTES > receiveBytes(batch), 'it was not full');
    const seen = new Set<number>();
    for (let left = n; left > 0; batch.clear(), left = link.receive(batch)) {
      for (let slot = 0; slot < left; slot++) {
        const off = batch.off[slot]!;
        assert.equal(off % 16, 0);
        const payload = batch.data.subarray(off + 28, off + batch.len[slot]!);
        assert.ok(payload.length === 60_000 && payload.every((byte) => byte === payload[0]));
        seen.add(payload[0]!);
      }
    }
    assert.equal(seen.size, 20);
    socket.close();
    link.close();
  });

  test('a device that is deleted while we read: the poller wakes, receive throws LinkLost, transmit takes nothing', () => {
    const link = openTun('tun0');
    const poller = native.pollerCreate();
    native.pollerAdd(poller, link.fd, 3);
    assert.equal(native.pollerWait(poller, 0), 0);
    ip('link', 'del', 'tun0');
    assert.equal(native.pollerWait(poller, 5000), 1 << 3);
    const batch = new Batch();
    assert.throws(
      () => link.receive(batch),
      (error) =>
        error instanceof LinkLost &&
        error.link === 'tun0' &&
        /tun0 is gone: the device was deleted/.test(error.message),
    );
    batch.list[0] = put(batch, udpPacket(9, Buffer.from('x')));
    assert.equal(link.transmit(batch, 1), 0);
    native.closeFd(poller);
    link.close();
    const again = openTun('tun0');
    assert.equal(again.receive(batch), 0, 'the name can be opened again');
    again.close();
  });

  test('several queues of one device, each in a worker thread at once', async () => {
    const queues = [TunLink.open('tun0'), TunLink.open('tun0')];
    ip('link', 'set', 'tun0', 'up');
    ip('addr', 'add', '10.9.0.1/24', 'dev', 'tun0');
    const socket = await udpSocket();
    const heard = new Map<number, number>();
    socket.on('message', (message) => heard.set(message[0]!, (heard.get(message[0]!) ?? 0) + 1));
    const base = JSON.stringify(new URL('../../src/', import.meta.url).href);
    const workers = queues.map((queue, i) => {
      const workerData = { fd: queue.fd, packet: udpPacket(socket.address().port, Buffer.from([i])) };
      return new Worker(
        `import { parentPort, workerData } from 'node:worker_threads';
         const { TunLink } = await import(${base} + 'link/index.js');
         const { Batch } = await import(${base} + 'batch.js');
         const link = TunLink.adopt('tun0', workerData.fd);
         const batch = new Batch();
         for (let i = 0; i < 50; i++) {
           const slot = batch.append(workerData.packet.length);
           batch.data.set(workerData.packet, batch.off[slot]);
           batch.list[i] = slot;
         }
         parentPort.postMessage(link.transmit(batch, 50));
         link.close();`,
        { eval: true, workerData },
      );
    });
    const taken = await Promise.all(workers.map(async (worker) => (await once(worker, 'message'))[0]));
    assert.deepEqual(taken, [50, 50]);
    const deadline = native.boottime() + 5000;
    while ((heard.get(0) ?? 0) + (heard.get(1) ?? 0) < 100 && native.boottime() < deadline) {
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
    assert.deepEqual([heard.get(0), heard.get(1)], [50, 50]);
    socket.close();
    assert.equal(queues[0]!.receive(new Batch()), 0, 'adopted descriptors are left open');
    for (const queue of queues) queue.close();
  });

  test('a persistent device outlives its descriptors, and can be let go again', () => {
    const link = TunLink.open('keep0');
    native.tunPersist(link.fd, true);
    link.close();
    assert.match(ip('link', 'show', 'keep0'), /keep0/);
    const again = TunLink.open('keep0');
    native.tunPersist(again.fd, false);
    again.close();
    assert.notEqual(spawnSync('ip', ['link', 'show', 'keep0']).status, 0);
  });

  test('tunOpen says the name that the kernel gave and the offloads it has', () => {
    const info = native.tunOpen('gate%d');
    assert.equal(info.name, 'gate0');
    assert.equal(info.offloads & 7, 7, 'checksum and TSO: every kernel that we run on');
    native.closeFd(info.fd);
  });

  test('what hinders opening is told with its remedy', () => {
    assert.throws(() => TunLink.open('lo'), { code: 'EINVAL', message: /'lo': a device of this name exists/ });
    assert.throws(() => TunLink.open(''), { code: 'EINVAL', message: /1 to 15 bytes/ });
    assert.throws(() => TunLink.open('sixteen-bytes-xx'), { code: 'EINVAL', message: /1 to 15 bytes/ });
    const script = `const { native } = await import(${JSON.stringify(new URL('../../src/native.js', import.meta.url).href)});
      try { native.tunOpen('tun9'); } catch (error) { console.log(error.code + ' ' + error.message); }`;
    const node = [process.execPath, '--input-type=module', '-e', script];
    const weak = execFileSync('setpriv', ['--bounding-set=-net_admin', '--inh-caps=-net_admin', ...node], {
      encoding: 'utf8',
    });
    assert.match(weak, /^EPERM .*TUNSETIFF 'tun9': .*CAP_NET_ADMIN/);
    const hide = 'mount -t tmpfs tmpfs /dev/net && exec "$@"';
    const absent = execFileSync('unshare', ['--mount', 'sh', '-c', hide, 'sh', ...node], { encoding: 'utf8' });
    assert.match(absent, /^ENOENT .*\/dev\/net\/tun.*modprobe tun.*--device=\/dev\/net\/tun/);
  });

  test('the hot calls allocate nothing on the heap', () => {
    const link = openTun('tun0');
    const batch = new Batch();
    batch.list[0] = put(batch, Buffer.alloc(40));
    const rounds = (n: number) => {
      for (let i = 0; i < n; i++) {
        link.receive(batch);
        link.transmit(batch, 1);
      }
    };
    rounds(20_000); // let it be compiled
    const before = process.memoryUsage().heapUsed;
    rounds(20_000);
    const bytes = process.memoryUsage().heapUsed - before;
    assert.ok(bytes < 40_000, `${bytes} bytes in 40,000 calls`);
    link.close();
  });

  test('64 KiB of TCP at once go through two TUNs in both directions, and every byte is right', async (t) => {
    const BYTES = 32 * 1024 * 1024;
    const server = `
      const hash = require('crypto').createHash('sha256');
      let left = ${BYTES};
      require('net').createServer({ allowHalfOpen: true }, (socket) => {
        socket.on('data', (chunk) => { hash.update(chunk); left -= chunk.length; });
        socket.on('end', () => {
          console.log(left, hash.digest('hex'));
          const back = Buffer.alloc(${BYTES}, 'answer');
          socket.end(back, () => {});
        });
      }).listen(5001, () => console.log('listening'));`;
    const child = spawn('unshare', ['--net', process.execPath, '-e', server], { stdio: ['ignore', 'pipe', 'inherit'] });
    t.after(() => child.kill());
    let out = '';
    child.stdout.setEncoding('utf8').on('data', (text) => (out += text));
    while (!out.includes('listening')) await once(child.stdout, 'data');

    const links = [TunLink.open('tun-a'), TunLink.open('tun-b')];
    ip('link', 'set', 'tun-b', 'netns', String(child.pid));
    const there = (...args: string[]) => execFileSync('nsenter', ['--net', `--target=${child.pid}`, ...args]);
    const reno = 'echo reno > /proc/sys/net/ipv4/tcp_congestion_control'; // the machine's default may pace, which makes small packets
    execFileSync('sh', ['-c', reno]);
    there('sh', '-c', reno);
    ip('addr', 'add', '10.8.0.1/24', 'dev', 'tun-a');
    ip('link', 'set', 'tun-a', 'txqueuelen', '2000', 'up');
    there('ip', 'addr', 'add', '10.8.0.2/24', 'dev', 'tun-b');
    there('ip', 'link', 'set', 'tun-b', 'txqueuelen', '2000', 'up');

    const largest = [0, 0];
    let gso = 0;
    const batch = new Batch();
    const carry = (from: number) => {
      batch.clear();
      const n = links[from]!.receive(batch);
      for (let slot = 0; slot < n; slot++) {
        batch.list[slot] = slot;
        if (batch.len[slot]! <= largest[from]!) continue;
        largest[from] = batch.len[slot]!;
        gso = batch.data[batch.off[slot]! - VNET_BYTES + 1]!;
      }
      assert.equal(links[1 - from]!.transmit(batch, n), n);
    };
    let running = true;
    const pump = () => {
      if (!running) return;
      carry(0);
      carry(1);
      setImmediate(pump);
    };
    pump();
    t.after(() => {
      running = false;
      for (const link of links) link.close();
    });

    const payload = Buffer.alloc(BYTES, 'question');
    const back = createHash('sha256');
    let bytes = 0;
    const socket = connect({ host: '10.8.0.2', port: 5001, allowHalfOpen: true });
    socket.end(payload);
    socket.on('data', (chunk) => {
      back.update(chunk);
      bytes += chunk.length;
    });
    await once(socket, 'end');
    const expected = (text: string) => createHash('sha256').update(Buffer.alloc(BYTES, text)).digest('hex');
    assert.match(out, new RegExp(`^0 ${expected('question')}$`, 'm'));
    assert.equal(bytes, BYTES);
    assert.equal(back.digest('hex'), expected('answer'));
    assert.ok(Math.min(...largest) > 60_000, `largest packets: ${largest.join(' and ')} bytes`);
    assert.equal(gso, GSO_TCPV4);
  });
});
