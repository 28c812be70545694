import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { after, test } from 'node:test';
import { fileURLToPath } from 'node:url';

const CLI = join(dirname(fileURLToPath(import.meta.url)), '..', '..', 'src', 'cli.js');
const dir = mkdtempSync(join(tmpdir(), 'tungate-keys-'));
after(() => rmSync(dir, { recursive: true }));

function tungate(args: readonly string[], input = '') {
  return spawnSync(process.execPath, [CLI, ...args], { input, encoding: 'utf8', timeout: 120_000 });
}

// RFC 7748, section 6.1: Alice.
const SECRET = base64('77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a');
const PUBLIC = base64('8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a');

function base64(hex: string): string {
  return Buffer.from(hex, 'hex').toString('base64');
}

test('genkey prints a clamped key of 32 bytes, another each time, and pubkey takes it', () => {
  const [one, two] = [tungate(['genkey']).stdout, tungate(['genkey']).stdout];
  assert.match(one, /^[A-Za-z0-9+/]{43}=\n$/);
  assert.notEqual(one, two);
  const bytes = Buffer.from(one, 'base64');
  assert.equal(bytes[0]! & 7, 0);
  assert.equal(bytes[31]! & 192, 64);
  const pub = tungate(['pubkey'], one);
  assert.equal(pub.status, 0, pub.stderr);
  assert.match(pub.stdout, /^[A-Za-z0-9+/]{43}=\n$/);
});

test("pubkey: the vector of RFC 7748, from stdin and from a file that is nobody else's", () => {
  assert.equal(tungate(['pubkey'], `${SECRET}\n`).stdout, `${PUBLIC}\n`);
  const file = join(dir, 'key');
  writeFileSync(file, `${SECRET}\n`, { mode: 0o600 });
  assert.equal(tungate(['pubkey', file]).stdout, `${PUBLIC}\n`);
});

test('a key file that others may read is refused, with the remedy and without the key', () => {
  const file = join(dir, 'open');
  writeFileSync(file, `${SECRET}\n`);
  for (const mode of [0o644, 0o640, 0o604]) {
    chmodSync(file, mode);
    const { status, stdout, stderr } = tungate(['pubkey', file]);
    assert.equal(status, 1);
    assert.equal(stdout, '');
    assert.ok(stderr.includes(`chmod 600 ${file}`) && !stderr.includes(SECRET), stderr);
  }
});

test('what is no key is refused and not repeated', () => {
  for (const input of ['', 'secret', SECRET.slice(1), `${SECRET}${SECRET}`]) {
    const { status, stderr } = tungate(['pubkey'], input);
    assert.equal(status, 1);
    assert.ok(input === '' || !stderr.includes(input));
  }
});

test('genpsk prints 32 bytes of chance', () => {
  const [one, two] = [tungate(['genpsk']).stdout, tungate(['genpsk']).stdout];
  assert.equal(Buffer.from(one, 'base64').length, 32);
  assert.notEqual(one, two);
});

test('wg: what cannot be an interface is a mistake of usage', () => {
  for (const name of ['', '..', 'a/b', 'sixteen-letters-x']) {
    const { status, stderr } = tungate(['wg', '-f', name]);
    assert.equal(status, 2, stderr);
  }
});
