/**
 * The batch: the engine's currency. N packets as columns, their bytes packed into one buffer.
 *
 * Layout of `data`: packets stand one behind the other, each with HEADROOM bytes in front of its IP header, of which the
 * last VNET_BYTES hold the virtio-net header as the TUN device reads and writes it. A packet's IP header begins at
 * `off[i]`, a multiple of 16, and has `len[i]` bytes. The receiving link fills slots 0…count−1 and leaves at least
 * BORN_SLOTS slots and BORN_BYTES bytes, into which the engine writes packets of its own (ICMP errors, released
 * fragments) with `append`. Whoever holds the batch owns all of it; a link keeps nothing after `transmit` returns.
 *
 * The memory is made once, at start; nothing on the packet's way allocates.
 */

/** Bytes in front of each IP header: room for an outer header, then the vnet header. */
export const HEADROOM = 64;
/** struct virtio_net_hdr (10 bytes), directly in front of the IP header. */
export const VNET_BYTES = 10;
/** Packets a batch can hold. */
export const BATCH_SLOTS = 256;
/** The largest packet a TUN gives: 64 KiB of GSO. */
export const PACKET_BYTES = 65_536;
/** Slots and bytes that `receive` leaves for packets that the engine adds. */
export const BORN_SLOTS = 64;
export const BORN_BYTES = 256 * 1024;
const DATA_BYTES = 1024 * 1024 + PACKET_BYTES + HEADROOM + BORN_BYTES;

/** Words of `ctl`, shared with the addon. */
export const enum Ctl {
  /** Packets in the batch. */
  COUNT = 0,
  /** Bytes of `data` in use: where the next packet's headroom begins. */
  USED = 1,
  /** CLOCK_BOOTTIME when the batch was received: whole seconds (the unit of rows), and milliseconds modulo 2^32. */
  SECONDS = 2,
  MILLIS = 3,
  /** Site link that brought the batch: its number (index into Plan.links + 1), or 0: the TUN. */
  INGRESS = 4,
}

export class Batch {
  readonly ctl = new Int32Array(16);
  readonly data: Uint8Array;
  /** Big-endian reads and writes on `data`. */
  readonly view: DataView;
  readonly off = new Int32Array(BATCH_SLOTS);
  readonly len = new Int32Array(BATCH_SLOTS);

  // Written by parse. Addresses and port pairs as int32; ports = source << 16 | destination (see datapath/parse.ts).
  readonly src = new Int32Array(BATCH_SLOTS);
  readonly dst = new Int32Array(BATCH_SLOTS);
  readonly ports = new Int32Array(BATCH_SLOTS);
  /** IP protocol number. */
  readonly proto = new Uint8Array(BATCH_SLOTS);
  /** Offset of the layer 4 header in `data`. */
  readonly l4 = new Int32Array(BATCH_SLOTS);
  /** Bits of parse.ts: fragment, ICMP error, SYN… */
  readonly flags = new Int32Array(BATCH_SLOTS);

  // Written by match and admit.
  /** Flow handle (row · 2 + side), or −1. */
  readonly handle = new Int32Array(BATCH_SLOTS);
  /** Row generation that `handle` was found with. */
  readonly generation = new Int32Array(BATCH_SLOTS);
  readonly verdict = new Uint8Array(BATCH_SLOTS);

  // Written by rewrite, read by emit.
  /** Site link that the packet leaves by, its number as in Ctl.INGRESS; 0 = the TUN. */
  readonly out = new Uint8Array(BATCH_SLOTS);
  /** Packets to send, in order; what a link's `transmit` takes. */
  readonly list = new Int32Array(BATCH_SLOTS);

  constructor(bytes: number = DATA_BYTES) {
    const buffer = new ArrayBuffer(bytes);
    this.data = new Uint8Array(buffer);
    this.view = new DataView(buffer);
  }

  get count(): number {
    return this.ctl[Ctl.COUNT]!;
  }

  clear(): void {
    this.ctl[Ctl.COUNT] = 0;
    this.ctl[Ctl.USED] = 0;
    this.ctl[Ctl.INGRESS] = 0;
  }

  /**
   * Takes room for one packet of `bytes` behind the others, its vnet header zeroed. Returns the slot, or −1 when slots
   * or bytes have run out (the caller counts BATCH_FULL).
   */
  append(bytes: number): number {
    const slot = this.ctl[Ctl.COUNT]!;
    const off = this.ctl[Ctl.USED]! + HEADROOM;
    const end = (off + bytes + 15) & ~15;
    if (slot >= BATCH_SLOTS || end > this.data.length) return -1;
    this.data.fill(0, off - VNET_BYTES, off);
    this.off[slot] = off;
    this.len[slot] = bytes;
    this.out[slot] = 0;
    this.ctl[Ctl.COUNT] = slot + 1;
    this.ctl[Ctl.USED] = end;
    return slot;
  }
}
