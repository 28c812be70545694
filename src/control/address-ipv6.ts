/** IPv6 addresses and prefixes between text and words. */
import type { Prefix6, Words6 } from '../contract/ipv6.js';
import { formatAddress, parseAddress } from '../link/wireguard/endpoint.js';
import { TextError } from './address.js';

const scratch = new Int32Array(4);

/** `2001:db8::1` → words. Throws TextError. */
export function parseAddress6(text: string): Words6 {
  if (text.includes('%')) throw new TextError(`"${text}" names an interface; leave out the % and what follows`);
  if (parseAddress(text, scratch, 0) !== 6)
    throw new TextError(`"${text}" is not an IPv6 address; write one like 2001:db8::1`);
  return [scratch[0]!, scratch[1]!, scratch[2]!, scratch[3]!];
}

export function formatAddress6(words: Words6): string {
  return formatAddress(6, Int32Array.from(words), 0);
}

/** `2001:db8::/48`, or an address for /128. Throws TextError, also for bits behind the length. */
export function parsePrefix6(text: string): Prefix6 {
  const slash = text.indexOf('/');
  if (slash < 0) return { words: parseAddress6(text), length: 128 };
  const words = parseAddress6(text.slice(0, slash));
  const length = parseLength6(text, text.slice(slash + 1));
  const cut = masked(words, length);
  if (!sameWords(cut, words)) {
    const right = formatPrefix6({ words: cut, length });
    throw new TextError(`"${text}" has address bits behind its /${length}; did you mean ${right}?`);
  }
  return { words, length };
}

/** `whole`: for the message. */
export function parseLength6(whole: string, text: string): number {
  if (!/^(\d{1,2}|1[01]\d|12[0-8])$/.test(text))
    throw new TextError(`"${whole}" has a prefix length that is not 0 to 128; write a prefix like 2001:db8::/48`);
  return Number(text);
}

/** Always with its length, also /128. */
export function formatPrefix6({ words, length }: Prefix6): string {
  return `${formatAddress6(words)}/${length}`;
}

export function sameWords(a: Words6, b: Words6): boolean {
  return a.every((word, i) => word === b[i]);
}

/** Bits behind `length` cleared. */
export function masked(words: Words6, length: number): Words6 {
  const cut = words.map((word, i) => {
    const bits = Math.min(32, Math.max(0, length - 32 * i));
    return bits === 0 ? 0 : word & (-1 << (32 - bits));
  });
  return cut as unknown as Words6;
}

export function contains6(prefix: Prefix6, words: Words6): boolean {
  return sameWords(masked(words, prefix.length), prefix.words);
}

/** One holds the other, or they are equal. */
export function overlap6(a: Prefix6, b: Prefix6): boolean {
  return a.length <= b.length ? contains6(a, b.words) : contains6(b, a.words);
}

const LINK_LOCAL: Prefix6 = { words: [0xfe800000 | 0, 0, 0, 0], length: 10 };
const MULTICAST: Prefix6 = { words: [0xff000000 | 0, 0, 0, 0], length: 8 };

/** The kernel's own: link-local and multicast. */
export const NEVER_ROUTED: readonly Prefix6[] = [LINK_LOCAL, MULTICAST];

/** An address that is routed and that a host can have: no multicast, link-local, loopback, `::`. */
export function isHostAddress6(words: Words6): boolean {
  if (NEVER_ROUTED.some((prefix) => contains6(prefix, words))) return false;
  const [a, b, c, d] = words;
  return a !== 0 || b !== 0 || (c !== 0 && c !== 0xffff) || (c === 0 && d >>> 0 > 1);
}
