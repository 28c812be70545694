import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { ServiceManager } from '../../src/control/service-manager.js';
import { Lab } from '../../src/lab/index.js';
import { Manager } from '../deploy/manager.js';

let lab: Lab;
let manager: Manager;
before(async () => {
  lab = new Lab();
  manager = new Manager(lab, join(lab.dir, 'notify'));
  for (let tries = 0; !existsSync(manager.socket) && tries < 200; tries++) await sleep(20);
});
after(() => lab.close());

test('the watchdog is fed while the workers live, not when one does not, and again when it does', async () => {
  const health = { alive: true, text: 'well' };
  const service = new ServiceManager({ NOTIFY_SOCKET: manager.socket, WATCHDOG_USEC: '100000' });
  service.ready(() => health);
  await manager.says('WATCHDOG=1');
  health.alive = false;
  await sleep(100);
  let from = manager.events.length;
  await sleep(400);
  const starved = manager.messages.slice(from);
  assert.ok(starved.length >= 2, 'the status goes on');
  assert.ok(!starved.some((message) => message.includes('WATCHDOG')), starved.join('|'));
  health.alive = true;
  await manager.says('WATCHDOG=1', from);
  service.stopping('bye\nFDSTORE=1');
  await manager.says('STOPPING=1', from);
  from = manager.events.length;
  await sleep(200);
  assert.deepEqual(manager.messages.slice(from), [], 'silence after STOPPING=1');
  assert.ok(
    manager.messages.some((message) => message.includes('STATUS=bye FDSTORE=1\n')),
    'a line stays a line',
  );
});

test('variables that are meant for another process are not obeyed, and none is left for children', () => {
  const environment: Record<string, string | undefined> = {
    NOTIFY_SOCKET: '/nowhere',
    WATCHDOG_USEC: '1000000',
    WATCHDOG_PID: '1',
    LISTEN_PID: '1',
    LISTEN_FDS: '2',
    LISTEN_FDNAMES: 'tun:tun',
    HOME: '/root',
  };
  const service = new ServiceManager(environment, 4711);
  assert.deepEqual(service.takeTunFds(), []);
  assert.deepEqual(environment, { HOME: '/root' });
});

test('descriptors are taken by their name; those of others are not ours', () => {
  const service = new ServiceManager({ LISTEN_PID: '7', LISTEN_FDS: '3', LISTEN_FDNAMES: 'tun:api:tun' }, 7);
  assert.deepEqual(service.takeTunFds(), [3, 5]);
});

test('without a manager, or with one that is gone, everything is silence', () => {
  for (const environment of [{}, { NOTIFY_SOCKET: '/nowhere/at/all' }, { NOTIFY_SOCKET: '@nobody-is-here' }]) {
    const service = new ServiceManager(environment);
    service.ready(() => ({ alive: true, text: '' }));
    service.reloading();
    service.storeTunFds([]);
    service.stopping('');
  }
});
