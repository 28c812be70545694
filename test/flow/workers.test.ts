import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { Worker } from 'node:worker_threads';
import { Header, tableLayout } from '../../src/contract/table-layout.js';
import { joinTable, openTable } from '../../src/flow/open.js';
import { native } from '../../src/native.js';
import { BOOT } from './fixture.js';
import { checkTable } from './invariants.js';
import type { WorkerReport, WorkerTask } from './worker-thread.js';

const FLOWS = 4096;
const SECONDS = 3;

test('workers that share a table insert, remove, look up and claim at once: no lookup is wrong, the table stays whole', async (t) => {
  const dir = mkdtempSync(join(tmpdir(), 'tungate-workers-'));
  t.after(() => rmSync(dir, { recursive: true, force: true }));
  const path = join(dir, 'flows');
  const { buffer } = native.mapFile(path, tableLayout(FLOWS).bytes);
  const { table } = openTable(buffer, FLOWS, BOOT, 1000, native);

  const reports = await Promise.all(
    [0, 1, 2].map((index) => {
      const task: WorkerTask = { path, flows: FLOWS, index, seed: 77 + index, milliseconds: SECONDS * 1000 };
      const worker = new Worker(new URL('worker-thread.js', import.meta.url), { workerData: task });
      return new Promise<WorkerReport>((resolve, reject) => {
        worker.once('message', resolve);
        worker.once('error', reject);
        worker.once('exit', () => reject(new Error(`worker ${index} ended without a report`)));
      });
    }),
  );

  for (const [index, report] of reports.entries()) {
    assert.deepEqual(report.wrong, [], `worker ${index}`);
    assert.ok(report.inserts > 1000, `worker ${index} made ${report.inserts} flows`);
    assert.ok(report.lookups > 10_000 && report.hits > 1000, `worker ${index}: ${JSON.stringify(report)}`);
    assert.equal(report.refusedPorts, 0, 'the pool has room for all: no worker runs dry of what another has released');
  }
  checkTable(table);
  checkTable(joinTable(buffer, FLOWS, native));
  assert.ok(table.header[Header.LIVE_FLOWS]! > 0);
});
