/**
 * The data plane as control sees it: a set of worker threads, one a TUN queue, that obey one plan.
 *
 * Theory of operation. All workers share the flow table. Worker 0 opens it (format or adopt, lock reset, indexes
 * rebuilt) and says 'ready' before any other starts, so nobody looks at a table that is being rebuilt. For the same
 * reason one worker is never restarted alone: it may have died holding the table's lock, so when one dies all are ended
 * and started again over the same file; flows survive, the kernel queues packets for the moment.
 *
 * Messages go by MessagePort plus the wake eventfd (contract/mailbox.ts). Answers are matched by plan generation or by id.
 * A worker that does not finish a cycle for STUCK_SECONDS is treated as dead. Restarts wait longer each time one dies
 * young. Counters and descriptors belong to the set, not to the threads: they outlive restarts.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { Worker } from 'node:worker_threads';
import type { TraceAnswer } from '../contract/api.js';
import type { CaptureFilter } from '../contract/capture.js';
import { Counter, counterView, newCounters } from '../contract/counters.js';
import {
  type FromWorker,
  Mail,
  newMailbox,
  type ToWorker,
  type TracePacket,
  type WorkerInit,
} from '../contract/mailbox.js';
import type { Plan } from '../contract/plan.js';
import { native } from '../native.js';
import type { Logger } from './log.js';
import { logTranslations } from './translations.js';

const READY_MS = 30_000;
const ANSWER_MS = 10_000;
const STOP_MS = 3000;
/** Rows that a worker takes in or ends between two batches. */
export const FLOWS_A_MESSAGE = 1024;
/** ALIVE never lags by more than two seconds in a healthy worker. */
const STUCK_SECONDS = 10;
const WATCH_MS = 1000;
/** A worker that lived this long died of something new: the delay before its restart starts again from nothing. */
const OLD_MS = 60_000;
const MAX_DELAY_MS = 30_000;

/**
 * Flows and packets are outside the heap, and a cycle allocates nothing: what lives there is code and the plan. The young
 * generation is small because only reloads fill it; a heap that grows past the old one's limit ends the worker, not the process.
 */
const WORKER_HEAP = { maxYoungGenerationSizeMb: 4, maxOldGenerationSizeMb: 256 };

const WORKER_ENTRY = new URL('../datapath/worker.js', import.meta.url);

export interface Swapped {
  readonly stayed: number;
  readonly moved: number;
  readonly ended: number;
}

export interface WorkerSetOptions {
  /** One a worker; they stay the owner's. */
  readonly tunFds: readonly number[];
  readonly tableFile: string;
  /** Rows of the table (`limits.flows`). */
  readonly flows: number;
  readonly plan: Plan;
  readonly log: Logger;
  /** The engine's worker, unless a test brings one that dies when it is told to. */
  readonly entry?: URL;
  /** The TUN went away under a worker. Called once until `start` is called again. */
  readonly onLinkLost: (message: string) => void;
}

type State = 'starting' | 'ready' | 'stuck' | 'dead';

interface Seat {
  readonly index: number;
  readonly counters: SharedArrayBuffer;
  readonly view: Float64Array;
  readonly wakeFd: number;
  mailbox: Int32Array;
  worker: Worker | null;
  state: State;
  restarts: number;
  busy: number;
  lastBusy: number;
  lastWait: number;
}

export class WorkerSet {
  #plan: Plan;
  #tunFds: readonly number[];
  #stopping = false;
  /** Aborted by stop: wakes a restart that waits. */
  #end = new AbortController();
  #restarting: Promise<void> | null = null;
  /** performance.now() */
  #lastDeath = Number.NEGATIVE_INFINITY;
  #delay = 0;
  #id = 0;
  #watch: NodeJS.Timeout | undefined;
  readonly #seats: Seat[];
  readonly #options: WorkerSetOptions;
  readonly #waiting = new Set<(index: number, message: FromWorker | null) => void>();

  constructor(options: WorkerSetOptions) {
    this.#options = options;
    this.#plan = options.plan;
    this.#tunFds = options.tunFds;
    this.#seats = options.tunFds.map((_, index) => {
      const counters = newCounters();
      return {
        index,
        counters,
        view: counterView(counters),
        wakeFd: native.wakeCreate(),
        mailbox: new Int32Array(newMailbox()),
        worker: null,
        state: 'starting',
        restarts: 0,
        busy: 0,
        lastBusy: 0,
        lastWait: 0,
      };
    });
  }

  get size(): number {
    return this.#seats.length;
  }

  get counters(): Float64Array[] {
    return this.#seats.map((seat) => seat.view);
  }

  status(): { index: number; state: State; restarts: number; busy: number }[] {
    return this.#seats.map(({ index, state, restarts, busy }) => ({ index, state, restarts, busy }));
  }

  /** Starts all workers and waits until each has said 'ready'. `tunFds`: new descriptors after the link was lost. */
  async start(tunFds: readonly number[] = this.#tunFds): Promise<void> {
    this.#tunFds = tunFds;
    this.#stopping = false;
    this.#end = new AbortController();
    const [first, ...others] = this.#seats;
    await this.#startOne(first!);
    await Promise.all(others.map((seat) => this.#startOne(seat)));
    clearInterval(this.#watch);
    this.#watch = setInterval(() => this.#look(), WATCH_MS);
    this.#watch.unref();
  }

  /** Hands every worker a new plan and waits until all obey it. Sums up what became of the live flows. */
  async setPlan(plan: Plan): Promise<Swapped> {
    this.#plan = plan;
    await this.#restarting;
    const sum = { stayed: 0, moved: 0, ended: 0 };
    await this.#ask({ kind: 'plan', plan }, `take plan ${plan.generation}`, (message) => {
      if (message.kind !== 'plan-done' || message.generation !== plan.generation) return false;
      sum.stayed += message.stayed;
      sum.moved += message.moved;
      sum.ended += message.ended;
      return true;
    });
    return sum;
  }

  /** Ends these flows if they are still the ones that were seen. Returns how many were. */
  async endFlows(flows: readonly { index: number; generation: number }[]): Promise<number> {
    let ended = 0;
    // A slice at a time: the worker holds the table's lock meanwhile.
    for (let at = 0; at < flows.length; at += FLOWS_A_MESSAGE)
      ended += await this.#endSlice(flows.slice(at, at + FLOWS_A_MESSAGE));
    return ended;
  }

  /** Takes packed mappings and flows in (contract/import.ts), at most FLOWS_A_MESSAGE of them. Returns their fates. */
  async import(
    mappings: Int32Array,
    flows: Int32Array,
    bytes: Float64Array,
  ): Promise<{ mappings: number[]; flows: number[] }> {
    await this.#restarting;
    const id = ++this.#id;
    let fates: { mappings: number[]; flows: number[] } = { mappings: [], flows: [] };
    await this.#ask(
      { kind: 'import', id, mappings, flows, bytes },
      'take flows in',
      (message) => {
        if (message.kind !== 'imported' || message.id !== id) return false;
        fates = message;
        return true;
      },
      this.#seats.slice(0, 1),
    );
    return fates;
  }

  /** Each worker copies into its ring; null ends it. Workers that are started again meanwhile do not go on with it. */
  capture(rings: readonly SharedArrayBuffer[], filter: CaptureFilter | null): void {
    for (const seat of this.#seats) this.#send(seat, { kind: 'capture', ring: rings[seat.index] ?? null, filter });
  }

  /** Asks the engine what would become of a packet. */
  async trace(packet: TracePacket): Promise<TraceAnswer | null> {
    await this.#restarting;
    const id = ++this.#id;
    let answer: TraceAnswer | null = null;
    await this.#ask(
      { kind: 'trace', id, packet },
      'trace a packet',
      (message) => {
        if (message.kind !== 'traced' || message.id !== id) return false;
        answer = message.answer;
        return true;
      },
      this.#seats.slice(0, 1),
    );
    return answer;
  }

  async #endSlice(flows: readonly { index: number; generation: number }[]): Promise<number> {
    await this.#restarting;
    const id = ++this.#id;
    let ended = 0;
    // Any worker may end any row; one is enough.
    await this.#ask(
      { kind: 'end-flows', id, flows },
      'end flows',
      (message) => {
        if (message.kind !== 'flows-ended' || message.id !== id) return false;
        ended += message.ended;
        return true;
      },
      this.#seats.slice(0, 1),
    );
    return ended;
  }

  /** Ends all workers: asks, waits, then insists. */
  async stop(): Promise<void> {
    this.#stopping = true;
    this.#end.abort();
    clearInterval(this.#watch);
    await Promise.all(
      this.#seats.map(async (seat) => {
        const worker = seat.worker;
        if (!worker) return;
        const exited = new Promise<void>((resolve) => worker.once('exit', () => resolve()));
        this.#send(seat, { kind: 'stop' });
        const polite = await Promise.race([exited.then(() => true), sleep(STOP_MS, false, { ref: false })]);
        if (!polite) {
          this.#options.log.warn(`worker ${seat.index} did not stop in ${STOP_MS / 1000} s; ending it`);
          await worker.terminate();
        }
      }),
    );
    await this.#restarting;
  }

  /** Closes the wake descriptors. After `stop`, once. */
  close(): void {
    for (const seat of this.#seats) native.closeFd(seat.wakeFd);
  }

  #startOne(seat: Seat): Promise<void> {
    const shared = newMailbox();
    seat.mailbox = new Int32Array(shared);
    seat.state = 'starting';
    native.wakeClear(seat.wakeFd);
    const init: WorkerInit = {
      index: seat.index,
      workers: this.#seats.length,
      tunFd: this.#tunFds[seat.index]!,
      wakeFd: seat.wakeFd,
      tableFile: this.#options.tableFile,
      flows: this.#options.flows,
      counters: seat.counters,
      mailbox: shared,
      plan: this.#plan,
    };
    const worker = new Worker(this.#options.entry ?? WORKER_ENTRY, {
      workerData: init,
      name: `tungate-${seat.index}`,
      resourceLimits: WORKER_HEAP,
    });
    seat.worker = worker;
    return new Promise((resolve, reject) => {
      const late = setTimeout(
        () => reject(new Error(`worker ${seat.index} was not ready after ${READY_MS / 1000} s`)),
        READY_MS,
      );
      worker.on('message', (message: FromWorker) => {
        if (message.kind === 'ready') {
          clearTimeout(late);
          seat.state = 'ready';
          if (message.refused)
            this.#options.log.warn(`the flow table of the last run was not taken: ${message.refused}`);
          if (message.adopted > 0) this.#options.log.info(`took over ${message.adopted} live flows`);
          resolve();
        } else if (message.kind === 'notice') {
          this.#options.log.warn(message.text);
        } else if (message.kind === 'translations') {
          logTranslations(this.#options.log, message.events, message.lost);
        } else if (message.kind === 'link-lost') {
          if (this.#stopping) return;
          this.#stopping = true;
          this.#options.onLinkLost(message.message);
        } else {
          for (const listener of [...this.#waiting]) listener(seat.index, message);
        }
      });
      worker.on('error', (error) => {
        clearTimeout(late);
        this.#options.log.error({ err: error }, `worker ${seat.index} died`);
        reject(error);
      });
      worker.on('exit', (code) => {
        clearTimeout(late);
        if (seat.worker !== worker) return;
        const was = seat.state;
        seat.worker = null;
        seat.state = 'dead';
        reject(new Error(`worker ${seat.index} ended with code ${code} before it was ready`));
        for (const listener of [...this.#waiting]) listener(seat.index, null);
        if (!this.#stopping && was !== 'starting') this.#restart(`worker ${seat.index} ended with code ${code}`);
      });
    });
  }

  /** Ends and starts all workers, however many of them died meanwhile. */
  #restart(reason: string): void {
    if (this.#restarting) return;
    const now = performance.now(); // the wall clock may jump
    this.#delay = now - this.#lastDeath > OLD_MS ? 0 : Math.min(Math.max(this.#delay * 2, 500), MAX_DELAY_MS);
    this.#lastDeath = now;
    this.#restarting = (async () => {
      for (;;) {
        this.#options.log.error(
          `${reason}; starting all workers again${this.#delay ? ` in ${this.#delay} ms` : ''}, flows are kept`,
        );
        await this.#endAll();
        await sleep(this.#delay, undefined, { signal: this.#end.signal }).catch(() => {});
        if (this.#stopping) return;
        for (const seat of this.#seats) seat.restarts++;
        try {
          await this.start();
          this.#options.log.info('workers are ready again');
          return;
        } catch (error) {
          reason = error instanceof Error ? error.message : String(error);
          this.#delay = Math.min(Math.max(this.#delay * 2, 500), MAX_DELAY_MS);
        }
      }
    })().finally(() => {
      this.#restarting = null;
    });
  }

  async #endAll(): Promise<void> {
    await Promise.all(
      this.#seats.map(async (seat) => {
        const worker = seat.worker;
        seat.worker = null;
        seat.state = 'dead';
        await worker?.terminate();
      }),
    );
  }

  /** Once a second: who is stuck, and how busy everybody was. */
  #look(): void {
    const now = Math.floor(native.boottime() / 1000);
    for (const seat of this.#seats) {
      const busy = seat.view[Counter.BUSY_SECONDS]!;
      const wait = seat.view[Counter.WAIT_SECONDS]!;
      const span = busy - seat.lastBusy + wait - seat.lastWait;
      seat.busy = span > 0 ? Math.min(1, (busy - seat.lastBusy) / span) : 0;
      seat.lastBusy = busy;
      seat.lastWait = wait;
      if (seat.state !== 'ready' && seat.state !== 'stuck') continue;
      const alive = Atomics.load(seat.mailbox, Mail.ALIVE);
      if (alive === 0) continue;
      const lag = now - alive;
      seat.state = lag > 2 ? 'stuck' : 'ready';
      if (lag > STUCK_SECONDS && !this.#stopping) this.#restart(`worker ${seat.index} has not moved for ${lag} s`);
    }
  }

  #send(seat: Seat, message: ToWorker): void {
    if (!seat.worker) return;
    seat.worker.postMessage(message);
    Atomics.add(seat.mailbox, Mail.SENT, 1);
    native.wakeSet(seat.wakeFd);
  }

  /** Sends and waits for one answer of each seat. A worker that dies meanwhile counts as having answered: it is born with the new plan. */
  #ask(
    message: ToWorker,
    what: string,
    isAnswer: (message: FromWorker) => boolean,
    seats = this.#seats,
  ): Promise<void> {
    const open = new Set(seats.filter((seat) => seat.worker).map((seat) => seat.index));
    if (open.size === 0) return Promise.resolve();
    return new Promise((resolve, reject) => {
      const end = () => {
        clearTimeout(late);
        this.#waiting.delete(listener);
      };
      const late = setTimeout(() => {
        end();
        reject(new Error(`worker ${[...open].join(', ')} did not ${what} in ${ANSWER_MS / 1000} s`));
      }, ANSWER_MS);
      const listener = (index: number, answer: FromWorker | null) => {
        if (answer !== null && !isAnswer(answer)) return;
        open.delete(index);
        if (open.size > 0) return;
        end();
        resolve();
      };
      this.#waiting.add(listener);
      for (const seat of seats) this.#send(seat, message);
    });
  }
}
