/**
 * Sets of ports, kept as closed intervals: sorted, disjoint, merged where they touch. All functions are pure.
 *
 * The written form is a list of ports and ranges, `~` takes away: `20000-29999,40000-59999,~25000-25010`. Order does not matter:
 * first everything is added, then everything with `~` is taken away.
 */
import type { PortInterval } from '../contract/steering.js';
import { TextError } from './address.js';

export type PortSet = readonly PortInterval[];

export interface PortText {
  readonly ports: PortSet;
  /** From the first to the last port that was added, exclusions not looked at: what an offset or a length refers to. */
  readonly hull: PortInterval;
}

const ALLOWED = 'ports are 1 to 65535, written like 2222, 10000-10999 or 20000-29999,40000-59999,~25000-25010';

function portNumber(text: string, whole: string): number {
  if (!/^\d{1,5}$/.test(text) || Number(text) < 1 || Number(text) > 65_535) {
    throw new TextError(`"${text}" in "${whole}" is not a port; ${ALLOWED}`);
  }
  return Number(text);
}

function interval(text: string, whole: string): PortInterval {
  const dash = text.indexOf('-');
  if (dash < 0) {
    const port = portNumber(text, whole);
    return { first: port, last: port };
  }
  const first = portNumber(text.slice(0, dash).trim(), whole);
  const last = portNumber(text.slice(dash + 1).trim(), whole);
  if (last < first) throw new TextError(`"${text}" runs backwards; did you mean ${last}-${first}?`);
  return { first, last };
}

/** Throws TextError. */
export function parsePorts(text: string): PortText {
  const added: PortInterval[] = [];
  const removed: PortInterval[] = [];
  for (const raw of text.split(',')) {
    const item = raw.trim();
    if (item === '') throw new TextError(`"${text}" has an empty place in its list; ${ALLOWED}`);
    if (item.startsWith('~')) removed.push(interval(item.slice(1).trim(), text));
    else added.push(interval(item, text));
  }
  if (added.length === 0) throw new TextError(`"${text}" only takes ports away; name the ports to take them from`);
  const ports = subtract(union(added), union(removed));
  if (ports.length === 0) throw new TextError(`"${text}" leaves no port at all`);
  const all = union(added);
  return { ports, hull: { first: all[0]!.first, last: all[all.length - 1]!.last } };
}

export function formatPorts(ports: PortSet): string {
  return ports.map(({ first, last }) => (first === last ? `${first}` : `${first}-${last}`)).join(',');
}

/** Any intervals → the canonical form. */
export function union(...sets: PortSet[]): PortInterval[] {
  const sorted = sets.flat().sort((a, b) => a.first - b.first);
  const out: { first: number; last: number }[] = [];
  for (const { first, last } of sorted) {
    const top = out[out.length - 1];
    if (top !== undefined && first <= top.last + 1) top.last = Math.max(top.last, last);
    else out.push({ first, last });
  }
  return out;
}

/** Both in canonical form. */
export function subtract(from: PortSet, take: PortSet): PortInterval[] {
  const out: PortInterval[] = [];
  let t = 0;
  for (const { first, last } of from) {
    let start = first;
    while (t < take.length && take[t]!.last < start) t++;
    for (let i = t; i < take.length && take[i]!.first <= last; i++) {
      const hole = take[i]!;
      if (hole.first > start) out.push({ first: start, last: hole.first - 1 });
      start = hole.last + 1;
    }
    if (start <= last) out.push({ first: start, last });
  }
  return out;
}

export function intersect(a: PortSet, b: PortSet): PortInterval[] {
  const out: PortInterval[] = [];
  for (let i = 0, k = 0; i < a.length && k < b.length; ) {
    const first = Math.max(a[i]!.first, b[k]!.first);
    const last = Math.min(a[i]!.last, b[k]!.last);
    if (first <= last) out.push({ first, last });
    if (a[i]!.last < b[k]!.last) i++;
    else k++;
  }
  return out;
}

export function countPorts(ports: PortSet): number {
  let count = 0;
  for (const { first, last } of ports) count += last - first + 1;
  return count;
}

export function hasPort(ports: PortSet, port: number): boolean {
  return ports.some(({ first, last }) => port >= first && port <= last);
}
