/** Config files, good and bad: what they become, and the exact words that the bad ones are answered with. */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { Filtering, Mapping } from '../../src/contract/plan.js';
import { formatAddress, formatPrefix } from '../../src/control/address.js';
import { type Config, formatErrors, loadConfig, parseConfig } from '../../src/control/index.js';

const UPLINK = 'uplink: { interface: vmbr0, address: 203.0.113.8 }';
const LANS = 'lans: [{ interface: vmbr1, subnet: 172.22.161.0/24 }]';

function good(...lines: string[]): Config {
  const result = parseConfig(lines.join('\n'), 't.yaml');
  if ('errors' in result) assert.fail(formatErrors(result.errors));
  return result.config;
}

function errorsOf(...lines: string[]): string[] {
  const result = parseConfig(lines.join('\n'), 't.yaml');
  return 'errors' in result ? formatErrors(result.errors).split('\n') : [];
}

test('the config of the README becomes addresses, intervals and numbers', () => {
  const config = good(
    'uplink: { interface: vmbr0, address: auto, ports: "20000-49999" }',
    'lans:',
    '  - { interface: vmbr1, subnet: 172.22.161.0/24 }',
    'forwards:',
    '  - "10000-10999:172.22.161.170:10000-10999/tcp"',
    '  - { name: ssh-of-vm-10, ports: 2222, to: 172.22.161.10:22, proto: tcp, from: [198.51.100.0/24] }',
    '  - { ports: "30000-30099", to: 172.22.161.20:8000-8099, proto: [tcp, udp] }',
    'nat:',
    '  - { from: [172.22.161.40], proto: udp, mapping: endpoint-independent, filtering: endpoint-independent }',
    '  - { to: [10.0.0.0/8], translate: false }',
    'limits: { flows: 262144 }',
    'timeouts: { udp: 300, tcp_established: 7440, tcp_transitory: 240, icmp: 60 }',
    'metrics: { listen: 127.0.0.1:9469 }',
  );
  assert.deepEqual(config.uplinks, [
    { interface: 'vmbr0', addresses: ['auto'], pool: [{ first: 20000, last: 49999 }], origin: 't.yaml:1:9' },
  ]);
  assert.deepEqual(
    config.forwards.map((f) => [
      f.name,
      formatAddress(f.target),
      f.offset,
      f.single,
      f.protos,
      f.from.map(formatPrefix),
      f.origin,
    ]),
    [
      ['10000-10999/tcp', '172.22.161.170', 0, 0, ['tcp'], [], 't.yaml:5:5'],
      ['ssh-of-vm-10', '172.22.161.10', -2200, 0, ['tcp'], ['198.51.100.0/24'], 't.yaml:6:5'],
      ['30000-30099/tcp+udp', '172.22.161.20', -22000, 0, ['tcp', 'udp'], [], 't.yaml:7:5'],
    ],
  );
  assert.deepEqual(
    config.nat.map((n) => [n.name, n.translate, n.mapping, n.filtering]),
    [
      ['172.22.161.40/32>any/udp', true, Mapping.ENDPOINT_INDEPENDENT, Filtering.ENDPOINT_INDEPENDENT],
      ['any>10.0.0.0/8/all', false, Mapping.ENDPOINT_INDEPENDENT, Filtering.ADDRESS_DEPENDENT],
    ],
  );
  assert.deepEqual(config.timeouts, {
    udp: 300,
    dns: 10,
    tcpEstablished: 7440,
    tcpOpening: 240,
    tcpClosing: 240,
    icmp: 60,
    unanswered: 30,
    hold: 120,
    fragment: 30,
  });
  assert.deepEqual(config.metrics.listen, { host: '127.0.0.1', port: 9469 });
});

test('REQ-19 opening and closing have timers of their own, tcp_transitory where they are not written', () => {
  const timers = (text: string) => {
    const { timeouts } = good('uplink: { interface: eth0 }', LANS, `timeouts: { ${text} }`);
    return [timeouts.tcpOpening, timeouts.tcpClosing];
  };
  assert.deepEqual(timers('udp: 300'), [240, 240]);
  assert.deepEqual(timers('tcp_transitory: 300'), [300, 300]);
  assert.deepEqual(timers('tcp_transitory: 300, tcp_opening: 250'), [250, 300]);
  assert.deepEqual(timers('tcp_closing: 260'), [240, 260]);
});

test('forwards may have limits, as many as there is room for', () => {
  const forward = (port: number) => `{ ports: ${port}, to: 172.22.161.9, max_flows: 100, max_rate: 20 }`;
  const text = (n: number) => `forwards: [${Array.from({ length: n }, (_, i) => forward(1000 + i)).join(', ')}]`;
  const { forwards } = good('uplink: { interface: eth0 }', LANS, text(96));
  assert.deepEqual([forwards[0]!.maxFlows, forwards[0]!.maxRate], [100, 20]);
  assert.match(
    errorsOf('uplink: { interface: eth0 }', LANS, text(97))[0]!,
    /^t\.yaml:\d+:\d+: forwards\[96\]: is the 97th forward with `max_flows` or `max_rate`; at most 96 have limits$/,
  );
});

test('REQ-37 port blocks: a power of two, not beside endpoint-dependent mappings, and nothing to log without them', () => {
  const uplink = 'uplink: { interface: eth0 }';
  assert.equal(good(uplink, LANS, 'port_blocks: 256', 'log: { translations: blocks }').portBlocks, 256);
  assert.equal(good(uplink, LANS).portBlocks, 0);
  assert.deepEqual(errorsOf(uplink, LANS, 'port_blocks: 100'), [
    't.yaml:3:14: port_blocks: must be 0 or a power of two from 32 to 4096, not 100',
  ]);
  assert.deepEqual(errorsOf(uplink, LANS, 'port_blocks: 64', 'nat: [{ mapping: endpoint-dependent }]'), [
    't.yaml:4:18: nat[0].mapping: endpoint-dependent mappings share ports between inside hosts, which `port_blocks` gives to one each; keep one of them',
  ]);
  assert.deepEqual(errorsOf(uplink, LANS, 'log: { translations: blocks }'), [
    't.yaml:3:22: log.translations: logs port blocks, but there are none; write `port_blocks: 256`, or log mappings',
  ]);
});

test('two lines are a config: everything else has a default', () => {
  const config = good('uplink: { interface: eth0 }', LANS);
  assert.deepEqual(config.uplinks[0]!.addresses, ['auto']);
  assert.deepEqual(config.uplinks[0]!.pool, [{ first: 20000, last: 49999 }]);
  assert.deepEqual(
    [config.limits, config.tun, config.workers, config.block, config.log, config.inboundRefresh, config.parity],
    [
      { flows: 262144, perHost: 8192, perHostFlows: 131072, perHostRate: 0 },
      { name: 'tungate0' },
      0,
      [],
      { level: 'info', format: 'auto', translations: 'off' },
      false,
      true,
    ],
  );
});

test('REQ-38 a pool is a list of ranges with exclusions', () => {
  const config = good('uplink: { interface: a, ports: "20000-29999,40000-59999,~25000-25010" }', LANS);
  assert.deepEqual(config.uplinks[0]!.pool, [
    { first: 20000, last: 24999 },
    { first: 25011, last: 29999 },
    { first: 40000, last: 59999 },
  ]);
});

test('a pool may end at port 65535', () => {
  assert.deepEqual(good('uplink: { interface: a, ports: 65000-65535 }', LANS).uplinks[0]!.pool, [
    { first: 65000, last: 65535 },
  ]);
});

test('forwards: one port, same ports, offset, one target port, exclusions, icmp, all', () => {
  const config = good(
    UPLINK,
    LANS,
    'forwards:',
    '  - "80:172.22.161.2"',
    '  - "203.0.113.8:81:172.22.161.2:8081/udp"',
    '  - "100-199:172.22.161.2:1100-1199/tcp,udp"',
    '  - { ports: 200-299, to: 172.22.161.2:80 }',
    '  - { ports: "300-399,~350-359", to: "172.22.161.2:1300-1399" }',
    '  - { ports: 500, to: 172.22.161.2, proto: [udp, icmp, tcp], address: 203.0.113.8, name: mixed }',
  );
  assert.deepEqual(
    config.forwards.map((f) => [f.name, f.offset, f.single, f.protos]),
    [
      ['80/tcp', 0, 0, ['tcp']],
      ['203.0.113.8:81/udp', 8000, 0, ['udp']],
      ['100-199/tcp+udp', 1000, 0, ['tcp', 'udp']],
      ['200-299/tcp', 0, 80, ['tcp']],
      ['300-349,360-399/tcp', 1000, 0, ['tcp']],
      ['mixed', 0, 0, ['tcp', 'udp', 'icmp']],
    ],
  );
  const all = good(UPLINK, LANS, 'forwards: [{ to: 172.22.161.2, proto: [tcp, all] }, "80:172.22.161.3:80"]');
  assert.deepEqual(all.forwards[0]!.protos, ['all']);
});

test('several uplinks, each with addresses and ports of its own', () => {
  const config = good(
    'uplinks:',
    '  - { interface: a, address: [203.0.113.8, 203.0.113.9], ports: 1024-65535 }',
    '  - { interface: b, address: [auto, 198.51.100.1] }',
    LANS,
    'forwards:',
    '  - "203.0.113.8:80:172.22.161.2:80"',
    '  - "203.0.113.9:80:172.22.161.3:80"',
  );
  assert.deepEqual(
    config.uplinks.map((u) => u.addresses.length),
    [2, 2],
  );
});

/** [what is tested, the lines after UPLINK and LANS, the errors]. */
const BAD: readonly [string, string[], string[]][] = [
  [
    'an unknown key finds its neighbour',
    ['forwads: []'],
    [
      't.yaml:3:1: forwads: unknown key "forwads"; did you mean "forwards"? (allowed: uplink, uplinks, lans, forwards, nat, block, links, limits, ' +
        'timeouts, metrics, tun, workers, log, inbound_refresh, reject_unsolicited, parity, port_blocks, watch, helpers)',
    ],
  ],
  [
    'an unknown key inside',
    ['limits: { perHost: 3 }'],
    [
      't.yaml:3:11: limits.perHost: unknown key "perHost"; did you mean "per_host"? (allowed: flows, per_host, per_host_flows, per_host_rate)',
    ],
  ],
  [
    'a duplicate key',
    ['parity: true', 'parity: false'],
    ['t.yaml:4:1: key "parity" is there twice in the same map (first at 3:1); keep one of them'],
  ],
  [
    'REQ-6 a UDP timeout below 120 s names RFC 4787',
    ['timeouts: { udp: 30 }'],
    [
      't.yaml:3:18: timeouts.udp: must be a whole number of seconds from 120 to 2592000 (RFC 4787 REQ-5 wants at least 120), not 30',
    ],
  ],
  [
    'REQ-19 TCP timeouts name RFC 5382',
    ['timeouts: { tcp_established: 7439, tcp_transitory: 239 }'],
    [
      't.yaml:3:30: timeouts.tcp_established: must be a whole number of seconds from 7440 to 2592000 (RFC 5382 REQ-5 wants at least 2 h 4 min = 7440), not 7439',
      't.yaml:3:52: timeouts.tcp_transitory: must be a whole number of seconds from 240 to 2592000 (RFC 5382 REQ-5 wants at least 4 min = 240), not 239',
    ],
  ],
  [
    'REQ-25 an ICMP timeout names RFC 5508',
    ['timeouts: { icmp: 59.5 }'],
    [
      't.yaml:3:19: timeouts.icmp: must be a whole number of seconds from 60 to 2592000 (RFC 5508 REQ-2 wants at least 60), not 59.5',
    ],
  ],
  [
    'the flow table has a size that the layout can hold',
    ['limits: { flows: 1000 }'],
    [
      't.yaml:3:18: limits.flows: must be a whole number from 1024 to 4194304 (the flow table has room for 1024 to 4194304 rows), not 1000',
    ],
  ],
  [
    'an address with a leading zero',
    ['forwards: [{ ports: 80, to: 010.1.1.1 }]'],
    [
      't.yaml:3:29: forwards[0].to: "010.1.1.1" has a number with a leading zero, which some programs read as octal; write it without',
    ],
  ],
  [
    'a host part in a prefix',
    ['block: [198.51.100.7/24]'],
    ['t.yaml:3:9: block[0]: "198.51.100.7/24" has address bits behind its /24; did you mean 198.51.100.0/24?'],
  ],
  [
    'a prefix length',
    ['block: [198.51.100.0/33]'],
    [
      't.yaml:3:9: block[0]: "198.51.100.0/33" has a prefix length that is not 0 to 32; write a prefix like 192.0.2.0/24',
    ],
  ],
  [
    'a port that is none',
    ['forwards: [{ ports: "80,0", to: 172.22.161.2 }, { ports: 70000, to: 172.22.161.2 }]'],
    [
      't.yaml:3:21: forwards[0].ports: "0" in "80,0" is not a port; ports are 1 to 65535, written like 2222, 10000-10999 or 20000-29999,40000-59999,~25000-25010',
      't.yaml:3:58: forwards[1].ports: must be a port from 1 to 65535, or text like "10000-10999,~10500", not 70000',
    ],
  ],
  [
    'a range that runs backwards',
    ['forwards: ["90-80:172.22.161.2"]'],
    ['t.yaml:3:12: forwards[0]: "90-80" runs backwards; did you mean 80-90?'],
  ],
  [
    'ranges of unequal length',
    ['forwards: ["80-90:172.22.161.2:80-91"]'],
    [
      "t.yaml:3:12: forwards[0]: 80-90 are 11 ports but the target's 80-91 are 12; make both equally long, or give the target one port (did you mean 80-91?)",
    ],
  ],
  [
    'tcp without ports, icmp with ports',
    ['forwards: [{ to: 172.22.161.2 }, { to: 172.22.161.2, proto: icmp, ports: 3 }]'],
    [
      't.yaml:3:12: forwards[0]: `ports` is missing; tcp and udp are forwarded by port, like `ports: 10000-10999`',
      't.yaml:3:34: forwards[1]: icmp has no ports; leave `ports` out',
    ],
  ],
  [
    'an unknown protocol, alone, in a list and in a text',
    [
      'forwards:',
      '  - { ports: 1, to: 172.22.161.2, proto: udb }',
      '  - { ports: 2, to: 172.22.161.2, proto: [tcp, sctp] }',
      '  - 3:172.22.161.2:3/tpc',
    ],
    [
      't.yaml:4:42: forwards[0].proto: unknown protocol "udb"; did you mean "udp"? (allowed: tcp, udp, icmp, all)',
      't.yaml:5:48: forwards[1].proto[1]: unknown protocol "sctp" (allowed: tcp, udp, icmp, all)',
      't.yaml:6:5: forwards[2]: "3:172.22.161.2:3/tpc" has an unknown protocol "tpc"; did you mean "tcp"? (allowed: tcp, udp, icmp, all)',
    ],
  ],
  [
    'overlap of two forwards names both',
    [
      'forwards:',
      '  - { name: web, ports: 80-90, to: 172.22.161.2 }',
      '  - { ports: 443, to: 172.22.161.2 }',
      '  - "85-87:172.22.161.3:85-87/tcp"',
    ],
    [
      't.yaml:6:5: forwards[2]: forward "85-87/tcp" and forward "web" at t.yaml:4:5 both take tcp ports 85-87; a port has one target',
    ],
  ],
  [
    'overlaps that touch in one port, or hide behind a shorter one',
    ['forwards: ["80-90:172.22.161.2", "90-110:172.22.161.2", "100:172.22.161.2", "111:172.22.161.2"]'],
    [
      't.yaml:3:34: forwards[1]: forward "90-110/tcp" and forward "80-90/tcp" at t.yaml:3:12 both take tcp port 90; a port has one target',
      't.yaml:3:57: forwards[2]: forward "100/tcp" and forward "90-110/tcp" at t.yaml:3:34 both take tcp port 100; a port has one target',
    ],
  ],
  [
    'overlap of all protocols with icmp',
    ['forwards: [{ to: 172.22.161.2, proto: all }, { to: 172.22.161.3, proto: icmp }]'],
    [
      't.yaml:3:46: forwards[1]: forward "/icmp" and forward "/all" at t.yaml:3:12 both take ICMP; a port has one target',
    ],
  ],
  [
    'a name used twice',
    ['forwards: [{ name: a, ports: 1, to: 172.22.161.2 }, { name: a, ports: 2, to: 172.22.161.2 }]'],
    ['t.yaml:3:61: forwards[1].name: "a" is already the name of the forward at t.yaml:3:12; names tell rules apart'],
  ],
  [
    'a target outside every LAN',
    ['forwards: ["80:172.22.162.2:80"]'],
    ['t.yaml:3:12: forwards[0].to: target 172.22.162.2 is in no LAN (there is: 172.22.161.0/24)'],
  ],
  [
    'a target that is no host',
    ['forwards: ["80:172.22.161.255", "81:172.22.161.0"]'],
    [
      't.yaml:3:12: forwards[0].to: target 172.22.161.255 is the broadcast address of 172.22.161.0/24',
      't.yaml:3:33: forwards[1].to: target 172.22.161.0 is the network address of 172.22.161.0/24',
    ],
  ],
  [
    'a public address that no uplink has',
    ['forwards: ["203.0.113.9:80:172.22.161.2:80"]'],
    ['t.yaml:3:12: forwards[0].address: 203.0.113.9 is not an address of an uplink (there is: 203.0.113.8)'],
  ],
  [
    'a forward on the port of the metrics listener',
    ['forwards: ["9469:172.22.161.2"]', 'metrics: { listen: 0.0.0.0:9469 }'],
    ['t.yaml:3:12: forwards[0].ports: port 9469 is taken by metrics.listen 0.0.0.0:9469; move one of them'],
  ],
  [
    'nat rules that can never apply',
    ['nat: [{ from: 10.0.0.1 }, { to: 192.0.2.0/24 }, { to: 192.0.2.0/24, proto: [] }, { to: 192.0.2.0/24, name: x }]'],
    [
      't.yaml:3:15: nat[0].from: 10.0.0.1/32 is in no LAN (there is: 172.22.161.0/24), so the rule would never apply',
      't.yaml:3:76: nat[2].proto: is an empty list; it must be tcp, udp, icmp, or a list of them',
      't.yaml:3:82: nat[3]: matches the same flows as the rule at t.yaml:3:27, so it would never apply; remove one of them',
    ],
  ],
  [
    'translate: false with a mapping',
    ['nat: [{ to: 10.0.0.0/8, translate: false, mapping: endpoint-dependent }]'],
    ['t.yaml:3:7: nat[0]: `translate: false` leaves no meaning to `mapping`; remove one of them'],
  ],
  [
    'a listener by name',
    ['metrics: { listen: "localhost:9469" }'],
    [
      't.yaml:3:20: metrics.listen: "localhost" in "localhost:9469" is not an address; write off, or an address and a port like 127.0.0.1:9469 or [::1]:9469',
    ],
  ],
  ['workers', ['workers: 0'], ['t.yaml:3:10: workers: must be auto or 1 to 64, not 0']],
  [
    'a TUN name that is taken',
    ['tun: { name: vmbr1 }'],
    ['t.yaml:3:14: tun.name: vmbr1 is an uplink or LAN; the TUN device is made by tungate and needs a name of its own'],
  ],
  [
    'a section of the wrong kind',
    ['forwards: { a: 1 }', 'log: info'],
    [
      't.yaml:3:11: forwards: must be a list, not a map',
      't.yaml:4:6: log: must be a map like { level: info }, not "info"',
    ],
  ],
];

for (const [name, lines, expected] of BAD) {
  test(`error: ${name}`, () => assert.deepEqual(errorsOf(UPLINK, LANS, ...lines), expected));
}

test('REQ-8 LAN and uplink, LAN and LAN: overlaps name both', () => {
  assert.deepEqual(
    errorsOf(
      'uplink: { interface: eth0, address: 10.1.0.5 }',
      'lans:',
      '  - { interface: a, subnet: 10.1.0.0/16 }',
      '  - { interface: b, subnet: 10.1.7.0/24 }',
      '  - { interface: eth0, subnet: 10.2.0.0/16 }',
    ),
    [
      't.yaml:3:29: lans[0].subnet: 10.1.0.0/16 holds 10.1.0.5, the address of the uplink at t.yaml:1:9; inside and outside must not overlap (REQ-8)',
      't.yaml:4:29: lans[1].subnet: 10.1.7.0/24 overlaps 10.1.0.0/16 of the LAN at t.yaml:3:5; each address belongs to one LAN',
      't.yaml:5:18: lans[2].interface: eth0 is the uplink at t.yaml:1:9; it cannot be a LAN too',
    ],
  );
});

test('what is missing is named with an example; uplink and uplinks exclude each other', () => {
  assert.deepEqual(errorsOf('parity: true'), [
    't.yaml:1:1: `uplink` is missing; name the interface to the internet, like `uplink: { interface: eth0, address: auto }`',
    't.yaml:1:1: `lans` is missing; name the inside networks, like `lans: [{ interface: vmbr1, subnet: 192.168.7.0/24 }]`',
  ]);
  assert.deepEqual(errorsOf('uplink: {}', 'lans: []'), [
    't.yaml:1:9: uplink.interface: is missing; it must be the name of a network interface',
    't.yaml:2:7: lans: is an empty list; it must have at least one LAN',
  ]);
  assert.deepEqual(errorsOf('uplink: { interface: a }', 'uplinks: [{ interface: b }]', LANS), [
    't.yaml:1:1: uplink: `uplink` and `uplinks` are both there; `uplink: X` is short for `uplinks: [X]`, keep one',
  ]);
});

test('an error in a LAN does not make its forwards wrong too, and all errors come at once, in the order of the file', () => {
  assert.deepEqual(
    errorsOf(
      UPLINK,
      'lans: [{ interface: vmbr1, subnet: 172.22.161.1/24 }]',
      'forwards: ["80:172.22.161.2", 7]',
      'workers: many',
    ),
    [
      't.yaml:2:36: lans[0].subnet: "172.22.161.1/24" has address bits behind its /24; did you mean 172.22.161.0/24?',
      't.yaml:3:31: forwards[1]: must be a text like "2222:192.168.7.10:22/tcp", or a map with `to`, not 7',
      't.yaml:4:10: workers: must be auto or 1 to 64, not "many"',
    ],
  );
});

test('text that is no YAML, no map or nothing at all', () => {
  assert.deepEqual(errorsOf(''), [
    't.yaml:1:1: is empty; it needs `uplink` and `lans`, or `links` (`tungate init` writes a config to start from)',
  ]);
  assert.deepEqual(errorsOf('hello'), ['t.yaml:1:1: must be a map with keys like `uplink` and `lans`, not "hello"']);
  assert.deepEqual(errorsOf('lans: [', ''), [
    't.yaml:2:1: cannot be read as YAML: flow sequence in block collection must be sufficiently indented and end with a ]',
  ]);
  assert.deepEqual(errorsOf('a: 1', '---', 'b: 2'), [
    't.yaml:2:1: a second YAML document begins here (---); a config is one document',
  ]);
  assert.match(errorsOf('['.repeat(100_000))[0]!, /nested too deeply/);
  assert.deepEqual(errorsOf(UPLINK, LANS, 'block: !secret x').length, 1);
});

test('keys that are no words, and many of them', () => {
  assert.deepEqual(errorsOf(UPLINK, LANS, '? [a]', ': 1'), ['t.yaml:3:3: a key must be a plain word']);
  const many = Array.from({ length: 5000 }, (_, i) => `k${i}: 1`);
  assert.equal(errorsOf(UPLINK, LANS, ...many).length, 5000);
});

test('an alias bomb is refused, not expanded', () => {
  const bomb = ['a: &a [x,x,x,x,x,x,x,x,x]'];
  for (let i = 1; i < 12; i++) {
    const [old, now] = [String.fromCharCode(96 + i), String.fromCharCode(97 + i)];
    bomb.push(`${now}: &${now} [${Array(9).fill(`*${old}`).join(',')}]`);
  }
  assert.match(errorsOf(...bomb)[0]!, /^t\.yaml:1:1: cannot be read as YAML: /);
});

test('a file that is missing, a folder, or no text has a clear message', () => {
  const folder = mkdtempSync(join(tmpdir(), 'tungate-config-'));
  try {
    const message = (path: string) => {
      const result = loadConfig(path);
      return 'errors' in result ? formatErrors(result.errors) : 'ok';
    };
    const file = join(folder, 'x.yaml');
    assert.equal(message(file), `${file}: no such file; \`tungate init\` writes a config for this host to start from`);
    assert.equal(message(folder), `${folder}: is a folder; name the file in it`);
    writeFileSync(file, Buffer.from([0x61, 0x3a, 0xff]));
    assert.equal(message(file), `${file}: is not UTF-8 text`);
    writeFileSync(file, `${UPLINK}\n${LANS}\n`);
    assert.equal(message(file), 'ok');
  } finally {
    rmSync(folder, { recursive: true });
  }
});
