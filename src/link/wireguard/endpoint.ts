/**
 * An endpoint: address and port of the other side as words, and the own address that it was heard on, so that answers leave from there
 * (a host with several addresses, REQ-58). IPv4 addresses are one word, as everywhere in the engine; IPv6 ones are four.
 */
import { isIPv4, isIPv6 } from 'node:net';

export const ENDPOINT_WORDS = 12;

/** Words of an endpoint. */
export const Ep = {
  /** 0 = none, 4 or 6. */
  FAMILY: 0,
  PORT: 1,
  ADDRESS: 2,
  /** Of IPv6 link-local addresses: an interface index. */
  SCOPE: 6,
  /** Own side, 0 = the kernel's choice: interface index and address. */
  OWN_INTERFACE: 7,
  OWN_ADDRESS: 8,
} as const;

export function sameEndpoint(a: Int32Array, aOff: number, b: Int32Array, bOff: number): boolean {
  for (let i = 0; i < ENDPOINT_WORDS; i++) if (a[aOff + i] !== b[bOff + i]) return false;
  return true;
}

export function copyEndpoint(from: Int32Array, fromOff: number, to: Int32Array, toOff: number): void {
  for (let i = 0; i < ENDPOINT_WORDS; i++) to[toOff + i] = from[fromOff + i]!;
}

/** Forgets the own side: the kernel chooses anew (after a handshake that nobody answered). */
export function clearOwn(endpoint: Int32Array): void {
  endpoint.fill(0, Ep.OWN_INTERFACE);
}

/** Longest of remoteBytes. */
export const REMOTE_BYTES = 18;

/** Writes address and port, for the cookie's MAC: 4 or 16 bytes, then 2. Returns how many. */
export function remoteBytes(endpoint: Int32Array, off: number, out: Uint8Array): number {
  const words = endpoint[off + Ep.FAMILY] === 6 ? 4 : 1;
  let at = 0;
  for (let i = 0; i < words; i++) {
    const word = endpoint[off + Ep.ADDRESS + i]!;
    out[at++] = word >>> 24;
    out[at++] = word >>> 16;
    out[at++] = word >>> 8;
    out[at++] = word;
  }
  out[at++] = endpoint[off + Ep.PORT]! >>> 8;
  out[at++] = endpoint[off + Ep.PORT]!;
  return at;
}

/** Writes the words of `address` (either family) to `words` from `off` on; returns 4, 6, or 0 when it is neither. */
export function parseAddress(address: string, words: Int32Array, off: number): 0 | 4 | 6 {
  if (isIPv4(address)) {
    words[off] = address.split('.').reduce((sum, part) => (sum << 8) | Number(part), 0);
    return 4;
  }
  if (!isIPv6(address) || address.includes('%')) return 0;
  let text = address;
  const dotted = /^(.*:)(\d+\.\d+\.\d+\.\d+)$/.exec(text);
  if (dotted) {
    const [a, b, c, d] = dotted[2]!.split('.').map(Number) as [number, number, number, number];
    text = `${dotted[1]}${((a << 8) | b).toString(16)}:${((c << 8) | d).toString(16)}`;
  }
  const [head = '', tail] = text.split('::');
  const left = head === '' ? [] : head.split(':');
  const right = tail === undefined || tail === '' ? [] : tail.split(':');
  const groups = [...left, ...Array<string>(8 - left.length - right.length).fill('0'), ...right];
  for (let i = 0; i < 4; i++) {
    words[off + i] = (Number.parseInt(groups[2 * i]!, 16) << 16) | Number.parseInt(groups[2 * i + 1]!, 16);
  }
  return 6;
}

/** Canonical text (RFC 5952 for IPv6). */
export function formatAddress(family: number, words: Int32Array, off: number): string {
  if (family === 4) {
    const word = words[off]!;
    return `${word >>> 24}.${(word >>> 16) & 255}.${(word >>> 8) & 255}.${word & 255}`;
  }
  const groups: number[] = [];
  for (let i = 0; i < 4; i++) groups.push(words[off + i]! >>> 16, words[off + i]! & 0xffff);
  let [best, length] = [-1, 1];
  for (let i = 0; i < 8; i++) {
    let end = i;
    while (end < 8 && groups[end] === 0) end++;
    if (end - i > length) [best, length] = [i, end - i];
  }
  const hex = (part: readonly number[]) => part.map((group) => group.toString(16)).join(':');
  return best < 0 ? hex(groups) : `${hex(groups.slice(0, best))}::${hex(groups.slice(best + length))}`;
}

/** `192.0.2.1:51820` or `[2001:db8::1]:51820`, also `[fe80::1%2]:51820`; null when it is neither. */
export function parseEndpoint(text: string): Int32Array | null {
  const match = /^(?:\[([^\]%]+)(?:%(\d{1,9}))?\]|([^:[\]]+)):(\d{1,5})$/.exec(text);
  if (match === null) return null;
  const [, six, scope, four, portText] = match;
  const port = Number(portText);
  const endpoint = new Int32Array(ENDPOINT_WORDS);
  const family = parseAddress(six ?? four!, endpoint, Ep.ADDRESS);
  if (family !== (six === undefined ? 4 : 6) || port < 1 || port > 65_535) return null;
  endpoint[Ep.FAMILY] = family;
  endpoint[Ep.PORT] = port;
  endpoint[Ep.SCOPE] = Number(scope ?? 0);
  return endpoint;
}

/** Empty when there is none. */
export function formatEndpoint(endpoint: Int32Array, off = 0): string {
  const family = endpoint[off + Ep.FAMILY]!;
  if (family === 0) return '';
  const address = formatAddress(family, endpoint, off + Ep.ADDRESS);
  const scope = endpoint[off + Ep.SCOPE] === 0 ? '' : `%${endpoint[off + Ep.SCOPE]}`;
  return family === 4 ? `${address}:${endpoint[off + Ep.PORT]}` : `[${address}${scope}]:${endpoint[off + Ep.PORT]}`;
}
