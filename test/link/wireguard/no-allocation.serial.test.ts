import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';

const program = fileURLToPath(new URL('allocation.js', import.meta.url));

function grown(...more: string[]): number {
  const flags = ['--expose-gc', '--single-threaded', '--max-semi-space-size=256', '--min-semi-space-size=256'];
  const child = spawnSync(process.execPath, [...flags, program, ...more], { encoding: 'utf8', timeout: 120_000 });
  assert.equal(child.status, 0, child.stderr);
  return Number(child.stdout.trim());
}

// The measured rest, 23 KB, is a few bytes a batch.
test('sealing and opening 200,000 packets of a live session allocates nothing', () => {
  const bytes = grown();
  assert.ok(bytes < 65_536, `${bytes} bytes were allocated, ${(bytes / 200_000).toFixed(2)} a packet`);
});

test('the measurement sees one empty array a packet', () => {
  const bytes = grown('spoil');
  assert.ok(bytes > 200_000 * 16, `${bytes} bytes`);
});
