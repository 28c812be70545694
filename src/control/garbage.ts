/**
 * Memory that the control plane needed once. A start with 10,000 forwards makes some hundred MiB of garbage, and V8 collects when
 * it needs room: a control plane that then has nothing to do never does, and keeps them for as long as it runs.
 */
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';

/** Collects the calling thread's garbage now, tens of milliseconds; other threads, the data plane's, go on meanwhile. */
export function giveBackMemory(): void {
  setFlagsFromString('--expose-gc');
  (runInNewContext('gc') as () => void)();
}
