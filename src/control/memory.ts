/**
 * What one run hands to the next beside the flow table: the numbers of rules and interfaces, which the rows carry.
 * Written by rename, so that a crash leaves the old one or the new one.
 */
import { readFileSync, renameSync, writeFileSync } from 'node:fs';
import type { Memory } from './compiled.js';

export function writeMemory(file: string, memory: Memory): void {
  const draft = `${file}.new`;
  writeFileSync(draft, JSON.stringify(memory), { mode: 0o640 });
  renameSync(draft, file);
}

/** What the last run knew, or null: then numbers start anew, and the engine decides every flow again. */
export function readMemory(file: string): Memory | null {
  try {
    return JSON.parse(readFileSync(file, 'utf8')) as Memory;
  } catch {
    return null;
  }
}
