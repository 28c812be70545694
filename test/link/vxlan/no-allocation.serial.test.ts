import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';

const program = fileURLToPath(new URL('allocation.js', import.meta.url));

/** Bytes that the heap grew by while 200,000 frames passed. */
function grown(...more: string[]): number {
  // No garbage collection within the measured time: the young generation is larger than anything that could be made.
  const flags = ['--expose-gc', '--single-threaded', '--max-semi-space-size=256', '--min-semi-space-size=256'];
  const child = spawnSync(process.execPath, [...flags, program, ...more], { encoding: 'utf8', timeout: 120_000 });
  assert.equal(child.status, 0, child.stderr);
  return Number(child.stdout.trim());
}

test('a steady-state VXLAN endpoint allocates nothing: 200,000 frames both ways leave the heap as it was', () => {
  const bytes = grown();
  assert.ok(bytes < 65_536, `${bytes} bytes were allocated, ${(bytes / 200_000).toFixed(2)} a frame`);
});

test('the measurement sees one empty array a frame', () => {
  const bytes = grown('spoil');
  assert.ok(bytes > 200_000 * 16, `${bytes} bytes`);
});
