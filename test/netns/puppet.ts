/**
 * The shipped daemon on strings: `puppet.js RUNTIME_DIR CONFIG` is `tungate up` whose process also obeys lines on stdin, for what
 * cannot be done to a process from outside:
 *
 *   kill-worker     ends a worker thread at once, wherever it is
 *   stall SECONDS   the control thread does nothing else for so long
 *   clock SECONDS   the wall clock of the control thread is off by so much (workers must not have one)
 *   garbage         collects garbage, so that memory can be compared (needs --expose-gc)
 *
 * The strings are tied to Node's own objects before the daemon is loaded; its code knows nothing of them.
 */
import { syncBuiltinESMExports } from 'node:module';
import { createInterface } from 'node:readline';
import workerThreads, { type Worker } from 'node:worker_threads';

const alive = new Set<Worker>();
const RealWorker = workerThreads.Worker;
workerThreads.Worker = class extends RealWorker {
  constructor(...args: ConstructorParameters<typeof RealWorker>) {
    super(...args);
    alive.add(this);
    this.once('exit', () => alive.delete(this));
  }
};
syncBuiltinESMExports();

let shift = 0;
const RealDate = Date;
globalThis.Date = class extends RealDate {
  constructor(...args: unknown[]) {
    if (args.length === 0) super(RealDate.now() + shift);
    else super(...(args as [number]));
  }
  static override now(): number {
    return RealDate.now() + shift;
  }
} as DateConstructor;

const orders: Readonly<Record<string, (value: number) => unknown>> = {
  'kill-worker': () => [...alive][0]?.terminate(),
  stall: (seconds) => Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, seconds * 1000),
  clock: (seconds) => {
    shift = seconds * 1000;
  },
  garbage: () => (globalThis as { gc?: () => void }).gc?.(),
};
createInterface({ input: process.stdin }).on('line', (line) => {
  const [order = '', value] = line.split(' ');
  orders[order]?.(Number(value));
  process.stderr.write(`puppet: done ${line}\n`);
});

const { runtimePaths } = await import('../../src/control/runtime-dir.js');
const { runDaemon } = await import('../../src/main.js');
const [runtimeDir, configFile] = process.argv.slice(2);
process.exit(await runDaemon({ configFile: configFile!, paths: runtimePaths(runtimeDir) }));
