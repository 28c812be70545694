/**
 * Longest-prefix match over the plan's routes. Asked once a flow, so clarity goes before speed: one Map for each prefix
 * length in use, longest first; a default route and a few subnets are three look-ups.
 */
import type { Route } from '../contract/plan.js';

export class RouteTable {
  /** Mask of the last answer as an unsigned number; −1: there was no route. */
  matched = -1;
  readonly #masks: number[] = [];
  readonly #byMask: Map<number, number>[] = [];

  constructor(routes: readonly Route[]) {
    const byMask = new Map<number, Map<number, number>>();
    for (const { prefix, mask, out } of routes) {
      let prefixes = byMask.get(mask);
      if (!prefixes) byMask.set(mask, (prefixes = new Map()));
      if (!prefixes.has(prefix)) prefixes.set(prefix, out);
    }
    // As unsigned numbers, longer masks are larger.
    for (const [mask, prefixes] of [...byMask].sort(([a], [b]) => (b >>> 0) - (a >>> 0))) {
      this.#masks.push(mask);
      this.#byMask.push(prefixes);
    }
  }

  /** Out interface of `address`: an index into Plan.interfaces (0 = the kernel's business), or −1 without a route. */
  lookup(address: number): number {
    for (let i = 0; i < this.#masks.length; i++) {
      const out = this.#byMask[i]!.get(address & this.#masks[i]!);
      if (out === undefined) continue;
      this.matched = this.#masks[i]! >>> 0;
      return out;
    }
    this.matched = -1;
    return -1;
  }
}
