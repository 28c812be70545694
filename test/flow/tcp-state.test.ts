/**
 * The TCP state of a flow, segment by segment. A step is [side, flags, seq, ack, more] ⇒ state after it. Side 0's first
 * sequence number is 100, side 1's is 900, unless a case says otherwise; `100` as seq of a SYN makes 101 the next byte.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Kind, RowFlag, STATE_NAMES } from '../../src/contract/table-layout.js';
import { lifetime } from '../../src/flow/expiry.js';
import { segment, tcpBirth, tcpUpdate } from '../../src/flow/tcp-state.js';

const S = 2;
const A = 0x10;
const F = 1;
const R = 4;

interface More {
  payload?: number;
  window?: number;
  scale?: number;
}
type Step = readonly [side: 0 | 1, flags: number, seq: number, ack: number, state: string, more?: More];

class Flow {
  kind: number;
  readonly t = new Int32Array(5);
  constructor(flags: number) {
    this.kind = 6 | tcpBirth(flags);
  }
  send(
    side: number,
    flags: number,
    seq: number,
    ack: number,
    { payload = 0, window = 1000, scale = -1 }: More = {},
  ): string {
    this.kind = tcpUpdate(this.kind, this.t, 0, side, seq | 0, ack | 0, window, flags, payload, scale);
    if (side === 1) this.kind |= RowFlag.REPLIED;
    return this.state;
  }
  get state(): string {
    return STATE_NAMES[(this.kind >>> Kind.STATE_SHIFT) & Kind.STATE_MASK]!;
  }
}

function play(steps: readonly Step[]): Flow {
  const flow = new Flow(steps[0]![1]);
  steps.forEach(([side, flags, seq, ack, state, more], i) => {
    assert.equal(flow.send(side, flags, seq, ack, more), state, `step ${i + 1}`);
  });
  return flow;
}

const OPEN: readonly Step[] = [
  [0, S, 100, 0, 'SYN_SENT'],
  [1, S | A, 900, 101, 'SYN_RECV'],
  [0, A, 101, 901, 'ESTABLISHED'],
];
const open = (...steps: Step[]) => play([...OPEN, ...steps]);

const CASES: Record<string, readonly Step[]> = {
  'REQ-16 three-way handshake': OPEN,
  'REQ-17 simultaneous open': [
    [0, S, 100, 0, 'SYN_SENT'],
    [1, S, 900, 0, 'SYN_SENT2'],
    [0, S | A, 100, 901, 'SYN_RECV'],
    [1, S | A, 900, 101, 'SYN_RECV'],
    [0, A, 101, 901, 'ESTABLISHED'],
  ],
  'a SYN that is sent again, with a new sequence number too': [
    [0, S, 100, 0, 'SYN_SENT'],
    [0, S, 100, 0, 'SYN_SENT'],
    [0, S, 500, 0, 'SYN_SENT'],
    [1, S | A, 900, 101, 'SYN_SENT'],
    [1, S | A, 900, 501, 'SYN_RECV'],
    [0, A, 501, 901, 'ESTABLISHED'],
  ],
  'a SYN+ACK that is sent again': [
    [0, S, 100, 0, 'SYN_SENT'],
    [1, S | A, 900, 101, 'SYN_RECV'],
    [1, S | A, 900, 101, 'SYN_RECV'],
    [0, A, 101, 901, 'ESTABLISHED'],
    [1, S | A, 900, 101, 'ESTABLISHED'],
  ],
  'a forged SYN+ACK that acknowledges what was not sent': [
    [0, S, 100, 0, 'SYN_SENT'],
    [1, S | A, 900, 4711, 'SYN_SENT'],
    [1, S | A, 900, 100, 'SYN_SENT'],
    [1, S | A, 900, 101, 'SYN_RECV'],
  ],
  'data in the SYN that is taken (RFC 7413)': [
    [0, S, 100, 0, 'SYN_SENT', { payload: 50 }],
    [1, S | A, 900, 151, 'SYN_RECV'],
    [0, A, 151, 901, 'ESTABLISHED'],
  ],
  'data in the SYN that is not taken, and comes again': [
    [0, S, 100, 0, 'SYN_SENT', { payload: 50 }],
    [1, S | A, 900, 101, 'SYN_RECV'],
    [0, A, 101, 901, 'ESTABLISHED', { payload: 50 }],
    [1, A, 901, 151, 'ESTABLISHED'],
  ],
  'a connection that is refused': [
    [0, S, 100, 0, 'SYN_SENT'],
    [1, R | A, 0, 101, 'CLOSE'],
  ],
  'a refusal that does not acknowledge the SYN is nobody’s': [
    [0, S, 100, 0, 'SYN_SENT'],
    [1, R | A, 0, 55, 'SYN_SENT'],
    [1, R, 0, 0, 'SYN_SENT'],
  ],
  'the opener gives up': [
    [0, S, 100, 0, 'SYN_SENT'],
    [0, R, 101, 0, 'CLOSE'],
  ],
  'half open: one side restarted and answers data with a RST': [
    ...OPEN,
    [0, A, 101, 901, 'ESTABLISHED', { payload: 100 }],
    [1, R, 901, 0, 'CLOSE'],
  ],
  'half open: the restarted opener’s SYN is challenged, its RST ends the old connection, its SYN opens a new one': [
    ...OPEN,
    [0, S, 7000, 0, 'ESTABLISHED'],
    [1, A, 901, 101, 'ESTABLISHED'],
    [0, R, 101, 0, 'CLOSE'],
    [0, S, 7000, 0, 'SYN_SENT'],
    [1, S | A, 5000, 7001, 'SYN_RECV'],
    [0, A, 7001, 5001, 'ESTABLISHED'],
  ],
  'REQ-20 a RST beside the exact sequence ends nothing': [
    ...OPEN,
    [1, R, 902, 0, 'ESTABLISHED'],
    [1, R, 900, 0, 'ESTABLISHED'],
    [1, R | A, 901 + 500, 101, 'ESTABLISHED'],
    [0, R, 101 + 1000, 0, 'ESTABLISHED'],
    [1, R, 901, 0, 'CLOSE'],
  ],
  'REQ-20 a RST with sequence number 0 is no better than others while nothing is acknowledged': [
    [0, S, 100, 0, 'SYN_SENT'],
    [0, R, 0, 0, 'SYN_SENT'],
    [1, R, 0, 0, 'SYN_SENT'],
    [1, S | A, 900, 101, 'SYN_RECV'],
    [1, R, 0, 0, 'SYN_RECV'],
    [0, R, 0, 0, 'SYN_RECV'],
    [0, A, 101, 901, 'ESTABLISHED'],
  ],
  'REQ-20 a RST behind data that its receiver has not seen yet': [
    ...OPEN,
    [1, A, 901, 101, 'ESTABLISHED', { payload: 500 }],
    [1, R | A, 1401, 101, 'CLOSE'],
  ],
  'REQ-20 a FIN beyond the window closes nothing, nor does data there move anything': [
    ...OPEN,
    [1, F | A, 901 + 5000, 101, 'ESTABLISHED'],
    [1, A, 901 + 5000, 101, 'ESTABLISHED', { payload: 10 }],
    [1, F | A, 901, 101, 'FIN_WAIT'],
  ],
  'REQ-20 a FIN of long ago closes nothing': [...OPEN, [1, F | A, 901 - 2_000_000, 101, 'ESTABLISHED']],
  'REQ-20 a FIN of what is acknowledged already closes nothing': [
    ...OPEN,
    [1, F | A, 901 - 10_000, 101, 'ESTABLISHED'],
  ],
  'REQ-19 close, side 0 first': [
    ...OPEN,
    [0, F | A, 101, 901, 'FIN_WAIT'],
    [1, A, 901, 102, 'CLOSE_WAIT'],
    [1, A, 901, 102, 'CLOSE_WAIT', { payload: 300 }],
    [0, A, 102, 1201, 'CLOSE_WAIT'],
    [1, F | A, 1201, 102, 'LAST_ACK'],
    [0, A, 102, 1202, 'TIME_WAIT'],
  ],
  'REQ-19 close, side 1 first, FIN with the last data': [
    ...OPEN,
    [1, F | A, 901, 101, 'FIN_WAIT', { payload: 10 }],
    [0, F | A, 101, 912, 'LAST_ACK'],
    [1, A, 912, 102, 'TIME_WAIT'],
  ],
  'simultaneous close': [
    ...OPEN,
    [0, F | A, 101, 901, 'FIN_WAIT'],
    [1, F | A, 901, 101, 'LAST_ACK'],
    [0, A, 102, 902, 'LAST_ACK'],
    [1, A, 902, 102, 'TIME_WAIT'],
  ],
  'a FIN and its ACK that are sent again change nothing': [
    ...OPEN,
    [0, F | A, 101, 901, 'FIN_WAIT'],
    [0, F | A, 101, 901, 'FIN_WAIT'],
    [1, F | A, 901, 102, 'LAST_ACK'],
    [1, F | A, 901, 102, 'LAST_ACK'],
    [0, A, 102, 902, 'TIME_WAIT'],
    [1, F | A, 901, 102, 'TIME_WAIT'],
    [0, A, 102, 902, 'TIME_WAIT'],
  ],
  'a FIN that overtakes data is not acknowledged before the data': [
    ...OPEN,
    [0, F | A, 201, 901, 'FIN_WAIT'],
    [1, A, 901, 101, 'FIN_WAIT'],
    [0, A, 101, 901, 'FIN_WAIT', { payload: 100 }],
    [1, A, 901, 202, 'CLOSE_WAIT'],
  ],
  'the 5-tuple is used again at once, from TIME_WAIT and from CLOSE': [
    ...OPEN,
    [0, F | A, 101, 901, 'FIN_WAIT'],
    [1, F | A, 901, 102, 'LAST_ACK'],
    [0, A, 102, 902, 'TIME_WAIT'],
    [0, S, 5_000_000, 0, 'SYN_SENT'],
    [1, S | A, 3_000_000, 5_000_001, 'SYN_RECV'],
    [0, A, 5_000_001, 3_000_001, 'ESTABLISHED'],
    [0, R, 5_000_001, 0, 'CLOSE'],
    [0, S, 77, 0, 'SYN_SENT'],
  ],
  'used again from the other side': [
    ...OPEN,
    [0, R, 101, 0, 'CLOSE'],
    [1, S, 40, 0, 'SYN_SENT2'],
    [0, S | A, 60, 41, 'SYN_RECV'],
    [1, A, 41, 61, 'ESTABLISHED'],
  ],
  'used again from the other side, and refused': [
    ...OPEN,
    [0, R, 101, 0, 'CLOSE'],
    [1, S, 40, 0, 'SYN_SENT2'],
    [0, R | A, 0, 40, 'SYN_SENT2'],
    [0, R | A, 0, 41, 'CLOSE'],
  ],
  'a SYN that crosses ours and is refused': [
    [0, S, 100, 0, 'SYN_SENT'],
    [1, S, 900, 0, 'SYN_SENT2'],
    [1, R | A, 0, 101, 'CLOSE'],
  ],
  'keepalive probes and their answers': [
    ...OPEN,
    [0, A, 100, 901, 'ESTABLISHED'],
    [1, A, 901, 101, 'ESTABLISHED'],
    [0, A, 100, 901, 'ESTABLISHED', { payload: 1 }],
    [1, A, 901, 101, 'ESTABLISHED'],
  ],
  'a zero window and its probe': [
    ...OPEN,
    [1, A, 901, 101, 'ESTABLISHED', { window: 0 }],
    [0, A, 101, 901, 'ESTABLISHED', { payload: 1 }],
    [1, A, 901, 101, 'ESTABLISHED', { window: 0 }],
    [1, A, 901, 101, 'ESTABLISHED', { window: 1000 }],
    [0, F | A, 101, 901, 'FIN_WAIT', { payload: 500 }],
  ],
  'sequence numbers that wrap around': [
    [0, S, 0xffff_fff0, 0, 'SYN_SENT'],
    [1, S | A, 0x7fff_ffff, 0xffff_fff1, 'SYN_RECV'],
    [0, A, 0xffff_fff1, 0x8000_0000, 'ESTABLISHED', { payload: 100 }],
    [1, A, 0x8000_0000, 0x55, 'ESTABLISHED'],
    [0, F | A, 0x55, 0x8000_0000, 'FIN_WAIT'],
    [1, F | A, 0x8000_0000, 0x56, 'LAST_ACK'],
    [0, A, 0x56, 0x8000_0001, 'TIME_WAIT'],
  ],
  'RFC 7323 a scaled window takes a GSO packet of 60,000 bytes; the FIN behind it counts': [
    [0, S, 100, 0, 'SYN_SENT', { scale: 7 }],
    [1, S | A, 900, 101, 'SYN_RECV', { scale: 9, window: 500 }],
    [0, A, 101, 901, 'ESTABLISHED', { window: 500 }],
    [0, A, 101, 901, 'ESTABLISHED', { payload: 60_000 }],
    [0, F | A, 60_101, 901, 'FIN_WAIT', { payload: 60_000 }],
    [1, A, 901, 120_102, 'CLOSE_WAIT'],
  ],
  'without scaling the same FIN lies beyond the window': [
    ...OPEN,
    [0, F | A, 60_101, 901, 'ESTABLISHED', { payload: 60_000 }],
  ],
  'picked up in mid-stream: windows are learnt, FINs and RSTs work': [
    [0, A, 5000, 8000, 'ESTABLISHED', { payload: 100 }],
    [1, A, 8000, 5100, 'ESTABLISHED', { payload: 1400 }],
    [0, A, 5100, 9400, 'ESTABLISHED'],
    [1, R, 123_456, 0, 'ESTABLISHED'],
    [1, F | A, 9400, 5100, 'FIN_WAIT'],
    [0, F | A, 5100, 9401, 'LAST_ACK'],
    [1, A, 9401, 5101, 'TIME_WAIT'],
  ],
};

for (const [name, steps] of Object.entries(CASES)) test(name, () => void play(steps));

const TIMEOUTS = {
  ...{ udp: 300, dns: 10, tcpEstablished: 7440, tcpOpening: 240, tcpClosing: 250 },
  ...{ icmp: 60, unanswered: 30, hold: 120, fragment: 30 },
};

test('REQ-19 lifetimes: established only between handshake and close; mid-stream only when both have spoken', () => {
  const timeouts = TIMEOUTS;
  const life = (flow: Flow) => lifetime(flow.kind, timeouts);
  const flow = new Flow(S);
  flow.send(0, S, 100, 0);
  assert.equal(life(flow), 240);
  flow.send(1, S | A, 900, 101);
  assert.equal(life(flow), 240);
  flow.send(0, A, 101, 901);
  assert.equal(life(flow), 7440);
  assert.ok((flow.kind & RowFlag.ASSURED) !== 0);
  flow.send(0, F | A, 101, 901);
  assert.equal(life(flow), 250);
  const loose = new Flow(A);
  loose.send(0, A, 5000, 8000);
  assert.equal(life(loose), 240);
  loose.send(1, A, 8000, 5000);
  assert.equal(life(loose), 7440);
  assert.equal(lifetime(17, timeouts), 300);
  assert.equal(lifetime(1, timeouts), 60);
});

test('REQ-19 what a stranger begins has a short life until it is answered, TCP until its handshake is complete', () => {
  const life = (kind: number) => lifetime(kind | RowFlag.INBOUND, TIMEOUTS);
  const flow = new Flow(S);
  flow.send(0, S, 100, 0);
  assert.equal(life(flow.kind), 30);
  flow.send(1, S | A, 900, 101);
  assert.equal(life(flow.kind), 30);
  flow.send(0, A, 101, 901);
  assert.equal(life(flow.kind), 7440);
  flow.send(1, R, 901, 0);
  assert.equal(life(flow.kind), 250);
  for (const [proto, answered] of [
    [17, 300],
    [1, 60],
    [47, 300],
  ] as const) {
    assert.equal(life(proto), 30);
    assert.equal(life(proto | RowFlag.REPLIED), answered);
  }
});

test('a stranger who does not know the sequence number cannot close: of 10,000 random RSTs and FINs none counts', () => {
  let x = 12345;
  const random = () => (x = (Math.imul(x, 1103515245) + 12345) >>> 0);
  const flow = open([1, A, 901, 101, 'ESTABLISHED', { payload: 1000 }], [0, A, 101, 1901, 'ESTABLISHED']);
  for (let n = 0; n < 10_000; n++) {
    // 1000 of 2^32 sequence numbers lie in the window: 10,000 guesses meet it 0.002 times.
    assert.equal(flow.send(1, n & 1 ? R : F | A, random() | 0x0100_0000, 101), 'ESTABLISHED');
  }
});

test('the flow goes on after anything: random segments never break it, states stay in range', () => {
  let x = 99;
  const random = () => (x = (Math.imul(x, 1664525) + 1013904223) >>> 0) >>> 8;
  for (let round = 0; round < 300; round++) {
    const flow = new Flow([S, A, S | A][round % 3]!);
    for (let n = 0; n < 60; n++) {
      const state = flow.send(random() & 1, random() & 0x17, random() % 2000, random() % 2000, {
        payload: random() % 1500,
        window: random() & 0xffff,
        scale: (random() % 16) - 1,
      });
      assert.ok(state !== undefined && state !== 'NONE');
      assert.equal(flow.kind & 0xff, 6);
    }
  }
});

test('REQ-20 what its receiver would not take does not count as traffic: data and FINs beyond the window, blind RSTs and SYNs', () => {
  const flow = open([1, A, 901, 101, 'ESTABLISHED', { payload: 1000 }], [0, A, 101, 1901, 'ESTABLISHED']);
  const accepted = (side: 0 | 1, flags: number, seq: number, ack: number, payload = 0) => {
    flow.send(side, flags, seq, ack, { payload });
    return segment.accepted;
  };
  assert.ok(accepted(1, A, 1901, 101, 100));
  assert.ok(accepted(0, A, 101, 2001));
  assert.ok(accepted(0, A, 100, 2001), 'a keepalive probe');
  for (const flags of [A, F | A]) {
    assert.ok(!accepted(1, flags, 2001 + 0x1000_0000, 101, 10));
    assert.ok(!accepted(1, flags, 2001 - 0x1000_0000, 101, 10));
  }
  assert.ok(!accepted(1, R, 77, 101));
  assert.ok(!accepted(1, S, 5, 0));
  assert.ok(accepted(1, F | A, 2001, 101));
});
