/** Interfaces, addresses, routes, rules, qdiscs and filters: judged by `ip -j` and `tc -j` in a namespace of the test's own. */
import assert from 'node:assert/strict';
import { execFileSync, spawn } from 'node:child_process';
import { test } from 'node:test';
import { ipv4Number, ipv4Text } from '../../src/host/ipv4.js';
import {
  addAddress,
  deleteAddress,
  deleteLink,
  findLink,
  readAddresses,
  readLinks,
  setLink,
} from '../../src/host/link.js';
import { KernelError, Netlink } from '../../src/host/netlink.js';
import { addRoute, deleteRoute, readRoutes, readRules } from '../../src/host/route.js';
import {
  addClsact,
  clsactOf,
  deleteClsact,
  deleteFilter,
  EGRESS,
  ETH_P_IP,
  INGRESS,
  readFilters,
  readQdiscs,
  writeFilter,
} from '../../src/host/tc.js';
import { inNamespace } from '../in-namespace.js';

const ip = (...args: string[]): string => execFileSync('ip', args, { encoding: 'utf8' });
const json = (program: string, ...args: string[]): Record<string, never>[] =>
  JSON.parse(execFileSync(program, ['-j', ...args], { encoding: 'utf8' }) || '[]');

inNamespace("the kernel's tables by netlink", import.meta.url, ['--net'], () => {
  ip('link', 'set', 'lo', 'up');
  ip('link', 'add', 'br0', 'type', 'bridge');
  ip('link', 'add', 'v0', 'type', 'veth', 'peer', 'name', 'v1');
  ip('link', 'set', 'v0', 'master', 'br0', 'up');
  ip('link', 'set', 'v1', 'mtu', '1400', 'txqueuelen', '77', 'up');
  ip('link', 'add', 'br.100', 'type', 'bridge');
  ip('addr', 'add', '10.0.0.1/24', 'dev', 'br0');
  ip('addr', 'add', '10.0.0.7/24', 'dev', 'br0');
  ip('addr', 'add', '192.0.2.1', 'peer', '192.0.2.9', 'dev', 'v1');
  ip('link', 'set', 'br0', 'up');
  ip('route', 'add', 'default', 'via', '10.0.0.254');
  ip('route', 'add', '10.5.0.0/16', 'metric', '7', 'nexthop', 'via', '10.0.0.2', 'nexthop', 'via', '10.0.0.3');
  ip('route', 'add', 'blackhole', '10.6.0.0/16');
  ip('route', 'add', '10.7.0.0/16', 'dev', 'br0', 'table', '4000', 'src', '10.0.0.7');
  ip('rule', 'add', 'pref', '100', 'from', '10.9.0.0/16', 'iif', 'br0', 'lookup', '4000');
  const nl = new Netlink();

  test('interfaces are those of `ip link`', () => {
    const seen = readLinks(nl).map((link) => [link.index, link.name, link.mtu, link.txqueuelen, link.up, link.kind]);
    const judge = json('ip', '-d', 'link').map((link: Record<string, unknown>) => [
      link.ifindex,
      link.ifname,
      link.mtu,
      link.txqlen,
      (link.flags as string[]).includes('UP'),
      (link.linkinfo as { info_kind?: string } | undefined)?.info_kind ?? '',
    ]);
    assert.deepEqual(seen, judge);
    assert.equal(findLink(nl, 'v0')?.master, findLink(nl, 'br0')?.index);
    assert.equal(findLink(nl, 'lo')?.loopback, true);
    assert.equal(findLink(nl, 'br.100')?.kind, 'bridge');
  });

  test('an interface that is not there is undefined, by name, by index and by a name that is too long', () => {
    assert.equal(findLink(nl, 'none'), undefined);
    assert.equal(findLink(nl, 9999), undefined);
    assert.equal(findLink(nl, 'a-name-longer-than-fifteen'), undefined);
  });

  test('addresses are those of `ip addr`, peers and secondary ones included', () => {
    const names = new Map(readLinks(nl).map(({ index, name }) => [index, name]));
    const seen = readAddresses(nl).map((one) => [
      names.get(one.index),
      ipv4Text(one.address),
      one.length,
      one.secondary,
    ]);
    const judge = json('ip', '-4', 'addr').flatMap((link: Record<string, unknown>) =>
      (link.addr_info as Record<string, unknown>[]).map((one) => [
        link.ifname,
        one.local,
        one.prefixlen,
        one.secondary ?? false,
      ]),
    );
    assert.deepEqual(seen, judge);
    assert.ok(seen.length >= 4);
  });

  test('routes are those of `ip route show table all`', () => {
    const names = new Map(readLinks(nl).map(({ index, name }) => [index, name]));
    const seen = readRoutes(nl).map((route) => [
      `${ipv4Text(route.prefix)}/${route.length}`,
      route.type,
      route.table,
      names.get(route.index) ?? '',
      route.gateway === 0 ? '' : ipv4Text(route.gateway),
      route.metric,
    ]);
    const tables: Record<string, number> = { local: 255, main: 254, default: 253 };
    const judge = json('ip', '-4', '-d', 'route', 'show', 'table', 'all').map((route: Record<string, unknown>) => {
      const hop = (route.nexthops as Record<string, unknown>[] | undefined)?.[0] ?? route;
      const dst = String(route.dst === 'default' ? '0.0.0.0/0' : route.dst);
      return [
        dst.includes('/') ? dst : `${dst}/32`,
        route.type,
        tables[String(route.table ?? 'main')] ?? Number(route.table),
        hop.dev ?? '',
        hop.gateway ?? '',
        route.metric ?? 0,
      ];
    });
    assert.deepEqual(seen.toSorted(), judge.toSorted());
    assert.ok(seen.some(([prefix, , table]) => prefix === '10.7.0.0/16' && table === 4000));
  });

  test('rules are those of `ip rule`', () => {
    const seen = readRules(nl).map(({ priority, iif, sourceLength }) => [priority, iif, sourceLength]);
    const judge = json('ip', 'rule').map((rule: Record<string, unknown>) => [
      rule.priority,
      rule.iif ?? '',
      rule.srclen ?? 0,
    ]);
    assert.deepEqual(seen, judge);
    assert.equal(readRules(nl).find(({ priority }) => priority === 100)?.table, 4000);
  });

  test('settings, addresses and routes are made and taken away', () => {
    const index = findLink(nl, 'v1')!.index;
    setLink(nl, index, { mtu: 1300, txqueuelen: 2000, up: false });
    let link = findLink(nl, index)!;
    assert.deepEqual([link.mtu, link.txqueuelen, link.up], [1300, 2000, false]);
    setLink(nl, index, { up: true });
    link = findLink(nl, index)!;
    assert.deepEqual([link.mtu, link.txqueuelen, link.up], [1300, 2000, true]);

    addAddress(nl, index, ipv4Number('203.0.113.5'), 32);
    assert.match(ip('addr', 'show', 'v1'), /203\.0\.113\.5\/32/);
    deleteAddress(nl, index, ipv4Number('203.0.113.5'), 32);
    assert.doesNotMatch(ip('addr', 'show', 'v1'), /203\.0\.113/);

    const route = { prefix: ipv4Number('10.8.0.0'), length: 16, index: findLink(nl, 'br0')!.index, metric: 9 };
    addRoute(nl, { ...route, gateway: ipv4Number('10.0.0.254') });
    assert.match(ip('route'), /10\.8\.0\.0\/16 via 10\.0\.0\.254 dev br0 proto static metric 9/);
    deleteRoute(nl, route);
    assert.doesNotMatch(ip('route'), /10\.8\.0\.0/);

    ip('link', 'add', 'gone0', 'type', 'bridge');
    deleteLink(nl, findLink(nl, 'gone0')!.index);
    assert.equal(findLink(nl, 'gone0'), undefined);
  });

  test('an error says which request failed, why, and what the kernel said about it', () => {
    assert.throws(
      () => addAddress(nl, 9999, ipv4Number('10.0.0.1'), 32),
      (error) => {
        assert.ok(error instanceof KernelError);
        assert.equal(error.code, 'ENODEV');
        assert.match(error.message, /^cannot add address 10\.0\.0\.1\/32 to interface 9999: no such device \(ENODEV\)/);
        return true;
      },
    );
  });

  test('the socket is usable after an error, and answers are never mixed up', () => {
    for (let i = 0; i < 50; i++) {
      assert.throws(() => deleteLink(nl, 9999), KernelError);
      assert.equal(findLink(nl, 'lo')?.index, 1);
    }
  });

  test('clsact is added once, found, and taken away', () => {
    const index = findLink(nl, 'v1')!.index;
    assert.equal(clsactOf(nl, index), undefined);
    addClsact(nl, index);
    assert.equal(clsactOf(nl, index), 'clsact');
    assert.ok(json('tc', 'qdisc', 'show', 'dev', 'v1').some((qdisc) => qdisc.kind === 'clsact'));
    assert.equal(readQdiscs(nl, index).filter(({ kind }) => kind === 'clsact').length, 1);
    assert.throws(() => addClsact(nl, index), { code: 'EEXIST' });
    deleteClsact(nl, index);
    assert.equal(clsactOf(nl, index), undefined);
    ip('link', 'add', 'old0', 'type', 'bridge');
    execFileSync('tc', ['qdisc', 'add', 'dev', 'old0', 'ingress']);
    assert.equal(clsactOf(nl, findLink(nl, 'old0')!.index), 'ingress');
  });

  test('a filter is written, replaced in place, listed beside those of others, and deleted', () => {
    const index = findLink(nl, 'v1')!.index;
    addClsact(nl, index);
    execFileSync('tc', [
      'filter',
      'add',
      'dev',
      'v1',
      'ingress',
      'pref',
      '7',
      'protocol',
      'ip',
      'bpf',
      'bytecode',
      '1,6 0 0 0',
    ]);
    const key = { index, parent: INGRESS, priority: 50, protocol: ETH_P_IP, handle: 3 };
    const ret = (k: number): Uint8Array => new Uint8Array([6, 0, 0, 0, k, 0, 0, 0]);
    const write = (k: number, exclusive = false): void =>
      writeFilter(nl, key, 'bpf', (options) => void options.attrU16(4, 1).attr(5, ret(k)).attrU32(8, 1), exclusive);
    write(0);
    assert.throws(() => write(0, true), { code: 'EEXIST' });
    write(2);
    const filters = readFilters(nl, index, INGRESS);
    assert.deepEqual(
      filters.map(({ priority, kind, handle, protocol }) => [priority, kind, handle, protocol]),
      [
        [7, 'bpf', 1, ETH_P_IP],
        [50, 'bpf', 3, ETH_P_IP],
      ],
    );
    assert.deepEqual(filters[1]!.options.get(5), ret(2));
    assert.match(
      execFileSync('tc', ['filter', 'show', 'dev', 'v1', 'ingress'], { encoding: 'utf8' }),
      /pref 50 bpf chain 0 handle 0x3/,
    );
    assert.deepEqual(readFilters(nl, index, EGRESS), []);
    deleteFilter(nl, key, 'bpf');
    assert.throws(() => deleteFilter(nl, key, 'bpf'), { code: 'ENOENT' });
    assert.equal(readFilters(nl, index, INGRESS).length, 1);
    assert.deepEqual(readFilters(nl, 9999, INGRESS), []);
  });

  test('a dump of thousands of routes comes whole while another process changes the table', async () => {
    const index = findLink(nl, 'br0')!.index;
    const before = readRoutes(nl).length;
    for (let i = 0; i < 3000; i++) addRoute(nl, { prefix: ipv4Number('44.0.0.0') + i * 256, length: 24, index });
    assert.equal(readRoutes(nl).length, before + 3000);
    // In front of, between and behind the 3000, over and over.
    const lines = [43, 44, 45].flatMap((first) =>
      ['add', 'del'].map((verb) => `route ${verb} ${first}.5.5.128/25 dev br0`),
    );
    const batch = Array.from({ length: 4000 }, () => lines.join('\n')).join('\n');
    const noise = spawn('ip', ['-batch', '-'], { stdio: ['pipe', 'ignore', 'inherit'] });
    noise.stdin.end(batch);
    let running = true;
    const ended = new Promise<void>((resolve) => noise.once('exit', () => resolve()));
    ended.then(() => (running = false));
    let dumps = 0;
    for (; running && dumps < 100; dumps++) {
      const lasting = readRoutes(nl).filter(({ length, prefix }) => length === 24 && prefix >>> 24 === 44);
      assert.equal(lasting.length, 3000);
      await new Promise((resolve) => setImmediate(resolve));
    }
    noise.kill();
    await ended;
    assert.ok(dumps > 3);
  });

  test('a closed socket says so', () => {
    const other = new Netlink();
    other.close();
    other.close();
    assert.throws(() => other.dump(18, new Uint8Array(16)), /the netlink socket is closed/);
  });
});
