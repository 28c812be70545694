/**
 * A SYN from outside to a pool port that nobody holds gets no answer for 6 seconds (RFC 5382 REQ-4): it may be the other half
 * of a simultaneous open, whose SYN from inside is on its way. If that comes, the flow is there and nothing is said; if not,
 * and the plan asks for it, the sender is told "port unreachable". Without `rejectUnsolicited` nothing is remembered at all.
 *
 * Bounded: SLOTS SYNs; a scan that sends more gets fewer answers.
 */
import { type Batch, Ctl } from '../batch.js';
import { Verdict } from '../contract/verdict.js';
import { IcmpType, Unreachable } from '../wire/icmp.js';
import { Ipv4 } from '../wire/ipv4.js';
import type { Engine } from './engine.js';
import { replyError } from './reply.js';

const SLOTS = 256;
const WAIT_MS = 6000;
/** What an error quotes of a SYN: the largest IPv4 and TCP headers. */
const BYTES = 120;
/** Answers in one batch, at most: what a batch has room for. */
const DUE = 32;

export class Unsolicited {
  readonly #bytes = new Uint8Array(SLOTS * BYTES);
  readonly #lengths = new Int32Array(SLOTS);
  readonly #since = new Int32Array(SLOTS);
  #head = 0;
  #count = 0;

  /** Remembers the SYN in slot `i`. */
  note(batch: Batch, i: number): void {
    if (this.#count === SLOTS) return;
    const slot = (this.#head + this.#count++) % SLOTS;
    const length = Math.min(batch.len[i]!, BYTES);
    this.#bytes.set(batch.data.subarray(batch.off[i]!, batch.off[i]! + length), slot * BYTES);
    this.#lengths[slot] = length;
    this.#since[slot] = batch.ctl[Ctl.MILLIS]!;
  }

  /** Any SYN whose time has come? `millis`: CLOCK_BOOTTIME, as batches are stamped. */
  waits(millis: number): boolean {
    return this.#count > 0 && ((millis - this.#since[this.#head]!) | 0) >= WAIT_MS;
  }

  /**
   * Answers what is due into an empty batch, whose clock is set. The batch then holds the SYNs themselves (HELD: nobody sends
   * them) and the errors about them.
   */
  answer(engine: Engine, batch: Batch, millis: number): void {
    for (let n = 0; n < DUE && this.waits(millis); n++) {
      const slot = this.#head;
      this.#head = (this.#head + 1) % SLOTS;
      this.#count--;
      const length = this.#lengths[slot]!;
      const i = batch.append(length);
      if (i < 0) return;
      batch.data.set(this.#bytes.subarray(slot * BYTES, slot * BYTES + length), batch.off[i]!);
      this.#judge(engine, batch, i);
    }
  }

  #judge(engine: Engine, batch: Batch, i: number): void {
    const v = batch.view;
    const off = batch.off[i]!;
    batch.src[i] = v.getInt32(off + Ipv4.SRC);
    batch.dst[i] = v.getInt32(off + Ipv4.DST);
    batch.flags[i] = 0;
    const l4 = off + ((v.getUint8(off) & 15) << 2);
    const ports = v.getInt32(l4);
    const proto = v.getUint8(off + Ipv4.PROTO);
    const { table } = engine;
    const crossed =
      table.find(batch.src[i]!, batch.dst[i]!, ports, proto) >= 0 ||
      table.mappings.findOutside(proto, batch.dst[i]!, ports & 0xffff) >= 0;
    if (!crossed) replyError(engine, batch, i, IcmpType.UNREACHABLE, Unreachable.PORT, 0);
    batch.verdict[i] = Verdict.HELD;
  }
}
