import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createLog, humanLine } from '../../src/control/log.js';

function collect(level: Parameters<typeof createLog>[0], format: Parameters<typeof createLog>[1]) {
  const lines: string[] = [];
  return { log: createLog(level, format, { write: (line) => lines.push(line) }), lines };
}

test('JSON: one object a line with level, time and message', () => {
  const { log, lines } = collect('info', 'json');
  log.info('ready');
  log.error({ err: new Error('why') }, 'it failed');
  log.debug('not said');
  assert.equal(lines.length, 2);
  const [first, second] = lines.map((line) => JSON.parse(line) as Record<string, unknown>);
  assert.equal(first?.level, 'info');
  assert.equal(first?.msg, 'ready');
  assert.match(String(first?.time), /^\d{4}-\d\d-\d\dT.*Z$/);
  assert.equal((second!.err as { message: string }).message, 'why');
});

test('what is not a terminal gets JSON by default', () => {
  const { log, lines } = collect('info', 'auto');
  log.info('x');
  assert.equal(JSON.parse(lines[0]!).msg, 'x');
});

test('text: clock, level where it matters, reason, details', () => {
  const { log, lines } = collect('debug', 'text');
  log.info('ready');
  log.warn({ worker: 1, list: [1] }, 'slow');
  log.error({ err: new Error('no such device') }, 'cannot open');
  log.debug({ err: new Error('deep') }, 'place');
  assert.match(lines[0]!, /^\d\d:\d\d:\d\d ready\n$/);
  assert.match(lines[1]!, /^\d\d:\d\d:\d\d warning: slow \(worker=1 list=\[1\]\)\n$/);
  assert.match(lines[2]!, /^\d\d:\d\d:\d\d error: cannot open: no such device\n$/);
  assert.match(lines[3]!, /debug: place: Error: deep\n +at /, 'whoever debugs gets the place');
});

test('colour only where it is asked for', () => {
  const line = JSON.stringify({ level: 'error', time: '2026-01-01T10:11:12.000Z', msg: 'm' });
  assert.equal(humanLine(line, false), '10:11:12 error: m\n');
  assert.equal(humanLine(line, true), '10:11:12 \x1b[31merror: m\x1b[0m\n');
});

test('the level may change while it runs', () => {
  const { log, lines } = collect('warn', 'json');
  log.info('no');
  log.level = 'info';
  log.info('yes');
  assert.equal(lines.length, 1);
});
