/** Steering in a kernel that other people use too. Judge: tc(8). */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { release, tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, beforeEach, test } from 'node:test';
import type { PortInterval, Steering } from '../../src/contract/steering.js';
import { Journal } from '../../src/host/journal.js';
import { Netlink } from '../../src/host/netlink.js';
import { applySteering, largestProgram, removeSteering, verifySteering } from '../../src/host/steer.js';
import { steeringFilters } from '../../src/host/steer-programs.js';
import { inNamespace } from '../in-namespace.js';
import { ip, prefix } from './steer-packets.js';
import { CATCH_ALL, linkIndex, quietNamespace, sh, Tap } from './wire.js';

inNamespace('installing steering', import.meta.url, ['--net'], () => {
  quietNamespace();
  const folder = mkdtempSync(join(tmpdir(), 'tungate-steer-'));
  after(() => rmSync(folder, { recursive: true }));
  const nl = new Netlink();
  const tun = new Tap('tun0');
  let journals = 0;
  let path = '';
  let journal: Journal;

  beforeEach(() => {
    for (const name of ['up0', 'lan0', 'lan1']) {
      sh(`ip link del ${name} 2>/dev/null || true
          ip link add ${name} type veth peer name ${name}w; ip link set ${name} up; ip link set ${name}w up`);
    }
    sh('tc qdisc del dev lo clsact 2>/dev/null || true');
    path = join(folder, `undo-${journals++}`);
    journal = new Journal(path);
  });

  const ports = (count: number, from = 20_000): PortInterval[] =>
    Array.from({ length: count }, (_, i) => ({ first: from + i * 10, last: from + i * 10 + 5 }));

  function steering(tcp: PortInterval[] = ports(3), lans: readonly string[] = ['lan0', 'lan1']): Steering {
    const subnets = lans.map((_, i) => prefix(`172.22.${161 + i}.0/24`));
    return {
      tun: tun.index,
      claims: [{ address: ip('203.0.113.10'), shared: true, tcp, udp: ports(1), other: false }],
      uplinks: [{ interface: 'up0', index: linkIndex('up0') }],
      lans: lans.map((name, i) => ({ interface: name, index: linkIndex(name), subnets: [subnets[i]!] })),
      lanSubnets: subnets,
      hostAddresses: [ip('203.0.113.10'), ip('172.22.161.1')],
      untranslated: [],
      sites: [],
      ipv6: null,
      foreign: [],
    };
  }

  /** Qdiscs and filters of all interfaces, as tc prints them, without counters and times. */
  function state(): string {
    return sh(`for d in up0 lan0 lan1 lo; do
      tc qdisc show dev $d; tc filter show dev $d ingress; tc filter show dev $d egress; done`);
  }

  test('of several filters the kernel asks first those with the shortest programs, which have the widest ranges', () => {
    // Far from each other: where they stand close, one instruction decides many.
    const far = Array.from({ length: 1500 }, (_, i) => ({ first: 1000 + i * 40, last: 1000 + i * 40 }));
    const wanted = steering([...far, { first: 62_000, last: 65_000 }]);
    applySteering(nl, wanted, journal);
    const largest = largestProgram(release());
    const made = steeringFilters(wanted, largest).filter(
      (one) => one.interface === 'up0' && one.hook === 'ingress' && one.action === 'redirect',
    );
    const shown = [...sh('tc filter show dev up0 ingress').matchAll(/handle (0x[0-9a-f]+)/g)].map((m) => Number(m[1]));
    const asked = shown.flatMap((handle) => made.filter((one) => one.handle === handle));
    assert.ok(asked.length > 2 && asked.length === made.length);
    const lengths = asked.map(({ program }) => program.length);
    assert.deepEqual(
      lengths,
      lengths.toSorted((a, b) => a - b),
    );
  });

  test('start and stop leave tc as it was; in between each filter is there', () => {
    const before = state();
    const wanted = steeringFilters(steering());
    const report = applySteering(nl, steering(), journal);
    assert.equal(report.created.length, wanted.length);
    assert.equal((state().match(/bytecode/g) ?? []).length, wanted.length);
    assert.deepEqual(verifySteering(nl, steering(), journal), []);
    const { deleted } = removeSteering(nl, journal);
    assert.equal(deleted.length, wanted.length);
    assert.equal(state(), before);
    assert.deepEqual(journal.changes, []);
  });

  test('LANs come first at start, and go last at stop, also those that a reload added', () => {
    const first = applySteering(nl, steering(ports(1), ['lan0']), journal);
    assert.match(first.created[0]!, /^drop .* ingress of lan0$/);
    assert.match(first.created.at(-1)!, /egress of lo$/);
    applySteering(nl, steering(), journal);
    const order = removeSteering(nl, journal).deleted.map((line) => / of (\w+)$/.exec(line)![1]);
    const firstLan = order.findIndex((name) => name!.startsWith('lan'));
    assert.ok(
      order.slice(firstLan).every((name) => name!.startsWith('lan')),
      order.join(' '),
    );
  });

  test('the same steering again touches nothing; another one is swapped in place', () => {
    applySteering(nl, steering(), journal);
    const before = state();
    const again = applySteering(nl, steering(), journal);
    assert.deepEqual([again.created, again.replaced, again.deleted], [[], [], []]);
    assert.equal(state(), before);
    const changed = applySteering(nl, steering(ports(5)), journal);
    assert.deepEqual([changed.created, changed.deleted], [[], []]);
    assert.ok(changed.replaced.length > 0);
    assert.ok(
      changed.replaced.every((line) => !/drop .* of up0/.test(line)),
      'what does not depend on the ports stays',
    );
    const places = (text: string): string[] => text.match(/pref \d+ bpf chain 0 handle \S+/g) ?? [];
    assert.deepEqual(places(state()), places(before));
  });

  test("REQ-63 a stranger's clsact and filters stay as they are, whatever their priority", () => {
    sh(`tc qdisc add dev up0 clsact
        tc filter add dev up0 ingress pref 100 protocol ip ${CATCH_ALL.replace('4294967295', '0')} action mirred egress mirror dev lan0
        tc filter add dev up0 ingress pref 103 protocol arp ${CATCH_ALL.replace('4294967295', '0')} direct-action
        tc filter add dev up0 egress protocol all ${CATCH_ALL.replace('4294967295', '0')} direct-action`);
    const before = state();
    applySteering(nl, steering(), journal);
    const prefs = new Set([...state().matchAll(/pref (\d+) bpf/g)].map(([, pref]) => Number(pref)));
    assert.deepEqual([...prefs].filter((pref) => pref < 200).sort(), [100, 101, 102, 103], 'ours: 101 and 102 on up0');
    applySteering(nl, steering(ports(900)), journal);
    applySteering(nl, steering(), journal);
    removeSteering(nl, journal);
    assert.equal(state(), before);
  });

  test("a stranger's filter on a clsact that we made keeps the qdisc", () => {
    applySteering(nl, steering(), journal);
    sh(`tc filter add dev up0 ingress pref 500 protocol all ${CATCH_ALL.replace('4294967295', '0')} direct-action`);
    removeSteering(nl, journal);
    assert.match(sh('tc filter show dev up0 ingress'), /pref 500/);
    assert.deepEqual(
      journal.changes.map(({ kind }) => kind),
      ['qdisc'],
    );
  });

  test('a filter of ours that somebody deletes is missed, and put back', () => {
    applySteering(nl, steering(), journal);
    sh('tc filter del dev lan0 ingress pref 101');
    const missing = verifySteering(nl, steering(), journal);
    assert.match(missing.join('\n'), /^redirect filter pref 101 handle 0x1 on ingress of lan0 is missing$/);
    assert.deepEqual(applySteering(nl, steering(), journal).created.length, 1);
    sh('tc qdisc del dev lan1 clsact');
    assert.equal(verifySteering(nl, steering(), journal).length, 2);
    applySteering(nl, steering(), journal);
    assert.deepEqual(verifySteering(nl, steering(), journal), []);
    removeSteering(nl, journal);
  });

  test('a filter of ours that somebody changes is noticed, and set right in place', () => {
    applySteering(nl, steering(), journal);
    sh(
      `tc filter replace dev lan0 ingress pref 101 handle 1 protocol all ${CATCH_ALL} action mirred egress redirect dev lan1`,
    );
    assert.match(verifySteering(nl, steering(), journal).join('\n'), /ingress of lan0 is not the one that was set/);
    const { replaced, created } = applySteering(nl, steering(), journal);
    assert.deepEqual([replaced.length, created.length], [1, 0]);
    removeSteering(nl, journal);
  });

  test('after a crash the next daemon goes on with what is there', () => {
    applySteering(nl, steering(), journal);
    const adopted = new Journal(path);
    const report = applySteering(nl, steering(), adopted);
    assert.deepEqual([report.created, report.replaced, report.deleted], [[], [], []]);
    const before = state();
    assert.match(before, /bytecode/);
    removeSteering(nl, adopted);
    assert.doesNotMatch(state(), /bytecode|clsact/);
  });

  test('a new TUN: each redirect is swapped for one that leads there', () => {
    const other = new Tap('tun9');
    applySteering(nl, { ...steering(), tun: other.index }, journal);
    other.close();
    const missing = verifySteering(nl, steering(), journal);
    assert.ok(missing.length >= 5 && missing.every((line) => line.startsWith('redirect')), missing.join('\n'));
    const { replaced } = applySteering(nl, steering(), journal);
    assert.equal(replaced.length, missing.length);
    assert.deepEqual(verifySteering(nl, steering(), journal), []);
    removeSteering(nl, journal);
  });

  test('1,000 port ranges: tc can show and the kernel can delete every filter, also while somebody runs tc monitor', async (t) => {
    const monitor = spawn('tc', ['monitor'], { stdio: ['ignore', 'pipe', 'inherit'] });
    let told = '';
    monitor.stdout.on('data', (chunk) => (told += chunk));
    try {
      await new Promise((resolve) => setTimeout(resolve, 200));
      const before = state();
      const many = steering(ports(1000));
      const wanted = steeringFilters(many, largestProgram(release()));
      const started = performance.now();
      applySteering(nl, many, journal);
      const took = performance.now() - started;
      assert.deepEqual(verifySteering(nl, many, journal), []);
      assert.equal((state().match(/bytecode/g) ?? []).length, wanted.length);
      removeSteering(nl, journal);
      assert.equal(state(), before);
      for (const end = Date.now() + 10_000; !told.includes('deleted filter'); ) {
        assert.ok(Date.now() < end, 'tc monitor has told of no deleted filter');
        await new Promise((resolve) => setTimeout(resolve, 20));
      }
      t.diagnostic(`${wanted.length} filters set in ${took.toFixed(0)} ms`);
    } finally {
      monitor.kill();
    }
  });

  test('undo from the journal alone (tungate clean) takes them away as well', () => {
    const before = state();
    applySteering(nl, steering(ports(500)), journal);
    const report = Journal.load(path)!.undoAll(nl);
    assert.deepEqual([report.failed, report.left], [[], []]);
    assert.equal(state(), before);
  });

  test('an interface that vanished is named; the others are steered', () => {
    const gone = steering();
    sh('ip link del lan1');
    const report = applySteering(nl, gone, journal);
    assert.deepEqual(report.vanished, ['lan1']);
    assert.match(sh('tc filter show dev lan0 ingress'), /bytecode/);
    removeSteering(nl, journal);
    assert.deepEqual(journal.changes, []);
  });

  test('an old ingress qdisc will do on a LAN; on an uplink the remedy is named', () => {
    sh('tc qdisc add dev lan0 ingress');
    applySteering(nl, steering(), journal);
    assert.match(sh('tc filter show dev lan0 ingress'), /bytecode/);
    removeSteering(nl, journal);
    sh('tc qdisc add dev up0 ingress');
    assert.throws(() => applySteering(nl, steering(), journal), /interface up0 has an ingress qdisc.*clsact/);
    removeSteering(nl, journal);
  });
});
