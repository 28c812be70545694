/** The committed baseline of the micro benches, and a micro bench run in a tree of its own: this one, or an older commit's. */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { MicroOptions, MicroResult } from './micro.js';

export const TREE = join(dirname(fileURLToPath(import.meta.url)), '..', '..', '..');
export const BASELINE = 'bench/baseline.json';

export interface Baseline {
  readonly commit: string;
  readonly node: string;
  readonly results: Record<string, { unit: string; ns: number; instructions: number | undefined }>;
}

export interface Counted extends MicroResult {
  /** Instructions an operation, where the machine counts them. */
  readonly instructions?: number;
}

let counter: boolean | undefined;

/** Virtual machines often have no counters: `perf stat` then prints "<not supported>". */
function countsInstructions(): boolean {
  counter ??= /^\d+,/m.test(
    spawnSync('perf', ['stat', '-x,', '-e', 'instructions:u', 'true'], { encoding: 'utf8' }).stderr ?? '',
  );
  return counter;
}

/** The micro bench `name` of the tree at `tree`, in a process of its own. */
export function runOne(tree: string, name: string, { rounds, milliseconds }: MicroOptions): Counted {
  const program = join(tree, 'dist', 'bench', 'micro.js');
  const argv = (count: number) => [
    ...[process.execPath, program, '--only', name, '--rounds', String(count)],
    ...['--milliseconds', String(milliseconds)],
  ];
  const [file, ...args] = argv(rounds);
  const { status, stdout, stderr } = spawnSync(file!, args, { cwd: tree, encoding: 'utf8' });
  if (status !== 0) throw new Error(`${name} failed in ${tree}: ${stderr}`);
  const result = JSON.parse(stdout) as MicroResult;
  const instructions = countsInstructions() ? instructionsOf(argv, result) : undefined;
  return instructions === undefined ? result : { ...result, instructions };
}

/** Twice, with different numbers of rounds: the difference is without start and preparation. */
function instructionsOf(argv: (rounds: number) => string[], { values }: MicroResult): number | undefined {
  const dir = mkdtempSync(join(tmpdir(), 'tungate-bench-'));
  try {
    const count = (rounds: number) => {
      const file = join(dir, 'perf');
      const perf = ['stat', '-x,', '-e', 'instructions:u', '-o', file, '--', ...argv(rounds)];
      const { stdout } = spawnSync('perf', perf, { encoding: 'utf8' });
      const result = JSON.parse(stdout) as MicroResult;
      return { total: Number(/^(\d+),/m.exec(readFileSync(file, 'utf8'))?.[1]), nanos: result.values };
    };
    const milliseconds = Number(argv(1).at(-1));
    const [few, many] = [count(1), count(1 + values.length)];
    const operations = many.nanos.slice(1).reduce((sum, nanos) => sum + (milliseconds * 1e6) / nanos, 0);
    const each = (many.total - few.total) / operations;
    return Number.isFinite(each) ? each : undefined;
  } finally {
    rmSync(dir, { recursive: true, force: true });
  }
}
