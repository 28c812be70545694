/**
 * The inner frame, read once: addresses, tags, where layer 3 begins, and a hash of its flow. Lengths are checked here; whoever reads on at `l3` relies on
 * `kind`: IPV4 and IPV6 say that the fixed header is there, ARP that all 28 bytes are.
 */
import { Outcome } from './outcome.js';

export const ETHERNET_BYTES = 14;
export const TAG_BYTES = 4;
/** Tags that are looked behind: a customer's and a provider's. */
const MOST_TAGS = 2;

export const Kind = { OTHER: 0, IPV4: 4, IPV6: 6, ARP: 1 } as const;

/** EtherTypes. */
export const EtherType = { IPV4: 0x0800, ARP: 0x0806, VLAN: 0x8100, PROVIDER: 0x88a8, IPV6: 0x86dd } as const;

const PROTO_TCP = 6;
const PROTO_UDP = 17;
const PROTO_SCTP = 132;
const MF_OR_OFFSET = 0x3fff;

/** One, made once and filled anew for every frame. */
export class Inner {
  dstHi = 0;
  dstLo = 0;
  srcHi = 0;
  srcLo = 0;
  tags = 0;
  etherType = 0;
  /** Offset of what the frame carries. */
  l3 = 0;
  end = 0;
  kind = 0;
  /** Offset of the TCP, UDP or SCTP header of a packet that is no fragment; 0 = there is none. */
  l4 = 0;
  proto = 0;

  /** Reads view[off…off+len). PASS, or what is wrong with the frame. */
  read(v: DataView, off: number, len: number): number {
    if (len < ETHERNET_BYTES) return Outcome.RUNT;
    this.dstHi = v.getUint16(off);
    this.dstLo = v.getInt32(off + 2);
    this.srcHi = v.getUint16(off + 6);
    this.srcLo = v.getInt32(off + 8);
    const end = off + len;
    let at = off + 12;
    let type = v.getUint16(at);
    let tags = 0;
    while ((type === EtherType.VLAN || type === EtherType.PROVIDER) && tags < MOST_TAGS) {
      if (at + TAG_BYTES + 2 > end) return Outcome.RUNT;
      at += TAG_BYTES;
      type = v.getUint16(at);
      tags++;
    }
    this.tags = tags;
    this.etherType = type;
    this.l3 = at + 2;
    this.end = end;
    this.#network(v, at + 2, end - at - 2, type);
    if ((this.srcHi & 0x100) !== 0 || (this.srcHi | this.srcLo) === 0 || (this.dstHi | this.dstLo) === 0) {
      return Outcome.BAD_MAC;
    }
    // 802.3x pause; the rest of 01:80:c2:00:00:0x (spanning tree, LLDP) may be what an operator tunnels on purpose.
    if (this.dstHi === 0x0180 && this.dstLo === (0xc200_0001 | 0)) return Outcome.RESERVED;
    return Outcome.PASS;
  }

  #network(v: DataView, l3: number, room: number, type: number): void {
    this.kind = Kind.OTHER;
    this.l4 = 0;
    this.proto = 0;
    if (type === EtherType.IPV4) {
      const first = room >= 20 ? v.getUint8(l3) : 0;
      const bytes = (first & 15) << 2;
      if (first >> 4 !== 4 || bytes < 20 || bytes > room) return;
      this.kind = Kind.IPV4;
      this.proto = v.getUint8(l3 + 9);
      if ((v.getUint16(l3 + 6) & MF_OR_OFFSET) === 0) this.#transport(l3 + bytes);
    } else if (type === EtherType.IPV6) {
      if (room < 40 || v.getUint8(l3) >> 4 !== 6) return;
      this.kind = Kind.IPV6;
      this.proto = v.getUint8(l3 + 6);
      this.#transport(l3 + 40);
    } else if (type === EtherType.ARP && room >= 28) {
      this.kind = Kind.ARP;
    }
  }

  #transport(at: number): void {
    const { proto } = this;
    const bytes = proto === PROTO_TCP ? 20 : proto === PROTO_UDP ? 8 : proto === PROTO_SCTP ? 12 : 0;
    if (bytes > 0 && at + bytes <= this.end) this.l4 = at;
  }

  get group(): boolean {
    return (this.dstHi & 0x100) !== 0;
  }

  get broadcast(): boolean {
    return this.dstHi === 0xffff && this.dstLo === -1;
  }

  /**
   * A hash of the flow: addresses and ports of TCP, UDP and SCTP, the flow label or protocol of what else is IP, MAC addresses and type of the rest. Fragments
   * go by addresses alone, the first one included: it must not overtake the others.
   */
  hash(v: DataView, key: number): number {
    const { l3, l4 } = this;
    let h = key;
    if (this.kind === Kind.IPV4) {
      h = mix(mix(h, v.getInt32(l3 + 12)), v.getInt32(l3 + 16));
      h = mix(h, this.proto);
    } else if (this.kind === Kind.IPV6) {
      for (let i = 8; i < 40; i += 4) h = mix(h, v.getInt32(l3 + i));
      h = mix(h, l4 > 0 ? this.proto : v.getInt32(l3) & 0xf_ffff);
    } else {
      h = mix(mix(mix(h, this.dstLo), this.srcLo), (this.dstHi << 16) | this.srcHi);
      h = mix(h, this.etherType);
    }
    if (l4 > 0) h = mix(h, v.getInt32(l4));
    h = Math.imul(h ^ (h >>> 16), 0x85ebca6b);
    h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35);
    return h ^ (h >>> 16);
  }

  /** Bytes from the frame's beginning to the payload of its TCP or UDP, 0 = neither. */
  headerBytes(v: DataView, off: number): number {
    if (this.l4 === 0) return 0;
    if (this.proto === PROTO_UDP) return this.l4 + 8 - off;
    const tcp = this.proto === PROTO_TCP ? (v.getUint8(this.l4 + 12) >> 4) << 2 : 0;
    return tcp >= 20 && this.l4 + tcp <= this.end ? this.l4 + tcp - off : 0;
  }
}

/** One step of MurmurHash3. */
function mix(h: number, word: number): number {
  let k = Math.imul(word, 0xcc9e2d51);
  k = Math.imul((k << 15) | (k >>> 17), 0x1b873593);
  h ^= k;
  return (Math.imul((h << 13) | (h >>> 19), 5) + 0xe6546b64) | 0;
}
