/** REQ-57: what strangers get, and what a flood costs. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Load, SourceRates } from '../../../src/link/wireguard/cookie.js';
import { ENDPOINT_WORDS, parseEndpoint } from '../../../src/link/wireguard/endpoint.js';
import { mac1Offset } from '../../../src/link/wireguard/messages.js';
import { Outcome } from '../../../src/link/wireguard/outcome.js';
import { Stat } from '../../../src/link/wireguard/peer.js';
import { Node, packetOf, pair, World } from './sim.js';

const hello = (n = 0) => packetOf('10.0.0.1', '10.0.0.2', new Uint8Array(20).fill(n));

/** Initiations by somebody who knows b's public key and nothing else, from any address. */
function flood(world: World, b: Node, count: number, from = '203.0.113.9:9'): number[] {
  const stranger = new Node(new World(99), '203.0.113.9:9');
  stranger.keepSent = true;
  const peer = stranger.meet(b, []);
  stranger.device.greet(stranger.world.now);
  const { bytes } = stranger.sent[0]!;
  const outcomes: number[] = [];
  for (let i = 0; i < count; i++) {
    if (i % 50 === 49) world.run(1);
    outcomes.push(...b.receive([{ bytes, from }]));
  }
  void peer;
  return outcomes;
}

test('REQ-57 whoever does not know our public key gets no answer: wrong mac1 is silence', () => {
  const world = new World(2);
  const { a, b } = pair(world);
  a.keepSent = true;
  b.keepSent = true;
  a.device.greet(world.now);
  const { bytes } = a.sent[0]!;
  for (let bit = mac1Offset(bytes.length) * 8; bit < (bytes.length - 16) * 8; bit++) {
    const altered = bytes.slice();
    altered[bit >> 3]! ^= 1 << (bit & 7);
    assert.deepEqual(b.receive([{ bytes: altered, from: a.address }]), [Outcome.BAD_MAC]);
  }
  assert.equal(b.sent.length, 0);
});

test('REQ-57 a stranger with a right mac1 is silence too', () => {
  const world = new World(3);
  const { b } = pair(world);
  b.keepSent = true;
  assert.deepEqual(flood(world, b, 3), [Outcome.STRANGER, Outcome.STRANGER, Outcome.STRANGER]);
  assert.equal(b.sent.length, 0);
});

test('REQ-57 under load: a cookie reply instead of a handshake, and the peer that uses it gets its session', () => {
  const world = new World(4);
  const { a, b, peerOfA, peerOfB } = pair(world);
  a.keepSent = b.keepSent = true;
  const outcomes = flood(world, b, 2000);
  assert.ok(
    outcomes.filter((outcome) => outcome === Outcome.STRANGER).length <= 100,
    'few of them cost a multiplication',
  );
  assert.equal(outcomes.at(-1), Outcome.COOKIE_SENT);
  assert.equal(b.sent.at(-1)!.bytes.length, 64);

  // The flood goes on while the peer comes.
  a.send([hello()]);
  const until = world.now + 12_000;
  while (world.now < until) {
    flood(world, b, 100);
    world.run(10);
  }
  assert.equal(peerOfB.stats[Stat.HANDSHAKES_ANSWERED], 1);
  assert.ok(peerOfA.macs.hasCookie(world.now));
  assert.equal(b.arrived.length, 1);
  const initiations = a.sent.filter(({ bytes }) => bytes[0] === 1);
  assert.equal(initiations.length, 2, 'the first was answered with a cookie');
  assert.ok(
    initiations[0]!.bytes.subarray(132).every((byte) => byte === 0),
    'no mac2 before',
  );
  assert.ok(!initiations[1]!.bytes.subarray(132).every((byte) => byte === 0));
});

test('REQ-57 a cookie is good for one address, and for 120 s', () => {
  const world = new World(5);
  const { a, b, peerOfA } = pair(world);
  a.keepSent = true;
  flood(world, b, 500);
  a.device.greet(world.now);
  world.run(10);
  assert.ok(peerOfA.macs.hasCookie(world.now));
  world.weather = { loss: 1 };
  world.run(5400);
  const { bytes } = a.sent.filter((each) => each.bytes[0] === 1).at(-1)!;
  flood(world, b, 500);
  assert.deepEqual(b.receive([{ bytes, from: '192.0.2.1:2' }]), [Outcome.COOKIE_SENT], 'another port');
  assert.deepEqual(b.receive([{ bytes, from: '192.0.2.3:1' }]), [Outcome.COOKIE_SENT], 'another address');
  assert.deepEqual(b.receive([{ bytes, from: a.address }]), [Outcome.HANDSHAKE]);
  world.run(120_000);
  assert.ok(!peerOfA.macs.hasCookie(world.now));
});

test('a cookie reply that nobody asked for, or altered, or a second one, changes nothing', () => {
  const world = new World(6);
  const { a, b, peerOfA } = pair(world);
  a.keepSent = b.keepSent = true;
  flood(world, b, 500);
  const sent = b.sent.length;
  a.device.greet(world.now);
  world.weather = { loss: 1 };
  world.run(10);
  world.weather = {};
  b.receive([{ bytes: a.sent[0]!.bytes, from: a.address }]);
  const reply = b.sent[sent]!.bytes;
  world.nodes.delete(a.address); // it comes by hand
  for (let bit = 0; bit < 512; bit += 7) {
    const altered = reply.slice();
    altered[bit >> 3]! ^= 1 << (bit & 7);
    const [outcome] = a.receive([{ bytes: altered, from: b.address }]);
    assert.ok(outcome !== Outcome.HANDSHAKE, `bit ${bit}`);
  }
  assert.ok(!peerOfA.macs.hasCookie(world.now));
  assert.deepEqual(a.receive([{ bytes: reply, from: b.address }]), [Outcome.HANDSHAKE]);
  assert.deepEqual(a.receive([{ bytes: reply, from: b.address }]), [Outcome.FORGED]);
});

test('load: begins above the limit, and lasts a second', () => {
  const load = new Load(100);
  let loaded = 0;
  for (let now = 0; now < 10_000; now += 20) if (load.arrived(now)) loaded++;
  assert.equal(loaded, 0, '50 a second');
  for (let i = 0; i < 11; i++) load.arrived(10_000);
  assert.ok(load.arrived(10_100));
  assert.ok(load.arrived(10_900));
  assert.ok(!load.arrived(11_200));
});

test('under load one address makes 20 handshakes a second, five at once, and the table of addresses is bounded', () => {
  const rates = new SourceRates();
  const one = parseEndpoint('192.0.2.1:1')!;
  let allowed = 0;
  for (let now = 0; now < 10_000; now++) if (rates.allow(one, 0, now)) allowed++;
  assert.ok(allowed >= 200 && allowed <= 206, `${allowed}`);
  const many = new Int32Array(ENDPOINT_WORDS);
  many[0] = 4;
  for (let i = 0; i < 100_000; i++) {
    many[2] = i;
    rates.allow(many, 0, 20_000 + (i >> 8));
  }
  assert.ok(rates.size <= 4096, `${rates.size}`);
  assert.ok(rates.allow(one, 0, 30_000), 'later there is room again');
  const six = parseEndpoint('[2001:db8::1]:1')!;
  const [first, second] = [six.slice(), six.slice()];
  second[5] = 77;
  let both = 0;
  for (let i = 0; i < 10; i++) both += Number(rates.allow(i % 2 === 0 ? first : second, 0, 40_000));
  assert.equal(both, 5, 'IPv6 counts by /64');
});
