/**
 * Runs the tests of a file in fresh kernel namespaces of their own. A Node process cannot change its namespace, so the file
 * starts itself again under unshare(1), and every result of that second run is reported as a subtest of the first.
 *
 *     inNamespace('TUN', import.meta.url, ['--net'], () => { test('…') … });
 *
 * Nothing has a name outside, and all of it ends with the process.
 */
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';

const BODY = 'TUNGATE_TEST_BODY';

/** Several of the following in one file, two at a time: for those that mostly wait for the kernel. */
export function besideOneAnother(title: string, tests: () => void): void {
  if (process.env[BODY] !== undefined) tests();
  else describe(title, { concurrency: 2 }, tests);
}

interface Result {
  /** Exit code, or what ended it. */
  readonly status: number | string;
  readonly stdout: string;
  readonly stderr: string;
}

function run(file: string, args: readonly string[], env: NodeJS.ProcessEnv, seconds: number): Promise<Result> {
  const options = { env, timeout: seconds * 1000, killSignal: 'SIGKILL', maxBuffer: 64 << 20 } as const;
  return new Promise((resolve, reject) => {
    execFile(file, args, options, (error, stdout, stderr) => {
      if (error?.code === 'ENOENT') reject(new Error(`${file} (util-linux) cannot be run: ${error.message}`));
      else resolve({ status: error ? (error.code ?? error.signal ?? error.message) : 0, stdout, stderr });
    });
  });
}

export function inNamespace(
  title: string,
  url: string,
  flags: readonly string[],
  body: () => void,
  seconds = 800, // only to stop a hang, and before the whole file is stopped
): void {
  if (process.env[BODY] !== undefined) {
    if (process.env[BODY] === title) body();
    return;
  }
  test(title, async (t) => {
    const asRoot = process.getuid?.() === 0 ? [] : ['--user', '--map-root-user'];
    const { NODE_TEST_CONTEXT: _, ...env } = process.env;
    const result = await run(
      'unshare',
      [...asRoot, ...flags, process.execPath, ...process.execArgv, '--test-reporter=tap', fileURLToPath(url)],
      { ...env, [BODY]: title, PATH: `${env.PATH}:/usr/sbin:/sbin` },
      seconds,
    );
    const lines = [...result.stdout.matchAll(/^(not ok|ok) \d+ - (.*)$/gm)];
    for (const [, verdict, name] of lines) {
      await t.test(name!, () => assert.equal(verdict, 'ok', result.stdout + result.stderr));
    }
    assert.ok(result.status === 0 && lines.length > 0, `status ${result.status}\n${result.stdout}${result.stderr}`);
  });
}
