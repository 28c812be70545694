/**
 * The daemon's log: pino, on stderr. One JSON object a line for machines; for a person at a terminal one short line,
 * written by the few lines below instead of a formatter of its own process.
 */
import pino, { type Logger } from 'pino';
import type { LOG_FORMATS, LOG_LEVELS } from './model.js';

export type { Logger };
export type LogLevel = (typeof LOG_LEVELS)[number] | 'silent';
export type LogFormat = (typeof LOG_FORMATS)[number];

/** Where lines go: stderr, or a collector in tests. Called with whole lines. */
export interface LogSink {
  write(line: string): unknown;
}

const LEVEL_WORDS: Readonly<Record<number, string>> = {
  10: 'trace: ',
  20: 'debug: ',
  30: '',
  40: 'warning: ',
  50: 'error: ',
  60: 'fatal: ',
};
/** ANSI colour by level, 0 = none. */
const LEVEL_COLOURS: Readonly<Record<number, number>> = { 10: 90, 20: 90, 40: 33, 50: 31 };

/** `auto` = text on a terminal, JSON otherwise. */
export function createLog(level: LogLevel, format: LogFormat, sink: LogSink = stderrSink()): Logger {
  const tty = sink instanceof StderrSink && process.stderr.isTTY === true;
  const text = format === 'text' || (format === 'auto' && tty);
  const colour = tty && !process.env.NO_COLOR;
  const destination = text ? { write: (line: string) => sink.write(humanLine(line, colour)) } : sink;
  return pino(
    {
      level,
      base: null,
      timestamp: pino.stdTimeFunctions.isoTime,
      formatters: { level: (label) => ({ level: label }) },
    },
    { write: (line: string) => void destination.write(line) },
  );
}

const LEVEL_NUMBERS: Readonly<Record<string, number>> = {
  trace: 10,
  debug: 20,
  info: 30,
  warn: 40,
  error: 50,
  fatal: 60,
};

/** `15:04:05 warning: message (key=value …)` of a pino line. */
export function humanLine(line: string, colour: boolean): string {
  const { level, time, msg, err, ...rest } = JSON.parse(line) as Record<string, unknown>;
  const number = LEVEL_NUMBERS[String(level)] ?? 30;
  const clock = String(time).slice(11, 19);
  const details = Object.entries(rest).map(
    ([key, value]) => `${key}=${typeof value === 'string' ? value : JSON.stringify(value)}`,
  );
  // People get the reason; whoever debugs gets the place too.
  const part = number <= 20 || number >= 60 ? 'stack' : 'message';
  const cause = err ? `: ${String((err as Record<string, unknown>)[part])}` : '';
  const body = `${LEVEL_WORDS[number] ?? ''}${String(msg ?? '')}${cause}${details.length > 0 ? ` (${details.join(' ')})` : ''}`;
  const tint = colour ? (LEVEL_COLOURS[number] ?? 0) : 0;
  return `${clock} ${tint ? `\x1b[${tint}m${body}\x1b[0m` : body}\n`;
}

/** Synchronous: the line before a crash is the one that counts. A closed stderr must not end a router. */
class StderrSink implements LogSink {
  readonly #out = pino.destination({ fd: 2, sync: true });
  constructor() {
    this.#out.on('error', () => {});
  }
  write(line: string): void {
    this.#out.write(line);
  }
}

let shared: StderrSink | undefined;
function stderrSink(): LogSink {
  return (shared ??= new StderrSink());
}
