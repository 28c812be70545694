/** The addon's numbers for batches, of this thread: a batch is made known to it once. */
import type { Batch } from '../batch.js';
import { native } from '../native.js';
import { RECEIVE_SLOTS, receiveBytes } from './link.js';

const ids = new WeakMap<Batch, number>();
/** The addon keeps a batch's arrays, not the Batch: when that is collected nobody can name them any more. */
const released = new FinalizationRegistry<number>((id) => native.batchRelease(id));
export function batchId(batch: Batch): number {
  let id = ids.get(batch);
  if (id === undefined) {
    const { ctl, data, off, len, list } = batch;
    id = native.batchRegister(ctl, data, off, len, list, RECEIVE_SLOTS, receiveBytes(batch));
    ids.set(batch, id);
    released.register(batch, id);
  }
  return id;
}
