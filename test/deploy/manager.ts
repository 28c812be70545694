/** The tests' end of manager.py: a stand-in for systemd, which does not run where tests run. */
import assert from 'node:assert/strict';
import { fileURLToPath } from 'node:url';
import type { Lab, Process } from '../../src/lab/index.js';

const SCRIPT = fileURLToPath(new URL('../../../test/deploy/manager.py', import.meta.url));

export interface Event {
  readonly message?: string;
  readonly fds?: number;
  /** Descriptors in the store after this message. */
  readonly stored?: number;
  readonly pid?: number;
  readonly exit?: number;
}

export class Manager {
  readonly socket: string;
  readonly #process: Process;

  constructor(lab: Lab, socket: string) {
    this.socket = socket;
    this.#process = lab.spawn(['python3', SCRIPT, socket], 'manager', { stdio: ['pipe', 'pipe', 'pipe'] });
  }

  get log(): string {
    return this.#process.stderr;
  }

  get events(): Event[] {
    const whole = this.#process.stdout.slice(0, this.#process.stdout.lastIndexOf('\n') + 1);
    return whole
      .split('\n')
      .filter((line) => line !== '')
      .map((line) => JSON.parse(line) as Event);
  }

  get messages(): string[] {
    return this.events.flatMap((event) => event.message ?? []);
  }

  start(argv: readonly string[], env: Readonly<Record<string, string>> = {}): void {
    this.#order({ start: argv, env });
  }

  signal(name: string): void {
    this.#order({ signal: name });
  }

  /** The first event from `from` on that fits. */
  async wait(what: string, fits: (event: Event) => boolean, from = 0, seconds = 20): Promise<Event> {
    for (const late = Date.now() + seconds * 1000; ; await new Promise((resolve) => setTimeout(resolve, 10))) {
      const found = this.events.slice(from).find(fits);
      if (found) return found;
      if (Date.now() > late || this.#process.code !== undefined)
        assert.fail(`${what}: not within ${seconds} s\n${this.#process.tail()}`);
    }
  }

  says(line: string, from = 0, seconds = 20): Promise<Event> {
    return this.wait(
      line,
      (event) => event.message?.split('\n').some((one) => one.startsWith(line)) ?? false,
      from,
      seconds,
    );
  }

  #order(order: object): void {
    this.#process.child.stdin!.write(`${JSON.stringify(order)}\n`);
  }
}
