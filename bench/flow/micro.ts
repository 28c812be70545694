/** The table's insert and remove, and the port pool's claim and release, without the engine around them. */
import { BITMAP_ADDRESSES, BITMAP_WORDS, RowFlag, tableLayout } from '../../src/contract/table-layout.js';
import { openTable } from '../../src/flow/open.js';
import { PortPool } from '../../src/flow/port-pool.js';
import { NewFlow } from '../../src/flow/table.js';
import { native } from '../../src/native.js';
import { makePlan } from '../../test/datapath/rig.js';
import type { Micro } from '../lib/micro.js';

const NOW = 1000;

/** A hundred flows inserted and removed in a table that is half full. */
const table: Micro = {
  name: 'flow/table insert and remove',
  unit: 'flow',
  prepare() {
    const rows = 262_144;
    const buffer = native.mapAnonymous(tableLayout(rows).bytes, true);
    const { table } = openTable(buffer, rows, new Int32Array(4), NOW, native);
    table.quarantine = 0;
    const flow = new NewFlow();
    flow.proto = 17;
    flow.flags = RowFlag.INBOUND; // a flow without mapping that counts for no host
    flow.expires = 1 << 30;
    let next = 0;
    const insert = () => {
      const n = Math.imul(next++, 0x9e3779b1) | 0;
      flow.src0 = 0x0a000000 | (n & 0xffffff);
      flow.dst0 = 0x0b000000 | (n >>> 8);
      flow.ports0 = n;
      flow.src1 = flow.dst0;
      flow.dst1 = flow.src0;
      flow.ports1 = (n << 16) | (n >>> 16);
      const handle = table.insert(flow, NOW);
      if (handle < 0) throw new Error('the table is full');
      return handle;
    };
    for (let i = 0; i < rows / 2; i++) insert();
    const handles = new Int32Array(100);
    return () => {
      for (let i = 0; i < 100; i++) handles[i] = insert();
      for (let i = 0; i < 100; i++) table.remove(handles[i]! >>> 1, NOW, 0);
      return 100;
    };
  },
};

/** `taken`: share of the pool that is in use. A claim whose source port is free keeps it; on a full pool most draw another. */
function pool(taken: number): Micro {
  return {
    name: `flow/port-pool claim and release, ${taken * 100} % in use`,
    unit: 'port',
    prepare() {
      const plan = makePlan();
      const ports = new PortPool(new ArrayBuffer(BITMAP_ADDRESSES * BITMAP_WORDS * 4), 0);
      ports.setPlan(plan);
      const { address } = plan.addresses[0]!;
      for (let i = 0; i < 30_000 * taken; i++) ports.claim(address, 0, 1024 + i * 7, false);
      const claimed = new Int32Array(100);
      let wanted = 20_000;
      return () => {
        for (let i = 0; i < 100; i++) {
          wanted = wanted >= 49_000 ? 20_000 : wanted + 1;
          claimed[i] = ports.claim(address, 0, wanted, true);
        }
        for (let i = 0; i < 100; i++) ports.release(address, 0, claimed[i]!);
        return 100;
      };
    },
  };
}

export const micros: readonly Micro[] = [table, pool(0), pool(0.95)];
