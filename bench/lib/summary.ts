/** From the book of a suite to rows: one for each case, metric and peer, compared with the reference. Pure. */
import type { Figure, Metric } from './bench.js';
import { median, ratio, type Spread, spread } from './statistics.js';

export interface Row extends Spread {
  readonly suite: string;
  readonly case: string;
  readonly metric: string;
  readonly unit: string;
  readonly peer: string;
  /** To the reference's values: a ratio, or a difference in the metric's unit. Absent where there is none. */
  readonly compared?: number;
  readonly compare: 'ratio' | 'difference' | 'none';
  readonly values: readonly number[];
}

/** In the order in which the figures first came, cases together. */
export function summarize(
  figures: readonly Figure[],
  metrics: Readonly<Record<string, Metric>>,
  reference: string,
): Row[] {
  const cases = [...new Set(figures.map((figure) => figure.case))];
  return cases.flatMap((what) =>
    Object.entries(metrics).flatMap(([metric, { unit, compare = 'ratio' }]) => {
      const same = figures.filter((figure) => figure.case === what && figure.metric === metric);
      const base = same.find((figure) => figure.peer === reference)?.values;
      return same.map((figure) => ({
        ...{ suite: figure.suite, case: what, metric, unit, peer: figure.peer, compare },
        ...spread(figure.values),
        ...(base && compare !== 'none' && { compared: compareWith(figure.values, base, compare) }),
        values: figure.values,
      }));
    }),
  );
}

function compareWith(values: readonly number[], base: readonly number[], compare: 'ratio' | 'difference'): number {
  return compare === 'ratio' ? ratio(values, base) : median(values) - median(base);
}

/** What stands in the last column: 0.74, or +12.3. */
export function comparison({ compared, compare }: Row, format: (value: number) => string): string {
  if (compared === undefined || !Number.isFinite(compared)) return '';
  if (compare === 'difference') return compared < 0 ? `−${format(-compared)}` : `+${format(compared)}`;
  return compared.toFixed(2);
}
