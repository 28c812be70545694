/**
 * The FTP helper between programs that we did not write: vsftpd at client-a (behind the forward 21) and at host-1, curl at
 * client-b and at host-1. vsftpd refuses a PORT whose address is not its peer's, and curl is told to use what a 227 says.
 */
import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import { chmodSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import type { Host } from '../../src/lab/index.js';
import { config, INTERNET, LAN, P, raise, type Stage } from './stage.js';
import { judge } from './tools.js';

const MIB = 1 << 20;
const FORWARDS = [`"21:${LAN.a}:21/tcp"`];
const ON = config('helpers: [ftp]\n', FORWARDS);
const OFF = config('', FORWARDS);

const sum = (bytes: Uint8Array) => createHash('sha256').update(bytes).digest('hex');

/** vsftpd on port 21 of a host, anonymous, its files in a folder of its own. Returns the folder. */
async function serveFtp(stage: Stage, host: Host): Promise<string> {
  const dir = join(stage.lab.dir, `ftp-${host.ns.role}`);
  const files = join(dir, 'files');
  const empty = join(dir, 'empty');
  for (const each of [files, empty]) mkdirSync(each, { recursive: true });
  const conf = join(dir, 'vsftpd.conf');
  const settings = {
    listen: 'YES',
    background: 'NO',
    // Without root this is the only user there is.
    run_as_launching_user: 'YES',
    ftp_username: 'root',
    nopriv_user: 'root',
    seccomp_sandbox: 'NO',
    anonymous_enable: 'YES',
    no_anon_password: 'YES',
    anon_root: files,
    allow_writeable_chroot: 'YES',
    anon_world_readable_only: 'NO',
    write_enable: 'YES',
    anon_upload_enable: 'YES',
    anon_other_write_enable: 'YES',
    connect_from_port_20: 'YES',
    secure_chroot_dir: empty,
    xferlog_enable: 'NO',
  };
  writeFileSync(
    conf,
    Object.entries(settings)
      .map(([key, value]) => `${key}=${value}\n`)
      .join(''),
  );
  chmodSync(conf, 0o600);
  writeFileSync(join(files, 'file'), randomBytes(3 * MIB + 17));
  const process = host.ns.spawn(judge('vsftpd', conf));
  for (let tries = 0; ; tries++) {
    const { code } = await host.ns.run(['curl', '-s', '-m', '2', `ftp://${host.address}/`]);
    if (code === 0) return files;
    if (tries === 20) throw new Error(`vsftpd on ${host.ns.role} does not serve:\n${process.tail()}`);
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
}

describe('REQ-11 FTP between vsftpd and curl', () => {
  let stage: Stage;
  let inside: string;
  let outside: string;
  before(async () => {
    stage = await raise(ON);
    [inside, outside] = await Promise.all([serveFtp(stage, stage.a), serveFtp(stage, stage.one)]);
  });
  after(() => stage?.lab.close());

  const curl = (from: Host, seconds: number, ...args: string[]) =>
    from.ns.run(['curl', '-sS', '--no-ftp-skip-pasv-ip', '-m', String(seconds), ...args], { seconds: seconds + 5 });

  /** Three downloads and two uploads over one control connection, each compared with what the server has. */
  async function exchange(from: Host, server: string, files: string, ...mode: string[]): Promise<void> {
    const name = `${from.ns.role}-${mode.join('').replaceAll(/\W/g, '')}`;
    const up = join(stage.lab.dir, `${name}-up`);
    const down = [0, 1, 2].map((i) => join(stage.lab.dir, `${name}-down-${i}`));
    writeFileSync(up, randomBytes(2 * MIB + 5));
    const url = `ftp://${server}`;
    const upload = (i: number) => ['--next', '-sS', '--no-ftp-skip-pasv-ip', ...mode, '-T', up, `${url}/${name}-${i}`];
    const download = down.flatMap((path) => ['-o', path, `${url}/file`]);
    const result = await curl(from, 60, '-v', ...mode, ...download, ...upload(0), ...upload(1));
    assert.equal(result.code, 0, result.stderr);
    assert.equal(result.stderr.match(/^< 220 /gm)?.length, 1, 'one control connection');
    for (const path of down) assert.equal(sum(readFileSync(path)), sum(readFileSync(join(files, 'file'))));
    for (const i of [0, 1]) assert.equal(sum(readFileSync(join(files, `${name}-${i}`))), sum(readFileSync(up)));
  }

  test('client inside, active: EPRT', () => exchange(stage.b, INTERNET.one, outside, '-P', '-'));
  test('client inside, active: PORT', () => exchange(stage.b, INTERNET.one, outside, '-P', '-', '--disable-eprt'));
  test('client inside, passive: EPSV', () => exchange(stage.b, INTERNET.one, outside));
  test('client inside, passive: PASV', () => exchange(stage.b, INTERNET.one, outside, '--disable-epsv'));
  test('server inside, passive: EPSV', () => exchange(stage.one, P, inside));
  test('server inside, passive: PASV', () => exchange(stage.one, P, inside, '--disable-epsv'));
  test('server inside, active: PORT', () => exchange(stage.one, P, inside, '-P', '-', '--disable-eprt'));
  test('hairpin, passive: PASV', () => exchange(stage.b, P, inside, '--disable-epsv'));
  test('hairpin, active: PORT', () => exchange(stage.b, P, inside, '-P', '-', '--disable-eprt'));

  test('sequence numbers stay right through loss: every segment of the control connection is lost once behind the router', async () => {
    // TCP's least time-out is 200 ms: at ten lost segments for each file that is a long test.
    for (const host of [stage.a, stage.b, stage.one]) {
      const route = (await host.ns.must(['ip', 'route', 'show', 'default'])).trim();
      host.ns.ip(`route change ${route} rto_min 20ms`);
    }
    await stage.inet.must(['nft', '-f', '-'], {
      input: `table ip lossy {
      set seen { typeof ip saddr . tcp sequence; flags dynamic; size 65535; timeout 60s; }
      chain forward { type filter hook forward priority 0;
        tcp dport 21 tcp flags & psh == psh ip saddr . tcp sequence != @seen add @seen { ip saddr . tcp sequence } counter drop
        tcp sport 21 tcp flags & psh == psh ip saddr . tcp sequence != @seen add @seen { ip saddr . tcp sequence } counter drop
      }
    }`,
    });
    try {
      await exchange(stage.b, INTERNET.one, outside, '-P', '-', '--disable-eprt', '--ftp-method', 'nocwd');
      await exchange(stage.one, P, inside, '--disable-epsv', '--ftp-method', 'nocwd');
      const counters = await stage.inet.must(['nft', 'list', 'table', 'ip', 'lossy']);
      const dropped = [...counters.matchAll(/counter packets (\d+)/g)].map((match) => Number(match[1]));
      assert.ok(dropped.length === 2 && dropped.every((packets) => packets >= 10), counters);
    } finally {
      await stage.inet.must(['nft', 'delete', 'table', 'ip', 'lossy']);
    }
  });

  test('REQ-62 a control connection goes on after SIGKILL and start: what was shifted stays shifted', async () => {
    // A line on a connection that is open since before: PORT, kill, LIST.
    const talk = stage.b.ns.spawn(['python3', '-u', '-c', SESSION, INTERNET.one, LAN.b], {
      stdio: ['pipe', 'pipe', 'pipe'],
    });
    await talk.waitFor(/^200 PORT/m, 10);
    await stage.daemon.kill();
    await stage.daemon.up();
    talk.child.stdin!.end('go\n');
    assert.equal(await talk.ended, 0, talk.tail());
    assert.match(talk.stdout, /^226 /m);
    assert.match(talk.stdout, /^listed \d+ bytes from 198\.51\.100\.10/m);
  });

  test('nothing is left open: no port waits for a connection that came', async () => {
    const rules = await stage.daemon.json<{ drops: { reason: string }[] }>('status');
    assert.ok(!rules.drops.some((drop) => drop.reason === 'helper-segment'), JSON.stringify(rules.drops));
  });

  test('with the helper off (the default) active mode and an inside server fail as they must, passive from inside works', async () => {
    const reload = await stage.daemon.reload(OFF);
    assert.equal(reload.code, 0, reload.stderr);
    const active = await curl(stage.b, 8, '-P', '-', '--disable-eprt', `ftp://${INTERNET.one}/file`, '-o', '/dev/null');
    // curl's words for it: vsftpd refuses an address that is not its peer's.
    assert.equal(active.code, 30, active.stderr);
    const passive = await curl(stage.one, 8, '--disable-epsv', `ftp://${P}/file`, '-o', '/dev/null');
    assert.ok([7, 28].includes(passive.code), `exit ${passive.code}: ${passive.stderr}`);
    await exchange(stage.b, INTERNET.one, outside, '--disable-epsv');
  });
});

/** An FTP client by hand: PORT, waits for a word on stdin, LIST. */
const SESSION = `
import socket, sys
server, own = sys.argv[1:]
control = socket.create_connection((server, 21), 10)
control.settimeout(20)
lines = control.makefile('rwb', buffering=0)
def answer():
    line = lines.readline().decode()
    print(line, end='')
    return line
def say(text):
    control.sendall(text.encode() + b'\\r\\n')
    return answer()
answer()
say('USER anonymous')
data = socket.socket()
data.bind((own, 0))
data.listen(1)
data.settimeout(20)
port = data.getsockname()[1]
assert say('PORT ' + own.replace('.', ',') + ',%d,%d' % divmod(port, 256)).startswith('200')
sys.stdin.readline()
assert say('LIST').startswith('150')
peer, address = data.accept()
total = 0
while chunk := peer.recv(65536): total += len(chunk)
assert answer().startswith('226')
print('listed', total, 'bytes from', address[0])
`;
