/**
 * What every edge of the engine is: TUN queue, memory link, recorder, fault injector, later the site links.
 *
 * A link owns its descriptors, never the batch: it fills or reads slots during the call and keeps nothing. Both calls
 * return at once; waiting is the worker's business (native `pollerWait`).
 */
import type { Batch } from '../batch.js';

export interface Link {
  readonly name: string;
  /**
   * Appends what is ready now to `batch` (which is empty when the worker calls). Returns how many packets came, 0 when
   * nothing is ready. Stamps batch.ctl SECONDS and MILLIS. Throws when the link is gone (device deleted).
   */
  receive(batch: Batch): number;
  /** Sends the first `n` slots of `batch.list`, in that order. Returns how many the other side took. */
  transmit(batch: Batch, n: number): number;
  close(): void;
}
