/** `tungate demo`: the router at work on real traffic, in network namespaces of its own. */
import { spawn } from 'node:child_process';
import { constants } from 'node:os';
import { fileURLToPath } from 'node:url';
import type { Options } from './verb.js';

const DEMO = fileURLToPath(new URL('../lab/demo.js', import.meta.url));

export function run(_options: Options, args: readonly string[]): Promise<number> {
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, [DEMO, ...args], { stdio: 'inherit' });
    // The terminal sends Ctrl-C to both; the demo clears up and ends, and so do we.
    process.on('SIGINT', () => {});
    process.on('SIGTERM', () => child.kill('SIGTERM'));
    child.on('error', reject);
    child.on('exit', (code, signal) => resolve(code ?? 128 + (signal ? constants.signals[signal] : 0)));
  });
}
