/**
 * The pages that users read first are true: every command in README and CONTRIBUTING either runs here, as it stands, in the
 * router's namespace of the lab, or is a line of .ci/run. A command that is neither fails the test.
 */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { buildTopology, type Process, type Topology } from '../src/lab/index.js';

const ROOT = join(dirname(fileURLToPath(import.meta.url)), '..', '..');
const CLI = join(ROOT, 'dist', 'src', 'cli.js');

/** Not to be run by a test, and why that is no gap. */
const ELSEWHERE: Readonly<Record<string, () => void>> = {
  // The test runner has just built; building again would pull dist/ away from under the other tests.
  'npm run build': () => assert.ok(existsSync(CLI)),
  // Would put a link into the machine's global folder; that it would point to a program is what can be wrong.
  'sudo npm link': () => {
    const { bin } = JSON.parse(read('package.json')) as { bin: { tungate: string } };
    assert.equal(join(ROOT, bin.tungate), CLI);
    assert.match(readFileSync(CLI, 'utf8'), /^#!\/usr\/bin\/env node/);
  },
};

function read(file: string): string {
  return readFileSync(join(ROOT, file), 'utf8');
}

function blocks(file: string, language: string): string[] {
  return [...read(file).matchAll(new RegExp(`^\`\`\`${language}\\n(.*?)^\`\`\``, 'gms'))].map((match) => match[1]!);
}

function commands(file: string): string[] {
  return blocks(file, 'sh').flatMap((block) =>
    block.split('\n').filter((line) => line !== '' && !line.startsWith('#')),
  );
}

const ciLines = read('.ci/run').split('\n');
/** Run by CI as they stand, or for whoever looks at the tests alone. */
const byCi = (line: string) => ciLines.includes(line);

describe('commands of the README', () => {
  let topology: Topology;
  let daemon: Process | undefined;
  let dir: string;
  let env: Record<string, string>;

  before(async () => {
    topology = await buildTopology();
    dir = join(topology.lab.dir, 'work');
    mkdirSync(dir);
    const bin = join(topology.lab.dir, 'bin');
    mkdirSync(bin);
    writeFileSync(join(bin, 'tungate'), `#!/bin/sh\nexec "${process.execPath}" "${CLI}" "$@"\n`, { mode: 0o755 });
    writeFileSync(join(bin, 'sudo'), '#!/bin/sh\nexec "$@"\n', { mode: 0o755 });
    env = { PATH: `${bin}:${process.env.PATH}:/usr/sbin:/sbin`, TUNGATE_RUNTIME_DIR: join(topology.lab.dir, 'run') };
  });
  after(() => topology?.lab.close());

  const shell = (line: string) => ['sh', '-c', `cd "${dir}" && exec ${line}`];

  for (const line of commands('README.md')) {
    if (byCi(line)) continue;
    test(line, async () => {
      const elsewhere = ELSEWHERE[line];
      if (elsewhere) return elsewhere();
      assert.match(line, /^(sudo )?tungate |^curl /, `"${line}" is neither a line of .ci/run nor runnable here`);
      if (/ up /.test(line)) {
        // The README's own config from here on: the forwards and metrics that it speaks of.
        writeFileSync(join(dir, 'tungate.yaml'), blocks('README.md', 'yaml')[0]!);
        daemon = topology.router.ns.spawn(shell(line), { env: { ...process.env, ...env } });
        await daemon.waitFor(/\bready\b/, 20);
        return;
      }
      const { code, stdout, stderr } = await topology.router.ns.run(shell(line), { env });
      assert.equal(code, 0, `${stdout}${stderr}`);
      if (/ stop$/.test(line)) assert.equal(await daemon!.ended, 0);
      if (line.startsWith('curl')) assert.match(stdout, /^tungate_/m);
    });
  }
});

test('commands of CONTRIBUTING are those of .ci/run', () => {
  assert.deepEqual(
    commands('CONTRIBUTING.md').filter((line) => !byCi(line)),
    [],
  );
});

describe('docs/operations.md says what is there, and nothing that is not', () => {
  const page = read('docs/operations.md');
  const help = (...args: string[]) => execFileSync(process.execPath, [CLI, ...args, '--help'], { encoding: 'utf8' });
  const verbs = [...help().matchAll(/^ {2}([a-z][a-z-]*)/gm)]
    .map((match) => match[1]!)
    .filter((verb) => verb !== 'help');

  test('its commands are verbs with options that they have', () => {
    const lines = [...page.matchAll(/^ {4}(?:sudo )?tungate ([a-z-]+)([^|&\n]*)/gm)];
    assert.ok(lines.length > 20);
    const helps = new Map<string, string>();
    for (const [line, verb, rest] of lines) {
      assert.ok(verbs.includes(verb!), line);
      if (!helps.has(verb!)) helps.set(verb!, help(verb!));
      for (const [option] of rest!.matchAll(/(?<= )--?[a-z][a-z-]*/g))
        assert.match(helps.get(verb!)!, new RegExp(`^ +.*${option}\\b`, 'm'), `${option} in "${line.trim()}"`);
    }
  });

  test('it speaks of every verb that meets a running router', () => {
    const running = verbs.filter((verb) => /--runtime-dir/.test(help(verb)));
    assert.ok(running.length > 12);
    const words = new Set(
      [...page.matchAll(/`(?:sudo )?(?:tungate )?([a-z]+)\b|^ {4}(?:sudo )?tungate ([a-z-]+)/gm)].flat(),
    );
    assert.deepEqual(
      running.filter((verb) => !words.has(verb)),
      [],
    );
  });

  test('it lists every path of the API, with its methods', () => {
    const source = read('src/control/api.ts');
    const routes = source.slice(source.indexOf('const ROUTES'), source.indexOf('const METRICS_ONLY'));
    const paths = routes
      .split(/\n {2}'/)
      .slice(1)
      .map((entry) => [entry.slice(0, entry.indexOf("'")), entry] as const);
    assert.ok(paths.length > 12);
    const table = page.slice(page.indexOf('## The API'), page.indexOf('## What it survives'));
    for (const [path, methods] of paths) {
      const row = table.split('\n').find((line) => line.startsWith('|') && new RegExp(`${path}(?![a-z/])`).test(line));
      assert.ok(row, `${path} is not listed`);
      for (const [method] of methods.matchAll(/\b(?:GET|POST|DELETE)(?=:)/g))
        assert.ok(row.includes(method), `${method} ${path}`);
    }
  });
});

test('links between the pages lead somewhere', () => {
  const pages = [
    'README.md',
    'CONTRIBUTING.md',
    'CHANGELOG.md',
    ...readdirSync(join(ROOT, 'docs')).map((name) => `docs/${name}`),
  ];
  const dead = pages
    .filter((page) => page.endsWith('.md'))
    .flatMap((page) =>
      [...read(page).matchAll(/\]\((?!https?:)([^)#\s]+)[^)]*\)/g)].map((match) => [page, match[1]!] as const),
    )
    .filter(([page, link]) => !existsSync(join(ROOT, dirname(page), link)));
  assert.deepEqual(dead, []);
});

test('the README says how fast, with date and method', () => {
  assert.match(read('README.md'), /## How fast\n[^#]*\d{4}-\d\d-\d\d[^#]*\| tungate \|/);
});
