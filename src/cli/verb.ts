/**
 * What all verbs share: how a verb looks to the table in program.ts, how it ends, how it prints.
 *
 * Data goes to stdout, talk to stderr. Exit codes: 0 ok, 1 failed, 2 usage or config, 3 the daemon is not running,
 * 77 no privilege.
 */
import pc from 'picocolors';
import { type RuntimePaths, runtimePaths } from '../control/runtime-dir.js';

export const Exit = { OK: 0, FAILED: 1, USAGE: 2, NOT_RUNNING: 3, NO_PRIVILEGE: 77 } as const;

/** Options as commander parsed them; `--dry-run` is `dryRun`. */
export type Options = Readonly<Record<string, string | boolean | undefined>>;

/** A verb's file: does the work, prints, returns the exit code (nothing = 0). */
export interface VerbModule {
  run(options: Options, args: readonly string[]): Promise<number | undefined> | number | undefined;
}

/** Ends the program with a message on stderr; `lines` follow it. */
export class CliError extends Error {
  readonly exit: number;
  readonly lines: readonly string[];
  constructor(exit: number, message: string, lines: readonly string[] = []) {
    super(message);
    this.exit = exit;
    this.lines = lines;
  }
}

export function text(options: Options, key: string): string | undefined {
  const value = options[key];
  return typeof value === 'string' ? value : undefined;
}

export function pathsOf(options: Options): RuntimePaths {
  try {
    return runtimePaths(text(options, 'runtimeDir'), text(options, 'name'));
  } catch (error) {
    throw new CliError(Exit.USAGE, (error as Error).message);
  }
}

export function printJson(value: unknown): void {
  process.stdout.write(`${JSON.stringify(value, null, 2)}\n`);
}

export function print(line: string): void {
  process.stdout.write(`${line}\n`);
}

export function talk(line: string): void {
  process.stderr.write(`${line}\n`);
}

/** Colours of one stream: none unless it is a terminal and NO_COLOR is not set. */
export function colours(stream: NodeJS.WriteStream): ReturnType<typeof pc.createColors> {
  return pc.createColors(stream.isTTY === true && !process.env.NO_COLOR);
}

/** Columns as wide as their widest cell. Numbers (`right`) end flush. The header is bold on a terminal. */
export function table(
  header: readonly string[],
  rows: readonly (readonly string[])[],
  right: readonly number[] = [],
): string {
  const widths = header.map((cell, column) =>
    rows.reduce((width, row) => Math.max(width, row[column]!.length), cell.length),
  );
  const line = (cells: readonly string[]) =>
    cells
      .map((cell, column) => (right.includes(column) ? cell.padStart(widths[column]!) : cell.padEnd(widths[column]!)))
      .join('  ')
      .trimEnd();
  return [colours(process.stdout).bold(line(header)), ...rows.map(line)].map((row) => `${row}\n`).join('');
}

const UNITS = ['', 'k', 'M', 'G', 'T', 'P'];

/** 1234567 → `1.23 M`; below 10,000 the plain number. */
export function short(value: number): string {
  if (value < 10_000) return String(value);
  let unit = 0;
  let rest = value;
  while (rest >= 1000 && unit < UNITS.length - 1) {
    rest /= 1000;
    unit++;
  }
  return `${rest.toPrecision(3)} ${UNITS[unit]}`;
}

/** 93784 → `1 d 2 h`; two units are enough. */
export function duration(seconds: number): string {
  const parts: string[] = [];
  let rest = Math.floor(seconds);
  for (const [unit, length] of [
    ['d', 86_400],
    ['h', 3600],
    ['min', 60],
    ['s', 1],
  ] as const) {
    const count = Math.floor(rest / length);
    rest -= count * length;
    if (count > 0 || (unit === 's' && parts.length === 0)) parts.push(`${count} ${unit}`);
  }
  return parts.slice(0, 2).join(' ');
}
