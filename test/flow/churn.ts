/**
 * A program: makes and ends flows in a table file as fast as it can, until it is killed. Says "ready" once when it has begun.
 * Arguments: path of the file, seed.
 */

import { Batch } from '../../src/batch.js';
import { counterView, newCounters } from '../../src/contract/counters.js';
import { tableLayout } from '../../src/contract/table-layout.js';
import { cycle } from '../../src/datapath/cycle.js';
import { Engine } from '../../src/datapath/engine.js';
import { openTable } from '../../src/flow/open.js';
import { MemoryLink } from '../../src/link/index.js';
import { native } from '../../src/native.js';
import { makePlan } from '../datapath/rig.js';
import { BUSY, Traffic } from '../datapath/traffic.js';
import { BOOT } from './fixture.js';

const [path, seed] = process.argv.slice(2);
const flows = 1024;
const { buffer } = native.mapFile(path!, tableLayout(flows).bytes);
const { table } = openTable(buffer, flows, BOOT, 1000, native);
table.quarantine = 0;
const engine = new Engine(table, makePlan(BUSY), counterView(newCounters()));
const packets = new Traffic(Number(seed) + 1).packets(1000);
const link = new MemoryLink('churn', () => 1_000_000);
const batch = new Batch();
for (let n = 0; ; n++) {
  for (const packet of packets) link.push(packet);
  while (cycle(engine, link, batch) > 0);
  link.take();
  if (n === 0) process.stdout.write('ready\n');
  // Every second flow ends: rows, mappings and ports are in motion all the time.
  for (let row = n & 1; row < flows; row += 2) {
    if ((table.rows[row * 16]! & 1) === 0) continue;
    table.lock.acquire();
    table.remove(row, 1000, row & 2 ? 0 : 120);
    table.lock.release();
  }
}
