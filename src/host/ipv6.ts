/** IPv6 addresses between words, bytes and text. */
import { SocketAddress } from 'node:net';
import type { Words6 } from '../contract/ipv6.js';

/** Canonical text (RFC 5952). */
export function ipv6Text(words: Words6): string {
  const groups = words.flatMap((word) => [word >>> 16, word & 0xffff]).map((group) => group.toString(16));
  return new SocketAddress({ family: 'ipv6', address: groups.join(':') }).address;
}

/** The way back; for texts of `ipv6Text`. */
export function ipv6Words(text: string): Words6 {
  const [head = '', tail] = text.split('::');
  const groups = (part: string) => (part === '' ? [] : part.split(':').map((group) => Number.parseInt(group, 16)));
  const left = groups(head);
  const right = tail === undefined ? [] : groups(tail);
  const all = [...left, ...Array<number>(8 - left.length - right.length).fill(0), ...right];
  return [0, 2, 4, 6].map((at) => (all[at]! << 16) | all[at + 1]!) as unknown as Words6;
}

export function ipv6Bytes(words: Words6): Uint8Array {
  const bytes = new Uint8Array(16);
  const view = new DataView(bytes.buffer);
  words.forEach((word, i) => {
    view.setInt32(4 * i, word);
  });
  return bytes;
}

export function wordsOf(bytes: Uint8Array): Words6 {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  return [view.getInt32(0), view.getInt32(4), view.getInt32(8), view.getInt32(12)];
}

export function sameAddress6(a: Words6, b: Words6): boolean {
  return a.every((word, i) => word === b[i]);
}
