/** REQ-64 for tunnels: every message type, altered in every way, on a device with a live session. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { FIRST_DROP, Outcome } from '../../../src/link/wireguard/outcome.js';
import fc from '../../property.js';
import { fuzzMessages, ground } from './fuzz-messages.js';
import { packetOf, pair, seeded, World } from './sim.js';

/** More by hand: npm run fuzz -- --target wireguard. */
const MESSAGES = 100_000;

test('REQ-64 altered messages of all types: each is refused by name, and nothing changes', () => {
  const { outcomes, types } = fuzzMessages(MESSAGES, 12);
  for (const name of ['malformed', 'bad-mac', 'forged', 'no-session'])
    assert.ok(outcomes[name]! > MESSAGES / 200, `${name}: ${outcomes[name]}`);
  assert.ok(
    Object.values(types).every((count) => count > MESSAGES / 8),
    JSON.stringify(types),
  );
});

test('REQ-64 arbitrary bytes, any number at once', () => {
  const { b } = ground(13);
  fc.assert(
    fc.property(fc.array(fc.uint8Array({ maxLength: 200 }), { minLength: 1, maxLength: 20 }), (datagrams) => {
      const outcomes = b.receive(datagrams.map((bytes) => ({ bytes, from: '203.0.113.1:1' })));
      assert.ok(outcomes.every((outcome) => outcome === Outcome.MALFORMED || outcome >= FIRST_DROP));
    }),
    { numRuns: 2000 },
  );
});

test('REQ-64 a captured session played again, shuffled and doubled: every packet is taken once at most', () => {
  const world = new World(14);
  const { a, b } = pair(world);
  a.keepSent = true;
  for (let i = 0; i < 300; i++) {
    a.send([packetOf('10.0.0.1', '10.0.0.2', new Uint8Array(8).fill(i))]);
    world.run(10);
  }
  assert.equal(b.arrived.length, 300);
  const random = seeded(15);
  const capture = [...a.sent, ...a.sent, ...a.sent].sort(() => random() - 0.5);
  for (const { bytes } of capture) {
    const [outcome] = b.receive([{ bytes, from: '203.0.113.1:1' }]);
    assert.ok(outcome === Outcome.REPLAYED || outcome === Outcome.OLD_HANDSHAKE, `${outcome}`);
  }
  assert.equal(b.arrived.length, 300);
  assert.equal(b.device.peers[0]!.endpoint[1], 1, 'and none of them moved the peer');
});

test('inner packets that are no IP packets, in a tunnel of good keys', () => {
  const w = new World(18);
  const made = pair(w);
  made.a.send([packetOf('10.0.0.1', '10.0.0.2', new Uint8Array(8))]);
  w.run(10);
  fc.assert(
    fc.property(fc.uint8Array({ minLength: 20, maxLength: 90 }), (bytes) => {
      // The sender looks at the destination only; so it is made right, and everything else is left as it is.
      const packet = bytes.slice();
      packet[0] = 0x40 | (packet[0]! & 15);
      packet.set([10, 0, 0, 2], 16);
      const before = made.b.arrived.length;
      made.a.send([packet]);
      w.run(1);
      const [arrived] = made.b.arrived.slice(before);
      if (arrived === undefined) return;
      assert.ok(arrived.packet.length >= 20 && arrived.packet.length <= ((packet.length + 15) & ~15));
      assert.deepEqual([...arrived.packet.subarray(12, 16)], [10, 0, 0, 1]);
    }),
    { numRuns: 2000 },
  );
});
