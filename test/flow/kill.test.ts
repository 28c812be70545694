/**
 * A writer's death at 200 moments under insert load: what the next start finds is consistent, nobody has another's port, every flow that
 * stood goes on as it was, and none lives that did not.
 */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { copyFileSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { Header, MappingRow, Row, RowFlag, tableLayout, Words } from '../../src/contract/table-layout.js';
import { openTable } from '../../src/flow/open.js';
import { native } from '../../src/native.js';
import { BOOT, xorshift } from './fixture.js';
import { checkTable } from './invariants.js';

const MOMENTS = 200;
const KILLS = 5;
/** As churn.ts has it. */
const FLOWS = 1024;
const NOW = 1000;
const CHURN = fileURLToPath(new URL('churn.js', import.meta.url));
const layout = tableLayout(FLOWS);
const { bytes } = layout;

/** The words that say who a flow or mapping is, and what is written into its packets. */
const FLOW_WORDS = [0, Row.SRC0, Row.DST0, Row.PORTS0, Row.SRC1, Row.DST1, Row.PORTS1, Row.MAPPING, Row.DELTA];
const MAPPING_WORDS = [0, MappingRow.INSIDE, MappingRow.OUTSIDE, MappingRow.PORTS];

/** Everything that lives in a table file, by its place. */
function livesIn(buffer: ArrayBuffer): { flows: Map<number, string>; mappings: Map<number, string>; own: Set<number> } {
  const own = new Set<number>();
  const live = (at: number, count: number, width: number, columns: readonly number[]) => {
    const words = new Int32Array(buffer, at, count * width);
    const found = new Map<number, string>();
    for (let n = 0; n < count; n++) {
      if ((words[n * width]! & 1) === 0) continue;
      found.set(n, columns.map((column) => words[n * width + column]).join());
      if (columns !== FLOW_WORDS) continue;
      // What came in through a mapping and was never answered does not keep it; when that has ended, its flow is nobody's.
      const came = (words[n * width + Row.KIND]! & (RowFlag.INBOUND | RowFlag.OUTBOUND)) === RowFlag.INBOUND;
      if (!came || words[n * width + Row.MAPPING] === 0) own.add(n);
    }
    return found;
  };
  return {
    flows: live(layout.rowsAt, FLOWS, Words.ROW, FLOW_WORDS),
    mappings: live(layout.mappingsAt, layout.mappings, Words.MAPPING, MAPPING_WORDS),
    own,
  };
}

/** Stops the writer where it is and waits until the kernel has done so. */
async function freeze(pid: number): Promise<void> {
  process.kill(pid, 'SIGSTOP');
  while (!/\) T /.test(readFileSync(`/proc/${pid}/stat`, 'latin1'))) await sleep(1);
}

test(`REQ-62 death at ${MOMENTS} random moments under insert load: never a wrong mapping after the start`, async (t) => {
  const dir = mkdtempSync(join(tmpdir(), 'tungate-kill-'));
  t.after(() => rmSync(dir, { recursive: true, force: true }));
  const seed = Date.now() & 0xffff;
  const random = xorshift(seed);
  const path = join(dir, 'flows');
  let held = 0;
  let adopted = 0;
  const judge = (file: string, when: string) => {
    const { buffer } = native.mapFile(file, bytes);
    const locked = new Int32Array(buffer)[Header.LOCK] !== 0;
    if (locked) held++;
    const before = livesIn(buffer);
    const opened = openTable(buffer, FLOWS, BOOT, NOW, native);
    assert.equal(opened.refused, '', when);
    adopted += opened.adopted;
    const now = livesIn(buffer);
    for (const kind of ['flows', 'mappings'] as const)
      for (const [at, words] of now[kind])
        assert.equal(words, before[kind].get(at), `${when}: ${kind} ${at} as it was`);
    // The one that was being made or ended may be lost; nobody else's.
    const lost = [...before.own].filter((row) => !now.flows.has(row)).length;
    assert.ok(lost <= (locked ? 1 : 0), `${when}, seed ${seed}: ${lost} flows are lost`);
    try {
      checkTable(opened.table);
    } catch (error) {
      assert.fail(`${when}, seed ${seed}: ${(error as Error).message}`);
    }
  };
  // A stopped writer has left in the file what a killed one would have: starting 200 of them would only cost time.
  for (let kill = 0; kill < KILLS; kill++) {
    const child = spawn(process.execPath, [CHURN, path, String(random() % 1000)], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    const ended = once(child, 'exit');
    try {
      assert.ok(await Promise.race([once(child.stdout, 'data'), ended.then(() => null)]), 'the writer ended by itself');
      for (let moment = 1; moment < MOMENTS / KILLS; moment++) {
        await sleep(random() % 5);
        await freeze(child.pid!);
        const copy = join(dir, 'copy');
        copyFileSync(path, copy);
        process.kill(child.pid!, 'SIGCONT');
        judge(copy, `moment ${moment} of kill ${kill}`);
      }
    } finally {
      child.kill('SIGKILL');
      await ended;
    }
    // The next one goes on over what this one left.
    judge(path, `kill ${kill}`);
  }
  t.diagnostic(`${held} of ${MOMENTS} fell into the middle of an insert or delete; ${adopted} flows adopted in all`);
  assert.ok(held > 0 && adopted > 0, 'some moments fell into a critical section');
});
