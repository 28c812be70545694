// Runs built test files in the order given, so many at a time: `node --test` would sort them by name, and the longest would end
// the run alone.   test-run.mjs AT-ONCE REPORT FILE…
//
// Each file is a process of its own, with this process' options of Node. What people read goes to stdout, what became of each test
// to REPORT: counts, the names of failed and skipped tests, seconds by file.
import { writeFileSync } from 'node:fs';
import { run } from 'node:test';
import { spec } from 'node:test/reporters';

const [atOnce, report, ...files] = process.argv.slice(2);
const seen = { pass: 0, fail: 0, skipped: [], failed: [], seconds: {} };

/** Counts what passes by. */
async function* count(events) {
  for await (const event of events) {
    const { type, data } = event;
    if (type === 'test:pass' || type === 'test:fail') note(type === 'test:pass', data);
    yield event;
  }
}

function note(passed, { file, name, nesting, skip, todo, details }) {
  const short = file ? file.replace(/^.*\/(?=test\/)/, '') : '';
  if (nesting === 0) seen.seconds[short] = (seen.seconds[short] ?? 0) + (details?.duration_ms ?? 0) / 1000;
  if (details?.type === 'suite') return; // its tests are counted
  if (skip !== undefined || todo !== undefined) seen.skipped.push(`${short} ${name}`.trim());
  else if (passed) seen.pass++;
  else {
    seen.fail++;
    seen.failed.push(`${short} ${name}`.trim());
  }
}

// The time limit, for each file, is only there to stop a hang: a busy machine has taken five times the usual minute.
run({ files, concurrency: Number(atOnce), timeout: 900_000 })
  .on('test:fail', () => {
    process.exitCode = 1;
  })
  .compose(count)
  .on('end', () => writeFileSync(report, JSON.stringify(seen)))
  .compose(spec)
  .pipe(process.stdout);
