import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { Batch } from '../../src/batch.js';
import { ipv4Number } from '../../src/host/ipv4.js';
import { Journal } from '../../src/host/journal.js';
import { findLink } from '../../src/host/link.js';
import { Netlink } from '../../src/host/netlink.js';
import { readSysctl, writeSysctl } from '../../src/host/sysctl.js';
import { setTunAddresses, setTunRoutes, setupTun, TUN_MTU, TUN_QUEUE_LENGTH } from '../../src/host/tun.js';
import { native } from '../../src/native.js';
import { inNamespace } from '../in-namespace.js';

const ip = (...args: string[]): string => execFileSync('ip', args, { encoding: 'utf8' });

inNamespace('TUN device', import.meta.url, ['--net'], () => {
  const folder = mkdtempSync(join(tmpdir(), 'tungate-tun-'));
  process.on('exit', () => rmSync(folder, { recursive: true }));
  let files = 0;
  const newJournal = (): Journal => new Journal(join(folder, `undo${files++}`));
  const nl = new Netlink();
  ip('link', 'set', 'lo', 'up');
  ip('link', 'add', 'u0', 'type', 'veth', 'peer', 'name', 'u1');
  // Nothing of the kernel's own (MLD, neighbour discovery) is to be counted among our packets.
  for (const name of ['u0', 'u1']) writeSysctl(`net/ipv6/conf/${name}/disable_ipv6`, '1');
  ip('link', 'set', 'u0', 'up');
  ip('link', 'set', 'u1', 'up');
  const options = { name: 'tg0', queues: 2, addresses: [] };
  const close = (fds: readonly number[]): void => fds.forEach((fd) => void native.closeFd(fd));
  const conf = (device: string, name: string): string | undefined => readSysctl(`net/ipv4/conf/${device}/${name}`);

  test('it is made with its queues, settings and addresses, outlives its descriptors, and is undone', () => {
    const journal = newJournal();
    const tun = setupTun(nl, { ...options, addresses: [ipv4Number('203.0.113.5')] }, journal);
    assert.equal(tun.created, true);
    assert.equal(tun.fds.length, 2);
    const link = findLink(nl, 'tg0')!;
    assert.deepEqual([link.up, link.mtu, link.txqueuelen, link.carrier], [true, TUN_MTU, TUN_QUEUE_LENGTH, true]);
    assert.deepEqual(
      ['forwarding', 'accept_local', 'rp_filter'].map((name) => conf('tg0', name)),
      ['1', '1', '0'],
    );
    assert.equal(readSysctl('net/ipv6/conf/tg0/disable_ipv6'), '1');
    assert.match(ip('addr', 'show', 'tg0'), /inet 203\.0\.113\.5\/32 scope host tg0/);
    assert.match(ip('-d', 'link', 'show', 'tg0'), /vnet_hdr on multi_queue numqueues 2 .*persist on/);
    close(tun.fds);
    assert.equal(findLink(nl, 'tg0')?.carrier, false, 'it stays, without a carrier');
    journal.undoAll(nl);
    assert.equal(findLink(nl, 'tg0'), undefined);
  });

  test('the next start takes it over, index and all; addresses that are no longer wanted go', () => {
    const journal = newJournal();
    const first = setupTun(nl, { ...options, addresses: [1, 2].map((n) => ipv4Number(`203.0.113.${n}`)) }, journal);
    close(first.fds);
    journal.close();
    const again = new Journal(journal.path);
    const second = setupTun(nl, { ...options, queues: 3, addresses: [ipv4Number('203.0.113.2')] }, again);
    assert.deepEqual([second.index, second.created, second.fds.length], [first.index, false, 3]);
    assert.doesNotMatch(ip('addr', 'show', 'tg0'), /203\.0\.113\.1\//);
    assert.match(ip('addr', 'show', 'tg0'), /203\.0\.113\.2\//);
    setTunAddresses(nl, second, [], again);
    assert.doesNotMatch(ip('addr', 'show', 'tg0'), /203\.0\.113/);
    close(second.fds);
    again.undoAll(nl);
    assert.equal(findLink(nl, 'tg0'), undefined, 'made by us in an earlier life: ours to delete');
  });

  test('routes to it come, change their source, and go; one that somebody else has stays his', () => {
    const journal = newJournal();
    const [a, b] = [ipv4Number('10.99.0.1'), ipv4Number('10.99.0.9')];
    const tun = setupTun(nl, { ...options, addresses: [a, b] }, journal);
    const route = (prefix: string, source = a, length = 24) => ({ prefix: ipv4Number(prefix), length, source });
    const shown = () => ip('route', 'show', 'dev', 'tg0').trim().split(/ *\n/).filter(Boolean).sort();
    assert.deepEqual(setTunRoutes(nl, tun, [route('10.1.0.0'), route('10.2.0.0'), route('10.3.0.0')], journal), []);
    ip('route', 'add', '10.4.0.0/24', 'dev', 'u0');
    assert.match(
      setTunRoutes(nl, tun, [route('10.1.0.0', b), route('10.4.0.0')], journal)[0]!,
      /^10\.4\.0\.0\/24 is routed elsewhere already/,
    );
    assert.deepEqual(shown(), ['10.1.0.0/24 proto static scope link src 10.99.0.9']);
    ip('route', 'del', '10.1.0.0/24');
    assert.deepEqual(setTunRoutes(nl, tun, [route('10.1.0.0', b)], journal), [], 'one that was deleted comes back');
    assert.equal(shown().length, 1);
    close(tun.fds);
    journal.undoAll(nl);
    assert.equal(ip('route', 'show', '10.4.0.0/24').trim(), '10.4.0.0/24 dev u0 scope link');
    ip('route', 'del', '10.4.0.0/24');
  });

  test('one that somebody else made is adopted, and is as it was at the end', () => {
    ip('tuntap', 'add', 'tg0', 'mode', 'tun', 'multi_queue', 'vnet_hdr');
    ip('link', 'set', 'tg0', 'mtu', '1400');
    // The default qdisc comes with the first "up" and stays: nobody can take that back.
    const show = (): string => ip('-d', 'addr', 'show', 'tg0').replace(/qdisc \S+/, '');
    const before = show();
    const settings = conf('tg0', 'forwarding');
    const journal = newJournal();
    const tun = setupTun(nl, options, journal);
    assert.equal(tun.created, false);
    close(tun.fds);
    journal.undoAll(nl);
    assert.equal(show(), before);
    assert.equal(conf('tg0', 'forwarding'), settings);
    ip('link', 'del', 'tg0');
  });

  test('one that cannot be ours is refused with the reason, and nothing is changed', () => {
    const refused = (reason: RegExp): void => {
      const journal = newJournal();
      assert.throws(() => setupTun(nl, options, journal), reason);
      assert.deepEqual(journal.changes, []);
    };
    ip('link', 'add', 'tg0', 'type', 'bridge');
    refused(/tg0 exists and is not a TUN device: choose another name/);
    ip('link', 'del', 'tg0');
    ip('tuntap', 'add', 'tg0', 'mode', 'tap', 'multi_queue', 'vnet_hdr');
    refused(/is not a TUN device/);
    ip('link', 'del', 'tg0');
    ip('tuntap', 'add', 'tg0', 'mode', 'tun', 'vnet_hdr');
    refused(/without multi_queue/);
    ip('link', 'del', 'tg0');
    ip('tuntap', 'add', 'tg0', 'mode', 'tun', 'multi_queue');
    refused(/without vnet_hdr/);
    ip('link', 'del', 'tg0');
    const { fd } = native.tunOpen('tg0');
    refused(/in use by another process/);
    native.closeFd(fd);
  });

  test('REQ-63 conf.all.rp_filter=1 moves to the other devices, never lowering any, and comes back', () => {
    writeSysctl('net/ipv4/conf/all/rp_filter', '1');
    writeSysctl('net/ipv4/conf/u1/rp_filter', '2');
    const names = ['all', 'default', 'lo', 'u0', 'u1'];
    const read = (): (string | undefined)[] => names.map((name) => conf(name, 'rp_filter'));
    const before = read();
    const journal = newJournal();
    const tun = setupTun(nl, options, journal);
    assert.deepEqual(read(), ['0', '1', '1', '1', '2']);
    assert.equal(conf('tg0', 'rp_filter'), '0');
    ip('link', 'add', 'new0', 'type', 'bridge');
    assert.equal(conf('new0', 'rp_filter'), '1', 'a device that comes later is protected too');
    close(tun.fds);
    journal.undoAll(nl);
    ip('link', 'del', 'new0');
    assert.deepEqual(read(), before);
    writeSysctl('net/ipv4/conf/all/rp_filter', '0');
    writeSysctl('net/ipv4/conf/u1/rp_filter', '0');
  });

  test('conf.all.rp_filter=2 stays, and the TUN gets the dummy address that it asks for', () => {
    writeSysctl('net/ipv4/conf/all/rp_filter', '2');
    const journal = newJournal();
    const tun = setupTun(nl, options, journal);
    assert.equal(conf('all', 'rp_filter'), '2');
    assert.match(ip('addr', 'show', 'tg0'), /192\.0\.0\.8\/32 scope host/);
    close(tun.fds);
    journal.undoAll(nl);
    writeSysctl('net/ipv4/conf/all/rp_filter', '0');
  });

  // A packet with source P (the host's own address) written to the TUN must come out of the uplink, whatever rp_filter is.
  for (const all of ['0', '1', '2']) {
    test(`what the engine writes is routed out with ip_forward=0 and conf.all.rp_filter=${all}`, () => {
      writeSysctl('net/ipv4/conf/all/rp_filter', all);
      ip('addr', 'add', '198.51.100.1/24', 'dev', 'u0');
      ip('neigh', 'replace', '198.51.100.2', 'lladdr', '02:00:00:00:00:02', 'dev', 'u0');
      const journal = newJournal();
      const tun = setupTun(nl, options, journal);
      const sent = (): number => JSON.parse(ip('-j', '-s', 'link', 'show', 'u0'))[0].stats64.tx.packets;
      const before = sent();
      writePacket(tun.fds[0]!, udpPacket(ipv4Number('198.51.100.1'), ipv4Number('198.51.100.2'), 20));
      assert.equal(sent() - before, 1);
      close(tun.fds);
      journal.undoAll(nl);
      ip('addr', 'flush', 'dev', 'u0');
      writeSysctl('net/ipv4/conf/all/rp_filter', '0');
    });
  }

  test('the MTU of the TUN plays no part in a redirect: large packets and GSO packets arrive whole', () => {
    const journal = newJournal();
    const tun = setupTun(nl, { ...options, queues: 1 }, journal);
    ip('link', 'set', 'u0', 'mtu', '9000');
    ip('link', 'set', 'u1', 'mtu', '9000');
    execFileSync('tc', ['qdisc', 'add', 'dev', 'u0', 'clsact']);
    const filter = ['filter', 'add', 'dev', 'u0', 'ingress', 'protocol', 'ip', 'bpf', 'bytecode', '1,6 0 0 4294967295'];
    execFileSync('tc', [...filter, 'action', 'mirred', 'egress', 'redirect', 'dev', 'tg0']);
    const batch = new Batch();
    const id = native.batchRegister(batch.ctl, batch.data, batch.off, batch.len, batch.list, 64, 1 << 20);
    for (const mtu of [TUN_MTU, 1500, 68]) {
      ip('link', 'set', 'tg0', 'mtu', String(mtu));
      for (const [length, segment] of [
        [8900, 0],
        [60_000, 1400],
      ] as const) {
        batch.clear();
        sendRaw('u1', length, segment);
        let got = 0;
        for (let i = 0; i < 200 && got === 0; i++) {
          spawnSync('sleep', ['0.01']);
          got = native.tunReceive(tun.fds[0]!, id);
        }
        assert.deepEqual([got, batch.len[0]], [1, length], `TUN mtu ${mtu}, ${length} bytes in segments of ${segment}`);
      }
    }
    native.batchRelease(id);
    close(tun.fds);
    journal.undoAll(nl);
  });
});

function udpPacket(source: number, destination: number, payload: number): Uint8Array {
  const bytes = Buffer.alloc(28 + payload);
  bytes.writeUInt8(0x45, 0);
  bytes.writeUInt16BE(bytes.length, 2);
  bytes.writeUInt8(64, 8);
  bytes.writeUInt8(17, 9);
  bytes.writeInt32BE(source, 12);
  bytes.writeInt32BE(destination, 16);
  bytes.writeUInt16BE(1000, 20);
  bytes.writeUInt16BE(2000, 22);
  bytes.writeUInt16BE(8 + payload, 24);
  let sum = 0;
  for (let i = 0; i < 20; i += 2) sum += bytes.readUInt16BE(i);
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16);
  bytes.writeUInt16BE(~sum & 0xffff, 10);
  return bytes;
}

function writePacket(fd: number, packet: Uint8Array): void {
  const batch = new Batch();
  const id = native.batchRegister(batch.ctl, batch.data, batch.off, batch.len, batch.list, 1, 100_000);
  batch.data.set(packet, 64);
  batch.off[0] = 64;
  batch.len[0] = packet.length;
  batch.list[0] = 0;
  assert.equal(native.tunTransmit(fd, id, 1), 1);
  native.batchRelease(id);
}

/** One frame from an AF_PACKET socket with a vnet header, so that it can be a GSO packet: TCP of `length` IP bytes. */
function sendRaw(device: string, length: number, segment: number): void {
  const script = `
import fcntl, socket, struct
s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0x0008)
s.setsockopt(263, 15, 1)
s.bind(('${device}', 0x0800))
n = ${length}; seg = ${segment}
ip = struct.pack('!BBHHHBBH4s4s', 0x45, 0, n, 0, 0, 64, 6, 0, bytes([10,0,0,1]), bytes([10,0,0,2]))
c = sum(struct.unpack('!10H', ip)); c = (c & 0xffff) + (c >> 16); c = (c & 0xffff) + (c >> 16)
ip = ip[:10] + struct.pack('!H', ~c & 0xffff) + ip[12:]
tcp = struct.pack('!HHIIBBHHH', 1000, 2000, 1, 1, 0x50, 0x10, 1000, 0, 0)
vnet = struct.pack('<BBHHHH', 1 if seg else 0, 1 if seg else 0, 54 if seg else 0, seg, 34 if seg else 0, 16 if seg else 0)
info = fcntl.ioctl(s.fileno(), 0x8927, struct.pack('256s', b'u0'))
s.send(vnet + info[18:24] + bytes([2,0,0,0,0,1]) + b'\\x08\\x00' + ip + tcp + bytes(n - 40))
`;
  execFileSync('python3', ['-c', script]);
}
