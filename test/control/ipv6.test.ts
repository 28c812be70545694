/** IPv6 of site links: what a config may say, and what plan, steering and TUN become of it. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Prefix6, Words6 } from '../../src/contract/ipv6.js';
import type { World, WorldIpv6 } from '../../src/contract/world.js';
import { formatAddress6, formatPrefix6, parseAddress6, parsePrefix6 } from '../../src/control/address-ipv6.js';
import { type Config, compile, formatErrors, parseConfig, printConfig } from '../../src/control/index.js';
import fc from '../property.js';
import { proxmox } from './world-fixture.js';

const KEY = (n: number) => Buffer.alloc(32, n).toString('base64');

interface Words {
  readonly lan?: string;
  readonly address?: string;
  readonly allowed?: string;
  readonly more?: string;
  readonly policy?: string;
  readonly wireguard?: string;
}

function text(o: Words = {}): string {
  return `uplink: { interface: vmbr0 }
lans:
  - { interface: vmbr1, subnet: 172.22.161.0/24${o.lan ?? ', ipv6: "2001:db8:1::/64"'} }
metrics: { listen: off }
links:
  - name: hq
    wireguard: { private_key_file: k${o.wireguard ?? ''} }
    address: ${o.address ?? '[10.99.0.1/24, "fd99::1/64"]'}
    peers:
      - { name: p1, public_key: "${KEY(1)}", allowed_ips: ${o.allowed ?? '[192.168.20.0/24, "2001:db8:20::/48"]'} }
${o.more ?? ''}    policy: ${o.policy ?? '{ lan: allow }'}
`;
}

function config(o: Words = {}): Config {
  const result = parseConfig(text(o), 't.yaml');
  if ('errors' in result) assert.fail(formatErrors(result.errors));
  return result.config;
}

function errors(o: Words): string[] {
  const result = parseConfig(text(o), 't.yaml');
  return 'errors' in result ? formatErrors(result.errors).split('\n') : assert.fail('taken');
}

/** vmbr0 is 3, vmbr1 4, docker0 5. */
function six(addresses: readonly string[], forwarding: WorldIpv6['forwarding'] = 'tun'): World {
  const list = addresses.map((line) => {
    const [index, prefix] = line.split(' ') as [string, string];
    const [address, length] = prefix.split('/') as [string, string];
    return { interface: Number(index), address: parseAddress6(address), length: Number(length) };
  });
  return { ...proxmox(), ipv6: { addresses: list, forwarding } };
}

const HOME = ['3 2001:db8:ffff::8/64', '4 2001:db8:1::1/64', '5 fd17::1/64'];
const prefixes = (list: readonly Prefix6[]) => list.map(formatPrefix6);
const addresses = (list: readonly Words6[]) => list.map(formatAddress6);

test('addresses and prefixes go to text and back', () => {
  const word = fc.integer({ min: -(2 ** 31), max: 2 ** 31 - 1 });
  fc.assert(
    fc.property(fc.tuple(word, word, word, word), fc.nat(128), (words, length) => {
      assert.deepEqual(parseAddress6(formatAddress6(words)), words);
      const cut = `${formatAddress6(words)}/${length}`;
      try {
        assert.equal(formatPrefix6(parsePrefix6(cut)), cut);
      } catch (error) {
        const [, right] = /did you mean (\S+)\?/.exec((error as Error).message)!;
        assert.equal(formatPrefix6(parsePrefix6(right!)), right);
      }
    }),
  );
});

test('config: prefixes of LANs and peers, an address of each family; printed, it parses to the same', () => {
  const made = config({
    lan: ', ipv6: ["2001:db8:1::/64", "fd00:1::/64"]',
    policy: '{ from: [p1, "2001:db8:20:1::/64"], lan: allow }',
  });
  assert.deepEqual(prefixes(made.lans[0]!.ipv6), ['2001:db8:1::/64', 'fd00:1::/64']);
  const [link] = made.links;
  assert.ok(link?.kind === 'wireguard');
  assert.equal(formatAddress6(link.address6!.words), 'fd99::1');
  assert.deepEqual(prefixes(link.peers[0]!.allowedIps6), ['2001:db8:20::/48']);
  assert.deepEqual(prefixes(link.policy[0]!.from6), ['2001:db8:20:1::/64']);
  const again = parseConfig(printConfig(made), 't.yaml');
  assert.ok('config' in again);
  const plain = (value: Config) =>
    JSON.stringify([value.lans, value.links], (key, inner: unknown) => (key === 'origin' ? 0 : inner));
  assert.equal(plain(again.config), plain(made));
});

test('config: what cannot be is said, with its place', () => {
  const cases: [Words, string][] = [
    [
      { lan: ', ipv6: "2001:db8:1::1/64"' },
      't.yaml:3:56: lans[0].ipv6: "2001:db8:1::1/64" has address bits behind its /64; did you mean 2001:db8:1::/64?',
    ],
    [
      { lan: ', ipv6: "fe80::/64"' },
      't.yaml:3:56: lans[0].ipv6: fe80::/64 cannot be an inside network; use one like 2001:db8:1::/64 or fd00:1::/64',
    ],
    [
      { lan: ', ipv6: ["fd00::/32", "fd00:0:1::/64"]' },
      't.yaml:3:70: lans[0].ipv6[1]: fd00:0:1::/64 overlaps fd00::/32 of the LAN at t.yaml:3:5; each address belongs to one LAN',
    ],
    [
      { address: '["fd99::1", "fd99::2"]' },
      't.yaml:6:5: links[0]: has 2 IPv6 addresses in `address`; a link has one of each family',
    ],
    [
      { address: '"fe80::1/64"' },
      't.yaml:8:14: links[0].address: "fe80::1/64" cannot be an address of a link (it is loopback, multicast or link-local)',
    ],
    [
      { address: '"fd99::1/129"' },
      't.yaml:8:14: links[0].address: "fd99::1/129" has a prefix length that is not 0 to 128; write a prefix like 2001:db8::/48',
    ],
    [
      { address: '"2001:db8:1::9"' },
      't.yaml:8:14: links[0].address: 2001:db8:1::9 lies in 2001:db8:1::/64 of the LAN at t.yaml:3:5; give the link a network of its own',
    ],
    [
      { allowed: '"2001:db8:1:0:1::/80"' },
      '2001:db8:1:0:1::/80 lies in 2001:db8:1::/64 of the LAN at t.yaml:3:5; it cannot be behind a peer',
    ],
    [{ allowed: '"fe80::/64"' }, 'fe80::/64 is link-local or multicast, which no router passes on'],
    [
      { more: `      - { name: p2, public_key: "${KEY(2)}", allowed_ips: "2001:db8:20::/48" }\n` },
      't.yaml:11:94: links[0].peers[1].allowed_ips: 2001:db8:20::/48 is both peer "p1" of link "hq"\'s and peer "p2" of link "hq"\'s; an address is behind one peer',
    ],
    [
      { wireguard: ', mtu: 1200' },
      't.yaml:7:44: links[0].wireguard.mtu: 1200 is too small for IPv6, which needs 1280 (RFC 8200)',
    ],
    [
      { policy: '{ from: "2001:db8:9::/48", lan: allow }' },
      "2001:db8:9::/48 is in no peer's allowed_ips, so the entry would never apply",
    ],
  ];
  for (const [words, expected] of cases) {
    const found = errors(words);
    assert.ok(found.length === 1 && found[0]!.endsWith(expected), `${found.join('\n')}\n  instead of ${expected}`);
  }
});

test('plan: whose prefix is whose, the host in all of them, and what else the host is connected to', () => {
  const { plan, tunIpv6, problems } = compile(config(), six(HOME));
  assert.deepEqual(problems, []);
  const { ipv6 } = plan;
  assert.ok(ipv6);
  assert.deepEqual(
    ipv6.lans.map(({ prefix, out, gateway }) => [
      formatPrefix6(prefix),
      plan.interfaces[out]!.name,
      formatAddress6(gateway!),
    ]),
    [['2001:db8:1::/64', 'vmbr1', '2001:db8:1::1']],
  );
  assert.deepEqual(
    ipv6.sites.map(({ prefix, link }) => [formatPrefix6(prefix), link]),
    [['2001:db8:20::/48', 0]],
  );
  assert.deepEqual(addresses(ipv6.hosts), ['2001:db8:1::1', '2001:db8:ffff::8', 'fd17::1', 'fd99::1']);
  assert.deepEqual(prefixes(ipv6.foreign), ['2001:db8:ffff::/64', 'fd17::/64']);
  assert.deepEqual(
    ipv6.links.map(({ address, access }) => [formatAddress6(address!), access]),
    [['fd99::1', [{ from: [], lan: true, host: true, links: 0 }]]],
  );
  assert.deepEqual(addresses(tunIpv6!.addresses), ['fd99::1']);
  assert.deepEqual(
    tunIpv6!.routes.map(({ prefix, source }) => [formatPrefix6(prefix), formatAddress6(source)]),
    [['2001:db8:20::/48', 'fd99::1']],
  );
});

test('access: a sender of one family is not everybody of the other, and `out` lets nothing pass', () => {
  const [a, b] = ['{ from: 192.168.20.0/24, lan: allow }', '{ from: "2001:db8:20::/48", lan: allow }'];
  const four = compile(config({ policy: a }), six(HOME)).plan;
  assert.deepEqual([four.links[0]!.access.length, four.ipv6!.links[0]!.access], [1, []]);
  const sixOnly = compile(config({ policy: b }), six(HOME)).plan;
  assert.deepEqual([sixOnly.links[0]!.access, sixOnly.ipv6!.links[0]!.access.length], [[], 1]);
  const named = compile(config({ policy: '{ from: p1, lan: allow }' }), six(HOME)).plan;
  assert.deepEqual(prefixes(named.ipv6!.links[0]!.access[0]!.from), ['2001:db8:20::/48']);
  const out = compile(config({ policy: '{ lan: out }' }), six(HOME));
  assert.equal(out.plan.ipv6!.links[0]!.access[0]!.lan, false);
  assert.match(out.problems.join(), /`lan: out` lets no IPv6 pass, because nobody keeps in mind who began/);
});

test('what is missing on the host is a line, and the rest works', () => {
  const compiled = (o: Words, world: World) => {
    const { problems, plan } = compile(config(o), world);
    return { problems: problems.join('\n'), plan };
  };
  const bare = compiled({}, six(['3 2001:db8:ffff::8/64']));
  assert.match(bare.problems, /LAN vmbr1 has no address in 2001:db8:1::\/64; its hosts do not reach links by IPv6/);
  assert.equal(bare.plan.ipv6!.lans[0]!.out, 0);
  assert.match(compiled({}, six(HOME, 'none')).problems, /set net\.ipv6\.conf\.all\.forwarding=1/);
  assert.equal(compiled({}, six(HOME, 'all')).problems, '');
  assert.match(compiled({}, proxmox()).problems, /this kernel has no IPv6/);
  assert.match(
    compiled({ address: '10.99.0.1', lan: '' }, six(HOME)).problems,
    /without an IPv6 `address` this host itself does not reach the far side/,
  );
  // Nothing of IPv6 where no peer has any.
  const none = compile(config({ allowed: '192.168.20.0/24' }), six(HOME));
  assert.deepEqual([none.plan.ipv6, none.tunIpv6, none.steering.ipv6], [null, null, null]);
});

test("what holds an endpoint, an uplink's network or the default route is no kernel route, and passes the uplink", () => {
  const wanted = config({ allowed: '["::/0", "2001:db8:ff00::/40", "2001:db8:77::/48", "2001:db8:30::/48"]' });
  const now = { endpoints: [], endpoints6: [parseAddress6('2001:db8:77::7')], peers: new Map() };
  const { tunIpv6, steering } = compile(wanted, six(HOME), undefined, now);
  assert.deepEqual(
    tunIpv6!.routes.map(({ prefix }) => formatPrefix6(prefix)),
    ['2001:db8:30::/48'],
  );
  assert.deepEqual(prefixes(steering.ipv6!.inside), ['2001:db8:1::/64', '2001:db8:30::/48']);
  assert.equal(steering.ipv6!.sites.length, 4);
  assert.deepEqual(prefixes(steering.ipv6!.kept).toSorted(), [
    '2001:db8:1::/64',
    '2001:db8:1::1/128',
    '2001:db8:ffff::/64',
    '2001:db8:ffff::8/128',
    'fd17::/64',
    'fd17::1/128',
    'fd99::1/128',
    'fe80::/10',
    'ff00::/8',
  ]);
});
