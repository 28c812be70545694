/**
 * Frames on their way into a tunnel or out of it: what batch.ts is to the engine, for Ethernet. Slots 0…n.
 *
 * From the TAP, the caller writes `off` and `len` (an Ethernet frame without FCS in `data`, VXLAN_BYTES free in front of it, its checksums complete) and
 * `segment`: 0, or for a TCP or UDP super-frame the payload bytes that each frame is to carry (gso_size). What the endpoint leaves:
 * - `outcome` (outcome.ts), and `off` and `len` again: dropping a VLAN tag moves them;
 * - `out` pairs, in order: frame `outFrame[k]` goes to remote `outRemote[k]`. The VXLAN header stands in front of the frame, written once for all its copies.
 *   A super-frame has none: whoever cuts it up writes `Vtep.header` in front of every piece, and its vnet header is still there to cut it by;
 * - `source` (which of the bound source ports) and `tos` (outer DSCP and ECN), one for all copies of a frame;
 * - `answers` slots in `answer`: frames (ARP or neighbour replies) for the TAP, in place of the requests.
 *
 * From the tunnel, the caller writes `off` and `len` (a UDP payload in `data`), `endpoint` (who sent it), `tos` (of its IP header, −1 = not known) and
 * `arrival` (bits of Arrival). What the endpoint leaves: `outcome` (PASS: for the TAP), `off` and `len` of the inner frame, and `remote`. The eight bytes of
 * header in front of the frame are free again: with two more, a vnet header fits.
 *
 * All memory is made once; whoever holds the columns owns all of it, and the endpoint keeps nothing after a call.
 */
import { ENDPOINT_WORDS } from '../wireguard/endpoint.js';

/** How a datagram came. */
export const Arrival = {
  /** In fragments (IP_RECVFRAGSIZE). */
  FRAGMENTED: 1,
  /** Longer than its slot (MSG_TRUNC). */
  TRUNCATED: 2,
} as const;

export class Columns {
  readonly view: DataView;
  readonly off: Int32Array;
  readonly len: Int32Array;
  readonly segment: Int32Array;
  readonly arrival: Uint8Array;
  readonly tos: Int16Array;
  readonly source: Int32Array;
  /** Remote that it came from; −1 = a stranger. */
  readonly remote: Int32Array;
  readonly outcome: Uint8Array;
  /** ENDPOINT_WORDS words a slot. */
  readonly endpoint: Int32Array;

  out = 0;
  readonly outFrame: Int32Array;
  readonly outRemote: Int32Array;
  answers = 0;
  readonly answer: Int32Array;

  constructor(
    readonly slots: number,
    readonly data: Uint8Array,
    /** Pairs that one batch may give: bounds what a flood of broadcasts to many remotes makes. */
    readonly copies: number = slots * 8,
  ) {
    const column = () => new Int32Array(slots);
    this.view = new DataView(data.buffer, data.byteOffset, data.byteLength);
    this.off = column();
    this.len = column();
    this.segment = column();
    this.arrival = new Uint8Array(slots);
    this.tos = new Int16Array(slots).fill(-1);
    this.source = column();
    this.remote = column();
    this.outcome = new Uint8Array(slots);
    this.endpoint = new Int32Array(slots * ENDPOINT_WORDS);
    this.outFrame = new Int32Array(copies);
    this.outRemote = new Int32Array(copies);
    this.answer = column();
  }
}
