/** Tables and flows for the tests of src/flow/. */
import { OWNER_POOL, type Plan } from '../../src/contract/plan.js';
import { RowFlag, tableLayout } from '../../src/contract/table-layout.js';
import { openTable } from '../../src/flow/open.js';
import { type FlowTable, flowDelta, NewFlow } from '../../src/flow/table.js';
import { native } from '../../src/native.js';
import { makePlan, withOwners } from '../datapath/rig.js';

export const BOOT = Int32Array.of(1, 2, 3, 4);

/** An empty table in anonymous memory; freed rows need no rest. */
export function newTable(flows = 1024, now = 1000): FlowTable {
  const { table } = openTable(native.mapAnonymous(tableLayout(flows).bytes), flows, BOOT, now, native);
  table.quarantine = 0;
  return table;
}

export interface Tuples {
  src0: number;
  dst0: number;
  ports0: number;
  src1: number;
  dst1: number;
  ports1: number;
}

/** A row as admit would write it, without mapping, begun by a stranger: no inside host is charged with it. */
export function flowOf(t: Tuples, proto = 17, expires = 2000): NewFlow {
  const delta = flowDelta(proto, t.src0, t.dst0, t.ports0, t.src1, t.dst1, t.ports1);
  return Object.assign(new NewFlow(), { ...t, proto, expires, delta, flags: RowFlag.INBOUND });
}

/** Routed without rewrite: side 1 is the reverse of side 0. */
export function plainFlow(src: number, dst: number, ports: number, proto = 17): NewFlow {
  const ports1 = (ports << 16) | (ports >>> 16);
  return flowOf({ src0: src, dst0: dst, ports0: ports, src1: dst, dst1: src, ports1 }, proto);
}

/** A plan whose pool is exactly these ports, for all three protocols, of one or more addresses. */
export function poolPlan(ports: readonly number[], addresses: readonly number[] = [9]): Plan {
  const plan = makePlan();
  const owners = [0, 1, 2].map(() => new Uint16Array(65_536)) as [Uint16Array, Uint16Array, Uint16Array];
  for (const owner of owners) for (const port of ports) owner[port] = OWNER_POOL;
  return { ...plan, addresses: addresses.map((address) => withOwners({ ...plan.addresses[0]!, address }, owners)) };
}

/** A small random generator with a seed, for loops that are too long for fast-check (xorshift32). */
export function xorshift(seed: number): () => number {
  let x = seed | 0 || 1;
  return () => {
    x ^= x << 13;
    x ^= x >>> 17;
    x ^= x << 5;
    return x >>> 0;
  };
}
