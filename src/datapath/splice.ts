/**
 * Changing the payload of a TCP packet where it stands in the batch, longer or shorter, lengths and checksums included.
 *
 * The TCP checksum is corrected by the difference of the sums before and after, so a wrong one stays wrong (REQ-68). A
 * partial one (NEEDS_CSUM) holds the pseudo-header alone, in which only the length changes.
 */
import { type Batch, HEADROOM, VNET_BYTES } from '../batch.js';
import { adjust, adjustPartial, checksum, delta32, fold } from '../wire/checksum.js';
import { Ipv4 } from '../wire/ipv4.js';
import { Tcp } from '../wire/tcp.js';
import { Gso, Vnet } from '../wire/vnet.js';
import { Flag } from './parse.js';

/** A batch's packets stand so far apart that each may grow by this much: up to the next one's vnet header. */
export const GROWTH = HEADROOM - VNET_BYTES;

export class Splice {
  data: Uint8Array = new Uint8Array(0);
  /** Behind the packet's last byte as it is now. */
  end = 0;
  /** Bytes by which the packet has grown. */
  grown = 0;
  #batch: Batch | undefined;
  #slot = 0;
  #from = 0;
  #sum = -1;

  /** Starts on slot `i`, whose payload begins at `from`. */
  begin(batch: Batch, i: number, from: number): void {
    this.#batch = batch;
    this.#slot = i;
    this.#from = from;
    this.#sum = -1;
    this.data = batch.data;
    this.end = batch.off[i]! + batch.len[i]!;
    this.grown = 0;
  }

  /** May the packet grow by `more` bytes yet, and still leave by a link of this MTU? */
  fits(more: number, mtu: number): boolean {
    const batch = this.#batch!;
    const length = batch.len[this.#slot]! + this.grown + more;
    // A GSO packet leaves in segments of its own size.
    const gso = (batch.flags[this.#slot]! & Flag.GSO) !== 0;
    return this.grown + more <= GROWTH && length <= (gso ? 65_535 : mtu);
  }

  /** Is data[from…to) something else than text[0…length)? */
  differs(from: number, to: number, text: Uint8Array, length: number): boolean {
    if (to - from !== length) return true;
    for (let i = 0; i < length; i++) if (this.data[from + i] !== text[i]) return true;
    return false;
  }

  /** Puts text[0…length) in the place of data[from…to). Ask `fits` first. */
  replace(from: number, to: number, text: Uint8Array, length: number): void {
    const { data } = this;
    if (this.#sum < 0) this.#sum = checksum(data, this.#from, this.end - this.#from, 0);
    const more = length - (to - from);
    if (more !== 0) data.copyWithin(to + more, to, this.end);
    for (let i = 0; i < length; i++) data[from + i] = text[i]!;
    this.end += more;
    this.grown += more;
  }

  /** Lengths and checksums after the last `replace`. */
  finish(): void {
    if (this.#sum < 0) return;
    const batch = this.#batch!;
    const i = this.#slot;
    const v = batch.view;
    const off = batch.off[i]!;
    const l4 = batch.l4[i]!;
    const old = batch.len[i]!;
    const now = old + this.grown;
    batch.len[i] = now;
    v.setUint16(off + Ipv4.LENGTH, now);
    v.setUint16(off + Ipv4.CHECKSUM, adjust(v.getUint16(off + Ipv4.CHECKSUM), delta32(old, now)));
    const length = delta32(old - (l4 - off), now - (l4 - off));
    const field = v.getUint16(l4 + Tcp.CHECKSUM);
    if ((batch.flags[i]! & Flag.PARTIAL) !== 0) v.setUint16(l4 + Tcp.CHECKSUM, adjustPartial(field, length));
    else {
      const sum = checksum(this.data, this.#from, this.end - this.#from, 0);
      v.setUint16(l4 + Tcp.CHECKSUM, adjust(field, fold((~this.#sum & 0xffff) + sum + length)));
    }
    const gso = off - VNET_BYTES + Vnet.GSO_SIZE;
    // What fits one segment is no GSO packet; some kernels refuse it.
    if ((batch.flags[i]! & Flag.GSO) !== 0 && this.end - this.#from <= v.getUint16(gso, true)) {
      v.setUint16(gso, 0);
      v.setUint8(off - VNET_BYTES + Vnet.GSO_TYPE, Gso.NONE);
      batch.flags[i]! &= ~Flag.GSO;
    }
  }
}

/** Sets the 32-bit number at `at` in the TCP header at `l4`, checksum included. */
export function setCounted(v: DataView, l4: number, at: number, value: number, partial: boolean): void {
  const old = v.getInt32(at);
  if (old === value) return;
  v.setInt32(at, value);
  if (partial) return;
  let delta = delta32(old, value);
  // At an odd offset each byte counts in the other half of a word.
  if (((at - l4) & 1) !== 0) delta = ((delta & 0xff) << 8) | (delta >>> 8);
  v.setUint16(l4 + Tcp.CHECKSUM, adjust(v.getUint16(l4 + Tcp.CHECKSUM), delta));
}
