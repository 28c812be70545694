/**
 * The real daemon in a namespace, driven as a user drives it: a config file, `tungate up` in the foreground, the other
 * verbs beside it, signals. Nothing of tungate is imported; what is tested is what is shipped.
 */
import { existsSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Namespace, Process, RunResult } from './namespace.js';

const CLI = fileURLToPath(new URL('../cli.js', import.meta.url));
let made = 0;

export class Daemon {
  readonly dir: string;
  readonly configFile: string;
  readonly runtimeDir: string;
  process!: Process;

  constructor(
    readonly ns: Namespace,
    config: string,
  ) {
    if (!existsSync(CLI)) throw new Error(`${CLI} is missing: run "npm run build"`);
    this.dir = join(ns.lab.dir, `daemon-${made++}`);
    this.configFile = join(this.dir, 'tungate.yaml');
    this.runtimeDir = join(this.dir, 'run');
    mkdirSync(this.runtimeDir, { recursive: true });
    this.configure(config);
  }

  static async start(ns: Namespace, config: string): Promise<Daemon> {
    const daemon = new Daemon(ns, config);
    await daemon.up();
    return daemon;
  }

  configure(config: string): void {
    writeFileSync(this.configFile, config);
  }

  /** Starts it; resolves when it says that packets flow. */
  async up(): Promise<void> {
    this.launch();
    await this.process.waitFor(/\bready\b/);
  }

  /** Starts it and does not wait. */
  launch(...options: string[]): void {
    this.process = this.ns.spawn(this.#argv('up', '-c', this.configFile, ...options));
  }

  /** `tungate VERB …` beside the daemon. */
  cli(...args: string[]): Promise<RunResult> {
    return this.ns.run(this.#argv(...args));
  }

  /** Like cli, with --json, parsed; an exit code other than 0 is an error. */
  async json<T>(...args: string[]): Promise<T> {
    const result = await this.cli(...args, '--json');
    if (result.code !== 0) throw new Error(`tungate ${args.join(' ')}: exit ${result.code}: ${result.stderr.trim()}`);
    return JSON.parse(result.stdout) as T;
  }

  /** A new config and `tungate reload`; the result is the verb's. */
  reload(config: string): Promise<RunResult> {
    this.configure(config);
    return this.cli('reload');
  }

  /** SIGTERM, as systemd would. Returns the exit code. */
  stop(signal: NodeJS.Signals = 'SIGTERM'): Promise<number> {
    return this.process.stop(signal);
  }

  /** SIGKILL: no time to undo anything. */
  async kill(): Promise<void> {
    await this.process.stop('SIGKILL');
  }

  #argv(...args: string[]): string[] {
    const [verb, ...rest] = args;
    return [process.execPath, CLI, verb!, '--runtime-dir', this.runtimeDir, ...rest];
  }
}
