/**
 * Captured packets on their way from a worker to control: a ring in shared memory, one a worker, one writer and one reader, no
 * locks. HEAD and TAIL count bytes modulo 2^32; a record never wraps around the end (a filler stands there instead), and a
 * record that has no room is dropped and counted. Without a capture there is no ring, and the worker looks at one field.
 */
export const enum Ring {
  HEAD = 0,
  TAIL = 1,
  DROPPED = 2,
}
export const RING_HEADER = 64;
/** A power of two, far above the largest record. */
export const RING_BYTES = 4 * 1024 * 1024;

/** Int32 words of a record, in front of the packet's bytes. */
export const enum Captured {
  /** Bytes of the whole record, a multiple of 8. */
  SIZE = 0,
  /** Point | verdict << 8; FILLER: nothing up to the ring's end. */
  WHAT = 1,
  /** CLOCK_BOOTTIME milliseconds modulo 2^32. */
  MILLIS = 2,
  /** Bytes of the packet, and how many of them follow. */
  LENGTH = 3,
  KEPT = 4,
}
export const CAPTURED_BYTES = 24;
export const FILLER = -1;

/** As it came in; as it leaves. */
export const enum Point {
  PRE = 1,
  POST = 2,
}

/** Every field that is given must fit, on either end of the packet. */
export interface CaptureFilter {
  readonly address?: { readonly prefix: number; readonly mask: number };
  readonly port?: number;
  /** IP protocol number. */
  readonly proto?: number;
  /** Sum of Points. */
  readonly points: number;
  /** Bytes that are kept of each packet. */
  readonly snap: number;
}

export function newRing(): SharedArrayBuffer {
  return new SharedArrayBuffer(RING_HEADER + RING_BYTES);
}
