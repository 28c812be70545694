/** REQ-59: the text protocol of wg(8), and wg-quick's files. */
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { existsSync, mkdtempSync, rmSync, statSync, unlinkSync } from 'node:fs';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { formatAllowedIp } from '../../../src/link/wireguard/allowed-ips.js';
import { Device } from '../../../src/link/wireguard/device.js';
import { answer, describe, parseRequest, type Socket } from '../../../src/link/wireguard/uapi.js';
import { UapiServer } from '../../../src/link/wireguard/uapi-server.js';
import { parseWgQuick, WgQuickError } from '../../../src/link/wireguard/wg-quick.js';
import fc from '../../property.js';

class FixedSocket implements Socket {
  listenPort = 0;
  fwmark = 0;
  setListenPort(port: number): void {
    if (port === 1) throw Object.assign(new Error('EADDRINUSE'), { errno: -98 });
    this.listenPort = port;
  }
  setFwmark(mark: number): void {
    this.fwmark = mark;
  }
}

function ground() {
  const device = new Device({ emit: () => {} });
  device.start(0);
  const socket = new FixedSocket();
  const complaints: string[] = [];
  const ask = (text: string) => answer(device, socket, text, 0, (words) => complaints.push(words));
  return { device, socket, ask, complaints };
}

const SECRET = 'e84b5a6d2717c1003a13b431570353dbaca9146cf150c5f8575680feba52027a';
const PEER = 'b85996fecc9c7f1fc6d2572a76eda11d59bcd20be8e543b15ce4bd85a8e75a33';
const PEER2 = '58402e695ba1772b1cc9309755f043251ea77fdcf10fbe63989ceb7e19321376';

test('REQ-59 set and get: every key that wg(8) knows comes back', async () => {
  const { ask, device } = ground();
  const set = [
    'set=1',
    `private_key=${SECRET}`,
    'listen_port=12912',
    'fwmark=51820',
    'replace_peers=true',
    `public_key=${PEER}`,
    'preshared_key=188515093e952f5f22e865cef3012e72f8b5f0b598ac0309d5dacce3b70fcf52',
    'replace_allowed_ips=true',
    'allowed_ip=192.168.4.4/32',
    'endpoint=[abcd:23::33%2]:51820',
    `public_key=${PEER2}`,
    'update_only=true',
    `public_key=${PEER2}`,
    'protocol_version=1',
    'allowed_ip=192.168.4.6/24',
    'allowed_ip=fd00::/8',
    'persistent_keepalive_interval=111',
    'endpoint=182.122.22.19:3233',
    '',
  ].join('\n');
  assert.equal(await ask(set), 'errno=0\n\n');
  const got = await ask('get=1\n');
  assert.deepEqual(
    got.split('\n').filter((line) => !/handshake|_bytes/.test(line)),
    [
      `private_key=${SECRET}`,
      'listen_port=12912',
      'fwmark=51820',
      `public_key=${PEER}`,
      'preshared_key=188515093e952f5f22e865cef3012e72f8b5f0b598ac0309d5dacce3b70fcf52',
      'protocol_version=1',
      'endpoint=[abcd:23::33%2]:51820',
      'persistent_keepalive_interval=0',
      'allowed_ip=192.168.4.4/32',
      `public_key=${PEER2}`,
      `preshared_key=${'0'.repeat(64)}`,
      'protocol_version=1',
      'endpoint=182.122.22.19:3233',
      'persistent_keepalive_interval=111',
      'allowed_ip=192.168.4.0/24',
      'allowed_ip=fd00::/8',
      'errno=0',
      '',
      '',
    ],
  );
  await ask(`set=1\npublic_key=${PEER2}\nallowed_ip=-fd00::/8\nallowed_ip=192.168.4.4/32\n`);
  const moved = await ask('get=1\n');
  assert.ok(!moved.includes('fd00'));
  assert.ok(moved.indexOf('192.168.4.4/32') > moved.indexOf(PEER2), 'the prefix belongs to the other peer now');
  await ask(`set=1\npublic_key=${PEER2}\nreplace_allowed_ips=true\nallowed_ip=10.7.0.0/16\n`);
  const replaced = await ask('get=1\n');
  assert.deepEqual(replaced.match(/^allowed_ip=.*/gm), ['allowed_ip=10.7.0.0/16'], 'and the first peer has none left');
  await ask(`set=1\npublic_key=${PEER}\nremove=true\n`);
  assert.ok(!(await ask('get=1\n')).includes(PEER));
  assert.equal(device.peersByKey.size, 1);
  await ask(`set=1\npublic_key=${PEER}\nupdate_only=true\nallowed_ip=10.0.0.0/8\n`);
  assert.equal(device.peersByKey.size, 1, 'update_only makes no peer');
  await ask(`set=1\nprivate_key=${'0'.repeat(64)}\n`);
  assert.ok(!(await ask('get=1\n')).includes('private_key'));
});

test('REQ-59 a request with an error changes nothing and says why, never with a secret in it', async () => {
  const { ask, complaints } = ground();
  await ask(`set=1\nprivate_key=${SECRET}\npublic_key=${PEER}\n`);
  const before = await ask('get=1\n');
  for (const bad of [
    'set=1\nprivate_key=12\n',
    `set=1\nprivate_key=${SECRET.slice(1)}g\n`,
    'set=1\nlisten_port=65536\n',
    'set=1\nlisten_port=-1\n',
    'set=1\nlisten_port=\n',
    'set=1\nreplace_peers=false\n',
    `set=1\nreplace_peers=true\npublic_key=${PEER2}\nallowed_ip=10.0.0.0/33\n`,
    `set=1\npublic_key=${PEER2}\nendpoint=host:1\n`,
    `set=1\npublic_key=${PEER2}\nprotocol_version=2\n`,
    'set=1\nallowed_ip=10.0.0.0/8\n',
    'set=1\nnonsense\n',
    'set=2\n',
    'get=1\nx=y\n',
    '\n',
  ]) {
    assert.equal(await ask(bad), 'errno=-22\n\n', bad);
    assert.equal(await ask('get=1\n'), before, bad);
  }
  assert.ok(complaints.every((words) => !words.includes(SECRET.slice(1))));
  assert.equal(await ask('set=1\nlisten_port=1\n'), 'errno=-98\n\n', 'what the kernel says goes through');
});

test('any text: an answer, and never an exception', async () => {
  const { ask } = ground();
  const line = fc.oneof(
    fc.string(),
    fc.constantFrom(
      'set=1',
      'get=1',
      `public_key=${PEER}`,
      'allowed_ip=::/0',
      'remove=true',
      'fwmark=0x1',
      'endpoint=1.2.3.4:5',
    ),
  );
  await fc.assert(
    fc.asyncProperty(fc.array(line, { maxLength: 8 }), async (lines) => {
      assert.match(await ask(`${lines.join('\n')}\n`), /errno=-?\d+\n\n$/);
    }),
    { numRuns: 1000 },
  );
});

test('what get prints, set understands', async () => {
  const { ask, device, socket } = ground();
  await ask(`set=1\nprivate_key=${SECRET}\npublic_key=${PEER}\nallowed_ip=10.0.0.0/8\nendpoint=1.2.3.4:5\n`);
  const text = describe(device, socket).replace(/^(errno|last_handshake|[rt]x_bytes).*\n/gm, '');
  const request = parseRequest(`set=1\n${text}`);
  assert.ok(request.op === 'set' && request.change.peers.length === 1);
});

test('the socket: root alone, taken over from a dead device and not from a live one, gone at the end; its removal is noticed', async () => {
  const dir = mkdtempSync(join(tmpdir(), 'tungate-uapi-'));
  try {
    let removed = 0;
    const open = () =>
      UapiServer.open({
        name: 'wg0',
        dir,
        answer: async (text) => `echo=${text.length}\nerrno=0\n\n`,
        removed: () => removed++,
      });
    const server = await open();
    assert.equal(statSync(server.path).mode & 0o777, 0o600);
    await assert.rejects(open(), /another process is device wg0/);
    const said = await new Promise<string>((resolve) => {
      let all = '';
      const connection = connect(server.path, () => {
        connection.write('get');
        connection.write('=1\n\nset=1\n\n');
      });
      connection.setEncoding('utf8').on('data', (part: string) => {
        all += part;
        if (all.match(/errno/g)?.length === 2) connection.destroy();
      });
      connection.on('close', () => resolve(all));
    });
    assert.equal(said, 'echo=6\nerrno=0\n\necho=6\nerrno=0\n\n');
    unlinkSync(server.path);
    for (let i = 0; i < 100 && removed === 0; i++) await new Promise((resolve) => setTimeout(resolve, 20));
    assert.equal(removed, 1);
    server.close();
    const second = await open();
    second.close();
    assert.ok(!existsSync(second.path));
    await assert.rejects(UapiServer.open({ name: '../x', dir, answer: async () => '' }), /not a device name/);
  } finally {
    rmSync(dir, { recursive: true, force: true });
  }
});

const KEY = randomBytes(32).toString('base64');

test('wg-quick files are read as they are', () => {
  const config = parseWgQuick(
    `# Site A
[Interface]
PrivateKey = ${KEY}   # mine
address = 10.99.0.1/24, fd00::1/64
Address=10.98.0.1
ListenPort = 51820
FwMark = 0xca6c
DNS = 1.1.1.1, example.org
MTU = 1380
Table = off
SaveConfig = true

[Peer]
PublicKey = ${KEY}
PresharedKey = ${KEY}
AllowedIPs = 10.99.0.2/32,192.168.20.0/24
AllowedIPs = ::/0
Endpoint = branch.example:51820
PersistentKeepalive = 25

[peer]
publickey=${KEY}
endpoint=[2001:db8::1]:443
PersistentKeepalive = off
`,
    'hq.conf',
  );
  assert.deepEqual(config.addresses, ['10.99.0.1/24', 'fd00::1/64', '10.98.0.1']);
  assert.deepEqual(
    [config.listenPort, config.fwmark, config.mtu, config.table, config.saveConfig, config.dns],
    [51820, 0xca6c, 1380, 'off', true, ['1.1.1.1', 'example.org']],
  );
  assert.equal(Buffer.from(config.privateKey!).toString('base64'), KEY);
  const [one, two] = config.peers;
  assert.deepEqual(one!.allowedIps.map(formatAllowedIp), ['10.99.0.2/32', '192.168.20.0/24', '::/0']);
  assert.deepEqual([one!.endpoint, one!.keepalive], [{ host: 'branch.example', port: 51820 }, 25]);
  assert.deepEqual([two!.endpoint, two!.keepalive, two!.allowedIps.length], [{ host: '2001:db8::1', port: 443 }, 0, 0]);
});

test('errors in wg-quick files: all of them, with file, line and column; hooks are refused with a reason; keys are never quoted', () => {
  const text = `x = y
[Interface]
PrivateKey = short-but-secret
  ListenPort = 70000
PostUp = iptables -t nat -A POSTROUTING -j MASQUERADE
Adress = 10.0.0.1/24
[Peer]
AllowedIPs = 10.0.0.0/8, 10.0.0.300
Endpoint = 10.0.0.1
[Nonsense]
what
`;
  assert.throws(
    () => parseWgQuick(text, 'a.conf'),
    (error: unknown) => {
      assert.ok(error instanceof WgQuickError);
      assert.deepEqual(
        error.problems.map((problem) => problem.replace(/^(\S+ \S+ \S+).*/, '$1')),
        [
          'a.conf:1:1: "x" stands',
          'a.conf:3:14: PrivateKey: is',
          'a.conf:4:16: ListenPort: "70000"',
          'a.conf:5:1: PostUp runs',
          'a.conf:6:1: unknown key',
          'a.conf:8:14: AllowedIPs: "10.0.0.300"',
          'a.conf:9:12: Endpoint: "10.0.0.1"',
          'a.conf:10:1: unknown section',
          'a.conf:11:1: neither [Section]',
          'a.conf:7:1: [Peer] has',
        ],
      );
      assert.ok(!error.message.includes('secret'));
      return true;
    },
  );
});
