/** Steering of IPv6: the programs, run by an interpreter, against a plain statement of what they are to do. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Prefix6, SteeringIpv6, Words6 } from '../../src/contract/ipv6.js';
import { masked, parseAddress6, parsePrefix6, sameWords } from '../../src/control/address-ipv6.js';
import { ipv6Bytes } from '../../src/host/ipv6.js';
import { type Ipv6Program, lanPrograms, uplinkPrograms } from '../../src/host/steer-ipv6.js';
import fc from '../property.js';
import { type Frame, runProgram } from './bpf-interpreter.js';

const RESULTS = { drop: { yes: 2, no: 0xffffffff }, redirect: { yes: 1, no: 0 } };

function frame(src: Words6, dst: Words6, more: Partial<Frame> = {}): Frame {
  const bytes = new Uint8Array(14 + 40);
  bytes[14] = 0x60;
  bytes.set(ipv6Bytes(src), 14 + 8);
  bytes.set(ipv6Bytes(dst), 14 + 24);
  const base = { hatype: 1, protocol: 0x86dd, type: 0, vlan: undefined, queue: 0 };
  return { ...base, bytes, mac: 14, linear: bytes.length, ...more };
}

const holds = (prefix: Prefix6, words: Words6) => sameWords(masked(words, prefix.length), prefix.words);
const longest = (list: readonly Prefix6[], words: Words6) =>
  Math.max(-1, ...list.filter((prefix) => holds(prefix, words)).map(({ length }) => length));

/** What becomes of a packet of a LAN. */
function expected(ipv6: SteeringIpv6, own: readonly Prefix6[], src: Words6, dst: Words6): string {
  const site = longest(ipv6.sites, dst);
  if (site < 0 || longest(ipv6.kept, dst) >= site) return 'kernel';
  if (ipv6.hosts.some((words) => sameWords(words, src)) || !own.some((prefix) => holds(prefix, src))) return 'drop';
  return 'redirect';
}

function fate(programs: readonly Ipv6Program[], packet: Frame): string {
  for (const action of ['drop', 'redirect'] as const)
    for (const one of programs)
      if (one.action === action && runProgram(one.program, packet) === RESULTS[action].yes) return action;
  return 'kernel';
}

const steering = (o: Partial<Record<'sites' | 'kept' | 'inside', string[]>> & { hosts?: string[] }): SteeringIpv6 => ({
  sites: (o.sites ?? []).map(parsePrefix6),
  kept: (o.kept ?? []).map(parsePrefix6),
  hosts: (o.hosts ?? []).map(parseAddress6),
  inside: (o.inside ?? []).map(parsePrefix6),
  lans: [],
});

test("a LAN host of its own prefix goes to a site by the TUN, all others are dropped on that way, all else is the kernel's", () => {
  const ipv6 = steering({
    sites: ['::/0', '2001:db8:20::/48', '2001:db8:20:7:8::/77'],
    kept: ['fe80::/10', 'ff00::/8', '2001:db8:1::/64', '2001:db8:20:7::/64', '2001:db8:1::1/128'],
    hosts: ['2001:db8:1::1'],
  });
  const programs = lanPrograms(ipv6, [parsePrefix6('2001:db8:1::/64')], RESULTS);
  const to = (src: string, dst: string, more?: Partial<Frame>) =>
    fate(programs, frame(parseAddress6(src), parseAddress6(dst), more));
  const A = '2001:db8:1::a';
  assert.equal(to(A, '2001:db8:20::1'), 'redirect');
  assert.equal(to(A, '2a00::1'), 'redirect', 'by ::/0');
  assert.equal(to(A, '2001:db8:20:7::1'), 'kernel', 'a nearer network of the kernel');
  assert.equal(to(A, '2001:db8:20:7:8::1'), 'redirect', 'and a site nearer still');
  assert.equal(to(A, '2001:db8:1::1'), 'kernel', 'the host itself');
  assert.equal(to(A, 'ff02::1:ff00:1'), 'kernel', 'neighbour discovery');
  assert.equal(to(A, 'fe80::1'), 'kernel');
  assert.equal(to('2001:db8:2::a', '2001:db8:20::1'), 'drop', 'a source of somebody else');
  assert.equal(to('2001:db8:1::1', '2001:db8:20::1'), 'drop', "the router's own address");
  assert.equal(to(A, '2001:db8:20::1', { protocol: 0x0800 }), 'kernel', 'IPv4');
  assert.equal(to(A, '2001:db8:20::1', { type: 3 }), 'kernel', 'for another MAC address');
});

test('any set of prefixes, in as many programs as it takes, does what is said', () => {
  const word = fc.constantFrom(0x20010db8, 0, 1, -1, 0x00010000, 0xfd000000 | 0);
  const words = fc.tuple(word, word, word, word) as fc.Arbitrary<Words6>;
  const prefix = fc
    .tuple(words, fc.nat(128))
    .map(([value, length]): Prefix6 => ({ words: masked(value, length), length }));
  const list = fc.uniqueArray(prefix, { maxLength: 90, selector: ({ words: w, length }) => `${w}/${length}` });
  fc.assert(
    fc.property(
      list,
      fc.array(prefix, { maxLength: 6 }),
      fc.array(prefix, { minLength: 1, maxLength: 3 }),
      words,
      fc.array(fc.tuple(words, words), { minLength: 1, maxLength: 20 }),
      (sites, kept, own, host, packets) => {
        const ipv6: SteeringIpv6 = { sites, kept, hosts: [host], inside: sites, lans: [] };
        const programs = lanPrograms(ipv6, own, RESULTS);
        const drops = uplinkPrograms(ipv6, RESULTS.drop);
        for (const [src, dst] of packets) {
          assert.equal(fate(programs, frame(src, dst)), expected(ipv6, own, src, dst));
          const dropped = drops.some(({ program }) => runProgram(program, frame(src, dst)) === RESULTS.drop.yes);
          assert.equal(dropped, longest(sites, src) >= 0);
        }
      },
    ),
    { numRuns: 150, endOnFailure: true },
  );
});

test('200 sites are several programs, and each is steered', () => {
  const sites = Array.from({ length: 200 }, (_, i) => `2001:db8:${(i + 16).toString(16)}::/48`);
  const ipv6 = steering({ sites, inside: sites });
  const programs = lanPrograms(ipv6, [parsePrefix6('2001:db8:1::/64')], RESULTS);
  assert.deepEqual(
    programs.filter(({ action }) => action === 'drop').map(({ part }) => part),
    [0, 1, 2, 3],
  );
  const drops = uplinkPrograms(ipv6, RESULTS.drop);
  const [a, outside] = ['2001:db8:1::a', '2001:db8:ffff::1'].map(parseAddress6) as [Words6, Words6];
  for (const site of sites) {
    const address = parseAddress6(site.replace('/48', '7'));
    assert.equal(fate(programs, frame(a, address)), 'redirect', site);
    assert.ok(
      drops.some(({ program }) => runProgram(program, frame(address, a)) === RESULTS.drop.yes),
      site,
    );
  }
  assert.equal(fate(programs, frame(a, outside)), 'kernel');
});
