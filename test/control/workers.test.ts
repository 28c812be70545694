import assert from 'node:assert/strict';
import { afterEach, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Plan } from '../../src/contract/plan.js';
import { createLog } from '../../src/control/log.js';
import { WorkerSet } from '../../src/control/workers.js';

const SCRIPTED = new URL('./scripted-worker.js', import.meta.url);
const said: string[] = [];
let set: WorkerSet | undefined;

const planOf = (generation: number, orders = ''): Plan =>
  ({ generation, interfaces: [{ name: orders, mtu: 0, uplink: -1, lan: -1 }] }) as unknown as Plan;

function workers(count: number): WorkerSet {
  said.length = 0;
  set = new WorkerSet({
    tunFds: Array.from({ length: count }, () => -1),
    tableFile: '/nowhere',
    flows: 1024,
    plan: planOf(1),
    log: createLog('debug', 'text', { write: (line) => said.push(line) }),
    entry: SCRIPTED,
    onLinkLost: () => {},
  });
  return set;
}

afterEach(async () => {
  await set?.stop();
  set?.close();
  set = undefined;
});

async function until(what: string, test: () => boolean): Promise<void> {
  for (const late = Date.now() + 30_000; !test(); await sleep(50))
    if (Date.now() > late) assert.fail(`${what}; log: ${said.join('')}`);
}

test('all are ready after start; a plan reaches all, and what became of the flows is summed up', async () => {
  const set = workers(3);
  await set.start();
  assert.deepEqual(
    set.status().map(({ state, restarts }) => [state, restarts]),
    Array(3).fill(['ready', 0]),
  );
  assert.deepEqual(await set.setPlan(planOf(2)), { stayed: 3, moved: 0, ended: 6 });
});

test('flows are ended by one worker', async () => {
  const set = workers(2);
  await set.start();
  assert.equal(
    await set.endFlows([
      { index: 1, generation: 1 },
      { index: 2, generation: 1 },
    ]),
    2,
  );
});

test('a worker that dies is logged, and all are started again with the plan in force; counters live on', async () => {
  const set = workers(2);
  await set.start();
  // The death comes instead of an answer: the others have answered, and the dead one is born with the new plan.
  const swapped = await set.setPlan(planOf(2, 'die-now'));
  assert.equal(swapped.stayed, 1);
  await until('restarted', () => set.status().every(({ state, restarts }) => state === 'ready' && restarts === 1));
  assert.match(said.join(''), /error: worker 1 died: told to die/);
  assert.match(said.join(''), /worker 1 ended with code 1; starting all workers again, flows are kept/);
  assert.deepEqual(
    set.counters.map((block) => block[0]),
    [2, 2],
  );
  assert.deepEqual(await set.setPlan(planOf(3)), { stayed: 2, moved: 0, ended: 4 });
});

test('a worker that hangs is seen, and replaced', async () => {
  const set = workers(1);
  await set.start();
  await set.setPlan(planOf(2, 'hang'));
  await until('seen', () => set.status()[0]!.state === 'stuck');
  await until('replaced', () => set.status()[0]!.restarts > 0);
  assert.match(said.join(''), /worker 0 has not moved for \d+ s; starting all workers again/);
});

test('stop during a restart ends it', async () => {
  const set = workers(2);
  await set.start();
  await set.setPlan(planOf(2, 'die-now'));
  await set.stop();
  await sleep(300);
  assert.ok(
    set.status().every(({ state }) => state !== 'ready'),
    JSON.stringify(set.status()),
  );
});
