/** Rows as a table on a terminal, and as a table in Markdown. Pure. */
import type { Suite } from './bench.js';
import { digits } from './statistics.js';
import { comparison, type Row } from './summary.js';

const TITLES = ['case', 'peer', 'figure', 'median', 'min – max', 'to kernel'] as const;

function cells(suite: Suite, row: Row): string[] {
  const { title, unit } = suite.metrics[row.metric]!;
  return [
    row.case,
    row.peer,
    unit ? `${title}, ${unit}` : title,
    digits(row.median),
    `${digits(row.min)} – ${digits(row.max)}`,
    comparison(row, digits),
  ];
}

const RIGHT = new Set([3, 5]);

export function plainTable(suite: Suite, rows: readonly Row[]): string {
  const lines = [[...TITLES], ...rows.map((row) => cells(suite, row))];
  const widths = TITLES.map((_, column) => Math.max(...lines.map((line) => line[column]!.length)));
  return lines
    .map((line) =>
      line
        .map((cell, column) => (RIGHT.has(column) ? cell.padStart(widths[column]!) : cell.padEnd(widths[column]!)))
        .join('  ')
        .trimEnd(),
    )
    .join('\n');
}

export function markdownTable(suite: Suite, rows: readonly Row[]): string {
  const line = (list: readonly string[]) => `| ${list.join(' | ')} |`;
  const rule = `|${TITLES.map((_, column) => (RIGHT.has(column) ? '---:' : '---')).join('|')}|`;
  return [line(TITLES), rule, ...rows.map((row) => line(cells(suite, row)))].join('\n');
}
