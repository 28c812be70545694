import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { statSync } from 'node:fs';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';

// dist/test/native → three up from here.
const root = new URL('../../../', import.meta.url);
const script = fileURLToPath(new URL('scripts/build-native.mjs', root));

function build(...args: string[]) {
  const env = { ...process.env, PATH: '/nonexistent', CXX: '', PYTHON: '' };
  return spawnSync(process.execPath, [script, ...args], { env, encoding: 'utf8', timeout: 300_000 });
}

test('an addon that is newer than its sources is not built again', () => {
  const addon = new URL('build/Release/tungate.node', root);
  const made = statSync(addon).mtimeMs;
  const result = build();
  assert.equal(result.status, 0, result.stderr);
  assert.equal(statSync(addon).mtimeMs, made);
});

test('without compiler, make and python3 the build says in one line what to install', () => {
  const result = build('--force');
  assert.equal(result.status, 1);
  assert.match(result.stderr, /^build-native: .*On Debian or Ubuntu: apt-get install -y g\+\+ make python3\n$/);
});
