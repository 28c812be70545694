/** Export and import of the running router's flows: the file (state-file.ts) on one side, table and workers on the other. */
import type { ImportAnswer } from '../contract/api.js';
import { IMPORT_FATES, ImportFate } from '../contract/import.js';
import type { Plan } from '../contract/plan.js';
import { native } from '../native.js';
import { Refused } from './refused.js';
import type { Router } from './router.js';
import { exportState, readState, type StateChunk, StateError, stateLimit } from './state-file.js';

export class State {
  readonly #router: Router;
  readonly #version: string;

  constructor(router: Router, version: string) {
    this.#router = router;
    this.#version = version;
  }

  /** The longest file that `import` looks at. */
  get limit(): number {
    return stateLimit(this.#router.config.limits.flows);
  }

  /** The file as pieces; the flows go on meanwhile. */
  export(): Iterable<Uint8Array> {
    const { table, compiled } = this.#router;
    if (!table) throw new Refused(409, `the router is ${this.#router.phase}`);
    const names = ruleNames(compiled.plan);
    return exportState(table, (id) => names.get(id) ?? '', this.#version, Math.floor(native.boottime() / 1000));
  }

  /** Takes over what the present plan would make again. Throws Refused for a file that is not whole. */
  async import(file: Uint8Array): Promise<ImportAnswer> {
    const router = this.#router;
    const { workers } = router;
    if (!workers || router.phase !== 'ready') throw new Refused(409, `the router is ${router.phase}`);
    const ids = new Map([...ruleNames(router.compiled.plan)].map(([id, name]) => [name, id]));
    let chunks: StateChunk[];
    try {
      chunks = readState(file, (name) => ids.get(name) ?? 0);
    } catch (error) {
      if (error instanceof StateError) throw new Refused(422, `the file ${error.message}`);
      throw error;
    }
    const mappings = IMPORT_FATES.map(() => 0);
    const flows = IMPORT_FATES.map(() => 0);
    for (const chunk of chunks) {
      const fates = await workers.import(chunk.mappings, chunk.flows, chunk.bytes);
      fates.mappings.forEach((count, fate) => {
        mappings[fate]! += count;
      });
      fates.flows.forEach((count, fate) => {
        flows[fate]! += count;
      });
    }
    return { mappings: outcome(mappings), flows: outcome(flows) };
  }
}

/** Nat rules by id: what a mapping belongs to. */
function ruleNames({ nat, forwards }: Plan): Map<number, string> {
  return new Map([...forwards, ...nat].map(({ id, name }) => [id, name]));
}

function outcome(fates: readonly number[]): ImportAnswer['flows'] {
  const refused = IMPORT_FATES.flatMap(([reason, sentence], fate) =>
    fate === ImportFate.TAKEN || !fates[fate] ? [] : [{ reason, count: fates[fate], sentence }],
  );
  return { taken: fates[ImportFate.TAKEN] ?? 0, refused };
}
