/**
 * Packets on their way into a tunnel or out of it: what batch.ts is to the engine, for transport messages.
 *
 * Sealing, slots 0…n: the caller writes `from` and `len` (an inner IP packet in `source`) and `off` (where the message shall stand in `data`:
 * 32 bytes more than the padded packet); the device writes `pad`, `key`, `lo`, `hi` and `receiver`, and the addon the message.
 * In place, without a copy, when `source` is `data` and `from` is off + 16.
 *
 * Opening, slots 0…n: the caller writes `off` and `len` (a datagram in `data`) and `endpoint` (who sent it); the device writes `key`, and
 * the addon decrypts in place: the inner packet stands at off + 16.
 *
 * What both leave behind: `len` (bytes of the message or of the inner packet), `outcome` (outcome.ts: only PASS goes on) and `peer`.
 * All memory is made once; whoever holds the columns owns all of it, and the device keeps nothing after a call.
 */
import { native } from '../../native.js';
import { ENDPOINT_WORDS } from './endpoint.js';

export class Columns {
  readonly view: DataView;
  readonly sourceView: DataView;
  readonly from: Int32Array;
  readonly off: Int32Array;
  readonly len: Int32Array;
  /** Zero bytes behind the plaintext. */
  readonly pad: Int32Array;
  /** Slot in the key ring; −1 = nobody's. */
  readonly key: Int32Array;
  /** The counter's low and high word. */
  readonly lo: Int32Array;
  readonly hi: Int32Array;
  readonly receiver: Int32Array;
  /** Peer.id, −1 = none. */
  readonly peer: Int32Array;
  readonly outcome: Uint8Array;
  /** ECN bits of the outer header (RFC 6040): to be sent with, or received with. */
  readonly ecn: Uint8Array;
  /** ENDPOINT_WORDS words a slot: whom it came from, or is to be sent to. */
  readonly endpoint: Int32Array;
  /** Ids in the addon: of the cipher's half and of the sockets'. */
  readonly id: number;
  readonly datagrams: number;

  constructor(
    readonly slots: number,
    readonly data: Uint8Array,
    readonly source: Uint8Array = data,
  ) {
    const column = () => new Int32Array(slots);
    this.view = new DataView(data.buffer, data.byteOffset, data.byteLength);
    this.sourceView = new DataView(source.buffer, source.byteOffset, source.byteLength);
    this.from = column();
    this.off = column();
    this.len = column();
    this.pad = column();
    this.key = column();
    this.lo = column();
    this.hi = column();
    this.receiver = column();
    this.peer = column();
    this.outcome = new Uint8Array(slots);
    this.ecn = new Uint8Array(slots);
    this.endpoint = new Int32Array(slots * ENDPOINT_WORDS);
    const { from, off, len, pad, key, lo, hi, receiver, endpoint, ecn, outcome } = this;
    this.id = native.cryptoRegister(data, source, from, off, len, pad, key, lo, hi, receiver);
    this.datagrams = native.datagramsRegister(data, from, off, len, endpoint, ecn, outcome);
  }

  close(): void {
    native.cryptoRelease(this.id);
    native.datagramsRelease(this.datagrams);
  }
}
