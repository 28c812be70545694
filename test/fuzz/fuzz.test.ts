/** The nightly fuzz in small: some lives of a router, and every failure that was ever found. `npm run fuzz` goes on from here. */
import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { fromFile, minimize, toFile } from './minimize.js';
import { craft, UDP } from './packet.js';
import { type Event, epoch, replay, settingsOf } from './run.js';
import { INSIDE, OUTSIDE } from './world.js';

const LIVES = 8;
const PACKETS = 25_000;
// dist/test/fuzz → the source tree, where the files are.
const corpus = new URL('../../../test/fuzz/corpus/', import.meta.url);
const seed = Number(process.env.TUNGATE_FUZZ_SEED ?? 64);

for (let life = 0; life < LIVES; life++) {
  test(`REQ-64 REQ-41 REQ-66 REQ-68 hostile traffic, seed ${seed} life ${life}: nothing breaks, leaks or is laundered`, () => {
    const packets = epoch(settingsOf(seed, life), PACKETS, []);
    assert.ok(packets >= PACKETS);
  });
}

for (const file of readdirSync(corpus)) {
  const { about, settings, events } = fromFile(readFileSync(new URL(file, corpus), 'utf8'));
  test(`once found by the fuzzer: ${file.replace('.json', '')} (${about})`, () => {
    assert.equal(replay(settings, events), undefined);
  });
}

test('the corpus stands in the source tree', () => {
  assert.ok(readdirSync(fileURLToPath(corpus)).length > 0);
});

test('the same seed gives the same packets, and a replay of them the same end', () => {
  const [first, second]: [Event[], Event[]] = [[], []];
  const settings = settingsOf(seed, 99);
  epoch(settings, 3000, first);
  epoch(settings, 3000, second);
  assert.equal(toFile(settings, first, ''), toFile(settings, second, ''));
  assert.equal(replay(settings, first), undefined);
});

test('a failure is cut down to the events that make it, and its file plays again', () => {
  const packet = (src: number, dst: number) => craft({ src, dst, proto: UDP, sport: 20_000, dport: 53 });
  const harmless: Event[] = OUTSIDE.slice(0, 8).map((dst) => ({ kind: 'packet', packet: packet(INSIDE[0]!, dst) }));
  const broken = { kind: 'clock', ms: 7 } as const;
  const events: Event[] = [...harmless, { kind: 'batch' }, broken, ...harmless, { kind: 'batch' }];
  const settings = settingsOf(1, 1);
  const fails = (list: readonly Event[]) => (list.includes(broken) ? new Error('it breaks') : undefined);
  const few = minimize(settings, events, 'it breaks', 10, fails);
  assert.deepEqual(few, [broken]);
  const again = fromFile(toFile(settings, events.slice(0, 9), 'about'));
  assert.deepEqual(again.events, events.slice(0, 9));
  assert.deepEqual(again.settings, settings);
});
