/**
 * A run is a list of events on a fresh router: packets, batches, jumps of the clock, new plans, a crash and its successor,
 * flows ended by hand. `Router` carries events out and judges each batch; `generate` makes them from a seed; the same list
 * gives the same run, so a failure can be cut down (minimize.ts) and kept as a file (corpus/).
 */
import { Batch } from '../../src/batch.js';
import { Counter, counterView, newCounters } from '../../src/contract/counters.js';
import { Header, Row, tableLayout, Words } from '../../src/contract/table-layout.js';
import { VERDICTS } from '../../src/contract/verdict.js';
import { cycle } from '../../src/datapath/cycle.js';
import { Engine } from '../../src/datapath/engine.js';
import { Redecision } from '../../src/datapath/reload.js';
import { holdTime, SLICE_MS } from '../../src/flow/expiry.js';
import { joinTable, openTable } from '../../src/flow/open.js';
import type { MemoryPacket } from '../../src/link/index.js';
import { native } from '../../src/native.js';
import { checkTable } from '../flow/invariants.js';
import { GuardedLink } from './guarded-link.js';
import { Judge } from './judge.js';
import { mutate } from './mutate.js';
import { makeRepeatable, Random } from './random.js';
import { Traffic } from './traffic.js';
import { PLAN_BITS, PlanBit, planOf } from './world.js';

export type Event =
  | { readonly kind: 'packet'; readonly packet: MemoryPacket }
  /** Everything pushed so far goes through the cycle. */
  | { readonly kind: 'batch' }
  | { readonly kind: 'clock'; readonly ms: number }
  | { readonly kind: 'plan'; readonly number: number }
  /** The process is killed and its successor adopts the table. */
  | { readonly kind: 'crash' }
  /** An operator ends the flows of every `step`th row. */
  | { readonly kind: 'end-flows'; readonly step: number };

export interface Settings {
  /** Of the engine's own randomness: hash key, ports. */
  readonly seed: number;
  readonly flows: number;
  readonly workers: number;
  /** Number of the first plan (world.ts). */
  readonly plan: number;
  /** CLOCK_BOOTTIME at the start, milliseconds. */
  readonly start: number;
}

/** Batches between two walks over the whole table. */
const CHECK_EVERY = 100;
/** Slices of a sweep after a jump of the clock, at most: a little more than one round. */
const MOST_SLICES = 45;
const BOOT = Int32Array.of(1, 2, 3, 4);

export class Router {
  readonly counters = counterView(newCounters());
  readonly #settings: Settings;
  readonly #buffer: ArrayBuffer;
  readonly #batch = new Batch();
  readonly #judge = new Judge();
  readonly #link: GuardedLink;
  #engines: Engine[] = [];
  #redecision: Redecision | undefined;
  #generation = 1;
  #plan: number;
  #now: number;
  #slice: number;
  #batches = 0;
  /** Told of each packet that leaves. */
  saw: (bytes: Uint8Array) => void = () => {};

  constructor(settings: Settings) {
    makeRepeatable(new Random(settings.seed));
    this.#settings = settings;
    this.#plan = settings.plan;
    this.#now = settings.start;
    this.#slice = settings.start;
    this.#buffer = native.mapAnonymous(tableLayout(settings.flows).bytes);
    this.#link = new GuardedLink(() => this.#now);
    this.#open();
  }

  do(event: Event): void {
    if (event.kind === 'packet') this.#link.queue.push(event.packet);
    else if (event.kind === 'batch') this.#cycles();
    else if (event.kind === 'clock') this.#turnClock(event.ms);
    else if (event.kind === 'plan') this.#reload(event.number);
    else if (event.kind === 'crash') this.#open();
    else this.#endFlows(event.step);
  }

  /** Walks the whole table; throws for what does not fit. */
  checkTable(): void {
    checkTable(this.#engines[0]!.table);
  }

  #seconds(): number {
    return Math.floor(this.#now / 1000);
  }

  #open(): void {
    const { flows, workers } = this.#settings;
    const { table } = openTable(this.#buffer, flows, BOOT, this.#seconds(), native);
    const plan = planOf(this.#plan, this.#generation);
    this.#engines = [new Engine(table, plan, this.counters)];
    for (let i = 1; i < workers; i++) {
      this.#engines.push(new Engine(joinTable(this.#buffer, flows, native), plan, this.counters));
    }
    if (workers === 1) table.quarantine = 0;
    this.#redecision = new Redecision(this.#generation);
    this.checkTable();
  }

  /** Workers take turns, a batch each. */
  #cycles(): void {
    while (this.#link.queue.length > 0) {
      const engine = this.#engines[this.#batches % this.#engines.length]!;
      const before = this.#verdicts();
      this.#judge.helping ||= (this.#plan & PlanBit.HELPER) !== 0;
      this.#judge.lan2Gone = (this.#plan & PlanBit.LAN2_GONE) !== 0;
      cycle(engine, this.#link, this.#batch);
      const counted = this.#verdicts() - before;
      this.#link.check(this.#batch);
      this.#judge.batch(this.#batch, this.#link.received);
      this.#accounts(engine, counted);
      this.#link.reset(this.#batch);
      this.#housekeeping();
      if (++this.#batches % CHECK_EVERY === 0) this.checkTable();
    }
  }

  #verdicts(): number {
    let sum = 0;
    for (let id = 0; id < VERDICTS.length; id++) sum += this.counters[Counter.VERDICT + id]!;
    return sum;
  }

  /** Every slot is counted once, what is to be sent was sent, the lock is free. */
  #accounts(engine: Engine, counted: number): void {
    const batch = this.#batch;
    let sends = 0;
    for (let slot = 0; slot < batch.count; slot++) {
      const { fate } = VERDICTS[batch.verdict[slot]!]!;
      if (fate !== 'send' && fate !== 'punt') continue;
      if (batch.list[sends++] !== slot) throw new Error(`slot ${slot} is not sent in its turn`);
      const off = batch.off[slot]!;
      this.saw(batch.data.subarray(off, off + batch.len[slot]!));
    }
    if (this.#link.sent !== sends) throw new Error(`${this.#link.sent} packets sent, ${sends} were to be`);
    // A fragment that finds no room in the batch is counted without having a slot.
    if (counted < batch.count) throw new Error(`${batch.count} slots, ${counted} verdicts counted`);
    if (engine.table.header[Header.LOCK] !== 0) throw new Error('the lock is held after the batch');
  }

  /** What the worker does between two batches. */
  #housekeeping(): void {
    const [engine] = this.#engines as [Engine];
    if (this.#redecision?.step(engine, this.#seconds())) this.#redecision = undefined;
  }

  #turnClock(ms: number): void {
    this.#now += ms;
    const slices = Math.min(MOST_SLICES, Math.floor((this.#now - this.#slice) / SLICE_MS));
    if (slices === 0) return;
    this.#slice = this.#now;
    for (const { fragments, plan } of this.#engines) fragments.sweep(this.#seconds(), plan.timeouts.fragment);
    const [engine] = this.#engines as [Engine];
    for (let i = 0; i < slices; i++) engine.sweeper.step(this.#seconds(), engine.plan.timeouts);
    this.#housekeeping();
  }

  #reload(number: number): void {
    this.#plan = number;
    const plan = planOf(number, ++this.#generation);
    for (const engine of this.#engines) engine.setPlan(plan);
    this.#redecision = new Redecision(plan.generation);
  }

  #endFlows(step: number): void {
    const { table, plan } = this.#engines[0]!;
    table.lock.acquire();
    for (let row = 0; row < table.layout.rows; row += step) {
      const at = row * Words.ROW;
      if ((table.rows[at]! & 1) === 0) continue;
      table.remove(row, this.#seconds(), holdTime(table.rows[at + Row.KIND]! & 0xff, plan.timeouts));
    }
    table.lock.release();
  }
}

/** The settings of epoch `epoch` of a run. */
export function settingsOf(seed: number, epoch: number): Settings {
  const r = new Random(seed ^ Math.imul(epoch + 1, 0x9e3779b1));
  let plan = 0;
  // Half of all lives with a helper, every other setting in a quarter.
  for (let bit = 0; bit < PLAN_BITS; bit++) if (r.chance(1 << bit === PlanBit.HELPER ? 0.5 : 0.25)) plan |= 1 << bit;
  return {
    seed: r.u32() | 0,
    flows: r.chance(0.7) ? 1024 : 4096,
    workers: r.chance(0.3) ? 2 : 1,
    plan,
    // Milliseconds are a 32-bit word that wraps around every 49 days.
    start: r.pick([1_000_000, 2 ** 31 - 20_000, 2 ** 32 - 20_000, 90 * 86_400_000]),
  };
}

/**
 * One epoch: makes at least `packets` packets and carries them out. Every event is in `events`, also the one that failed,
 * whose error is thrown. Returns the packets.
 */
export function epoch(settings: Settings, packets: number, events: Event[], router = new Router(settings)): number {
  const r = new Random(~settings.seed);
  const traffic = new Traffic(r);
  router.saw = (bytes) => traffic.saw(bytes);
  const play = (event: Event) => {
    events.push(event);
    router.do(event);
  };
  let plan = settings.plan;
  let done = 0;
  let last: MemoryPacket | undefined;
  while (done < packets) {
    for (let left = r.chance(0.1) ? r.between(64, 250) : r.between(1, 40); left > 0; ) {
      for (const made of traffic.next()) {
        const packet = r.chance(0.2) ? mutate(r, made, last ?? made) : made;
        last = made;
        play({ kind: 'packet', packet });
        done++;
        left--;
      }
    }
    play({ kind: 'batch' });
    play({ kind: 'clock', ms: jump(r) });
    if (r.chance(0.004)) play({ kind: 'plan', number: (plan = turned(r, plan)) });
    if (r.chance(0.001)) play({ kind: 'crash' });
    if (r.chance(0.002)) play({ kind: 'end-flows', step: r.between(1, 20) });
  }
  router.checkTable();
  return done;
}

function jump(r: Random): number {
  if (r.chance(0.9)) return r.below(20);
  if (r.chance(0.9)) return r.below(3000);
  return r.pick([6000, 31_000, 61_000, 130_000, 250_000, 310_000, 8_000_000]);
}

/** One or two bits of a plan's number turned. A pool that is not narrow again and again keeps the run from starving. */
function turned(r: Random, plan: number): number {
  const next = plan ^ (1 << r.below(PLAN_BITS)) ^ (r.chance(0.5) ? 1 << r.below(PLAN_BITS) : 0);
  return r.chance(0.3) ? next & ~(PlanBit.LAN2_GONE | PlanBit.PER_HOST) : next;
}

/** Plays a list of events on a fresh router. Returns the error that it throws, or undefined. */
export function replay(settings: Settings, events: readonly Event[]): Error | undefined {
  try {
    const router = new Router(settings);
    for (const event of events) router.do(event);
    router.checkTable();
  } catch (error) {
    return error as Error;
  }
  return undefined;
}
