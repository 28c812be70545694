/**
 * Netlink messages as bytes: writing payloads, reading messages and attributes. Pure; no socket here.
 *
 * A message is `nlmsghdr` (16 bytes: length, type, flags, sequence, port id), then a fixed header that depends on the
 * type (ifinfomsg, tcmsg…), then attributes: 16 bit length (with its own 4 bytes), 16 bit type, value, padded to 4.
 * Numbers are in host order, which is little endian on every machine that the addon is built for; what is in network
 * order (addresses, ports, everything of nf_tables) has writers and readers of its own (`be…`).
 */

export const NLMSG_HEADER = 16;
/** Message types below 16 are netlink's own. */
export const NLMSG_NOOP = 1;
export const NLMSG_ERROR = 2;
export const NLMSG_DONE = 3;

export const NLM_F_REQUEST = 0x1;
const NLM_F_MULTI = 0x2;
export const NLM_F_ACK = 0x4;
/** On a message of a dump: the table changed while it was read, so the dump is torn. */
const NLM_F_DUMP_INTR = 0x10;
export const NLM_F_DUMP = 0x300;
export const NLM_F_REPLACE = 0x100;
export const NLM_F_EXCL = 0x200;
export const NLM_F_CREATE = 0x400;
/** On an error: the request is not quoted in full; attributes (extended ack) follow. */
const NLM_F_CAPPED = 0x100;
const NLM_F_ACK_TLVS = 0x200;

const NLA_F_NESTED = 0x8000;
const NLA_TYPE_MASK = 0x3fff;
const NLMSGERR_ATTR_MSG = 1;

function align(length: number): number {
  return (length + 3) & ~3;
}

/** A message as it came: `body` is what follows the 16-byte header. */
export interface Message {
  readonly type: number;
  readonly flags: number;
  readonly sequence: number;
  readonly body: Uint8Array;
}

/** Attributes by type. Where a type comes several times, the last one counts (lists: `attributeList`). */
export type Attributes = ReadonlyMap<number, Uint8Array>;

/** Grows as it is written. Methods without `attr` write fields of the fixed header; all of them return `this`. */
export class Payload {
  #bytes = new Uint8Array(256);
  #view = new DataView(this.#bytes.buffer);
  #length = 0;

  u8(value: number): this {
    const at = this.#take(1);
    this.#view.setUint8(at, value);
    return this;
  }

  u16(value: number): this {
    const at = this.#take(2);
    this.#view.setUint16(at, value, true);
    return this;
  }

  u32(value: number): this {
    const at = this.#take(4);
    this.#view.setUint32(at, value, true);
    return this;
  }

  be16(value: number): this {
    const at = this.#take(2);
    this.#view.setUint16(at, value);
    return this;
  }

  be32(value: number): this {
    const at = this.#take(4);
    this.#view.setUint32(at, value);
    return this;
  }

  zeros(count: number): this {
    this.#take(count);
    return this;
  }

  raw(bytes: Uint8Array): this {
    const at = this.#take(bytes.length);
    this.#bytes.set(bytes, at);
    return this;
  }

  attr(type: number, value: Uint8Array): this {
    return this.#attribute(type, () => this.raw(value));
  }

  attrU8(type: number, value: number): this {
    return this.#attribute(type, () => this.u8(value));
  }

  attrU16(type: number, value: number): this {
    return this.#attribute(type, () => this.u16(value));
  }

  attrU32(type: number, value: number): this {
    return this.#attribute(type, () => this.u32(value));
  }

  attrBe32(type: number, value: number): this {
    return this.#attribute(type, () => this.be32(value));
  }

  /** With the trailing NUL that the kernel's policies ask for. */
  attrText(type: number, value: string): this {
    return this.#attribute(type, () => this.raw(Buffer.from(value, 'utf8')).u8(0));
  }

  nest(type: number, inner: (payload: this) => void): this {
    return this.#attribute(type | NLA_F_NESTED, () => inner(this));
  }

  /** A copy of what was written. */
  bytes(): Uint8Array {
    return this.#bytes.slice(0, this.#length);
  }

  #attribute(type: number, write: () => void): this {
    const start = this.#take(4);
    write();
    const length = this.#length - start;
    if (length > 0xffff)
      throw new RangeError(`netlink attribute ${type & NLA_TYPE_MASK} has ${length} bytes; 65535 fit`);
    this.#view.setUint16(start, length, true);
    this.#view.setUint16(start + 2, type, true);
    this.#take(align(this.#length) - this.#length);
    return this;
  }

  /** Reserves zeroed bytes at the end and returns their offset. Call it before reading #bytes or #view: it may replace both. */
  #take(count: number): number {
    const at = this.#length;
    this.#length += count;
    if (this.#length > this.#bytes.length) {
      const grown = new Uint8Array(Math.max(this.#length, this.#bytes.length * 2));
      grown.set(this.#bytes);
      this.#bytes = grown;
      this.#view = new DataView(grown.buffer);
    }
    return at;
  }
}

export function encodeMessage(type: number, flags: number, sequence: number, payload: Uint8Array): Uint8Array {
  const length = NLMSG_HEADER + payload.length;
  return new Payload().u32(length).u16(type).u16(flags).u32(sequence).u32(0).raw(payload).bytes();
}

/**
 * The messages of one datagram. Bodies are copies, because the receive buffer is used again. A length field that points
 * past the datagram ends the reading: the kernel does not send such, so it means that the buffer was too small.
 */
export function decodeMessages(datagram: Uint8Array): Message[] {
  const view = viewOf(datagram);
  const messages: Message[] = [];
  for (let at = 0; at + NLMSG_HEADER <= datagram.length; ) {
    const length = view.getUint32(at, true);
    if (length < NLMSG_HEADER || at + length > datagram.length) {
      throw new RangeError(
        `netlink message of ${length} bytes does not fit its datagram (${datagram.length - at} left)`,
      );
    }
    messages.push({
      type: view.getUint16(at + 4, true),
      flags: view.getUint16(at + 6, true),
      sequence: view.getUint32(at + 8, true),
      body: datagram.slice(at + NLMSG_HEADER, at + length),
    });
    at += align(length);
  }
  return messages;
}

/** Attributes as they stand, in order. Reading stops at the first one that is cut off or too short. */
export function attributeList(bytes: Uint8Array, offset = 0): { readonly type: number; readonly value: Uint8Array }[] {
  const view = viewOf(bytes);
  const list: { type: number; value: Uint8Array }[] = [];
  for (let at = offset; at + 4 <= bytes.length; ) {
    const length = view.getUint16(at, true);
    if (length < 4 || at + length > bytes.length) break;
    list.push({ type: view.getUint16(at + 2, true) & NLA_TYPE_MASK, value: bytes.subarray(at + 4, at + length) });
    at += align(length);
  }
  return list;
}

/** `offset` = size of the fixed header that stands before the attributes. */
export function attributes(bytes: Uint8Array | undefined, offset = 0): Attributes {
  const map = new Map<number, Uint8Array>();
  if (bytes) for (const { type, value } of attributeList(bytes, offset)) map.set(type, value);
  return map;
}

/** Readers of attribute values; undefined where the attribute is missing or too short. */
export function u8(value: Uint8Array | undefined): number | undefined {
  return value?.[0];
}

export function u32(value: Uint8Array | undefined): number | undefined {
  return value && value.length >= 4 ? viewOf(value).getUint32(0, true) : undefined;
}

export function be32(value: Uint8Array | undefined): number | undefined {
  return value && value.length >= 4 ? viewOf(value).getUint32(0) : undefined;
}

export function text(value: Uint8Array | undefined): string | undefined {
  if (!value) return undefined;
  const end = value.indexOf(0);
  return Buffer.from(value.subarray(0, end < 0 ? value.length : end)).toString('utf8');
}

export function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

/** The table changed while this message's dump was read. */
export function isTorn(message: Message): boolean {
  return (message.flags & NLM_F_MULTI) !== 0 && (message.flags & NLM_F_DUMP_INTR) !== 0;
}

/**
 * What an NLMSG_ERROR or NLMSG_DONE says: a positive errno (0 = acknowledged) and the kernel's own words, if it has any.
 * An error quotes the request before the words (in full unless CAPPED); a DONE does not.
 */
export function readVerdict(message: Message): { readonly errno: number; readonly extack: string | undefined } {
  const { body, type, flags } = message;
  if (body.length < 4) return { errno: 0, extack: undefined };
  const view = viewOf(body);
  const errno = -view.getInt32(0, true);
  if ((flags & NLM_F_ACK_TLVS) === 0) return { errno, extack: undefined };
  let at = 4;
  if (type === NLMSG_ERROR && body.length >= 4 + NLMSG_HEADER) {
    at += (flags & NLM_F_CAPPED) !== 0 ? NLMSG_HEADER : align(view.getUint32(4, true));
  }
  return { errno, extack: text(attributes(body, at).get(NLMSGERR_ATTR_MSG)) };
}
