/** Sets of ports as sorted, disjoint, closed intervals, and the way the kernel writes them: `22,8000-8099`. */
import type { PortInterval } from '../contract/steering.js';

/** Sorts and merges; touching intervals become one. */
export function mergePorts(intervals: readonly PortInterval[]): PortInterval[] {
  const sorted = [...intervals].filter(({ first, last }) => first <= last).sort((a, b) => a.first - b.first);
  const merged: { first: number; last: number }[] = [];
  for (const { first, last } of sorted) {
    const open = merged.at(-1);
    if (open && first <= open.last + 1) open.last = Math.max(open.last, last);
    else merged.push({ first, last });
  }
  return merged;
}

/** What is in `from` and not in `taken`. */
export function subtractPorts(from: readonly PortInterval[], taken: readonly PortInterval[]): PortInterval[] {
  const holes = mergePorts(taken);
  const rest: PortInterval[] = [];
  let at = 0;
  for (const { first, last } of mergePorts(from)) {
    while (at < holes.length && holes[at]!.last < first) at++;
    let next = first;
    // The last hole that reaches into this interval may reach into the next one too.
    for (let i = at; i < holes.length && holes[i]!.first <= last; i++) {
      if (next < holes[i]!.first) rest.push({ first: next, last: holes[i]!.first - 1 });
      next = holes[i]!.last + 1;
    }
    if (next <= last) rest.push({ first: next, last });
  }
  return rest;
}

export function intersectPorts(a: readonly PortInterval[], b: readonly PortInterval[]): PortInterval[] {
  return subtractPorts(a, subtractPorts(a, b));
}

export function countPorts(intervals: readonly PortInterval[]): number {
  return intervals.reduce((sum, { first, last }) => sum + last - first + 1, 0);
}

export function hasPort(intervals: readonly PortInterval[], port: number): boolean {
  return intervals.some(({ first, last }) => port >= first && port <= last);
}

/** Reads the kernel's list; '' is the empty set. */
export function parsePorts(list: string): PortInterval[] {
  const parts = list
    .split(',')
    .map((part) => part.trim())
    .filter((part) => part !== '');
  return mergePorts(
    parts.map((part) => {
      const [first, last = first] = part.split('-').map(Number);
      if (!Number.isInteger(first) || !Number.isInteger(last)) throw new Error(`"${list}" is not a list of ports`);
      return { first: first!, last: last! };
    }),
  );
}

export function portsText(intervals: readonly PortInterval[]): string {
  return mergePorts(intervals)
    .map(({ first, last }) => (first === last ? String(first) : `${first}-${last}`))
    .join(',');
}
