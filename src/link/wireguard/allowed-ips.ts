/**
 * Allowed IPs: which peer an address belongs to, in both senses (cryptokey routing): packets to it are sealed for that peer, and packets from it are
 * taken from that peer only. One prefix belongs to one peer; giving it to another moves it.
 */
import { formatAddress, parseAddress } from './endpoint.js';
import { PrefixTrie } from './prefix-trie.js';

export interface AllowedIp {
  readonly family: 4 | 6;
  /** 1 or 4 words, bits behind `length` zero. */
  readonly words: Int32Array;
  readonly length: number;
}

export class AllowedIps {
  readonly #four = new PrefixTrie(1);
  readonly #six = new PrefixTrie(4);
  readonly #scratch = new Int32Array(4);

  get size(): number {
    return this.#four.size + this.#six.size;
  }

  set(ip: AllowedIp, peer: number): void {
    this.#of(ip.family).set(ip.words, 0, ip.length, peer);
  }

  /** Only where it is that peer's. */
  remove(ip: AllowedIp, peer: number): void {
    this.#of(ip.family).remove(ip.words, 0, ip.length, peer);
  }

  removePeer(peer: number): void {
    this.#four.removeAll(peer);
    this.#six.removeAll(peer);
  }

  /** Peer of the address whose bytes begin at view[off] (4 or 16 bytes, big endian), or −1. */
  find(family: number, view: DataView, off: number): number {
    this.#scratch[0] = view.getInt32(off);
    if (family === 4) return this.#four.find(this.#scratch, 0);
    for (let i = 1; i < 4; i++) this.#scratch[i] = view.getInt32(off + 4 * i);
    return this.#six.find(this.#scratch, 0);
  }

  /** All prefixes by peer. */
  byPeer(): Map<number, AllowedIp[]> {
    const found = new Map<number, AllowedIp[]>();
    const take = (family: 4 | 6) => (bits: Int32Array, length: number, peer: number) => {
      const list = found.get(peer);
      const ip = { family, words: bits.slice(), length };
      if (list === undefined) found.set(peer, [ip]);
      else list.push(ip);
    };
    this.#four.each(take(4));
    this.#six.each(take(6));
    return found;
  }

  #of(family: 4 | 6): PrefixTrie {
    return family === 4 ? this.#four : this.#six;
  }
}

/** `10.0.0.0/8`, `fd00::/64`, or an address alone; null when it is neither. */
export function parseAllowedIp(text: string): AllowedIp | null {
  const slash = text.indexOf('/');
  const words = new Int32Array(4);
  const family = parseAddress(slash < 0 ? text : text.slice(0, slash), words, 0);
  if (family === 0) return null;
  const most = family === 4 ? 32 : 128;
  const lengthText = slash < 0 ? String(most) : text.slice(slash + 1);
  const length = Number(lengthText);
  if (!/^\d{1,3}$/.test(lengthText) || length > most) return null;
  const bits = words.slice(0, family === 4 ? 1 : 4);
  for (let i = 0; i < bits.length; i++) {
    const inWord = Math.min(32, Math.max(0, length - 32 * i));
    if (inWord < 32) bits[i] = inWord === 0 ? 0 : bits[i]! & (-1 << (32 - inWord));
  }
  return { family, words: bits, length };
}

export function formatAllowedIp(ip: AllowedIp): string {
  return `${formatAddress(ip.family, ip.words, 0)}/${ip.length}`;
}
