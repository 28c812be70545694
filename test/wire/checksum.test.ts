import assert from 'node:assert/strict';
import { test } from 'node:test';
import { native } from '../../src/native.js';
import {
  addDelta,
  adjust,
  adjustPartial,
  checksum,
  delta32,
  pseudoSum,
  reverseDelta,
} from '../../src/wire/checksum.js';
import { xorshift } from '../flow/fixture.js';
import { fullChecksum } from '../lib-packets.js';

const PACKETS = 1_000_000;

/** One's complement sum of a buffer by the plainest of loops, end-around carry after each word. */
function plain(bytes: Uint8Array, off: number, len: number): number {
  let sum = 0;
  for (let i = 0; i < len; i += 2) {
    sum += bytes[off + i]! * 256 + (i + 1 < len ? bytes[off + i + 1]! : 0);
    if (sum > 0xffff) sum -= 0xffff;
  }
  return sum;
}

test('REQ-42 incremental equals full on 10^6 random packets whose addresses and ports change, and back again', () => {
  const random = xorshift(0x1624);
  const bytes = new Uint8Array(64);
  const words = new Uint32Array(bytes.buffer);
  const v = new DataView(bytes.buffer);
  for (let n = 0; n < PACKETS; n++) {
    const length = 20 + (random() % 44);
    for (let i = 0; i < 16; i++) words[i] = random();
    // Words of zeros and ones are where end-around carries go wrong.
    if (n % 3 === 0) words[random() % 16] = n % 2 ? 0 : 0xffffffff;
    const [from, fromPorts] = [v.getInt32(0), v.getInt32(8)];
    const [to, toPorts] = [n % 5 === 0 ? 0 : random() | 0, n % 7 === 0 ? -1 : random() | 0];
    const before = ~plain(bytes, 0, length) & 0xffff;
    const delta = addDelta(delta32(from, to), delta32(fromPorts, toPorts));
    v.setInt32(0, to);
    v.setInt32(8, toPorts);
    const full = ~plain(bytes, 0, length) & 0xffff;
    if (full !== adjust(before, delta)) assert.fail(`packet ${n}: full ${full}, incremental ${adjust(before, delta)}`);
    if (before !== adjust(full, reverseDelta(delta))) assert.fail(`packet ${n}: not back to ${before}`);
  }
});

test('the addon, the TypeScript twin and the slowest code of all sum alike', () => {
  const random = xorshift(7);
  const bytes = new Uint8Array(3000);
  for (let i = 0; i < bytes.length; i++) bytes[i] = random();
  for (let n = 0; n < 20_000; n++) {
    const off = random() % 1400;
    const len = random() % 1500;
    const initial = n % 2 ? 0 : random() % 0x10000;
    const twin = checksum(bytes, off, len, initial);
    assert.equal(native.checksum(bytes, off, len, initial), twin, `off ${off} len ${len} initial ${initial}`);
    if (initial === 0) assert.equal(~twin & 0xffff, fullChecksum(bytes.subarray(off, off + len)));
  }
  const ones = new Uint8Array(65_535).fill(0xff);
  for (const len of [65_534, 65_535])
    assert.equal(checksum(ones, 0, len, 0xffff), native.checksum(ones, 0, len, 0xffff));
});

test('REQ-42 partial checksums: after the address delta the kernel’s completion is the full checksum', () => {
  const random = xorshift(99);
  for (let n = 0; n < 20_000; n++) {
    const segment = new Uint8Array(20 + (random() % 60));
    for (let i = 0; i < segment.length; i++) segment[i] = random();
    const [src, dst, to] = [random() | 0, random() | 0, random() | 0];
    const partial = adjustPartial(pseudoSum(src, dst, 6, segment.length), delta32(src, to));
    segment[16] = partial >> 8;
    segment[17] = partial & 255;
    const completed = ~checksum(segment, 0, segment.length, 0) & 0xffff;
    segment[16] = segment[17] = 0;
    const full = ~checksum(segment, 0, segment.length, pseudoSum(to, dst, 6, segment.length)) & 0xffff;
    assert.equal(completed, full);
  }
});
