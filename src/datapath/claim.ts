/**
 * Ports and rows when they run short (REQ-12): what nobody would miss gives way; a live flow never does. Under the table's lock.
 *
 * For a row, in this order: what strangers began and nobody has answered (a SYN flood gives way to itself, and to everybody
 * else, before it costs a connection its closing time), closed TCP flows that hold only a row, closed ones with a port. For a
 * port: closed ones with a port, the oldest first. Each worker has queues of what it saw itself; when they are empty, the table is
 * searched for what others saw, or a process before this one (flow/row-search.ts).
 */
import { Counter } from '../contract/counters.js';
import { Proto } from '../contract/plan.js';
import { Row, Words } from '../contract/table-layout.js';
import type { ClosedQueue } from '../flow/closed-queue.js';
import { holdTime, isOpening, mayGiveWay } from '../flow/expiry.js';
import type { Engine } from './engine.js';

/** Entries of a queue that are looked at for one new flow, at most: a bounded pause. */
const RECLAIM_TRIES = 256;
const RECLAIM_BLOCK_TRIES = 32;

/** A port for source port `wanted` of `inside`, or −1. Only TCP's pools get ports back from closed flows. */
export function claimPort(
  engine: Engine,
  inside: number,
  address: number,
  index: number,
  wanted: number,
  now: number,
): number {
  const { ports } = engine.table.mappings;
  const before = ports.changed;
  let port = takePort(engine, inside, address, index, wanted);
  if (port < 0 && index === Proto.TCP) {
    port = reclaimPort(engine, inside, address, wanted, now);
    if (port < 0 && engine.search.search(engine.table, engine, now))
      port = reclaimPort(engine, inside, address, wanted, now);
  }
  engine.counters[Counter.PORTS_CHANGED]! += ports.changed - before;
  return port;
}

function takePort({ table, plan }: Engine, inside: number, address: number, index: number, wanted: number): number {
  const { ports, blocks } = table.mappings;
  return blocks.size > 0
    ? blocks.claim(inside, address, index, wanted, plan.parity)
    : ports.claim(address, index, wanted, plan.parity);
}

/** Ends closed flows until one has left a port of this address; those of another address go to the back of the queue. */
function reclaimPort(engine: Engine, inside: number, address: number, wanted: number, now: number): number {
  const { closedPorts } = engine;
  const { mappings, rows } = engine.table;
  let port = -1;
  // With blocks, a try costs a look at all of them.
  const tries = Math.min(mappings.blocks.size > 0 ? RECLAIM_BLOCK_TRIES : RECLAIM_TRIES, closedPorts.length);
  for (let i = 0; i < tries && port < 0; i++) {
    const row = oldest(engine, closedPorts, now);
    if (row < 0) continue;
    const mapping = rows[row * Words.ROW + Row.MAPPING]! - 1;
    if (mapping >= 0 && mappings.outsideOf(mapping) !== address) {
      closedPorts.push(row, rows[row * Words.ROW]!);
      continue;
    }
    giveWay(engine, row, now);
    // Its mapping may have other flows, and keep the port.
    port = takePort(engine, inside, address, Proto.TCP, wanted);
  }
  return port;
}

/** Ends one flow for its row. False when there is none that may give way. */
export function reclaim(engine: Engine, now: number): boolean {
  return reclaimRow(engine, now) || (engine.search.search(engine.table, engine, now) && reclaimRow(engine, now));
}

/** Ends a closed flow of `rule`, so that it has room for another. */
export function reclaimOf(engine: Engine, rule: number, now: number): boolean {
  return (
    reclaimOfRule(engine, rule, now) ||
    (engine.search.search(engine.table, engine, now) && reclaimOfRule(engine, rule, now))
  );
}

function reclaimOfRule(engine: Engine, rule: number, now: number): boolean {
  return reclaimIn(engine, engine.closedRows, rule, now) || reclaimIn(engine, engine.closedPorts, rule, now);
}

function reclaimIn(engine: Engine, queue: ClosedQueue, rule: number, now: number): boolean {
  const { rows } = engine.table;
  for (let tries = Math.min(RECLAIM_TRIES, queue.length); tries > 0; tries--) {
    const row = oldest(engine, queue, now);
    if (row < 0) continue;
    const at = row * Words.ROW;
    if ((rows[at + Row.RULE]! & 0xffff) === rule) {
      giveWay(engine, row, now);
      return true;
    }
    queue.push(row, rows[at]!);
  }
  return false;
}

function reclaimRow(engine: Engine, now: number): boolean {
  return (
    reclaimFrom(engine, engine.unanswered, now) ||
    reclaimFrom(engine, engine.closedRows, now) ||
    reclaimFrom(engine, engine.closedPorts, now)
  );
}

function reclaimFrom(engine: Engine, queue: ClosedQueue, now: number): boolean {
  for (let tries = 0; tries < RECLAIM_TRIES && queue.length > 0; tries++) {
    const row = oldest(engine, queue, now);
    if (row < 0) continue;
    giveWay(engine, row, now);
    return true;
  }
  return false;
}

/** Takes the oldest entry: its row, or −1 when that has a new life, or is wanted by now. */
function oldest(engine: Engine, queue: ClosedQueue, now: number): number {
  const { rows } = engine.table;
  const row = queue.row();
  const generation = queue.generation();
  queue.shift();
  const same = rows[row * Words.ROW] === generation && row !== engine.keep;
  return same && mayGiveWay(rows, row * Words.ROW, now) ? row : -1;
}

function giveWay(engine: Engine, row: number, now: number): void {
  const opening = isOpening(engine.table.rows[row * Words.ROW + Row.KIND]!);
  engine.counters[opening ? Counter.GAVE_WAY_UNANSWERED : Counter.GAVE_WAY_CLOSED]!++;
  end(engine, row, now);
}

export function end(engine: Engine, row: number, now: number): void {
  const proto = engine.table.rows[row * Words.ROW + Row.KIND]! & 0xff;
  engine.table.remove(row, now, holdTime(proto, engine.plan.timeouts));
  engine.counters[Counter.FLOWS_ENDED]!++;
}
