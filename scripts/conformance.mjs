#!/usr/bin/env node
// docs/rfc-conformance.yaml (what is asked, how far it is done, which tests prove it) → docs/rfc-conformance.md.
//
//   node scripts/conformance.mjs           writes the page; complains about the table, exit 1
//   node scripts/conformance.mjs --check   writes nothing; exit 1 also when the page is stale
//
// Test names are read from the sources: the literal first argument of test, it and describe, and literals that begin with REQ-
// as the first item of a list or as a key, which is how tables of cases name theirs. `${…}` in a name is written `…`.
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parse } from 'yaml';
import { MUTANTS } from './mutants/index.mjs';

const root = fileURLToPath(new URL('..', import.meta.url));
const PAGE = join(root, 'docs', 'rfc-conformance.md');
const TABLE = join(root, 'docs', 'rfc-conformance.yaml');
const STATUS = ['done', 'partly', 'not'];

/** The table, as it is written. */
export function readTable() {
  return parse(readFileSync(TABLE, 'utf8'));
}

/** Test file (below test/, without `.test.ts`) → names. */
export function readTestNames() {
  const names = new Map();
  for (const file of readdirSync(join(root, 'test'), { recursive: true })) {
    // Its own test is about names that are wrong.
    if (!file.endsWith('.test.ts') || file === 'conformance.test.ts') continue;
    names.set(file.replace(/\.test\.ts$/, ''), namesIn(readFileSync(join(root, 'test', file), 'utf8')));
  }
  return names;
}

/** Names of tests in a source text. */
export function namesIn(source) {
  const calls = source.matchAll(/\b(?:test|it|describe|inNamespace)\(\s*(['"`])((?:\\.|(?!\1)[\s\S])*)\1/g);
  const rows = source.matchAll(/\[\s*(['"`])(REQ-\d(?:\\.|(?!\1).)*)\1/g);
  const keys = source.matchAll(/(['"`])(REQ-\d(?:\\.|(?!\1).)*)\1:/g);
  const found = [...calls, ...rows, ...keys].map(([, , name]) =>
    name.replace(/\$\{[^}]*\}/g, '…').replace(/\\(['"`])/g, '$1'),
  );
  return [...new Set(found)];
}

/** Requirement numbers in a name: `REQ-19, 20 TCP life` and `REQ-3 …, REQ-5 …`. An RFC's own numbers are not meant. */
export function numbersIn(name) {
  return [...name.matchAll(/(?<!RFC \d+ )\bREQ-(\d+(?:, \d+\b)*)/g)].flatMap(([, list]) =>
    list.split(', ').map(Number),
  );
}

/** What is wrong with the table, in words; empty when all is well. */
export function findProblems(table, names) {
  const problems = [];
  const known = new Map();
  for (const { theme, requirements } of table.themes) {
    for (const requirement of requirements) {
      const { id, rfc, says, status, tests = {}, note } = requirement;
      if (known.has(id)) problems.push(`${id} is there twice`);
      known.set(id, requirement);
      if (!rfc || !says) problems.push(`${id} (${theme}) has no rfc or says nothing`);
      if (!STATUS.includes(status)) problems.push(`${id} has the status ${status}; allowed: ${STATUS.join(', ')}`);
      if (status !== 'done' && !note) problems.push(`${id} is ${status}; a note must say what is missing and why`);
      const all = Object.entries(tests).flatMap(([file, list]) => list.map((name) => ({ file, name })));
      for (const { file, name } of all) {
        if (!names.get(file)?.includes(name)) problems.push(`${id}: test/${file}.test.ts has no test named "${name}"`);
      }
      if (status === 'not' && all.length > 0) problems.push(`${id} is not done, yet names tests`);
      if (status !== 'not' && all.length === 0) problems.push(`${id} is ${status} and names no test`);
      const number = /^REQ-(\d+)$/.exec(id)?.[1];
      if (status === 'done' && number && !all.some(({ name }) => numbersIn(name).includes(Number(number)))) {
        problems.push(`${id} is done, but no test that it names carries its number`);
      }
    }
  }
  for (const [file, list] of names) {
    for (const name of list)
      for (const number of numbersIn(name))
        if (!known.has(`REQ-${number}`))
          problems.push(`test/${file}.test.ts: "${name}" names REQ-${number}, which does not exist`);
  }
  return problems;
}

// ---- The page.

const cell = (text) => text.replaceAll('|', '\\|').replaceAll('<', '&lt;').trim();

function proof({ tests = {}, note }) {
  const files = Object.entries(tests).map(([file, list]) => {
    const marks = list.map((name) => name.replace(/\s+/g, ' '));
    return `[${file}](../test/${file}.test.ts): ${marks.map(cell).join(' · ')}`;
  });
  return [...(note ? [`**${cell(note).replace(/\s+/g, ' ')}**`] : []), ...files].join('<br>');
}

/** Requirement → the ways in which npm run mutants breaks it. */
function ways(mutants) {
  const by = new Map();
  for (const one of mutants) by.set(one.requirement, [...(by.get(one.requirement) ?? []), one]);
  const number = (id) => Number(id.slice(4));
  return [...by].toSorted(([x], [y]) => number(x) - number(y));
}

export function makePage({ intro, themes, different, wrong }, mutants = MUTANTS) {
  const counts = themes.map(({ theme, requirements }) => {
    const of = STATUS.map((status) => requirements.filter((requirement) => requirement.status === status).length);
    return `| ${theme} | ${of.join(' | ')} |`;
  });
  const sections = themes.map(({ theme, requirements }) =>
    [
      `## ${theme}\n`,
      '| | from | what | state | tests, and what is missing |',
      '|---|---|---|---|---|',
      ...requirements.map(
        (one) => `| ${one.id} | ${cell(one.rfc)} | ${cell(one.says)} | ${one.status} | ${proof(one)} |`,
      ),
    ].join('\n'),
  );
  const items = (list) =>
    list.map(({ what, why }) => `- **${what.trim()}** ${why.trim().replace(/\s+/g, ' ')}`).join('\n');
  return `${[
    '<!-- Written by scripts/conformance.mjs from rfc-conformance.yaml. Edit that one. -->',
    '# What the router does, RFC by RFC\n',
    intro.trim(),
    '',
    '| | done | partly | not |\n|---|---|---|---|',
    ...counts,
    '',
    sections.join('\n\n'),
    '',
    '## Broken on purpose\n',
    'What `npm run mutants` does to the program, one change at a time, and each time a test notices. `npm run mutants -- --only REQ-12` shows which.\n',
    '| | ways |\n|---|---|',
    ...ways(mutants).map(([id, list]) => `| ${id} | ${list.map(({ name }) => cell(name)).join(' · ')} |`),
    '',
    '## Deliberately different\n',
    items(different),
    '',
    '## Where requirements proved wrong, or two conflict\n',
    items(wrong),
  ].join('\n')}\n`;
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const check = process.argv.includes('--check');
  const table = readTable();
  const problems = findProblems(table, readTestNames());
  const page = makePage(table);
  if (!check) writeFileSync(PAGE, page);
  else if (readFileSync(PAGE, 'utf8') !== page)
    problems.push('docs/rfc-conformance.md is stale: run `node scripts/conformance.mjs`');
  for (const problem of problems) console.error(`conformance: ${problem}`);
  process.exitCode = problems.length > 0 ? 1 : 0;
}
