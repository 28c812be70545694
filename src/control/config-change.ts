/** A config that is to replace another: how it is read, and what it changes, as far as the two alone tell. */
import { loadConfig } from './config.js';
import type { Edit } from './edit.js';
import { formatError } from './errors.js';
import type { Config, ConfigError } from './model.js';
import { Refused } from './refused.js';

/** The config as it is written, or as it would be after an edit. Throws Refused, with every error. */
export function readChanged(file: string, temporary: string, edit?: Edit): Config {
  const result = loadConfig(file, { temporary, ...(edit && { instead: edit }) });
  if ('config' in result) return result.config;
  // Of a text that is not written, places say nothing.
  const lines = result.errors.map((error: ConfigError) => (edit?.has(error.file) ? error.message : formatError(error)));
  throw new Refused(422, edit ? lines[0]! : `${file}: the config has errors`, edit ? lines.slice(1) : lines);
}

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
