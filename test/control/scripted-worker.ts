/**
 * A worker that keeps the contract of contract/mailbox.ts and moves no packets. What it does wrong, and when, stands in
 * `plan.interfaces[0].name`: "die-soon", "hang", or nothing. A plan with the name "die-now" kills it instead of an answer.
 */
import { once } from 'node:events';
import { parentPort, receiveMessageOnPort } from 'node:worker_threads';
import { Mail, type ToWorker, type WorkerInit } from '../../src/contract/mailbox.js';
import type { Plan } from '../../src/contract/plan.js';
import { native } from '../../src/native.js';

const port = parentPort!;
const [init] = (await once(port, 'message')) as [WorkerInit];
const mailbox = new Int32Array(init.mailbox);
const counters = new Float64Array(init.counters);
const poller = native.pollerCreate();
native.pollerAdd(poller, init.wakeFd, 0);

const orders = (plan: Plan) => plan.interfaces[0]?.name ?? '';
let plan = init.plan;
// Each life leaves a mark in a counter, which outlives it.
counters[0] = counters[0]! + 1;
Atomics.store(mailbox, Mail.ALIVE, Math.floor(native.boottime() / 1000));
port.postMessage({ kind: 'ready', adopted: 0, refused: '' });

for (let running = true; running; ) {
  native.pollerWait(poller, 200);
  native.wakeClear(init.wakeFd);
  if (orders(plan) !== 'hang') Atomics.store(mailbox, Mail.ALIVE, Math.floor(native.boottime() / 1000));
  for (let got = receiveMessageOnPort(port); got; got = receiveMessageOnPort(port)) {
    Atomics.add(mailbox, Mail.TAKEN, 1);
    const message = got.message as ToWorker;
    if (message.kind === 'stop') running = false;
    else if (message.kind === 'end-flows')
      port.postMessage({ kind: 'flows-ended', id: message.id, ended: message.flows.length });
    else if (message.kind === 'plan') {
      plan = message.plan;
      if (orders(plan) === 'die-now' && init.index === 1 && counters[0] === 1) throw new Error('told to die');
      port.postMessage({ kind: 'plan-done', generation: plan.generation, stayed: 1, moved: 0, ended: 2 });
    }
  }
}
port.postMessage({ kind: 'stopped' });
port.close();
