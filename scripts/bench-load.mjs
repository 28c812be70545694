// Builds the benches' traffic generator (bench/load) into build/bench/load, unless it is newer than its sources.
import { existsSync, mkdirSync, readdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { root, step } from './setup.mjs';

export function buildLoad() {
  const dir = join(root, 'bench', 'load');
  const sources = readdirSync(dir).map((name) => join(dir, name));
  const program = join(root, 'build', 'bench', 'load');
  if (existsSync(program) && sources.every((file) => statSync(file).mtimeMs < statSync(program).mtimeMs)) return;
  mkdirSync(join(root, 'build', 'bench'), { recursive: true });
  const flags = ['-std=c++17', '-O2', '-Wall', '-Wextra', '-o', program];
  step([process.env.CXX || 'g++', ...flags, ...sources.filter((file) => file.endsWith('.cc'))]);
}

if (process.argv[1] === fileURLToPath(import.meta.url)) buildLoad();
