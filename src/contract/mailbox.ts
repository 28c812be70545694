/**
 * How the control plane speaks to a worker that blocks in one native call.
 *
 * Control puts a message on the worker's MessagePort, adds one to MAIL and writes the worker's wake eventfd. Between
 * batches the worker compares MAIL with what it has read (one load, no call) and takes the messages synchronously
 * (`receiveMessageOnPort`). Answers come back on the same port, which control reads as ordinary events.
 */
import type { SeenAnswer, TraceAnswer } from './api.js';
import type { CaptureFilter } from './capture.js';
import type { LinkStatus } from './links.js';
import type { Plan, Prefix } from './plan.js';

/** Int32 words of the shared mailbox, one mailbox a worker. */
export const enum Mail {
  /** Messages sent; written by control. */
  SENT = 0,
  /** Messages taken; written by the worker. */
  TAKEN = 1,
  /** Generation of the plan in force; written by the worker. */
  PLAN = 2,
  /** CLOCK_BOOTTIME seconds of the last cycle; written by the worker. A worker that is alive never lags by more than two. */
  ALIVE = 3,
}

export function newMailbox(): SharedArrayBuffer {
  return new SharedArrayBuffer(64);
}

/** Addresses as int32; an ICMP query bears its id as `sport`. */
export interface TracePacket {
  readonly src: number;
  readonly dst: number;
  readonly sport: number;
  readonly dport: number;
  /** IP protocol number. */
  readonly proto: number;
}

/** Which packets are to be explained. Every field that is given must fit, before the translation or after it. */
export interface WatchFilter {
  /** Source or destination. */
  readonly address: Prefix;
  /** The other one of the two. */
  readonly other?: Prefix;
  /** TCP and UDP, on either end. */
  readonly port?: number;
  /** IP protocol number. */
  readonly proto?: number;
}

export type ToWorker =
  | { readonly kind: 'plan'; readonly plan: Plan }
  /** End these flows (row indices) if their generation is still the one seen. */
  | {
      readonly kind: 'end-flows';
      readonly id: number;
      readonly flows: readonly { index: number; generation: number }[];
    }
  /** Take these in (contract/import.ts); worker 0. */
  | {
      readonly kind: 'import';
      readonly id: number;
      readonly mappings: Int32Array;
      readonly flows: Int32Array;
      readonly bytes: Float64Array;
    }
  /** Copy what `filter` names into `ring`; null ends it. */
  | { readonly kind: 'capture'; readonly ring: SharedArrayBuffer | null; readonly filter: CaptureFilter | null }
  /** What would become of this packet? Worker 0; changes nothing. */
  | { readonly kind: 'trace'; readonly id: number; readonly packet: TracePacket }
  /** Explain the next `count` packets that `filter` names; null ends it. */
  | { readonly kind: 'watch'; readonly id: number; readonly filter: WatchFilter | null; readonly count: number }
  /** A request of wg(8) to the device of that link, without its empty line; worker 0. Secrets in it are overwritten after use. */
  | { readonly kind: 'link-ask'; readonly id: number; readonly link: string; readonly text: string }
  /** How are the links? Worker 0. */
  | { readonly kind: 'link-status'; readonly id: number }
  | { readonly kind: 'stop' };

export type FromWorker =
  /**
   * The worker forwards packets. `adopted`: live flows found in the table file; `refused`: why an older file was not taken, or '';
   * `unraised`: errno, when it may not come before other programs.
   */
  | { readonly kind: 'ready'; readonly adopted: number; readonly refused: string; readonly unraised: number }
  /** After a plan swap: what became of the live flows. */
  | {
      readonly kind: 'plan-done';
      readonly generation: number;
      readonly stayed: number;
      readonly moved: number;
      readonly ended: number;
    }
  /** Something that the operator should know once. */
  | { readonly kind: 'notice'; readonly text: string }
  /** Translation log: events as contract/translation.ts lays them out, and how many more there were. */
  | { readonly kind: 'translations'; readonly events: Int32Array; readonly lost: number }
  | { readonly kind: 'flows-ended'; readonly id: number; readonly ended: number }
  /** By ImportFate. */
  | { readonly kind: 'imported'; readonly id: number; readonly mappings: number[]; readonly flows: number[] }
  | { readonly kind: 'traced'; readonly id: number; readonly answer: TraceAnswer }
  /** One of the packets that are watched for. */
  | { readonly kind: 'seen'; readonly id: number; readonly answer: SeenAnswer }
  /** The device's answer, its empty line included (`errno=0`…). `problem`: in words, why errno is not 0 (no such link: ENOENT). */
  | { readonly kind: 'link-answer'; readonly id: number; readonly text: string; readonly problem: string }
  | { readonly kind: 'link-statuses'; readonly id: number; readonly links: readonly LinkStatus[] }
  /** A link of the plan has its port (`fresh`: its device is new and knows no key and no peers), or cannot have it for now. */
  | {
      readonly kind: 'link-state';
      readonly link: string;
      readonly up: boolean;
      readonly fresh: boolean;
      readonly port: number;
      readonly problem: string;
    }
  /** An initiation was not answered in time: where the endpoint was a host name, it may mean another address by now. At most once in 5 s a peer. */
  | { readonly kind: 'link-silent'; readonly link: string; readonly publicKey: string; readonly attempts: number }
  | { readonly kind: 'stopped' }
  /** The link went away (device deleted); control opens it again and sends a fresh worker. */
  | { readonly kind: 'link-lost'; readonly message: string };

/** The first message to a worker, which waits for it. Descriptors belong to the process; control closes them. */
export interface WorkerInit {
  readonly index: number;
  /** How many workers share the table. */
  readonly workers: number;
  /** TUN queue of this worker. */
  readonly tunFd: number;
  readonly wakeFd: number;
  /** With several workers, an end of a pair of datagram sockets: worker 0 reads there what the others have for site links. −1: there are no others. */
  readonly handOver: number;
  /**
   * Flow table file, and rows that it is to have (`limits.flows`). Worker 0 formats or adopts it before it says `ready`;
   * control starts the others only then.
   */
  readonly tableFile: string;
  readonly flows: number;
  readonly counters: SharedArrayBuffer;
  /** One for all workers (contract/host-rates.ts). */
  readonly hostRates: SharedArrayBuffer;
  readonly mailbox: SharedArrayBuffer;
  readonly plan: Plan;
}
