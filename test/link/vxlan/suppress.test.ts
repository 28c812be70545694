/** ARP and neighbour requests answered on the TAP side, and those that must not be. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { LOCAL, LOCAL_SIDE, Neighbours, Outcome, REMOTE_SIDE } from '../../../src/link/vxlan/index.js';
import { arp, Bench, BROADCAST, ethernet, hex, ip, mac, message, nd, whoHas } from './frames.js';

const ASKER = ['02:00:00:00:00:01', '10.0.0.1'] as const;
const OWNER = ['02:00:00:00:00:02', '10.0.0.2'] as const;
const OTHER = ['02:00:00:00:00:03', '10.0.0.3'] as const;
const REMOTE = '192.0.2.2';

/** As flannel does it: a neighbour entry and a forwarding entry, both static. */
function flannel(learning = false) {
  const bench = new Bench({ learning });
  const [remote] = bench.remotes(REMOTE);
  const { hi, lo } = mac(OWNER[0]);
  bench.vtep.fdb.setStatic(hi, lo, remote!);
  bench.vtep.neighbours.setStatic(ip(OWNER[1]), hi, lo);
  return bench;
}

const fromRemote = (bench: Bench, frame: Uint8Array) => bench.tunnel([{ bytes: message(frame), from: REMOTE }])[0]!;
const ask = (bench: Bench, frame: Uint8Array) => bench.tap([frame])[0]!;

test('static pairs as flannel programs them: the request is answered here and does not travel', () => {
  const got = ask(flannel(), whoHas(ASKER, OWNER[1]));
  assert.equal(got.outcome, Outcome.ANSWERED);
  assert.deepEqual(got.to, []);
  const wanted = ethernet(ASKER[0], OWNER[0], 0x0806, arp(2, OWNER, ASKER));
  assert.equal(hex(got.answer!), hex(wanted));
});

test('pairs are learned from what comes out of the tunnel, and forgotten by age', () => {
  const bench = new Bench();
  bench.remotes(REMOTE);
  assert.equal(ask(bench, whoHas(ASKER, OWNER[1])).outcome, Outcome.FLOODED);
  fromRemote(bench, ethernet(ASKER[0], OWNER[0], 0x0806, arp(2, OWNER, ASKER)));
  assert.equal(ask(bench, whoHas(ASKER, OWNER[1])).outcome, Outcome.ANSWERED);
  bench.now += 299_999;
  assert.equal(ask(bench, whoHas(ASKER, OWNER[1])).outcome, Outcome.ANSWERED);
  bench.now += 1;
  assert.equal(ask(bench, whoHas(ASKER, OWNER[1])).outcome, Outcome.FLOODED);
});

test('what travels although the pair is known', () => {
  const bench = flannel();
  const zero = '00:00:00:00:00:00';
  const cases: [string, Uint8Array][] = [
    ['a question by unicast tests whether the owner lives', whoHas(ASKER, OWNER[1], OWNER[0])],
    ['a probe (RFC 5227) is for the owner', whoHas([ASKER[0], '0.0.0.0'], OWNER[1])],
    ['gratuitous ARP', ethernet(BROADCAST, ASKER[0], 0x0806, arp(1, [ASKER[0], OWNER[1]], [zero, OWNER[1]]))],
    ['an unknown address', whoHas(ASKER, OTHER[1])],
    ['a reply', ethernet(BROADCAST, ASKER[0], 0x0806, arp(2, ASKER, [zero, OWNER[1]]))],
    ['tagged', ethernet(BROADCAST, ASKER[0], 0x0806, arp(1, ASKER, [zero, OWNER[1]]), [0x8100_0005])],
    ['cut off', whoHas(ASKER, OWNER[1]).slice(0, 40)],
    ['not Ethernet and IPv4', Uint8Array.from(whoHas(ASKER, OWNER[1]), (byte, at) => (at === 18 ? 8 : byte))],
  ];
  for (const [why, frame] of cases) {
    const got = ask(bench, frame);
    assert.ok(got.outcome === Outcome.FLOODED || got.outcome === Outcome.PASS, why);
    assert.deepEqual([got.to.length, got.answer], [1, null], why);
    assert.equal(hex(got.messages[0]!.subarray(8)), hex(frame), why);
  }
});

test('an address that is local is never answered: not one seen on the TAP side, not one that moved here, not a pinned one', () => {
  const bench = new Bench();
  bench.remotes(REMOTE);
  // Both were remote once.
  for (const pair of [OWNER, OTHER]) fromRemote(bench, ethernet(BROADCAST, pair[0], 0x0806, arp(1, pair, ASKER)));
  assert.equal(ask(bench, whoHas(ASKER, OWNER[1])).outcome, Outcome.ANSWERED);
  // The owner speaks ARP here.
  ask(bench, whoHas(OWNER, '10.0.0.99'));
  assert.equal(ask(bench, whoHas(ASKER, OWNER[1])).outcome, Outcome.FLOODED);
  // The other one only sends data here.
  ask(bench, ethernet(ASKER[0], OTHER[0], 0x88cc, new Uint8Array(46)));
  assert.equal(ask(bench, whoHas(ASKER, OTHER[1])).outcome, Outcome.FLOODED);
  // A remote claims the host's own address.
  bench.pinLocal('10.0.0.254', '02:00:00:00:00:fe');
  fromRemote(bench, ethernet(BROADCAST, OTHER[0], 0x0806, arp(1, [OTHER[0], '10.0.0.254'], ASKER)));
  assert.equal(ask(bench, whoHas(ASKER, '10.0.0.254')).outcome, Outcome.FLOODED);
  // Not even when the forwarding table has its MAC address at a remote.
  const { hi, lo } = mac('02:00:00:00:00:fe');
  bench.vtep.fdb.setStatic(hi, lo, 0);
  assert.equal(ask(bench, whoHas(ASKER, '10.0.0.254')).outcome, Outcome.FLOODED);
});

test('a remote that claims a local address is not believed; the host itself, moved there, is', () => {
  const bench = new Bench();
  bench.remotes(REMOTE);
  ask(bench, whoHas(OWNER, '10.0.0.99'));
  fromRemote(bench, ethernet(BROADCAST, OTHER[0], 0x0806, arp(1, [OTHER[0], OWNER[1]], ASKER)));
  assert.equal(bench.vtep.neighbours.disputed, 1);
  assert.equal(ask(bench, whoHas(ASKER, OWNER[1])).outcome, Outcome.FLOODED);
  fromRemote(bench, ethernet(BROADCAST, OWNER[0], 0x0806, arp(1, OWNER, ASKER)));
  assert.equal(ask(bench, whoHas(ASKER, OWNER[1])).outcome, Outcome.ANSWERED);
});

test('who speaks for another station is not learned', () => {
  const bench = new Bench();
  bench.remotes(REMOTE);
  fromRemote(bench, ethernet(ASKER[0], OTHER[0], 0x0806, arp(2, OWNER, ASKER)));
  assert.equal(bench.vtep.neighbours.size, 0);
  for (const address of ['0.0.0.0', '127.0.0.1', '224.0.0.1', '255.255.255.255'])
    fromRemote(bench, ethernet(ASKER[0], OWNER[0], 0x0806, arp(2, [OWNER[0], address], ASKER)));
  assert.equal(bench.vtep.neighbours.size, 0);
});

test('with learning off nothing is learned, with suppression off nothing is answered', () => {
  const off = flannel(false);
  fromRemote(off, ethernet(ASKER[0], OTHER[0], 0x0806, arp(2, OTHER, ASKER)));
  assert.deepEqual([off.vtep.neighbours.size, off.vtep.fdb.size], [1, 1]);
  const bench = new Bench({ suppress: false });
  bench.remotes(REMOTE);
  fromRemote(bench, ethernet(ASKER[0], OWNER[0], 0x0806, arp(2, OWNER, ASKER)));
  assert.equal(ask(bench, whoHas(ASKER, OWNER[1])).outcome, Outcome.FLOODED);
});

// ---- Neighbour discovery.

const ASKER6 = [ASKER[0], 'fd00::1'] as const;
const OWNER6 = [OWNER[0], 'fd00::2'] as const;
const GROUP = ['33:33:ff:00:00:02', 'ff02::1:ff00:2'] as const;
const ROUTER = 0x8000_0000 | 0;
const solicit = nd(135, ASKER6, GROUP, OWNER6[1], [1, ASKER6[0]]);

test('a solicitation is answered from an advertisement that passed, router flag included', () => {
  for (const flags of [0x6000_0000, 0x6000_0000 | ROUTER]) {
    const bench = new Bench();
    bench.remotes(REMOTE);
    assert.equal(ask(bench, solicit).outcome, Outcome.FLOODED);
    fromRemote(bench, nd(136, OWNER6, ASKER6, OWNER6[1], [2, OWNER6[0]], flags));
    const got = ask(bench, solicit);
    assert.equal(got.outcome, Outcome.ANSWERED);
    const answer = nd(136, OWNER6, ASKER6, OWNER6[1], [2, OWNER6[0]], 0x4000_0000 | (flags & ROUTER));
    assert.equal(hex(got.answer!), hex(answer));
  }
});

test('what travels of neighbour discovery: duplicate address detection, unicast, no option, a wrong checksum or hop limit', () => {
  const bench = new Bench();
  bench.remotes(REMOTE);
  fromRemote(bench, nd(136, OWNER6, ASKER6, OWNER6[1], [2, OWNER6[0]]));
  const wrong = solicit.slice();
  wrong[56]! ^= 1;
  const forwarded = solicit.slice();
  forwarded[21] = 64;
  const cases = [
    nd(135, [ASKER[0], '::'], GROUP, OWNER6[1], null),
    nd(135, ASKER6, OWNER6, OWNER6[1], [1, ASKER6[0]]),
    nd(135, ASKER6, GROUP, OWNER6[1], null),
    nd(135, ASKER6, GROUP, OWNER6[1], [2, ASKER6[0]]),
    wrong,
    forwarded,
    solicit.slice(0, 80),
  ];
  for (const [i, frame] of cases.entries()) {
    const got = ask(bench, frame);
    assert.deepEqual([got.to.length, got.answer], [1, null], `case ${i}`);
  }
});

test('a solicitation makes no remote pair, it only keeps one alive', () => {
  const bench = new Bench();
  bench.remotes(REMOTE);
  const asks = nd(135, OWNER6, ['33:33:ff:00:00:09', 'ff02::1:ff00:9'], 'fd00::9', [1, OWNER6[0]]);
  fromRemote(bench, asks);
  assert.equal(ask(bench, solicit).outcome, Outcome.FLOODED);
  fromRemote(bench, nd(136, OWNER6, ASKER6, OWNER6[1], [2, OWNER6[0]], ROUTER));
  bench.now += 200_000;
  fromRemote(bench, asks);
  bench.now += 200_000;
  const got = ask(bench, solicit);
  assert.equal(got.outcome, Outcome.ANSWERED);
  assert.equal(got.answer![58]! & 0x80, 0x80);
});

test('both sides of the table are bounded by themselves', () => {
  const pairs = new Neighbours({ capacity: 100 });
  for (let i = 0; i < 500; i++) pairs.learn(Int32Array.of(0, 0, 0xffff, i), 0x200, i, REMOTE_SIDE, false, true, 0);
  assert.deepEqual([pairs.size, pairs.refused], [50, 450]);
  for (let i = 500; i < 600; i++) pairs.learn(Int32Array.of(0, 0, 0xffff, i), 0x200, i, LOCAL_SIDE, false, true, 0);
  assert.deepEqual([pairs.size, pairs.refused], [100, 500]);
  pairs.sweep(100, 300_000);
  assert.equal(pairs.size, 0);
  assert.ok(pairs.learn(ip('10.0.0.1'), 0x200, 1, REMOTE_SIDE, false, true, 300_000));
});

test('a static pair is not changed by what passes', () => {
  const bench = flannel(true);
  fromRemote(bench, ethernet(ASKER[0], OTHER[0], 0x0806, arp(2, [OTHER[0], OWNER[1]], ASKER)));
  const got = ask(bench, whoHas(ASKER, OWNER[1]));
  assert.equal(hex(got.answer!.subarray(6, 12)), OWNER[0].replaceAll(':', ''));
  // The forwarding entry says that the owner is on the TAP side after all.
  const { hi, lo } = mac(OWNER[0]);
  bench.vtep.fdb.setStatic(hi, lo, LOCAL);
  assert.equal(ask(bench, whoHas(ASKER, OWNER[1])).outcome, Outcome.FLOODED);
});

test('pairs of one chain are told apart by the whole address', () => {
  const pairs = new Neighbours({ random: (bytes) => bytes.fill(0) });
  const texts = ['fd00::1', 'fd00:0:0:1::1', 'fd01::1', 'fd00::1:0:1', '10.0.0.1', '10.0.0.2'];
  for (const [i, text] of texts.entries()) pairs.learn(ip(text), 0x200, i, REMOTE_SIDE, false, true, 0);
  for (const [i, text] of texts.entries()) assert.equal(pairs.lo(pairs.find(ip(text), 0)), i);
  assert.ok(pairs.remove(ip('fd01::1')));
  assert.equal(pairs.find(ip('fd01::1'), 0), -1);
  assert.equal(pairs.size, texts.length - 1);
});
