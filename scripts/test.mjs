// npm test: sets up what is missing, builds, runs every test: unit, property and the real kernel's.
//
//   npm test                        everything
//   npm test -- netns wire          only test files whose path contains one of these words
//
// Without root everything runs inside a user namespace (see src/lab/privilege.ts), where it is root.
// Files named *.serial.test.ts measure or need both cores: they run one at a time, after the others.
// With CI set, up to three files that failed run once more, alone, and those tests count that fail again: a machine whose
// processors are taken away for a second at a time is no bug of the router. What passed only then is named.
// A skipped or todo test is a failure: what cannot run must say what it lacks. At the end the longest files are named: those
// that are not among the first below belong there.
import { spawn } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { PATH, root, setup } from './setup.mjs';

/** The longest, in this order before all others: two at a time, the last minute should not belong to one of them alone. */
const FIRST = [
  'netns/fault-start',
  'netns/nat-tcp',
  'netns/fault-survived',
  'netns/bad-input',
  'netns/restore-kernel-state',
  'netns/leaks',
  'netns/ops-changes',
  'cli/cli',
  'netns/outside-to-lan',
  'netns/continuity',
  'control/workers',
  'deploy/watching',
].map((name) => join('test', `${name}.test.ts`));

/** More files than these that fail are no matter of chance. */
const RECHECKED = 3;

const words = process.argv.slice(2);
setup('test');

const { asNamespaceRoot, tunDeviceProblem, userNamespaceProblem } = await import('../dist/src/lab/privilege.js');
const problem = process.getuid() === 0 ? '' : userNamespaceProblem() || tunDeviceProblem();
if (problem) {
  console.error(`test: ${problem}`);
  process.exit(77);
}

const rank = (file) => (FIRST.includes(file) ? FIRST.indexOf(file) : FIRST.length);
const files = readdirSync(join(root, 'test'), { recursive: true })
  .filter((file) => file.endsWith('.test.ts') && (words.length === 0 || words.some((word) => file.includes(word))))
  .map((file) => join('test', file))
  .sort((x, y) => rank(x) - rank(y) || (x < y ? -1 : 1))
  .map((file) => join('dist', file.replace(/\.ts$/, '.js')));
if (files.length === 0) {
  console.error(`test: no test file matches ${words.join(' ')}`);
  process.exit(1);
}
const serial = files.filter((file) => file.endsWith('.serial.test.js'));
const parallel = files.filter((file) => !serial.includes(file));

const dir = mkdtempSync(join(tmpdir(), 'tungate-test-'));
/** What became of each file's tests: see test-run.mjs. */
const results = {};
// Node reads the certificates that this names at every start, which takes longer than all the rest of the start; the tests start
// it a thousand times, and none of them speaks TLS.
const { NODE_EXTRA_CA_CERTS: _, ...environment } = process.env;
/** Runs test files, so many at a time, and notes what became of each. */
async function runGroup(group, concurrency) {
  if (group.length === 0) return;
  const report = join(dir, `report-${concurrency}.json`);
  const argv = [
    process.execPath,
    '--enable-source-maps',
    join(root, 'scripts', 'test-run.mjs'),
    String(concurrency),
    report,
    ...group,
  ];
  const [file, ...args] = process.getuid() === 0 ? argv : asNamespaceRoot(argv);
  const child = spawn(file, args, {
    cwd: root,
    stdio: ['ignore', 'inherit', 'inherit'],
    env: { ...environment, PATH },
  });
  for (const signal of ['SIGINT', 'SIGTERM']) process.on(signal, () => child.kill(signal));
  const code = await new Promise((resolve) => child.once('exit', resolve));
  if (existsSync(report)) Object.assign(results, JSON.parse(readFileSync(report, 'utf8')));
  const broken = Object.fromEntries(
    group.map((file) => [file, { pass: 0, failed: ['no report'], skipped: [], seconds: 0 }]),
  );
  if (!existsSync(report) || (code !== 0 && group.every((file) => results[file].failed.length === 0))) {
    Object.assign(results, broken);
  }
  rmSync(report, { force: true });
}

const failedFiles = () => Object.keys(results).filter((file) => results[file].failed.length > 0);
const named = (key) =>
  Object.entries(results).flatMap(([file, of]) => of[key].map((name) => `${source(file)} ${name}`));
const source = (file) => file.replace(/^dist\//, '').replace(/\.js$/, '.ts');

let unsteady = [];
try {
  await runGroup(parallel, 2);
  await runGroup(serial, 1);
  const again = failedFiles();
  if (process.env.CI && again.length <= RECHECKED) {
    const first = named('failed');
    await runGroup(again, 1);
    unsteady = first.filter((name) => !named('failed').includes(name));
  }
} finally {
  rmSync(dir, { recursive: true, force: true });
}
const sum = (value) => Object.values(results).reduce((total, of) => total + value(of), 0);
const longest = Object.entries(results).toSorted(([, x], [, y]) => y.seconds - x.seconds);
console.log(
  `longest: ${longest
    .slice(0, 12)
    .map(([file, { seconds }]) => `${source(file)} ${Math.round(seconds)} s`)
    .join(', ')}`,
);
for (const name of unsteady) console.log(`unsteady, failed once and passed alone: ${name}`);
for (const name of named('failed')) console.log(`failed: ${name}`);
for (const name of named('skipped')) console.log(`skipped, which counts as failed: ${name}`);
const failed = sum((of) => of.failed.length + of.skipped.length);
console.log(`${sum((of) => of.pass)} passed, ${failed} failed`);
process.exit(failed > 0 ? 1 : 0);
