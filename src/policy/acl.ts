/** Prefix lists: `from`, `to`, `block`. */
import type { Prefix } from '../contract/plan.js';

/** Is the address in one of the prefixes? An empty list holds nobody. */
export function inPrefixes(list: readonly Prefix[], address: number): boolean {
  for (let i = 0; i < list.length; i++) if ((address & list[i]!.mask) === list[i]!.prefix) return true;
  return false;
}

/** As inPrefixes, but an empty list means everybody. */
export function allowedBy(list: readonly Prefix[], address: number): boolean {
  return list.length === 0 || inPrefixes(list, address);
}
