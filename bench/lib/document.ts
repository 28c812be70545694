/**
 * docs/benchmarks.md, its plots, and the JSON lines it is made of.
 *
 * Each suite's last full run stays in docs/benchmarks/SUITE.jsonl (first line: when, where, with what; then one row a line), so
 * that one suite can be run again alone and the page still has all of them.
 */
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Options, Suite } from './bench.js';
import type { Machine } from './machine.js';
import { plot } from './plot.js';
import type { Row } from './summary.js';
import { markdownTable } from './table.js';

export interface Head {
  readonly bench: string;
  readonly commit: string;
  readonly machine: Machine;
  readonly options: Options;
  readonly discarded: number;
  /** Largest share of stolen time in what counted. */
  readonly steal: number;
  readonly peers: Readonly<Record<string, string>>;
  readonly missing: Readonly<Record<string, string>>;
}

export interface Result {
  readonly head: Head;
  readonly rows: readonly Row[];
}

/** Six digits are more than any of this is worth. */
const compact = (_: string, value: unknown) =>
  typeof value === 'number' && !Number.isInteger(value) ? Number(value.toPrecision(6)) : value;

export function toLines({ head, rows }: Result): string {
  return [head, ...rows].map((each) => `${JSON.stringify(each, compact)}\n`).join('');
}

export function fromLines(text: string): Result {
  const [head, ...rows] = text
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line));
  return { head: head as Head, rows: rows as Row[] };
}

const percent = (share: number) => `${(share * 100).toFixed(0)} %`;

function section(suite: Suite, { head, rows }: Result, image: boolean): string {
  const { rounds, seconds } = head.options;
  const peers = [...new Set(rows.map((row) => row.peer))];
  const settings = peers.map((peer) => `- ${peer}: ${head.peers[peer] ?? ''}`).join('\n');
  const missing = Object.entries(head.missing).map(([peer, why]) => `- ${peer} was not measured: ${why}`);
  return `## ${suite.title}

${suite.method}

${head.machine.date}, commit ${head.commit}, ${rounds} rounds of ${seconds} s, interleaved; measured again because more than 10 % was stolen: ${head.discarded}; most stolen in what counted: ${percent(head.steal)}.

${image ? `![${suite.title}](benchmarks/${suite.name}.svg)\n\n` : ''}${markdownTable(suite, rows)}

${[settings, ...missing].join('\n')}
`;
}

export function page(suites: readonly Suite[], results: ReadonlyMap<string, Result>): string {
  const present = suites.filter((suite) => results.has(suite.name));
  const { machine } = [...results.values()]
    .map(({ head }) => head)
    .toSorted((a, b) => (a.machine.date < b.machine.date ? 1 : -1))[0]!;
  const versions = Object.entries(machine.versions).map(([program, version]) => `${program} ${version}`);
  return `# Benchmarks

Made by \`npm run bench\` (root, or user namespaces); run it again on your own machine. Client, router and server share the
machine's processors, so a figure is worth what its ratio to the kernel is worth, and no more. The peers take turns round by round.
"To kernel" is the median of the rounds' ratios to kernel nftables, or with a sign the difference of the medians.

${machine.processor}, ${machine.memory}, ${machine.kernel}, Node ${machine.node}; ${versions.join(', ')}.

Suites: ${present.map((suite) => `[${suite.title}](#${suite.title.toLowerCase().replace(/[^a-z]+/g, '-')})`).join(', ')}.
One of them alone: \`npm run bench -- --suite ${present[0]!.name}\`.

${present.map((suite) => section(suite, results.get(suite.name)!, plot(suite, results.get(suite.name)!.rows) !== '')).join('\n')}`;
}

/** Writes this run's results, and the page anew from what all suites last measured. */
export function writeDocument(docs: string, suites: readonly Suite[], results: readonly Result[]): void {
  const dir = join(docs, 'benchmarks');
  mkdirSync(dir, { recursive: true });
  for (const result of results) {
    const suite = suites.find(({ name }) => name === result.head.bench)!;
    writeFileSync(join(dir, `${suite.name}.jsonl`), toLines(result));
    const image = plot(suite, result.rows);
    if (image) writeFileSync(join(dir, `${suite.name}.svg`), image);
  }
  const known = new Map<string, Result>();
  for (const { name } of suites) {
    const file = join(dir, `${name}.jsonl`);
    if (existsSync(file)) known.set(name, fromLines(readFileSync(file, 'utf8')));
  }
  if (known.size > 0) writeFileSync(join(docs, 'benchmarks.md'), page(suites, known));
}
