/**
 * Ports and rows when they run short (REQ-12): closed TCP flows give way, the oldest first; a live flow never does. Under
 * the table's lock.
 */
import { Counter } from '../contract/counters.js';
import { Proto } from '../contract/plan.js';
import { ROW_WORDS, Row, STATE_MASK, STATE_SHIFT, State } from '../contract/table-layout.js';
import { holdTime } from '../flow/expiry.js';
import type { Engine } from './engine.js';

/** Closed flows that are looked at for one new one, at most: a bounded pause. */
const RECLAIM_TRIES = 256;

/** A port of the pool for source port `wanted`, or −1. Only TCP's pools get ports back from closed flows. */
export function claimPort(engine: Engine, address: number, index: number, wanted: number, now: number): number {
  const { ports } = engine.table.mappings;
  const before = ports.changed;
  let port = ports.claim(address, index, wanted, engine.plan.parity);
  // Not every closed flow holds a port of this pool.
  for (let tries = 0; port < 0 && index === Proto.TCP && tries < RECLAIM_TRIES && reclaim(engine, now); tries++) {
    port = ports.claim(address, index, wanted, engine.plan.parity);
  }
  engine.counters[Counter.PORTS_CHANGED]! += ports.changed - before;
  return port;
}

/** Ends the oldest fully closed TCP flow. False when there is none (among the next RECLAIM_TRIES entries). */
export function reclaim(engine: Engine, now: number): boolean {
  const { closed, table } = engine;
  for (let tries = 0; tries < RECLAIM_TRIES && closed.length > 0; tries++) {
    const row = closed.row();
    const at = row * ROW_WORDS;
    const live = table.rows[at] === closed.generation() && (table.rows[at]! & 1) !== 0;
    closed.shift();
    const state = (table.rows[at + Row.KIND]! >>> STATE_SHIFT) & STATE_MASK;
    if (!live || (state !== State.TIME_WAIT && state !== State.CLOSE)) continue;
    end(engine, row, now);
    return true;
  }
  return false;
}

export function end(engine: Engine, row: number, now: number): void {
  const proto = engine.table.rows[row * ROW_WORDS + Row.KIND]! & 0xff;
  engine.table.remove(row, now, holdTime(proto, engine.plan.timeouts));
  engine.counters[Counter.FLOWS_ENDED]!++;
}
