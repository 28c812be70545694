/** `tungate init`: what it finds on hosts of several kinds, and that its text always is a good config. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { formatPrefix } from '../../src/control/address.js';
import { compile, formatErrors, initConfig, parseConfig } from '../../src/control/index.js';
import fc from '../property.js';
import { device, PROXMOX_ADDRESSES, PROXMOX_INTERFACES, PROXMOX_ROUTES, proxmox, world } from './world-fixture.js';

function read(text: string) {
  const result = parseConfig(text, 'init.yaml');
  if ('errors' in result) assert.fail(`${formatErrors(result.errors)}\n${text}`);
  return result.config;
}

test('a Proxmox host: uplink by the default route, the VM bridge as LAN, Docker left out with the reason', () => {
  const text = initConfig(proxmox());
  const config = read(text);
  assert.deepEqual(
    config.uplinks.map((uplink) => [uplink.interface, uplink.addresses]),
    [['vmbr0', ['auto']]],
  );
  assert.deepEqual(
    config.lans.map((lan) => [lan.interface, formatPrefix(lan.subnet)]),
    [['vmbr1', '172.22.161.0/24']],
  );
  assert.doesNotMatch(text, /left out: vmbr0/);
  assert.match(text, /left out: docker0 172\.17\.0\.0\/16: has a NAT of its own/);
  assert.match(text, /\(now 203\.0\.113\.8\)/);
  assert.deepEqual(compile(config, proxmox()).problems, []);
});

test('where no bridge is a LAN, other interfaces with a private subnet are; a private uplink is said', () => {
  const host = world(
    [device(1, 'lo'), device(2, 'eth0'), device(3, 'eth1'), device(4, 'wg0', { kind: 'wireguard' })],
    ['2 10.0.0.9/24', '3 192.168.7.1/24', '4 10.8.0.1/24'],
    ['0.0.0.0/0 main unicast 2'],
  );
  const text = initConfig(host);
  assert.deepEqual(
    read(text).lans.map((lan) => lan.interface),
    ['eth1'],
  );
  assert.match(text, /itself behind a NAT/);
  assert.match(text, /left out: wg0 10\.8\.0\.0\/24: a wireguard tunnel/);
});

test('beside a bridge, a management network is left out and named', () => {
  const host = world(
    [...PROXMOX_INTERFACES, device(6, 'eno2')],
    [...PROXMOX_ADDRESSES, '6 10.20.0.5/24'],
    PROXMOX_ROUTES,
  );
  const text = initConfig(host);
  assert.deepEqual(
    read(text).lans.map((lan) => lan.interface),
    ['vmbr1'],
  );
  assert.match(text, /left out: eno2 10\.20\.0\.0\/24: not a bridge; add it if inside hosts are behind it/);
});

test('a host without default route or LAN: an example that says that it is one', () => {
  const text = initConfig(world([device(1, 'lo')], ['1 127.0.0.1/8']));
  assert.equal(text.match(/NOT FOUND/g)?.length, 2);
  read(text);
});

test('whatever the host is like, the text is a good config (property)', () => {
  const name = fc.oneof(
    fc.constantFrom(
      'eth0',
      'vmbr0',
      'vmbr1',
      'docker0',
      'tungate0',
      'on',
      'no',
      '1',
      '0x10',
      '-',
      '~',
      'null',
      "a'b",
      'a"b',
      '#x',
      '{a',
      '&a',
      '*a',
      'é',
      'br-0123456789ab',
    ),
    fc.string({ minLength: 1, maxLength: 15 }),
  );
  const item = fc.record({
    name,
    kind: fc.constantFrom('', 'bridge', 'veth', 'tun', 'wireguard'),
    addresses: fc.array(
      fc.tuple(
        fc.constantFrom('10.0.0.', '192.168.1.', '203.0.113.', '172.16.0.', '127.0.0.', '169.254.1.', '224.0.0.'),
        fc.integer({ min: 0, max: 255 }),
        fc.integer({ min: 8, max: 32 }),
      ),
      { maxLength: 3 },
    ),
  });
  fc.assert(
    fc.property(
      fc.uniqueArray(item, { selector: (it) => it.name, maxLength: 6 }),
      fc.integer({ min: 0, max: 8 }),
      (items, out) => {
        const interfaces = items.map((it, i) => device(i + 1, it.name, { kind: it.kind }));
        const addresses = items.flatMap((it, i) =>
          it.addresses.map(([net, low, length]) => `${i + 1} ${net}${low}/${length}`),
        );
        const host = world(interfaces, addresses, out > 0 ? [`0.0.0.0/0 main unicast ${out}`] : []);
        const config = read(initConfig(host));
        assert.deepEqual(compile(config, host).fatal, []);
      },
    ),
    { numRuns: 500 },
  );
});
