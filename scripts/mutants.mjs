#!/usr/bin/env node
// npm run mutants: breaks the program in named ways, one at a time, and shows which test notices.
//
//   npm run mutants                     all of scripts/mutants/; exit 1 when one survives
//   npm run mutants -- --only REQ-12    those whose name or requirement contains the text
//   npm run mutants -- --slice 2/4      the second quarter of them
//   npm run mutants -- --list           names, requirements and files
//   npm run mutants -- --jobs 1         one at a time (default 2)
//   npm run mutants -- --prove          the other way round: which tests of docs/rfc-conformance.yaml does no mutant break? Each mutant
//                                       meets all of its requirement's tests, to the end; `--kernel`: those in namespaces too
//
// The working tree is never touched: each job has a copy of src/ and test/ with a build of its own, everything else is linked.
// A mutant changes one fragment of one source file; the file is compiled, with what it imports so that constants are written into
// the code as ever, and what came out must differ from what the unchanged file gives, or the mutant counts as an error. Then its test files run until one fails. A test that fails without any
// mutation proves nothing: it is named, does not count, and the run fails.
import { spawn, spawnSync } from 'node:child_process';
import { cpSync, mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { readTable } from './conformance.mjs';
import { MUTANTS } from './mutants/index.mjs';

const root = fileURLToPath(new URL('..', import.meta.url));
const COPIED = ['src', 'test', 'bench', 'package.json', 'tsconfig.json'];
const LEFT_OUT = ['dist', '.git'];
/** Seconds after which a test file counts as hanging; only to stop a mutant that loops for ever. */
const HANG = 150;

const { values } = parseArgs({
  options: {
    only: { type: 'string', multiple: true },
    slice: { type: 'string', default: '1/1' },
    list: { type: 'boolean' },
    jobs: { type: 'string', default: '2' },
    prove: { type: 'boolean' },
    kernel: { type: 'boolean' },
  },
});

const [, part = 0, parts = 0] = /^(\d+)\/(\d+)$/.exec(values.slice)?.map(Number) ?? [];
if (!(part >= 1 && part <= parts)) {
  console.error(`mutants: --slice takes a part of a whole, like 2/4, not "${values.slice}"`);
  process.exit(2);
}
const meant = MUTANTS.filter(
  ({ name, requirement }) => !values.only || values.only.some((text) => `${requirement} ${name}`.includes(text)),
);
const chosen = meant.slice(Math.floor((meant.length * (part - 1)) / parts), Math.floor((meant.length * part) / parts));
if (values.list) {
  for (const { requirement, name, file } of chosen) console.log(`${requirement.padEnd(9)}${name} (${file})`);
  process.exit(0);
}
if (chosen.length === 0) {
  console.error('mutants: none is left; --list shows all');
  process.exit(2);
}

const dir = mkdtempSync(join(tmpdir(), 'tungate-mutants-'));
process.on('exit', () => rmSync(dir, { recursive: true, force: true }));
for (const signal of ['SIGINT', 'SIGTERM']) process.on(signal, () => process.exit(130));

// ---- Copies.

function tsc(copy, ...args) {
  const bin = join(root, 'node_modules', 'typescript', 'bin', 'tsc');
  return spawnSync(process.execPath, [bin, '--noCheck', '--incremental', 'false', ...args], {
    cwd: copy,
    encoding: 'utf8',
  });
}

function makeCopies(jobs) {
  const copies = Array.from({ length: jobs }, (_, n) => join(dir, `copy-${n}`));
  const [first, ...others] = copies;
  for (const entry of COPIED) cpSync(join(root, entry), join(first, entry), { recursive: true });
  for (const entry of readdirSync(root))
    if (!COPIED.includes(entry) && !LEFT_OUT.includes(entry)) symlinkSync(join(root, entry), join(first, entry));
  const { status, stdout, stderr } = tsc(first);
  if (status !== 0) throw new Error(`the unchanged sources do not build:\n${stdout}${stderr}`);
  for (const copy of others) cpSync(first, copy, { recursive: true, verbatimSymlinks: true });
  return copies;
}

/** Compiles one file of a copy, and what it imports as it was. Returns what came out. */
function compileFile(copy, file) {
  const project = join(copy, 'tsconfig.one.json');
  const compilerOptions = { types: [], incremental: false, tsBuildInfoFile: null };
  writeFileSync(project, JSON.stringify({ extends: './tsconfig.json', compilerOptions, include: [], files: [file] }));
  const { status, stdout, stderr } = tsc(copy, '-p', project);
  if (status !== 0) throw new Error(`does not compile: ${stdout}${stderr}`);
  return readFileSync(builtName(copy, file), 'utf8');
}

function builtName(copy, file) {
  return join(copy, 'dist', file.replace(/\.ts$/, '.js'));
}

// ---- Test files.

/** Names of the tests of one built test file that failed, innermost first; the file itself when it died or hung. */
function failedTests(copy, test) {
  const { NODE_TEST_CONTEXT: _, ...env } = process.env;
  const file = join('dist', 'test', `${test}.test.js`);
  const child = spawn(process.execPath, ['--test', '--test-reporter=tap', file], {
    cwd: copy,
    env,
    detached: true,
    stdio: ['ignore', 'pipe', 'ignore'],
  });
  let output = '';
  let hung = false;
  child.stdout.setEncoding('utf8').on('data', (text) => {
    output += text;
  });
  const timer = setTimeout(() => {
    hung = true;
    process.kill(-child.pid, 'SIGKILL');
  }, HANG * 1000);
  return new Promise((resolve) => {
    child.once('close', (code) => {
      clearTimeout(timer);
      const failed = [...output.matchAll(/^\s*not ok \d+ - (.*)$/gm)]
        .map(([, name]) => name.replaceAll('\\#', '#'))
        .filter((name) => !/ # (SKIP|TODO)\b/i.test(name));
      if (hung) failed.push(`${test} hangs`);
      else if (code !== 0 && failed.length === 0) failed.push(`${test} ends with code ${code}`);
      resolve(failed);
    });
  });
}

/** Runs `work` for each item, as many at a time as there are copies. */
async function share(copies, items, work) {
  const queue = [...items];
  await Promise.all(
    copies.map(async (copy) => {
      for (let item = queue.shift(); item !== undefined; item = queue.shift()) await work(copy, item);
    }),
  );
}

/** Tests that the table names and that passed with every mutant they met: weak, or a mutant is missing. */
function tellUnproved() {
  const literal = (text) => text.replace(/[.*+?^${}()|[\]\\]/g, '\\$&');
  for (const { requirements } of readTable().themes)
    for (const { id, tests = {} } of requirements)
      for (const [test, names] of Object.entries(tests))
        for (const name of names) {
          const pattern = new RegExp(`${name.split('…').map(literal).join('.*')}$`);
          const seen = broken.get(test);
          if (seen && ![...seen].some((each) => pattern.test(each))) console.log(`unbroken: ${id} ${test}: ${name}`);
        }
}

// ---- Mutants.

/** Applies a mutant, asks its tests, and puts everything back. Returns a line for the table. */
async function judge(copy, { file, from, to, tests }, healthy) {
  const source = join(copy, file);
  const before = readFileSync(source, 'utf8');
  const found = before.split(from).length - 1;
  if (found !== 1) return { survived: true, words: `ERROR: the fragment occurs ${found} times in ${file}` };
  const builtFile = builtName(copy, file);
  const built = readFileSync(builtFile, 'utf8');
  try {
    writeFileSync(
      source,
      before.replace(from, () => to),
    );
    if (compileFile(copy, file) === built) return { survived: true, words: 'ERROR: the built file did not change' };
    let first = '';
    for (const test of tests) {
      const killers = (await failedTests(copy, test)).filter((name) => !healthy.get(test).includes(name));
      for (const name of killers) broken.get(test).add(name);
      if (first === '' && killers.length > 0) first = `${test}: ${killers[0]}`;
      if (first !== '' && !values.prove) break;
    }
    return first !== '' ? { survived: false, words: first } : { survived: true, words: `SURVIVED ${tests.join(', ')}` };
  } catch (error) {
    return { survived: true, words: `ERROR: ${error.message}` };
  } finally {
    writeFileSync(source, before);
    writeFileSync(builtFile, built);
  }
}

/** Requirement → test files that the table names for it. */
const named = new Map();
for (const { requirements } of values.prove ? readTable().themes : [])
  for (const { id, tests = {} } of requirements)
    named.set(
      id,
      Object.keys(tests).filter((test) => values.kernel || !test.startsWith('netns/')),
    );
if (values.prove)
  for (const mutant of chosen) mutant.tests = [...new Set([...mutant.tests, ...(named.get(mutant.requirement) ?? [])])];

const started = Date.now();
const copies = makeCopies(Math.max(1, Number(values.jobs)));
/** Test files, and which of their tests fail without any mutation. */
const healthy = new Map(chosen.flatMap(({ tests }) => tests.map((test) => [test, []])));
/** Test files, and which of their tests some mutant has broken. */
const broken = new Map([...healthy.keys()].map((test) => [test, new Set()]));
await share(copies, healthy.keys(), async (copy, test) => {
  healthy.set(test, await failedTests(copy, test));
});
const ill = [...healthy].flatMap(([test, failed]) => failed.map((name) => `${test}: ${name}`));
const tellIll = () => {
  for (const words of ill) console.log(`fails without any mutation: ${words}`);
};
tellIll();

const results = new Map();
await share(copies, chosen, async (copy, mutant) => {
  const result = await judge(copy, mutant, healthy);
  results.set(mutant, result);
  const mark = result.survived ? '✗' : '✓';
  console.log(`${mark} ${mutant.requirement.padEnd(8)} ${mutant.name}\n             ${result.words}`);
});
const survivors = [...results].filter(([, { survived }]) => survived);
const seconds = Math.round((Date.now() - started) / 1000);
console.log(`\n${chosen.length - survivors.length} of ${chosen.length} mutants are noticed, in ${seconds} s`);
for (const [{ requirement, name }, { words }] of survivors) console.log(`  ${requirement} ${name}: ${words}`);
tellIll();
if (values.prove) tellUnproved();
process.exit(survivors.length + ill.length > 0 ? 1 : 0);
