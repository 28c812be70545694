/** A table on a terminal, printed row by row as the rows come; long cells are wrapped at spaces. */

const GREEN = '\x1b[32m';
const RED = '\x1b[31m';
const BOLD = '\x1b[1m';
const PLAIN = '\x1b[0m';

/** Splits into lines of at most `width` characters, at spaces where there are any. */
export function wrap(text: string, width: number): string[] {
  const lines: string[] = [];
  let line = '';
  for (const word of text.split(' ')) {
    let rest = word;
    if (line !== '' && line.length + 1 + rest.length <= width) {
      line += ` ${rest}`;
      continue;
    }
    if (line !== '') lines.push(line);
    for (; rest.length > width; rest = rest.slice(width)) lines.push(rest.slice(0, width));
    line = rest;
  }
  lines.push(line);
  return lines;
}

export class Table {
  readonly #widths: readonly number[];

  constructor(
    readonly out: NodeJS.WriteStream,
    titles: readonly string[],
    widths: readonly number[],
  ) {
    this.#widths = widths;
    this.#print(titles, BOLD);
    out.write(`${widths.map((width) => '─'.repeat(width)).join('──')}\n`);
  }

  row(cells: readonly string[], ok: boolean): void {
    this.#print(cells, ok ? GREEN : RED);
  }

  /** The first cell carries the colour: it is the mark. */
  #print(cells: readonly string[], colour: string): void {
    const columns = cells.map((cell, i) => wrap(cell, this.#widths[i]!));
    const height = Math.max(...columns.map((lines) => lines.length));
    const coloured = this.out.isTTY === true && process.env.NO_COLOR === undefined;
    for (let y = 0; y < height; y++) {
      const padded = columns.map((lines, i) => (lines[y] ?? '').padEnd(this.#widths[i]!));
      if (coloured) padded[0] = `${colour}${padded[0]}${PLAIN}`;
      this.out.write(`${padded.join('  ').trimEnd()}\n`);
    }
  }
}
