/**
 * Runs the tests of a file in fresh kernel namespaces of their own. A Node process cannot change its namespace, so the file
 * starts itself again under unshare(1), and every result of that second run is reported as a subtest of the first.
 *
 *     inNamespace('TUN', import.meta.url, ['--net'], () => { test('…') … });
 *
 * Nothing has a name outside, and all of it ends with the process.
 */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';

const BODY = 'TUNGATE_TEST_BODY';

export function inNamespace(
  title: string,
  url: string,
  flags: readonly string[],
  body: () => void,
  seconds = 60,
): void {
  if (process.env[BODY] !== undefined) {
    if (process.env[BODY] === title) body();
    return;
  }
  test(title, async (t) => {
    const asRoot = process.getuid?.() === 0 ? [] : ['--user', '--map-root-user'];
    const { NODE_TEST_CONTEXT: _, ...env } = process.env;
    const result = spawnSync(
      'unshare',
      [...asRoot, ...flags, process.execPath, ...process.execArgv, '--test-reporter=tap', fileURLToPath(url)],
      {
        env: { ...env, [BODY]: title, PATH: `${env.PATH}:/usr/sbin:/sbin` },
        encoding: 'utf8',
        timeout: seconds * 1000,
      },
    );
    if (result.error) throw new Error(`unshare (util-linux) cannot be run: ${result.error.message}`);
    const lines = [...result.stdout.matchAll(/^(not ok|ok) \d+ - (.*)$/gm)];
    for (const [, verdict, name] of lines) {
      await t.test(name!, () => assert.equal(verdict, 'ok', result.stdout + result.stderr));
    }
    assert.ok(result.status === 0 && lines.length > 0, `status ${result.status}\n${result.stdout}${result.stderr}`);
  });
}
