/** The program as a user meets it: its words, its streams and its exit codes. No daemon and no privilege are needed here. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';

const CLI = fileURLToPath(new URL('../../src/cli.js', import.meta.url));
const dir = mkdtempSync(join(tmpdir(), 'tungate-cli-'));
after(() => rmSync(dir, { recursive: true }));

interface Said {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

function tungate(
  args: readonly string[],
  env: Record<string, string> = {},
  wrap: readonly string[] = [],
): Promise<Said> {
  const [file, ...rest] = [...wrap, process.execPath, CLI, ...args];
  return new Promise((resolve, reject) => {
    const child = spawn(file!, rest, {
      env: { ...process.env, TUNGATE_RUNTIME_DIR: join(dir, 'run'), ...env },
      stdio: ['ignore', 'pipe', 'pipe'],
      timeout: 120_000,
    });
    let stdout = '';
    let stderr = '';
    child.stdout.on('data', (chunk) => {
      stdout += chunk;
    });
    child.stderr.on('data', (chunk) => {
      stderr += chunk;
    });
    child.on('error', reject);
    child.on('close', (code) => resolve({ code, stdout, stderr }));
  });
}

function file(name: string, content: string): string {
  const path = join(dir, name);
  writeFileSync(path, content);
  return path;
}

const GOOD =
  'uplink: { interface: no-such-0, address: 203.0.113.10 }\nlans: [{ interface: no-such-1, subnet: 172.22.161.0/24 }]\n';
const BAD = 'uplink: { interfac: eth0 }\nlans: [{ interface: br0, subnet: 172.22.161.0/33 }]\n';

describe('usage', () => {
  test('--help goes to stdout with exit 0 and names every verb and the exit codes', async () => {
    const { code, stdout, stderr } = await tungate(['--help']);
    assert.deepEqual([code, stderr], [0, '']);
    for (const verb of 'up stop reload check init status flows rules clean doctor install-service demo completion version'.split(
      ' ',
    )) {
      assert.match(stdout, new RegExp(`^  ${verb}\\b`, 'm'));
    }
    assert.match(stdout, /Exit codes: 0 ok, 1 failed, 2 usage or config, 3 daemon not running, 77 no privilege/);
  });

  test('every verb has help with an example', async () => {
    const verbs =
      'up stop reload check init status flows rules forward block unblock top capture trace clean doctor demo completion version'.split(
        ' ',
      );
    const said = await Promise.all(verbs.map((verb) => tungate([verb, '--help'])));
    said.forEach(({ code, stdout }, index) => {
      assert.equal(code, 0, verbs[index]);
      // The library writes the text for completion.
      if (verbs[index] !== 'completion') assert.match(stdout, new RegExp(`Example:\n  \\$ .*tungate ${verbs[index]}`));
    });
  });

  for (const [args, message] of [
    [[], /Usage: tungate/],
    [['fly'], /unknown command 'fly'/],
    [['stats'], /Did you mean status\?/],
    [['status', '--jsn'], /unknown option '--jsn'\n\(Did you mean --json\?\)/],
    [['status', 'extra'], /too many arguments/],
    [['flows', '-o', 'xml'], /-o xml: allowed are table, conntrack, json/],
    [['flows', '-p'], /argument missing/],
    [['status', '--name', '../x'], /--name "\.\.\/x": allowed are/],
    [['completion', 'tcl'], /Allowed choices are zsh, bash, fish, powershell/],
  ] as const) {
    test(`"tungate ${args.join(' ')}" is exit 2, said on stderr`, async () => {
      const { code, stdout, stderr } = await tungate(args);
      assert.equal(code, 2);
      assert.equal(stdout, '');
      assert.match(stderr, message);
    });
  }

  test('version, also as JSON', async () => {
    const { version } = JSON.parse(readFileSync(new URL('../../../package.json', import.meta.url), 'utf8')) as {
      version: string;
    };
    assert.equal((await tungate(['version'])).stdout, `tungate ${version}\n`);
    assert.equal(JSON.parse((await tungate(['version', '--json'])).stdout).version, version);
  });

  test('completion: a script for the shell, and suggestions from the table of verbs', async () => {
    assert.match((await tungate(['completion', 'bash'])).stdout, /bash completion for tungate/);
    const verbs = (await tungate(['complete', '--', 're'])).stdout;
    assert.match(verbs, /^reload\t/m);
    assert.match((await tungate(['complete', '--', 'flows', '--'])).stdout, /^--sport\t/m);
  });

  test('no colour where there is no terminal', async () => {
    const { stdout } = await tungate(['doctor']);
    assert.ok(!stdout.includes('\x1b'), stdout);
  });
});

describe('without a daemon', () => {
  for (const verb of ['status', 'flows', 'rules', 'reload', 'stop']) {
    test(`${verb} is exit 3 and says where it asked`, async () => {
      const { code, stdout, stderr } = await tungate([verb]);
      assert.equal(code, 3);
      assert.equal(stdout, '');
      assert.match(stderr, /no tungate is running here .*run\/default\/api\.sock/);
    });
  }

  test('--runtime-dir and --name say which one is meant', async () => {
    const { stderr } = await tungate(['status', '--runtime-dir', '/nowhere', '--name', 'b']);
    assert.match(stderr, /\/nowhere\/b\/api\.sock/);
  });

  test('clean has nothing to do, and says so', async () => {
    const { code, stderr } = await tungate(['clean']);
    assert.deepEqual([code, stderr], [0, 'nothing to clean\n']);
    assert.ok(!existsSync(join(dir, 'run')), 'nothing was made');
  });
});

describe('config', () => {
  test('check: every error with its place, exit 2', async () => {
    const path = file('bad.yaml', BAD);
    const { code, stdout, stderr } = await tungate(['check', '-c', path]);
    assert.equal(code, 2);
    assert.equal(stdout, '');
    assert.match(stderr, /bad\.yaml:1:11: .*interfac.*did you mean "interface"/);
    assert.match(stderr, /bad\.yaml:2:\d+: lans\[0\]\.subnet: /);
  });

  test('check --json says the same to programs', async () => {
    const { code, stdout } = await tungate(['check', '--json', '-c', join(dir, 'bad.yaml')]);
    assert.equal(code, 2);
    const answer = JSON.parse(stdout) as { ok: boolean; errors: { line: number }[] };
    assert.equal(answer.ok, false);
    assert.ok(answer.errors.length >= 2 && answer.errors.every(({ line }) => line > 0));
  });

  test('check: what the host lacks is a warning, not an error', async () => {
    const { code, stderr } = await tungate(['check', '-c', file('good.yaml', GOOD)]);
    assert.equal(code, 0);
    assert.match(stderr, /warning: uplink no-such-0 does not exist/);
    assert.match(stderr, /good\.yaml: ok\n$/);
  });

  for (const verb of ['up', 'check', 'doctor']) {
    test(`${verb} with a file that is missing is exit 2`, async () => {
      const { code, stderr } = await tungate([verb, '-c', '/nowhere.yaml']);
      assert.equal(code, 2);
      assert.match(stderr, /\/nowhere\.yaml: no such file/);
    });
  }

  test('up with a broken config: every error, exit 2, nothing made', async () => {
    const { code, stderr } = await tungate(['up', '-c', join(dir, 'bad.yaml')]);
    assert.equal(code, 2);
    assert.match(stderr, /bad\.yaml:1:11: /);
    assert.match(stderr, /bad\.yaml:2:/);
    assert.ok(!existsSync(join(dir, 'run')));
  });

  test('init writes a file once, and prints with -c -', async () => {
    const path = join(dir, 'made', 'tungate.yaml');
    const first = await tungate(['init', '-c', path]);
    assert.equal(first.code, 0, first.stderr);
    assert.match(readFileSync(path, 'utf8'), /^uplink:/m);
    const second = await tungate(['init', '-c', path]);
    assert.equal(second.code, 1);
    assert.match(second.stderr, /is there already: --force/);
    assert.equal((await tungate(['init', '-c', path, '--force'])).code, 0);
    assert.match((await tungate(['init', '-c', '-'])).stdout, /^uplink:/m);
    const nowhere = await tungate(['init', '-c', '/proc/none/tungate.yaml']); // the kernel makes no folders there
    assert.equal(nowhere.code, 1);
    assert.match(nowhere.stderr, /\/proc\/none\/tungate\.yaml: cannot be written: ENOENT/);
  });
});

test('up without CAP_NET_ADMIN is exit 77 and names it', async () => {
  const path = file('good.yaml', GOOD);
  const { code, stderr } = await tungate(['up', '-c', path], {}, [
    'setpriv',
    '--bounding-set=-net_admin',
    '--inh-caps=-net_admin',
  ]);
  assert.equal(code, 77, stderr);
  assert.match(stderr, /CAP_NET_ADMIN is missing/);
  assert.ok(!existsSync(join(dir, 'run')));
});

test('a runtime directory that may not be made is said with its path', async () => {
  const blocked = file('a-file', '');
  const { code, stderr } = await tungate(['status', '--runtime-dir', blocked]);
  assert.notEqual(code, 0);
  assert.match(stderr, /a-file/);
});
