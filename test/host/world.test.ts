import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { test } from 'node:test';
import type { World } from '../../src/contract/world.js';
import { ipv4Number } from '../../src/host/ipv4.js';
import { Netlink } from '../../src/host/netlink.js';
import { addRoute, deleteRoute } from '../../src/host/route.js';
import { readWorld, watchWorld } from '../../src/host/world.js';
import { inNamespace } from '../in-namespace.js';

const ip = (...args: string[]): string => execFileSync('ip', args, { encoding: 'utf8' });
const sleep = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

inNamespace('world', import.meta.url, ['--net'], () => {
  const nl = new Netlink();
  ip('link', 'set', 'lo', 'up');

  /** Runs `act`, and waits until the watch has shown a world that satisfies `seen`. */
  async function watched(act: () => void, seen: (world: World) => boolean): Promise<World[]> {
    const worlds: World[] = [];
    const watch = watchWorld((world) => worlds.push(world));
    try {
      act();
      for (const end = Date.now() + 10_000; !worlds.some(seen); ) {
        assert.ok(Date.now() < end, `not seen in ${worlds.length} snapshots`);
        await sleep(5);
      }
      return worlds;
    } finally {
      watch.close();
    }
  }
  const has = (world: World, name: string): boolean => world.interfaces.some((one) => one.name === name);

  test('an interface that comes, goes up, gets an address and a route, and goes again', async () => {
    await watched(
      () => ip('link', 'add', 'w0', 'type', 'veth', 'peer', 'name', 'w1'),
      (world) => has(world, 'w0') && has(world, 'w1'),
    );
    await watched(
      () => ip('link', 'set', 'w0', 'up'),
      (world) => world.interfaces.some(({ name, up }) => name === 'w0' && up),
    );
    await watched(
      () => ip('addr', 'add', '10.1.0.1/24', 'dev', 'w0'),
      ({ addresses, routes }) =>
        addresses.some(({ address, length }) => address === ipv4Number('10.1.0.1') && length === 24) &&
        routes.some(
          ({ prefix, mask, type }) => prefix === ipv4Number('10.1.0.0') && mask === -256 && type === 'unicast',
        ) &&
        routes.some(
          ({ prefix, table, type }) => prefix === ipv4Number('10.1.0.1') && table === 255 && type === 'local',
        ),
    );
    await watched(
      () => ip('route', 'add', 'blackhole', '10.3.0.0/16'),
      ({ routes }) => routes.some((route) => route.type === 'blackhole' && route.interface === 0),
    );
    await watched(
      () => ip('addr', 'del', '10.1.0.1/24', 'dev', 'w0'),
      ({ addresses }) => !addresses.some(({ address }) => address === ipv4Number('10.1.0.1')),
    );
    await watched(
      () => ip('link', 'del', 'w0'),
      (world) => !has(world, 'w0'),
    );
  });

  test('a burst of changes gives few snapshots, and the last one is the truth', async () => {
    const worlds = await watched(
      () => {
        for (let i = 0; i < 40; i++) ip('link', 'add', `b${i}`, 'type', 'bridge');
      },
      (world) => has(world, 'b39'),
    );
    assert.ok(worlds.length < 10, `${worlds.length} snapshots`);
    await sleep(200);
    assert.deepEqual(worlds.at(-1), readWorld(nl));
  });

  test('what happened between the snapshot that the caller has and the watch is reported', async () => {
    const known = readWorld(nl);
    ip('link', 'add', 'early0', 'type', 'bridge');
    let last: World | undefined;
    const watch = watchWorld((world) => (last = world), undefined, known);
    for (let i = 0; i < 1000 && !last; i++) await sleep(5);
    watch.close();
    assert.ok(last && has(last, 'early0'));
  });

  test('changes that the snapshot does not show are not reported', async () => {
    let calls = 0;
    const watch = watchWorld(() => calls++);
    ip('route', 'add', '10.4.0.0/16', 'dev', 'lo', 'table', '4000');
    ip('link', 'set', 'lo', 'txqueuelen', '999');
    await sleep(300);
    watch.close();
    assert.equal(calls, 0);
  });

  test('lost notifications (ENOBUFS) end in a true snapshot all the same', async () => {
    let last: World | undefined;
    const errors: Error[] = [];
    const watch = watchWorld(
      (world) => (last = world),
      (error) => errors.push(error),
    );
    // One long stretch without the event loop: far more notifications than the socket's buffer holds.
    const route = (i: number) => ({ prefix: ipv4Number('44.0.0.0') + i * 256, length: 24, index: 1 });
    for (let lap = 0; lap < 4; lap++) {
      for (let i = 0; i < 4000; i++) addRoute(nl, route(i));
      for (let i = lap === 3 ? 1 : 0; i < 4000; i++) deleteRoute(nl, route(i));
    }
    for (let i = 0; i < 2000 && !last; i++) await sleep(5);
    watch.close();
    assert.deepEqual(errors, []);
    assert.deepEqual(last, readWorld(nl));
  });

  test('a closed watch says nothing any more', async () => {
    let calls = 0;
    const watch = watchWorld(() => calls++);
    ip('link', 'add', 'late0', 'type', 'bridge');
    watch.close();
    await sleep(200);
    assert.equal(calls, 0);
  });
});
