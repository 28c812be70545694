/**
 * `tungate capture`: rings of the workers → one pcapng stream (draft-ietf-opsawg-pcapng), with an interface for each point and
 * the verdict as comment of each packet. Control polls; a reader that is too slow costs records, which are counted, and never a
 * packet.
 */
import {
  CAPTURED_BYTES,
  Captured,
  type CaptureFilter,
  FILLER,
  newRing,
  Point,
  RING_BYTES,
  RING_HEADER,
  Ring,
} from '../contract/capture.js';
import { VERDICTS } from '../contract/verdict.js';
import { native } from '../native.js';
import { Refused } from './refused.js';
import type { Router } from './router.js';

const POLL_MS = 20;
/** LINKTYPE_IPV4. (LINKTYPE_RAW has another number inside libpcap, which then refuses a second interface of it.) */
const IPV4 = 228;
const NAMES = ['pre-nat', 'post-nat'];
/** Bytes that may wait for a reader. */
const MAX_WAITING = 8 * 1024 * 1024;

/** Takes pieces of the stream; false when it has had enough. */
export interface Sink {
  write(bytes: Uint8Array): boolean;
  /** Bytes that wait to be taken. */
  readonly writableLength: number;
}

export class Captures {
  readonly #router: Router;
  #busy = false;

  constructor(router: Router) {
    this.#router = router;
  }

  /** Writes until the returned function is called. Throws Refused while another capture runs. */
  async start(filter: CaptureFilter, sink: Sink): Promise<() => Promise<void>> {
    const { workers, phase } = this.#router;
    if (!workers || phase !== 'ready') throw new Refused(409, `the router is ${phase}`);
    if (this.#busy) throw new Refused(409, 'another capture runs; one at a time');
    this.#busy = true;
    const rings = Array.from({ length: workers.size }, newRing);
    sink.write(head(filter.snap));
    workers.capture(rings, filter);
    const timer = setInterval(() => {
      if (sink.writableLength < MAX_WAITING) for (const ring of rings) drain(ring, sink);
    }, POLL_MS);
    return async () => {
      if (!this.#busy) return;
      clearInterval(timer);
      workers.capture([], null);
      for (const ring of rings) drain(ring, sink);
      sink.write(statistics(rings));
      this.#busy = false;
    };
  }
}

/** Moves what is in a ring into the stream. */
export function drain(ring: SharedArrayBuffer, sink: Sink): void {
  const header = new Int32Array(ring, 0, RING_HEADER / 4);
  const words = new Int32Array(ring, RING_HEADER, RING_BYTES / 4);
  const bytes = new Uint8Array(ring, RING_HEADER, RING_BYTES);
  const head = Atomics.load(header, Ring.HEAD);
  let tail = header[Ring.TAIL]!;
  const blocks: Uint8Array[] = [];
  // Milliseconds of the wall clock at boot; the ring has the low 32 bits of those since.
  const now = native.boottime();
  const boot = Date.now() - now;
  while (tail !== head) {
    const at = tail & (RING_BYTES - 1);
    const word = at >>> 2;
    const what = words[word + Captured.WHAT]!;
    if (what !== FILLER) {
      const millis = now - ((now - words[word + Captured.MILLIS]!) >>> 0);
      const kept = words[word + Captured.KEPT]!;
      const packet = bytes.subarray(at + CAPTURED_BYTES, at + CAPTURED_BYTES + kept);
      blocks.push(packetBlock(what, boot + millis, words[word + Captured.LENGTH]!, packet));
    }
    tail = (tail + words[word + Captured.SIZE]!) | 0;
  }
  if (blocks.length > 0) sink.write(Buffer.concat(blocks));
  Atomics.store(header, Ring.TAIL, tail);
}

function block(type: number, ...parts: readonly Uint8Array[]): Buffer {
  const body = Buffer.concat(parts);
  const size = Buffer.alloc(4);
  size.writeUInt32LE(body.length + 12);
  const kind = Buffer.alloc(4);
  kind.writeUInt32LE(type);
  return Buffer.concat([kind, size, body, size]);
}

function option(code: number, value: Uint8Array): Buffer {
  const result = Buffer.alloc(4 + ((value.length + 3) & ~3));
  result.writeUInt16LE(code, 0);
  result.writeUInt16LE(value.length, 2);
  result.set(value, 4);
  return result;
}

const END = Buffer.alloc(4);
const text = (value: string) => Buffer.from(value, 'utf8');

/** Section header and an interface for each point; times are milliseconds. */
function head(snap: number): Buffer {
  const section = Buffer.alloc(16);
  section.writeUInt32LE(0x1a2b3c4d, 0);
  section.writeUInt16LE(1, 4);
  section.fill(0xff, 8);
  const interfaces = NAMES.map((name) => {
    const fixed = Buffer.alloc(8);
    fixed.writeUInt16LE(IPV4, 0);
    fixed.writeUInt32LE(snap, 4);
    return block(1, fixed, option(2, text(name)), option(9, Buffer.of(3)), END);
  });
  return Buffer.concat([block(0x0a0d0d0a, section, option(4, text('tungate')), END), ...interfaces]);
}

function packetBlock(what: number, millis: number, length: number, packet: Uint8Array): Buffer {
  const fixed = Buffer.alloc(20);
  const time = BigInt(Math.floor(millis));
  fixed.writeUInt32LE((what & 0xff) === Point.PRE ? 0 : 1, 0);
  fixed.writeUInt32LE(Number(time >> 32n), 4);
  fixed.writeUInt32LE(Number(time & 0xffffffffn), 8);
  fixed.writeUInt32LE(packet.length, 12);
  fixed.writeUInt32LE(length, 16);
  const { name, fate } = VERDICTS[what >>> 8]!;
  const padding = Buffer.alloc(-packet.length & 3);
  return block(6, fixed, packet, padding, option(1, text(`${fate}: ${name}`)), END);
}

/** How many packets had no room, for each interface alike: they are not told apart when they are dropped. */
function statistics(rings: readonly SharedArrayBuffer[]): Buffer {
  const dropped = rings.reduce((sum, ring) => sum + new Int32Array(ring)[Ring.DROPPED]!, 0);
  const fixed = Buffer.alloc(12);
  const count = Buffer.alloc(8);
  count.writeBigUInt64LE(BigInt(dropped));
  return block(5, fixed, option(5, count), END);
}
