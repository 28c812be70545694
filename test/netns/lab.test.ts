import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { chmodSync, existsSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { Lab, run } from '../../src/lab/index.js';

const LAB = new URL('../../src/lab/index.js', import.meta.url).href;
const ROOT = fileURLToPath(new URL('../../..', import.meta.url));

/** Everything that a lab of process `pid` would have left. */
function leftBehind(pid: number): string[] {
  const list = (dir: string) => (existsSync(dir) ? readdirSync(dir) : []);
  return [...list('/run/netns'), ...list('/dev/shm'), ...list(tmpdir())].filter((name) => name.includes(`-${pid}-`));
}

/** Runs a program that builds the topology; resolves with its pid once `how` has ended it. */
async function endedBy(
  program: string,
  how?: NodeJS.Signals,
): Promise<{ pid: number; code: number | null; built: boolean }> {
  const child = spawn(process.execPath, ['--input-type=module', '-e', program], {
    stdio: ['ignore', 'pipe', 'ignore'],
  });
  let built = false;
  child.stdout.once('data', () => {
    built = true;
    if (how) child.kill(how);
  });
  const code = await new Promise<number | null>((resolve) => child.once('exit', resolve));
  return { pid: child.pid!, code, built };
}

const BUILD = `const { buildTopology } = await import(${JSON.stringify(LAB)}); const topology = await buildTopology(); console.log('built');`;

test('a lab leaves nothing behind after an exception', async () => {
  const { pid, code, built } = await endedBy(`${BUILD} throw new Error('on purpose');`);
  assert.deepEqual([built, code, leftBehind(pid)], [true, 1, []]);
});

for (const [signal, expected] of [
  ['SIGINT', 130],
  ['SIGTERM', 143],
] as const)
  test(`a lab leaves nothing behind after ${signal}`, async () => {
    const { pid, code, built } = await endedBy(
      `${BUILD} await new Promise((resolve) => setTimeout(resolve, 60_000));`,
      signal,
    );
    assert.deepEqual([built, code, leftBehind(pid)], [true, expected, []]);
  });

test('what SIGKILL left is removed by the next lab', async () => {
  const { pid } = await endedBy(`${BUILD} await new Promise((resolve) => setTimeout(resolve, 60_000));`, 'SIGKILL');
  await new Lab().close();
  assert.deepEqual(leftBehind(pid), []);
});

test('where user namespaces are forbidden, the setting is named', async () => {
  const print = `import(${JSON.stringify(LAB)}).then((lab) => console.log(lab.userNamespaceProblem()))`;
  const forbid = 'echo 0 > /proc/sys/user/max_user_namespaces && exec "$@"';
  const argv = ['unshare', '--user', '--map-root-user', 'sh', '-c', forbid, 'sh', process.execPath, '-e', print];
  const { stdout, stderr } = await run(argv);
  assert.match(stdout, /sysctl -w user\.max_user_namespaces=\d+/, stderr);
});

test('the demo runs without root', async () => {
  const dir = mkdtempSync(join(tmpdir(), 'tungate-unprivileged-'));
  chmodSync(dir, 0o755);
  try {
    // As udev would have it: the TUN device open to everybody. And the checkout and Node where everybody may read them,
    // also when they live below a closed home. All of it in a mount namespace of this test alone.
    const script = `
      cd "${dir}" && mkdir tree && touch node
      mount --bind "${ROOT}" tree && mount --bind "${process.execPath}" node
      (mknod tun c 10 200 && chmod 666 tun && mount --bind tun /dev/net/tun) 2>/dev/null || true
      # Already in a user namespace with a single user, there is none but root to be.
      setpriv --reuid=65534 --regid=65534 --clear-groups true 2>/dev/null || exec ./node tree/dist/src/lab/demo.js
      exec setpriv --reuid=65534 --regid=65534 --clear-groups ./node tree/dist/src/lab/demo.js`;
    const argv = ['unshare', '--mount', '--propagation', 'private', 'sh', '-c', script];
    const result = await run(argv, { seconds: 400, env: { HOME: dir } });
    assert.equal(result.code, 0, `${result.stdout}\n${result.stderr}`);
    assert.match(result.stdout, /All \d+ steps saw what they expected/);
  } finally {
    rmSync(dir, { recursive: true, force: true });
  }
});
