/**
 * Two TCP ends that lose, repeat, merge and reorder, with the FTP helper between them: what each end receives is what the
 * other sent with its addresses written anew, byte for byte, and what each end is told was acknowledged is right (REQ-11).
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Counter } from '../../src/contract/counters.js';
import { build, dissect } from '../lib-packets.js';
import fc from '../property.js';
import { ACK, bytesOf, Dialog, PSH } from './ftp-dialog.js';
import { A, B, P, Rig } from './rig.js';

/** One end: a stream out that is sent by whole lines, and a stream in that is put together from segments. */
class End {
  /** All that it sends, and where its lines begin and end. */
  text = '';
  readonly marks = [0];
  /** Bytes that the other end has acknowledged, as far as this end was told. */
  acknowledged = 0;
  sent = 0;
  received = '';
  /** Bytes of `received` that it has acknowledged: what comes of them again is not looked at, as in every TCP. */
  told = 0;
  readonly #early = new Map<number, string>();

  constructor(
    /** First numbers as this end knows them. */
    readonly isn: number,
    readonly peerIsn: number,
  ) {}

  say(line: string): void {
    this.text += line;
    this.marks.push(this.text.length);
  }

  get seqOfNext(): number {
    return (this.peerIsn + this.received.length) | 0;
  }

  /** Takes a segment; SACK blocks of what is there but not next. */
  take(seq: number, text: string): void {
    const at = (seq - this.peerIsn) | 0;
    // A repetition of the first lines, after their corrections have given way, may stand before the beginning: all of that is
    // below what was acknowledged, which no TCP looks at again.
    assert.ok(at >= -this.told, 'before the beginning');
    const fresh = text.slice(Math.max(-at, 0));
    if (fresh.length > 0) this.#early.set(Math.max(at, 0), fresh);
    for (let moved = true; moved; ) {
      moved = false;
      for (const [from, part] of this.#early) {
        if (from > this.received.length) continue;
        const known = Math.max(this.told - from, 0);
        const overlap = this.received.slice(from, from + part.length);
        assert.equal(part.slice(known, overlap.length), overlap.slice(known), 'a repetition says something else');
        this.received += part.slice(overlap.length);
        this.#early.delete(from);
        moved = true;
      }
    }
  }

  sackBlocks(): [number, number][] {
    return [...this.#early].slice(0, 3).map(([from, part]) => [from, from + part.length]);
  }
}

interface Step {
  readonly side: number;
  /** Lines that come new. */
  readonly lines: readonly number[];
  /** Unacknowledged lines in the segment, from which one on, and how often it is lost or doubled. */
  readonly from: number;
  readonly count: number;
  readonly lost: boolean;
  readonly twice: boolean;
  readonly ack: boolean;
}

const CLIENT_LINES = [
  'USER anonymous\r\n',
  'PORT 172,22,161,170,8,K\r\n',
  'EPRT |1|172.22.161.170|40K|\r\n',
  'LIST\r\n',
  'NOOP\n',
  'PORT 9,9,9,9,8,K\r\n',
];
const SERVER_LINES = [
  '200 ok\r\n',
  '227 Entering Passive Mode (172,22,161,20,9,K).\r\n',
  '229 Entering Extended Passive Mode (|||30K|)\r\n',
  '150-many\r\n150 lines\r\n',
  '226 done\r\n',
];

const step = fc.record({
  side: fc.nat(1),
  lines: fc.array(fc.nat(5), { maxLength: 3 }),
  from: fc.nat(3),
  count: fc.integer({ min: 1, max: 4 }),
  lost: fc.boolean(),
  twice: fc.boolean(),
  ack: fc.boolean(),
});

/** What stands in a stream once its addresses are written anew: everything else is as it was. */
function pattern(text: string, own: string): RegExp {
  const escaped = text.replaceAll(/[.*+?^${}()|[\]\\]/g, '\\$&');
  const commas = own.replaceAll('.', ',');
  const dots = own.replaceAll('.', '\\.');
  const source = escaped
    .replaceAll(new RegExp(`${commas},(\\d+),(\\d+)`, 'g'), `(?:${P.replaceAll('.', ',')}|${commas}),\\d+,\\d+`)
    .replaceAll(new RegExp(`${dots.replaceAll('\\', '\\\\')}\\\\\\|\\d+`, 'g'), `(?:${P}|${own})\\|\\d+`)
    .replaceAll(/\(\\\|\\\|\\\|\d+/g, '(\\|\\|\\|\\d+');
  return new RegExp(`^${source}$`);
}

function run(steps: readonly Step[]): void {
  // A hairpin: both ends are translated, so both streams change.
  const rig = new Rig({ helpers: ['ftp'], forwards: [{ first: 21, to: B }] });
  const talk = new Dialog(rig, { client: A, cport: 30001, server: B, asSeen: P, port: 21 });
  talk.open();
  talk.server('220 ready\r\n');
  const ends = [new End(talk.clientSeq, talk.clientView), new End(talk.serverSeq, talk.serverView)] as const;
  let serial = 0;

  const packet = (side: number, from: number, to: number): Uint8Array => {
    const end = ends[side]!;
    const blocks = end.sackBlocks();
    end.told = end.received.length;
    const options = new Uint8Array(blocks.length === 0 ? 0 : 4 + blocks.length * 8);
    const v = new DataView(options.buffer);
    if (blocks.length > 0) v.setUint32(0, 0x01010500 | (2 + blocks.length * 8));
    blocks.forEach(([left, right], i) => {
      v.setInt32(4 + i * 8, (end.peerIsn + left) | 0);
      v.setInt32(8 + i * 8, (end.peerIsn + right) | 0);
    });
    const { client, cport, server, asSeen, port } = talk.ends;
    const way =
      side === 0
        ? { src: client, sport: cport, dst: asSeen, dport: port }
        : { src: server, sport: port, dst: talk.face.src, dport: talk.face.sport };
    return build({
      proto: 'tcp',
      ...way,
      flags: PSH | ACK,
      seq: (end.isn + from) | 0,
      ack: end.seqOfNext,
      tcpOptions: options,
      payload: bytesOf(end.text.slice(from, to)),
    });
  };
  const arrive = (side: number, bytes: Uint8Array): void => {
    const other = ends[side ^ 1]!;
    const seen = dissect(bytes.slice());
    assert.ok(seen.ipChecksumOk && seen.l4ChecksumOk, 'checksums');
    const v = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
    const acknowledged = (v.getInt32(28) - other.isn) | 0;
    assert.ok(acknowledged >= other.acknowledged, 'an acknowledgement went back');
    assert.ok(other.marks.includes(acknowledged), `acknowledged ${acknowledged}, which is no line's end`);
    assert.ok(acknowledged <= other.sent, 'acknowledged what was never sent');
    other.acknowledged = acknowledged;
    // Blocks: of lines that were sent, whole.
    for (let at = 44; at < 20 + ((bytes[32]! >>> 4) << 2); at += 4) {
      const edge = (v.getInt32(at) - other.isn) | 0;
      assert.ok(other.marks.includes(edge) && edge <= other.sent, `SACK edge ${edge}`);
    }
    other.take(v.getInt32(24), String.fromCharCode(...seen.payload));
  };
  const transmit = (side: number, from: number, to: number, lost: boolean, twice: boolean): void => {
    const bytes = packet(side, from, to);
    ends[side]!.sent = Math.max(ends[side]!.sent, to);
    for (let copy = 0; copy < (twice ? 2 : 1); copy++) {
      const out = rig.pass(bytes);
      assert.equal(out.length, 1, JSON.stringify(rig.verdicts()));
      if (!lost) arrive(side, out[0]!);
    }
  };

  for (const { side, lines, from, count, lost, twice, ack } of steps) {
    const end = ends[side]!;
    const source = side === 0 ? CLIENT_LINES : SERVER_LINES;
    for (const line of lines) end.say(source[line % source.length]!.replace('K', String(100 + (serial++ % 100))));
    const open = end.marks.filter((mark) => mark >= end.acknowledged && mark <= end.text.length);
    // TCP sends in order: a segment begins at or before what was never sent.
    const begins = open.filter((mark) => mark <= end.sent);
    const first = begins[Math.max(0, begins.length - 1 - from)]!;
    const rest = open.filter((mark) => mark > first);
    const last = rest[Math.min(count, rest.length) - 1];
    if (last !== undefined) transmit(side, first, last, lost, twice);
    if (ack) transmit(side ^ 1, ends[side ^ 1]!.sent, ends[side ^ 1]!.sent, false, false);
  }
  // Then the network is kind: everything arrives.
  for (let round = 0; round < 400 && ends.some((end) => end.acknowledged < end.text.length); round++) {
    for (const side of [0, 1]) {
      const end = ends[side]!;
      const next = end.marks.find((mark) => mark > end.acknowledged);
      if (next !== undefined) transmit(side, end.acknowledged, next, false, false);
      transmit(side ^ 1, ends[side ^ 1]!.sent, ends[side ^ 1]!.sent, false, false);
    }
  }
  ends.forEach((end, side) => {
    assert.equal(end.acknowledged, end.text.length, 'everything was acknowledged');
    assert.match(ends[side ^ 1]!.received, pattern(end.text, side === 0 ? A : B));
  });
  assert.equal(rig.verdicts()['helper-segment'], undefined);
  written += rig.counters[Counter.HELPER_REWRITTEN]!;
}

let written = 0;

test('REQ-11 streams survive loss, repetition, merging and reordering, both ways at once (property)', () => {
  fc.assert(fc.property(fc.array(step, { minLength: 5, maxLength: 60 }), run), { numRuns: 100 });
  assert.ok(written > 200, `only ${written} lines were written anew: the test has lost its point`);
});
