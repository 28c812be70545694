/** Site links, compiled: what the plan, the steering and the kernel are told of them, in worlds and reloads. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { OWNER_POOL, OWNER_RESERVED, Proto } from '../../src/contract/plan.js';
import { formatAddress, formatPrefix, parseAddress, parsePrefix } from '../../src/control/address.js';
import { planDifference } from '../../src/control/answers.js';
import type { TunRoute } from '../../src/control/compile-links.js';
import { type Compiled, type Config, compile, formatErrors, parseConfig } from '../../src/control/index.js';
import { device, PROXMOX_ADDRESSES, PROXMOX_INTERFACES, PROXMOX_ROUTES, proxmox, world } from './world-fixture.js';

const KEY = (n: number) => Buffer.alloc(32, n).toString('base64');
const NAT =
  'uplink: { interface: vmbr0 }\nlans: [{ interface: vmbr1, subnet: 172.22.161.0/24 }]\nmetrics: { listen: off }\n';

function config(text: string): Config {
  const result = parseConfig(text, 't.yaml');
  if ('errors' in result) assert.fail(formatErrors(result.errors));
  return result.config;
}

const peer = (n: number, ips: string, more = '') =>
  `      - { name: p${n}, public_key: "${KEY(n)}", allowed_ips: ${ips}${more} }\n`;
const link = (name: string, peers: string, more = '', wireguard = '') =>
  `  - name: ${name}\n    wireguard: { private_key_file: k${wireguard} }\n${more}    peers:\n${peers}`;

const HQ = link(
  'hq',
  peer(1, '[10.99.0.2/32, 192.168.20.0/24]', ', endpoint: "198.51.100.7:51820", map: 172.22.161.0/24 as 10.71.1.0/24') +
    peer(2, '10.99.0.3/32'),
  '    address: 10.99.0.1/24\n    policy: [{ from: p2, lan: allow, internet: nat, links: [hq, b] }, { from: [p1, 10.99.0.0/25], lan: out }]\n',
  ', listen: 51820, mark: 7',
);
const B = link('b', peer(3, '10.5.0.0/16'));

const prefixes = (list: readonly { prefix: number; mask: number }[]) => list.map(formatPrefix);
const routes = ({ tunRoutes }: Compiled) =>
  tunRoutes.map(
    ({ prefix, length, source }: TunRoute) => `${formatAddress(prefix)}/${length} src ${formatAddress(source)}`,
  );

test('a link in the plan: out interface of its own, inner MTU, access, maps; nothing secret, no endpoint', () => {
  const compiled = compile(config(`${NAT}links:\n${HQ}${B}`), proxmox());
  const { plan, steering, tunAddresses, problems, fatal } = compiled;
  assert.deepEqual(fatal, []);
  const [hq, b] = plan.links;
  assert.deepEqual(plan.interfaces[hq!.out], { name: 'hq', mtu: 1420, uplink: -1, lan: -1 });
  assert.deepEqual(
    [hq!.listen, hq!.mark, formatAddress(hq!.address), hq!.origin],
    [51820, 7, '10.99.0.1', 't.yaml:5:5'],
  );
  assert.deepEqual(
    hq!.peers.map(({ name, publicKey, allowedIps, maps }) => [name, publicKey, prefixes(allowedIps), maps.length]),
    [
      ['p1', KEY(1), ['10.99.0.2/32', '192.168.20.0/24'], 1],
      ['p2', KEY(2), ['10.99.0.3/32'], 0],
    ],
  );
  assert.deepEqual(
    hq!.access.map(({ from, lan, internet, host, links }) => [prefixes(from), lan, internet, host, links]),
    [
      [['10.99.0.3/32'], true, true, true, 0b11],
      [['10.99.0.2/32', '192.168.20.0/24', '10.99.0.0/25'], false, false, false, 0],
    ],
  );
  assert.deepEqual([hq!.fromLan, b!.fromLan, b!.access.length, b!.address, b!.pool], [true, false, 0, 0, null]);
  assert.equal(hq!.pool!.owners[Proto.TCP][20000], OWNER_POOL);
  assert.equal(plan.addresses[0]!.owners[Proto.UDP][51820], OWNER_RESERVED, 'never a NAT port');
  assert.equal(plan.addresses[0]!.owners[Proto.TCP][51820], 0);
  assert.ok(!steering.claims[0]!.udp.some(({ first, last }) => first <= 51820 && last >= 51820), 'the kernel keeps it');
  assert.ok(compiled.reservedPorts.some(({ first }) => first === 51820));
  assert.deepEqual(tunAddresses.map(formatAddress), ['10.99.0.1']);
  for (const list of [plan.hostAddresses, steering.hostAddresses]) assert.ok(list.includes(parseAddress('10.99.0.1')));
  assert.deepEqual(prefixes(steering.sites), ['10.99.0.2/32', '192.168.20.0/24', '10.99.0.3/32', '10.5.0.0/16']);
  // A link without an address: the LAN's gateway is what the far side can answer to.
  assert.deepEqual(routes(compiled), [
    '10.99.0.2/32 src 10.99.0.1',
    '192.168.20.0/24 src 10.99.0.1',
    '10.99.0.3/32 src 10.99.0.1',
    '10.5.0.0/16 src 172.22.161.1',
  ]);
  assert.deepEqual(problems, []);
  assert.doesNotMatch(JSON.stringify(plan.links[0]!.peers), /198\.51\.100\.7/);
});

test("what holds an endpoint, an uplink's network or the default route is no kernel route, and passes the uplink", () => {
  const text = `${NAT}links:\n${link('hq', peer(1, '[0.0.0.0/0, 203.0.0.0/8, 198.51.100.0/24, 10.1.0.0/16]', ', endpoint: "branch.example:1"'), '    address: 10.99.0.1\n')}`;
  const compiled = compile(config(text), proxmox(), undefined, {
    endpoints: [parseAddress('198.51.100.7')],
    endpoints6: [],
    peers: new Map(),
  });
  assert.deepEqual(routes(compiled), ['10.1.0.0/16 src 10.99.0.1']);
  assert.deepEqual(prefixes(compiled.steering.sites), ['10.1.0.0/16']);
});

test('our own routes on the TUN, mirrored back by the kernel, change nothing', () => {
  const wanted = config(`${NAT}links:\n${HQ}${B}`);
  const first = compile(wanted, proxmox());
  const seen = world(
    [...PROXMOX_INTERFACES, device(9, 'tungate0', { kind: 'tun' })],
    [...PROXMOX_ADDRESSES, '9 10.99.0.1/32'],
    [...PROXMOX_ROUTES, '10.99.0.2/32 main unicast 9', '192.168.20.0/24 main unicast 9', '10.5.0.0/16 main unicast 9'],
  );
  const again = compile(wanted, seen, first);
  assert.deepEqual(again.steering, first.steering);
  assert.deepEqual(again.tunRoutes, first.tunRoutes);
  assert.deepEqual(again.tunAddresses, first.tunAddresses);
  assert.equal(planDifference(first.plan, again.plan), 'routes: 12 → 13', 'the address in table local');
});

test('a forward to a target behind a peer leaves by the link, unless the kernel has a nearer route', () => {
  const text = `${NAT}forwards: ["2222:192.168.20.5:22", "2223:10.5.0.9:22", "2224:10.5.7.9:22"]\nlinks:\n${HQ}${B}`;
  const { plan } = compile(config(text), proxmox(['10.5.7.0/24 main unicast 5']));
  const out = (name: string) => plan.interfaces.findIndex((item) => item.name === name);
  assert.deepEqual(
    plan.forwards.map((forward) => forward.out),
    [out('hq'), out('b'), 0],
  );
});

test('inner MTU: written, or 80 less than the narrowest way out', () => {
  const mtu = (text: string, where = proxmox()) => {
    const { plan } = compile(config(text), where);
    return plan.interfaces[plan.links[0]!.out]!.mtu;
  };
  assert.equal(mtu(`${NAT}links:\n${link('a', peer(1, '10.1.0.0/24'), '', ', mtu: 1300')}`), 1300);
  const narrow = PROXMOX_INTERFACES.map((item) => (item.name === 'vmbr0' ? { ...item, mtu: 1492 } : item));
  assert.equal(mtu(`${NAT}links:\n${B}`, world(narrow, PROXMOX_ADDRESSES, PROXMOX_ROUTES)), 1412);
  assert.equal(mtu(`links:\n${B}`, world([device(1, 'lo')], [])), 1420, 'no way out is known');
});

test('a router of links alone: no addresses, no claims, nothing to complain about', () => {
  const compiled = compile(
    config(
      `metrics: { listen: off }\nlinks:\n${HQ.replace(/, map:[^}]*/, '')
        .replace(', internet: nat', '')
        .replace(', b]', ']')}`,
    ),
    proxmox(),
  );
  assert.deepEqual([compiled.plan.addresses, compiled.plan.lans, compiled.steering.claims], [[], [], []]);
  assert.deepEqual([compiled.problems, compiled.fatal], [[], []]);
  assert.equal(routes(compiled).length, 3);
});

test('an entry for a peer that is gone at run time does not become one for everybody', () => {
  const wanted = config(`${NAT}links:\n${HQ}${B}`);
  const peers = new Map([
    ['hq', [{ name: 'KEY', publicKey: KEY(9), allowedIps: [parsePrefix('10.8.0.0/16')], allowedIps6: [], maps: [] }]],
  ]);
  const { plan } = compile(wanted, proxmox(), undefined, { endpoints: [], endpoints6: [], peers });
  assert.deepEqual(
    plan.links[0]!.access.map(({ from }) => prefixes(from)),
    [['10.99.0.0/25']],
  );
  assert.deepEqual(
    plan.links[0]!.peers.map(({ name }) => name),
    ['KEY'],
  );
});

test("what lies on the wire of an uplink cannot be a link's: refused at start, naming both", () => {
  const text = `${NAT}links:\n${link('a', peer(1, '[203.0.113.128/25, 203.0.0.0/16]'), '    address: 203.0.113.9/24\n')}`;
  assert.deepEqual(compile(config(text), proxmox()).fatal, [
    'link "a" (t.yaml:5:5): its address 203.0.113.9 lies in 203.0.113.0/24 of uplink vmbr0; give the link a network of its own',
    'link "a" (t.yaml:5:5): 203.0.113.128/25 of peer "p1" lies in 203.0.113.0/24 of uplink vmbr0; it cannot be both outside and behind a peer (REQ-8)',
  ]);
});

test('a reload says which links and peers came, went and changed, and keeps their numbers', () => {
  const first = compile(config(`${NAT}links:\n${HQ}${B}`), proxmox());
  const text = `${NAT}links:\n${HQ.replace(/ +- \{ name: p2.*\n/, peer(4, '10.99.0.4'))
    .replace('192.168.20.0/24', '192.168.21.0/24')
    .replace('from: p2', 'from: p4')
    .replace(', b]', ']')}${link('c', peer(5, '10.6.0.0/16'))}`;
  const second = compile(config(text), proxmox(), first);
  assert.equal(
    planDifference(first.plan, second.plan),
    'links added: c; links removed: b; link hq: peers added: p4, peers removed: p2, peers changed: p1, settings; interfaces',
  );
  assert.equal(second.plan.links[0]!.out, first.plan.links[0]!.out);
});
