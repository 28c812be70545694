/** Header, inner frame, outer headers, ECN, tags, MTU: bytes against readable twins. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { innerTos } from '../../../src/link/vxlan/ecn.js';
import { checkHeader, sourceIndex, vniOf, writeHeader } from '../../../src/link/vxlan/header.js';
import {
  mtuProblem,
  mtuWarning,
  neededPathMtu,
  OUTCOMES,
  Outcome,
  Outer,
  overheadBytes,
  tapMtu,
  writeOuter,
} from '../../../src/link/vxlan/index.js';
import { Inner } from '../../../src/link/vxlan/inner.js';
import { ENDPOINT_WORDS, Ep } from '../../../src/link/wireguard/endpoint.js';
import { ipv4ChecksumOk } from '../../../src/wire/ipv4.js';
import fc from '../../property.js';
import { Bench, BROADCAST, bytesOf, endpoint, ethernet, hex, message, udp4 } from './frames.js';

const [A, B] = ['02:00:00:00:00:0a', '02:00:00:00:00:0b'];
const viewOf = (bytes: Uint8Array) => new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);

test('outcomes have different names and sentences', () => {
  assert.equal(new Set(OUTCOMES.map(({ name }) => name)).size, OUTCOMES.length);
  for (const { sentence } of OUTCOMES) assert.match(sentence, /^[A-Z].*\.$/);
});

test('REQ-48 the header is 08 000000 VNI 00, and reads back', () => {
  fc.assert(
    fc.property(fc.integer({ min: 0, max: 0xff_ffff }), (vni) => {
      const bytes = new Uint8Array(10).fill(0xee);
      writeHeader(viewOf(bytes), 1, vni);
      assert.equal(hex(bytes), `ee08000000${vni.toString(16).padStart(6, '0')}00ee`);
      assert.equal(vniOf(viewOf(bytes), 1), vni);
      assert.equal(checkHeader(viewOf(bytes), 1, 8, vni), Outcome.PASS);
    }),
  );
});

test('REQ-48 on arrival reserved bits are ignored, the I flag and the VNI are not', () => {
  fc.assert(
    fc.property(
      fc.uint8Array({ minLength: 0, maxLength: 12 }),
      fc.integer({ min: 0, max: 0xff_ffff }),
      (bytes, vni) => {
        const got = checkHeader(viewOf(bytes), 0, bytes.length, vni);
        const theirs = bytes.length < 8 ? -1 : (bytes[4]! << 16) | (bytes[5]! << 8) | bytes[6]!;
        const [first = 0] = bytes;
        const wanted =
          theirs < 0
            ? Outcome.MALFORMED
            : !(first & 8)
              ? Outcome.NO_VNI
              : theirs !== vni
                ? Outcome.WRONG_VNI
                : Outcome.PASS;
        assert.equal(got, wanted);
        if (theirs >= 0)
          assert.equal(checkHeader(viewOf(bytes), 0, 8, theirs), first & 8 ? Outcome.PASS : Outcome.NO_VNI);
      },
    ),
    { examples: [[bytesOf('ff aaaaaa 00002a bb'), 42]] },
  );
});

test('REQ-49 a flow has one source port, many flows use all of them', () => {
  const bench = new Bench({ sourcePorts: 64, storm: { unknown: 0 } });
  bench.remotes('192.0.2.2');
  const send = (from: number, size = 20) =>
    bench.tap([ethernet(B, A, 0x0800, udp4('10.0.0.1', '10.0.0.2', [from, 53], size))])[0]!.source;
  const used = new Map<number, number>();
  for (let port = 1; port <= 6400; port++) used.set(send(port), (used.get(send(port)) ?? 0) + 1);
  assert.equal(used.size, 64);
  assert.ok(Math.max(...used.values()) < 160 && Math.min(...used.values()) > 50, `${[...used.values()]}`);
  assert.equal(send(77, 20), send(77, 900));
  for (const hash of [0, 1, -1, 0x7fff_ffff, -0x8000_0000])
    for (const ports of [1, 3, 64, 16_384])
      assert.ok(sourceIndex(hash, ports) < ports && sourceIndex(hash, ports) >= 0);
  assert.equal(sourceIndex(-1, 16_384), 16_383);
});

test('REQ-49 fragments of one packet share a port, the first one included', () => {
  const bench = new Bench({ sourcePorts: 16_384 });
  bench.remotes('192.0.2.2');
  const source = (fragment: number, ports: [number, number]) =>
    bench.tap([ethernet(B, A, 0x0800, udp4('10.0.0.1', '10.0.0.2', ports, 20, { fragment }))])[0]!.source;
  assert.equal(source(0x2000, [1000, 53]), source(0x0010, [7, 8]));
  assert.notEqual(source(0, [1000, 53]), source(0, [1001, 53]));
});

test('REQ-64 the inner frame is read within its length, whatever it says', () => {
  const inner = new Inner();
  const types = fc.constantFrom('0800', '86dd', '0806', '8100', '88a8', '81000001', '88a80001810000020800', '88b5');
  const frame = fc.tuple(
    fc.uint8Array({ minLength: 12, maxLength: 12 }),
    types,
    fc.uint8Array({ maxLength: 90, size: 'max' }),
  );
  fc.assert(
    fc.property(frame, fc.nat(110), ([macs, type, body], cut) => {
      const whole = Uint8Array.of(...macs, ...bytesOf(type), ...body);
      // A view of exactly these bytes: reading behind them throws.
      const bytes = whole.slice(0, cut);
      const v = viewOf(bytes);
      if (inner.read(v, 0, bytes.length) === Outcome.RUNT) return;
      assert.ok(inner.l3 <= bytes.length && inner.end === bytes.length);
      inner.hash(v, 1);
      innerTos(v, inner);
      assert.ok(inner.headerBytes(v, 0) <= bytes.length);
    }),
    { numRuns: 3000 },
  );
});

test('REQ-46 ECN goes out with the outer header and comes back as RFC 6040 says', () => {
  const bench = new Bench();
  bench.remotes('192.0.2.2');
  // RFC 6040 figure 4, in its own order and words; rows: inner, columns: outer Not-ECT, ECT(0), ECT(1), CE.
  const names = ['not', 'ect0', 'ect1', 'ce'];
  const code: Record<string, number> = { not: 0, ect1: 1, ect0: 2, ce: 3 };
  const figure: Record<string, string[]> = {
    not: ['not', 'not', 'not', 'drop'],
    ect0: ['ect0', 'ect0', 'ect1', 'ce'],
    ect1: ['ect1', 'ect1', 'ect1', 'ce'],
    ce: ['ce', 'ce', 'ce', 'ce'],
  };
  for (const inner of names) {
    const frame = ethernet(B, A, 0x0800, udp4('10.0.0.1', '10.0.0.2', [1, 2], 20, { tos: 0xb8 | code[inner]! }));
    assert.equal(bench.tap([frame])[0]!.tos, code[inner], 'ECN copied, DSCP not');
    for (const [i, outer] of names.entries()) {
      const tos = 0x48 | code[outer]!;
      const [got] = bench.tunnel([{ bytes: message(frame), from: '192.0.2.2', tos }]);
      const wanted = figure[inner]![i]!;
      if (wanted === 'drop') {
        assert.equal(got!.outcome, Outcome.ECN_DROP);
        continue;
      }
      assert.equal(got!.outcome, Outcome.PASS);
      assert.equal(got!.frame[15], 0xb8 | code[wanted]!, `${inner} in ${outer}`);
      assert.ok(ipv4ChecksumOk(got!.frame, viewOf(got!.frame), 14));
    }
  }
});

test('REQ-46 IPv6 has its ECN in the traffic class; DSCP is inherited where that is asked for', () => {
  const bench = new Bench({ dscp: -1 });
  bench.remotes('192.0.2.2');
  const body = new Uint8Array(48);
  body.set([0x6b, 0x82, 0x34, 0x56, 0, 8, 17, 64]); // traffic class 0xb8, flow label 23456
  const frame = ethernet(B, A, 0x86dd, body);
  assert.equal(bench.tap([frame])[0]!.tos, 0xb8);
  body[1]! |= 0x20; // ECT(0)
  const [got] = bench.tunnel([{ bytes: message(ethernet(B, A, 0x86dd, body)), from: '192.0.2.2', tos: 3 }]);
  assert.equal(hex(got!.frame.subarray(14, 18)), '6bb23456');
  const [untouched] = bench.tunnel([{ bytes: message(ethernet(B, A, 0x88cc, body)), from: '192.0.2.2', tos: 3 }]);
  assert.equal(untouched!.outcome, Outcome.PASS);
});

const TAG = 0x8100_0005;
const OUTER_TAG = 0x88a8_0007 | 0;

test('inner tags: kept, stripped or refused by option', () => {
  const packet = udp4('10.0.0.1', '10.0.0.2', [1, 2]);
  const [plain, one, two] = [[], [TAG], [OUTER_TAG, TAG]].map((tags) => ethernet(B, A, 0x0800, packet, tags));
  const run = (vlan: 'keep' | 'strip' | 'refuse', frame: Uint8Array) => {
    const bench = new Bench({ vlan });
    bench.remotes('192.0.2.2');
    const [sent] = bench.tap([frame]);
    const [got] = bench.tunnel([{ bytes: message(frame), from: '192.0.2.2' }]);
    return [sent!.messages[0]?.slice(8) ?? sent!.outcome, got!.outcome === Outcome.PASS ? got!.frame : got!.outcome];
  };
  for (const frame of [plain!, one!, two!]) assert.deepEqual(run('keep', frame), [frame, frame]);
  assert.deepEqual(run('strip', plain!), [plain, plain]);
  assert.deepEqual(run('strip', one!), [plain, Outcome.TAGGED]);
  assert.deepEqual(run('strip', two!), [plain, Outcome.TAGGED]);
  assert.deepEqual(run('refuse', plain!), [plain, plain]);
  assert.deepEqual(run('refuse', one!), [Outcome.TAGGED, Outcome.TAGGED]);
  const deep = ethernet(B, A, 0x0800, packet, [OUTER_TAG, TAG, TAG]);
  assert.deepEqual(run('strip', deep), [Outcome.TAGGED, Outcome.TAGGED]);
});

test('a super-frame that loses its tag keeps a vnet header that fits', () => {
  const bench = new Bench({ vlan: 'strip' });
  bench.remotes('192.0.2.2');
  const c = bench.columns;
  const frame = ethernet(B, A, 0x0800, udp4('10.0.0.1', '10.0.0.2', [1, 2], 1800), [TAG]);
  c.off[0] = 64;
  c.len[0] = frame.length;
  c.segment[0] = 900;
  c.data.set(frame, 64);
  c.data.set([1, 5, 46, 0, 0x84, 3, 38, 0, 6, 0], 54);
  bench.vtep.fromTap(c, 1, 0);
  assert.equal(c.off[0], 68);
  assert.deepEqual([...c.data.subarray(58, 68)], [1, 5, 42, 0, 0x84, 3, 34, 0, 6, 0]);
  assert.equal(hex(c.data.subarray(68, 80)), hex(frame.subarray(0, 12)));
});

test('REQ-47 overhead: 50 over IPv4, 70 over IPv6, WireGuard 60 or 80 more', () => {
  assert.equal(overheadBytes({ family: 4 }), 50);
  assert.equal(overheadBytes({ family: 6 }), 70);
  assert.equal(overheadBytes({ family: 4, over: 4 }), 110);
  assert.equal(overheadBytes({ family: 6, over: 6 }), 150);
  assert.equal(overheadBytes({ family: 4, over: 6, tags: 1 }), 134);
  assert.equal(tapMtu(1500, { family: 4 }), 1450);
  assert.equal(neededPathMtu(1500, { family: 4 }), 1550);
  assert.equal(mtuProblem(1450, 1500, { family: 4 }), '');
  assert.match(mtuProblem(1451, 1500, { family: 4 }), /1451 is too large.*1450 or less/);
  assert.match(mtuProblem(100, 120, { family: 6 }), /no MTU is possible/);
  assert.match(mtuProblem(60, 1500, { family: 4 }), /cannot carry IPv4/);
  assert.match(mtuWarning(1279), /IPv6/);
  assert.equal(mtuWarning(1280), '');
});

test('REQ-46 nothing larger than the path leaves: what fits is counted with its tags, super-frames by their pieces', () => {
  const bench = new Bench();
  bench.remotes('192.0.2.2');
  const outcome = (size: number, tags: number[] = [], segment = 0) =>
    bench.tap([ethernet(B, A, 0x0800, udp4('10.0.0.1', '10.0.0.2', [1, 2], size), tags)], segment)[0]!.outcome;
  assert.equal(outcome(1450 - 28), Outcome.FLOODED);
  assert.equal(outcome(1450 - 27), Outcome.TOO_BIG);
  assert.equal(outcome(1450 - 28, [TAG]), Outcome.TOO_BIG);
  assert.equal(outcome(1450 - 32, [TAG]), Outcome.FLOODED);
  assert.equal(outcome(1800, [], 1450 - 28), Outcome.FLOODED);
  assert.equal(outcome(1800, [], 1450 - 27), Outcome.TOO_BIG);
  const notUdp = ethernet(B, A, 0x88cc, new Uint8Array(1800));
  assert.equal(bench.tap([notUdp], 100)[0]!.outcome, Outcome.TOO_BIG);
  const roomy = new Bench({ tags: 1 });
  roomy.remotes('192.0.2.2');
  const tagged = ethernet(B, A, 0x0800, udp4('10.0.0.1', '10.0.0.2', [1, 2], 1450 - 28), [TAG]);
  assert.equal(roomy.tap([tagged])[0]!.outcome, Outcome.FLOODED);
});

// ---- Outer headers.

const OPTIONS = { ttl: 64, checksum: false };

function outer(four: boolean, payload: Uint8Array, checksum: boolean, tos = 2): Uint8Array {
  const [own, remote] = four
    ? [endpoint('192.0.2.1'), endpoint('192.0.2.2', 8472)]
    : [endpoint('2001:db8::1'), endpoint('2001:db8::2', 8472)];
  const headers = four ? 28 : 48;
  const bytes = new Uint8Array(headers + payload.length);
  bytes.set(payload, headers);
  const got = writeOuter(bytes, viewOf(bytes), 0, payload.length, own, remote, 0, 55_555, tos, {
    ...OPTIONS,
    checksum,
  });
  assert.equal(got, headers);
  return bytes;
}

const readOuter = (bytes: Uint8Array, port = 8472) => {
  const from = new Int32Array(ENDPOINT_WORDS);
  const o = new Outer();
  return { outcome: o.read(bytes, viewOf(bytes), 0, bytes.length, port, from, 0), o, from };
};

test('REQ-46 REQ-50 outer IPv4: DF, TTL, ECN and a UDP checksum of zero', () => {
  const bytes = outer(true, message(ethernet(BROADCAST, A, 0x88cc, new Uint8Array(4))), false);
  assert.equal(hex(bytes.subarray(0, 10)), '4502003600004000' + '4011');
  assert.equal(hex(bytes.subarray(20, 28)), 'd903211800220000');
});

test('REQ-50 outer headers read back in both families, with and without UDP checksum; a wrong one is refused', () => {
  fc.assert(
    fc.property(
      fc.boolean(),
      fc.boolean(),
      fc.uint8Array({ maxLength: 200, size: 'max' }),
      fc.integer({ min: 0, max: 255 }),
      fc.nat(),
      (four, sum, payload, tos, flip) => {
        const bytes = outer(four, payload, sum, tos);
        const { outcome, o, from } = readOuter(bytes);
        assert.equal(outcome, Outcome.PASS);
        assert.deepEqual(bytes.subarray(o.off, o.off + o.len), payload);
        assert.equal(o.tos, tos);
        assert.equal(from[Ep.PORT], 55_555);
        assert.deepEqual(from.subarray(2, 6), endpoint(four ? '192.0.2.1' : '2001:db8::1').subarray(2, 6));
        if (!sum || payload.length === 0) return;
        bytes[o.off + (flip % payload.length)]! ^= 1 << (flip & 7);
        assert.equal(readOuter(bytes).outcome, Outcome.BAD_CHECKSUM);
      },
    ),
  );
});

test('REQ-51 outer fragments are refused, of both families; foreign ports and protocols too', () => {
  const payload = new Uint8Array(40);
  const fixed = (bytes: Uint8Array) => {
    let sum = 0;
    bytes.fill(0, 10, 12);
    for (let i = 0; i < 20; i += 2) sum += (bytes[i]! << 8) | bytes[i + 1]!;
    sum = (sum & 0xffff) + (sum >>> 16);
    viewOf(bytes).setUint16(10, ~((sum & 0xffff) + (sum >>> 16)) & 0xffff);
    return bytes;
  };
  for (const fragment of [0x2000, 0x0001, 0x2010]) {
    const bytes = outer(true, payload, false);
    viewOf(bytes).setUint16(6, fragment);
    assert.equal(readOuter(fixed(bytes)).outcome, Outcome.FRAGMENTED);
  }
  const six = outer(false, payload, true);
  six[6] = 44;
  assert.equal(readOuter(six).outcome, Outcome.FRAGMENTED);
  assert.equal(readOuter(outer(true, payload, false), 4789).outcome, Outcome.BAD_OUTER);
  const tcp = outer(true, payload, false);
  tcp[9] = 6;
  assert.equal(readOuter(fixed(tcp)).outcome, Outcome.BAD_OUTER);
  const altered = outer(true, payload, false);
  altered[8]! ^= 1;
  assert.equal(readOuter(altered).outcome, Outcome.BAD_CHECKSUM);
});

test('REQ-64 outer packets are read within their length, whatever they say', () => {
  const start = fc.constantFrom(outer(true, new Uint8Array(30), true), outer(false, new Uint8Array(30), true));
  const changes = fc.array(fc.tuple(fc.nat(60), fc.integer({ min: 0, max: 255 })), { maxLength: 4 });
  fc.assert(
    fc.property(start, changes, fc.nat(80), (bytes, edits, cut) => {
      const hostile = bytes.slice(0, cut);
      for (const [at, value] of edits) if (at < hostile.length) hostile[at] = value;
      const { outcome, o } = readOuter(hostile);
      if (outcome === Outcome.PASS) assert.ok(o.off + o.len <= hostile.length);
    }),
    { numRuns: 3000 },
  );
});
