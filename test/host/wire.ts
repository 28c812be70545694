/**
 * Raw Ethernet frames and packets on the real kernel, without AF_PACKET: a TUN whose ingress is redirected into an interface.
 *
 *   inject(frame) → TUN "in-X" ─ tc ingress: mirred redirect ─► X transmits it as it stands
 *
 * Whoever writes to a TUN says with the first half byte that it is IPv4 (4) or IPv6 (6), and the kernel believes it; what
 * follows is up to us. So destination MAC addresses here begin with 0x4. Everything is to be used inside a network
 * namespace of the test's own (in-namespace.ts), and dies with it.
 */
import { execFileSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { Batch, VNET_BYTES } from '../../src/batch.js';
import { TunLink } from '../../src/link/index.js';
import { native } from '../../src/native.js';

export function sh(line: string): string {
  return execFileSync('sh', ['-ec', line], { encoding: 'utf8', timeout: 60_000, stdio: ['ignore', 'pipe', 'pipe'] });
}

export function sysctl(path: string, value: string | number): void {
  writeFileSync(`/proc/sys/${path}`, String(value));
}

/** Asked from ip, because /sys still shows the namespace that it was mounted in. */
export function linkIndex(name: string): number {
  return Number(JSON.parse(sh(`ip -j link show dev ${name}`))[0].ifindex);
}

/** No router solicitations or neighbour discovery between the test's packets; call it before anything is created. */
export function quietNamespace(): void {
  sysctl('net/ipv6/conf/default/disable_ipv6', 1);
  sysctl('net/ipv6/conf/all/disable_ipv6', 1);
  sh('ip link set lo up');
}

/** A TUN that the test reads and writes. */
export class Tap {
  readonly link: TunLink;
  readonly #batch = new Batch();
  readonly #poller = native.pollerCreate();

  constructor(readonly name: string) {
    this.link = TunLink.open(name);
    sh(`ip link set ${name} txqueuelen 4000 mtu 65535 up`);
    native.pollerAdd(this.#poller, this.link.fd, 0);
  }

  get index(): number {
    return linkIndex(this.name);
  }

  /** Packets that arrive, until none has come for `quietMs`. */
  read(quietMs = 60): Buffer[] {
    const packets: Buffer[] = [];
    while (native.pollerWait(this.#poller, quietMs) !== 0) {
      this.#batch.clear();
      const n = this.link.receive(this.#batch);
      for (let i = 0; i < n; i++) {
        const off = this.#batch.off[i]!;
        packets.push(Buffer.from(this.#batch.data.subarray(off, off + this.#batch.len[i]!)));
      }
    }
    return packets;
  }

  /** Waits for one packet that fits; undefined when none has come in `ms`. */
  expect(fits: (packet: Buffer) => boolean, ms = 2000): Buffer | undefined {
    const until = native.boottime() + ms;
    while (native.boottime() < until) {
      const found = this.read(20).find(fits);
      if (found) return found;
    }
    return undefined;
  }

  /** All packets up to and with the first that fits; all that came in `ms` where none does. */
  collect(fits: (packet: Buffer) => boolean, ms = 2000): Buffer[] {
    const until = native.boottime() + ms;
    const packets: Buffer[] = [];
    do packets.push(...this.read(5));
    while (!packets.some(fits) && native.boottime() < until);
    return packets;
  }

  /** Waits for `count` packets (on a busy machine they take their time), then for more that should not come. */
  take(count: number, ms = 2000): Buffer[] {
    const until = native.boottime() + ms;
    const packets: Buffer[] = [];
    while (packets.length < count && native.boottime() < until) packets.push(...this.read(5));
    return [...packets, ...this.read(count === 0 ? 60 : 5)];
  }

  /** Writes packets; `linear`: bytes that the kernel is told to put into the linear part (only for more than a page). */
  write(packets: readonly Uint8Array[], linear = 0): number {
    const header = Buffer.alloc(VNET_BYTES);
    header.writeUInt16LE(linear, 2);
    return this.writeOffloaded(packets, header);
  }

  /** Writes packets, each with this struct virtio_net_hdr. */
  writeOffloaded(packets: readonly Uint8Array[], header: Uint8Array): number {
    let sent = 0;
    for (let from = 0; from < packets.length; from += 200) {
      this.#batch.clear();
      packets.slice(from, from + 200).forEach((packet, i) => {
        const slot = this.#batch.append(packet.length);
        const off = this.#batch.off[slot]!;
        this.#batch.data.set(packet, off);
        this.#batch.data.set(header, off - VNET_BYTES);
        this.#batch.list[i] = slot;
      });
      sent += this.link.transmit(this.#batch, this.#batch.ctl[0]!);
    }
    return sent;
  }

  close(): void {
    native.pollerRemove(this.#poller, this.link.fd);
    native.closeFd(this.#poller);
    this.link.close();
  }
}

/** Lets the test transmit raw frames by interface `out`. */
export function injector(out: string): Tap {
  const tap = new Tap(`in-${out}`);
  sh(`tc qdisc add dev in-${out} clsact
      tc filter add dev in-${out} ingress protocol all ${CATCH_ALL} action mirred egress redirect dev ${out}`);
  return tap;
}

/** One of the kernel's counters for this namespace: snmp('Tcp', 'OutRsts'). */
export function snmp(group: string, name: string): number {
  const lines = readFileSync('/proc/self/net/snmp', 'utf8').split('\n');
  const [names, values] = lines.filter((line) => line.startsWith(`${group}:`)).map((line) => line.split(' '));
  return Number(values![names!.indexOf(name)]);
}

/** A cls_bpf filter that matches everything. */
export const CATCH_ALL = "bpf bytecode '1,6 0 0 4294967295,'";

/** What comes to the end of the filters of a hook goes to the TUN `to`, so that it can be seen. */
export function catchPassed(device: string, hook: 'ingress' | 'egress', to: string, pref = 40_000): void {
  sh(`tc qdisc show dev ${device} clsact | grep -q . || tc qdisc add dev ${device} clsact
      tc filter add dev ${device} ${hook} pref ${pref} protocol all ${CATCH_ALL} action mirred egress redirect dev ${to}`);
}

/** MAC addresses that may stand first in a frame. */
export const MAC = { host: '42:00:00:00:00:01', other: '42:00:00:00:00:99', group: '43:00:00:00:00:01' } as const;

export function frame(to: string, packet: Uint8Array, tags: readonly number[] = [], type = 0x0800): Buffer {
  const head = Buffer.alloc(14 + 4 * tags.length);
  head.set(mac(to), 0);
  head.set(mac('42:00:00:00:00:02'), 6);
  tags.forEach((tag, i) => {
    head.writeUInt16BE(0x8100, 12 + 4 * i);
    head.writeUInt16BE(tag, 14 + 4 * i);
  });
  head.writeUInt16BE(type, 12 + 4 * tags.length);
  return Buffer.concat([head, packet]);
}

function mac(text: string): number[] {
  return text.split(':').map((byte) => Number.parseInt(byte, 16));
}
