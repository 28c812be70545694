#!/usr/bin/env node
// Writes src/control/state-codec.ts from src/control/state.proto: protobufjs' static code, so that nothing is compiled at run
// time. `--check` only compares (a test does).
import { execFileSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('..', import.meta.url));
const target = `${root}src/control/state-codec.ts`;
const code = execFileSync(
  process.execPath,
  [
    `${root}node_modules/protobufjs-cli/bin/pbjs`,
    ...[
      '-t',
      'static-module',
      '-w',
      'es6',
      '--no-create',
      '--no-verify',
      '--no-delimited',
      '--no-service',
      '--no-comments',
    ],
    ...['--force-number', '--no-typeurl', '--no-convert', `${root}src/control/state.proto`],
  ],
  { encoding: 'utf8' },
);
const text = `// Generated from state.proto by scripts/state-codec.mjs; not to be edited. state-file.ts gives it types.
// @ts-nocheck
${code
  .replace(/^\/\*eslint.*\n/, '')
  // A CommonJS package has only a default export that is sure.
  .replace(
    /import \* as \$protobuf from "protobufjs\/minimal(?:\.js)?";/,
    "import $protobuf from 'protobufjs/minimal.js';",
  )
  .trim()}
`;
if (!process.argv.includes('--check')) writeFileSync(target, text);
else if (readFileSync(target, 'utf8') !== text) {
  console.error('src/control/state-codec.ts is stale: run `node scripts/state-codec.mjs`');
  process.exit(1);
}
