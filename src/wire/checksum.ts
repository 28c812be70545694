/**
 * The Internet checksum (RFC 1071) and its incremental update (RFC 1624).
 *
 * A *sum* is a folded, un-complemented 16-bit ones' complement sum; a *field* is what stands in a header: ~sum. A *delta*
 * is the sum of (~old + new) over the 16-bit words that changed, so that RFC 1624 eqn. 3, HC' = ~(~HC + ~m + m'), reads
 * `field' = ~(~field + delta)`. The way back has the delta's complement.
 */

/** Folds carries of a sum of at most 2^16 words into 16 bits. */
export function fold(sum: number): number {
  sum = (sum & 0xffff) + (sum >>> 16);
  return (sum & 0xffff) + (sum >>> 16);
}

/** Sum of bytes[off…off+len) as big-endian words, an odd last byte padded with zero, plus `initial`. */
export function checksum(bytes: Uint8Array, off: number, len: number, initial: number): number {
  let sum = initial;
  const even = off + (len & ~1);
  for (let i = off; i < even; i += 2) sum += (bytes[i]! << 8) | bytes[i + 1]!;
  if (len & 1) sum += bytes[even]! << 8;
  return fold(sum);
}

/** Sum of the two words of an int32. */
export function sum32(value: number): number {
  return (value >>> 16) + (value & 0xffff);
}

/** Sum of a TCP or UDP pseudo-header (RFC 9293 §3.1): addresses as int32, `length` of layer 4 in bytes. */
export function pseudoSum(src: number, dst: number, proto: number, length: number): number {
  return fold(sum32(src) + sum32(dst) + proto + length);
}

/** Delta for a 32-bit value that changes from `from` to `to`. */
export function delta32(from: number, to: number): number {
  return fold(sum32(~from) + sum32(to));
}

/** Sum of two deltas. */
export function addDelta(a: number, b: number): number {
  return fold(a + b);
}

/** The delta of the opposite change. */
export function reverseDelta(delta: number): number {
  return ~delta & 0xffff;
}

/** A checksum field after a change by `delta`. */
export function adjust(field: number, delta: number): number {
  return ~fold((~field & 0xffff) + delta) & 0xffff;
}

/** An un-complemented partial sum (NEEDS_CSUM: the pseudo-header's) after a change by `delta`. */
export function adjustPartial(field: number, delta: number): number {
  return fold(field + delta);
}
