/**
 * What every edge of the engine is: TUN queue, memory link, recorder, fault injector, later the site links.
 *
 * A link owns its descriptors, never the batch: it fills or reads slots during the call and keeps nothing. Both calls
 * return at once; waiting is the worker's business (native `pollerWait`).
 */
import { BATCH_SLOTS, type Batch, BORN_BYTES, BORN_SLOTS, Ctl } from '../batch.js';

export interface Link {
  readonly name: string;
  /**
   * Appends what is ready now to `batch` (which is empty when the worker calls). Returns how many packets came, 0 when
   * nothing is ready. Stamps batch.ctl SECONDS and MILLIS. Throws LinkLost when the link is gone (device deleted).
   */
  receive(batch: Batch): number;
  /** Sends the first `n` slots of `batch.list`, in that order. Returns how many the other side took. */
  transmit(batch: Batch, n: number): number;
  close(): void;
}

/** The other side of the link is gone for good; a new link has to be opened. */
export class LinkLost extends Error {
  override readonly name = 'LinkLost';
  constructor(
    /** Name of the link. */
    readonly link: string,
    message: string,
  ) {
    super(message);
  }
}

/** Slots that `receive` may fill; the rest of the batch is the engine's. */
export const RECEIVE_SLOTS = BATCH_SLOTS - BORN_SLOTS;

/** Bytes of `data` that `receive` may fill. */
export function receiveBytes(batch: Batch): number {
  return batch.data.length - BORN_BYTES;
}

/** Writes the time of a batch, for links that have a clock of their own. `millis`: milliseconds of CLOCK_BOOTTIME. */
export function stamp(batch: Batch, millis: number): void {
  batch.ctl[Ctl.SECONDS] = Math.floor(millis / 1000);
  batch.ctl[Ctl.MILLIS] = millis; // stored modulo 2^32
}

/** Milliseconds of CLOCK_BOOTTIME when the batch was received, put together again from its two words. */
export function stampedMillis(batch: Batch): number {
  const whole = batch.ctl[Ctl.SECONDS]! * 1000;
  return whole + ((batch.ctl[Ctl.MILLIS]! - whole) | 0);
}
