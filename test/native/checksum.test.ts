import assert from 'node:assert/strict';
import { test } from 'node:test';
import { native } from '../../src/native.js';
import fc from '../property.js';

/** RFC 1071 as it is written: 16-bit big-endian words one after the other, end-around carry after each. */
function slow(bytes: Uint8Array, off: number, len: number, initial: number): number {
  let sum = initial;
  while (sum > 0xffff) sum = (sum % 0x10000) + Math.floor(sum / 0x10000);
  for (let i = 0; i < len; i += 2) {
    sum += bytes[off + i]! * 256 + (i + 1 < len ? bytes[off + i + 1]! : 0);
    if (sum > 0xffff) sum -= 0xffff;
  }
  return sum;
}

const noise = new Uint8Array(70_000);
for (let i = 0, state = 1; i < noise.length; i++) {
  state = Math.imul(state, 1664525) + 1013904223;
  noise[i] = state >>> 24;
}

test('the addon sums as RFC 1071 does, for every length up to 600 at every alignment', () => {
  for (let off = 0; off < 33; off++) {
    for (let len = 0; len <= 600; len++) {
      assert.equal(native.checksum(noise, off, len, 0), slow(noise, off, len, 0), `off ${off} len ${len}`);
    }
  }
});

test('no carry is lost: 64 KiB of ones, and any initial sum up to 32 bits', () => {
  const ones = new Uint8Array(65_535).fill(0xff);
  for (const initial of [0, 1, 0xffff, 0x10000, 0xffff_ffff]) {
    for (const len of [0, 1, 64, 65_534, 65_535]) {
      assert.equal(
        native.checksum(ones, 0, len, initial),
        slow(ones, 0, len, initial),
        `len ${len} initial ${initial}`,
      );
    }
  }
});

test('random buffers, offsets, lengths and initial sums agree with the slow twin', () => {
  fc.assert(
    fc.property(fc.nat(2000), fc.nat(65_000), fc.nat(0xffff_ffff), (off, len, initial) => {
      assert.equal(native.checksum(noise, off, len, initial), slow(noise, off, len, initial));
    }),
    { numRuns: 300 },
  );
});

test('a view into the middle of a buffer is read from its own start', () => {
  const view = noise.subarray(1001, 1100);
  assert.equal(native.checksum(view, 3, 50, 0), slow(noise, 1004, 50, 0));
});

test('a range outside of the bytes is refused', () => {
  for (const [off, len] of [
    [0, 11],
    [10, 1],
    [-1, 2],
    [0, -1],
    [2 ** 40, 1],
  ] as const) {
    assert.throws(() => native.checksum(new Uint8Array(10), off, len, 0), RangeError, `off ${off} len ${len}`);
  }
  assert.throws(() => native.checksum(new Uint16Array(10) as unknown as Uint8Array, 0, 2, 0), TypeError);
});
