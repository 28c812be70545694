/** `links:` of a config: what it becomes, and the exact words that wrong ones are answered with. */
import assert from 'node:assert/strict';
import { chmodSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { formatAddress, formatPrefix } from '../../src/control/address.js';
import { type Config, formatErrors, loadConfig, parseConfig, printConfig } from '../../src/control/index.js';
import { publicKeyText } from '../../src/control/key-file.js';

const NAT =
  'uplink: { interface: vmbr0, address: 203.0.113.8 }\nlans: [{ interface: vmbr1, subnet: 192.168.1.0/24 }]\n';
const KEY = (n: number) => Buffer.alloc(32, n).toString('base64');

function good(text: string): Config {
  const result = parseConfig(text, '/etc/tungate/t.yaml');
  if ('errors' in result) assert.fail(formatErrors(result.errors));
  return result.config;
}

function errorsOf(text: string): string[] {
  const result = parseConfig(text, 't.yaml');
  return 'errors' in result ? formatErrors(result.errors).split('\n') : [];
}

const HQ = `links:
  - name: hq
    wireguard: { private_key_file: keys/hq, listen: 51820, mtu: auto }
    address: 10.99.0.1/24
    peers:
      - name: branch
        public_key: ${KEY(1)}
        preshared_key_file: /etc/tungate/keys/branch.psk
        endpoint: "branch.example:51820"
        allowed_ips: [10.99.0.2/32, 192.168.20.0/24]
        keepalive: 25
        map: 192.168.1.0/24 as 10.71.1.0/24
      - { name: laptop, public_key: "${KEY(2)}", allowed_ips: 10.99.0.3 }
    policy:
      - { from: laptop, lan: allow, internet: nat, links: hq }
      - { from: [branch, 10.99.0.2/32], lan: out }
`;

test('a WireGuard link becomes addresses, prefixes and absolute files', () => {
  const [link] = good(NAT + HQ).links;
  assert.ok(link?.kind === 'wireguard');
  assert.deepEqual(
    [link.name, link.privateKeyFile, link.listen, link.mtu, formatAddress(link.address!.address), link.origin],
    ['hq', '/etc/tungate/keys/hq', 51820, 0, '10.99.0.1', '/etc/tungate/t.yaml:4:5'],
  );
  const [branch, laptop] = link.peers;
  assert.deepEqual(branch!.endpoint, { host: 'branch.example', port: 51820 });
  assert.deepEqual(branch!.allowedIps.map(formatPrefix), ['10.99.0.2/32', '192.168.20.0/24']);
  assert.deepEqual([branch!.presharedKeyFile, branch!.keepalive], ['/etc/tungate/keys/branch.psk', 25]);
  assert.deepEqual(formatPrefix(branch!.maps[0]!.outside), '10.71.1.0/24');
  assert.deepEqual(laptop!.allowedIps.map(formatPrefix), ['10.99.0.3/32']);
  assert.deepEqual(
    link.policy.map(({ peers, from, lan, internet, host, links }) => [peers, from.length, lan, internet, host, links]),
    [
      [['laptop'], 0, 'allow', true, true, ['hq']],
      [['branch'], 1, 'out', false, false, []],
    ],
  );
});

test('links print as YAML that parses to equal links', () => {
  const config = good(NAT + HQ);
  const again = good(printConfig(config));
  const plain = (value: Config) => JSON.stringify(value.links, (key, inner: unknown) => (key === 'origin' ? 0 : inner));
  assert.equal(plain(again), plain(config));
});

test('a router may have site links alone, or links and an uplink without LANs', () => {
  assert.deepEqual(good(HQ.replace(/ +map:.*\n/, '').replace(', internet: nat', '')).uplinks, []);
  assert.deepEqual(good(`uplink: { interface: vmbr0 }\n${HQ.replace(/ +map:.*\n/, '')}`).lans, []);
});

/** Text → its errors, without the file. */
const link = (lines: string) => `${NAT}links:\n${lines}`;
const peer = (n: number, ips: string, more = '') =>
  `      - { name: p${n}, public_key: "${KEY(n)}", allowed_ips: ${ips}${more} }\n`;
const basic = (name: string, peers: string, more = '', wireguard = '') =>
  `  - name: ${name}\n    wireguard: { private_key_file: k${wireguard} }\n${more}    peers:\n${peers}`;

const CASES: readonly (readonly [name: string, text: string, ...errors: readonly string[]])[] = [
  [
    'a kind must be named',
    link('  - { name: a }\n  - 5\n'),
    't.yaml:4:5: links[0]: says not which kind of link it is; it must be a map with one of the keys `wireguard`, `vxlan`',
    't.yaml:5:5: links[1]: must be a map with one of the keys `wireguard`, `vxlan`, not 5',
  ],
  [
    'unknown keys and values of the wrong kind, all at once',
    link(`  - { name: a/b, wireguard: { private_key_file: k, port: 1, listen: 0, mtu: 100 }, adress: 1, peers: {} }\n`),
    't.yaml:4:13: links[0].name: "a/b" cannot be the name of a link; use 1 to 15 letters, digits, ".", "_" and "-", a letter or digit first',
    't.yaml:4:52: links[0].wireguard.port: unknown key "port" (allowed: private_key_file, listen, mtu, mark)',
    't.yaml:4:69: links[0].wireguard.listen: must be a port from 1 to 65535, not 0',
    't.yaml:4:77: links[0].wireguard.mtu: must be auto or 576 to 9000, not 100',
    't.yaml:4:84: links[0].adress: unknown key "adress"; did you mean "address"? (allowed: name, description, wireguard, address, peers, policy)',
    't.yaml:4:102: links[0].peers: must be a list of peers, not a map',
  ],
  [
    'a key in the place of a file is not repeated in the message',
    link(`  - { name: a, wireguard: { private_key_file: "${KEY(7)}" }, peers: [] }\n`),
    't.yaml:4:47: links[0].wireguard.private_key_file: is a key itself; put it into a file that only its owner can read (mode 0600), and name the file',
  ],
  [
    'keys, endpoints, prefixes and maps of a peer',
    link(
      basic(
        'a',
        '      - name: p\n        public_key: AAAA\n        endpoint: "::1:51820"\n        allowed_ips: [10.1.2.3/24, "fd00::1/64"]\n' +
          '        keepalive: -1\n        map: 10.0.0.0/24 as 10.1.0.0/16\n',
      ),
    ),
    't.yaml:8:21: links[0].peers[0].public_key: is not a public key; it has 44 characters of base64, as `tungate pubkey` prints it on the far side',
    't.yaml:9:19: links[0].peers[0].endpoint: "::1:51820" has an IPv6 address without brackets; write HOST:PORT, like branch.example:51820, 192.0.2.1:51820 or [2001:db8::1]:51820',
    't.yaml:10:23: links[0].peers[0].allowed_ips[0]: "10.1.2.3/24" has address bits behind its /24; did you mean 10.1.2.0/24?',
    't.yaml:10:36: links[0].peers[0].allowed_ips[1]: "fd00::1/64" has address bits behind its /64; did you mean fd00::/64?',
    't.yaml:11:20: links[0].peers[0].keepalive: must be a number of seconds from 0 (off) to 65535, not -1',
    't.yaml:12:14: links[0].peers[0].map: "10.0.0.0/24 as 10.1.0.0/16" has two prefixes of different length; each address has one counterpart',
  ],
  [
    'names: twice, or an interface of the router',
    link(
      basic('a', peer(1, '10.1.0.0/24')) + basic('a', peer(2, '10.2.0.0/24')) + basic('vmbr1', peer(3, '10.3.0.0/24')),
    ),
    't.yaml:8:11: links[1].name: "a" is already the name of the link at t.yaml:4:5; names tell links apart',
    't.yaml:12:11: links[2].name: "vmbr1" is the interface of the LAN at t.yaml:2:8; name the link otherwise',
  ],
  [
    'two peers with one public key, or one name',
    link(basic('a', peer(1, '10.1.0.0/24') + peer(1, '10.2.0.0/24'))),
    't.yaml:8:17: links[0].peers[1].name: "p1" is the name of two peers of the link',
    `t.yaml:8:33: links[0].peers[1].public_key: is the public key of peer "p1" too; a peer is known by its key`,
  ],
  [
    'allowed_ips: one prefix behind two peers, of one link or two; a wider one is no contradiction',
    link(
      basic('a', peer(1, '[10.1.0.0/24, 0.0.0.0/0]') + peer(2, '[10.1.0.0/25, 10.1.0.0/24]')) +
        basic('b', peer(3, '10.1.0.0/25')),
    ),
    't.yaml:8:108: links[0].peers[1].allowed_ips[1]: 10.1.0.0/24 is both peer "p1" of link "a"\'s and peer "p2" of link "a"\'s; an address is behind one peer',
    't.yaml:12:94: links[1].peers[0].allowed_ips: 10.1.0.0/25 is both peer "p2" of link "a"\'s and peer "p3" of link "b"\'s; an address is behind one peer',
  ],
  [
    'allowed_ips in a LAN, or an address of the uplink',
    link(basic('a', peer(1, '[192.168.1.0/25, 192.168.0.0/16, 203.0.113.8/32]'))),
    't.yaml:7:95: links[0].peers[0].allowed_ips[0]: 192.168.1.0/25 lies in 192.168.1.0/24 of the LAN at t.yaml:2:8; where both sites have the same network, ' +
      'each lets the other see another: `map: 192.168.1.0/24 as 10.71.1.0/24` here, and here what the peer maps its own as',
    't.yaml:7:127: links[0].peers[0].allowed_ips[2]: 203.0.113.8/32 is an address of the uplink at t.yaml:1:9; it cannot be behind a peer',
  ],
  [
    'an address in a LAN, of an uplink, of two links, of nobody',
    link(
      basic('a', peer(1, '10.1.0.0/24'), '    address: 192.168.1.9/24\n') +
        basic('b', peer(2, '10.2.0.0/24'), '    address: 203.0.113.8\n') +
        basic('c', peer(3, '10.3.0.0/24'), '    address: 10.99.0.1/24\n') +
        basic('d', peer(4, '10.4.0.0/24'), '    address: 10.99.0.1/32\n') +
        basic('e', peer(5, '10.5.0.0/24'), '    address: 10.99.0.1/33\n'),
    ),
    't.yaml:6:14: links[0].address: 192.168.1.9 lies in 192.168.1.0/24 of the LAN at t.yaml:2:8; give the link a network of its own',
    't.yaml:11:14: links[1].address: 203.0.113.8 is an address of the uplink at t.yaml:1:9',
    't.yaml:21:14: links[3].address: 10.99.0.1 is the address of link "c" at t.yaml:14:5 too',
    't.yaml:26:14: links[4].address: "10.99.0.1/33" has a prefix length that is not 0 to 32; write an address like 10.99.0.1/24',
  ],
  [
    'a port in the pool, of two links',
    link(
      basic('a', peer(1, '10.1.0.0/24'), '', ', listen: 30000') +
        basic('b', peer(2, '10.2.0.0/24'), '', ', listen: 51820') +
        basic('c', peer(3, '10.3.0.0/24'), '', ', listen: 51820'),
    ),
    't.yaml:5:47: links[0].wireguard.listen: 30000 is in the pool of the uplink at t.yaml:1:9; choose another, or take it out there: ports: "…,~30000"',
    't.yaml:13:47: links[2].wireguard.listen: 51820 is the port of link "b" at t.yaml:8:5 too',
  ],
  [
    'a port that is forwarded',
    `${link(basic('a', peer(1, '10.1.0.0/24'), '', ', listen: 51820'))}forwards: ["51000-52000:192.168.1.2:51000-52000/udp"]\n`,
    't.yaml:5:47: links[0].wireguard.listen: 51820 is forwarded by "51000-52000/udp" at t.yaml:8:12; move one of them',
  ],
  [
    'a policy that names what is not there',
    link(`${basic('a', peer(1, '10.1.0.0/24'))}    policy:\n      - { from: [p2, 10.2.0.0/24], lan: alow }\n`),
    't.yaml:9:41: links[0].policy[0].lan: unknown access "alow"; did you mean "allow"? (allowed: allow, out, deny)',
  ],
  [
    'a policy that names what is not there, second look',
    link(
      `${basic('a', peer(1, '10.1.0.0/24'))}    policy:\n      - { from: [p2, 10.2.0.0/24], links: [a, b] }\n      - {}\n      - { lan: allow }\n`,
    ),
    't.yaml:9:17: links[0].policy[0].from: unknown peer "p2"; did you mean "p1"? (allowed: p1)',
    "t.yaml:9:17: links[0].policy[0].from: 10.2.0.0/24 is in no peer's allowed_ips, so the entry would never apply",
    't.yaml:9:43: links[0].policy[0].links: unknown link "b"; did you mean "a"? (allowed: a)',
    't.yaml:11:9: links[0].policy[2]: stands behind an entry without `from`, so it would never apply',
  ],
  [
    'maps: of no LAN, onto a LAN, twice',
    link(
      basic(
        'a',
        peer(
          1,
          '10.1.0.0/24',
          ', map: [10.9.0.0/24 as 10.71.0.0/24, 192.168.1.0/25 as 192.168.1.0/25, 192.168.1.0/24 as 10.72.0.0/24]',
        ),
      ),
    ),
    't.yaml:7:112: links[0].peers[0].map: 10.9.0.0/24 is in no LAN (there is: 192.168.1.0/24), so the map would never apply',
    't.yaml:7:112: links[0].peers[0].map: 192.168.1.0/25 overlaps 192.168.1.0/24 of the LAN at t.yaml:2:8; what the peer sees must be a network that nobody here has',
    't.yaml:7:112: links[0].peers[0].map: "192.168.1.0/24 as 10.72.0.0/24" overlaps another map of peer "p1"; each address has one counterpart',
  ],
  [
    'internet: nat and forwards need an uplink',
    `links:\n${basic('a', peer(1, '10.1.0.0/24'))}    policy: { internet: nat }\nforwards: ["2222:10.1.0.2:22"]\n`,
    't.yaml:6:25: links[0].policy.internet: needs `uplink`, the interface to the internet; there is none',
    't.yaml:7:12: forwards[0]: needs a public address, and there is no `uplink` that has one',
  ],
];

for (const [name, text, ...expected] of CASES)
  test(`links refused: ${name}`, () => {
    assert.deepEqual(errorsOf(text), expected);
  });

test('key files: missing, not a key, readable by others, not a file, our own public key: each with the remedy', (t) => {
  const dir = mkdtempSync(join(tmpdir(), 'tungate-keys-'));
  t.after(() => rmSync(dir, { recursive: true }));
  const file = (name: string, content: string, mode: number) => {
    writeFileSync(join(dir, name), content);
    chmodSync(join(dir, name), mode);
  };
  file('good', `${Buffer.alloc(32, 64).toString('base64')}\n`, 0o600);
  file('open', `${KEY(3)}\n`, 0o640);
  file('text', 'no key\n', 0o600);
  mkdirSync(join(dir, 'folder'));
  const main = join(dir, 'tungate.yaml');
  const at = (name: string) => join(dir, name);
  const text = (key: string, psk: string, publicKey = KEY(9)) =>
    `links:\n  - name: a\n    wireguard: { private_key_file: ${key} }\n    peers:\n` +
    `      - { name: p, preshared_key_file: ${psk}, public_key: "${publicKey}", allowed_ips: 10.1.0.2 }\n`;
  const load = (...args: Parameters<typeof text>) => {
    writeFileSync(main, text(...args));
    const result = loadConfig(main);
    return 'errors' in result ? formatErrors(result.errors).split('\n') : [];
  };
  assert.deepEqual(load('good', at('good')), []);
  const place = `${main}:3:36: links[0].wireguard.private_key_file`;
  const psk = `${main}:5:40: links[0].peers[0].preshared_key_file`;
  assert.deepEqual(load('none', 'open'), [
    `${place}: ${at('none')}: there is no such file; make one: (umask 077; tungate genkey > ${at('none')})`,
    `${psk}: ${at('open')}: others may read this preshared key (mode 0640); run: chmod 600 ${at('open')}`,
  ]);
  assert.deepEqual(load('folder', 'text'), [
    `${place}: ${at('folder')}: is not an ordinary file; a private key is kept in one`,
    `${psk}: ${at('text')}: a preshared key is 32 bytes in base64, as "tungate genpsk" prints it`,
  ]);
  const ours = publicKeyText(Buffer.alloc(32, 64));
  assert.deepEqual(load('good', 'good', ours), [
    `${main}:5:${text('good', 'good').split('\n')[4]!.indexOf('"') + 1}: links[0].peers[0].public_key: is this side's own public key; the peer's is wanted`,
  ]);
});
