/** Token buckets of inside hosts, shared by the workers. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { newHostRates } from '../../src/contract/host-rates.js';
import { HostRates } from '../../src/flow/host-rates.js';

const HOST = 0x0a070005;

function allowed(workers: readonly HostRates[], tries: number, rate: number, now: number, host = HOST): number {
  let count = 0;
  for (let i = 0; i < tries; i++) if (workers[i % workers.length]!.allow(host, rate, now)) count++;
  return count;
}

test('REQ-32 the rate of new mappings is one for all workers, and each second begins it anew', () => {
  const shared = newHostRates();
  const workers = [1, 2, 3].map(() => new HostRates(shared));
  assert.equal(allowed(workers, 1000, 50, 7), 50);
  assert.equal(allowed(workers, 1000, 50, 7, HOST + 1), 50, 'another host has its own');
  assert.equal(allowed(workers, 1000, 50, 7), 0);
  assert.equal(allowed(workers, 30, 50, 8), 30);
  assert.equal(allowed(workers, 1000, 50, 8), 20, 'what was left of the second');
});

test('REQ-32 a worker whose clock is not yet at the second that others are in gets no second of its own', () => {
  const shared = newHostRates();
  const [early, late] = [new HostRates(shared), new HostRates(shared)];
  let count = 0;
  for (let i = 0; i < 1000; i++) count += Number(late.allow(HOST, 50, 8)) + Number(early.allow(HOST, 50, 7));
  assert.equal(count, 50);
});
