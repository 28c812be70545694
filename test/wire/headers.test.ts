import assert from 'node:assert/strict';
import { test } from 'node:test';
import { isIcmpError, isIcmpReply, isIcmpRequest } from '../../src/wire/icmp.js';
import { formatIpv4, impossibleSource, ipv4ChecksumOk, parseIpv4, writeIpv4 } from '../../src/wire/ipv4.js';
import { impossibleFlags, mssAt, TcpFlag, windowScale } from '../../src/wire/tcp.js';
import { dissect } from '../lib-packets.js';
import fc from '../property.js';

interface WatchedView extends DataView {
  /** The highest offset that was read. */
  highest: number;
}

/** A view that says where it was read. */
function watched(buffer: ArrayBuffer): WatchedView {
  const v = new DataView(buffer);
  const read = v.getUint8.bind(v);
  const watching = Object.assign(v, { highest: -1 });
  v.getUint8 = (at) => {
    watching.highest = Math.max(watching.highest, at);
    return read(at);
  };
  return watching;
}

/** A TCP header in the middle of a buffer whose other bytes look like options. */
function header(options: readonly number[], words = 5 + Math.ceil(options.length / 4)): WatchedView {
  const bytes = new Uint8Array(100).fill(2);
  bytes.set([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, words << 4, TcpFlag.SYN, 0, 0, 0, 0, 0, 0], 8);
  bytes.fill(0, 28, 8 + words * 4);
  bytes.set(options, 28);
  return watched(bytes.buffer);
}

test('options are never read behind the header that the data offset gives, whatever they say', () => {
  const option = fc.oneof(fc.integer({ min: 0, max: 255 }), fc.constantFrom(0, 1, 2, 3, 4));
  fc.assert(
    fc.property(fc.array(option, { maxLength: 40 }), fc.integer({ min: 5, max: 15 }), (options, words) => {
      for (const read of [mssAt, windowScale]) {
        const v = header(options.slice(0, (words - 5) * 4), words);
        const found = read(v, 8);
        assert.ok(v.highest < 8 + words * 4, `byte ${v.highest} of a header that ends at ${8 + words * 4}`);
        if (read === mssAt && found >= 0) assert.ok(found >= 30 && found + 2 <= 8 + words * 4);
        if (read === windowScale) assert.ok(found >= -1 && found <= 14);
      }
    }),
    { numRuns: 2000 },
  );
});

test('MSS and window scale are found behind other options, at odd offsets, and not in malformed lists', () => {
  assert.equal(mssAt(header([2, 4, 5, 180]), 8), 30);
  assert.equal(mssAt(header([1, 2, 4, 5, 180]), 8), 31, 'odd');
  assert.equal(mssAt(header([4, 2, 8, 10, 0, 0, 0, 0, 0, 0, 0, 0, 2, 4, 5, 180]), 8), 42);
  assert.equal(mssAt(header([0, 2, 4, 5, 180]), 8), -1, 'behind the end of the list');
  assert.equal(mssAt(header([2, 3, 5, 180]), 8), -1, 'of a wrong length');
  assert.equal(mssAt(header([8, 0, 2, 4, 5, 180]), 8), -1, 'behind an option of length 0');
  assert.equal(mssAt(header([1, 1, 1, 2], 6), 8), -1, 'cut off');
  assert.equal(mssAt(header([2, 4, 5], 6), 8), 30, 'the padding completes it');
  assert.equal(windowScale(header([1, 3, 3, 7]), 8), 7);
  assert.equal(windowScale(header([1, 3, 3, 200]), 8), 14, 'RFC 7323: more than 14 counts as 14');
  assert.equal(windowScale(header([1, 1, 1, 1]), 8), -1);
});

test('a header that is written reads back, its checksum right', () => {
  const word = fc.integer();
  const short = fc.nat(0xffff);
  fc.assert(
    fc.property(
      word,
      word,
      fc.nat(255),
      short,
      short,
      fc.nat(255),
      fc.nat(255),
      (src, dst, proto, length, id, ttl, tos) => {
        const bytes = new Uint8Array(40);
        const v = new DataView(bytes.buffer);
        writeIpv4(bytes, v, 12, { src, dst, proto, length, id, ttl, tos, fragment: 0x4000 });
        assert.ok(ipv4ChecksumOk(bytes, v, 12));
        bytes[13]! ^= 1;
        assert.ok(!ipv4ChecksumOk(bytes, v, 12));
        bytes[13]! ^= 1;
        const p = dissect(Uint8Array.from([...bytes.subarray(12, 32), ...new Uint8Array(20)]));
        assert.deepEqual([p.src, p.dst], [formatIpv4(src), formatIpv4(dst)]);
        assert.deepEqual(
          [p.proto, p.length, p.id, p.ttl, p.tos, p.df, p.ipChecksumOk],
          [proto, length, id, ttl, tos, true, true],
        );
        assert.equal(parseIpv4(formatIpv4(src)), src);
      },
    ),
  );
});

test('addresses that cannot be a source: 0/8, 127/8, 224/4, 240/4', () => {
  for (const [text, impossible] of [
    ['0.0.0.0', true],
    ['0.1.2.3', true],
    ['127.0.0.1', true],
    ['224.0.0.1', true],
    ['240.0.0.1', true],
    ['255.255.255.255', true],
    ['1.0.0.1', false],
    ['126.255.255.255', false],
    ['128.0.0.1', false],
    ['223.255.255.255', false],
  ] as const) {
    assert.equal(impossibleSource(parseIpv4(text)), impossible, text);
  }
  for (const wrong of ['1.2.3', '1.2.3.4.5', '256.1.1.1', '01.2.3.4', '1.2.3.', 'a.b.c.d', '1.2.3.4 '])
    assert.throws(() => parseIpv4(wrong), RangeError, wrong);
});

test('flags that no stack sends', () => {
  for (const flags of [
    0,
    TcpFlag.FIN,
    TcpFlag.SYN | TcpFlag.FIN,
    TcpFlag.SYN | TcpFlag.RST,
    TcpFlag.SYN | TcpFlag.FIN | TcpFlag.ACK,
    TcpFlag.SYN | TcpFlag.RST | TcpFlag.ACK,
    TcpFlag.PSH,
    TcpFlag.FIN | TcpFlag.PSH | 0x20,
  ])
    assert.ok(impossibleFlags(flags), `0x${flags.toString(16)}`);
  for (const flags of [
    TcpFlag.SYN,
    TcpFlag.SYN | TcpFlag.ACK,
    TcpFlag.ACK,
    TcpFlag.FIN | TcpFlag.ACK,
    TcpFlag.RST,
    TcpFlag.RST | TcpFlag.ACK,
    TcpFlag.PSH | TcpFlag.ACK,
    TcpFlag.SYN | 0xc0,
    TcpFlag.SYN | TcpFlag.PSH,
  ])
    assert.ok(!impossibleFlags(flags), `0x${flags.toString(16)}`);
});

test('REQ-31 every ICMP type is a request, a reply, an error, or none of them; redirects are none', () => {
  for (let type = 0; type < 256; type++) {
    const kinds = [isIcmpRequest(type), isIcmpReply(type), isIcmpError(type)].filter(Boolean).length;
    assert.equal(kinds, [0, 3, 8, 11, 12, 13, 14].includes(type) ? 1 : 0, `type ${type}`);
  }
});
