/**
 * Where the rates of new mappings are counted, one table for all workers of a router (flow/host-rates.ts). Not in the flow table's
 * file: after a restart everybody begins a second anew.
 */
export const RATE_SLOTS = 4096;

/** Words of a slot: address, tokens left, second of the last fill. */
export const enum RateSlot {
  HOST = 0,
  TOKENS = 1,
  SINCE = 2,
  WORDS = 3,
}

export function newHostRates(): SharedArrayBuffer {
  return new SharedArrayBuffer(RATE_SLOTS * RateSlot.WORDS * 4);
}
