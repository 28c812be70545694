/**
 * What one run hands to the next beside the flow table: the numbers of rules and interfaces, which the rows carry.
 * Written by rename, so that a crash leaves the old one or the new one, and with a sum: what is damaged is as good as not there.
 */
import { createHash } from 'node:crypto';
import { readFileSync, renameSync, writeFileSync } from 'node:fs';
import type { Memory } from './compiled.js';

/** Another shape of Memory gets another number. */
const VERSION = 1;

interface Sealed {
  readonly version: number;
  readonly sha256: string;
  readonly memory: Memory;
}

const sum = (memory: Memory) => createHash('sha256').update(JSON.stringify(memory)).digest('hex');

export function writeMemory(file: string, memory: Memory): void {
  const draft = `${file}.new`;
  const sealed: Sealed = { version: VERSION, sha256: sum(memory), memory };
  writeFileSync(draft, JSON.stringify(sealed), { mode: 0o640 });
  renameSync(draft, file);
}

/** What the last run knew, or null: then numbers start anew, and the engine decides every flow again. */
export function readMemory(file: string): Memory | null {
  try {
    const { version, sha256, memory } = JSON.parse(readFileSync(file, 'utf8')) as Sealed;
    return version === VERSION && sha256 === sum(memory) ? memory : null;
  } catch {
    return null;
  }
}
