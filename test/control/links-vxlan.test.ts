/** VXLAN links in a config: what is read, what is refused and with which words, and that what is printed reads back. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { formatErrors, parseConfig, printConfig } from '../../src/control/index.js';
import { sourcesOf } from '../../src/control/link-vxlan.js';
import { macOf } from '../../src/control/tap-mac.js';

function errorsOf(text: string): string[] {
  const result = parseConfig(text, 't.yaml');
  return 'errors' in result ? formatErrors(result.errors).split('\n') : [];
}

function linksOf(text: string): unknown[] {
  const result = parseConfig(text, '/t.yaml');
  if ('errors' in result) assert.fail(formatErrors(result.errors));
  return result.config.links.map(({ origin: _, ...link }) => link);
}

const link = (vxlan: string, more = 'tap: vx0') => `links:\n  - { name: a, vxlan: { ${vxlan} }, ${more} }\n`;
const GOOD = 'vni: 42, local: 192.0.2.1, remotes: [192.0.2.2]';

test('a link alone is a config; defaults; what is printed reads back as the same', () => {
  const text = link(
    `${GOOD}, fdb: { "02:00:00:00:00:0A": 192.0.2.3 }, neighbours: { 10.0.0.2: "02:00:00:00:00:0a" }`,
    'tap: vx0, bridge: br0, mac: "02:00:00:00:00:0B", mtu: 1400',
  );
  const [read] = linksOf(text);
  assert.deepEqual(read, {
    kind: 'vxlan',
    name: 'a',
    description: '',
    vni: 42,
    local: '192.0.2.1',
    port: 4789,
    remotes: ['192.0.2.2'],
    learning: true,
    suppress: true,
    vlan: 'keep',
    ttl: 64,
    fdb: [['02:00:00:00:00:0a', '192.0.2.3']],
    neighbours: [['10.0.0.2', '02:00:00:00:00:0a']],
    over: '',
    tap: 'vx0',
    bridge: 'br0',
    mac: '02:00:00:00:00:0b',
    mtu: 1400,
  });
  const result = parseConfig(text, '/t.yaml');
  assert.ok('config' in result);
  assert.deepEqual(linksOf(printConfig(result.config)), [read]);
});

test('the TAP has one MAC address for ever: of one station, made here, another for each machine, TAP, network and site', () => {
  const link = { mac: '', tap: 'vx0', vni: 42 };
  const text = (bytes: Uint8Array) => Buffer.from(bytes).toString('hex');
  const id = 'b0d8e6f1c2a34b5c8d9e0f1a2b3c4d5e';
  const mac = macOf(link, '192.0.2.1', id);
  assert.equal(mac.length, 6);
  assert.equal(mac[0]! & 3, 2);
  assert.equal(text(macOf(link, '192.0.2.1', id)), text(mac));
  const others = [
    macOf(link, '192.0.2.1', id.replace('b0', 'b1')),
    macOf({ ...link, tap: 'vx1' }, '192.0.2.1', id),
    macOf({ ...link, vni: 43 }, '192.0.2.1', id),
    macOf(link, '192.0.2.2', id),
  ];
  assert.equal(new Set([mac, ...others].map(text)).size, 5);
  assert.ok(!text(mac).includes(id.slice(0, 6)));
  assert.equal(text(macOf({ ...link, mac: '02:00:00:00:00:0b' }, '192.0.2.1', id)), '02000000000b');
});

test('two networks on one address and port', () => {
  const text = `${link(GOOD)}  - { name: b, vxlan: { vni: 43, local: 192.0.2.1, remotes: 192.0.2.2 }, tap: vx1 }\n`;
  assert.equal(linksOf(text).length, 2);
});

test('source ports of tunnels are none of the NAT, of no forward and of no link', () => {
  const sources = (ports: string, more = '') => {
    const text = `uplink: { interface: eth0, address: 192.0.2.1, ports: "${ports}" }\nlans: [{ interface: eth1, subnet: 10.0.0.0/24 }]\n${link(GOOD)}${more}`;
    const result = parseConfig(text, '/t.yaml');
    if ('errors' in result) assert.fail(formatErrors(result.errors));
    return sourcesOf(result.config);
  };
  assert.deepEqual(sources('20000-49999'), { first: 50_000, last: 65_535 });
  assert.deepEqual(sources('20000-59999,61000-65535'), { first: 60_000, last: 60_999 });
  assert.deepEqual(sources('20000-49999', 'forwards: ["60000:10.0.0.5:80/tcp"]\n'), { first: 50_000, last: 59_999 });
});

for (const [name, text, expected] of [
  ['no own address', link('vni: 42, remotes: 192.0.2.2'), /`local` is missing/],
  ['nobody on the other side', link('vni: 42, local: 192.0.2.1'), /neither `remotes` nor `fdb`/],
  ['two families', link('vni: 42, local: 192.0.2.1, remotes: "2001:db8::1"'), /different families/],
  ['itself as a remote', link('vni: 42, local: 192.0.2.1, remotes: 192.0.2.1'), /both this side and a remote/],
  ['a VNI of 25 bits', link('vni: 16777216, local: 192.0.2.1, remotes: 192.0.2.2'), /number from 0 to 16777215/],
  ['a group address as a station', link(`${GOOD}, fdb: { "01:00:5e:00:00:01": 192.0.2.2 }`), /group address/],
  ['a TAP with a group address', link(GOOD, 'tap: vx0, mac: "03:00:00:00:00:01"'), /group address/],
  ['a TAP with no address', link(GOOD, 'tap: vx0, mac: "00:00:00:00:00:00"'), /no station's address/],
  [
    'a pool that leaves no source ports',
    `uplink: { interface: eth0, address: 192.0.2.1, ports: "20000-65535" }\nlans: [{ interface: eth1, subnet: 10.0.0.0/24 }]\n${link(GOOD)}`,
    /needs 64 source ports in a row between 49152 and 65535/,
  ],
  ['an unknown carrier', link('vni: 42, remotes: 10.9.0.2, over: hq'), /unknown WireGuard link "hq"/],
  ['the TAP as its own bridge', link(GOOD, 'tap: vx0, bridge: vx0'), /is the TAP itself/],
  [
    'one port and VNI for two links',
    `${link(GOOD)}  - { name: b, vxlan: { vni: 42, local: 192.0.2.1, remotes: 192.0.2.2 }, tap: vx1 }\n`,
    /4789 at 192\.0\.2\.1 is the port of link "a" at t\.yaml:2:5 too; links share a port where they differ by `vni`/,
  ],
  [
    'a remote that the carrier does not carry',
    `${link('vni: 42, remotes: 10.9.0.2, over: hq')}  - { name: hq, wireguard: { private_key_file: k }, address: 10.99.0.1, peers: [], policy: { host: allow } }\n`,
    /10\.9\.0\.2 is in no peer's allowed_ips of link "hq" at t\.yaml:3:5, so it would leave unencrypted/,
  ],
] as const)
  test(`VXLAN refused: ${name}`, () => {
    const errors = errorsOf(text);
    assert.equal(errors.length, 1, errors.join('\n'));
    assert.match(errors[0]!, expected);
    assert.match(errors[0]!, /^t\.yaml:\d+:\d+: links\[\d\]/);
  });
