/** What a reload changes, as far as the two configs alone tell. */
import type { Config } from './model.js';

/** Equal but for the places in the files, and which files there are. */
export function sameMeaning(a: Config, b: Config): boolean {
  const text = (config: Config) =>
    JSON.stringify(config, (key, value: unknown) => (key === 'origin' || key === 'files' ? undefined : value));
  return text(a) === text(b);
}

/** Keys that a running router cannot change, in words. */
export function laterChanges(now: Config, next: Config): string[] {
  const later: string[] = [];
  const say = (key: string, was: unknown, is: unknown) => {
    if (was !== is) later.push(`${key}: ${String(is)} takes effect at the next start (now ${String(was)})`);
  };
  say('limits.flows', now.limits.flows, next.limits.flows);
  say('workers', now.workers || 'auto', next.workers || 'auto');
  say('tun.name', now.tun.name, next.tun.name);
  return later;
}
