/** wg-quick files as they are found, and what they become. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { formatErrors, parseConfig } from '../../src/control/index.js';
import { ImportRefused, importWgQuick } from '../../src/control/link-import.js';

const KEY = (n: number) => Buffer.alloc(32, n).toString('base64');
const NAMES = { file: 'hq.conf', link: 'hq', keys: '/etc/tungate/keys' };

function imported(text: string) {
  const made = importWgQuick(text, NAMES);
  assert.ok(!made.yaml.includes(KEY(1)) && !made.yaml.includes(KEY(9)), 'no secret in the config');
  const result = parseConfig(made.yaml, 'conf.d/hq.yaml');
  if ('errors' in result) assert.fail(formatErrors(result.errors));
  const keys = made.keys.map(({ file, key }) => `${file} ${Buffer.from(key).toString('base64')}`);
  return { ...made, keys, lines: made.yaml.split('\n').slice(1, -4) };
}

test('a client as `wg-quick` users write it', () => {
  const { lines, keys, notes } = imported(
    `[Interface]\nPrivateKey = ${KEY(1)}\nAddress = 10.99.0.2/24\n\n[Peer]\nPublicKey = ${KEY(2)}\nEndpoint = vpn.example.org:51820\n` +
      `AllowedIPs = 10.99.0.0/24\nPersistentKeepalive = 25\n`,
  );
  assert.deepEqual(lines, [
    'links:',
    '  - name: hq',
    '    wireguard:',
    '      private_key_file: /etc/tungate/keys/hq',
    '    address: 10.99.0.2/24',
    '    peers:',
    '      - name: peer1',
    `        public_key: ${KEY(2)}`,
    '        endpoint: vpn.example.org:51820',
    '        allowed_ips:',
    '          - 10.99.0.0/24',
    '        keepalive: 25',
  ]);
  assert.deepEqual([keys, notes], [[`/etc/tungate/keys/hq ${KEY(1)}`], []]);
});

test('a server: Windows line endings, comments, names in comments, several AllowedIPs lines, host bits, preshared keys', () => {
  const text = [
    '# our server',
    '[interface]',
    `privatekey=${KEY(1)} # keep it`,
    'Address = 10.99.0.1/24, fd00::1/64',
    'ListenPort = 51820',
    'MTU=1380',
    'FwMark = 0x7',
    '',
    '### Client alice',
    '[Peer]',
    `PublicKey = ${KEY(2)}`,
    `PresharedKey = ${KEY(9)}`,
    'AllowedIPs = 10.99.0.2/32',
    'AllowedIPs = 192.168.20.7/24, 192.168.20.0/24',
    'AllowedIPs = fd00::2/128',
    '[Peer]',
    '# Name = branch office',
    `PublicKey = ${KEY(3)}`,
    'AllowedIPs = 10.99.0.3/32',
    'Endpoint = [2001:db8::7]:51820',
    '#Endpoint = old.example:1',
    '[Peer] # bob',
    `PublicKey = ${KEY(4)}`,
    'AllowedIPs = 10.99.0.4',
    'PersistentKeepalive = off',
    '',
  ].join('\r\n');
  const { lines, keys, notes } = imported(text);
  assert.deepEqual(lines.slice(2), [
    '    wireguard:',
    '      private_key_file: /etc/tungate/keys/hq',
    '      listen: 51820',
    '      mtu: 1380',
    '      mark: 7',
    '    address:',
    '      - 10.99.0.1/24',
    '      - fd00::1/64',
    '    peers:',
    '      - name: alice',
    `        public_key: ${KEY(2)}`,
    '        preshared_key_file: /etc/tungate/keys/hq-alice.psk',
    '        allowed_ips:',
    '          - 10.99.0.2/32',
    '          - 192.168.20.0/24',
    '          - fd00::2/128',
    '      - name: branch-office',
    `        public_key: ${KEY(3)}`,
    '        endpoint: "[2001:db8::7]:51820"',
    '        allowed_ips:',
    '          - 10.99.0.3/32',
    '      - name: bob',
    `        public_key: ${KEY(4)}`,
    '        allowed_ips:',
    '          - 10.99.0.4/32',
  ]);
  assert.deepEqual(keys, [`/etc/tungate/keys/hq ${KEY(1)}`, `/etc/tungate/keys/hq-alice.psk ${KEY(9)}`]);
  assert.deepEqual(notes, []);
});

test('a full tunnel of a provider: DNS, Table, SaveConfig and the default routes are explained, with their lines', () => {
  const { lines, notes } = imported(
    `[Interface]\nAddress = 10.66.1.2/32\nAddress = 10.66.1.3/32\nDNS = 10.64.0.1, example.org\nTable = 123\nSaveConfig = true\nPrivateKey = ${KEY(1)}\n` +
      `[Peer]\nPublicKey = ${KEY(2)}\nAllowedIPs = 0.0.0.0/0, ::/0\nEndpoint = 198.51.100.1:51820\n[Peer]\nPublicKey = ${KEY(3)}\nAllowedIPs = ::/1\n`,
  );
  assert.ok(lines.includes('          - 0.0.0.0/0'));
  assert.ok(lines.includes('          - ::/0') || lines.includes('          - "::/0"'));
  assert.deepEqual(notes, [
    'hq.conf:8: AllowedIPs 0.0.0.0/0 of peer "peer1": LAN hosts go to the internet by this link once its policy lets them; this host itself does not',
    'hq.conf:8: AllowedIPs ::/0 of peer "peer1": LAN hosts go to the internet by this link once its policy lets them; this host itself does not',
    'hq.conf:2: only 10.66.1.2/32 is taken; a link has one address of each family',
    'hq.conf:5: Table = 123 is left out; the router makes the routes that it needs',
    "hq.conf:4: DNS is left out; what this host and its LANs ask is not the router's to change",
    'hq.conf:6: SaveConfig is left out; `wg set` holds until the next reload',
  ]);
});

test('refused, all at once and with their places: hooks, no key, what is no wg-quick file', () => {
  const refused = (text: string) => {
    try {
      importWgQuick(text, NAMES);
    } catch (error) {
      assert.ok(error instanceof ImportRefused);
      return error.problems;
    }
    return assert.fail('taken');
  };
  assert.deepEqual(
    refused(
      `[Interface]\nPrivateKey = ${KEY(1)}\n  PostUp = iptables -A FORWARD\nPreDown = x\n[Peer]\nAllowedIPs = x\n`,
    ),
    [
      "hq.conf:3:3: PostUp runs a shell command as root, which is not taken over: remove the line (NAT, forwarding and routes are the router's own)",
      "hq.conf:4:1: PreDown runs a shell command as root, which is not taken over: remove the line (NAT, forwarding and routes are the router's own)",
      'hq.conf:6:14: AllowedIPs: "x" is not an address or ADDRESS/LENGTH',
      'hq.conf:5:1: [Peer] has no PublicKey',
    ],
  );
  assert.deepEqual(refused('# mine\n[Interface]\nAddress = 10.0.0.1\n'), [
    'hq.conf:2: [Interface] has no PrivateKey; a link needs one',
  ]);
  assert.deepEqual(refused('hello\n'), ['hq.conf:1:1: neither [Section] nor Key = value']);
});

test('two peers of one name keep apart', () => {
  const peer = (n: number) => `# office\n[Peer]\nPublicKey = ${KEY(n)}\nAllowedIPs = 10.99.0.${n}\n`;
  const { lines } = imported(`[Interface]\nPrivateKey = ${KEY(1)}\n${peer(2)}${peer(3)}`);
  assert.deepEqual(
    lines.filter((line) => line.includes('- name')),
    ['  - name: hq', '      - name: office', '      - name: peer2'],
  );
});
