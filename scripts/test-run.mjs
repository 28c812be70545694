// Runs built test files in the order given, so many at a time: `node --test` would sort them by name, and the longest would end
// the run alone.   test-run.mjs AT-ONCE REPORT FILE…
//
// Each file is a process of its own, with this process' options of Node, and a run of its own: only so is it known whose a test
// is that a helper wrote. What people read goes to stdout as one report, what became of each file's tests to REPORT:
// { FILE: { pass, failed, skipped, seconds } }, by path, failed and skipped as names.
import { writeFileSync } from 'node:fs';
import { Readable } from 'node:stream';
import { run } from 'node:test';
import { spec } from 'node:test/reporters';

const [atOnce, report, ...files] = process.argv.slice(2);
const seen = Object.fromEntries(files.map((file) => [file, { pass: 0, failed: [], skipped: [], seconds: 0 }]));
/** The numbers at the end of a run ("tests 7"), added up. */
const sums = new Map();

function note(of, passed, { name, nesting, skip, todo, details }) {
  if (nesting === 0) of.seconds += (details?.duration_ms ?? 0) / 1000;
  // Its tests are counted; what else may fail of it is a hook.
  if (details?.type === 'suite' && (passed || details.error?.failureType === 'subtestsFailed')) return;
  if (skip !== undefined || todo !== undefined) of.skipped.push(name);
  else if (passed) of.pass++;
  else of.failed.push(name);
}

/** One file's events, when it is done. The time limit is only there to stop a hang: a busy machine has taken five times the usual minute. */
async function events(file) {
  const kept = [];
  for await (const event of run({ files: [file], timeout: 900_000 })) {
    const { type, data } = event;
    const [, what, number] = /^([a-z_]+) ([\d.]+)$/.exec(data.message ?? '') ?? [];
    if (type === 'test:pass' || type === 'test:fail') note(seen[file], type === 'test:pass', data);
    if (type === 'test:diagnostic' && data.nesting === 0 && what !== undefined) {
      sums.set(what, (sums.get(what) ?? 0) + Number(number));
    } else kept.push(event);
  }
  return kept;
}

async function* all() {
  const waiting = [...files];
  const running = new Set();
  while (waiting.length + running.size > 0) {
    while (running.size < Number(atOnce) && waiting.length > 0) {
      const one = events(waiting.shift()).then((kept) => [one, kept]);
      running.add(one);
    }
    const [done, kept] = await Promise.race(running);
    running.delete(done);
    yield* kept;
  }
  sums.set('duration_ms', performance.now());
  for (const [what, sum] of sums) {
    yield { type: 'test:diagnostic', data: { nesting: 0, message: `${what} ${sum}`, level: 'info' } };
  }
}

Readable.from(all())
  .compose(spec)
  .on('end', () => {
    writeFileSync(report, JSON.stringify(seen));
    process.exitCode = Object.values(seen).some(({ failed }) => failed.length > 0) ? 1 : 0;
  })
  .pipe(process.stdout);
