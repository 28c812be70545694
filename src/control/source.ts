/**
 * YAML text → plain value, and the way back: from a path in the value to the line and column where it was written.
 *
 * YAML 1.2 core: `off` and `no` are words, `010` is ten. Duplicate keys, unknown tags and a second document are errors.
 * Whatever the text is, the answer is a value or a list of errors; nothing is thrown.
 */
import {
  type Document,
  isAlias,
  isMap,
  isScalar,
  isSeq,
  LineCounter,
  type Node,
  type Pair,
  parseDocument,
  visit,
  type YAMLMap,
} from 'yaml';

export type Path = readonly (string | number)[];

export interface Position {
  readonly line: number;
  readonly col: number;
}

export interface Fault extends Position {
  readonly message: string;
}

/** More text than ten times ten thousand forwards need. */
const MAX_TEXT = 16 * 1024 * 1024;
/** Anchors are for a handful of shared lists; a bomb of nested aliases grows past this at once. */
const MAX_ALIASES = 1000;

export interface Source {
  readonly value: unknown;
  readonly faults: readonly Fault[];
  /** Where the value at `path` stands; the nearest thing around it where there is no such value. */
  at(path: Path): Position;
  /** Where the key at the end of `path` stands. */
  keyAt(path: Path): Position;
}

const START: Position = { line: 1, col: 1 };

export function readSource(text: string): Source {
  if (text.length > MAX_TEXT)
    return failed([{ ...START, message: `is larger than ${MAX_TEXT >> 20} MiB; no config is` }]);
  const lines = new LineCounter();
  const place = (offset: number): Position => {
    const { line, col } = lines.linePos(offset);
    return { line: Math.max(line, 1), col: Math.max(col, 1) };
  };
  try {
    const document = parseDocument(text, { lineCounter: lines, prettyErrors: false, strict: true, uniqueKeys: false });
    const faults: Fault[] = [...document.errors, ...document.warnings].map((error) => ({
      ...place(error.pos[0]),
      message: sentence(error.code, error.message),
    }));
    const keys = indexKeys(document, place, faults);
    if (faults.length > 0) return failed(faults);
    return {
      value: document.toJS({ maxAliasCount: MAX_ALIASES }),
      faults: [],
      at: (path) => place(walk(document, keys, path).value),
      keyAt: (path) => place(walk(document, keys, path).key),
    };
  } catch (error) {
    // The YAML reader is recursive: a hundred thousand brackets end its stack. Alias bombs end in toJS.
    return failed([{ ...START, message: sentence('', (error as Error).message) }]);
  }
}

function failed(faults: readonly Fault[]): Source {
  return { value: undefined, faults, at: () => START, keyAt: () => START };
}

type Keys = WeakMap<object, Map<string, Pair>>;

/** Pairs of every map by key. Does the search for duplicates too: the library's own looks at every pair of keys. */
function indexKeys(document: Document.Parsed, place: (offset: number) => Position, faults: Fault[]): Keys {
  const keys: Keys = new WeakMap();
  visit(document, {
    Map(_, map: YAMLMap) {
      const pairs = new Map<string, Pair>();
      keys.set(map, pairs);
      for (const pair of map.items) {
        const { key } = pair;
        const at = place(start(key as Node) ?? start(map) ?? 0);
        if (!isScalar(key)) {
          faults.push({ ...at, message: 'a key must be a plain word' });
          continue;
        }
        const name = String(key.value);
        const first = pairs.get(name);
        if (first === undefined) pairs.set(name, pair);
        else {
          const { line, col } = place(start(first.key as Node) ?? 0);
          faults.push({
            ...at,
            message: `key "${name}" is there twice in the same map (first at ${line}:${col}); keep one of them`,
          });
        }
      }
    },
  });
  return keys;
}

function sentence(code: string, message: string): string {
  switch (code) {
    case 'MULTIPLE_DOCS':
      return 'a second YAML document begins here (---); a config is one document';
    case 'TAB_AS_INDENT':
      return 'a tab is used as indentation; YAML allows spaces only';
    default: {
      if (message.includes('call stack')) return 'cannot be read as YAML: brackets or indents are nested too deeply';
      const line = message.split('\n')[0]!.replace(/[.:]$/, '');
      return `cannot be read as YAML: ${line.slice(0, 1).toLowerCase()}${line.slice(1)}`;
    }
  }
}

/** Offsets of the value at `path` and of its key, or of the last thing on the way that is there. */
function walk(document: Document.Parsed, keys: Keys, path: Path): { value: number; key: number } {
  let node: Node | null | undefined = document.contents;
  let value = start(node) ?? 0;
  let key = value;
  for (const step of path) {
    if (isAlias(node)) node = node.resolve(document);
    if (isMap(node)) {
      const pair = keys.get(node)?.get(String(step));
      if (pair === undefined) break;
      key = start(pair.key as Node) ?? value;
      node = pair.value as Node | null;
      value = start(node) ?? key;
    } else if (isSeq(node) && typeof step === 'number') {
      const item = node.items[step] as Node | undefined;
      if (item === undefined) break;
      node = item;
      value = key = start(node) ?? value;
    } else break;
  }
  return { value, key };
}

function start(node: Node | null | undefined): number | undefined {
  return node?.range?.[0];
}

/** `forwards[2].to` */
export function pathText(path: Path): string {
  let text = '';
  for (const step of path) {
    if (typeof step === 'number') text += `[${step}]`;
    else text += text === '' ? step : `.${step}`;
  }
  return text;
}
