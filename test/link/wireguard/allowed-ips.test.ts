/** Allowed IPs: longest prefix, against a list that is searched from end to end. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  type AllowedIp,
  AllowedIps,
  formatAllowedIp,
  parseAllowedIp,
} from '../../../src/link/wireguard/allowed-ips.js';
import { formatAddress, formatEndpoint, parseAddress, parseEndpoint } from '../../../src/link/wireguard/endpoint.js';
import fc from '../../property.js';

const ip = (text: string) => parseAllowedIp(text)!;

function find(ips: AllowedIps, address: string): number {
  const words = new Int32Array(4);
  const family = parseAddress(address, words, 0);
  return findWords(ips, family, words);
}

function findWords(ips: AllowedIps, family: number, words: Int32Array): number {
  const view = new DataView(new ArrayBuffer(16));
  for (const [i, word] of words.entries()) view.setInt32(4 * i, word);
  return ips.find(family, view, 0);
}

function covers(prefix: AllowedIp, words: Int32Array): boolean {
  for (let bit = 0; bit < prefix.length; bit++) {
    const mask = 1 << (31 - (bit & 31));
    if (((prefix.words[bit >> 5]! ^ words[bit >> 5]!) & mask) !== 0) return false;
  }
  return true;
}

test('the longest prefix wins, in both families', () => {
  const ips = new AllowedIps();
  ips.set(ip('0.0.0.0/0'), 0);
  ips.set(ip('10.0.0.0/8'), 1);
  ips.set(ip('10.1.0.0/16'), 2);
  ips.set(ip('10.1.2.3'), 3);
  ips.set(ip('::/0'), 4);
  ips.set(ip('fd00::/8'), 5);
  ips.set(ip('fd00:1::/64'), 6);
  ips.set(ip('fd00:1::2'), 7);
  const cases: [string, number][] = [
    ['8.8.8.8', 0],
    ['10.2.0.1', 1],
    ['10.1.2.4', 2],
    ['10.1.2.3', 3],
    ['2001:db8::1', 4],
    ['fd01::1', 5],
    ['fd00:1::3', 6],
    ['fd00:1::2', 7],
  ];
  for (const [address, peer] of cases) assert.equal(find(ips, address), peer, address);
  ips.removePeer(3);
  assert.equal(find(ips, '10.1.2.3'), 2);
  ips.remove(ip('10.1.0.0/16'), 1); // not that peer's
  assert.equal(find(ips, '10.1.2.3'), 2);
  ips.remove(ip('10.1.0.0/16'), 2);
  assert.equal(find(ips, '10.1.2.3'), 1);
  ips.set(ip('10.0.0.0/8'), 9);
  assert.equal(find(ips, '10.1.2.3'), 9, 'a prefix that is given to another peer moves');
});

/** Few bits vary, so that prefixes nest and collide. */
const four = fc
  .tuple(fc.integer({ min: 0, max: 15 }), fc.integer({ min: 0, max: 15 }), fc.integer({ min: 0, max: 32 }))
  .map(([top, low, length]) => ({ family: 4 as const, words: Int32Array.of((top << 28) | low), length }));
const six = fc
  .tuple(
    fc.array(fc.constantFrom(0, 1, -1, 1 << 31, 0x00010000), { minLength: 4, maxLength: 4 }),
    fc.integer({ min: 0, max: 128 }),
  )
  .map(([words, length]) => ({ family: 6 as const, words: Int32Array.from(words), length }));

test('sets, removals and moves in any order: every look-up equals that of a list', () => {
  const step = fc.record({
    prefix: fc.oneof(four, six).map((raw) => ip(formatAllowedIp(raw))),
    peer: fc.integer({ min: 0, max: 5 }),
    act: fc.constantFrom('set', 'set', 'set', 'remove', 'remove-peer'),
  });
  fc.assert(
    fc.property(
      fc.array(step, { maxLength: 60 }),
      fc.array(fc.oneof(four, six), { maxLength: 20 }),
      (steps, probes) => {
        const ips = new AllowedIps();
        const list = new Map<string, [AllowedIp, number]>();
        for (const { prefix, peer, act } of steps) {
          const key = formatAllowedIp(prefix);
          if (act === 'set') {
            ips.set(prefix, peer);
            list.set(key, [prefix, peer]);
          } else if (act === 'remove') {
            ips.remove(prefix, peer);
            if (list.get(key)?.[1] === peer) list.delete(key);
          } else {
            ips.removePeer(peer);
            for (const [name, [, owner]] of list) if (owner === peer) list.delete(name);
          }
          assert.equal(ips.size, list.size);
        }
        for (const { family, words } of [...probes, ...steps.map(({ prefix }) => prefix)]) {
          let best = -1;
          let length = -1;
          for (const [prefix, peer] of list.values()) {
            if (prefix.family === family && prefix.length > length && covers(prefix, words))
              [best, length] = [peer, prefix.length];
          }
          assert.equal(findWords(ips, family, words), best);
        }
        const listed = [...ips.byPeer()].flatMap(([peer, own]) =>
          own.map((prefix) => `${formatAllowedIp(prefix)} ${peer}`),
        );
        assert.deepEqual(listed.sort(), [...list].map(([key, [, peer]]) => `${key} ${peer}`).sort());
      },
    ),
    { numRuns: 500 },
  );
});

test('100,000 prefixes: all are found, none is left after their peers are removed', () => {
  const ips = new AllowedIps();
  let seed = 1;
  const random = () => (seed = (Math.imul(seed, 1664525) + 1013904223) | 0);
  const made: [AllowedIp, number][] = [];
  for (let i = 0; i < 100_000; i++) {
    const length = 32;
    const prefix: AllowedIp =
      i % 2 === 0
        ? { family: 4, words: Int32Array.of(random()), length }
        : { family: 6, words: Int32Array.of(0xfd000000 | 0, random(), random(), 0), length: 96 };
    ips.set(prefix, i % 1000);
    made.push([prefix, i % 1000]);
  }
  const owners = new Map(made.map(([prefix, peer]) => [formatAllowedIp(prefix), peer]));
  assert.equal(ips.size, owners.size);
  for (const [prefix] of made) {
    assert.equal(findWords(ips, prefix.family, prefix.words), owners.get(formatAllowedIp(prefix)));
  }
  for (let peer = 0; peer < 1000; peer++) ips.removePeer(peer);
  assert.equal(ips.size, 0);
  for (const [prefix] of made.slice(0, 1000)) assert.equal(findWords(ips, prefix.family, prefix.words), -1);
});

test('addresses, prefixes and endpoints survive being written and read', () => {
  const words6 = fc.array(fc.oneof(fc.constant(0), fc.integer()), { minLength: 4, maxLength: 4 });
  fc.assert(
    fc.property(words6, (list) => {
      const words = Int32Array.from(list);
      const again = new Int32Array(4);
      assert.equal(parseAddress(formatAddress(6, words, 0), again, 0), 6);
      assert.deepEqual(again, words);
    }),
  );
  for (const [text, canonical] of [
    ['192.0.2.1:51820', '192.0.2.1:51820'],
    ['[2001:db8:0:0::1]:1', '[2001:db8::1]:1'],
    ['[::ffff:192.0.2.1]:9', '[::ffff:c000:201]:9'],
    ['[fe80::1%3]:9', '[fe80::1%3]:9'],
    ['[::]:65535', '[::]:65535'],
  ] as const) {
    assert.equal(formatEndpoint(parseEndpoint(text)!), canonical);
  }
  for (const text of [
    '192.0.2.1',
    '192.0.2.1:0',
    '192.0.2.1:65536',
    '2001:db8::1:5',
    '[192.0.2.1]:5',
    'host:5',
    '1.2.3.4:5x',
    '',
  ])
    assert.equal(parseEndpoint(text), null, text);
  for (const text of ['10.0.0.0/33', '::/129', '10.0.0/8', '10.0.0.0/', '10.0.0.0/-1', 'x', '1.2.3.4/08x'])
    assert.equal(parseAllowedIp(text), null, text);
  assert.equal(formatAllowedIp(ip('10.1.2.3/8')), '10.0.0.0/8');
  assert.equal(formatAllowedIp(ip('fd00::1:2/16')), 'fd00::/16');
});
