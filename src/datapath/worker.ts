/**
 * The data plane's thread: one for each TUN queue. It blocks in one native call, walks batches, and between two batches
 * looks at its mailbox, sweeps a slice of the table (worker 0) and goes on with a re-decision after a new plan.
 *
 * No promises and no event loop: the loop below never returns to it. Messages are taken synchronously, and only when the
 * mailbox word says that there are some.
 */
import { readFileSync } from 'node:fs';
import { parentPort, receiveMessageOnPort } from 'node:worker_threads';
import { Batch, Ctl } from '../batch.js';
import { Counter, counterView } from '../contract/counters.js';
import { IMPORT_FATES, ImportFate } from '../contract/import.js';
import { type FromWorker, Mail, type ToWorker, type WorkerInit } from '../contract/mailbox.js';
import type { Plan } from '../contract/plan.js';
import { Header, Row, tableLayout, Words } from '../contract/table-layout.js';
import { Verdict } from '../contract/verdict.js';
import { holdTime, SLICE_MS } from '../flow/expiry.js';
import { HostRates } from '../flow/host-rates.js';
import { joinTable, openTable } from '../flow/open.js';
import { TunLink } from '../link/index.js';
import { native } from '../native.js';
import { cycler } from './cycle.js';
import { emit } from './emit.js';
import { Engine } from './engine.js';
import { importFlows, importMappings } from './import.js';
import { prepareCompiler } from './jit.js';
import { Links } from './links.js';
import { Redecision } from './reload.js';
import { RingTap, type Tap, Taps } from './tap.js';
import { trace } from './trace.js';
import { Watch } from './watch.js';

const TUN_TAG = 0;
const WAKE_TAG = 1;
const LINKS_TAG = 2;
/**
 * Nice value of the packets' threads; control's keeps 0. Beside full load with reloads, on two cores that client, router and server
 * share, the 99th percentile of the delay was 0.7–0.9 ms (median of 5: 0.83) instead of 1.3–1.8 (1.56), and the longest gap 4 ms
 * instead of 5. The whole process at −10 is worse than none at all: then compiling a plan takes the time from the kernel's threads.
 */
const NICE = -10;
const SIDE_NOTICE =
  'a source port below 1024 was given a public port above, or the other way round: the pool (uplink.ports) has no free one on its side';

function post(message: FromWorker): void {
  parentPort!.postMessage(message);
}

/** The kernel's boot id as 4 words: rows of another boot mean nothing. */
function bootId(): Int32Array {
  const hex = readFileSync('/proc/sys/kernel/random/boot_id', 'latin1').replaceAll('-', '').trim();
  return Int32Array.from({ length: 4 }, (_, i) => Number.parseInt(hex.slice(i * 8, i * 8 + 8), 16) | 0);
}

class Worker {
  readonly #init: WorkerInit;
  readonly #mailbox: Int32Array;
  readonly #engine: Engine;
  readonly #counters: Float64Array;
  readonly #poller: number;
  readonly #links: Links;
  /** The links' poller is in ours. */
  #linksWatched = false;
  #redecision: Redecision | undefined;
  /** Who looks at the packets: a capture, a watch, or (mostly) nobody. */
  #ring: Tap | null = null;
  #watch: Tap | null = null;
  #running = true;
  #sideTold = false;

  constructor(init: WorkerInit) {
    this.#init = init;
    this.#mailbox = new Int32Array(init.mailbox);
    this.#counters = counterView(init.counters);
    this.#poller = native.pollerCreate();
    native.pollerAdd(this.#poller, init.tunFd, TUN_TAG);
    native.pollerAdd(this.#poller, init.wakeFd, WAKE_TAG);

    const { buffer } = native.mapFile(init.tableFile, tableLayout(init.flows).bytes, true);
    const now = Math.floor(native.boottime() / 1000);
    const rates = new HostRates(init.hostRates);
    let adopted = 0;
    let refused = '';
    if (init.index === 0) {
      const opened = openTable(buffer, init.flows, bootId(), now, native);
      ({ adopted, refused } = opened);
      this.#engine = new Engine(opened.table, init.plan, this.#counters, rates);
    } else {
      this.#engine = new Engine(joinTable(buffer, init.flows, native), init.plan, this.#counters, rates);
    }
    // A power of two, so that the ids of one worker stay its own when they wrap around. GSO takes ids in a row: with several
    // workers those of one packet may meet another's, on a kernel that gives GSO without DF.
    this.#engine.idStep = 2 ** Math.ceil(Math.log2(init.workers));
    this.#engine.idOffset = init.index;
    this.#engine.table.quarantine = init.workers > 1 ? this.#engine.table.quarantine : 0;
    this.#links = new Links(TunLink.adopt('tun', init.tunFd), {
      tell: post,
      mtus: this.#engine.table.header.subarray(Header.LINK_MTUS),
      handOver: init.handOver,
      owner: init.index === 0,
    });
    this.#engine.sites = this.#links;
    // Adopted flows were decided under a plan that may not be this one.
    if (adopted > 0) this.#redecision = new Redecision(init.plan.generation);
    Atomics.store(this.#mailbox, Mail.PLAN, init.plan.generation);
    post({ kind: 'ready', adopted, refused, unraised: native.raisePriority(NICE) });
    this.#setLinks(init.plan, native.boottime());
  }

  run(): void {
    const links = this.#links;
    const batch = new Batch();
    const step = cycler(this.#engine, links, batch);
    const counters = this.#counters;
    let millis = native.boottime();
    let slice = millis;
    let waitedFrom = millis;
    let due = 0;
    try {
      while (this.#running) {
        if (Atomics.load(this.#mailbox, Mail.SENT) !== this.#mailbox[Mail.TAKEN]) this.#takeMail(millis);
        const received = step();
        let idle = received === 0;
        // The TUN's, also where it had nothing: a link's batches bear the time that they are given.
        const clock = batch.ctl[Ctl.MILLIS]!;
        if (links.any) {
          if (links.turn(step, millis) > 0) idle = false;
          due = links.tick(millis);
        }
        // A full-speed loop looks at the clock that came with the batch, an idle one asks.
        if (idle || clock !== (millis | 0)) {
          millis = native.boottime();
          if (millis - slice >= SLICE_MS || this.#redecision || this.#engine.sweeper.behind) {
            slice = millis;
            this.#housekeeping(Math.floor(millis / 1000));
            if (this.#engine.unsolicited.waits(millis | 0)) this.#answerUnsolicited(links, batch, millis | 0);
          }
        }
        if (!idle || this.#redecision || this.#engine.sweeper.behind) continue;
        counters[Counter.BUSY_SECONDS]! += (millis - waitedFrom) / 1000;
        native.pollerWait(
          this.#poller,
          links.any ? Math.min(SLICE_MS, Math.max(0, Math.ceil(due - millis))) : SLICE_MS,
        );
        waitedFrom = native.boottime();
        counters[Counter.WAIT_SECONDS]! += (waitedFrom - millis) / 1000;
        millis = waitedFrom;
      }
    } catch (error) {
      post({ kind: 'link-lost', message: (error as Error).message });
    }
    links.close();
    native.closeFd(this.#poller); // descriptors are the process', and outlive the thread
    post({ kind: 'stopped' });
  }

  #housekeeping(now: number): void {
    const engine = this.#engine;
    this.#mailbox[Mail.ALIVE] = now;
    const { fragments, sweeper, plan } = engine;
    fragments.sweep(now, plan.timeouts.fragment);
    engine.followLinkMtus();
    const counters = this.#counters;
    counters[Counter.VERDICT + Verdict.FRAGMENT_TIMEOUT]! += fragments.expired;
    counters[Counter.VERDICT + Verdict.FRAGMENT_LIMIT]! += fragments.evicted;
    fragments.expired = 0;
    fragments.evicted = 0;
    const { ports } = engine.table.mappings;
    if (ports.sideChanged && !this.#sideTold) {
      this.#sideTold = true;
      post({ kind: 'notice', text: SIDE_NOTICE });
    }
    const { translations } = engine;
    if (translations.count > 0) {
      const { lost } = translations;
      post({ kind: 'translations', events: translations.take(), lost });
    }
    if (this.#init.index !== 0) return;
    sweeper.step(now, plan.timeouts);
    counters[Counter.FLOWS_ENDED]! += sweeper.flows;
    counters[Counter.MAPPINGS_ENDED]! += sweeper.mappings;
    sweeper.flows = 0;
    sweeper.mappings = 0;
    const redecision = this.#redecision;
    if (!redecision?.step(engine, now)) return;
    const { generation, stayed, moved, ended } = redecision;
    counters[Counter.FLOWS_ENDED]! += ended;
    this.#redecision = undefined;
    post({ kind: 'plan-done', generation, stayed, moved, ended });
  }

  /** ICMP errors about SYNs that nobody inside has met: a batch of the engine's own. */
  #answerUnsolicited(link: Links, batch: Batch, millis: number): void {
    batch.clear();
    batch.ctl[Ctl.MILLIS] = millis;
    this.#engine.unsolicited.answer(this.#engine, batch, millis);
    emit(this.#engine, batch, link);
  }

  #takeMail(millis: number): void {
    native.wakeClear(this.#init.wakeFd);
    for (let got = receiveMessageOnPort(parentPort!); got; got = receiveMessageOnPort(parentPort!)) {
      Atomics.add(this.#mailbox, Mail.TAKEN, 1);
      const message = got.message as ToWorker;
      if (message.kind === 'stop') this.#running = false;
      else if (message.kind === 'plan') this.#setPlan(message.plan, millis);
      else if (message.kind === 'capture')
        this.#look(message.ring && message.filter ? new RingTap(message.ring, message.filter) : null, this.#watch);
      else if (message.kind === 'watch') this.#look(this.#ring, this.#watcher(message));
      else if (message.kind === 'trace')
        post({
          kind: 'traced',
          id: message.id,
          answer: trace(this.#engine, message.packet, Math.floor(millis / 1000)),
        });
      else if (message.kind === 'import') this.#import(message, Math.floor(millis / 1000));
      else if (message.kind === 'link-ask')
        post({ kind: 'link-answer', id: message.id, ...this.#links.answer(message.link, message.text, millis) });
      else if (message.kind === 'link-status')
        post({ kind: 'link-statuses', id: message.id, links: this.#links.status() });
      else if (message.kind === 'end-flows') this.#endFlows(message, Math.floor(millis / 1000));
    }
  }

  #look(ring: Tap | null, watch: Tap | null): void {
    this.#ring = ring;
    this.#watch = watch;
    this.#engine.tap = ring && watch ? new Taps(watch, ring) : (watch ?? ring);
  }

  #watcher({ id, filter, count }: Extract<ToWorker, { kind: 'watch' }>): Tap | null {
    return filter && new Watch(this.#engine, filter, count, (answer) => post({ kind: 'seen', id, answer }));
  }

  #setLinks(plan: Plan, millis: number): void {
    this.#links.setPlan(plan, millis);
    if (this.#linksWatched || this.#links.poller < 0) return;
    native.pollerAdd(this.#poller, this.#links.poller, LINKS_TAG);
    this.#linksWatched = true;
  }

  #setPlan(plan: Plan, millis: number): void {
    this.#engine.setPlan(plan);
    this.#setLinks(plan, millis);
    Atomics.store(this.#mailbox, Mail.PLAN, plan.generation);
    // The table is shared: one worker decides for all.
    if (this.#init.index === 0) this.#redecision = new Redecision(plan.generation);
    else post({ kind: 'plan-done', generation: plan.generation, stayed: 0, moved: 0, ended: 0 });
  }

  #import({ id, mappings, flows, bytes }: Extract<ToWorker, { kind: 'import' }>, now: number): void {
    const fates = { mappings: IMPORT_FATES.map(() => 0), flows: IMPORT_FATES.map(() => 0) };
    importMappings(this.#engine, mappings, now, fates.mappings);
    importFlows(this.#engine, flows, bytes, now, fates.flows);
    this.#counters[Counter.MAPPINGS_CREATED]! += fates.mappings[ImportFate.TAKEN]!;
    this.#counters[Counter.FLOWS_CREATED]! += fates.flows[ImportFate.TAKEN]!;
    post({ kind: 'imported', id, ...fates });
  }

  #endFlows(message: Extract<ToWorker, { kind: 'end-flows' }>, now: number): void {
    const { table, plan } = this.#engine;
    let ended = 0;
    table.lock.acquire();
    for (const { index, generation } of message.flows) {
      const at = index * Words.ROW;
      if (index >= table.layout.rows || table.rows[at] !== generation || (generation & 1) === 0) continue;
      table.remove(index, now, holdTime(table.rows[at + Row.KIND]! & 0xff, plan.timeouts));
      ended++;
    }
    table.lock.release();
    this.#counters[Counter.FLOWS_ENDED]! += ended;
    post({ kind: 'flows-ended', id: message.id, ended });
  }
}

prepareCompiler();
// Started ahead, while control still reads its config: parked here with everything loaded until it is told what to do.
// Runs within the first message's event: those that follow stay in the port's queue, where takeMail finds them.
parentPort!.once('message', (init: WorkerInit) => new Worker(init).run());
