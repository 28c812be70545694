/** VXLAN links in a config: what is read, what is refused and with which words, and that what is printed reads back. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { formatErrors, parseConfig, printConfig } from '../../src/control/index.js';

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
    'tap: vx0, bridge: br0, mtu: 1400',
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
    mtu: 1400,
  });
  const result = parseConfig(text, '/t.yaml');
  assert.ok('config' in result);
  assert.deepEqual(linksOf(printConfig(result.config)), [read]);
});

for (const [name, text, expected] of [
  ['no own address', link('vni: 42, remotes: 192.0.2.2'), /`local` is missing/],
  ['nobody on the other side', link('vni: 42, local: 192.0.2.1'), /neither `remotes` nor `fdb`/],
  ['two families', link('vni: 42, local: 192.0.2.1, remotes: "2001:db8::1"'), /different families/],
  ['itself as a remote', link('vni: 42, local: 192.0.2.1, remotes: 192.0.2.1'), /both this side and a remote/],
  ['a VNI of 25 bits', link('vni: 16777216, local: 192.0.2.1, remotes: 192.0.2.2'), /number from 0 to 16777215/],
  ['a group address as a station', link(`${GOOD}, fdb: { "01:00:5e:00:00:01": 192.0.2.2 }`), /group address/],
  ['an unknown carrier', link('vni: 42, remotes: 10.9.0.2, over: hq'), /unknown WireGuard link "hq"/],
  ['the TAP as its own bridge', link(GOOD, 'tap: vx0, bridge: vx0'), /is the TAP itself/],
  [
    'one port for two links',
    `${link(GOOD)}  - { name: b, vxlan: { vni: 43, local: 192.0.2.1, remotes: 192.0.2.2 }, tap: vx1 }\n`,
    /4789 at 192\.0\.2\.1 is the port of link "a" at t\.yaml:2:5 too/,
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
