/**
 * Figures of the WireGuard core, in memory: one JSON line each. Times are processor time, so that a busy machine spoils them less.
 *
 *     node dist/bench/link/wireguard.js
 */
import { randomBytes } from 'node:crypto';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { parseAllowedIp } from '../../src/link/wireguard/allowed-ips.js';
import { Columns } from '../../src/link/wireguard/columns.js';
import { type Crypto, crypto, slowCrypto } from '../../src/link/wireguard/crypto.js';
import { Device } from '../../src/link/wireguard/device.js';
import { ENDPOINT_WORDS, parseEndpoint } from '../../src/link/wireguard/endpoint.js';
import { KeyRing } from '../../src/link/wireguard/key-ring.js';
import { Stat } from '../../src/link/wireguard/peer.js';

const ROUNDS = 9;

// Without it what waits for the collector would count as a peer's memory.
setFlagsFromString('--expose-gc');
const collect = runInNewContext('gc') as () => void;

function print(name: string, unit: string, values: number[]): void {
  const sorted = [...values].sort((a, b) => a - b);
  const round = (value: number) => Number(value.toPrecision(4));
  const [median, min, max] = [sorted[sorted.length >> 1]!, sorted[0]!, sorted.at(-1)!].map(round);
  console.log(JSON.stringify({ bench: 'link/wireguard', name, unit, median, min, max }));
}

/** Nanoseconds of processor time so far. */
function clock(): number {
  const { user, system } = process.cpuUsage();
  return (user + system) * 1000;
}

/** Nanoseconds for each of `count` things that `act` does, ROUNDS times. */
function time(count: number, act: () => void): number[] {
  act();
  const out: number[] = [];
  for (let round = 0; round < ROUNDS; round++) {
    const begun = clock();
    act();
    out.push((clock() - begun) / count);
  }
  return out;
}

const BATCH = 64;
const SLOT = 1536;

/** Sealing and opening batches: the addon's part alone. */
function aead(way: Crypto, bytes: number, times: number): void {
  const ring = new KeyRing();
  const slot = ring.add(new Uint8Array(randomBytes(32)));
  const c = new Columns(BATCH, new Uint8Array(BATCH * SLOT));
  const fill = (len: number) => {
    for (let i = 0; i < BATCH; i++) {
      c.off[i] = i * SLOT;
      c.from[i] = i * SLOT + 16;
      c.len[i] = len;
      c.key[i] = slot;
      c.lo[i] = i;
    }
  };
  const seal = time(times * BATCH, () => {
    for (let t = 0; t < times; t++) {
      fill(bytes);
      way.sealBatch(c, BATCH, ring.bytes);
    }
  });
  fill(bytes);
  way.sealBatch(c, BATCH, ring.bytes);
  const kept = c.data.slice();
  const open = time(times * BATCH, () => {
    for (let t = 0; t < times; t++) {
      c.data.set(kept);
      fill(bytes + 32);
      if (way.openBatch(c, BATCH, ring.bytes) !== BATCH) throw new Error('did not open');
    }
  });
  print(`${way.name}: seal ${bytes} bytes`, 'ns/packet', seal);
  print(`${way.name}: open ${bytes} bytes`, 'ns/packet', open);
  c.close();
}

let wire: { bytes: Uint8Array; endpoint: Int32Array }[] = [];
const make = (options = {}) =>
  new Device({ emit: (bytes, endpoint) => wire.push({ bytes, endpoint }), handshakeLimit: 1e9, ...options });

function couple() {
  const [a, b] = [make(), make()];
  for (const device of [a, b]) {
    device.setPrivateKey(new Uint8Array(randomBytes(32)));
    device.start(0);
  }
  const toB = a.addPeer(b.own!.public)!;
  const toA = b.addPeer(a.own!.public)!;
  toB.endpoint.set(parseEndpoint('192.0.2.2:2')!);
  toA.endpoint.set(parseEndpoint('192.0.2.1:1')!);
  a.allowedIps.set(parseAllowedIp('10.0.0.2')!, toB.id);
  b.allowedIps.set(parseAllowedIp('10.0.0.1')!, toA.id);
  return { a, b, toB, toA };
}

const one = new Columns(1, new Uint8Array(2048));

function take(device: Device, bytes: Uint8Array, now: number, from = '192.0.2.1:1'): void {
  one.off[0] = 0;
  one.len[0] = bytes.length;
  one.data.set(bytes);
  one.endpoint.set(parseEndpoint(from)!);
  device.open(one, 1, now);
}

/** Whole handshakes: initiation, response, first packet; each side's share of one core. */
function handshakes(): void {
  const { a, b, toB, toA } = couple();
  let now = 0;
  const count = 200;
  const shares = { a: 0, b: 0 };
  const timed = (side: 'a' | 'b', act: () => void) => {
    const begun = clock();
    act();
    shares[side] += clock() - begun;
  };
  const rates: { a: number; b: number }[] = [];
  for (let round = 0; round < ROUNDS; round++) {
    shares.a = shares.b = 0;
    for (let i = 0; i < count; i++) {
      now += 200_000;
      wire = [];
      timed('a', () => a.endSessions(toB));
      timed('a', () => a.greet(now));
      timed('b', () => take(b, wire[0]!.bytes, now));
      timed('a', () => take(a, wire[1]!.bytes, now));
      timed('b', () => take(b, wire[2]!.bytes, now));
    }
    rates.push({ a: (count * 1e9) / shares.a, b: (count * 1e9) / shares.b });
  }
  if (toA.stats[Stat.HANDSHAKES_ANSWERED] !== ROUNDS * count) throw new Error('handshakes were lost');
  print(
    'handshakes as initiator',
    '/s',
    rates.map((each) => each.a),
  );
  print(
    'handshakes as responder',
    '/s',
    rates.map((each) => each.b),
  );
}

/** The whole core: look-up, counter, sealing, timers; and the other way. */
function through(): void {
  const { a, b, toA } = couple();
  wire = [];
  a.greet(0);
  take(b, wire[0]!.bytes, 0);
  take(a, wire[1]!.bytes, 0);
  take(b, wire[2]!.bytes, 0);
  const c = new Columns(BATCH, new Uint8Array(BATCH * SLOT));
  const packet = new Uint8Array(1420);
  packet.set([0x45, 0, 1420 >> 8, 1420 & 255]);
  packet.set([10, 0, 0, 1, 10, 0, 0, 2], 12);
  const address = parseEndpoint('192.0.2.1:1')!;
  for (let i = 0; i < BATCH; i++) {
    c.off[i] = i * SLOT;
    c.from[i] = i * SLOT + 16;
  }
  let sealed = 0;
  let opened = 0;
  const times = 200;
  const results: [number, number][] = [];
  for (let round = 0; round <= ROUNDS; round++) {
    sealed = opened = 0;
    for (let t = 0; t < times; t++) {
      for (let i = 0; i < BATCH; i++) {
        c.data.set(packet, c.from[i]!);
        c.len[i] = 1420;
      }
      const begun = clock();
      a.seal(c, BATCH, 1);
      const between = clock();
      for (let i = 0; i < BATCH; i++) c.endpoint.set(address, i * ENDPOINT_WORDS);
      const third = clock();
      if (b.open(c, BATCH, 1) !== BATCH) throw new Error('packets were lost');
      opened += clock() - third;
      sealed += between - begun;
    }
    results.push([sealed / times / BATCH, opened / times / BATCH]);
  }
  results.shift();
  print(
    'device: seal 1420 bytes',
    'ns/packet',
    results.map(([s]) => s),
  );
  print(
    'device: open 1420 bytes',
    'ns/packet',
    results.map(([, o]) => o),
  );
  if (toA.stats[Stat.RX_PACKETS]! < times) throw new Error('nothing came');
}

/** What strangers cost. */
function floods(): void {
  const { b } = couple();
  const stranger = make();
  stranger.setPrivateKey(new Uint8Array(randomBytes(32)));
  stranger.start(0);
  stranger.addPeer(b.own!.public)!.endpoint.set(parseEndpoint('192.0.2.2:2')!);
  wire = [];
  stranger.greet(0);
  const { bytes } = wire[0]!;
  const wrong = bytes.slice();
  wrong[120]! ^= 1;
  print(
    'initiation with a wrong mac1',
    'ns',
    time(2000, () => {
      for (let i = 0; i < 2000; i++) take(b, wrong, 0);
    }),
  );
  print(
    'initiation of a stranger',
    'ns',
    time(200, () => {
      for (let i = 0; i < 200; i++) take(b, bytes, 0);
    }),
  );
  const loaded = make({ handshakeLimit: 1 });
  loaded.setPrivateKey(b.own!.secret);
  loaded.start(0);
  print(
    'initiation under load: cookie reply',
    'ns',
    time(2000, () => {
      wire = [];
      for (let i = 0; i < 2000; i++) take(loaded, bytes, 0);
    }),
  );
}

/** A thousand peers with sessions and persistent keepalives: memory, and CPU for each second of their time. */
function idle(): void {
  const count = 1000;
  const hub = make();
  hub.setPrivateKey(new Uint8Array(randomBytes(32)));
  hub.start(0);
  const secrets = Array.from({ length: count }, () => new Uint8Array(randomBytes(32)));
  collect();
  const before = process.memoryUsage();
  for (const [i, secret] of secrets.entries()) {
    const other = make();
    other.setPrivateKey(secret);
    other.start(0);
    other.addPeer(hub.own!.public)!.endpoint.set(parseEndpoint('192.0.2.2:2')!);
    const peer = hub.addPeer(other.own!.public)!;
    hub.allowedIps.set({ family: 4, words: Int32Array.of(0x0a000000 + i), length: 32 }, peer.id);
    wire = [];
    other.greet(0);
    take(hub, wire[0]!.bytes, 0);
    take(other, wire[1]!.bytes, 0);
    take(hub, wire[2]!.bytes, 0);
    other.close();
  }
  wire = [];
  collect();
  collect();
  const after = process.memoryUsage();
  const bytes = after.heapUsed + after.arrayBuffers - before.heapUsed - before.arrayBuffers;
  print('memory of a peer with a session', 'bytes', [bytes / count]);
  for (const peer of hub.peers) hub.keepalive(peer!, 25_000, Math.random() * 25_000);
  const seconds = 100;
  const begun = process.cpuUsage();
  let now = 0;
  for (const end = seconds * 1000; now < end; ) {
    wire = [];
    now = Math.max(hub.tick(now), now + 20);
  }
  const used = process.cpuUsage(begun);
  print(`${count} peers with persistent keepalive`, '% of a core', [(used.user + used.system) / 1e4 / seconds]);
}

for (const bytes of [1420, 64, 0]) aead(crypto, bytes, 200);
aead(slowCrypto, 1420, 5);
through();
handshakes();
floods();
idle();
