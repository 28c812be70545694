/** Config + world → plan and steering: the Proxmox host, addresses in every situation, things that are missing, reloads. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { OWNER_HOST, OWNER_POOL, OWNER_RESERVED, Proto } from '../../src/contract/plan.js';
import type { World } from '../../src/contract/world.js';
import { formatAddress, formatPrefix, parseAddress } from '../../src/control/address.js';
import { type Compiled, type Config, compile, formatErrors, parseConfig } from '../../src/control/index.js';
import fc from '../property.js';
import { device, PROXMOX_ADDRESSES, PROXMOX_INTERFACES, PROXMOX_ROUTES, proxmox, world } from './world-fixture.js';

function config(text: string): Config {
  const result = parseConfig(text, 't.yaml');
  if ('errors' in result) assert.fail(formatErrors(result.errors));
  return result.config;
}

const LANS = 'lans: [{ interface: vmbr1, subnet: 172.22.161.0/24 }]\nmetrics: { listen: off }\n';
const BASE = `uplink: { interface: vmbr0 }\n${LANS}`;
const withForwards = (...forwards: string[]) =>
  config(`${BASE}forwards:\n${forwards.map((line) => `  - ${line}\n`).join('')}`);
const hosts = (list: readonly number[]) => list.map(formatAddress);

test('the Proxmox host: address of the uplink, out indexes, gateway, routes, steering', () => {
  const { plan, steering, problems, fatal, reservedPorts, tunAddresses } = compile(
    withForwards('"10000-10999:172.22.161.170:10000-10999/tcp"', '{ ports: 2222, to: 172.22.161.10:22, name: ssh }'),
    proxmox(),
  );
  assert.deepEqual([problems, fatal, tunAddresses], [[], [], []]);
  assert.deepEqual(plan.interfaces, [
    { name: '', mtu: 65535, uplink: -1, lan: -1 },
    { name: 'vmbr0', mtu: 1500, uplink: 0, lan: -1 },
    { name: 'vmbr1', mtu: 1450, uplink: -1, lan: 0 },
  ]);
  assert.deepEqual(plan.uplinks, [{ interface: 'vmbr0', out: 1, addresses: [0] }]);
  assert.equal(formatAddress(plan.addresses[0]!.address), '203.0.113.8');
  assert.equal(plan.addresses[0]!.shared, true);
  assert.deepEqual([plan.lans[0]!.out, formatAddress(plan.lans[0]!.gateway)], [2, '172.22.161.1']);
  assert.deepEqual(
    plan.forwards.map(({ id, name, offset, out, addresses, single }) => ({
      id,
      name,
      offset,
      out,
      addresses,
      single,
    })),
    [
      { id: 1, name: '10000-10999/tcp', offset: 0, out: 2, addresses: [0], single: 0 },
      { id: 2, name: 'ssh', offset: -2200, out: 2, addresses: [0], single: 0 },
    ],
  );
  const last = plan.nat[plan.nat.length - 1]!;
  assert.deepEqual(
    [last.name, last.from, last.to, last.protos, last.translate],
    ['default', [{ prefix: 0, mask: 0 }], [{ prefix: 0, mask: 0 }], 7, true],
  );
  assert.deepEqual(
    plan.routes.filter((route) => route.mask !== -1).map((route) => `${formatPrefix(route)} ${route.out}`),
    ['172.22.161.0/24 2', '203.0.113.0/24 1', '172.17.0.0/16 0', '127.0.0.0/8 0', '0.0.0.0/0 1'],
  );
  assert.deepEqual(steering.claims, [
    {
      address: parseAddress('203.0.113.8'),
      shared: true,
      tcp: [
        { first: 2222, last: 2222 },
        { first: 10000, last: 10999 },
        { first: 20000, last: 49999 },
      ],
      udp: [{ first: 20000, last: 49999 }],
      other: false,
    },
  ]);
  assert.deepEqual(reservedPorts, steering.claims[0]!.tcp);
  assert.deepEqual(steering.uplinks, [{ interface: 'vmbr0', index: 3 }]);
  assert.deepEqual(
    steering.lans.map((lan) => [lan.interface, lan.index, lan.subnets.map(formatPrefix)]),
    [['vmbr1', 4, ['172.22.161.0/24']]],
  );
  assert.deepEqual(steering.foreign.map(formatPrefix), ['172.17.0.0/16']);
  assert.deepEqual(hosts(steering.hostAddresses), ['127.0.0.1', '172.17.0.1', '172.22.161.1', '203.0.113.8']);
});

test('an address that the host does not have goes on the TUN and is no host address of the steering', () => {
  const wanted = config(`uplink: { interface: vmbr0, address: [203.0.113.8, 203.0.113.77] }\n${LANS}`);
  const first = compile(wanted, proxmox());
  assert.deepEqual(
    first.plan.addresses.map((a) => a.shared),
    [true, false],
  );
  assert.deepEqual(hosts(first.tunAddresses), ['203.0.113.77']);
  assert.ok(!hosts(first.steering.hostAddresses).includes('203.0.113.77'));
  assert.ok(hosts(first.plan.hostAddresses).includes('203.0.113.77'));
  assert.deepEqual(first.reservedPorts, [{ first: 20000, last: 49999 }]);

  // Put on the TUN, the world has it; that does not make it the host's own.
  const withTun = world(
    [...PROXMOX_INTERFACES, device(9, 'tungate0', { kind: 'tun' })],
    [...PROXMOX_ADDRESSES, '9 203.0.113.77/32'],
    PROXMOX_ROUTES,
  );
  const again = compile(wanted, withTun, first);
  assert.deepEqual(hosts(again.tunAddresses), ['203.0.113.77']);
  assert.deepEqual(again.steering, first.steering);
});

test("the host's own address that vanishes is waited for, not taken over; after a restart it is", () => {
  const wanted = config(`uplink: { interface: vmbr0, address: 203.0.113.8 }\n${LANS}`);
  const gone = world(PROXMOX_INTERFACES, PROXMOX_ADDRESSES.slice(1), PROXMOX_ROUTES);
  const after = compile(wanted, gone, compile(wanted, proxmox()));
  assert.deepEqual([after.plan.addresses[0]!.shared, after.tunAddresses], [true, []]);
  assert.match(after.problems[0]!, /^203\.0\.113\.8 is gone from this host; waiting/);
  assert.deepEqual(hosts(compile(wanted, gone).tunAddresses), ['203.0.113.8']);
});

test('auto: no address yet, a new address, link-local ones are passed over', () => {
  const bare = world(PROXMOX_INTERFACES, ['3 169.254.7.7/16', ...PROXMOX_ADDRESSES.slice(1)], PROXMOX_ROUTES);
  const none = compile(config(BASE), bare);
  assert.deepEqual([none.plan.addresses, none.steering.claims, none.plan.uplinks[0]!.addresses], [[], [], []]);
  assert.deepEqual(none.problems, [
    'uplink vmbr0 has no IPv4 address yet; nothing is translated to it until it gets one',
  ]);
  const moved = compile(
    config(BASE),
    world(PROXMOX_INTERFACES, ['3 198.51.100.4/24', ...PROXMOX_ADDRESSES.slice(1)], PROXMOX_ROUTES),
    none,
  );
  assert.deepEqual([hosts(moved.plan.addresses.map((a) => a.address)), moved.problems], [['198.51.100.4'], []]);
});

test('interfaces that are missing or down: a line each, the rest works, and nothing for the LAN follows the default route', () => {
  const noLan = world(
    PROXMOX_INTERFACES.filter(({ name }) => name !== 'vmbr1'),
    ['3 203.0.113.8/24'],
    PROXMOX_ROUTES,
  );
  const { plan, steering, problems } = compile(withForwards('"80:172.22.161.2"'), noLan);
  assert.deepEqual(problems, ['LAN vmbr1 does not exist; its hosts are not served until it appears']);
  assert.deepEqual([plan.lans[0]!.out, plan.forwards[0]!.out, steering.lans], [0, 0, []]);
  assert.equal(
    plan.addresses[0]!.owners[Proto.TCP][80],
    plan.forwards[0]!.id,
    'the port stays claimed: the host must not answer on it',
  );

  const down = world(
    PROXMOX_INTERFACES.map((d) => (d.name === 'vmbr0' ? { ...d, up: false } : d)),
    PROXMOX_ADDRESSES,
    PROXMOX_ROUTES.slice(0, 2),
  );
  assert.deepEqual(compile(config(BASE), down).problems, [
    'uplink vmbr0 is down; `ip link set vmbr0 up` brings it up',
    'there is no default route; LAN hosts reach only what other routes by vmbr0 lead to',
  ]);
  assert.deepEqual(compile(config(BASE), { interfaces: [], addresses: [], routes: [], ipv6: null }).problems, [
    'uplink vmbr0 does not exist; nothing leaves by it until it appears',
    'LAN vmbr1 does not exist; its hosts are not served until it appears',
    'there is no default route; LAN hosts reach only what other routes by vmbr0 lead to',
  ]);
});

test('a LAN without an address, and a forward to the router itself, are named', () => {
  const { problems } = compile(config(BASE), world(PROXMOX_INTERFACES, ['3 203.0.113.8/24'], PROXMOX_ROUTES));
  assert.deepEqual(problems, [
    'LAN vmbr1 has no address in 172.22.161.0/24; its hosts have no gateway until it gets one (`ip address add`)',
  ]);
  const self = compile(withForwards('"80:172.22.161.1"'), proxmox());
  assert.equal(self.plan.forwards[0]!.out, 0);
  assert.match(
    self.problems[0]!,
    /^forward "80\/tcp" \(t\.yaml:5:5\): target 172\.22\.161\.1 is not reached by LAN vmbr1/,
  );
});

test('REQ-8 a LAN that overlaps the network on the uplink is fatal, and both are named', () => {
  const inside = config('uplink: { interface: vmbr0 }\nlans: [{ interface: vmbr1, subnet: 203.0.113.128/25 }]');
  assert.deepEqual(compile(inside, proxmox()).fatal, [
    'LAN vmbr1 203.0.113.128/25 (t.yaml:2:8) overlaps 203.0.113.0/24 of uplink vmbr0; give the LAN a subnet of its own (REQ-8)',
  ]);
});

test('routes: local before main before default, best metric, blackholes and other interfaces are not ours', () => {
  const { plan, steering } = compile(
    config(BASE),
    proxmox([
      '10.0.0.0/8 main blackhole',
      '10.1.0.0/16 main unicast 3',
      '10.1.2.0/24 main unicast 5',
      '10.5.0.0/16 main unicast 4',
      '192.0.2.0/24 main unicast 5 10',
      '192.0.2.0/24 main unicast 3 20',
      '127.5.0.0/16 main unicast 3',
      '203.0.113.8/32 main unicast 5',
      '198.51.100.0/24 default unicast 5',
    ]),
  );
  const found = plan.routes.filter((route) => route.mask !== -1).map((route) => `${formatPrefix(route)} ${route.out}`);
  assert.deepEqual(found, [
    '10.1.2.0/24 0',
    '172.22.161.0/24 2',
    '192.0.2.0/24 0',
    '203.0.113.0/24 1',
    '10.1.0.0/16 1',
    '10.5.0.0/16 2',
    '172.17.0.0/16 0',
    '10.0.0.0/8 0',
    '127.0.0.0/8 0',
    '0.0.0.0/0 1',
  ]);
  assert.equal(plan.routes.filter((route) => formatPrefix(route) === '203.0.113.8/32').length, 1);
  const foreign = steering.foreign.map(formatPrefix);
  assert.ok(foreign.includes('10.1.2.0/24') && foreign.includes('192.0.2.0/24') && foreign.includes('172.17.0.0/16'));
  assert.ok(!foreign.some((prefix) => prefix.startsWith('10.5.') || prefix.startsWith('127.')));
});

test('a default route by another interface is a problem, not a foreign prefix: the engine answers no-route', () => {
  const host = world(PROXMOX_INTERFACES, PROXMOX_ADDRESSES, ['0.0.0.0/0 main unicast 5']);
  const { steering, problems } = compile(config(BASE), host);
  assert.deepEqual(steering.foreign.map(formatPrefix), ['172.17.0.0/16']);
  assert.deepEqual(problems, [
    'the default route does not leave by an uplink (vmbr0); LAN hosts reach only what other routes by it lead to',
  ]);
});

test('foreign prefixes hold exactly the addresses whose longest match is not ours (property)', () => {
  const prefix = fc.tuple(
    fc.integer({ min: 0, max: 255 }),
    fc.integer({ min: 24, max: 32 }),
    fc.constantFrom('unicast 3', 'unicast 4', 'unicast 5', 'blackhole 0'),
  );
  fc.assert(
    fc.property(fc.array(prefix, { maxLength: 12 }), (routes) => {
      const texts = routes.map(
        ([low, length, rest]) => `192.0.2.${low & (0xff << (32 - length)) & 0xff}/${length} main ${rest}`,
      );
      const { plan, steering } = compile(config(BASE), proxmox(texts));
      for (let low = 0; low < 256; low++) {
        const address = parseAddress(`192.0.2.${low}`);
        const out = plan.routes.find((route) => (address & route.mask) === route.prefix)!.out;
        const holding = steering.foreign.filter((item) => (address & item.mask) === item.prefix).length;
        assert.equal(holding, out === 0 ? 1 : 0, `192.0.2.${low} out ${out} with ${texts.join('; ')}`);
      }
    }),
  );
});

test('a public address inside a blackhole is ours all the same', () => {
  const wanted = config(`uplink: { interface: vmbr0, address: 198.51.100.9 }\n${LANS}`);
  const { steering } = compile(wanted, proxmox(['198.51.100.0/28 main blackhole', '198.51.100.9 main blackhole']));
  assert.deepEqual(
    steering.foreign.map(formatPrefix).filter((prefix) => prefix.startsWith('198.')),
    ['198.51.100.0/29', '198.51.100.8/32', '198.51.100.10/31', '198.51.100.12/30'],
  );
});

test("forwards of all protocols: ICMP and the rest, and every port only where the address is not the host's own", () => {
  const shared = compile(withForwards('{ to: 172.22.161.2, proto: all, name: dmz }', '"80:172.22.161.3"'), proxmox());
  const own = shared.plan.addresses[0]!;
  assert.deepEqual(
    [own.icmpForward, own.otherForward, own.owners[Proto.TCP][22], own.owners[Proto.TCP][80]],
    [1, 1, OWNER_HOST, 2],
  );
  assert.match(shared.problems[0]!, /^forward "dmz" .* is this host's own address/);
  assert.equal(shared.steering.claims[0]!.other, true);

  const text = `uplink: { interface: vmbr0, address: 203.0.113.77 }\n${LANS}forwards: [{ to: 172.22.161.2, proto: all }, "80:172.22.161.3"]`;
  const routed = compile(config(text), proxmox()).plan.addresses[0]!;
  assert.deepEqual(
    [
      routed.owners[Proto.TCP][22],
      routed.owners[Proto.UDP][80],
      routed.owners[Proto.TCP][80],
      routed.owners[Proto.TCP][20000],
    ],
    [1, 1, 2, OWNER_POOL],
  );
});

test("REQ-65 the router's own listener is never given out", () => {
  const text = BASE.replace('listen: off', 'listen: 0.0.0.0:20001');
  const { plan, steering } = compile(config(text), proxmox());
  const { owners, poolSize } = plan.addresses[0]!;
  assert.deepEqual(
    [owners[Proto.TCP][20001], owners[Proto.UDP][20001], poolSize],
    [OWNER_RESERVED, OWNER_POOL, [29999, 30000, 30000]],
  );
  assert.deepEqual(steering.claims[0]!.tcp, [
    { first: 20000, last: 20000 },
    { first: 20002, last: 49999 },
  ]);
});

test('owners arrays agree with a plain reading of the config (property)', () => {
  const port = fc.integer({ min: 1, max: 65535 });
  const range = fc
    .tuple(port, fc.integer({ min: 0, max: 3000 }))
    .map(([first, more]) => ({ first, last: Math.min(first + more, 65535) }));
  const scene = fc.record({
    pool: fc.array(range, { minLength: 1, maxLength: 4 }),
    out: fc.array(range, { maxLength: 2 }),
    forwards: fc.array(
      fc.tuple(range, fc.constantFrom('tcp', 'udp', 'all'), fc.option(fc.constantFrom('203.0.113.8', '203.0.113.9'))),
      { maxLength: 6 },
    ),
  });
  const text = ({ first, last }: { first: number; last: number }) => `${first}-${last}`;
  fc.assert(
    fc.property(scene, ({ pool, out, forwards }) => {
      const ports = [...pool.map(text), ...out.map((item) => `~${text(item)}`)].join(',');
      const lines = forwards.map(([span, proto, address], i) => {
        const where = address === null ? '' : `, address: ${address}`;
        return `  - { name: f${i}, ports: ${text(span)}, to: 172.22.161.9, proto: ${proto}${where} }`;
      });
      const yaml = [
        `uplink: { interface: vmbr0, address: [203.0.113.8, 203.0.113.9], ports: "${ports}" }`,
        LANS.trim(),
        'forwards:',
        ...(lines.length > 0 ? lines : ['  []']),
      ];
      const result = parseConfig(yaml.join('\n'), 't.yaml');
      const held = (port: number, proto: string, address: string) =>
        forwards.flatMap(([span, p, a], i) =>
          port >= span.first && port <= span.last && (p === 'all' || p === proto) && (a ?? address) === address
            ? [i]
            : [],
        );
      if ('errors' in result) {
        // Refused only for a reason that the plain reading sees too.
        const emptied = !Array.from({ length: 65536 }, (_, p) => p).some(
          (p) => pool.some((s) => p >= s.first && p <= s.last) && !out.some((s) => p >= s.first && p <= s.last),
        );
        const ends = forwards.flatMap(([span]) => [span.first, span.last]);
        const clash =
          ends.some((p) =>
            ['tcp', 'udp'].some((proto) => ['203.0.113.8', '203.0.113.9'].some((a) => held(p, proto, a).length > 1)),
          ) ||
          ['203.0.113.8', '203.0.113.9'].some(
            (a) => forwards.filter(([, p, at]) => p === 'all' && (at ?? a) === a).length > 1,
          );
        assert.ok(emptied || clash, formatErrors(result.errors));
        return;
      }
      const { plan } = compile(result.config, proxmox());
      for (const { address, owners } of plan.addresses) {
        for (const [index, proto] of [
          [Proto.TCP, 'tcp'],
          [Proto.UDP, 'udp'],
        ] as const) {
          for (let p = 0; p < 65536; p++) {
            const forward = held(p, proto, formatAddress(address))[0];
            const inPool =
              pool.some((s) => p >= s.first && p <= s.last) && !out.some((s) => p >= s.first && p <= s.last);
            const expected = forward !== undefined ? forward + 1 : inPool ? OWNER_POOL : OWNER_HOST;
            if (owners[index][p] !== expected) assert.fail(`${proto} ${p}: ${owners[index][p]} instead of ${expected}`);
          }
        }
      }
    }),
    { numRuns: 20 },
  );
});

test('REQ-61 a reload keeps rule ids and out indexes by name, also through JSON; new rules get ids never used', () => {
  const ids = ({ plan }: Compiled) =>
    Object.fromEntries([...plan.forwards, ...plan.nat].map(({ name, id }) => [name, id]));
  const one = compile(withForwards('"1:172.22.161.2"', '"2:172.22.161.2"', '"3:172.22.161.2"'), proxmox());
  assert.deepEqual(ids(one), { '1/tcp': 1, '2/tcp': 2, '3/tcp': 3, default: 4 });
  const two = compile(withForwards('"9:172.22.161.2"', '"3:172.22.161.2"', '"1:172.22.161.2"'), proxmox(), {
    memory: JSON.parse(JSON.stringify(one.memory)),
  });
  assert.deepEqual(ids(two), { '1/tcp': 1, '3/tcp': 3, default: 4, '9/tcp': 5 });
  const three = compile(withForwards('"7:172.22.161.2"', '"2:172.22.161.2"'), proxmox(), two);
  assert.deepEqual(ids(three), { '2/tcp': 2, default: 4, '7/tcp': 6 });
  assert.deepEqual(
    [one, two, three].map(({ plan }) => plan.generation),
    [1, 2, 3],
  );

  const more =
    'uplink: { interface: eno9 }\nlans: [{ interface: lan0, subnet: 10.9.0.0/24 }, { interface: vmbr1, subnet: 172.22.161.0/24 }]';
  const moved = compile(config(more), proxmox(), one).plan;
  assert.deepEqual(
    moved.interfaces.map(({ name, uplink, lan }) => [name, uplink, lan]),
    [
      ['', -1, -1],
      ['vmbr0', -1, -1],
      ['vmbr1', -1, 1],
      ['eno9', 0, -1],
      ['lan0', -1, 0],
    ],
  );
});

test('equal configs and worlds give equal steering, whatever the order of the dump', () => {
  const a = proxmox(['10.0.0.0/8 main blackhole', '10.1.0.0/16 main unicast 3']);
  const b: World = {
    interfaces: [...a.interfaces].reverse(),
    addresses: [...a.addresses].reverse(),
    routes: [...a.routes].reverse(),
    ipv6: null,
  };
  assert.deepEqual(compile(config(BASE), b).steering, compile(config(BASE), a).steering);
});

test('10,000 forwards', () => {
  const lines = Array.from(
    { length: 10_000 },
    (_, i) => `  - { name: f${i}, ports: ${1000 + i}, to: 172.22.161.${2 + (i % 200)}:80 }`,
  );
  let start = performance.now();
  const parsed = config(`uplink: { interface: vmbr0, ports: 20000-65535 }\n${LANS}forwards:\n${lines.join('\n')}\n`);
  const parse = performance.now() - start;
  start = performance.now();
  const compiled = compile(parsed, proxmox());
  const took = performance.now() - start;
  console.log(`# parse ${parse.toFixed(0)} ms, compile ${took.toFixed(0)} ms`);
  assert.equal(new Set(compiled.plan.forwards.map(({ id }) => id)).size, 10_000);
});

test('REQ-34 what rules leave untranslated is open to answers from outside: their `from`, as far as it is in a LAN', () => {
  const rule = (...rules: string[]) => `${BASE}nat:\n${rules.map((each) => `  - ${each}\n`).join('')}`;
  const open = (text: string) => compile(config(text), proxmox()).steering.untranslated.map(formatPrefix);
  assert.deepEqual(open(BASE), []);
  assert.deepEqual(open(rule('{ to: [10.0.0.0/8], translate: false }')), ['172.22.161.0/24']);
  assert.deepEqual(
    open(
      rule(
        '{ from: [172.22.161.64/26, 172.22.161.3], to: [10.0.0.0/8], translate: false }',
        '{ from: [172.22.161.3], to: [192.0.2.0/24], translate: false }',
        '{ from: [172.22.161.4], mapping: endpoint-dependent }',
      ),
    ),
    ['172.22.161.64/26', '172.22.161.3/32'],
  );
});
