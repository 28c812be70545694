/** `tungate link import` as a user types it. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, test } from 'node:test';
import { fileURLToPath } from 'node:url';

const CLI = fileURLToPath(new URL('../../src/cli.js', import.meta.url));
const KEY = (n: number) => Buffer.alloc(32, n).toString('base64');
const QUICK = `[Interface]\nPrivateKey = ${KEY(64)}\nAddress = 10.99.0.2/24\nDNS = 10.99.0.1\n\n# hub\n[Peer]\nPublicKey = ${KEY(2)}\nPresharedKey = ${KEY(3)}\nAllowedIPs = 10.99.0.0/24\nEndpoint = 198.51.100.1:51820\n`;

let dir = '';
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'tungate-import-'));
  writeFileSync(join(dir, 'hq.conf'), QUICK, { mode: 0o600 });
  writeFileSync(
    join(dir, 'tungate.yaml'),
    'uplink: { interface: eth0 }\nlans: [{ interface: br0, subnet: 172.22.161.0/24 }]\n',
  );
});

afterEach(() => rmSync(dir, { recursive: true }));

function tungate(...args: string[]) {
  const { status, stdout, stderr } = spawnSync(process.execPath, [CLI, ...args], { encoding: 'utf8', cwd: dir });
  return { status, stdout, stderr };
}

test('it adds conf.d/NAME.yaml and key files of mode 0600, says what it left out, and the whole config is right', () => {
  const { status, stderr } = tungate('link', 'import', 'hq.conf', '-c', 'tungate.yaml');
  assert.equal(status, 0, stderr);
  assert.match(stderr, /^hq\.conf:4: DNS is left out;/m);
  const yaml = readFileSync(join(dir, 'conf.d/hq.yaml'), 'utf8');
  assert.match(yaml, /- name: hub\n/);
  for (const [file, key] of [
    ['keys/hq', KEY(64)],
    ['keys/hq-hub.psk', KEY(3)],
  ] as const) {
    assert.equal(readFileSync(join(dir, file), 'utf8'), `${key}\n`);
    assert.equal(statSync(join(dir, file)).mode & 0o777, 0o600);
    assert.ok(yaml.includes(join(dir, file)));
    assert.ok(![yaml, stderr].some((text) => text.includes(key)));
  }
  const check = tungate('check', '-c', 'tungate.yaml');
  assert.equal(check.status, 0, check.stderr);
  const again = tungate('link', 'import', 'hq.conf', '-c', 'tungate.yaml');
  assert.equal(again.status, 2);
  assert.match(again.stderr, /keys\/hq is there already; name the link otherwise \(--as NAME\), or remove it/);
});

test('--stdout prints the link; --as and --keys say what it is called and where its keys are', () => {
  const { status, stdout } = tungate(
    'link',
    'import',
    'hq.conf',
    '-c',
    'tungate.yaml',
    '--stdout',
    '--as',
    'other',
    '--keys',
    'k',
  );
  assert.equal(status, 0);
  assert.ok(stdout.includes(`private_key_file: ${join(dir, 'k/other')}\n`), 'whatever it is put beside');
  assert.ok(existsSync(join(dir, 'k/other')));
  assert.ok(!existsSync(join(dir, 'conf.d')));
});

test('what does not fit is refused with its places, and nothing is written', () => {
  const refused = (...args: string[]) => {
    const { status, stderr } = tungate('link', 'import', ...args, '-c', 'tungate.yaml');
    assert.equal(status, 2, stderr);
    assert.ok(!existsSync(join(dir, 'keys')) && !existsSync(join(dir, 'conf.d/hq.yaml')));
    return stderr;
  };
  writeFileSync(join(dir, 'hooks.conf'), `${QUICK}PostUp = x\n`);
  assert.match(refused('hooks.conf'), /hooks\.conf:12:1: unknown key "PostUp" in \[Peer\]/);
  writeFileSync(join(dir, 'hooks.conf'), QUICK.replace('DNS = 10.99.0.1', 'PostUp = iptables -A FORWARD'));
  assert.match(refused('hooks.conf'), /hooks\.conf:4:1: PostUp runs a shell command as root/);
  assert.match(refused('none.conf'), /none\.conf: no such file/);
  assert.match(refused('hq.conf', '--as', 'a/b'), /"a\/b" cannot be the name of a link/);
  mkdirSync(join(dir, 'conf.d'));
  writeFileSync(join(dir, 'conf.d/10-x.yaml'), `lans: [{ interface: br1, subnet: 10.99.0.0/24 }]\n`);
  assert.match(
    refused('hq.conf'),
    /hq\.yaml:\d+:\d+: links\[0\]\.address: 10\.99\.0\.2 lies in 10\.99\.0\.0\/24 of the LAN at .*10-x\.yaml/,
  );
});
