/**
 * The rare cases of a lookup, met once before the first packet.
 *
 * V8 compiles hot code for what it has seen. What it has not seen is a trap door: the first tag that two tuples share, after some ten
 * thousand flows, threw the compiled lookup away and with it everything that it is part of, again and again in the first 100,000 flows.
 * Here a table of its own gets forged entries, so that those cases are known when the compiler looks. Bought: 1.0 and 1.1 million
 * new flows a second from a cold start (side by side). Price: some milliseconds at a worker's start.
 */
import { tableLayout } from '../contract/table-layout.js';
import type { BucketIndex } from './bucket-index.js';
import type { Futex } from './lock.js';
import { openTable } from './open.js';
import { NewFlow } from './table.js';

const ROWS = 1024;
const FLOWS = 64;
/** One entry of this many is forged. */
const FEW = 16;
const UDP = 17;

export function rehearseLookups(futex: Futex): void {
  const { table } = openTable(new ArrayBuffer(tableLayout(ROWS).bytes), ROWS, new Int32Array(4), 1, futex);
  const { mappings } = table;
  const flow = new NewFlow();
  const list = Int32Array.from({ length: FLOWS }, (_, i) => i);
  const src = Int32Array.from(list, (i) => i + 1);
  const dst = Int32Array.from(list, (i) => i + 2);
  const ports = new Int32Array(FLOWS);
  const proto = new Uint8Array(FLOWS).fill(UDP);
  const handle = new Int32Array(FLOWS);
  const look = () => {
    table.findMany(list, FLOWS, src, dst, ports, proto, handle);
    for (let i = 0; i < FLOWS; i++) {
      table.find(src[i]!, dst[i]!, 0, UDP);
      mappings.findInside(UDP, i + 1, i, 9);
      mappings.findOutside(UDP, 9, i);
      handle[i] = mappings.hashOutside(9, i, UDP);
    }
    mappings.touchOutside(handle, FLOWS);
  };
  for (let i = 0; i < FLOWS; i++) {
    flow.proto = UDP;
    flow.src0 = flow.dst1 = src[i]!;
    flow.dst0 = flow.src1 = dst[i]!;
    table.insert(flow, 1);
    mappings.create(UDP, i + 1, i, 9, i, 0, 0, 0);
  }
  look();
  for (const index of [table.index, mappings.inside, mappings.outside]) mislead(index);
  look();
}

/** A few entries keep their tags and name other rows. Few: what the compiler takes for frequent, it makes room for. */
function mislead({ words, mask }: BucketIndex): void {
  let seen = 0;
  let before = 1;
  for (let i = 0; i < words.length; i++) {
    const entry = words[i]!;
    if (entry === 0) continue;
    if (++seen % FEW === 0) words[i] = (entry & ~mask) | before;
    before = entry & mask;
  }
}
