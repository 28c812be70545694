/**
 * Counters that a worker writes and the control plane reads: shared memory, one writer a block, no locks.
 *
 * Shape: one block a worker, Float64 (exact to 2^53), never reset. Reading while the worker writes may see one counter a
 * batch ahead of another; nothing else can go wrong (8-byte aligned stores are whole on x64 and arm64).
 */
import { VERDICTS } from './verdict.js';

/** Indices of the scalar counters in a worker's block. */
export const enum Counter {
  /** Batches that held at least one packet. */
  BATCHES = 0,
  /** Packets and bytes (IP length) received; a GSO packet counts as one here and as its segments in SEGMENTS. */
  RX_PACKETS = 1,
  RX_BYTES = 2,
  TX_PACKETS = 3,
  TX_BYTES = 4,
  /** What RX_PACKETS would be without GSO. */
  RX_SEGMENTS = 5,
  /** Seconds spent working and spent waiting in epoll, by the monotonic clock. */
  BUSY_SECONDS = 6,
  WAIT_SECONDS = 7,
  /** Flows made and ended since start. */
  FLOWS_CREATED = 8,
  FLOWS_ENDED = 9,
  MAPPINGS_CREATED = 10,
  MAPPINGS_ENDED = 11,
  /** ICMP errors that were due but withheld by the rate limit. */
  ICMP_LIMITED = 12,
  /** 1 for each time the automatic source port could not be kept (another inside host had it). */
  PORTS_CHANGED = 13,
  /** Datagrams whose fragments were all translated. */
  FRAGMENTS = 14,
  /** Addresses in control connections, by what a helper did: written anew, ... */
  HELPER_REWRITTEN = 15,
  /** ... left as it was: no port or too many expected connections, no room for the longer text, */
  HELPER_REFUSED = 16,
  /** ... not the sender's own address, or a port below 1024 (bounce attack, RFC 2577), */
  HELPER_FOREIGN = 17,
  /** ... or a line that was cut by a segment's end. */
  HELPER_SPLIT = 18,
  /** Flows that were ended for the row or port of a new one: begun by strangers and never answered, */
  GAVE_WAY_UNANSWERED = 19,
  /** ... or closed (or past their time). */
  GAVE_WAY_CLOSED = 20,
  /** Start of the per-verdict counts (packets). */
  VERDICT = 24,
}

const BLOCK_WORDS = 128;
/** Counters of one rule (forward or nat rule), in this order. `IN` = towards the target / inside host. */
export const enum RuleCounter {
  PACKETS_IN = 0,
  BYTES_IN = 1,
  PACKETS_OUT = 2,
  BYTES_OUT = 3,
  FLOWS = 4,
  REFUSED = 5,
}
const RULE_WORDS = 8;

/** Rule ids are 1…MAX_RULES; 0 = no rule. They stay with a rule's name over reloads. */
export const MAX_RULES = 65_533;

if (Counter.VERDICT + VERDICTS.length > BLOCK_WORDS)
  throw new Error('counter block is too small for the verdict table');

/** Shared memory for one worker's counters: the scalar block, then RULE_WORDS for each rule id. Untouched pages cost nothing. */
export function newCounters(): SharedArrayBuffer {
  return new SharedArrayBuffer((BLOCK_WORDS + (MAX_RULES + 1) * RULE_WORDS) * 8);
}

export function counterView(shared: SharedArrayBuffer): Float64Array {
  return new Float64Array(shared);
}

/** Index of a rule's first counter in the view. */
export function ruleBase(rule: number): number {
  return BLOCK_WORDS + rule * RULE_WORDS;
}
