/**
 * The table against senders who choose their tuples: who knows the code but not the key gets no crowded bucket and no long
 * probe. Bounds of structure, not of time; the same loads by the clock are in bench/flow/table.ts.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { BUCKET, Words } from '../../src/contract/table-layout.js';
import { Sweeper } from '../../src/flow/expiry.js';
import { hashTables, hashTuple } from '../../src/flow/hash.js';
import type { FlowTable } from '../../src/flow/table.js';
import { makePlan } from '../datapath/rig.js';
import { newTable, plainFlow, xorshift } from './fixture.js';

const FLOWS = 1 << 16;
type Tuple = readonly [src: number, dst: number, ports: number];

/** Tuples an attacker would try, n = 0, 1, 2… All differ, forwards and backwards. */
const ATTACKS: Record<string, (n: number) => Tuple> = {
  'one host, ports one after the other': (n) => [0x0a000001, 0x08080808 + (n >>> 16), ((n & 0xffff) << 16) | 80],
  'one host, destinations one after the other': (n) => [0x0a000001, 0x20000000 + n, (1024 << 16) | 80],
  '65,000 hosts, one flow each': (n) => [0x0a000000 + n, 0x08080808, (1024 << 16) | 80],
  'strides of a power of two': (n) => [0x0a000001, (n << 16) | 0x2000, (0x400 << 16) | 80 | ((n >>> 16) << 4)],
  'a cube: few values in every byte': (n) => [
    0x0a000000 | (n & 15) | ((n & 0xf0) << 4),
    0x20000000 | ((n & 0xf00) << 12),
    ((n >>> 12) << 20) | 80,
  ],
  'tuples that collide under another key': colliding(),
};

/** Tuples whose hash under a known key is of one bucket in 256. */
function colliding(): (n: number) => Tuple {
  const other = hashTables(0x12345678, 0x0badcafe);
  const found: Tuple[] = [];
  const random = xorshift(7);
  return (n) => {
    while (found.length <= n) {
      const tuple: Tuple = [0x0a000000 | (random() & 0xffff), random() | 0, (random() & 0xffff0000) | 80];
      if (hashTuple(other, ...tuple, 17) >>> 24 === 0) found.push(tuple);
    }
    return found[n]!;
  };
}

function randomTuples(): (n: number) => Tuple {
  const random = xorshift(99);
  return () => [random() | 0, random() | 0, random() | 0];
}

interface Load {
  /** Rows that the table took before the first refusal. */
  rows: number;
  /** Buckets without a free entry. */
  full: number;
}

function fill(tuples: (n: number) => Tuple): Load {
  const table = newTable(FLOWS);
  let rows = 0;
  while (rows < FLOWS && table.insert(plainFlow(...tuples(rows)), 1000) >= 0) rows++;
  return { rows, full: fullBuckets(table) };
}

function fullBuckets(table: FlowTable): number {
  const { words } = table.index;
  let full = 0;
  for (let at = 0; at < words.length; at += BUCKET)
    if (words.subarray(at, at + BUCKET).every((word) => word !== 0)) full++;
  return full;
}

const fair = fill(randomTuples());
const buckets = newTable(FLOWS).layout.flowBuckets;

test('random tuples fill every row of the table, and few buckets', () => {
  assert.equal(fair.rows, FLOWS);
  assert.ok(fair.full < buckets / 20, `${fair.full} of ${buckets} buckets are full`);
});

for (const [name, tuples] of Object.entries(ATTACKS)) {
  test(`hash flooding, ${name}: every row is filled and hardly more buckets than by random tuples`, () => {
    const load = fill(tuples);
    assert.equal(load.rows, FLOWS, 'the index refuses nothing while there are rows');
    assert.ok(load.full < buckets / 20, `${load.full} of ${buckets} buckets are full, ${fair.full} by random tuples`);
  });
}

test('REQ-69 a slice of the sweep ends a bounded number of flows, and all of them are ended in the end', () => {
  const table = newTable(FLOWS);
  for (let n = 0; n < FLOWS; n++) table.insert(plainFlow(0x0a000000 + n, 0x08080808, 80), 1000);
  const sweeper = new Sweeper(table);
  const { timeouts } = makePlan();
  let slices = 0;
  do {
    const before = sweeper.flows;
    sweeper.step(2001, timeouts);
    slices++;
    assert.ok(sweeper.flows - before <= 256, `${sweeper.flows - before} flows end in one slice`);
  } while (sweeper.behind);
  assert.equal(sweeper.flows, FLOWS);
  assert.ok(slices <= FLOWS / 256 + 40, `${slices} slices`);
});

/** Longest run of used slots: what a search walks at worst. */
function longestRun(words: Int32Array, width: number): number {
  let longest = 0;
  let run = 0;
  for (let at = 0; at < words.length; at += width) longest = Math.max(longest, (run = words[at] === 0 ? 0 : run + 1));
  return longest;
}

const HOSTS: Record<string, (n: number) => number> = {
  'hosts of one subnet': (n) => 0x0a000000 + n,
  'hosts 256 apart': (n) => 0x0a000000 + (n << 8),
  'hosts in two bytes of few values': (n) => 0x0a000000 | (n & 127) | ((n >>> 7) << 16),
};

for (const [name, host] of Object.entries(HOSTS)) {
  test(`probe tables, ${name}: no search walks further than a small part of the table`, () => {
    const { hosts } = newTable(FLOWS).mappings;
    const slots = Math.floor(hosts.words.length / Words.HOST);
    // Three quarters full, which is more than limits let one LAN reach.
    const count = Math.floor(slots * 0.75);
    for (let n = 0; n < count; n++) assert.ok(hosts.findOrInsert(host(n), 0) >= 0);
    const longest = longestRun(hosts.words, Words.HOST);
    assert.ok(longest < 400, `${longest} slots in a row of ${slots}`);
  });
}

test('pinholes of one mapping with 30,000 remotes: no search walks further than a small part of the table', () => {
  const { pinholes } = newTable(FLOWS).mappings;
  for (let n = 0; n < 30_000; n++) assert.ok(pinholes.findOrInsert(1, 0x20000000 + n) >= 0);
  const longest = longestRun(pinholes.words, Words.PINHOLE);
  assert.ok(longest < 400, `${longest} slots in a row`);
});
