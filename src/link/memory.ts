/**
 * Links over memory, for tests and benches: no kernel, and no clock but the one they are given.
 *
 * MemoryLink is a queue in and a list out, or two of them a pair; it copies packets one by one and is for looking at bytes.
 * ReplayLink plays one set of packets again and again and only counts what comes out; it is for measuring the engine. Its
 * packets are laid out once, at start, exactly as a batch holds them (headroom included), so that receiving a batch is one
 * copy of some kilobytes and allocates nothing.
 *
 * Both fill a batch as the addon's tunReceive does: same layout, same limits.
 */
import { type Batch, Ctl, HEADROOM, PACKET_BYTES, VNET_BYTES } from '../batch.js';
import { native } from '../native.js';
import { type Link, RECEIVE_SLOTS, receiveBytes, stamp } from './link.js';

/** Milliseconds of CLOCK_BOOTTIME, or a test's own time. */
export type Clock = () => number;

/** A packet outside of a batch. Both arrays are views of one buffer: the vnet header, then the IP packet. */
export interface MemoryPacket {
  readonly vnet: Uint8Array;
  readonly bytes: Uint8Array;
}

const noVnet = new Uint8Array(VNET_BYTES);

/** Copies an IP packet, and its vnet header if it has one (10 bytes; else zeros: no offload), into a buffer of its own. */
export function memoryPacket(bytes: Uint8Array, vnet: Uint8Array = noVnet): MemoryPacket {
  if (vnet.length !== VNET_BYTES) throw new RangeError(`a vnet header has ${VNET_BYTES} bytes, not ${vnet.length}`);
  if (bytes.length > PACKET_BYTES)
    throw new RangeError(`a packet has at most ${PACKET_BYTES} bytes, not ${bytes.length}`);
  const copy = new Uint8Array(VNET_BYTES + bytes.length);
  copy.set(vnet);
  copy.set(bytes, VNET_BYTES);
  return { vnet: copy.subarray(0, VNET_BYTES), bytes: copy.subarray(VNET_BYTES) };
}

/** Copies a packet out of a slot. */
export function copyOut(batch: Batch, slot: number): MemoryPacket {
  const off = batch.off[slot]!;
  return memoryPacket(batch.data.subarray(off, off + batch.len[slot]!), batch.data.subarray(off - VNET_BYTES, off));
}

/** True while `receive` may put one more packet of the largest size into the batch. */
export function mayReceive(batch: Batch): boolean {
  return batch.ctl[Ctl.COUNT]! < RECEIVE_SLOTS && batch.ctl[Ctl.USED]! + HEADROOM + PACKET_BYTES <= receiveBytes(batch);
}

/** Appends a packet behind the others. Ask `mayReceive` first. */
export function copyIn(batch: Batch, packet: MemoryPacket): number {
  const slot = batch.append(packet.bytes.length);
  const off = batch.off[slot]!;
  batch.data.set(packet.vnet, off - VNET_BYTES);
  batch.data.set(packet.bytes, off);
  return slot;
}

export class MemoryLink implements Link {
  readonly name: string;
  /** What was transmitted, oldest first, unless the link is one of a pair. */
  readonly sent: MemoryPacket[] = [];
  readonly #clock: Clock;
  #queue: MemoryPacket[] = [];
  #peer: MemoryLink | null = null;

  constructor(name = 'memory', clock: Clock = native.boottime) {
    this.name = name;
    this.#clock = clock;
  }

  /** Two links; what one transmits the other receives. */
  static pair(clock: Clock = native.boottime): [MemoryLink, MemoryLink] {
    const a = new MemoryLink('memory-a', clock);
    const b = new MemoryLink('memory-b', clock);
    a.#peer = b;
    b.#peer = a;
    return [a, b];
  }

  /** Packets that `receive` has not handed out yet. */
  get waiting(): number {
    return this.#queue.length;
  }

  /** Puts a copy of an IP packet where `receive` will find it. */
  push(bytes: Uint8Array, vnet?: Uint8Array): void {
    this.#queue.push(memoryPacket(bytes, vnet));
  }

  receive(batch: Batch): number {
    stamp(batch, this.#clock());
    let n = 0;
    while (n < this.#queue.length && mayReceive(batch)) copyIn(batch, this.#queue[n++]!);
    this.#queue = this.#queue.slice(n);
    return n;
  }

  transmit(batch: Batch, n: number): number {
    const out = this.#peer === null ? this.sent : this.#peer.#queue;
    for (let i = 0; i < n; i++) out.push(copyOut(batch, batch.list[i]!));
    return n;
  }

  /** Takes all that was transmitted so far. */
  take(): MemoryPacket[] {
    return this.sent.splice(0);
  }

  close(): void {
    this.#queue = [];
  }
}

/** Some packets as a batch holds them, offsets counted from the start of the chunk. */
interface Chunk {
  readonly image: Uint8Array;
  readonly off: Int32Array;
  readonly len: Int32Array;
}

export interface ReplayOptions {
  /** Packets a batch, 1…RECEIVE_SLOTS (the default). */
  readonly batch?: number;
  /** How often the whole set is played; default: for ever. */
  readonly laps?: number;
  readonly clock?: Clock;
}

/** Bytes after which a chunk takes no more: those of a batch of the usual size. */
const CHUNK_BYTES = 1024 * 1024;

const bytesOf = (packet: Uint8Array | MemoryPacket) => (packet instanceof Uint8Array ? packet : packet.bytes);

/** Copies the packets: those of one chunk are looked at, and then nobody needs them any more. */
function* chunksOf(packets: Iterable<Uint8Array | MemoryPacket>, perBatch: number): Generator<Chunk> {
  let taken: (Uint8Array | MemoryPacket)[] = [];
  let used = 0;
  for (const packet of packets) {
    taken.push(packet);
    used = (used + HEADROOM + bytesOf(packet).length + 15) & ~15;
    if (taken.length < perBatch && used <= CHUNK_BYTES) continue;
    yield chunkOf(taken, used);
    taken = [];
    used = 0;
  }
  if (taken.length > 0) yield chunkOf(taken, used);
}

function chunkOf(packets: readonly (Uint8Array | MemoryPacket)[], used: number): Chunk {
  const n = packets.length;
  const chunk = { image: new Uint8Array(used), off: new Int32Array(n), len: new Int32Array(n) };
  let at = 0;
  packets.forEach((packet, i) => {
    const bytes = bytesOf(packet);
    const off = at + HEADROOM;
    if (!(packet instanceof Uint8Array)) chunk.image.set(packet.vnet, off - VNET_BYTES);
    chunk.image.set(bytes, off);
    chunk.off[i] = off;
    chunk.len[i] = bytes.length;
    at = (off + bytes.length + 15) & ~15;
  });
  return chunk;
}

export class ReplayLink implements Link {
  readonly name = 'replay';
  /** What was transmitted. */
  sentPackets = 0;
  sentBytes = 0;
  readonly #chunks: readonly Chunk[];
  readonly #clock: Clock;
  #next = 0;
  #laps: number;

  constructor(packets: Iterable<Uint8Array | MemoryPacket>, options: ReplayOptions = {}) {
    const perBatch = options.batch ?? RECEIVE_SLOTS;
    if (!(perBatch >= 1 && perBatch <= RECEIVE_SLOTS)) {
      throw new RangeError(`a batch takes 1 to ${RECEIVE_SLOTS} packets, not ${perBatch}`);
    }
    this.#chunks = [...chunksOf(packets, perBatch)];
    if (this.#chunks.length === 0) throw new RangeError('nothing to replay');
    this.#laps = options.laps ?? Number.POSITIVE_INFINITY;
    this.#clock = options.clock ?? native.boottime;
  }

  receive(batch: Batch): number {
    stamp(batch, this.#clock());
    if (this.#laps <= 0) return 0;
    const { image, off, len } = this.#chunks[this.#next]!;
    const n = off.length;
    const first = batch.ctl[Ctl.COUNT]!;
    const base = batch.ctl[Ctl.USED]!;
    if (first + n > RECEIVE_SLOTS || base + image.length > receiveBytes(batch)) return 0;
    batch.data.set(image, base);
    batch.off.set(off, first);
    batch.len.set(len, first);
    if (base > 0) for (let i = first; i < first + n; i++) batch.off[i]! += base;
    batch.ctl[Ctl.COUNT] = first + n;
    batch.ctl[Ctl.USED] = base + image.length;
    if (++this.#next === this.#chunks.length) {
      this.#next = 0;
      this.#laps--;
    }
    return n;
  }

  transmit(batch: Batch, n: number): number {
    let bytes = 0;
    for (let i = 0; i < n; i++) bytes += batch.len[batch.list[i]!]!;
    this.sentPackets += n;
    this.sentBytes += bytes;
    return n;
  }

  close(): void {
    this.#laps = 0;
  }
}
