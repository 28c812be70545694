/**
 * Parse, match and rewrite, each by itself, and the whole cycle. What a stage changes is put back before the next call;
 * that copy is part of the figure of rewrite (some nanoseconds a packet).
 */
import { Batch } from '../../src/batch.js';
import { Header, Words } from '../../src/contract/table-layout.js';
import { Verdict } from '../../src/contract/verdict.js';
import { cycler } from '../../src/datapath/cycle.js';
import { match } from '../../src/datapath/match.js';
import { parse } from '../../src/datapath/parse.js';
import { rewrite } from '../../src/datapath/rewrite.js';
import { RECEIVE_SLOTS } from '../../src/link/link.js';
import type { Micro } from '../lib/micro.js';
import { engineFor, filled, linkFor } from './ground.js';

const NOW = 1000;
/** Flows that are there before they are ended together: a slice of them is not noticed in a round. */
const BORN = 19_200;

const parsing: Micro = {
  name: 'datapath/parse',
  unit: 'packet',
  prepare() {
    const { engine, link, batch } = filled(1000);
    batch.clear();
    link.receive(batch);
    return () => {
      parse(batch, 0, engine.counters);
      return batch.count;
    };
  },
};

function matching(flows: number): Micro {
  return {
    name: `datapath/match ${flows.toLocaleString('en-US')} flows`,
    unit: 'packet',
    prepare() {
      const { engine, link, batch } = filled(flows);
      // The tuples of many batches, so that each lookup is of a flow that was not seen lately.
      const batches: { src: Int32Array; dst: Int32Array; ports: Int32Array }[] = [];
      const count = RECEIVE_SLOTS;
      for (let seen = 0; seen < Math.min(flows, 200_000); seen += count) {
        batch.clear();
        if (link.receive(batch) < count) continue; // the last chunk of the link is a short one
        parse(batch, 0, engine.counters);
        batches.push({ src: batch.src.slice(), dst: batch.dst.slice(), ports: batch.ports.slice() });
      }
      let next = 0;
      return () => {
        const { src, dst, ports } = batches[next]!;
        batch.verdict.fill(Verdict.PENDING, 0, count);
        batch.src.set(src);
        batch.dst.set(dst);
        batch.ports.set(ports);
        next = next + 1 === batches.length ? 0 : next + 1;
        if (match(engine.table, batch, 0, NOW) !== 0) throw new Error('a flow was not found');
        return count;
      };
    },
  };
}

const rewriting: Micro = {
  name: 'datapath/rewrite',
  unit: 'packet',
  prepare() {
    const { engine, link, batch } = filled(1000);
    batch.clear();
    link.receive(batch);
    parse(batch, 0, engine.counters);
    match(engine.table, batch, 0, NOW);
    const used = batch.off[batch.count - 1]! + batch.len[batch.count - 1]!;
    const bytes = batch.data.slice(0, used);
    const { verdict } = batch;
    rewrite(engine, batch, 0, NOW);
    if (verdict[0] !== Verdict.FORWARD) throw new Error(`the first packet's verdict is ${verdict[0]}`);
    return () => {
      batch.data.set(bytes);
      verdict.fill(Verdict.PENDING, 0, batch.count);
      rewrite(engine, batch, 0, NOW);
      return batch.count;
    };
  },
};

function whole(flows: number): Micro {
  return {
    name: `datapath/cycle ${flows.toLocaleString('en-US')} flows`,
    unit: 'packet',
    prepare() {
      const { engine, link, batch } = filled(flows);
      return cycler(engine, link, batch);
    },
  };
}

/** Every packet begins a flow by the slow path; when all have, they are ended, and begin anew. */
const births: Micro = {
  name: 'datapath/admit, and the end',
  unit: 'flow',
  prepare() {
    const engine = engineFor(3 * BORN); // each of these flows has a mapping of its own, of which there are half as many as rows
    const { table } = engine;
    const step = cycler(engine, linkFor(BORN), new Batch());
    let born = 0;
    return () => {
      if (born >= BORN) {
        for (let row = 0; row < table.header[Header.HIGH_WATER]!; row++)
          if ((table.rows[row * Words.ROW]! & 1) !== 0) table.remove(row, NOW, 0);
        born = 0;
      }
      const n = step();
      born += n;
      return n;
    };
  },
};

export const micros: readonly Micro[] = [
  parsing,
  matching(1000),
  matching(1_000_000),
  rewriting,
  births,
  whole(1000),
  whole(1_000_000),
];
