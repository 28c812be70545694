/**
 * TUN, workers and flow table as one: how they begin, go on, and end. The router (router.ts) says when.
 *
 * There are two beginnings. Without a data plane the TUN is opened, the workers open the table and take the plan. With one that runs
 * since before the config was read (resume.ts) nothing is opened: what config and host say now is brought to it, as by a
 * reload; where that is what it obeys already, nothing happens.
 */
import { lstatSync, rmSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { isDeepStrictEqual } from 'node:util';
import type { Worker } from 'node:worker_threads';
import { tableLayout } from '../contract/table-layout.js';
import { native } from '../native.js';
import type { Compiled } from './compiled.js';
import type { Log } from './early-log.js';
import { TableReader } from './flows.js';
import type { KernelHold } from './kernel-hold.js';
import { writeMemory } from './memory.js';
import type { Config } from './model.js';
import { forgetPlan, type Resumed, writePlan } from './resume.js';
import type { RuntimePaths } from './runtime-dir.js';
import { WorkerSet } from './workers.js';

/** Keeps the TUN's queues from one run to the next, where somebody does. */
export interface FdStore {
  /** Queues that were kept; they are the caller's from now on. */
  takeTunFds(): readonly number[];
  /** Called with the queues of each TUN that is made, and with none when there is none to keep. */
  storeTunFds(fds: readonly number[]): void;
}

export interface DataPlaneOptions {
  readonly paths: RuntimePaths;
  readonly log: Log;
  readonly fdStore?: FdStore;
  /** A thread that has loaded its program already. */
  readonly parked?: Worker;
  /** A data plane that runs since before the config was read; then `parked` is part of it. */
  readonly resumed?: Resumed | null;
}

/** One queue and one worker; a processor is left for everybody else. */
export function queuesFor({ workers }: Config): number {
  return workers || Math.max(1, availableParallelism() - 1);
}

export class DataPlane {
  workers: WorkerSet | null = null;
  table: TableReader | null = null;
  readonly #hold: KernelHold;
  readonly #options: DataPlaneOptions;
  readonly #linkLost: (message: string) => void;

  /** `linkLost`: the TUN was deleted under the workers. */
  constructor(hold: KernelHold, options: DataPlaneOptions, linkLost: (message: string) => void) {
    this.#hold = hold;
    this.#options = options;
    this.#linkLost = linkLost;
  }

  /** Returns, when packets flow, what is in force: `compiled`, or the same under the number that it has already. */
  async start(config: Config, compiled: Compiled): Promise<Compiled> {
    const { resumed, paths } = this.#options;
    const inForce = resumed ? await this.#join(resumed, compiled) : await this.#begin(config, compiled);
    const layout = tableLayout(config.limits.flows);
    this.table = new TableReader(native.mapFile(paths.flows, layout.bytes).buffer, layout);
    return inForce;
  }

  async #begin(config: Config, compiled: Compiled): Promise<Compiled> {
    const { paths, log, fdStore, parked } = this.#options;
    const { plan, tunAddresses, memory } = compiled;
    const { fds } = this.#hold.openTun(config.tun.name, queuesFor(config), tunAddresses, fdStore?.takeTunFds());
    fdStore?.storeTunFds(fds);
    const { flows } = config.limits;
    this.workers = new WorkerSet({
      tunFds: fds,
      tableFile: paths.flows,
      flows,
      plan,
      log,
      parked,
      onLinkLost: this.#linkLost,
    });
    writeMemory(paths.memory, memory);
    this.#dropOtherTable(tableLayout(flows).bytes);
    await this.workers.start();
    return compiled;
  }

  async #join({ record, workers, started, lost }: Resumed, compiled: Compiled): Promise<Compiled> {
    this.workers = workers;
    workers.onLinkLost = this.#linkLost;
    const message = lost();
    if (message !== undefined) this.#linkLost(message);
    this.#options.fdStore?.storeTunFds(this.#hold.tun!.fds);
    await started;
    const { generation } = record.plan;
    const plan = { ...compiled.plan, generation };
    if (isDeepStrictEqual(plan, record.plan)) return { ...compiled, plan, memory: { ...compiled.memory, generation } };
    writeMemory(this.#options.paths.memory, compiled.memory);
    this.#hold.reserve(compiled);
    await workers.setPlan(compiled.plan);
    return compiled;
  }

  /** A table of another size (cut, or for another number of flows) cannot be taken over; as a file it would keep its memory. */
  #dropOtherTable(bytes: number): void {
    const { paths, log } = this.#options;
    const there = lstatSync(paths.flows, { throwIfNoEntry: false });
    if (!there || (there.isFile() && there.size === bytes)) return;
    if (!there.isFile())
      throw new Error(`${paths.flows}: not an ordinary file; the flow table is to be there, so move it away`);
    log.warn(
      `${paths.flows}: has ${there.size} bytes instead of ${bytes}: it was cut, or limits.flows was another in the last run; its flows are not taken over`,
    );
    rmSync(paths.flows);
  }

  /** A new TUN in place of one that was deleted: new descriptors for the workers, which go on with the table. */
  async renewTun(name: string): Promise<void> {
    const workers = this.workers!;
    await workers.stop();
    this.#hold.closeTun();
    const { fds } = this.#hold.openTun(name, workers.size, []);
    this.#options.fdStore?.storeTunFds(fds);
    await workers.start(fds);
  }

  /** Notes what is in force for a next start that goes on at once; `not`: that one is to differ from this run. */
  remember({ file, limits }: Config, { plan, tunAddresses }: Compiled, not: boolean): void {
    const { paths, log } = this.#options;
    const { tun } = this.#hold;
    try {
      if (not || !tun) forgetPlan(paths);
      else {
        const { name, fds } = tun;
        writePlan(paths, file, { tun: name, queues: fds.length, flows: limits.flows, tunAddresses, plan });
      }
    } catch (error) {
      log.debug({ err: error }, 'cannot note the plan; a start after a crash will take longer');
    }
  }

  /** `keep`: whoever keeps the TUN's queues for the next run goes on keeping them. */
  async stop(keep: boolean): Promise<void> {
    await this.workers?.stop();
    this.workers?.close();
    if (!keep) this.#options.fdStore?.storeTunFds([]);
    this.#hold.closeTun();
    this.table = null;
  }
}
