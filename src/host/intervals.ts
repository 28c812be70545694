/**
 * Sets of unsigned integers (ports, IPv4 addresses) as sorted, disjoint, merged half-open intervals, and their test in
 * classic BPF.
 *
 * A set is the flat list of its boundaries [from, to, from, to, …): a number is a member when an odd number of boundaries
 * are at or below it. So a balanced binary search over the boundaries decides with one `jge` a level and one instruction
 * a boundary, and its leaves jump straight to yes or no.
 */

import type { Prefix } from '../contract/plan.js';
import type { PortInterval } from '../contract/steering.js';
import type { Assembler, Label } from './bpf.js';

/** Sorted boundaries, an even number of them. */
export type IntervalSet = readonly number[];

/** One past the last IPv4 address, and one past the last port. */
export const ADDRESSES_END = 2 ** 32;
export const PORTS_END = 65_536;

/** Any half-open pairs, in any order, to a set. */
export function union(pairs: readonly (readonly [number, number])[]): IntervalSet {
  const out: number[] = [];
  for (const [from, to] of [...pairs].filter(([from, to]) => from < to).sort((a, b) => a[0] - b[0])) {
    const end = out.length - 1;
    if (end >= 0 && from <= out[end]!) out[end] = Math.max(out[end]!, to);
    else out.push(from, to);
  }
  return out;
}

export function merge(a: IntervalSet, b: IntervalSet): IntervalSet {
  return union([...pairsOf(a), ...pairsOf(b)]);
}

/** The members of a set that lie in [from, to). */
export function within(set: IntervalSet, from: number, to: number): IntervalSet {
  if (from >= to) return [];
  const first = boundariesBelow(set, from + 1);
  const end = boundariesBelow(set, to);
  const inner = set.slice(first, end);
  return [...((first & 1) === 1 ? [from] : []), ...inner, ...((end & 1) === 1 ? [to] : [])];
}

/** How many boundaries are below `value`: an odd number when value − 1 is a member. */
function boundariesBelow(set: IntervalSet, value: number): number {
  let lo = 0;
  let hi = set.length;
  while (lo < hi) {
    const mid = (lo + hi) >> 1;
    if (set[mid]! < value) lo = mid + 1;
    else hi = mid;
  }
  return lo;
}

/** Everything in [0, end) that the set has not. */
export function complement(set: IntervalSet, end: number): IntervalSet {
  return union(pairsOf([0, ...set, end]));
}

/** The members of `set` that are not in `minus`. */
export function difference(set: IntervalSet, minus: IntervalSet): IntervalSet {
  const rest = complement(minus, ADDRESSES_END);
  return union(pairsOf(rest).flatMap(([from, to]) => pairsOf(within(set, from, to))));
}

export function pairsOf(set: readonly number[]): [number, number][] {
  return Array.from({ length: set.length / 2 }, (_, i) => [set[2 * i]!, set[2 * i + 1]!]);
}

export function prefixPair({ prefix, mask }: Prefix): [number, number] {
  return [prefix >>> 0, (prefix >>> 0) + (~mask >>> 0) + 1];
}

export function addressPair(address: number): [number, number] {
  return [address >>> 0, (address >>> 0) + 1];
}

export function portSet(intervals: readonly PortInterval[]): IntervalSet {
  return union(intervals.map(({ first, last }) => [first, last + 1] as const));
}

/** Jumps to `yes` when A is in the set, else to `no`. `end` is one past the largest value that A can have. */
export function emitMember(asm: Assembler, set: IntervalSet, end: number, yes: Label, no: Label): void {
  const inner = set.filter((edge) => edge > 0 && edge < end);
  // Left of the first inner boundary A is outside, unless the set begins at 0.
  const parity = set[0] === 0 ? 1 : 0;
  if (inner.length === 0) {
    asm.ja(parity ? yes : no);
    return;
  }
  search(asm, inner, 0, inner.length, parity, yes, no);
}

/** Decides among inner[lo…hi), knowing that A is at or right of inner[lo − 1] and left of inner[hi]. */
function search(
  asm: Assembler,
  inner: readonly number[],
  lo: number,
  hi: number,
  parity: number,
  yes: Label,
  no: Label,
): void {
  const mid = (lo + hi) >> 1;
  const leaf = (boundaries: number): Label => ((boundaries + parity) & 1 ? yes : no);
  const left = lo < mid ? null : leaf(mid);
  const right = mid + 1 < hi ? asm.label(`≥ ${inner[mid]}`) : null;
  asm.jge(inner[mid]!, right ?? leaf(mid + 1), left);
  if (lo < mid) search(asm, inner, lo, mid, parity, yes, no);
  if (right) {
    asm.place(right);
    search(asm, inner, mid + 1, hi, parity, yes, no);
  }
}

/** Ports that one instruction decides: the bits of its operand. */
const WORD = 32;
/** M[0] is the IP header's (steer-clauses.ts). */
const PORT_SLOT = 1;

/** From `from` to where the next one begins: all in, all out, or those whose bit is set. */
interface Region {
  readonly from: number;
  readonly leaf: Label | number;
}

/**
 * Like emitMember, for A a port: where boundaries stand close, the ports of a word are a bit each. Every second port of 20,000 is then 3,000 instructions
 * instead of 25,000. Spoils X and a slot of M.
 */
export function emitPortMember(asm: Assembler, set: IntervalSet, yes: Label, no: Label): void {
  const regions = regionsOf(set, yes, no);
  if (regions.every(({ leaf }) => typeof leaf !== 'number')) {
    emitMember(asm, set, PORTS_END, yes, no);
    return;
  }
  asm.storeA(PORT_SLOT);
  asm.and(WORD - 1);
  asm.tax();
  asm.setA(1);
  asm.shiftLeftX();
  asm.tax();
  asm.loadA(PORT_SLOT);
  choose(asm, regions, 0, regions.length, yes, no);
}

function regionsOf(set: IntervalSet, yes: Label, no: Label): Region[] {
  const regions: Region[] = [{ from: 0, leaf: no }];
  const begin = (from: number, leaf: Label | number): void => {
    if (regions.at(-1)!.from === from) regions.pop();
    if (from < PORTS_END) regions.push({ from, leaf });
  };
  let inside = false;
  for (let i = 0; i < set.length; ) {
    const word = Math.floor(set[i]! / WORD) * WORD;
    let end = i + 1;
    while (end < set.length && set[end]! < word + WORD) end++;
    if (end - i > 2) {
      let bits = 0;
      for (let port = word, next = i, is = inside; port < word + WORD; port++) {
        if (next < end && set[next] === port) {
          is = !is;
          next++;
        }
        if (is) bits |= 1 << (port - word);
      }
      begin(word, bits >>> 0);
      if ((end - i) & 1) inside = !inside;
      begin(word + WORD, inside ? yes : no);
    } else {
      for (let edge = i; edge < end; edge++) {
        inside = !inside;
        begin(set[edge]!, inside ? yes : no);
      }
    }
    i = end;
  }
  return regions;
}

/** Decides among regions[lo…hi), knowing that A is in one of them and X its bit. */
function choose(asm: Assembler, regions: readonly Region[], lo: number, hi: number, yes: Label, no: Label): void {
  const { leaf } = regions[lo]!;
  if (hi - lo === 1) {
    if (typeof leaf !== 'number') {
      asm.ja(leaf);
      return;
    }
    asm.txa();
    asm.jset(leaf, yes, no);
    return;
  }
  const mid = (lo + hi) >> 1;
  const one = (from: number, to: number): Label | null => {
    const only = regions[from]!.leaf;
    return to - from === 1 && typeof only !== 'number' ? only : null;
  };
  const [left, right] = [one(lo, mid), one(mid, hi)];
  const far = right ?? asm.label(`≥ ${regions[mid]!.from}`);
  asm.jge(regions[mid]!.from, far, left);
  if (left === null) choose(asm, regions, lo, mid, yes, no);
  if (right !== null) return;
  asm.place(far);
  choose(asm, regions, mid, hi, yes, no);
}
