/**
 * npm run fuzz -- --packets N --seed S: the whole cycle under generated traffic, for as long as it takes.
 *
 *   --packets N   how many packets, at least (default 1,000,000)
 *   --seed S      where to begin (default: the clock); the same seed gives the same run
 *   --epoch N     packets of one router's life (default 20,000)
 *   --keep DIR    where a failure is written (default: build/fuzz)
 *   --replay FILE plays one such file and says what it does
 */
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { Counter } from '../../src/contract/counters.js';
import { VERDICTS } from '../../src/contract/verdict.js';
import { fromFile, minimize, nameOf, toFile } from './minimize.js';
import { type Event, epoch, Router, replay, settingsOf } from './run.js';

/** Time for cutting a failure down. */
const MINIMIZE_SECONDS = 120;
const SAY_EVERY_MS = 10_000;

const { values } = parseArgs({
  options: {
    packets: { type: 'string', default: '1000000' },
    seed: { type: 'string', default: String(Date.now() % 2 ** 31) },
    epoch: { type: 'string', default: '20000' },
    keep: { type: 'string', default: join('build', 'fuzz') },
    replay: { type: 'string' },
  },
});

function playFile(file: string): never {
  const { about, settings, events } = fromFile(readFileSync(file, 'utf8'));
  console.log(`fuzz: ${file}: ${about}`);
  const error = replay(settings, events);
  console.log(error ? `fuzz: it fails: ${error.stack}` : 'fuzz: it passes');
  process.exit(error ? 1 : 0);
}

function fuzz(packets: number, seed: number, perEpoch: number): void {
  console.log(`fuzz: seed ${seed}, ${packets} packets`);
  const from = process.hrtime.bigint();
  const seconds = () => Number(process.hrtime.bigint() - from) / 1e9;
  const verdicts = VERDICTS.map(() => 0);
  let done = 0;
  let said = 0;
  for (let n = 0; done < packets; n++) {
    const settings = settingsOf(seed, n);
    const events: Event[] = [];
    try {
      const router = new Router(settings);
      done += epoch(settings, Math.min(perEpoch, packets - done), events, router);
      for (let id = 0; id < verdicts.length; id++) verdicts[id]! += router.counters[Counter.VERDICT + id]!;
    } catch (error) {
      fail(error as Error, seed, n, events);
    }
    if (seconds() * 1000 - said < SAY_EVERY_MS) continue;
    said = seconds() * 1000;
    console.log(`fuzz: ${done} packets in ${n + 1} lives, ${Math.round(done / seconds())} a second`);
  }
  const seen = VERDICTS.map((row, id) => `${row.name} ${verdicts[id]}`);
  console.log(`fuzz: what became of them: ${seen.join(', ')}`);
  console.log(`fuzz: ${done} packets in ${seconds().toFixed(1)} s: nothing found (seed ${seed})`);
}

function fail(error: Error, seed: number, n: number, events: Event[]): never {
  console.error(`fuzz: seed ${seed}, life ${n}, event ${events.length}:\n${error.stack}`);
  const settings = settingsOf(seed, n);
  const name = nameOf(error);
  const few = minimize(settings, events, name, MINIMIZE_SECONDS);
  mkdirSync(values.keep, { recursive: true });
  const file = join(values.keep, `seed-${seed}-${n}.json`);
  writeFileSync(file, toFile(settings, few, name));
  console.error(
    `fuzz: ${events.length} events cut down to ${few.length}: ${file}; once it is mended, move the file to`,
  );
  console.error('      test/fuzz/corpus/, where npm test plays it for ever');
  process.exit(1);
}

if (values.replay !== undefined) playFile(values.replay);
fuzz(Number(values.packets), Number(values.seed) | 0, Number(values.epoch));
