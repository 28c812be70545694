/**
 * The container image without a container engine, which no test machine has: the Dockerfile is read by the rules that it
 * could break, and its last stage is put together in a folder and run. Not run: the base images, `npm ci` and the compiler inside.
 */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { cpSync, existsSync, mkdirSync, readFileSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { DEFAULT_CONFIG_PATH } from '../../src/control/index.js';
import { LAB_ENV } from '../../src/lab/index.js';
import { assertWorks, diffState, kernelState, prepare, type Stage } from '../netns/stage.js';

const ROOT = join(dirname(fileURLToPath(import.meta.url)), '..', '..', '..');

interface Step {
  readonly word: string;
  readonly rest: string;
}

/** Instructions by stage; comments are gone, continued lines joined. */
function stages(): Step[][] {
  const text = readFileSync(join(ROOT, 'Dockerfile'), 'utf8')
    .replace(/^#.*\n/gm, '')
    .replace(/\\\n/g, ' ');
  const found: Step[][] = [];
  for (const line of text.split('\n').filter((one) => one.trim() !== '')) {
    const [, word, rest] = /^([A-Z]+)\s+(.*)$/.exec(line) ?? [];
    assert.ok(word && rest, `not an instruction: ${line}`);
    if (word === 'FROM') found.push([]);
    found.at(-1)!.push({ word, rest });
  }
  return found;
}

const all = stages();
const last = all.at(-1)!;
const one = (word: string): string => {
  const steps = last.filter((step) => step.word === word);
  assert.equal(steps.length, 1, `one ${word} in the last stage`);
  return steps[0]!.rest;
};
const execForm = (text: string) => JSON.parse(text.slice(text.indexOf('['))) as string[];

/** A COPY of the last stage: where from (undefined = the context), what, where to. */
function copies(steps: readonly Step[]) {
  return steps
    .filter(({ word }) => word === 'COPY')
    .map(({ rest }) => {
      const words = rest.split(/\s+/);
      const from = words[0]!.startsWith('--from=') ? words.shift()!.slice(7) : undefined;
      return { from, sources: words.slice(0, -1), to: words.at(-1)! };
    });
}

describe('the Dockerfile', () => {
  test('base images have a tag; what is copied from another stage comes from one that exists', () => {
    const names: string[] = [];
    for (const [from, ...steps] of all) {
      const [image, as, name] = from!.rest.split(/\s+/);
      assert.match(image!, /^[a-z0-9./-]+:(?!latest$)[\w.-]+$/);
      for (const copy of copies(steps)) if (copy.from) assert.ok(names.includes(copy.from), copy.from);
      if (as) names.push(name!);
    }
  });

  test('what is copied from the checkout is there, in git, and not kept back by .dockerignore', () => {
    const ignore = readFileSync(join(ROOT, '.dockerignore'), 'utf8').split('\n');
    assert.ok(ignore.includes('*'), 'nothing is sent but what is named');
    const sent = ignore.filter((line) => line.startsWith('!')).map((line) => line.slice(1));
    for (const source of all.flatMap((steps) => copies(steps)).flatMap(({ from, sources }) => (from ? [] : sources))) {
      assert.ok(existsSync(join(ROOT, source)), source);
      assert.ok(
        sent.some((name) => source === name || source.startsWith(`${name}/`)),
        `.dockerignore keeps ${source} back`,
      );
    }
  });

  test('signals reach the daemon: exec form, SIGTERM, and the config where the program looks for it', () => {
    assert.equal(one('STOPSIGNAL'), 'SIGTERM');
    assert.deepEqual(execForm(one('ENTRYPOINT')), ['node', '/tungate/dist/src/cli.js']);
    assert.deepEqual(execForm(one('CMD')), ['up', '-c', DEFAULT_CONFIG_PATH]);
    assert.match(one('HEALTHCHECK'), / CMD \[/);
  });

  test('the README starts it with what it needs', () => {
    const readme = readFileSync(join(ROOT, 'README.md'), 'utf8');
    const line = /`(docker run [^`]*)`/.exec(readme)?.[1] ?? '';
    for (const flag of ['--cap-add=NET_ADMIN', '--device=/dev/net/tun', '--network host', DEFAULT_CONFIG_PATH])
      assert.ok(line.includes(flag), flag);
  });
});

describe('what the last stage holds, run', () => {
  let stage: Stage;
  let image: string;

  before(async () => {
    stage = await prepare();
    image = join(stage.lab.dir, 'image');
    const home = join(image, one('WORKDIR'));
    mkdirSync(home, { recursive: true });
    for (const { from, sources, to } of copies(last)) {
      for (const source of sources) {
        if (source.startsWith('/usr/')) continue; // Node itself
        const path = from ? relative('/tungate', source) : source;
        if (path === 'node_modules') productionPackages(home);
        else
          cpSync(join(ROOT, path), join(home, to, to.endsWith('/') ? path.split('/').at(-1)! : ''), {
            recursive: true,
          });
      }
    }
  });
  after(() => stage?.lab.close());

  /** What `npm prune --omit=dev` would leave. */
  function productionPackages(home: string): void {
    const list = execFileSync('npm', ['ls', '--omit=dev', '--all', '--parseable'], {
      cwd: ROOT,
      encoding: 'utf8',
      env: LAB_ENV,
    });
    const paths = list.split('\n').filter((path) => path.includes('/node_modules/'));
    assert.ok(paths.length > 10, list);
    for (const path of paths) cpSync(path, join(home, relative(ROOT, path)), { recursive: true });
  }

  const inImage = (argv: readonly string[]) => [
    process.execPath,
    ...argv.slice(1).map((word) => word.replace('/tungate/', `${image}/tungate/`)),
  ];
  const entry = (...args: string[]) => inImage([...execForm(one('ENTRYPOINT')), ...args]);

  test('it starts, is healthy when packets flow and not before, and SIGTERM puts everything back', async () => {
    const { router, daemon } = stage;
    const env = { TUNGATE_RUNTIME_DIR: daemon.runtimeDir };
    const health = () => router.ns.run(inImage(execForm(one('HEALTHCHECK').split(' CMD ')[1]!)), { env });
    const untouched = await kernelState(router.ns);
    assert.equal((await health()).code, 1);
    const command = entry(
      ...execForm(one('CMD')).map((word) => (word === DEFAULT_CONFIG_PATH ? daemon.configFile : word)),
    );
    const up = router.ns.spawn(command, { env: { ...process.env, ...env } });
    await up.waitFor(/\bready\b/);
    const well = await health();
    assert.equal(well.code, 0, well.stderr);
    await assertWorks(stage);
    for (const verb of ['version', 'status', 'flows', 'rules', 'doctor', 'completion bash']) {
      const { code, stderr } = await router.ns.run(entry(...verb.split(' ')), { env });
      assert.equal(code, 0, `${verb}: ${stderr}`);
    }
    assert.equal(await up.stop('SIGTERM'), 0);
    assert.deepEqual(diffState(untouched, await kernelState(router.ns)), []);
    assert.match((await health()).stderr, /api\.sock: /);
  });
});
