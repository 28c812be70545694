/** docs/rfc-conformance.md says what is true: scripts/conformance.mjs makes it from a table, and checks that table. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';

interface Requirement {
  id: string;
  rfc: string;
  says: string;
  status: string;
  tests?: Record<string, string[]>;
  note?: string;
}
interface Table {
  intro: string;
  themes: { theme: string; requirements: Requirement[] }[];
  different: { what: string; why: string }[];
  wrong: { what: string; why: string }[];
}
interface Conformance {
  readTable(): Table;
  readTestNames(): Map<string, string[]>;
  namesIn(source: string): string[];
  numbersIn(name: string): number[];
  findProblems(table: Table, names: Map<string, string[]>): string[];
  makePage(table: Table): string;
}
interface Mutants {
  MUTANTS: { requirement: string; name: string; file: string; from: string }[];
}

// Built tests run from dist/test.
const root = new URL('../../', import.meta.url);
const load = async <T>(script: string) => (await import(new URL(`scripts/${script}`, root).href)) as T;
const conformance = await load<Conformance>('conformance.mjs');
const { MUTANTS } = await load<Mutants>('mutants/index.mjs');
const table = conformance.readTable();
const all = table.themes.flatMap(({ requirements }) => requirements);

test('the table names tests that exist, each that is done one with its number, and no test names a requirement that is not there', () => {
  assert.deepEqual(conformance.findProblems(table, conformance.readTestNames()), []);
});

test('every requirement from 1 to 70 is in the table', () => {
  const ids = new Set(all.map(({ id }) => id));
  // 36, 39 and 52 were never given out.
  const missing = Array.from({ length: 70 }, (_, i) => i + 1).filter(
    (n) => ![36, 39, 52].includes(n) && !ids.has(`REQ-${n}`),
  );
  assert.deepEqual(missing, []);
});

test('docs/rfc-conformance.md is what the table says', () => {
  const page = readFileSync(new URL('docs/rfc-conformance.md', root), 'utf8');
  assert.equal(page, conformance.makePage(table), 'stale: run `node scripts/conformance.mjs`');
});

test('what a mutant changes stands in its file, once', () => {
  const times = (file: string, text: string) => readFileSync(new URL(file, root), 'utf8').split(text).length - 1;
  const moved = MUTANTS.filter(({ file, from }) => times(file, from) !== 1);
  assert.deepEqual(
    moved.map(({ name, file }) => `${file}: ${name}`),
    [],
  );
});

test('the check sees a name that is not there, a done without proof, an unknown number', () => {
  const one = { id: 'REQ-1', rfc: 'RFC 4787', says: 'x', status: 'done', tests: { 'a/b': ['REQ-1 x'] } };
  const names = new Map([['a/b', ['REQ-1 x', 'other']]]);
  const of = (change: Partial<Requirement>, more = names) => {
    const requirement = { ...one, ...change } as Requirement;
    return conformance.findProblems({ ...table, themes: [{ theme: 't', requirements: [requirement] }] }, more);
  };
  assert.deepEqual(of({}), []);
  assert.match(of({ tests: { 'a/b': ['REQ-1 y'] } })[0]!, /no test named "REQ-1 y"/);
  assert.match(of({ tests: { 'a/b': ['other'] } })[0]!, /carries its number/);
  assert.match(of({ status: 'partly' })[0]!, /must say what is missing/);
  assert.match(of({}, new Map([['a/b', ['REQ-1 x', 'REQ-99 z']]]))[0]!, /REQ-99, which does not exist/);
});

test('names and numbers are read as they are written', () => {
  const source = [
    "test('REQ-1 it\\'s', f); describe(`b $",
    '{x} c`, f); const t = [',
    "['REQ-7 in a table', 'REQ-8 no name']];",
  ];
  assert.deepEqual(conformance.namesIn(source.join('')), ["REQ-1 it's", 'b … c', 'REQ-7 in a table']);
  assert.deepEqual(conformance.numbersIn('REQ-19, 20 TCP, REQ-3 and RFC 4787 REQ-5'), [19, 20, 3]);
  assert.deepEqual(conformance.numbersIn('REQ-42 10, 20 and 30 packets'), [42]);
});

test('whatever is done has a mutant: npm run mutants breaks it and shows that a test notices', () => {
  const broken = new Set(MUTANTS.map(({ requirement }) => requirement));
  const unproved = all.filter(({ id, status }) => status === 'done' && id.startsWith('REQ-') && !broken.has(id));
  assert.deepEqual(
    unproved.map(({ id }) => id),
    [],
  );
});
