import assert from 'node:assert/strict';
import { test } from 'node:test';
import { conntrackLine, flowTable } from '../../src/cli/format-flows.js';
import { duration, short } from '../../src/cli/verb.js';
import type { Flow } from '../../src/contract/api.js';

const TCP: Flow = {
  index: 1,
  generation: 3,
  proto: 6,
  protocol: 'tcp',
  state: 'ESTABLISHED',
  timeout: 431_999,
  original: { src: '192.168.2.100', dst: '123.59.27.117', sport: 34846, dport: 993 },
  reply: { src: '123.59.27.117', dst: '203.0.113.10', sport: 993, dport: 34846 },
  bytes: { original: 1500, reply: 2_500_000 },
  replied: true,
  assured: true,
  hairpin: false,
  rule: 1,
};

// Expected lines as conntrack 1.4.7 prints such flows (without nf_conntrack_acct and -o extended).
const LINES: readonly (readonly [string, Flow, string])[] = [
  [
    'TCP, assured',
    TCP,
    'tcp      6 431999 ESTABLISHED src=192.168.2.100 dst=123.59.27.117 sport=34846 dport=993 src=123.59.27.117 dst=203.0.113.10 sport=993 dport=34846 [ASSURED] mark=0 use=1',
  ],
  [
    'TCP, not answered yet',
    { ...TCP, state: 'SYN_SENT', timeout: 100, replied: false, assured: false },
    'tcp      6 100 SYN_SENT src=192.168.2.100 dst=123.59.27.117 sport=34846 dport=993 [UNREPLIED] src=123.59.27.117 dst=203.0.113.10 sport=993 dport=34846 mark=0 use=1',
  ],
  [
    'UDP',
    { ...TCP, proto: 17, protocol: 'udp', state: '', timeout: 29, assured: false },
    'udp      17 29 src=192.168.2.100 dst=123.59.27.117 sport=34846 dport=993 src=123.59.27.117 dst=203.0.113.10 sport=993 dport=34846 mark=0 use=1',
  ],
  [
    'ICMP echo',
    {
      ...TCP,
      proto: 1,
      protocol: 'icmp',
      state: '',
      timeout: 29,
      original: { src: '192.168.2.100', dst: '8.8.8.8', id: 3 },
      reply: { src: '8.8.8.8', dst: '203.0.113.10', id: 20_001 },
    },
    'icmp     1 29 src=192.168.2.100 dst=8.8.8.8 type=8 code=0 id=3 src=8.8.8.8 dst=203.0.113.10 type=0 code=0 id=20001 mark=0 use=1',
  ],
  [
    'a protocol that conntrack has no name for',
    {
      ...TCP,
      proto: 50,
      protocol: 'esp',
      state: '',
      timeout: 599,
      original: { src: '198.51.100.1', dst: '203.0.113.10' },
      reply: { src: '172.22.161.20', dst: '198.51.100.1' },
      replied: false,
      assured: false,
    },
    'unknown  50 599 src=198.51.100.1 dst=203.0.113.10 [UNREPLIED] src=172.22.161.20 dst=198.51.100.1 mark=0 use=1',
  ],
];

for (const [name, flow, line] of LINES) {
  test(`conntrack's grammar: ${name}`, () => assert.equal(conntrackLine(flow), line));
}

test('the table says what is rewritten, to people', () => {
  const forward: Flow = {
    ...TCP,
    original: { src: '198.51.100.10', dst: '203.0.113.10', sport: 40000, dport: 2222 },
    reply: { src: '172.22.161.10', dst: '198.51.100.10', sport: 22, dport: 40000 },
  };
  const routed: Flow = {
    ...TCP,
    original: { src: '172.22.161.10', dst: '10.0.0.1', sport: 1, dport: 2 },
    reply: { src: '10.0.0.1', dst: '172.22.161.10', sport: 2, dport: 1 },
  };
  const lines = flowTable([TCP, forward, routed]).split('\n');
  assert.match(lines[0]!, /^PROTO +STATE +ENDS IN +FROM +TO +TRANSLATED +SENT +ANSWERED$/);
  assert.match(
    lines[1]!,
    /4 d 23 h +192\.168\.2\.100:34846 +123\.59\.27\.117:993 +from 203\.0\.113\.10:34846 +1500B +2\.50 MB$/,
  );
  assert.match(lines[2]!, / 203\.0\.113\.10:2222 +to 172\.22\.161\.10:22 /);
  assert.match(lines[3]!, / 10\.0\.0\.1:2 +- /);
});

test('an empty table has its header', () => assert.match(flowTable([]), /^PROTO .*\n$/));

test('numbers for people', () => {
  assert.deepEqual([0, 9999, 10_000, 1_234_567, 5e15].map(short), ['0', '9999', '10.0 k', '1.23 M', '5.00 P']);
  assert.deepEqual([0, 59.9, 60, 3661, 93_784].map(duration), ['0 s', '59 s', '1 min', '1 h 1 min', '1 d 2 h']);
});
