/**
 * Rows as a bar chart in SVG: a group a case, a bar a peer, a whisker from smallest to largest. Pure, and small enough to
 * need no library: what browsers, GitHub and rsvg draw alike.
 */
import type { Suite } from './bench.js';
import { digits } from './statistics.js';
import type { Row } from './summary.js';

const WIDTH = 860;
const LEFT = 250;
const RIGHT = 90;
const BAR = 16;
const GAP = 14;
const TOP = 56;
/** Colours that stay apart for colour-blind eyes (Okabe and Ito). */
const COLOURS = ['#0072b2', '#e69f00', '#56b4e9', '#999999', '#cc79a7', '#009e73'];

const escaped = (text: string) => text.replace(/[&<>"]/g, (each) => `&#${each.charCodeAt(0)};`);

function text(x: number, y: number, content: string, attributes = ''): string {
  return `<text x="${x.toFixed(1)}" y="${y.toFixed(1)}" ${attributes}>${escaped(content)}</text>`;
}

/** Round numbers below `max` that divide the axis. */
export function ticks(max: number): number[] {
  const raw = max / 5;
  const size = 10 ** Math.floor(Math.log10(raw));
  const step = size * ([1, 2, 5, 10].find((each) => each * size >= raw) ?? 10);
  return Array.from({ length: Math.floor(max / step) + 1 }, (_, n) => n * step);
}

/** Empty when the suite plots nothing or has no such rows. */
export function plot(suite: Suite, all: readonly Row[]): string {
  const metric = Object.keys(suite.metrics).find((name) => suite.metrics[name]!.plot);
  const rows = all.filter((row) => row.metric === metric && Number.isFinite(row.median));
  if (metric === undefined || rows.length === 0) return '';
  const { title, unit, better } = suite.metrics[metric]!;
  const peers = [...new Set(rows.map((row) => row.peer))];
  const cases = [...new Set(rows.map((row) => row.case))];
  const max = Math.max(...rows.map((row) => row.max)) || 1;
  const scale = (value: number) => LEFT + (value / max) * (WIDTH - LEFT - RIGHT);
  const parts: string[] = [];
  let y = TOP;
  for (const what of cases) {
    const group = rows.filter((row) => row.case === what);
    parts.push(text(LEFT - 8, y + (group.length * BAR) / 2 + 4, what, 'text-anchor="end"'));
    for (const row of group) {
      const middle = y + BAR / 2;
      const length = Math.max(1, scale(row.median) - LEFT);
      const colour = COLOURS[peers.indexOf(row.peer) % COLOURS.length]!;
      parts.push(
        `<rect x="${LEFT}" y="${y + 1}" width="${length.toFixed(1)}" height="${BAR - 2}" fill="${colour}"/>`,
        `<path d="M${scale(row.min).toFixed(1)} ${middle}H${scale(row.max).toFixed(1)}" stroke="#222" stroke-width="1.5"/>`,
        text(scale(row.max) + 6, middle + 4, digits(row.median)),
      );
      y += BAR;
    }
    y += GAP;
  }
  const grid = ticks(max).map(
    (value) =>
      `<path d="M${scale(value).toFixed(1)} ${TOP - 6}V${y}" stroke="#ddd"/>${text(scale(value), y + 14, digits(value), 'text-anchor="middle" fill="#666"')}`,
  );
  const legend = peers.map((peer, n) => {
    const x = LEFT + n * 122;
    return `<rect x="${x}" y="32" width="10" height="10" fill="${COLOURS[n % COLOURS.length]}"/>${text(x + 14, 41, peer)}`;
  });
  const heading = `${suite.title}: ${title}${unit ? `, ${unit}` : ''} (${better} is better; bar: median, line: smallest to largest)`;
  const height = y + 24;
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${height}" width="${WIDTH}" height="${height}" font-family="sans-serif" font-size="12">
<rect width="${WIDTH}" height="${height}" fill="#fff"/>
${text(10, 18, heading, 'font-size="13" font-weight="bold"')}
${[...legend, ...grid, ...parts].join('\n')}
</svg>
`;
}
