/**
 * The data plane as control sees it: a set of worker threads (park.ts, seat.ts), one a TUN queue, that obey one plan.
 *
 * Theory of operation. All workers share the flow table. Worker 0 opens it (format or adopt, lock reset, indexes
 * rebuilt) and says 'ready' before any other is told to start, so nobody looks at a table that is being rebuilt. For the same
 * reason one worker is never restarted alone: it may have died holding the table's lock, so when one dies all are ended
 * and started again over the same file; flows survive, the kernel queues packets for the moment.
 *
 * Messages go by MessagePort plus the wake eventfd (contract/mailbox.ts). Answers are matched by plan generation or by id.
 * A worker that does not finish a cycle for STUCK_SECONDS is treated as dead. Restarts wait longer each time one dies
 * young. What was asked of the workers for as long as it lasts (the plan, a capture) is asked of their successors too.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { getSystemErrorName } from 'node:util';
import type { Worker } from 'node:worker_threads';
import type { SeenAnswer, TraceAnswer } from '../contract/api.js';
import type { CaptureFilter } from '../contract/capture.js';
import { newHostRates } from '../contract/host-rates.js';
import type { LinkStatus } from '../contract/links.js';
import type { FromWorker, ToWorker, TracePacket, WatchFilter } from '../contract/mailbox.js';
import type { Plan } from '../contract/plan.js';
import { native } from '../native.js';
import type { Log } from './early-log.js';
import { parkWorker } from './park.js';
import { Seat, type SeatState } from './seat.js';
import { logTranslations } from './translations.js';

const ANSWER_MS = 10_000;
/** Rows that a worker takes in or ends between two batches. */
export const FLOWS_A_MESSAGE = 1024;
const STUCK_SECONDS = 10;
const WATCH_MS = 1000;
/** A worker that lived this long died of something new: the delay before its restart starts again from nothing. */
const OLD_MS = 60_000;
const MAX_DELAY_MS = 30_000;

type LinkState = Extract<FromWorker, { kind: 'link-state' }>;
export type LinkMessage = LinkState | Extract<FromWorker, { kind: 'link-silent' }>;

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
  readonly log: Log;
  /** A thread that has loaded its program already: the first one's. */
  readonly parked?: Worker | undefined;
  /** The engine's worker, unless a test brings one that dies when it is told to. */
  readonly entry?: URL;
  /** The TUN went away under a worker. Called once until `start` is called again. */
  readonly onLinkLost: (message: string) => void;
}

export class WorkerSet {
  onLinkLost: (message: string) => void;
  #plan: Plan;
  #tunFds: readonly number[];
  #parked: Worker | undefined;
  #capture: { readonly rings: readonly SharedArrayBuffer[]; readonly filter: CaptureFilter } | null = null;
  #watched: { readonly order: ToWorker & { kind: 'watch' }; readonly take: (answer: SeenAnswer) => void } | null = null;
  #stopping = false;
  /** Aborted by stop: wakes a restart that waits. */
  #end = new AbortController();
  #restarting: Promise<void> | null = null;
  /** performance.now() */
  #lastDeath = Number.NEGATIVE_INFINITY;
  #delay = 0;
  #id = 0;
  #watch: NodeJS.Timeout | undefined;
  /** Worker 0's end and the others': what these have for site links, which are worker 0's. */
  readonly #handOver: readonly number[];
  readonly #hostRates = newHostRates();
  readonly #seats: readonly Seat[];
  readonly #options: WorkerSetOptions;
  /** What was last said of each link's port; and who wants to hear of links. */
  readonly #linkStates = new Map<string, LinkState>();
  #takeLink: ((message: LinkMessage) => void) | null = null;
  readonly #waiting = new Set<(index: number, message: FromWorker | null) => void>();

  constructor(options: WorkerSetOptions) {
    this.#options = options;
    this.#plan = options.plan;
    this.#tunFds = options.tunFds;
    this.#parked = options.parked;
    this.onLinkLost = options.onLinkLost;
    const listener = {
      said: (seat: Seat, message: FromWorker) => this.#said(seat, message),
      failed: (seat: Seat, error: Error) => options.log.error({ err: error }, `worker ${seat.index} died`),
      ended: (seat: Seat, code: number, was: SeatState) => this.#ended(seat, code, was),
    };
    this.#handOver = options.tunFds.length > 1 ? native.pairCreate() : [];
    this.#seats = options.tunFds.map((_, index) => new Seat(index, listener));
  }

  get size(): number {
    return this.#seats.length;
  }

  get counters(): Float64Array[] {
    return this.#seats.map((seat) => seat.counters);
  }

  status(): { index: number; state: SeatState; restarts: number; busy: number }[] {
    return this.#seats.map(({ index, state, restarts, busy }) => ({ index, state, restarts, busy }));
  }

  // ---- Life.

  /** Starts all workers and waits until each has said 'ready'. `tunFds`: new descriptors after the link was lost. */
  async start(tunFds: readonly number[] = this.#tunFds): Promise<void> {
    this.#tunFds = tunFds;
    this.#stopping = false;
    this.#end = new AbortController();
    const [first, ...others] = this.#seats;
    // They load while the first one opens the table.
    const parked = others.map(() => parkWorker(this.#options.entry));
    await this.#startOne(first!, this.#parked ?? parkWorker(this.#options.entry));
    await Promise.all(others.map((seat, i) => this.#startOne(seat, parked[i]!)));
    clearInterval(this.#watch);
    this.#watch = setInterval(() => this.#look(), WATCH_MS);
    this.#watch.unref();
  }

  async #startOne(seat: Seat, worker: Worker): Promise<void> {
    this.#parked = undefined;
    const { log, tableFile, flows } = this.#options;
    const tunFd = this.#tunFds[seat.index]!;
    const handOver = this.#handOver[Math.min(seat.index, 1)] ?? -1;
    const hostRates = this.#hostRates;
    const orders = { workers: this.#seats.length, tunFd, handOver, tableFile, flows, hostRates, plan: this.#plan };
    const { refused, adopted, unraised } = await seat.start(worker, orders);
    if (unraised && seat.index === 0)
      log.info(
        `workers: other programs delay packets when the processors are full, as the priority (nice -10) is not allowed (${getSystemErrorName(-unraised)}): as root, with CAP_SYS_NICE or with LimitNICE=-10 in the unit it is`,
      );
    if (refused) log.warn(`${tableFile}: the flow table of the last run was not taken, flows begin anew: ${refused}`);
    if (adopted > 0) log.info(`took over ${adopted} live flows`);
    if (this.#capture) this.#sendCapture(seat);
    if (this.#watched) seat.send(this.#watched.order);
  }

  /** Ends all workers: asks, waits, then insists. */
  async stop(): Promise<void> {
    this.#stopping = true;
    this.#end.abort();
    clearInterval(this.#watch);
    await Promise.all(
      this.#seats.map(async (seat) => {
        if (!(await seat.stop())) this.#options.log.warn(`worker ${seat.index} did not stop when asked; it was ended`);
      }),
    );
    await this.#restarting;
  }

  /** Closes the wake descriptors. After `stop`, once. */
  close(): void {
    for (const seat of this.#seats) seat.close();
    for (const fd of this.#handOver) native.closeFd(fd);
  }

  #said(seat: Seat, message: FromWorker): void {
    const { log } = this.#options;
    if (message.kind === 'notice') log.warn(message.text);
    else if (message.kind === 'translations') logTranslations(log, message.events, message.lost);
    else if (message.kind === 'seen') {
      if (message.id === this.#watched?.order.id) this.#watched.take(message.answer);
    } else if (message.kind === 'link-state' || message.kind === 'link-silent') {
      if (message.kind === 'link-state') this.#linkStates.set(message.link, message);
      this.#takeLink?.(message);
    } else if (message.kind === 'link-lost') {
      if (this.#stopping) return;
      this.#stopping = true;
      this.onLinkLost(message.message);
    } else for (const listener of [...this.#waiting]) listener(seat.index, message);
  }

  #ended(seat: Seat, code: number, was: SeatState): void {
    for (const listener of [...this.#waiting]) listener(seat.index, null);
    if (!this.#stopping && was !== 'starting') this.#restart(`worker ${seat.index} ended with code ${code}`);
  }

  /** Once a second: who is stuck, and how busy everybody was. */
  #look(): void {
    for (const seat of this.#seats) {
      const lag = seat.look();
      if (lag > STUCK_SECONDS && !this.#stopping) this.#restart(`worker ${seat.index} has not moved for ${lag} s`);
    }
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
        await Promise.all(this.#seats.map((seat) => seat.end()));
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

  // ---- Questions and orders.

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
    for (let at = 0; at < flows.length; at += FLOWS_A_MESSAGE) {
      const slice = flows.slice(at, at + FLOWS_A_MESSAGE);
      const answer = await this.#askFirst(
        'flows-ended',
        (id) => ({ kind: 'end-flows', id, flows: slice }),
        'end flows',
      );
      ended += answer?.ended ?? 0;
    }
    return ended;
  }

  /** Takes packed mappings and flows in (contract/import.ts), at most FLOWS_A_MESSAGE of them. Returns their fates. */
  async import(
    mappings: Int32Array,
    flows: Int32Array,
    bytes: Float64Array,
  ): Promise<{ mappings: number[]; flows: number[] }> {
    const order = (id: number): ToWorker => ({ kind: 'import', id, mappings, flows, bytes });
    return (await this.#askFirst('imported', order, 'take flows in')) ?? { mappings: [], flows: [] };
  }

  /** Asks the engine what would become of a packet. */
  async trace(packet: TracePacket): Promise<TraceAnswer | null> {
    const order = (id: number): ToWorker => ({ kind: 'trace', id, packet });
    return (await this.#askFirst('traced', order, 'trace a packet'))?.answer ?? null;
  }

  /** A request of wg(8) to the device of a link, without its empty line. Null when the worker died over it. */
  linkAsk(link: string, text: string): Promise<Extract<FromWorker, { kind: 'link-answer' }> | null> {
    return this.#askFirst('link-answer', (id) => ({ kind: 'link-ask', id, link, text }), 'ask a link');
  }

  async linkStatus(): Promise<readonly LinkStatus[]> {
    const order = (id: number): ToWorker => ({ kind: 'link-status', id });
    return (await this.#askFirst('link-statuses', order, 'tell how the links are'))?.links ?? [];
  }

  /** Takes what is said of links: at once what was said last of each, then all that comes. */
  onLink(take: (message: LinkMessage) => void): void {
    this.#takeLink = take;
    for (const message of this.#linkStates.values()) take(message);
  }

  /** Each worker copies into its ring; null ends it. Workers that are started again meanwhile go on with it. */
  capture(rings: readonly SharedArrayBuffer[], filter: CaptureFilter | null): void {
    this.#capture = filter && { rings, filter };
    for (const seat of this.#seats) this.#sendCapture(seat);
  }

  #sendCapture(seat: Seat): void {
    const { rings, filter } = this.#capture ?? { rings: [], filter: null };
    seat.send({ kind: 'capture', ring: rings[seat.index] ?? null, filter });
  }

  /** Each worker explains the next `count` packets that the filter names; null ends it. Successors of workers go on with it. */
  watch(filter: WatchFilter | null, count = 0, take: (answer: SeenAnswer) => void = () => {}): void {
    const order = { kind: 'watch', id: ++this.#id, filter, count } as const;
    this.#watched = filter && { order, take };
    for (const seat of this.#seats) seat.send(order);
  }

  /** Asks one worker: what is in the table any of them can answer. Null when it died over it. */
  async #askFirst<K extends 'flows-ended' | 'imported' | 'traced' | 'link-answer' | 'link-statuses'>(
    kind: K,
    order: (id: number) => ToWorker,
    what: string,
  ): Promise<Extract<FromWorker, { kind: K }> | null> {
    await this.#restarting;
    const id = ++this.#id;
    let answer: Extract<FromWorker, { kind: K }> | null = null;
    const isAnswer = (message: FromWorker): boolean => {
      if (message.kind !== kind || !('id' in message) || message.id !== id) return false;
      answer = message as Extract<FromWorker, { kind: K }>;
      return true;
    };
    await this.#ask(order(id), what, isAnswer, this.#seats.slice(0, 1));
    return answer;
  }

  /** Sends and waits for one answer of each seat. A worker that dies meanwhile counts as having answered: it is born with the new plan. */
  #ask(
    message: ToWorker,
    what: string,
    isAnswer: (message: FromWorker) => boolean,
    seats = this.#seats,
  ): Promise<void> {
    const open = new Set(seats.filter((seat) => seat.taken).map((seat) => seat.index));
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
      for (const seat of seats) seat.send(message);
    });
  }
}
