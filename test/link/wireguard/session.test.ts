/** Sessions by the clock: what the whitepaper says happens when, on a wire that the test owns. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Outcome } from '../../../src/link/wireguard/outcome.js';
import { Stat } from '../../../src/link/wireguard/peer.js';
import { packetOf, pair, World } from './sim.js';

const hello = (n = 0) => packetOf('10.0.0.1', '10.0.0.2', new Uint8Array(20).fill(n));
const back = (n = 0) => packetOf('10.0.0.2', '10.0.0.1', new Uint8Array(20).fill(n));
/** Types of the messages that a node sent, with the seconds since `from`. */
const types = (node: { sent: { at: number; bytes: Uint8Array }[] }) => node.sent.map(({ bytes }) => bytes[0]);

function quiet(options = {}) {
  const world = new World(1);
  const made = pair(world, options);
  made.a.keepSent = made.b.keepSent = true;
  return { world, ...made };
}

test('REQ-54 first packet: it waits for the handshake, arrives once, and messages have the sizes 148, 92, 32 + n', () => {
  const { world, a, b, peerOfA, peerOfB } = quiet();
  assert.deepEqual(a.send([hello(7)]), [Outcome.STAGED]);
  world.run(100);
  assert.deepEqual(
    b.arrived.map(({ packet }) => packet),
    [hello(7)],
  );
  assert.deepEqual(types(a), [1, 4]);
  assert.deepEqual(types(b), [2]);
  assert.equal(a.sent[0]!.bytes.length, 148);
  assert.equal(b.sent[0]!.bytes.length, 92);
  assert.equal(a.sent[1]!.bytes.length, 32 + 48, '48 bytes are a multiple of 16 already');
  assert.equal(peerOfA.stats[Stat.HANDSHAKES_INITIATED], 1);
  assert.equal(peerOfB.stats[Stat.HANDSHAKES_ANSWERED], 1);
  assert.equal(peerOfA.stats[Stat.TX_BYTES], peerOfB.stats[Stat.RX_BYTES]);
  assert.equal(peerOfB.stats[Stat.TX_BYTES], peerOfA.stats[Stat.RX_BYTES]);
});

test('REQ-54 a device that was restarted begins the handshake itself, and with nothing to send says so by an empty packet', () => {
  const { world, a, b } = quiet();
  a.device.greet(world.now);
  world.run(50);
  assert.deepEqual(types(a), [1, 4]);
  assert.equal(a.sent[1]!.bytes.length, 32);
  assert.deepEqual(b.send([back()]), [Outcome.PASS], 'the responder may send: it has heard the session');
});

test('the responder does not send before the initiator has used the session', () => {
  const { world, a, b } = quiet();
  a.device.greet(world.now);
  world.weather = { delay: 10 };
  a.device.greet(world.now);
  world.run(0); // initiation is with b
  assert.deepEqual(types(b), [2]);
  assert.deepEqual(b.send([back(1)]), [Outcome.STAGED]);
  world.run(40);
  assert.deepEqual(
    a.arrived.map(({ packet }) => packet),
    [back(1)],
  );
});

test('REQ-55 rekey: the initiator of a session asks for a new one after 120 s, the responder does not', () => {
  const { world, a, b } = quiet();
  a.send([hello()]);
  world.run(1000);
  for (let second = 1; second < 118; second++) {
    a.send([hello()]);
    b.send([back()]);
    world.run(1000);
  }
  assert.equal(types(a).filter((type) => type === 1).length, 1);
  for (let second = 0; second < 5; second++) {
    a.send([hello()]);
    b.send([back()]);
    world.run(1000);
  }
  assert.equal(types(a).filter((type) => type === 1).length, 2);
  assert.equal(types(b).filter((type) => type === 1).length, 0);
  assert.equal(b.arrived.length, 1 + 117 + 5);
  assert.equal(a.arrived.length, 117 + 5);
});

test('REQ-55 an initiator that has only received since 120 s renews when a packet comes after 165 s', () => {
  const { world, a, b } = quiet();
  a.device.greet(world.now);
  const initiations = () => types(a).filter((type) => type === 1).length;
  world.run(164_900);
  b.send([back()]);
  world.run(0);
  assert.equal(initiations(), 1);
  world.run(200);
  b.send([back()]);
  world.run(100);
  assert.equal(initiations(), 2);
  assert.equal(a.arrived.length, 2);
});

test('REQ-55 nothing is sent or taken under a session of 180 s', () => {
  const { world, a, b, peerOfA } = quiet();
  a.send([hello()]);
  world.run(1000);
  const late = a.send([hello(9)]);
  assert.deepEqual(late, [Outcome.PASS]);
  const datagram = a.sent.at(-1)!.bytes;
  world.weather = { loss: 1 };
  world.run(180_000);
  assert.deepEqual(b.receive([{ bytes: datagram, from: a.address }]), [Outcome.EXPIRED]);
  assert.ok(peerOfA.current !== null && !peerOfA.current.usable(world.now));
  assert.deepEqual(a.send([hello()]), [Outcome.STAGED]);
});

test('REQ-55 an initiation without an answer is sent again every 5 s and at most 333 ms more, for 90 s', () => {
  const { world, a } = quiet();
  world.weather = { loss: 1 };
  const begun = world.now;
  a.send([hello()]);
  world.run(300_000);
  const times = a.sent.map(({ at }) => at - begun);
  assert.ok(a.sent.every(({ bytes }) => bytes[0] === 1));
  for (let i = 1; i < times.length; i++) {
    const gap = times[i]! - times[i - 1]!;
    assert.ok(gap >= 5000 && gap <= 5333, `${gap}`);
  }
  assert.ok(times.at(-1)! >= 85_000 && times.at(-1)! <= 97_000, `the last after ${times.at(-1)}`);
  assert.equal(a.device.peers[0]!.staged.length, 0, 'what waited was given up');
  assert.equal(a.device.handshakes.size, 0);
});

test('REQ-55 however much there is to send, initiations are 5 s apart; one that was wanted too soon comes when it may', () => {
  const { world, a, peerOfA } = quiet();
  world.weather = { loss: 1 };
  for (let i = 0; i < 49; i++) {
    a.send([hello(i)]);
    world.run(100);
  }
  assert.deepEqual(types(a), [1]);
  a.device.endSessions(peerOfA);
  peerOfA.timers.stop();
  a.send([hello()]);
  assert.deepEqual(types(a), [1]);
  world.run(500);
  assert.deepEqual(types(a), [1, 1]);
});

test('REQ-55 passive keepalive: 10 s after data came and nothing was sent, once', () => {
  const { world, a, b } = quiet();
  a.send([hello()]);
  world.run(100);
  const sent = b.sent.length;
  world.run(9800);
  assert.equal(b.sent.length, sent);
  world.run(300);
  assert.equal(b.sent.length, sent + 1);
  assert.equal(b.sent.at(-1)!.bytes.length, 32);
  world.run(60_000);
  assert.equal(b.sent.length, sent + 1, 'a keepalive is not answered');
});

test('REQ-55 the other side has gone: 15 s after data was sent and nothing came, a new handshake', () => {
  const { world, a, b } = quiet();
  a.send([hello()]);
  world.run(12_000);
  world.nodes.delete(b.address);
  const begun = world.now;
  a.send([hello()]);
  const sent = a.sent.length;
  world.run(16_000);
  assert.equal(a.sent[sent]!.bytes[0], 1);
  const after = a.sent[sent]!.at - begun;
  assert.ok(after >= 15_000 && after <= 15_333, `${after}`);
});

test('persistent keepalive: every 25 s while nothing passes, from the first second on', () => {
  const { world, a, peerOfA } = quiet();
  a.device.keepalive(peerOfA, 25_000, world.now);
  world.run(500);
  assert.deepEqual(types(a), [1, 4]);
  world.run(100_000);
  const empties = a.sent.filter(({ bytes }) => bytes.length === 32).map(({ at }) => at);
  assert.equal(empties.length, 5);
  for (let i = 1; i < empties.length; i++) assert.equal(empties[i]! - empties[i - 1]!, 25_000);
  a.device.keepalive(peerOfA, 0, world.now);
  const sent = a.sent.length;
  world.run(60_000);
  assert.equal(a.sent.length, sent);
});

test('keys are overwritten 540 s after the last handshake, and when a device stops', () => {
  const { world, a, b } = quiet();
  a.send([hello()]);
  world.run(1000);
  assert.equal(a.device.ring.size, 2);
  world.run(541_000);
  for (const { device } of [a, b]) {
    assert.equal(device.ring.size, 0);
    assert.equal(device.sessions.size, 0);
    assert.ok(device.ring.bytes.every((byte) => byte === 0));
  }
  a.send([hello()]);
  world.run(1000);
  assert.equal(b.arrived.length, 2);
  a.device.close();
  assert.equal(a.device.sessions.size + a.device.handshakes.size, 0);
  assert.ok(a.device.ring.bytes.every((byte) => byte === 0));
});

test('REQ-56 a counter near its end asks for a new session, and the last 2^13 are never used', () => {
  const { world, a, b, peerOfA } = quiet();
  a.send([hello()]);
  world.run(6000);
  peerOfA.current!.hi = 1 << 28;
  a.send([hello()]);
  world.run(100);
  assert.equal(types(a).filter((type) => type === 1).length, 2, 'REKEY_AFTER_MESSAGES');
  world.run(6000);
  peerOfA.current!.hi = -1;
  peerOfA.current!.lo = 0xffffdffe | 0;
  assert.deepEqual(a.send([hello(), hello()]), [Outcome.PASS, Outcome.STAGED], 'REJECT_AFTER_MESSAGES');
  world.run(6000);
  assert.equal(b.arrived.length, 4);
});

test('REQ-58 roaming: the endpoint follows authenticated packets only', () => {
  const { world, a, b, peerOfB } = quiet();
  a.send([hello()]);
  world.run(100);
  const old = a.address;
  a.move('198.51.100.7:4242');
  a.send([hello(1)]);
  world.run(100);
  b.send([back(2)]);
  world.run(100);
  assert.equal(a.arrived.length, 1);
  assert.equal(b.sent.at(-1)!.to, '198.51.100.7:4242');
  // A copy from elsewhere, altered or replayed, moves nothing.
  const copy = a.sent.at(-1)!.bytes.slice();
  assert.deepEqual(b.receive([{ bytes: copy, from: old }]), [Outcome.REPLAYED]);
  copy[20]! ^= 1;
  assert.deepEqual(b.receive([{ bytes: copy, from: old }]), [Outcome.FORGED]);
  assert.equal(peerOfB.endpoint[1], 4242);
});

test('REQ-58 allowed IPs: a packet from a peer must come from its own addresses', () => {
  const { world, a, b } = quiet();
  a.send([hello()]);
  world.run(100);
  a.send([
    packetOf('10.0.0.9', '10.0.0.2', new Uint8Array(4)),
    packetOf('10.0.0.1', '10.9.9.9', new Uint8Array(4)),
    hello(3),
  ]);
  world.run(100);
  assert.equal(b.arrived.length, 2);
  assert.equal(b.device.counts[Outcome.BAD_SOURCE], 1);
  assert.equal(a.device.counts[Outcome.NO_PEER], 1);
});

test('REQ-46 congestion met outside: a packet that can say so goes on, another is dropped by name (RFC 6040)', () => {
  const { world, a, b } = quiet();
  a.send([hello()]);
  world.run(100);
  b.outerEcn = 3;
  const able = hello(2);
  able[1] = 2;
  a.send([hello(1), able]);
  world.run(100);
  assert.equal(b.arrived.length, 2);
  assert.equal(b.device.counts[Outcome.BAD_ECN], 1);
});

test('IPv6 inside, and IPv6 outside', () => {
  const { world, a, b, peerOfA } = quiet();
  b.move('[2001:db8::2]:51820');
  a.move('[2001:db8::1]:51820');
  peerOfA.endpoint.fill(0);
  a.meet(b, []);
  const six = packetOf('fd00::1', 'fd00::2', new Uint8Array(33));
  a.send([six]);
  world.run(100);
  assert.deepEqual(
    b.arrived.map(({ packet }) => packet),
    [six],
  );
  assert.equal(b.sent.at(-1)!.to, '[2001:db8::1]:51820');
});

test('REQ-54 padding: up to a multiple of 16, and never beyond the MTU', () => {
  const { world, a, b } = quiet();
  a.send([hello()]);
  world.run(100);
  for (const [bytes, sealed] of [
    [28, 32 + 32],
    [33, 32 + 48],
    [1408, 32 + 1408],
    [1409, 32 + 1420],
    [1420, 32 + 1420],
  ] as const) {
    const packet = packetOf('10.0.0.1', '10.0.0.2', new Uint8Array(bytes - 28).fill(5));
    a.send([packet]);
    assert.equal(a.sent.at(-1)!.bytes.length, sealed, `${bytes}`);
    world.run(10);
    assert.deepEqual(b.arrived.at(-1)!.packet, packet);
  }
});

test('both begin at once: one round is enough, and packets pass both ways', () => {
  const { world, a, b } = quiet();
  world.weather = { delay: 20 };
  a.send([hello(1)]);
  b.send([back(1)]);
  world.run(200);
  assert.equal(a.arrived.length, 1);
  assert.equal(b.arrived.length, 1);
  a.send([hello(2)]);
  b.send([back(2)]);
  world.run(200);
  assert.equal(a.arrived.length, 2);
  assert.equal(b.arrived.length, 2);
});

test('a restart of either side is over with one handshake', () => {
  for (const side of ['a', 'b'] as const) {
    const { world, a, b } = quiet();
    a.send([hello()]);
    world.run(1000);
    const gone = side === 'a' ? a : b;
    gone.device.stop();
    gone.device.start(world.now);
    gone.device.greet(world.now);
    world.run(6000);
    a.send([hello(1)]);
    b.send([back(1)]);
    world.run(1000);
    assert.equal(b.arrived.length, 2, side);
    assert.equal(a.arrived.length, 1, side);
  }
});

test('REQ-57 timestamps grow, also when the clock is set back; a replayed initiation is refused', () => {
  const { world, a, b, peerOfA, peerOfB } = quiet();
  a.send([hello()]);
  world.run(6000);
  const first = a.sent.find(({ bytes }) => bytes[0] === 1)!.bytes;
  assert.deepEqual(b.receive([{ bytes: first, from: a.address }]), [Outcome.OLD_HANDSHAKE]);
  a.device.epoch -= 86_400_000;
  peerOfA.lastInitiationSent = Number.NEGATIVE_INFINITY;
  a.device.endSessions(peerOfA);
  a.send([hello(1)]);
  world.run(100);
  assert.equal(b.arrived.length, 2);
  assert.equal(peerOfB.stats[Stat.HANDSHAKES_ANSWERED], 2);
});

test('REQ-57 at most 50 initiations a second from one peer', () => {
  const { world, a, b, peerOfA, peerOfB } = quiet({ handshakeLimit: 1e6 });
  for (let i = 0; i < 500; i++) {
    peerOfA.lastInitiationSent = Number.NEGATIVE_INFINITY;
    a.device.greet(world.now);
    a.device.endSessions(peerOfA);
    world.run(2);
  }
  assert.ok(peerOfB.stats[Stat.HANDSHAKES_ANSWERED]! <= 51, `${peerOfB.stats[Stat.HANDSHAKES_ANSWERED]}`);
  assert.ok(b.device.counts[Outcome.FLOOD]! > 400);
  assert.ok(b.device.sessions.size <= 3);
});

test('preshared keys: the same one works, another one is silence', () => {
  const { world, a, b, peerOfA, peerOfB } = quiet();
  peerOfA.presharedKey.fill(9);
  peerOfB.presharedKey.fill(9);
  a.send([hello()]);
  world.run(100);
  assert.equal(b.arrived.length, 1);
  a.device.endSessions(peerOfA);
  peerOfA.presharedKey.fill(8);
  world.run(6000);
  a.send([hello()]);
  world.run(100);
  assert.equal(b.arrived.length, 1);
  assert.ok(a.device.counts[Outcome.FORGED]! >= 1);
});

test('what waits for a session is bounded, and the oldest goes first', () => {
  const { world, a, b } = quiet();
  world.weather = { loss: 1 };
  for (let i = 0; i < 200; i++) a.send([hello(i)]);
  assert.equal(a.device.counts[Outcome.STAGE_FULL], 200 - 128);
  world.weather = {};
  world.run(6000);
  assert.equal(b.arrived.length, 128);
  assert.deepEqual(b.arrived[0]!.packet, hello(72));
});
