/** Is it slower than it was? By ratio, and never by a time that another machine measured. Pure. */
import { median, ratio } from './statistics.js';

export interface Verdict {
  readonly name: string;
  /** Time now to time before: 1.10 is a tenth slower. */
  readonly ratio: number;
  readonly slower: boolean;
}

/**
 * From two lists of nanoseconds that were measured in turn. Slower is: the median of the ratios is above `tolerance`, and even
 * the best of now does not reach the middle of before (one lucky or unlucky round decides nothing).
 */
export function judge(name: string, now: readonly number[], before: readonly number[], tolerance: number): Verdict {
  const by = ratio(now, before);
  return { name, ratio: by, slower: by > tolerance && Math.min(...now) > median(before) };
}

/** What the baseline's figure would be on this machine: `calibration` is that of now and of before. */
export function scaled(ns: number, calibration: { readonly now: number; readonly before: number }): number {
  return ns * (calibration.now / calibration.before);
}
