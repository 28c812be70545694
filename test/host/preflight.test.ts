/** Preflight against real sockets and real nft rules in a namespace of the test's own. */
import assert from 'node:assert/strict';
import { execFileSync, spawn } from 'node:child_process';
import dgram from 'node:dgram';
import net from 'node:net';
import { after, test } from 'node:test';
import { OWNER_POOL, type Plan } from '../../src/contract/plan.js';
import type { PortInterval } from '../../src/contract/steering.js';
import type { Check, PreflightInput } from '../../src/host/check.js';
import { ipv4Number } from '../../src/host/ipv4.js';
import { readLinks } from '../../src/host/link.js';
import { Netlink } from '../../src/host/netlink.js';
import { preflight } from '../../src/host/preflight.js';
import { writeSysctl } from '../../src/host/sysctl.js';
import { readWorld } from '../../src/host/world.js';
import { inNamespace } from '../in-namespace.js';

const P = ipv4Number('203.0.113.10');

/** Uplink up0 with P, LAN lan0, a pool of 20000-49999 and one forward on 8080. */
function input(change: Partial<Record<'lan' | 'lanSubnet' | 'shared' | 'links', unknown>> = {}): PreflightInput {
  const owners = [0, 1, 2].map(() => new Uint16Array(65_536)) as unknown as Plan['addresses'][0]['owners'];
  owners[0].fill(OWNER_POOL, 20_000, 50_000)[8080] = 1;
  owners[1].fill(OWNER_POOL, 20_000, 50_000);
  const ports: PortInterval[] = [
    { first: 8080, last: 8080 },
    { first: 20_000, last: 49_999 },
  ];
  const shared = change.shared !== false;
  const plan = {
    uplinks: [{ interface: 'up0', out: 1, addresses: [0] }],
    lans: [
      {
        interface: change.lan ?? 'lan0',
        out: 2,
        subnet: { prefix: ipv4Number(String(change.lanSubnet ?? '172.22.161.0')), mask: -256 },
        gateway: 0,
      },
    ],
    addresses: [{ address: P, uplink: 0, shared, owners }],
    forwards: [{ id: 1, name: 'web' }],
    links: change.links ?? [],
  } as unknown as Plan;
  return {
    tun: 'tungate0',
    plan,
    steering: { claims: [{ address: P, shared, tcp: ports, udp: ports.slice(1), other: false }] },
    reservedPorts: ports,
  };
}

inNamespace('preflight', import.meta.url, ['--net'], () => {
  const nl = new Netlink();
  const ip = (...args: string[]): string => execFileSync('ip', args, { encoding: 'utf8' });
  ip('link', 'set', 'lo', 'up');
  ip('link', 'add', 'up0', 'type', 'veth', 'peer', 'name', 'up1');
  ip('addr', 'add', '203.0.113.10/24', 'dev', 'up0');
  ip('link', 'set', 'up0', 'up');
  ip('link', 'add', 'lan0', 'type', 'bridge');
  ip('link', 'set', 'lan0', 'up');

  const run = (given: PreflightInput | undefined = input()): Check[] => preflight(given, readWorld(nl));
  const named = (checks: Check[], name: string): Check[] => checks.filter((check) => check.name === name);
  const rules = (text: string): void => {
    execFileSync('nft', ['-f', '-'], { input: `flush ruleset\n${text}` });
  };

  test('a host that is as it should be: every line ok, and nothing is left behind', () => {
    const before = readLinks(nl).map(({ name }) => name);
    const checks = run();
    assert.deepEqual(
      checks.filter(({ status }) => status !== 'ok'),
      [],
    );
    const names = checks.map(({ name }) => name);
    for (const name of ['kernel', 'addon', 'capability', 'sysctl', 'tun', 'offloads', 'steering', 'ip_forward']) {
      assert.ok(names.includes(name), name);
    }
    assert.deepEqual(
      readLinks(nl).map(({ name }) => name),
      before,
    );
  });

  test('without a config only the machine is looked at', () => {
    assert.deepEqual(
      preflight(undefined, readWorld(nl)).map(({ name }) => name),
      ['kernel', 'addon', 'capability', 'sysctl', 'tun', 'offloads', 'steering', 'ip_forward', 'rp_filter'],
    );
  });

  test('an interface that is missing fails with those that are there, but does not block; one that is down warns', () => {
    const [missing] = named(run(input({ lan: 'vmbr1' })), 'interface vmbr1');
    assert.equal(missing?.status, 'fail');
    assert.equal(missing.blocks, false);
    assert.match(missing.remedy, /present are: .*up0/);
    ip('link', 'set', 'lan0', 'down');
    assert.equal(named(run(), 'interface lan0')[0]?.status, 'warn');
    ip('link', 'set', 'lan0', 'up');
  });

  test('REQ-8 a LAN that overlaps the network of the uplink blocks, and both are named', () => {
    const [check] = named(run(input({ lanSubnet: '203.0.113.0' })), 'overlap');
    assert.equal(check?.blocks, true);
    assert.match(check.detail, /LAN 203\.0\.113\.0\/24 \(lan0\) overlaps 203\.0\.113\.0\/24 on the uplink up0/);
  });

  test('a public address that the host does not answer ARP for', () => {
    assert.equal(named(run(input({ shared: false })), 'address 203.0.113.10')[0]?.status, 'ok');
    writeSysctl('net/ipv4/conf/up0/arp_ignore', '1');
    assert.match(named(run(input({ shared: false })), 'address 203.0.113.10')[0]!.detail, /arp_ignore is 1/);
    writeSysctl('net/ipv4/conf/up0/arp_ignore', '0');
  });

  test('sockets on claimed ports: forward and pool, any address, IPv6 that takes IPv4; the process is named', async () => {
    const servers: net.Server[] = [];
    const listen = (port: number, host: string, ipv6Only = false): Promise<void> =>
      new Promise((resolve) => {
        const server = net.createServer();
        servers.push(server);
        server.listen({ port, host, ipv6Only }, () => resolve());
      });
    await listen(8080, '203.0.113.10');
    await listen(25_000, '::');
    await listen(25_001, '0.0.0.0');
    await listen(25_002, '127.0.0.1');
    await listen(25_003, '::', true);
    await listen(22, '0.0.0.0');
    const udp = dgram.createSocket('udp4');
    await new Promise<void>((resolve) => udp.bind(22_222, () => resolve()));
    const found = named(run(), 'sockets');
    for (const server of servers) server.close();
    udp.close();
    assert.deepEqual(found.map(({ status, detail }) => [status, /(tcp|udp) port \d+/.exec(detail)?.[0]]).toSorted(), [
      ['fail', 'tcp port 25000'],
      ['fail', 'tcp port 25001'],
      ['fail', 'tcp port 8080'],
      ['warn', 'udp port 22222'],
    ]);
    assert.ok(found.every(({ detail }) => detail.startsWith(`node (pid ${process.pid}) holds`)));
    assert.match(found.find(({ detail }) => detail.includes('8080'))!.detail, /forward "web" takes/);
    assert.match(found.find(({ detail }) => detail.includes('25000'))!.remedy, /~25000/);
  });

  test('conversations of the host on ports of the pool are announced', async () => {
    const server = net.createServer(() => {});
    await new Promise<void>((resolve) => server.listen(80, '203.0.113.10', () => resolve()));
    const client = net.connect({ port: 80, host: '203.0.113.10', localAddress: '203.0.113.10', localPort: 33_333 });
    await new Promise<void>((resolve) => client.once('connect', () => resolve()));
    const [check] = named(run(), 'conversations');
    client.destroy();
    server.close();
    assert.match(check!.detail, /^1 connections of this host use ports that the router will own/);
  });

  test('fewer than 8192 automatic ports left for the host', () => {
    writeSysctl('net/ipv4/ip_local_port_range', '30000 52000');
    assert.match(named(run(), 'automatic ports')[0]!.detail, /^2001 automatic source ports of 30000-52000/);
    assert.equal(named(run(), 'automatic ports')[0]!.status, 'warn');
    writeSysctl('net/ipv4/ip_local_port_range', '30000 40000');
    assert.equal(named(run(), 'automatic ports')[0]!.status, 'fail');
    writeSysctl('net/ipv4/ip_local_port_range', '32768 60999');
  });

  const netfilter: [string, string, ('ok' | 'warn' | 'fail')[], RegExp][] = [
    ['no rules', '', ['ok'], /no chains/],
    ['a forward policy drop with nothing in it', forward('policy drop;', ''), ['fail'], /policy drop and no rule/],
    ['… with an accept for the TUN', forward('policy drop;', 'iifname "tungate0" accept'), ['ok'], /no rule/],
    ['… for all of its kind', forward('policy drop;', 'iifname "tun*" accept'), ['ok'], /no rule/],
    ['… for another device', forward('policy drop;', 'iifname "eth0" accept'), ['fail'], /policy drop and no rule/],
    ['… for all but the TUN', forward('policy drop;', 'iifname != "tungate0" accept'), ['fail'], /policy drop and/],
    ['… for what leaves by the uplink only', forward('policy drop;', 'oifname "up0" accept'), ['warn'], /for certain/],
    ['invalid dropped', forward('', 'ct state invalid drop'), ['fail'], /conntrack calls invalid/],
    ['invalid rejected', forward('', 'ct state invalid reject'), ['fail'], /conntrack calls invalid/],
    ['all but good states dropped', forward('', 'ct state != { established, related, new } drop'), ['ok'], /no rule/],
    ['only one state allowed', forward('', 'ct state != established drop'), ['fail'], /invalid/],
    ['other states dropped', forward('', 'ct state new drop'), ['ok'], /no rule/],
    [
      'invalid dropped by a map',
      forward('', 'ct state vmap { invalid : drop, established : accept }'),
      ['fail'],
      /invalid/,
    ],
    ['a map that drops others', forward('', 'ct state vmap { untracked : drop }'), ['ok'], /no rule/],
    [
      'invalid dropped after the TUN was accepted',
      forward('', 'iifname "tungate0" accept; ct state invalid drop'),
      ['ok'],
      /no/,
    ],
    ['invalid dropped for others', forward('', 'iifname "eth0" ct state invalid drop'), ['ok'], /no rule/],
    [
      'invalid dropped in a chain that is jumped to',
      'table inet f { chain sub { ct state invalid drop\n}\nchain base { type filter hook forward priority 0; jump sub\n}\n}',
      ['fail'],
      /\(in sub\)/,
    ],
    [
      'invalid dropped, but the TUN is not tracked',
      `${forward('', 'ct state invalid drop')}\ntable ip r { chain p { type filter hook prerouting priority raw; iifname "tungate0" notrack\n}\n}`,
      ['ok'],
      /no rule/,
    ],
    [
      'masquerade as Docker does it',
      nat('ip saddr 172.17.0.0/16 oifname != "docker0" masquerade'),
      ['fail'],
      /masquerade rule/,
    ],
    ['masquerade on another device', nat('oifname "wlan0" masquerade'), ['ok'], /no rule/],
    ['masquerade of our own LAN, left over', nat('ip saddr 172.22.161.0/24 masquerade'), ['ok'], /no rule/],
    ['masquerade with ports beside the pool', nat('meta l4proto tcp masquerade to :50000-60000'), ['ok'], /no rule/],
    ['masquerade with ports of the pool', nat('meta l4proto tcp masquerade to :49000-60000'), ['fail'], /49000-49999/],
    ['SNAT to P', nat('oifname "up0" snat to 203.0.113.10'), ['fail'], /snat rule .* 203\.0\.113\.10/],
    [
      'SNAT to P with ports beside the pool',
      nat('meta l4proto udp snat to 203.0.113.10:50000-50001'),
      ['ok'],
      /no rule/,
    ],
    ['SNAT to another address', nat('snat to 203.0.113.11'), ['ok'], /no rule/],
    ['DNAT is no source NAT', nat('accept', 'prerouting', 'dnat to 10.0.0.1'), ['ok'], /no rule/],
  ];
  for (const [name, text, statuses, detail] of netfilter) {
    test(`netfilter: ${name}`, () => {
      rules(text);
      const found = named(run(), 'netfilter');
      assert.deepEqual(
        found.map(({ status }) => status),
        statuses,
        JSON.stringify(found),
      );
      assert.match(found[0]!.detail, detail);
      assert.equal(
        found.every(({ status, remedy }) => (status === 'ok') === (remedy === '')),
        true,
      );
    });
  }

  test('the remedies for nft, typed as they are printed, cure what they are for', () => {
    rules(`${forward('policy drop;', 'ct state invalid drop')}`);
    for (let round = 0; round < 5; round++) {
      const [check] = named(run(), 'netfilter').filter(({ status }) => status !== 'ok');
      if (!check) return;
      execFileSync('sh', ['-c', check.remedy.replace(/^[^:]*: /, '')]);
    }
    assert.fail('still not cured');
  });

  test('REQ-63 nothing that preflight did stays: no module, no rule, no device', () => {
    rules('');
    run();
    assert.equal(execFileSync('nft', ['list', 'ruleset'], { encoding: 'utf8' }).trim(), '');
  });

  after(() => nl.close());

  function forward(policy: string, body: string): string {
    return `table inet f { chain base { type filter hook forward priority 0; ${policy}\n${body.replaceAll('; ', '\n')}\n}\n}`;
  }
  function nat(body: string, hook = 'postrouting', second = ''): string {
    const chain = hook === 'postrouting' ? body : second;
    return `table ip n { chain c { type nat hook ${hook} priority ${hook === 'postrouting' ? 'srcnat' : 'dstnat'};\n${chain}\n}\n}`;
  }

  test('links: a port that somebody holds, and an INPUT chain that may not let it in', async () => {
    const given = input({
      links: [
        { name: 'hq', listen: 51820 },
        { name: 'out', listen: 0 },
      ],
    });
    const found = () => named(run(given), 'links').map(({ status, detail, remedy }) => [status, detail, remedy]);
    rules('');
    assert.deepEqual(found(), [
      ['ok', 'UDP port 51820 of link "hq" is free', ''],
      ['ok', 'link "out" takes any free UDP port, and calls first', ''],
    ]);
    const child = spawn(process.execPath, [
      '-e',
      "require('dgram').createSocket('udp4').bind(51820, () => console.log('bound'))",
    ]);
    await new Promise((resolve) => child.stdout.once('data', resolve));
    assert.deepEqual(found()[0], [
      'fail',
      `node (pid ${child.pid}) holds UDP port 51820 of link "hq"`,
      'stop it, or give the link another port (wireguard.listen)',
    ]);
    child.kill();
    await new Promise((resolve) => child.once('exit', resolve));
    rules(
      'table inet filter { chain input { type filter hook input priority 0; policy drop; ct state established accept; }; }',
    );
    assert.deepEqual(found()[2], [
      'warn',
      'chain input of table inet filter has policy drop; one of its rules may let UDP port 51820 in',
      'nft insert rule inet filter input udp dport 51820 accept',
    ]);
    rules(
      'table inet filter { chain input { type filter hook input priority 0; policy drop; iifname "up0" accept; }; }',
    );
    assert.equal(found().length, 2);
    rules('');
  });
});
