/**
 * IPv4 addresses and prefixes between text and int32.
 *
 * Text is judged by the package ip-address, which refuses `010.1.1.1`: some parsers read it as 8.1.1.1, and a forward that
 * means one host to the reader and another to the router is a hole.
 */
import { Address4 } from 'ip-address';
import type { Prefix } from '../contract/plan.js';
import { formatAddress } from './dotted.js';

export { formatAddress } from './dotted.js';

/** A text that is not what it should be; `message` says what is wrong and what is allowed. */
export class TextError extends Error {}

function octets(text: string): number | null {
  // The length and character test keeps what the library would accept beside the plain form (masks, suffixes) out.
  if (!/^[0-9.]{7,15}$/.test(text) || !Address4.isValid(text)) return null;
  let value = 0;
  for (const part of text.split('.')) value = (value << 8) | Number(part);
  return value;
}

/** `192.0.2.1` → int32. Throws TextError. */
export function parseAddress(text: string): number {
  const value = octets(text);
  if (value === null) {
    if (/^0\d|\.0\d/.test(text) && /^[0-9.]+$/.test(text)) {
      throw new TextError(
        `"${text}" has a number with a leading zero, which some programs read as octal; write it without`,
      );
    }
    throw new TextError(`"${text}" is not an IPv4 address; write one like 192.0.2.10`);
  }
  return value;
}

/** Network mask of a prefix length, as int32. */
export function maskOf(length: number): number {
  return length === 0 ? 0 : -1 << (32 - length);
}

/** Prefix length of a mask. */
export function lengthOf(mask: number): number {
  return Math.clz32(~mask);
}

/** `192.0.2.0/24`, or `192.0.2.1` for /32. Throws TextError, also for bits behind the mask. */
export function parsePrefix(text: string): Prefix {
  const slash = text.indexOf('/');
  if (slash < 0) return { prefix: parseAddress(text), mask: -1 };
  const address = parseAddress(text.slice(0, slash));
  const lengthText = text.slice(slash + 1);
  if (!/^(\d|[12]\d|3[0-2])$/.test(lengthText)) {
    throw new TextError(`"${text}" has a prefix length that is not 0 to 32; write a prefix like 192.0.2.0/24`);
  }
  const mask = maskOf(Number(lengthText));
  if ((address & mask) !== address) {
    const right = `${formatAddress(address & mask)}/${lengthText}`;
    throw new TextError(`"${text}" has address bits behind its /${lengthText}; did you mean ${right}?`);
  }
  return { prefix: address, mask };
}

/** Always with its length, also /32. */
export function formatPrefix(prefix: Prefix): string {
  return `${formatAddress(prefix.prefix)}/${lengthOf(prefix.mask)}`;
}

export function contains(prefix: Prefix, address: number): boolean {
  return (address & prefix.mask) === prefix.prefix;
}

/** One holds the other, or they are equal: prefixes have no other way to share an address. */
export function overlap(a: Prefix, b: Prefix): boolean {
  return ((a.prefix ^ b.prefix) & a.mask & b.mask) === 0;
}

/** An address that a host can have: not 0/8, loopback, multicast, class E or broadcast. */
export function isHostAddress(address: number): boolean {
  const first = address >>> 24;
  return first !== 0 && first !== 127 && first < 224;
}

const PRIVATE: readonly Prefix[] = ['10.0.0.0/8', '172.16.0.0/12', '192.168.0.0/16', '100.64.0.0/10'].map(parsePrefix);

/** RFC 1918, and the shared space of RFC 6598. */
export function isPrivate(address: number): boolean {
  return PRIVATE.some((prefix) => contains(prefix, address));
}
