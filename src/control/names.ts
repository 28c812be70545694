/**
 * Numbers that live flows carry and that must mean the same after a reload: rule ids and out interfaces. Names keep them.
 */
import { MAX_RULES } from '../contract/counters.js';
import { MAX_INTERFACES } from './defaults.js';

/**
 * Ids for `names`, in order. A name seen before keeps its id; a new one gets an id that no name has had yet, as counters are
 * never reset; only when all are used up do those of rules that are gone go to new ones.
 */
export function assignRules(before: Readonly<Record<string, number>>, names: readonly string[]): Map<string, number> {
  const ids = new Map<string, number>();
  const taken = new Set(Object.values(before));
  const current = new Set<number>();
  for (const name of names) {
    if (!Object.hasOwn(before, name)) continue;
    ids.set(name, before[name]!);
    current.add(before[name]!);
  }
  let next = 1;
  for (const name of names) {
    if (ids.has(name)) continue;
    while (next <= MAX_RULES && taken.has(next)) next++;
    if (next > MAX_RULES) {
      taken.clear();
      for (const id of current) taken.add(id);
      next = 1;
      while (taken.has(next)) next++;
    }
    ids.set(name, next);
    taken.add(next);
    current.add(next);
  }
  return ids;
}

/** What the next compile must remember: all names that still have an id of their own. */
export function rememberRules(
  before: Readonly<Record<string, number>>,
  now: ReadonlyMap<string, number>,
): Record<string, number> {
  const used = new Set(now.values());
  const kept = Object.entries(before).filter(([name, id]) => !now.has(name) && !used.has(id));
  return Object.fromEntries([...kept, ...now]);
}

/** Interface names by out index; [0] is the host. Names stay where they were; only a full list gives up those that are gone. */
export function assignInterfaces(before: readonly string[], names: readonly string[]): string[] {
  const list = before.length > 0 ? [...before] : [''];
  for (const name of new Set(names)) {
    if (list.includes(name, 1)) continue;
    if (list.length <= MAX_INTERFACES) list.push(name);
    else list[list.findIndex((old, index) => index > 0 && !names.includes(old))] = name;
  }
  return list;
}
