/**
 * `npm run bench:compare`: are the stages slower than at the baseline commit?
 *
 * Judged by ratio within one run: the baseline's commit is unpacked and built beside this tree (build/baseline/COMMIT, kept for
 * the next time), and each micro bench runs in both in turn, A B A B. Where that cannot be (no git history, or a commit
 * without these benches), the figures of bench/baseline.json are scaled by the calibration loop, whose speed before and now are
 * both known; that compares machines by integer work only, so its tolerance is wider. Instructions, where both were counted,
 * are judged at 3 %: they do not depend on the hour.
 *
 *   --rounds N (7)   --milliseconds N (200)   --tolerance PERCENT (10; 25 when scaled)   --only TEXT: names that contain it
 *   --scaled: do not build the baseline
 *
 * Exit code 1 when something is slower.
 */
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, renameSync, rmSync, symlinkSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { BASELINE, type Baseline, type Counted, runOne, TREE } from './lib/baseline.js';
import { judge, scaled, type Verdict } from './lib/judge.js';
import { median } from './lib/statistics.js';
import { micros } from './micros.js';

const INSTRUCTIONS = 1.03;

const { values } = parseArgs({
  options: {
    rounds: { type: 'string', default: '7' },
    milliseconds: { type: 'string', default: '200' },
    tolerance: { type: 'string' },
    only: { type: 'string', default: '' },
    scaled: { type: 'boolean', default: false },
  },
});
const rounds = Number(values.rounds);
const milliseconds = Number(values.milliseconds);
const say = (text: string) => process.stderr.write(`${text}\n`);

function must(file: string, args: string[], cwd: string, input?: Buffer): Buffer {
  const options = { cwd, maxBuffer: 2 ** 30, ...(input && { input }) };
  const { status, stdout, stderr, error } = spawnSync(file, args, options);
  if (status !== 0) throw new Error(`${file} ${args[0]}: ${error?.message ?? stderr.toString().trim()}`);
  return stdout;
}

/** The baseline's tree, built; throws when it cannot be had. */
function baselineTree(commit: string): string {
  const tree = join(TREE, 'build', 'baseline', commit);
  if (existsSync(join(tree, 'dist', 'bench', 'micro.js'))) return tree;
  say(`building commit ${commit.slice(0, 10)} in build/baseline`);
  const making = `${tree}.making`;
  rmSync(making, { recursive: true, force: true });
  mkdirSync(making, { recursive: true });
  must('tar', ['-x'], making, must('git', ['archive', commit], TREE));
  if (!existsSync(join(making, 'bench', 'micro.ts'))) throw new Error('that commit has no micro benches');
  symlinkSync(join(TREE, 'node_modules'), join(making, 'node_modules'));
  must(process.execPath, ['scripts/build-native.mjs'], making);
  must(join(TREE, 'node_modules', '.bin', 'tsc'), ['--incremental', 'false'], making);
  rmSync(tree, { recursive: true, force: true });
  renameSync(making, tree);
  return tree;
}

interface Pair {
  readonly now: Counted;
  readonly before: Counted;
}

/** One round of each in turn: what slows the machine for a second slows both. */
function interleaved(tree: string, name: string): Pair {
  const pick = (results: readonly Counted[]): Counted => ({
    ...results[0]!,
    values: results.map((result) => median(result.values)),
  });
  const now: Counted[] = [];
  const before: Counted[] = [];
  for (let round = 0; round < rounds; round++) {
    before.push(runOne(tree, name, { rounds: 1, milliseconds }));
    now.push(runOne(TREE, name, { rounds: 1, milliseconds }));
  }
  return { now: pick(now), before: pick(before) };
}

function fromFile(baseline: Baseline, name: string, calibration: { now: number; before: number }): Pair {
  const { ns, unit, instructions } = baseline.results[name]!;
  const now = runOne(TREE, name, { rounds, milliseconds });
  const before = { name, unit, values: [scaled(ns, calibration)], ...(instructions !== undefined && { instructions }) };
  return { now, before };
}

function report({ now, before }: Pair, tolerance: number): Verdict[] {
  const time = judge(now.name, now.values, before.values, tolerance);
  const verdicts = [time];
  if (now.instructions !== undefined && before.instructions !== undefined) {
    const name = `${now.name}, instructions`;
    verdicts.push(judge(name, [now.instructions], [before.instructions], INSTRUCTIONS));
  }
  for (const { name, ratio, slower } of verdicts)
    say(`${slower ? 'slower' : 'ok    '}  ${name.padEnd(50)} ${ratio.toFixed(3)} of the baseline's`);
  console.log(
    JSON.stringify({ compare: now.name, unit: now.unit, ratio: time.ratio, now: now.values, before: before.values }),
  );
  return verdicts;
}

function main(): number {
  const baseline = JSON.parse(readFileSync(join(TREE, BASELINE), 'utf8')) as Baseline;
  let tree: string | undefined;
  try {
    if (!values.scaled) tree = baselineTree(baseline.commit);
  } catch (error) {
    say(`the baseline's commit cannot be run here (${(error as Error).message}); its figures are scaled instead`);
  }
  const percent = Number(values.tolerance ?? (tree === undefined ? 25 : 10));
  const names = micros
    .map(({ name }) => name)
    .filter((name) => name !== 'calibration' && name.includes(values.only) && name in baseline.results);
  const speed = tree === undefined ? median(runOne(TREE, 'calibration', { rounds, milliseconds }).values) : 0;
  const calibration = { now: speed, before: baseline.results.calibration!.ns };
  const verdicts = names.flatMap((name) =>
    report(tree === undefined ? fromFile(baseline, name, calibration) : interleaved(tree, name), 1 + percent / 100),
  );
  const slower = verdicts.filter((each) => each.slower);
  say(
    slower.length === 0
      ? `nothing is more than ${percent} % slower than at ${baseline.commit.slice(0, 10)}`
      : `slower than at ${baseline.commit.slice(0, 10)}: ${slower.map((each) => each.name).join(', ')}`,
  );
  return slower.length === 0 ? 0 : 1;
}

process.exitCode = main();
