/** Properties of the config reader: it never throws, always says where, and what it prints it reads back. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  formatAddress,
  formatPrefix,
  maskOf,
  parseAddress,
  parsePrefix,
  TextError,
} from '../../src/control/address.js';
import { type Config, formatErrors, parseConfig, printConfig } from '../../src/control/index.js';
import { countPorts, formatPorts, hasPort, intersect, parsePorts, subtract, union } from '../../src/control/ports.js';
import fc from '../property.js';

const SEED = `uplink: { interface: vmbr0, address: [auto, 203.0.113.9], ports: "20000-29999,40000-49999,~25000-25010" }
lans:
  - { interface: vmbr1, subnet: 172.22.161.0/24 }
  - interface: vmbr2
    subnet: 10.7.0.0/16
forwards:
  - "10000-10999:172.22.161.170:10000-10999/tcp"
  - { name: ssh, ports: 2222, to: 172.22.161.10:22, proto: tcp, from: [198.51.100.0/24] }
  - { ports: "30000-30099", to: 172.22.161.20:8000-8099, proto: [tcp, udp], description: "x: y" }
  - { to: 10.7.0.9, proto: icmp, address: 203.0.113.9 }
nat:
  - { from: [172.22.161.40], proto: udp, mapping: endpoint-independent, filtering: endpoint-independent }
  - { to: &far [10.0.0.0/8], translate: false }
block: *far
links:
  - name: hq
    wireguard: { private_key_file: keys/hq, listen: 51820, mtu: auto, mark: 7 }
    address: 10.99.0.1/24
    peers:
      - { name: branch, public_key: "${Buffer.alloc(32, 1).toString('base64')}", endpoint: "branch.example:51820", allowed_ips: [10.99.0.2/32, 192.168.20.0/24], keepalive: 25, map: 172.22.161.0/24 as 10.71.1.0/24 }
      - { name: laptop, public_key: "${Buffer.alloc(32, 2).toString('base64')}", preshared_key_file: /k, endpoint: "[2001:db8::1]:1", allowed_ips: 10.99.0.3 }
    policy:
      - { from: [laptop, 10.99.0.2], lan: allow, internet: nat, host: deny, links: hq }
      - { lan: out }
limits: { flows: 262144, per_host: 0 }
timeouts: { udp: 300, tcp_established: 7440, tcp_transitory: 240, icmp: 60 }
metrics: { listen: 127.0.0.1:9469 }
tun: { name: tungate0 }
workers: auto
log: { level: info, format: json }
inbound_refresh: false
parity: true
`;

/** Judges any text; whatever comes back must be well formed. */
function judge(text: string): void {
  const result = parseConfig(text, 'f.yaml');
  if ('config' in result) return;
  assert.ok(result.errors.length > 0);
  const lines = text.split(/\r\n|\r|\n/).length;
  for (const { line, col, message } of result.errors) {
    assert.ok(line >= 1 && line <= lines + 1 && col >= 1, `${line}:${col} of ${lines} lines`);
    // zod's own words: a place that this program did not phrase. What it quotes is the config's (a key may be `.nan`).
    const own = message.replaceAll(/"[^"]*"/g, '""');
    assert.doesNotMatch(own, /Invalid|expected .*received|undefined|NaN|\[object/, formatErrors(result.errors));
    assert.doesNotMatch(message, /\n/);
  }
}

test('the seed of the fuzz tests is a good config', () => {
  const result = parseConfig(SEED, 'f.yaml');
  assert.ok('config' in result, 'errors' in result ? formatErrors(result.errors) : '');
});

const PIECES = [
  ...new Set(SEED.split(/(?<=[\s,:[\]{}"-])|(?=[\s,:[\]{}"-])/)),
  '010',
  '-1',
  '0',
  '65536',
  '1e3',
  '.inf',
  '.nan',
  '~',
  'null',
  'true',
  '!!int',
  '!x',
  '&a',
  '*a',
  '<<',
  '? ',
  '| ',
  '> ',
  '---',
  '%',
  '@',
  '\t',
  '\u0000',
  '\ufeff',
  '\ud800',
  '__proto__',
  'constructor',
  '/33',
  '99999999999',
  "'",
  '#',
];

test('REQ-64 no mutation of a config crashes the reader', () => {
  const edit = fc.tuple(
    fc.integer({ min: 0, max: SEED.length }),
    fc.integer({ min: 0, max: 12 }),
    fc.constantFrom(...PIECES),
  );
  fc.assert(
    fc.property(fc.array(edit, { minLength: 1, maxLength: 5 }), (edits) => {
      let text = SEED;
      for (const [at, length, piece] of edits) text = text.slice(0, at) + piece + text.slice(at + length);
      judge(text);
    }),
    { numRuns: 600 },
  );
});

test('no text at all, and no value in any place, crashes the reader', () => {
  fc.assert(fc.property(fc.string({ unit: 'binary', maxLength: 200 }), judge), { numRuns: 300 });
  const keys = [
    'uplink',
    'uplinks',
    'lans',
    'forwards',
    'nat',
    'block',
    'limits',
    'timeouts',
    'metrics',
    'tun',
    'workers',
    'log',
    'parity',
    'links',
  ];
  const inner = [
    'wireguard',
    'private_key_file',
    'peers',
    'public_key',
    'endpoint',
    'allowed_ips',
    'map',
    'policy',
    'lan',
    'links',
    'interface',
    'address',
    'ports',
    'subnet',
    'to',
    'from',
    'proto',
    'name',
    'translate',
    'mapping',
    'listen',
    'flows',
    'udp',
    'level',
  ];
  const { value } = fc.letrec((tie) => ({
    value: fc.oneof(
      { maxDepth: 4 },
      fc.constantFrom<unknown>(
        null,
        true,
        0,
        -1,
        1.5,
        80,
        '',
        'auto',
        'all',
        '10.0.0.1',
        '10.0.0.0/24',
        '1-2',
        '80:10.0.0.1:80',
      ),
      tie('list'),
      tie('map'),
    ),
    list: fc.array(tie('value'), { maxLength: 4 }),
    map: fc.dictionary(fc.constantFrom(...inner), tie('value'), { maxKeys: 5 }),
  }));
  fc.assert(
    fc.property(fc.dictionary(fc.constantFrom(...keys), value as fc.Arbitrary<unknown>), (config) =>
      judge(JSON.stringify(config)),
    ),
    { numRuns: 600 },
  );
});

const port = fc.integer({ min: 1, max: 65535 });
const interval = fc.tuple(port, port).map(([a, b]) => ({ first: Math.min(a, b), last: Math.max(a, b) }));
const small = fc
  .tuple(fc.integer({ min: 1, max: 60 }), fc.integer({ min: 0, max: 9 }))
  .map(([first, more]) => ({ first, last: first + more }));

test('port sets agree with sets of numbers', () => {
  const numbers = (set: readonly { first: number; last: number }[]) =>
    Array.from({ length: 80 }, (_, p) => p).filter((p) => hasPort(set, p));
  fc.assert(
    fc.property(fc.array(small, { maxLength: 6 }), fc.array(small, { maxLength: 6 }), (a, b) => {
      const [x, y] = [union(a), union(b)];
      const [inX, inY] = [new Set(numbers(a)), new Set(numbers(b))];
      assert.deepEqual(
        numbers(union(a, b)),
        [...new Set([...inX, ...inY])].sort((p, q) => p - q),
      );
      assert.deepEqual(
        numbers(subtract(x, y)),
        [...inX].filter((p) => !inY.has(p)).sort((p, q) => p - q),
      );
      assert.deepEqual(
        numbers(intersect(x, y)),
        [...inX].filter((p) => inY.has(p)).sort((p, q) => p - q),
      );
      assert.equal(countPorts(x), inX.size);
      for (const set of [x, subtract(x, y)])
        for (let i = 1; i < set.length; i++) assert.ok(set[i]!.first > set[i - 1]!.last + 1, 'canonical');
    }),
  );
  fc.assert(
    fc.property(fc.array(interval, { minLength: 1, maxLength: 5 }), (list) => {
      const set = union(list);
      assert.deepEqual(parsePorts(formatPorts(set)).ports, set);
    }),
  );
});

test('addresses and prefixes read back as printed; nothing but the plain form is an address', () => {
  fc.assert(fc.property(fc.integer(), (address) => assert.equal(parseAddress(formatAddress(address)), address)));
  fc.assert(
    fc.property(fc.integer(), fc.integer({ min: 0, max: 32 }), (address, length) => {
      const prefix = { prefix: address & maskOf(length), mask: maskOf(length) };
      assert.deepEqual(parsePrefix(formatPrefix(prefix)), prefix);
    }),
  );
  for (const text of [
    '',
    '1.2.3',
    '1.2.3.4.5',
    '256.1.1.1',
    '010.1.1.1',
    '1.2.3.04',
    '0x1.2.3.4',
    ' 1.2.3.4',
    '1.2.3.4 ',
    '1.2.3.4/24',
    '::1',
    '1.2.3.-4',
    '1..2.3',
  ]) {
    assert.throws(() => parseAddress(text), TextError, text);
  }
});

/** A config without the places that it was read from. */
const meaning = (config: Config): unknown =>
  JSON.parse(JSON.stringify(config, (key, value) => (key === 'origin' || key === 'file' ? undefined : value)));

function assertStable(text: string): boolean {
  const first = parseConfig(text, 'a.yaml');
  if ('errors' in first) return false;
  const printed = printConfig(first.config);
  const second = parseConfig(printed, 'a.yaml');
  if ('errors' in second) assert.fail(`${formatErrors(second.errors)}\n${printed}`);
  assert.deepEqual(meaning(second.config), meaning(first.config));
  assert.equal(printConfig(second.config), printed);
  return true;
}

test('a printed config is the same config', () => {
  assert.ok(assertStable(SEED));
  const proto = fc.constantFrom('tcp', 'udp', 'tcp,udp', 'all');
  const host = fc.integer({ min: 2, max: 250 }).map((low) => `172.22.161.${low}`);
  const shape = fc.constantFrom('same', 'offset', 'single');
  const forward = fc.tuple(
    fc.integer({ min: 0, max: 15 }),
    fc.integer({ min: 0, max: 900 }),
    fc.boolean(),
    host,
    shape,
    proto,
  );
  const rule = fc.record(
    {
      to: fc.constantFrom('10.0.0.0/8', '192.0.2.7', '0.0.0.0/0'),
      proto: fc.constantFrom<unknown>('udp', ['tcp', 'icmp']),
      mapping: fc.constantFrom('endpoint-independent', 'endpoint-dependent'),
      filtering: fc.constantFrom('endpoint-independent', 'address-dependent', 'address-and-port-dependent'),
      name: fc.constantFrom('a', 'b'),
    },
    { requiredKeys: [] },
  );
  let stable = 0;
  fc.assert(
    fc.property(
      fc.array(forward, { maxLength: 6 }),
      fc.array(rule, { maxLength: 3 }),
      fc.boolean(),
      (forwards, nat, parity) => {
        const lines = forwards.map(([slot, length, hole, target, how, protocol]) => {
          const first = 1000 + slot * 1000;
          const last = first + length;
          const cut = hole && length >= 2 ? `,~${first}-${first + 1}` : '';
          const to = how === 'same' ? '' : how === 'single' ? ':80' : `:${first + 7}-${last + 7}`;
          return `${first}-${last}${cut}:${target}${to}/${protocol}`;
        });
        const config = {
          uplink: { interface: 'a' },
          lans: [{ interface: 'b', subnet: '172.22.161.0/24' }],
          forwards: lines,
          nat,
          parity,
        };
        if (assertStable(JSON.stringify(config))) stable++;
      },
    ),
  );
  assert.ok(stable > 20, `only ${stable} of the configs were good ones`);
});
