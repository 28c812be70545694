/** What is said of a list of measurements: median with smallest and largest, ratios, quantiles. Pure. */

export interface Spread {
  readonly median: number;
  readonly min: number;
  readonly max: number;
  readonly n: number;
}

export function median(values: readonly number[]): number {
  if (values.length === 0) return Number.NaN;
  const sorted = values.toSorted((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2;
}

export function spread(values: readonly number[]): Spread {
  return { median: median(values), min: Math.min(...values), max: Math.max(...values), n: values.length };
}

/**
 * The median of the ratios of values that were measured in the same round: what slowed the machine for a minute hit both
 * and cancels out, which a ratio of two medians keeps. Where the rounds do not match, the ratio of the medians.
 */
export function ratio(values: readonly number[], reference: readonly number[]): number {
  if (values.length === 0 || reference.length === 0) return Number.NaN;
  if (values.length !== reference.length) return median(values) / median(reference);
  return median(values.map((value, round) => value / reference[round]!));
}

/** Three digits that matter, and no exponent. */
export function digits(value: number): string {
  if (!Number.isFinite(value)) return '–';
  const size = Math.abs(value);
  if (size >= 1000) return Math.round(value).toLocaleString('en-US');
  if (size >= 100 || value === 0) return value.toFixed(0);
  return value.toFixed(size >= 10 ? 1 : size >= 1 ? 2 : 3);
}
