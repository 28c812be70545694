/** From figures to rows, tables, plots and the page. */
import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import type { Figure, Suite } from '../../bench/lib/bench.js';
import { fromLines, type Head, page, toLines, writeDocument } from '../../bench/lib/document.js';
import { plot, ticks } from '../../bench/lib/plot.js';
import { summarize } from '../../bench/lib/summary.js';
import { markdownTable, plainTable } from '../../bench/lib/table.js';
import { SUITES } from '../../bench/suites/index.js';

const suite: Suite = {
  name: 'tcp',
  title: 'TCP <throughput>',
  method: 'By hand.',
  metrics: {
    gbps: { title: 'throughput', unit: 'Gb/s', better: 'more', plot: true },
    p50: { title: 'p50', unit: 'µs', better: 'less', compare: 'difference' },
    errors: { title: 'errors', unit: '', better: 'less', compare: 'none' },
  },
  run: async () => {},
};

const figure = (peer: string, metric: string, values: number[], what = '1 stream out'): Figure => ({
  ...{ suite: 'tcp', case: what, metric, peer, values },
});
const figures = [
  figure('kernel', 'gbps', [20, 10, 30]),
  figure('tungate', 'gbps', [15, 7, 24]),
  figure('kernel', 'p50', [8, 8, 9]),
  figure('tungate', 'p50', [40, 41, 45]),
  figure('tungate', 'errors', [0, 0, 2]),
  figure('tungate', 'gbps', [3], 'hairpin'),
];
const rows = summarize(figures, suite.metrics, 'kernel');

test('each row has median, smallest and largest, and stands beside the reference of its own case', () => {
  const row = rows.find((each) => each.peer === 'tungate' && each.metric === 'gbps' && each.case === '1 stream out')!;
  assert.deepEqual([row.median, row.min, row.max, row.compared], [15, 7, 24, 0.75]);
  const delay = rows.find((each) => each.peer === 'tungate' && each.metric === 'p50')!;
  assert.equal(delay.compared, 33);
  assert.ok(!('compared' in rows.find((each) => each.case === 'hairpin')!));
  assert.ok(!('compared' in rows.find((each) => each.metric === 'errors')!));
});

test('the tables have a line for each row, with ratio or difference', () => {
  const plain = plainTable(suite, rows);
  assert.equal(plain.split('\n').length, rows.length + 1);
  assert.match(plain, /tungate +throughput, Gb\/s +15\.0 +7\.00 – 24\.0 +0\.75$/m);
  assert.match(markdownTable(suite, rows), /\| tungate \| p50, µs \| 41\.0 \| 40\.0 – 45\.0 \| \+33\.0 \|/);
});

test('the plot is well-formed, with a bar for each row of the plotted figure, and escapes names', () => {
  const svg = plot(suite, rows);
  assert.equal(svg.match(/height="14" fill=/g)!.length, 3);
  assert.match(svg, /TCP &#60;throughput&#62;/);
  assert.doesNotMatch(svg, /NaN|undefined|Infinity/);
  assert.equal(svg.match(/<text/g)!.length, svg.match(/<\/text>/g)!.length);
  assert.deepEqual(ticks(27), [0, 10, 20]);
  assert.equal(plot(suite, []), '');
});

const head: Head = {
  ...{ bench: 'tcp', commit: 'abc', discarded: 1, steal: 0.04, peers: { tungate: 'as it comes' }, missing: {} },
  machine: { date: '2026-01-02', processor: '2 × X', memory: '4 GiB', kernel: 'Linux 6', node: 'v20', versions: {} },
  options: { rounds: 5, seconds: 5, quick: false },
};

test('JSON lines: written and read again they are the same', () => {
  const result = { head, rows };
  const text = toLines(result);
  for (const line of text.trim().split('\n')) JSON.parse(line);
  assert.deepEqual(fromLines(text), JSON.parse(JSON.stringify(result)));
});

test('the page keeps what other suites measured when one is run again', () => {
  const docs = mkdtempSync(join(tmpdir(), 'tungate-docs-'));
  try {
    const other: Suite = { ...suite, name: 'small', title: 'Small packets' };
    writeDocument(docs, [suite, other], [{ head: { ...head, bench: 'small' }, rows }]);
    writeDocument(docs, [suite, other], [{ head, rows }]);
    const text = readFileSync(join(docs, 'benchmarks.md'), 'utf8');
    assert.match(text, /## TCP <throughput>[\s\S]*## Small packets/);
    assert.match(text, /2026-01-02, commit abc, 5 rounds of 5 s/);
    assert.match(text, /\(benchmarks\/small\.svg\)/);
    assert.match(readFileSync(join(docs, 'benchmarks', 'tcp.svg'), 'utf8'), /^<svg/);
  } finally {
    rmSync(docs, { recursive: true });
  }
});

test('the page names a peer that was not measured, and why', () => {
  const missing = { 'iptables-legacy': 'it is not installed' };
  assert.match(
    page([suite], new Map([['tcp', { head: { ...head, missing }, rows }]])),
    /not measured: it is not installed/,
  );
});

test('every suite has a name of its own, a figure to plot, and says how it measures', () => {
  assert.equal(new Set(SUITES.map(({ name }) => name)).size, SUITES.length);
  for (const { name, metrics, method } of SUITES) {
    assert.ok(
      Object.values(metrics).some((metric) => metric.plot),
      name,
    );
    assert.ok(method.length > 80, name);
  }
});
