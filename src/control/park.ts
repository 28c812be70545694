/**
 * Threads of the data plane that wait for their place (seat.ts). A thread loads its program, which takes a good part of a start
 * and needs nothing but a processor; then its first message tells it which queue and table are its own. So it can be parked
 * while the config is still being read, or while an older router still forwards.
 */
import { Worker } from 'node:worker_threads';

/**
 * Flows and packets are outside the heap, and a cycle allocates nothing: what lives there is code and the plan. The young
 * generation is small because only reloads fill it; a heap that grows past the old one's limit ends the worker, not the process.
 */
const WORKER_HEAP = { maxYoungGenerationSizeMb: 4, maxOldGenerationSizeMb: 256 };

const WORKER_ENTRY = new URL('../datapath/worker.js', import.meta.url);

let ahead: Worker | undefined;

/** Starts a thread that loads and then waits. */
export function parkWorker(entry: URL = WORKER_ENTRY): Worker {
  const worker = new Worker(entry, { name: 'tungate', resourceLimits: WORKER_HEAP });
  // Until it has a place nobody else listens; whoever gives it one finds that it has ended.
  worker.on('error', () => {});
  worker.unref();
  return worker;
}

/** Starts one for whoever asks with `takeAhead`. */
export function parkAhead(): void {
  ahead = parkWorker();
}

export function takeAhead(): Worker {
  const worker = ahead ?? parkWorker();
  ahead = undefined;
  return worker;
}
