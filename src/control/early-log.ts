/**
 * A log for what happens before the log is there: packets flow before the config has said where lines go and which of them.
 * Lines wait, and are written when the real one comes; from then on they go straight through.
 */
import type { Logger } from './log.js';

type Level = 'debug' | 'info' | 'warn' | 'error';

/** What most of the daemon asks of a log. */
export type Log = Pick<Logger, Level>;

export class EarlyLog implements Log {
  readonly debug = this.#writer('debug');
  readonly info = this.#writer('info');
  readonly warn = this.#writer('warn');
  readonly error = this.#writer('error');
  #log: Log | undefined;
  readonly #waiting: (readonly [Level, Parameters<Log[Level]>])[] = [];

  handTo(log: Log): void {
    this.#log = log;
    for (const [level, line] of this.#waiting.splice(0)) log[level](...line);
  }

  #writer(level: Level): Log[Level] {
    return ((...line: Parameters<Log[Level]>) => {
      if (this.#log) this.#log[level](...line);
      else this.#waiting.push([level, line]);
    }) as Log[Level];
  }
}
