/** The pages that speak of the config say what the program does. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { LIMITS, TIMEOUTS } from '../../src/control/defaults.js';
import { formatErrors, jsonSchema, parseConfig } from '../../src/control/index.js';
import { TOP_KEYS } from '../../src/control/schema.js';

// Built tests run from dist/test/control.
const docs = new URL('../../../docs/', import.meta.url);
const page = readFileSync(new URL('configuration.md', docs), 'utf8');

test('every example of docs/configuration.md is a good config', () => {
  const examples = [...page.matchAll(/```yaml\n([\s\S]*?)```/g)];
  assert.ok(examples.length >= 10);
  for (const { 1: text, index } of examples) {
    const line = page.slice(0, index).split('\n').length;
    const result = parseConfig(text!, `configuration.md after line ${line}`);
    if ('errors' in result) assert.fail(formatErrors(result.errors));
  }
});

test('the examples of the README are one good config', () => {
  const readme = readFileSync(new URL('../README.md', docs), 'utf8');
  const examples = [...readme.matchAll(/```yaml\n([\s\S]*?)```/g)].map((match) => match[1]!);
  assert.ok(examples.length >= 2);
  const result = parseConfig(examples.join(''), 'README.md');
  if ('errors' in result) assert.fail(formatErrors(result.errors));
});

test('docs/configuration.md has every key with its default and bounds', () => {
  for (const key of TOP_KEYS) assert.ok(page.includes(`\`${key}\``), `key ${key} is missing`);
  for (const [key, { preset, min, max }] of Object.entries({ ...LIMITS, ...TIMEOUTS })) {
    assert.ok(page.includes(`| \`${key}\` | ${preset} | ${min} to ${max} |`), `${key} ${preset} ${min} to ${max}`);
  }
});

test('docs/tungate.schema.json is what the program writes', () => {
  const written = readFileSync(new URL('tungate.schema.json', docs), 'utf8');
  assert.equal(
    written,
    `${JSON.stringify(jsonSchema(), null, 2)}\n`,
    'stale: run `npm run build && node scripts/schema.mjs`',
  );
});

test('the JSON schema names every key and the defaults', () => {
  const { properties } = jsonSchema() as {
    properties: Record<string, { default?: unknown; properties?: Record<string, { default?: unknown }> }>;
  };
  assert.deepEqual(Object.keys(properties).sort(), [...TOP_KEYS].sort());
  assert.equal(properties.timeouts!.properties!.udp!.default, 300);
  assert.equal(properties.uplink!.properties!.ports!.default, '20000-49999');
});
