/**
 * The four messages on the wire (whitepaper, sections 5.4.2 to 5.4.7): byte offsets and the one check of lengths. All words are little endian.
 *
 *     initiation  type 1, sender, ephemeral 32, static 32+16, timestamp 12+16, mac1 16, mac2 16                 148 bytes
 *     response    type 2, sender, receiver, ephemeral 32, nothing 0+16, mac1 16, mac2 16                          92 bytes
 *     cookie      type 3, receiver, nonce 24, cookie 16+16                                                        64 bytes
 *     transport   type 4, receiver, counter 8, packet n+16                                                     32 + n bytes
 */
import { COOKIE_REPLY_BYTES, INITIATION_BYTES, OVERHEAD_BYTES, RESPONSE_BYTES } from './constants.js';

export const Message = { NONE: 0, INITIATION: 1, RESPONSE: 2, COOKIE_REPLY: 3, TRANSPORT: 4 } as const;
export type MessageType = (typeof Message)[keyof typeof Message];

export const MAC_BYTES = 16;
export const TIMESTAMP_BYTES = 12;

/** Offsets. What the Noise handshake makes is the part from EPHEMERAL up to MAC1. */
export const Initiation = { SENDER: 4, EPHEMERAL: 8, STATIC: 40, TIMESTAMP: 88, MAC1: 116, MAC2: 132 } as const;
export const Response = { SENDER: 4, RECEIVER: 8, EPHEMERAL: 12, EMPTY: 44, MAC1: 60, MAC2: 76 } as const;
export const CookieReply = { RECEIVER: 4, NONCE: 8, COOKIE: 32 } as const;
export const Transport = { RECEIVER: 4, COUNTER: 8, PACKET: 16 } as const;

/** Type of the message in view[off…off+len), or NONE: unknown type, reserved bytes that are not zero, or a length that the type cannot have. */
export function messageType(view: DataView, off: number, len: number): MessageType {
  if (len < OVERHEAD_BYTES) return Message.NONE;
  // The reserved bytes are checked with the type: one word.
  switch (view.getInt32(off, true)) {
    case Message.TRANSPORT:
      return Message.TRANSPORT;
    case Message.INITIATION:
      return len === INITIATION_BYTES ? Message.INITIATION : Message.NONE;
    case Message.RESPONSE:
      return len === RESPONSE_BYTES ? Message.RESPONSE : Message.NONE;
    case Message.COOKIE_REPLY:
      return len === COOKIE_REPLY_BYTES ? Message.COOKIE_REPLY : Message.NONE;
    default:
      return Message.NONE;
  }
}

/** Handshake messages end in mac1 and mac2. */
export function mac1Offset(len: number): number {
  return len - 2 * MAC_BYTES;
}

export function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

/** An initiation with everything but the Noise part and the MACs. */
export function newInitiation(sender: number): Uint8Array {
  const message = new Uint8Array(INITIATION_BYTES);
  const view = viewOf(message);
  view.setUint32(0, Message.INITIATION, true);
  view.setInt32(Initiation.SENDER, sender, true);
  return message;
}

export function newResponse(sender: number, receiver: number): Uint8Array {
  const message = new Uint8Array(RESPONSE_BYTES);
  const view = viewOf(message);
  view.setUint32(0, Message.RESPONSE, true);
  view.setInt32(Response.SENDER, sender, true);
  view.setInt32(Response.RECEIVER, receiver, true);
  return message;
}

/** The Noise payload of an initiation: TAI64N, rounded down so that it tells little about the clock; big endian. */
export function timestampOf(epochMillis: number): Uint8Array {
  const out = new Uint8Array(TIMESTAMP_BYTES);
  const view = viewOf(out);
  const seconds = Math.floor(epochMillis / 1000);
  // TAI64: 2^62 plus the seconds of TAI since 1970, which WireGuard takes 10 seconds ahead of Unix time.
  const tai = seconds + 10;
  view.setUint32(0, 0x40000000 + Math.floor(tai / 2 ** 32));
  view.setUint32(4, tai >>> 0);
  const nanos = Math.floor((epochMillis - seconds * 1000) * 1e6);
  view.setUint32(8, (nanos & ~0xffffff) >>> 0);
  return out;
}

/** Negative, 0 or positive, as memcmp. */
export function compareTimestamps(a: Uint8Array, b: Uint8Array): number {
  for (let i = 0; i < TIMESTAMP_BYTES; i++) {
    const difference = a[i]! - b[i]!;
    if (difference !== 0) return difference;
  }
  return 0;
}

/** The next timestamp that is greater, for a clock that stood still or was set back. */
export function laterTimestamp(stamp: Uint8Array): Uint8Array {
  const out = stamp.slice();
  for (let i = TIMESTAMP_BYTES - 1; i >= 0; i--) {
    out[i]! += 1;
    if (out[i] !== 0) break;
  }
  return out;
}
