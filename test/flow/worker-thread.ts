/**
 * One worker of workers.test.ts: makes flows with mappings as admit does, ends them (its own and others'), and looks up
 * tuples without lock. What it finds must be the flow that was asked for: every flow's rewrite is a function of its tuple.
 */
import { parentPort, workerData } from 'node:worker_threads';
import { MappingKind, Row, RowFlag, tableLayout, Words } from '../../src/contract/table-layout.js';
import { joinTable } from '../../src/flow/open.js';
import { flowDelta, NewFlow } from '../../src/flow/table.js';
import { native } from '../../src/native.js';
import { poolPlan, xorshift } from './fixture.js';

export interface WorkerTask {
  path: string;
  flows: number;
  index: number;
  seed: number;
  milliseconds: number;
}

export interface WorkerReport {
  inserts: number;
  removes: number;
  lookups: number;
  hits: number;
  refusedPorts: number;
  wrong: string[];
}

const P = 9;
const UDP = 17;
const HOSTS = 40;
/** Seconds pass quickly here, so that rows come out of their rest and are used again all the time. */
const TICK_MS = 50;

const task = workerData as WorkerTask;
const table = joinTable(native.mapFile(task.path, tableLayout(task.flows).bytes).buffer, task.flows, native);
const { mappings, lock, rows } = table;
lock.acquire();
mappings.ports.setPlan(poolPlan(Array.from({ length: 3000 }, (_, i) => 20_000 + i)));
lock.release();
const random = xorshift(task.seed);
const report: WorkerReport = { inserts: 0, removes: 0, lookups: 0, hits: 0, refusedPorts: 0, wrong: [] };
const started = Date.now();
const flow = new NewFlow();

for (;;) {
  const elapsed = Date.now() - started;
  if (elapsed > task.milliseconds || report.wrong.length > 5) break;
  const now = 1000 + Math.floor(elapsed / TICK_MS);
  const inside = 1000 + (random() % HOSTS);
  const x = 5000 + (random() % 10);
  const remote = 100_000 + (random() % 5);
  for (let i = 0; i < 20; i++) look(1000 + (random() % HOSTS), 5000 + (random() % 10), 100_000 + (random() % 5));
  if (random() % 2) insert(inside, x, remote, now);
  else remove(inside, x, remote, now);
}
parentPort!.postMessage(report);

/** Without lock, as match does it: the generation before and after what is read. */
function look(inside: number, x: number, remote: number): void {
  report.lookups++;
  const handle = table.find(inside, remote, (x << 16) | 53, UDP);
  if (handle < 0) return;
  const at = (handle >>> 1) * Words.ROW;
  const born = rows[at]!;
  if ((born & 1) === 0) return;
  const seen = [rows[at + Row.SRC0]!, rows[at + Row.DST0]!, rows[at + Row.PORTS0]!, rows[at + Row.SRC1]!];
  const inner = rows[at + Row.RULE]! & 0xffff;
  if (Atomics.load(rows, at) !== born) return;
  report.hits++;
  // The rule id was made from the tuple, see below.
  const expected = [inside, remote, (x << 16) | 53, remote];
  if ((handle & 1) !== 0 || seen.join() !== expected.join() || inner !== tupleMark(inside, x, remote))
    report.wrong.push(`asked for ${expected}, found ${seen} rule ${inner} at handle ${handle}`);
}

function tupleMark(inside: number, x: number, remote: number): number {
  return ((inside * 31 + x) * 31 + remote) & 0x7fff;
}

function insert(inside: number, x: number, remote: number, now: number): void {
  lock.acquire();
  try {
    if (table.find(inside, remote, (x << 16) | 53, UDP) >= 0) return;
    let mapping = mappings.findInside(UDP, inside, x, P);
    if (mapping < 0) {
      const port = mappings.ports.claim(P, 1, x, true);
      if (port < 0) {
        report.refusedPorts++;
        return;
      }
      mapping = mappings.create(UDP, inside, x, P, port, MappingKind.ENDPOINT_INDEPENDENT, 1, 0);
      if (mapping < 0) {
        mappings.ports.release(P, 1, port);
        return;
      }
    }
    Object.assign(flow, { proto: UDP, src0: inside, dst0: remote, ports0: (x << 16) | 53, src1: remote, dst1: P });
    flow.ports1 = (53 << 16) | mappings.outsidePort(mapping);
    flow.delta = flowDelta(UDP, flow.src0, flow.dst0, flow.ports0, flow.src1, flow.dst1, flow.ports1);
    flow.flags = RowFlag.OUTBOUND;
    flow.expires = now + 1000;
    flow.mapping = mapping + 1;
    flow.rule = tupleMark(inside, x, remote);
    const handle = table.insert(flow, now);
    if (handle < 0) {
      if (mappings.isHeld(mapping) && !mappings.isHeldAt(mapping, now)) mappings.end(mapping);
      return;
    }
    if (!mappings.join(mapping, remote, inside)) {
      rows[(handle >>> 1) * Words.ROW + Row.KIND]! &= ~RowFlag.OUTBOUND;
      table.remove(handle >>> 1, now, 0);
      return;
    }
    report.inserts++;
  } finally {
    lock.release();
  }
}

function remove(inside: number, x: number, remote: number, now: number): void {
  lock.acquire();
  const handle = table.find(inside, remote, (x << 16) | 53, UDP);
  if (handle >= 0) {
    table.remove(handle >>> 1, now, 0);
    report.removes++;
  }
  lock.release();
}
