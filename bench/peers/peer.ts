/** What is measured: something that translates between the router's `lan` and `wan`. */
import type { Namespace } from '../../src/lab/index.js';

export interface Peer {
  readonly name: string;
  /** Resolves when packets flow. */
  start(router: Namespace): Promise<void>;
  stop(): Promise<void>;
  /** Resident memory in MiB, where there is a process that has any. */
  memory?(): number;
  /** Live flows. */
  flows?(): Promise<number>;
}
