/** Which public port a host keeps for itself by a forward (REQ-70): made with the plan, searched for each new flow. */
import type { Forward } from './plan.js';

/** Words of an entry of PublicAddress.statics: target, its first and last port, and the public port of the first. */
export const STATIC_WORDS = 4;

interface StaticRun {
  readonly first: number;
  readonly last: number;
  readonly port: number;
}

/**
 * Which public port each X:x has that forwards lead to one to one (REQ-70): disjoint runs, by target and then by port. Of several forwards to one X:x
 * the first in `forwards` is it. Made with the plan, for a search by each new flow: 10,000 forwards to one host are then no longer than a few.
 */
export function staticPorts(
  owners: Uint16Array,
  forwards: readonly Pick<Forward, 'id' | 'target' | 'offset' | 'single'>[],
): Int32Array {
  const publicRuns = new Map<number, { first: number; last: number }[]>();
  for (let first = 0; first < owners.length; ) {
    const owner = owners[first]!;
    let end = first + 1;
    while (end < owners.length && owners[end] === owner) end++;
    const runs = publicRuns.get(owner);
    if (runs === undefined) publicRuns.set(owner, [{ first, last: end - 1 }]);
    else runs.push({ first, last: end - 1 });
    first = end;
  }
  const targets = new Map<number, StaticRun[]>();
  for (const { id, target, offset, single } of forwards) {
    if (single !== 0) continue;
    const taken = targets.get(target) ?? [];
    targets.set(target, taken);
    for (const { first, last } of publicRuns.get(id) ?? []) addRun(taken, first + offset, last + offset, first);
  }
  const sorted = [...targets].sort(([one], [other]) => one - other);
  return Int32Array.from(
    sorted.flatMap(([target, runs]) => runs.flatMap(({ first, last, port }) => [target, first, last, port])),
  );
}

/** Into `taken` (disjoint, ascending) what of first…last is not there yet. */
function addRun(taken: StaticRun[], first: number, last: number, port: number): void {
  let at = 0;
  for (let high = taken.length; at < high; ) {
    const middle = (at + high) >>> 1;
    if (taken[middle]!.last < first) at = middle + 1;
    else high = middle;
  }
  for (let from = first; from <= last; at++) {
    const next = taken[at];
    const until = next === undefined ? last : Math.min(last, next.first - 1);
    if (until >= from) taken.splice(at, 0, { first: from, last: until, port: port + from - first });
    from = (until >= from ? until : next!.last) + 1;
  }
}

/** Public port that a forward maps one to one to X:x, so that what X:x sends leaves by it (REQ-70), or −1. `statics`: one of PublicAddress.statics. */
export function staticPort(statics: Int32Array, target: number, port: number): number {
  let low = 0;
  for (let high = statics.length / STATIC_WORDS; low < high; ) {
    const middle = (low + high) >>> 1;
    const at = middle * STATIC_WORDS;
    const before = statics[at]! < target || (statics[at] === target && statics[at + 2]! < port);
    if (before) low = middle + 1;
    else high = middle;
  }
  const at = low * STATIC_WORDS;
  if (at >= statics.length || statics[at] !== target || statics[at + 1]! > port) return -1;
  return statics[at + 3]! + port - statics[at + 1]!;
}
