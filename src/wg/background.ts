/**
 * Into the background, as programs do that fork: the same program again in a session of its own; the first one ends when the second says that
 * it is ready, or repeats what went wrong.
 */
import { spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';

export type Report = { readonly ready: true } | { readonly failed: string };

/** Set in the process that works in the background. */
const MARK = 'TUNGATE_WG_BACKGROUND';
const TUN_FD = 4;
const CLI = fileURLToPath(new URL('../cli.js', import.meta.url));

export function inBackground(): boolean {
  return process.env[MARK] === '1' && process.send !== undefined;
}

/** Tells the process that waits, and lets go of it and of its folder. */
export function report(words: Report): void {
  process.send?.(words, () => {
    if (process.connected) process.disconnect();
  });
  process.chdir('/');
}

/** Starts this program again with `args`; resolves with its report. `keepOutput`: its log goes where ours does. */
export function startInBackground(
  args: readonly string[],
  tunFd: number | undefined,
  keepOutput: boolean,
): Promise<Report> {
  const output = keepOutput ? 'inherit' : 'ignore';
  const child = spawn(process.execPath, [...process.execArgv, CLI, ...args], {
    detached: true,
    stdio: ['ignore', output, output, 'ipc', ...(tunFd === undefined ? [] : [tunFd])],
    env: { ...process.env, [MARK]: '1', ...(tunFd === undefined ? {} : { WG_TUN_FD: String(TUN_FD) }) },
  });
  return new Promise((resolve, reject) => {
    child.once('error', reject);
    child.once('message', (words) => {
      child.disconnect();
      child.unref();
      resolve(words as Report);
    });
    child.once('exit', (code, signal) =>
      resolve({ failed: `it ended with ${signal ?? `exit code ${code}`} before it was ready` }),
    );
  });
}
