/** Structures as iptables-nft 1.8.9 put them into the kernel, for rules that `nft list ruleset` shows in words. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ipv4Number } from '../../src/host/ipv4.js';
import { CT_INVALID, emptyRule, interfaceName } from '../../src/host/nftables.js';
import { readMatch, readTarget } from '../../src/host/xtables.js';

const hex = (text: string): Uint8Array => new Uint8Array(Buffer.from(text.replaceAll(' ', ''), 'hex'));
/** xt_conntrack_mtinfo3: 146 bytes that are all 0 here, flags, inverted flags, states, and the rest. */
const conntrack = (flags: string, inverted: string, states: string): Uint8Array =>
  hex(`${'00'.repeat(146)} ${flags} ${inverted} ${states} ${'00'.repeat(12)}`);

test('-m conntrack --ctstate INVALID', () => {
  const rule = emptyRule();
  readMatch(rule, 'conntrack', conntrack('0100', '0000', '0100'));
  assert.deepEqual([rule.ctStates, rule.others], [CT_INVALID, 0]);
});

test('-m conntrack ! --ctstate RELATED,ESTABLISHED matches invalid ones', () => {
  const rule = emptyRule();
  readMatch(rule, 'conntrack', conntrack('0100', '0100', '0600'));
  assert.notEqual(rule.ctStates! & CT_INVALID, 0);
  assert.equal(rule.ctStates! & 6, 0);
});

test('another match, or another condition of conntrack, narrows the rule', () => {
  const rule = emptyRule();
  readMatch(rule, 'addrtype', hex('00000000'));
  readMatch(rule, 'conntrack', conntrack('0300', '0000', '0100'));
  readMatch(rule, 'comment', hex('00'));
  assert.equal(rule.others, 2);
});

const targets: [string, number, string, object][] = [
  ['MASQUERADE', 0, '01000000 00000000 00000000 00000000 0000 0000 00000000', { address: undefined, ports: undefined }],
  [
    'MASQUERADE',
    0,
    '01000000 02000000 00000000 00000000 0400 1f40 00000000',
    { address: undefined, ports: { first: 1024, last: 8000 } },
  ],
  [
    'SNAT',
    0,
    '01000000 03000000 cb00710a cb00710a 7530 753a 00000000',
    { address: ipv4Number('203.0.113.10'), ports: { first: 30_000, last: 30_010 } },
  ],
  [
    'SNAT',
    0,
    '01000000 01000000 cb007163 cb007163 0000 0000 00000000',
    { address: ipv4Number('203.0.113.99'), ports: undefined },
  ],
];
for (const [name, revision, info, expected] of targets) {
  test(`-j ${name} ${JSON.stringify(expected)}`, () => {
    const rule = emptyRule();
    readTarget(rule, name, revision, hex(info));
    assert.deepEqual(rule.nat, { kind: name.toLowerCase(), ...expected });
  });
}

test('-j CT --notrack', () => {
  const rule = emptyRule();
  readTarget(rule, 'CT', 2, hex(`01${'00'.repeat(67)}`));
  assert.equal(rule.notrack, true);
});

test('-i eth0 compares the name with its NUL, -i eth+ the beginning alone', () => {
  assert.equal(interfaceName(Buffer.from('eth0\0')), 'eth0');
  assert.equal(interfaceName(Buffer.from('eth0'.padEnd(16, '\0'))), 'eth0', 'as nft writes it');
  assert.equal(interfaceName(Buffer.from('eth')), 'eth*');
});
