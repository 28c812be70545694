/** A day of bad weather: two devices, a clock that runs by itself, and a wire that loses, doubles, reorders and corrupts. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Stat } from '../../../src/link/wireguard/peer.js';
import fc from '../../property.js';
import { type Node, packetOf, pair, World } from './sim.js';

/** Sends numbered packets now and then, and remembers them. */
class Talker {
  count = 0;
  readonly sent = new Set<number>();

  constructor(
    readonly node: Node,
    readonly from: string,
    readonly to: string,
  ) {}

  say(packets: number, bytes: number): void {
    const batch: Uint8Array[] = [];
    for (let i = 0; i < packets; i++) {
      const payload = new Uint8Array(4 + bytes).fill(this.count);
      new DataView(payload.buffer).setUint32(0, this.count);
      this.sent.add(this.count++);
      batch.push(packetOf(this.from, this.to, payload));
    }
    this.node.send(batch);
  }
}

/** What arrived is what was sent, unaltered, and never twice. Returns how much of it. */
function judge(talker: Talker, listener: Node): number {
  const seen = new Set<number>();
  for (const { packet } of listener.arrived) {
    const head = packet[0]! >> 4 === 6 ? 48 : 28;
    const number = new DataView(packet.buffer).getUint32(head);
    assert.ok(talker.sent.has(number), `${number} was never sent`);
    assert.ok(!seen.has(number), `${number} came twice`);
    seen.add(number);
    assert.ok(packet.subarray(head + 4).every((byte) => byte === (number & 255)));
  }
  return seen.size / Math.max(1, talker.count);
}

function day(seed: number, hours: number, weather: World['weather']) {
  const world = new World(seed);
  const { a, b, peerOfA, peerOfB } = pair(world);
  world.weather = weather;
  const there = new Talker(a, '10.0.0.1', '10.0.0.2');
  const back = new Talker(b, 'fd00::2', 'fd00::1');
  const end = world.now + hours * 3_600_000;
  let roams = 0;
  let sessions = 0;
  while (world.now < end) {
    const silence = world.random() < 0.02 ? 600_000 * world.random() : 20_000 * world.random();
    world.run(Math.floor(silence));
    if (world.random() < 0.7) there.say(1 + Math.floor(world.random() * 8), Math.floor(world.random() * 200));
    if (world.random() < 0.5) back.say(1 + Math.floor(world.random() * 8), Math.floor(world.random() * 200));
    if (world.random() < 0.002) a.move(`198.51.100.${roams % 250}:${1000 + roams++}`);
    for (const { device } of [a, b]) {
      sessions = Math.max(sessions, device.sessions.size);
      assert.ok(device.sessions.size <= 3 && device.handshakes.size <= 1 && device.ring.size <= 6);
      assert.equal(device.ring.size, 2 * device.sessions.size);
    }
  }
  world.weather = {};
  world.run(200_000);
  const handshakes = [peerOfA, peerOfB].reduce((sum, { stats }) => sum + stats[Stat.HANDSHAKES_INITIATED]!, 0);
  return { there: judge(there, b), back: judge(back, a), handshakes, sent: there.count + back.count, roams };
}

test('24 hours of loss, duplicates, reordering and corruption: what arrives is what was sent, never twice; sessions are renewed and bounded', () => {
  const { there, back, handshakes, sent, roams } = day(7, 24, {
    loss: 0.1,
    duplicate: 0.1,
    corrupt: 0.02,
    delay: 30,
    jitter: 2000,
  });
  assert.ok(sent > 20_000 && roams > 5, `${sent} packets, ${roams} moves`);
  // A tenth is lost on the wire, some are altered, and some were waiting when the other side had moved away.
  assert.ok(there > 0.75 && back > 0.6, `${there} there, ${back} back`);
  assert.ok(handshakes > 400 && handshakes < 2500, `${handshakes} handshakes`);
});

test('24 hours of good weather: everything arrives', () => {
  const world = new World(8);
  const { a, b, peerOfA, peerOfB } = pair(world);
  world.weather = { delay: 20 };
  const there = new Talker(a, '10.0.0.1', '10.0.0.2');
  const back = new Talker(b, '10.0.0.2', '10.0.0.1');
  const end = world.now + 86_400_000;
  while (world.now < end) {
    there.say(2, 50);
    back.say(1, 50);
    world.run(9000);
  }
  world.run(1000);
  assert.equal(judge(there, b), 1);
  assert.equal(judge(back, a), 1);
  const handshakes = peerOfA.stats[Stat.HANDSHAKES_INITIATED]! + peerOfB.stats[Stat.HANDSHAKES_INITIATED]!;
  assert.ok(handshakes >= 600 && handshakes <= 800, `${handshakes} handshakes in 86400 / 120 periods`);
});

test('any weather, any seed: nothing comes twice or altered, nothing leaks', () => {
  const chance = fc.double({ min: 0, max: 0.5, noNaN: true });
  const weather = fc.record({
    loss: chance,
    duplicate: chance,
    corrupt: chance,
    delay: fc.integer({ min: 0, max: 3000 }),
    jitter: fc.integer({ min: 0, max: 10_000 }),
  });
  fc.assert(
    fc.property(fc.integer(), weather, (seed, conditions) => {
      day(seed, 0.5, conditions);
    }),
    { numRuns: 25 },
  );
});
