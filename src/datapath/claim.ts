/**
 * Ports and rows when they run short (REQ-12): closed TCP flows give way, the oldest first; a live flow never does. Under
 * the table's lock.
 */
import { Counter } from '../contract/counters.js';
import { Proto } from '../contract/plan.js';
import { ROW_WORDS, Row, STATE_MASK, STATE_SHIFT, State } from '../contract/table-layout.js';
import type { ClosedQueue } from '../flow/closed-queue.js';
import { holdTime } from '../flow/expiry.js';
import type { Engine } from './engine.js';

/** Closed flows that are looked at for one new one, at most: a bounded pause. */
const RECLAIM_TRIES = 256;

/**
 * A port of the pool for source port `wanted`, or −1. Only TCP's pools get ports back from closed flows; those of another
 * address are passed over, to the back of the queue.
 */
export function claimPort(engine: Engine, address: number, index: number, wanted: number, now: number): number {
  const { closedPorts } = engine;
  const { mappings } = engine.table;
  const { ports } = mappings;
  const before = ports.changed;
  let port = ports.claim(address, index, wanted, engine.plan.parity);
  const tries = index === Proto.TCP && port < 0 ? Math.min(RECLAIM_TRIES, closedPorts.length) : 0;
  for (let i = 0; i < tries && port < 0; i++) {
    const row = oldest(engine, closedPorts);
    if (row < 0) continue;
    const mapping = engine.table.rows[row * ROW_WORDS + Row.MAPPING]! - 1;
    if (mapping >= 0 && mappings.outsideOf(mapping) !== address) {
      closedPorts.push(row, engine.table.rows[row * ROW_WORDS]!);
      continue;
    }
    end(engine, row, now);
    // Its mapping may have other flows, and keep the port.
    port = ports.claim(address, index, wanted, engine.plan.parity);
  }
  engine.counters[Counter.PORTS_CHANGED]! += ports.changed - before;
  return port;
}

/** Ends a closed TCP flow for its row, rather one that nobody gets a port from. False when there is none. */
export function reclaim(engine: Engine, now: number): boolean {
  return reclaimFrom(engine, engine.closedRows, now) || reclaimFrom(engine, engine.closedPorts, now);
}

function reclaimFrom(engine: Engine, queue: ClosedQueue, now: number): boolean {
  for (let tries = 0; tries < RECLAIM_TRIES && queue.length > 0; tries++) {
    const row = oldest(engine, queue);
    if (row < 0) continue;
    end(engine, row, now);
    return true;
  }
  return false;
}

/** Takes the oldest entry: its row, or −1 when that has a new life. */
function oldest(engine: Engine, queue: ClosedQueue): number {
  const { rows } = engine.table;
  const row = queue.row();
  const generation = queue.generation();
  queue.shift();
  if (rows[row * ROW_WORDS] !== generation || (generation & 1) === 0) return -1;
  const state = (rows[row * ROW_WORDS + Row.KIND]! >>> STATE_SHIFT) & STATE_MASK;
  return state === State.TIME_WAIT || state === State.CLOSE ? row : -1;
}

export function end(engine: Engine, row: number, now: number): void {
  const proto = engine.table.rows[row * ROW_WORDS + Row.KIND]! & 0xff;
  engine.table.remove(row, now, holdTime(proto, engine.plan.timeouts));
  engine.counters[Counter.FLOWS_ENDED]!++;
}
