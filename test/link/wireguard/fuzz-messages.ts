/**
 * Altered WireGuard messages of every type, on a device with a live session and a handshake under way: each must be refused by name, and leave nothing behind. For the
 * tests (fuzz.test.ts), and by the million (`npm run fuzz -- --target wireguard`).
 */
import assert from 'node:assert/strict';
import { MacChecker, MacMaker } from '../../../src/link/wireguard/cookie.js';
import { parseEndpoint } from '../../../src/link/wireguard/endpoint.js';
import { FIRST_DROP, OUTCOMES, Outcome } from '../../../src/link/wireguard/outcome.js';
import { Node, packetOf, pair, seeded, World } from './sim.js';

/** A device b with a live session to a and a handshake under way with c, and one right message of each type that it has not seen. */
export function ground(seed: number) {
  const world = new World(seed);
  const { a, b, peerOfA } = pair(world);
  const c = new Node(world, '192.0.2.3:3');
  const toC = b.meet(c, ['10.0.0.3/32']);
  c.meet(b, ['10.0.0.2/32']);
  for (const node of [a, b, c]) node.keepSent = true;
  a.send([packetOf('10.0.0.1', '10.0.0.2', new Uint8Array(40))]);
  world.run(100);
  world.nodes.clear(); // from here on datagrams are carried by hand
  a.send([packetOf('10.0.0.1', '10.0.0.2', new Uint8Array(60))]);
  const transport = a.sent.at(-1)!.bytes;
  world.now += 10_000;
  b.send([packetOf('10.0.0.2', '10.0.0.3', new Uint8Array(8))]);
  const fromB = b.sent.at(-1)!.bytes;
  const cookie = new MacChecker(c.publicKey, (bytes) => bytes.fill(5)).reply(
    fromB,
    0,
    fromB.length,
    toC.initiatorIndex,
    parseEndpoint(b.address)!,
    0,
    world.now,
  );
  c.receive([{ bytes: fromB, from: b.address }]);
  const response = c.sent.at(-1)!.bytes;
  a.device.endSessions(peerOfA);
  peerOfA.lastInitiationSent = Number.NEGATIVE_INFINITY;
  a.device.greet(world.now);
  const initiation = a.sent.at(-1)!.bytes;
  return { world, a, b, c, seeds: [initiation, response, cookie, transport] };
}

function mutate(bytes: Uint8Array, random: () => number, others: readonly Uint8Array[]): Uint8Array {
  let out = bytes.slice();
  for (let times = 1 + Math.floor(random() * 3); times > 0; times--) {
    const at = Math.floor(random() * Math.max(1, out.length));
    switch (Math.floor(random() * 8)) {
      case 0:
        out[at]! ^= 1 << Math.floor(random() * 8);
        break;
      case 1:
        out[at] = random() * 256;
        break;
      case 2:
        out = out.slice(0, at);
        break;
      case 3: {
        const longer = new Uint8Array(out.length + Math.floor(random() * 40));
        longer.set(out);
        out = longer;
        break;
      }
      case 4:
        out.fill(random() < 0.5 ? 0 : 255, at, at + 1 + Math.floor(random() * 16));
        break;
      case 5: {
        const other = others[Math.floor(random() * others.length)]!;
        out.set(other.subarray(at, at + Math.floor(random() * 48)).subarray(0, Math.max(0, out.length - at)), at);
        break;
      }
      case 6:
        out[0] = Math.floor(random() * 6);
        break;
      default:
        // Only the counter: the likeliest way into the window.
        for (let i = 8; i < Math.min(16, out.length); i++) out[i] = random() * 256;
    }
  }
  return out;
}

/** What is authenticated of a message, by whoever sent it: not the sender's index, not mac2. */
function proven(bytes: Uint8Array): Uint8Array {
  if (bytes.length === 148) return bytes.subarray(8, 116);
  return bytes.length === 92 ? bytes.subarray(8, 60) : bytes;
}

/** Nothing of the device's may have moved. */
function stateOf(node: Node): string {
  const { device } = node;
  const peer = device.peers[0]!;
  return JSON.stringify([
    [...device.sessions.keys()],
    [...device.handshakes.keys()],
    [...peer.endpoint],
    device.ring.size,
    peer.current?.localIndex,
    node.arrived.length,
    node.sent.length,
  ]);
}

/** Types by place in `seeds`. */
const TYPES = ['initiation', 'response', 'cookie', 'transport'] as const;

export interface FuzzCounts {
  /** Messages that were judged, by the type that they were made from; those that the alterations left right are not among them. */
  readonly types: Readonly<Record<string, number>>;
  /** What became of them. */
  readonly outcomes: Readonly<Record<string, number>>;
}

/** Throws where one is not refused, or something has moved. */
export function fuzzMessages(messages: number, seed: number, progress: (done: number) => void = () => {}): FuzzCounts {
  const { world, b, seeds } = ground(11);
  const macs = new MacMaker(b.publicKey);
  const random = seeded(seed);
  const before = stateOf(b);
  const types = TYPES.map(() => 0);
  const names = OUTCOMES.map(() => 0);
  for (let i = 0; i < messages; i++) {
    const original = seeds[i & 3]!;
    const bytes = mutate(original, random, seeds);
    if (seeds.some((each) => Buffer.compare(proven(bytes), proven(each)) === 0)) continue;
    // Everybody who knows our public key can make mac1 right: only so is there more to see than it.
    if (random() < 0.5 && (bytes.length === 148 || bytes.length === 92)) macs.stamp(bytes, world.now);
    world.now += 5; // below the load limit
    const [outcome] = b.receive([{ bytes, from: '203.0.113.1:1' }]);
    assert.ok(
      outcome! >= FIRST_DROP,
      `message ${i} of seed ${seed}, ${Buffer.from(bytes).toString('hex')}: outcome ${outcome}`,
    );
    // Sessions end by age while the clock runs: keep it young.
    Object.assign(b.device.peers[0]!.current!, { created: world.now });
    types[i & 3]!++;
    names[outcome!]!++;
    if (i % 65_536 === 65_535) {
      assert.equal(stateOf(b), before, `something has moved before message ${i} of seed ${seed}`);
      progress(i + 1);
    }
  }
  assert.equal(stateOf(b), before);
  // And the same messages, unaltered, are taken: what was fuzzed was one bit away from being right.
  const [initiation, response, cookie, transport] = seeds;
  for (const [bytes, expected] of [
    [cookie, Outcome.HANDSHAKE],
    [response, Outcome.HANDSHAKE],
    [transport, Outcome.PASS],
    [initiation, Outcome.HANDSHAKE],
  ] as const) {
    assert.deepEqual(b.receive([{ bytes: bytes!, from: '203.0.113.1:1' }]), [expected]);
  }
  return {
    types: Object.fromEntries(TYPES.map((name, at) => [name, types[at]!])),
    outcomes: Object.fromEntries(OUTCOMES.flatMap(({ name }, id) => (names[id] === 0 ? [] : [[name, names[id]!]]))),
  };
}
