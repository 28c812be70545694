import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';

const program = fileURLToPath(new URL('allocation.js', import.meta.url));
const sites = fileURLToPath(new URL('sites-allocation.js', import.meta.url));

/** Bytes that the heap grew by while 200,000 packets of established flows passed. */
function grown(what: string, ...more: string[]): number {
  // No garbage collection within the measured time: the young generation is larger than anything that could be made.
  const flags = ['--expose-gc', '--single-threaded', '--max-semi-space-size=256', '--min-semi-space-size=256'];
  const child = spawnSync(process.execPath, [...flags, what, ...more], { encoding: 'utf8', timeout: 120_000 });
  assert.equal(child.status, 0, child.stderr);
  return Number(child.stdout.trim());
}

// The measured rest, 20 KB, is one number a batch.
test('a steady-state cycle allocates nothing: 200,000 packets of every kind leave the heap as it was', () => {
  const bytes = grown(program);
  assert.ok(bytes < 32_768, `${bytes} bytes were allocated, ${(bytes / 200_000).toFixed(2)} a packet`);
});

test('the measurement sees one empty array a packet', () => {
  const bytes = grown(program, 'spoil');
  assert.ok(bytes > 200_000 * 16, `${bytes} bytes`);
});

test('nor do site links: 200,000 packets, sealed and opened, out and in', () => {
  const bytes = grown(sites);
  assert.ok(bytes < 200_000, `${bytes} bytes were allocated, ${(bytes / 200_000).toFixed(2)} a packet`);
  assert.ok(grown(sites, 'spoil') > 200_000 * 16);
});
