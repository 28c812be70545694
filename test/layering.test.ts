/**
 * The import rule of docs/architecture.md: who may import whom. Read from the import statements of src/, so that a wrong
 * edge is found by its file and line and not by a reviewer.
 */
import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join, normalize } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';

const SRC = join(dirname(fileURLToPath(import.meta.url)), '..', '..', 'src');

/** Part → what it may import beside itself: a part, or one file of a part. */
const RULES: Readonly<Record<string, readonly string[]>> = {
  'native.ts': [],
  'batch.ts': [],
  contract: [],
  lab: [],
  wire: ['native.ts'],
  policy: ['contract'],
  flow: ['contract', 'wire', 'native.ts'],
  link: ['contract', 'wire', 'batch.ts', 'native.ts'],
  alg: ['contract', 'wire', 'batch.ts'],
  datapath: [
    'contract',
    'wire',
    'flow',
    'policy',
    'batch.ts',
    'native.ts',
    'link/link.ts',
    'link/index.ts',
    'alg/alg.ts',
    'alg/index.ts',
  ],
  host: ['contract', 'native.ts', 'control/index.ts', 'service/index.ts'],
  service: ['contract', 'native.ts', 'control/index.ts', 'host/index.ts'],
  control: [
    'contract',
    'native.ts',
    'host/index.ts',
    'service/index.ts',
    // What is text and sockets of WireGuard, without its protocol.
    'link/wireguard/crypto.ts',
    'link/wireguard/outcome.ts',
    'link/wireguard/uapi-server.ts',
    'link/wireguard/wg-quick.ts',
    'link/wireguard/endpoint.ts',
    'link/vxlan/mtu.ts',
    'link/vxlan/outcome.ts',
  ],
  // The daemon's own program, and the verbs: they start it, or speak with it by its API.
  'main.ts': ['contract', 'native.ts', 'control', 'host/index.ts', 'service/index.ts'],
  // control/index.ts loads everything; verbs that only ask the daemon take the small files beside it.
  cli: [
    'contract',
    'cli.ts',
    'main.ts',
    'control/index.ts',
    'control/client.ts',
    'control/defaults.ts',
    'control/files.ts',
    'control/offline.ts',
    'control/runtime-dir.ts',
    'control/version.ts',
    'host/index.ts',
    'wg/main.ts',
    'wg/background.ts',
  ],
  // A bare WireGuard device: a program of its own, without router and config.
  wg: ['native.ts', 'link/wireguard/index.ts', 'host/index.ts'],
  'cli-wg.ts': ['cli.ts'],
  // The verbs; and a thread that begins to load before them.
  'cli.ts': ['contract', 'cli', 'control/park.ts'],
};

interface Edge {
  readonly from: string;
  readonly to: string;
  readonly line: number;
}

function partOf(file: string): string {
  return file.includes('/') ? file.slice(0, file.indexOf('/')) : file;
}

function allowed(edge: Edge): boolean {
  const part = partOf(edge.from);
  if (partOf(edge.to) === part && edge.to.includes('/')) return true;
  return (RULES[part] ?? []).some((rule) => (rule.includes('/') ? edge.to === rule : partOf(edge.to) === rule));
}

function edgesOf(file: string, text: string): Edge[] {
  const edges: Edge[] = [];
  const statement =
    /(?:^|\s)(?:import|export)\s[^;'"]*?from\s+['"](\.[^'"]+)['"]|import\(\s*['"](\.[^'"]+)['"]\s*\)|^import\s+['"](\.[^'"]+)['"]/gm;
  for (const match of text.matchAll(statement)) {
    const target = (match[1] ?? match[2] ?? match[3])!.replace(/\.js$/, '.ts');
    const to = normalize(join(dirname(file), target));
    edges.push({ from: file, to, line: text.slice(0, match.index).split('\n').length });
  }
  return edges;
}

const files = readdirSync(SRC, { recursive: true, encoding: 'utf8' }).filter((file) => file.endsWith('.ts'));

test('every file of src/ belongs to a part with a rule', () => {
  assert.deepEqual(
    files.filter((file) => !(partOf(file) in RULES)),
    [],
  );
});

test('imports follow the layering rule', () => {
  const edges = files.flatMap((file) => edgesOf(file, readFileSync(join(SRC, file), 'utf8')));
  assert.ok(edges.length > 50, `${edges.length} imports were read`);
  const wrong = edges
    .filter((edge) => !allowed(edge))
    .map((edge) => `src/${edge.from}:${edge.line} imports ${edge.to}`);
  assert.deepEqual(wrong, []);
});

test('only native.ts loads the addon, and only one file imports prom-client', () => {
  const loads = (what: RegExp) => files.filter((file) => what.test(readFileSync(join(SRC, file), 'utf8')));
  assert.deepEqual(loads(/node-gyp-build'\)/), ['native.ts']);
  assert.ok(loads(/from 'prom-client'/).length <= 1);
});

test('the rule sees a wrong edge', () => {
  const [edge] = edgesOf('policy/decide.ts', "import { x } from '../datapath/cycle.js';\n");
  assert.ok(edge && !allowed(edge));
  const [good] = edgesOf('policy/decide.ts', "import type { Plan } from '../contract/plan.js';\n");
  assert.ok(good && allowed(good));
});
