/**
 * The kernel's routes as the plan has them, and what follows from them: which prefixes are none of our business.
 *
 * The kernel asks table local, then main, then default, and takes the first table that has any match. The plan has one list
 * where the longest prefix wins. Both agree when a route is left out that lies inside a route of an earlier table.
 * (`throw` routes, which jump from main to default, become "not ours"; policy rules are not looked at.)
 */
import type { Prefix, Route } from '../contract/plan.js';
import type { WorldRoute } from '../contract/world.js';
import { lengthOf, maskOf } from './address.js';

const TABLES = [255, 254, 253] as const;

/** Mirrored routes, longest prefix first. `outOf` gives the out index of an interface, 0 for what is not ours. */
export function mirrorRoutes(routes: readonly WorldRoute[], outOf: (interfaceIndex: number) => number): Route[] {
  const kept = effective(routes).map(({ prefix, mask, type, interface: index }) => ({
    prefix,
    mask,
    out: type === 'unicast' ? outOf(index) : 0,
  }));
  return kept.sort((a, b) => lengthOf(b.mask) - lengthOf(a.mask) || (a.prefix >>> 0) - (b.prefix >>> 0));
}

/** The routes that can ever be chosen: best metric of each prefix, none behind an earlier table's. */
function effective(routes: readonly WorldRoute[]): WorldRoute[] {
  const kept: WorldRoute[] = [];
  const seen = new Set<string>();
  let earlierEnd = 0;
  for (const table of TABLES) {
    // One prefix in two tables, or twice in one: the earlier table, then the lower metric, then the order of the dump.
    const own = routes.filter((route) => route.table === table).sort((a, b) => (a.metric >>> 0) - (b.metric >>> 0));
    const wide = kept.slice(0, earlierEnd).filter((route) => route.mask !== -1);
    for (const route of own) {
      const key = `${route.prefix}/${route.mask}`;
      if (seen.has(key)) continue;
      if (
        wide.some((outer) => (outer.mask & route.mask) === outer.mask && (route.prefix & outer.mask) === outer.prefix)
      )
        continue;
      seen.add(key);
      kept.push(route);
    }
    earlierEnd = kept.length;
  }
  return kept;
}

/** Longest match; −1 = no route at all. For control only: it is a plain loop. */
export function lookupRoute(routes: readonly Route[], address: number): number {
  return routes.find(({ prefix, mask }) => (address & mask) === prefix)?.out ?? -1;
}

/** Length of the longest match; −1 = none. */
export function matchedLength(routes: readonly Route[], address: number): number {
  const route = routes.find(({ prefix, mask }) => (address & mask) === prefix);
  return route === undefined ? -1 : lengthOf(route.mask);
}

/**
 * Prefixes that the kernel routes by an interface that is neither uplink nor LAN, or refuses (blackhole), as disjoint
 * prefixes in rising order. More specific routes of ours are cut out of them, and so are `never` (public addresses: they
 * are claimed by port). Left aside: the default route (what has no better route is asked of the engine, which says
 * no-route), single local and broadcast addresses (the steering has lists of its own for those), 127/8 and multicast.
 */
export function foreignPrefixes(
  routes: readonly WorldRoute[],
  outOf: (interfaceIndex: number) => number,
  never: readonly number[],
): Prefix[] {
  interface Span {
    readonly first: number;
    readonly last: number;
    readonly foreign: boolean;
  }
  const spans: Span[] = never.map((address) => ({ first: address >>> 0, last: address >>> 0, foreign: false }));
  for (const { prefix, mask, type, interface: index } of effective(routes)) {
    if (mask === 0 || type === 'broadcast' || type === 'multicast' || (type === 'local' && mask === -1)) continue;
    const first = prefix >>> 0;
    const network = first >>> 24;
    if (network === 127 || network >= 224) continue;
    spans.push({ first, last: (prefix | ~mask) >>> 0, foreign: type !== 'unicast' || outOf(index) === 0 });
  }
  // Prefixes nest. In order of start, the wider first, a stack holds those around the present point; the top one counts.
  // `never` came first and the sort is stable, so it must go behind an equal /32: the later of two equals is the top.
  spans.sort((a, b) => a.first - b.first || b.last - a.last || Number(b.foreign) - Number(a.foreign));
  const found: { first: number; last: number }[] = [];
  const stack: Span[] = [];
  let at = 0;
  const advance = (to: number) => {
    // [at, to) belongs to the top of the stack.
    if (to > at && stack.length > 0 && stack[stack.length - 1]!.foreign) {
      const previous = found[found.length - 1];
      if (previous !== undefined && previous.last + 1 === at) previous.last = to - 1;
      else found.push({ first: at, last: to - 1 });
    }
    at = Math.max(at, to);
  };
  const closeBefore = (point: number) => {
    while (stack.length > 0 && stack[stack.length - 1]!.last < point) {
      advance(stack[stack.length - 1]!.last + 1);
      stack.pop();
    }
  };
  for (const span of spans) {
    closeBefore(span.first);
    advance(span.first);
    stack.push(span);
  }
  closeBefore(2 ** 32);
  return found.flatMap(({ first, last }) => rangePrefixes(first, last));
}

/** The fewest prefixes that make up a closed range of unsigned addresses. */
export function rangePrefixes(first: number, last: number): Prefix[] {
  const out: Prefix[] = [];
  for (let at = first; at <= last; ) {
    // As wide as the start is aligned and the rest allows.
    let size = at === 0 ? 2 ** 32 : (at & -at) >>> 0;
    while (at + size - 1 > last) size /= 2;
    out.push({ prefix: at | 0, mask: maskOf(32 - Math.log2(size)) });
    at += size;
  }
  return out;
}
