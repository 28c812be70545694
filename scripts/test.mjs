// npm test: sets up what is missing, builds, runs every test: unit, property and the real kernel's.
//
//   npm test                        everything
//   npm test -- netns wire          only test files whose path contains one of these words
//
// Without root everything runs inside a user namespace (see src/lab/privilege.ts), where it is root.
// Files named *.serial.test.ts measure or need both cores: they run one at a time, after the others.
// A skipped or todo test is a failure: what cannot run must say what it lacks.
import { spawn } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { PATH, root, setup } from './setup.mjs';

const words = process.argv.slice(2);
setup('test');

const { asNamespaceRoot, tunDeviceProblem, userNamespaceProblem } = await import('../dist/src/lab/privilege.js');
const problem = process.getuid() === 0 ? '' : userNamespaceProblem() || tunDeviceProblem();
if (problem) {
  console.error(`test: ${problem}`);
  process.exit(77);
}

const files = readdirSync(join(root, 'test'), { recursive: true })
  .filter((file) => file.endsWith('.test.ts') && (words.length === 0 || words.some((word) => file.includes(word))))
  .sort()
  .map((file) => join('dist', 'test', file.replace(/\.ts$/, '.js')));
if (files.length === 0) {
  console.error(`test: no test file matches ${words.join(' ')}`);
  process.exit(1);
}
const serial = files.filter((file) => file.endsWith('.serial.test.js'));
const parallel = files.filter((file) => !serial.includes(file));

const dir = mkdtempSync(join(tmpdir(), 'tungate-test-'));
const totals = { pass: 0, fail: 0, skipped: [], failed: [] };
let broken = false;

/** One run of node --test; the report file says what became of each test. */
async function runGroup(group, concurrency) {
  if (group.length === 0) return;
  const report = join(dir, `report-${concurrency}.json`);
  const argv = [
    process.execPath,
    '--enable-source-maps',
    '--test',
    `--test-concurrency=${concurrency}`,
    '--test-timeout=180000', // only to stop a hang
    '--test-reporter=spec',
    '--test-reporter-destination=stdout',
    `--test-reporter=${join(root, 'scripts', 'test-report.mjs')}`,
    `--test-reporter-destination=${report}`,
    ...group,
  ];
  const [file, ...args] = process.getuid() === 0 ? argv : asNamespaceRoot(argv);
  const child = spawn(file, args, {
    cwd: root,
    stdio: ['ignore', 'inherit', 'inherit'],
    env: { ...process.env, PATH },
  });
  for (const signal of ['SIGINT', 'SIGTERM']) process.on(signal, () => child.kill(signal));
  const code = await new Promise((resolve) => child.once('exit', resolve));
  if (code !== 0) broken = true;
  const seen = JSON.parse(readFileSync(report, 'utf8') || '{"pass":0,"fail":1,"skipped":[],"failed":["no report"]}');
  totals.pass += seen.pass;
  totals.fail += seen.fail;
  totals.skipped.push(...seen.skipped);
  totals.failed.push(...seen.failed);
}

try {
  await runGroup(parallel, 2);
  await runGroup(serial, 1);
} finally {
  rmSync(dir, { recursive: true, force: true });
}
for (const name of totals.failed) console.log(`failed: ${name}`);
for (const name of totals.skipped) console.log(`skipped, which counts as failed: ${name}`);
console.log(`${totals.pass} passed, ${totals.fail + totals.skipped.length} failed`);
process.exit(broken || totals.fail + totals.skipped.length > 0 ? 1 : 0);
