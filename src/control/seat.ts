/**
 * One worker thread's place, and what outlives the thread: counters, the descriptor that wakes it, how often it was started.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import type { Worker } from 'node:worker_threads';
import { Counter, counterView, newCounters } from '../contract/counters.js';
import { type FromWorker, Mail, newMailbox, type ToWorker, type WorkerInit } from '../contract/mailbox.js';
import { native } from '../native.js';

const READY_MS = 30_000;
const STOP_MS = 3000;
/** ALIVE never lags by more in a healthy worker. */
const LAG_SECONDS = 2;

export type SeatState = 'starting' | 'ready' | 'stuck' | 'dead';

/** What all workers are told alike. */
export type Orders = Omit<WorkerInit, 'index' | 'wakeFd' | 'counters' | 'mailbox'>;

export interface SeatListener {
  /** Called with everything but the first `ready`. */
  said(seat: Seat, message: FromWorker): void;
  failed(seat: Seat, error: Error): void;
  /** The thread has ended; `was`: in which state. */
  ended(seat: Seat, code: number, was: SeatState): void;
}

type Ready = Extract<FromWorker, { kind: 'ready' }>;

export class Seat {
  readonly index: number;
  readonly counters: Float64Array;
  state: SeatState = 'starting';
  restarts = 0;
  /** Share of the last second that it was busy. */
  busy = 0;
  #worker: Worker | null = null;
  #mailbox = new Int32Array(newMailbox());
  #lastBusy = 0;
  #lastWait = 0;
  readonly #shared = newCounters();
  readonly #wakeFd = native.wakeCreate();
  readonly #listener: SeatListener;

  constructor(index: number, listener: SeatListener) {
    this.index = index;
    this.counters = counterView(this.#shared);
    this.#listener = listener;
  }

  get taken(): boolean {
    return this.#worker !== null;
  }

  /** Gives the place to a parked worker; resolves when that moves packets. */
  start(worker: Worker, orders: Orders): Promise<Ready> {
    const mailbox = newMailbox();
    this.#mailbox = new Int32Array(mailbox);
    this.#worker = worker;
    this.state = 'starting';
    native.wakeClear(this.#wakeFd);
    worker.ref();
    return new Promise((resolve, reject) => {
      const late = setTimeout(
        () => reject(new Error(`worker ${this.index} was not ready after ${READY_MS / 1000} s`)),
        READY_MS,
      );
      worker.on('message', (message: FromWorker) => {
        if (message.kind !== 'ready') return this.#listener.said(this, message);
        clearTimeout(late);
        this.state = 'ready';
        resolve(message);
      });
      worker.on('error', (error) => {
        clearTimeout(late);
        this.#listener.failed(this, error);
        reject(error);
      });
      const ended = (code: number): void => {
        clearTimeout(late);
        if (this.#worker !== worker) return;
        const was = this.state;
        this.#worker = null;
        this.state = 'dead';
        reject(new Error(`worker ${this.index} ended with code ${code} before it was ready`));
        this.#listener.ended(this, code, was);
      };
      worker.on('exit', ended);
      const init: WorkerInit = {
        ...orders,
        index: this.index,
        wakeFd: this.#wakeFd,
        counters: this.#shared,
        mailbox,
      };
      if (worker.threadId === -1) ended(1);
      else worker.postMessage(init);
    });
  }

  send(message: ToWorker): void {
    if (!this.#worker) return;
    this.#worker.postMessage(message);
    Atomics.add(this.#mailbox, Mail.SENT, 1);
    native.wakeSet(this.#wakeFd);
  }

  /** Asks it to end, waits, then insists. False when it had to be ended by force. */
  async stop(): Promise<boolean> {
    const worker = this.#worker;
    if (!worker) return true;
    // `stopped` is its last word: it touches neither queue nor table any more. The thread's own end takes a while longer.
    const ended = new Promise<boolean>((resolve) => {
      worker.once('exit', () => resolve(true));
      worker.on('message', (message: FromWorker) => message.kind === 'stopped' && resolve(true));
    });
    this.send({ kind: 'stop' });
    const polite = await Promise.race([ended, sleep(STOP_MS, false, { ref: false })]);
    await (polite || this.end());
    if (this.#worker === worker) this.#worker = null;
    this.state = 'dead';
    return polite;
  }

  /** Ends the thread wherever it is. */
  async end(): Promise<void> {
    const worker = this.#worker;
    this.#worker = null;
    this.state = 'dead';
    await worker?.terminate();
  }

  /** Once a second: how busy it was, and whether it moves. Returns the seconds since its last cycle. */
  look(): number {
    const busy = this.counters[Counter.BUSY_SECONDS]!;
    const wait = this.counters[Counter.WAIT_SECONDS]!;
    const span = busy - this.#lastBusy + wait - this.#lastWait;
    this.busy = span > 0 ? Math.min(1, (busy - this.#lastBusy) / span) : 0;
    this.#lastBusy = busy;
    this.#lastWait = wait;
    if (this.state !== 'ready' && this.state !== 'stuck') return 0;
    const alive = Atomics.load(this.#mailbox, Mail.ALIVE);
    if (alive === 0) return 0;
    const lag = Math.floor(native.boottime() / 1000) - alive;
    this.state = lag > LAG_SECONDS ? 'stuck' : 'ready';
    return lag;
  }

  /** Closes the wake descriptor; once, when no thread has it. */
  close(): void {
    native.closeFd(this.#wakeFd);
  }
}
