/** `trace ADDRESS`: the packets that it names are explained, with what became of them, and no others; they fare as without it. */
import assert from 'node:assert/strict';
import { beforeEach, test } from 'node:test';
import type { SeenAnswer } from '../../src/contract/api.js';
import { newRing, Point } from '../../src/contract/capture.js';
import type { WatchFilter } from '../../src/contract/mailbox.js';
import { drain } from '../../src/control/capture.js';
import { RingTap, Taps } from '../../src/datapath/tap.js';
import { Watch } from '../../src/datapath/watch.js';
import { build, ip } from '../lib-packets.js';
import { A, B, OTHER, P, Rig, SERVER } from './rig.js';

let r: Rig;
let seen: SeenAnswer[];
beforeEach(() => {
  r = new Rig({ pool: [40_000, 40_007], forwards: [{ first: 2222, to: A, toPort: 22, from: ['198.51.100.0/24'] }] });
  seen = [];
});

const all = (address: string) => ({ prefix: ip(address), mask: -1 });
function watch(filter: Omit<WatchFilter, 'address'>, address = A, count = 10): Watch {
  const tap = new Watch(r.engine, { address: all(address), ...filter }, count, (answer) => seen.push(answer));
  r.engine.tap = tap;
  return tap;
}
const texts = (answer: SeenAnswer | undefined) => answer?.steps.map(({ stage, text }) => `${stage}: ${text}`);

const OUT = { src: A, dst: SERVER, sport: 40_001, dport: 80, proto: 'udp' } as const;
const ANSWER = { src: SERVER, dst: P, sport: 80, dport: 40_001, proto: 'udp' } as const;

test('the first packet of a flow: policy, mapping, rewrite, and what is sent', () => {
  watch({});
  r.pass(build(OUT));
  assert.deepEqual(texts(seen[0]), [
    `parse: udp ${A}:40001 → ${SERVER}:80`,
    'match: no flow; a new one would be decided',
    'policy: from LAN lan',
    "mapping: a new one; 8 of the pool's 8 UDP ports are free",
    `rewrite: source → ${P}, port 40001 kept`,
    'emit: by wan, MTU 1500',
    `emit: ${P}:40001 → ${SERVER}:80 is sent`,
  ]);
  assert.deepEqual([seen[0]!.verdict, seen[0]!.fate, seen[0]!.bytes], ['forward', 'send', 28]);
});

test('an answer, which bears the address only after translation, is explained by its flow', () => {
  r.pass(build(OUT));
  watch({});
  r.pass(build(ANSWER));
  assert.equal(seen.length, 1);
  assert.match(texts(seen[0])!.join('\n'), /match: flow 0, side that answers;.*is sent$/s);
  assert.equal(texts(seen[0])!.at(-1), `emit: ${SERVER}:80 → ${A}:40001 is sent`);
});

test('a drop names its reason, and nothing is said to be sent', () => {
  watch({}, OTHER);
  r.pass(build({ src: OTHER, dst: P, sport: 5000, dport: 2222, proto: 'tcp', flags: 2 }));
  assert.equal(seen[0]!.verdict, 'forward-source');
  assert.match(texts(seen[0])!.join('\n'), /policy: forward "f1" \(test:1:1\)$/);
  assert.ok(!texts(seen[0])!.some((text) => text.includes('is sent')));
});

test('filters: protocol, port, the other end; and not more than was asked for', () => {
  watch({ proto: 17, port: 53, other: all(SERVER) }, A, 2);
  r.pass(
    build({ ...OUT, dport: 80 }),
    build({ ...OUT, dst: OTHER, dport: 53 }),
    build({ ...OUT, proto: 'tcp', dport: 53, flags: 2 }),
    build({ ...OUT, src: B, dport: 53 }),
    build({ ...OUT, dport: 53 }),
    build({ ...OUT, sport: 40_002, dport: 53 }),
    build({ ...OUT, sport: 40_003, dport: 53 }),
  );
  assert.deepEqual(
    seen.map((answer) => texts(answer)![0]),
    [`parse: udp ${A}:40001 → ${SERVER}:53`, `parse: udp ${A}:40002 → ${SERVER}:53`],
  );
});

test('fragments, ICMP errors and packets that parse refuses are named as what they are', () => {
  r.pass(build(OUT));
  watch({});
  r.pass(build({ ...OUT, offset: 1480, id: 7, payload: new Uint8Array(8) }));
  const quoted = build({ ...ANSWER, src: P, dst: SERVER, sport: 40_001, dport: 80 });
  r.pass(build({ src: SERVER, dst: P, proto: 'icmp', type: 3, code: 3, payload: quoted }));
  const broken = build(OUT);
  broken[0] = 0x4f; // a header longer than the packet
  r.pass(broken);
  assert.equal(seen.length, 3);
  assert.match(texts(seen[0])![0]!, /a later fragment; goes where the first one/);
  assert.match(texts(seen[1])![0]!, /icmp type 3; judged by the packet that it quotes$/);
  assert.deepEqual([seen[1]!.verdict, seen[2]!.verdict], ['forward', 'bad-header']);
  assert.deepEqual(texts(seen[2]), [`parse: udp ${A} → ${SERVER}`]);
});

test('packets fare as they do when nobody looks; a capture beside it sees the same ones', () => {
  const packets = [build(OUT), build(ANSWER), build({ ...OUT, ttl: 1 }), build({ ...ANSWER, src: OTHER })];
  const plain = new Rig({ pool: [40_000, 40_007] });
  const expected = packets.flatMap((packet) => plain.pass(packet.slice()));
  const ring = newRing();
  r.engine.tap = new Taps(watch({}), new RingTap(ring, { points: Point.PRE | Point.POST, snap: 65_535 }));
  const got = packets.flatMap((packet) => r.pass(packet.slice()));
  // IP ids, and with them the header's checksum, are random at first.
  const same = (packet: Uint8Array) => [...packet.subarray(0, 4), ...packet.subarray(6, 10), ...packet.subarray(12)];
  assert.deepEqual(got.map(same), expected.map(same));
  assert.equal(seen.length, 3);
  const blocks: Uint8Array[] = [];
  drain(ring, { write: (bytes) => blocks.push(bytes) > 0, writableLength: 0 });
  assert.ok(Buffer.concat(blocks).includes('send: forward'));
});
