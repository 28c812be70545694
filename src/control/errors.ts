/** How config errors look, and how a wrong word finds the right one. */
import type { ConfigError } from './model.js';

/** `file:line:col: path: message`; line and column are left out where the file itself is at fault. */
export function formatError(error: ConfigError): string {
  const place = error.line > 0 ? `${error.file}:${error.line}:${error.col}` : error.file;
  return error.path === '' ? `${place}: ${error.message}` : `${place}: ${error.path}: ${error.message}`;
}

/** `file:line:col` taken apart. */
export function placeOf(origin: string): { readonly file: string; readonly line: number; readonly col: number } {
  const match = /^(.*):(\d+):(\d+)$/s.exec(origin)!;
  return { file: match[1]!, line: Number(match[2]), col: Number(match[3]) };
}

/** One line each, in the order of the file. */
export function formatErrors(errors: readonly ConfigError[]): string {
  return errors.map(formatError).join('\n');
}

/** In reading order, file by file as in `files`; the same thing said twice of one place is said once. */
export function sortErrors(errors: readonly ConfigError[], files: readonly string[] = []): ConfigError[] {
  const seen = new Set<string>();
  return [...errors]
    .sort((a, b) => files.indexOf(a.file) - files.indexOf(b.file) || a.line - b.line || a.col - b.col)
    .filter((error) => {
      const text = formatError(error);
      return !seen.has(text) && seen.add(text);
    });
}

/** Edit distance with swaps of neighbours (Damerau), for words of a few letters. */
function distance(a: string, b: string): number {
  const rows: number[][] = [Array.from({ length: b.length + 1 }, (_, i) => i)];
  for (let i = 1; i <= a.length; i++) {
    const row = [i];
    for (let k = 1; k <= b.length; k++) {
      const same = a[i - 1] === b[k - 1];
      let best = Math.min(rows[i - 1]![k]! + 1, row[k - 1]! + 1, rows[i - 1]![k - 1]! + (same ? 0 : 1));
      if (i > 1 && k > 1 && a[i - 1] === b[k - 2] && a[i - 2] === b[k - 1])
        best = Math.min(best, rows[i - 2]![k - 2]! + 1);
      row.push(best);
    }
    rows.push(row);
  }
  return rows[a.length]![b.length]!;
}

/** The word of `allowed` that `word` was probably meant to be, or undefined. `perHost` finds `per_host`. */
export function didYouMean(word: string, allowed: readonly string[]): string | undefined {
  if (word.length > 40) return undefined;
  const plain = (text: string) => text.toLowerCase().replace(/[^a-z0-9]/g, '');
  let best: string | undefined;
  let least = Math.max(1, Math.floor(plain(word).length / 3)) + 1;
  for (const candidate of allowed) {
    const d = distance(plain(word), plain(candidate));
    if (d < least) {
      least = d;
      best = candidate;
    }
  }
  return best;
}

/** `unknown key "x"; did you mean "y"?` and always what is allowed. */
export function unknownWord(kind: string, word: string, allowed: readonly string[]): string {
  const near = didYouMean(word, allowed);
  const hint = near === undefined ? '' : `; did you mean "${near}"?`;
  return `unknown ${kind} "${word}"${hint} (allowed: ${allowed.join(', ')})`;
}
