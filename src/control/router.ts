/**
 * The running router: one config brought to one host, and kept there while both change.
 *
 * Theory of operation. Everything that changes the router (start, reload, news from the kernel, a lost TUN, stop) runs
 * one after the other through `#exclusive`: no two of them ever see each other's half. Each of them compiles config and
 * world anew and brings the difference to the engine and the kernel; there is no other way to change something.
 *
 * Order, so that at every moment no private source leaves (REQ-41), the host never answers on a claimed port (REQ-67)
 * and no port has two owners (REQ-65):
 *   start    TUN → workers → links → reserved ports → steering (LANs first) → public addresses that only the TUN has → routes to far sites
 *   change   reserved ports → plan to the workers → steering (swapped in place) → addresses, routes → links
 *   stop     routes, addresses → steering (LANs last) → workers → everything else from the journal
 * The engine learns a claim before the filters do; the filters are there before the kernel answers ARP for an address.
 * All kernel changes are in the journal before they are made. A start that fails undoes what it did.
 *
 * Hand-over (`stop(true)`) leaves TUN, steering, journal and flow table; so does a crash. The next start finds the journal
 * and continues: same device, same filters, same rows, and the same rule and interface numbers (`memory`), which the rows
 * carry. If the kernel refuses a change while running (an interface vanished in between), it is tried again from a new
 * snapshot until it succeeds.
 */
import { rmSync } from 'node:fs';
import { isDeepStrictEqual } from 'node:util';
import type { ChangeAnswer, Phase, ReloadAnswer } from '../contract/api.js';
import type { World } from '../contract/world.js';
import { servicesCutOff } from '../host/index.js';
import { addressesWithoutRoom } from './address-room.js';
import { planDifference } from './answers.js';
import { Refused } from './api.js';
import { activeBlocks, nextBlockEnd } from './blocks.js';
import { compile } from './compile.js';
import type { Compiled } from './compiled.js';
import { laterChanges, readChanged, sameMeaning } from './config-change.js';
import { DataPlane, type DataPlaneOptions } from './data-plane.js';
import type { Log } from './early-log.js';
import { type Edit, Overlay, writeEdit } from './edit.js';
import type { TableReader } from './flows.js';
import { portsHeld } from './held-ports.js';
import { KernelHold } from './kernel-hold.js';
import { readMemory, writeMemory } from './memory.js';
import type { Config } from './model.js';
import { letGo } from './resume.js';
import type { RuntimePaths } from './runtime-dir.js';
import { SiteLinks } from './site-links.js';
import { wantedVxlan } from './vxlan-answers.js';
import { VxlanLinks } from './vxlan-links.js';
import type { Swapped, WorkerSet } from './workers.js';

/** Filters that somebody deleted are put back at once (steer-watch.ts); what has no bell (sysctls) within this time. */
const VERIFY_MS = 5000;
const RETRY_MS = 1000;

/** A timer cannot wait longer than 24 days; and a clock that was set is noticed within the hour. */
const LONGEST_WAIT_MS = 3_600_000;

/** Of what changed in links' devices, what the difference of the plans says already. */
const IN_THE_PLAN = /: peer \S+( added| removed|: allowed_ips)$/;

interface Applied {
  readonly flows: Swapped;
  readonly difference: string;
}

const NOTHING: Applied = { flows: { stayed: 0, moved: 0, ended: 0 }, difference: '' };

/** Called with a config that is right, before it comes into force. */
export type Adopt = (next: Config) => Promise<void>;

export interface RouterOptions extends DataPlaneOptions {
  readonly config: Config;
}

export class Router {
  phase: Phase = 'starting';
  config: Config;
  loadedAt = Date.now() / 1000;
  lastReload: { at: number; errors: readonly string[] };
  readonly paths: RuntimePaths;
  #compiled: Compiled;
  #world: World;
  #timer: NodeJS.Timeout | undefined;
  #retry: NodeJS.Timeout | undefined;
  #blockEnd: NodeJS.Timeout | undefined;
  #queue: Promise<unknown> = Promise.resolve();
  #notes: string[] = [];
  #trouble = '';
  readonly #options: RouterOptions;
  readonly #log: Log;
  readonly #hold: KernelHold;
  readonly #plane: DataPlane;
  readonly #links: SiteLinks;
  readonly #vxlan: VxlanLinks;

  /** Opens the journal and looks at the host; changes nothing. */
  constructor(options: RouterOptions) {
    const { paths, config, log, resumed } = options;
    this.#options = options;
    this.paths = paths;
    this.config = config;
    this.#log = log;
    this.lastReload = { at: this.loadedAt, errors: [] };
    this.#hold = resumed?.hold ?? new KernelHold(paths.undo, log);
    this.#plane = new DataPlane(this.#hold, options, (message) => void this.#linkLost(message));
    this.#links = new SiteLinks({
      log,
      changed: (why) => void this.#worldChanged(null, why),
      made: (path) => this.#hold.noteSocket(path),
    });
    this.#vxlan = new VxlanLinks((level, text) => log[level](text));
    this.#world = this.#hold.readWorld();
    const memory = this.#hold.adopts ? readMemory(paths.memory) : null;
    this.#compiled = compile(activeBlocks(config), this.#world, memory ? { memory } : undefined);
  }

  get compiled(): Compiled {
    return this.#compiled;
  }

  get world(): World {
    return this.#world;
  }

  get workers(): WorkerSet | null {
    return this.#plane.workers;
  }

  get table(): TableReader | null {
    return this.#plane.table;
  }

  get links(): SiteLinks {
    return this.#links;
  }

  get vxlan(): VxlanLinks {
    return this.#vxlan;
  }

  get problems(): string[] {
    return [
      ...this.#compiled.problems,
      ...this.#compiled.fatal,
      ...this.#hold.problems,
      ...this.#links.problems,
      ...this.#vxlan.problems.map(([name, text]) => `link "${name}": ${text}`),
      ...this.#notes,
      ...(this.#trouble ? [this.#trouble] : []),
    ];
  }

  // ---- Start.

  /** Instead of a start: leaves everything as the last run left it. */
  async letGo(): Promise<void> {
    if (this.#options.resumed) await letGo(this.#options.resumed);
    else this.#hold.close();
  }

  /** Returns when packets flow. On any error everything is put back. */
  start(): Promise<void> {
    return this.#exclusive(async () => {
      try {
        await this.#start();
      } catch (error) {
        this.phase = 'stopping';
        await this.#tearDown(false);
        throw error;
      }
    });
  }

  async #start(): Promise<void> {
    if (this.#hold.adopts) this.#log.info('an earlier run left its TUN and steering here; going on with them');
    this.#compiled = await this.#plane.start(this.config, this.#compiled);
    this.#links.attach(this.#plane.workers!);
    await this.#links.follow(this.config);
    this.#hold.reserve(this.#compiled);
    this.#hold.steer(this.#compiled, true);
    await this.#vxlan.follow(wantedVxlan(this.config, this.#compiled.plan));
    this.#hold.watch(this.#world, {
      worldChanged: (world) => void this.#worldChanged(world),
      worldUnreadable: (error) => this.#log.error({ err: error }, "cannot read the kernel's tables"),
      steeringTouched: () => void this.#verify(),
    });
    this.#timer = setInterval(() => void this.#verify(), VERIFY_MS);
    this.#timer.unref();
    this.#awaitBlockEnd();
    this.#plane.remember(this.config, this.#compiled, this.#notes.length > 0);
    this.phase = 'ready';
    for (const problem of this.problems) this.#log.warn(problem);
  }

  // ---- Change.

  get overlay(): Overlay {
    return new Overlay(this.config.file, this.paths.temporary);
  }

  /**
   * Reads the config again. Throws Refused, with every error, when it is not taken: then nothing has changed.
   * `adopt` is called when it is known to be right, before it comes into force; it may throw Refused too.
   */
  reload(adopt: Adopt = async () => {}): Promise<ReloadAnswer> {
    return this.#exclusive(async () => {
      const at = Date.now() / 1000;
      try {
        const answer = await this.#take(this.#read(), adopt);
        this.lastReload = { at, errors: [] };
        return answer;
      } catch (error) {
        const lines = error instanceof Refused && error.errors.length > 0 ? error.errors : [(error as Error).message];
        this.lastReload = { at, errors: lines };
        this.#log.error(`reload refused, the old config stays: ${lines.join('; ')}`);
        throw error;
      }
    });
  }

  /**
   * Replaces files of the config and reloads. `prepare` says what their content is to be, from the config as it is written
   * now. An edit that does not give a right config is refused and not written.
   */
  edit(prepare: (config: Config) => Edit, adopt: Adopt = async () => {}): Promise<ChangeAnswer> {
    return this.#exclusive(async () => {
      const edit = prepare(this.#read());
      const next = this.#read(edit);
      const answer = await this.#take(next, async () => {
        writeEdit(edit);
        await adopt(next);
      });
      return { ...answer, files: [...edit.keys()] };
    });
  }

  /** The config as it is written, or as it would be with other texts in some files. */
  #read(edit?: Edit): Config {
    if (this.phase !== 'ready') throw new Refused(409, `the router is ${this.phase}`);
    return readChanged(this.config.file, this.paths.temporary, edit);
  }

  async #take(config: Config, adopt: Adopt): Promise<ReloadAnswer> {
    const world = this.#hold.readWorld();
    const next = compile(activeBlocks(config), world, this.#compiled, this.#links.now(true));
    const crowded = addressesWithoutRoom(config, next.plan.addresses, this.table?.countMappings().keys() ?? []);
    const deaf = await servicesCutOff({ tun: config.tun.name, ...next }, this.#compiled.steering.claims);
    const held = await portsHeld(this.#compiled.plan.links, next.plan.links);
    const why = [...next.fatal, ...crowded, ...deaf, ...held];
    if (why.length > 0) throw new Refused(422, `${config.file}: does not fit this host`, why);
    await adopt(config);
    this.#notes = laterChanges(this.config, config);
    const same = sameMeaning(this.config, config);
    // What takes effect at the next start only must not look as if it had.
    const kept = this.config;
    const { limits, workers, tun } = kept;
    this.config = { ...config, limits: { ...config.limits, flows: limits.flows }, workers, tun };
    this.loadedAt = Date.now() / 1000;
    const before = this.#compiled.plan.generation;
    this.#links.forgetLive();
    const applied = await this.#apply(world, 'reload').catch((error: unknown) => {
      // A full /run, an interface that vanished in between: what is done already goes back to the old config.
      this.config = kept;
      this.#again();
      throw error;
    });
    await this.#vxlan.follow(wantedVxlan(this.config, this.#compiled.plan));
    const devices = (await this.#links.follow(this.config)).filter((line) => !IN_THE_PLAN.test(line));
    if (devices.length > 0) this.#log.info(`reload: ${devices.join('; ')}`);
    this.#plane.remember(this.config, this.#compiled, this.#notes.length > 0);
    for (const note of this.#notes) this.#log.warn(note);
    const { generation } = this.#compiled.plan;
    const difference = [applied.difference, ...devices].filter((part) => part !== '').join('; ');
    const changed = generation !== before || !same || devices.length > 0;
    return { generation, changed, ...applied, difference, problems: this.problems };
  }

  /** `known` null: what changed is not the host. */
  #worldChanged(known: World | null, why = 'the host changed'): Promise<void> {
    return this.#exclusive(async () => {
      if (this.phase !== 'ready') return;
      const before = this.problems;
      const { generation } = this.#compiled.plan;
      try {
        await this.#apply(known ?? this.#hold.readWorld(), why);
        if (this.#compiled.plan.generation !== generation)
          this.#plane.remember(this.config, this.#compiled, this.#notes.length > 0);
        this.#trouble = '';
      } catch (error) {
        this.#trouble = (error as Error).message;
        this.#log.error(
          { err: error },
          `${why} and the router cannot follow yet; trying again in ${RETRY_MS / 1000} s`,
        );
        this.#again();
      }
      const now = this.problems;
      for (const problem of now) if (!before.includes(problem)) this.#log.warn(problem);
      for (const problem of before) if (!now.includes(problem)) this.#log.info(`no longer: ${problem}`);
    });
  }

  /** From a new snapshot, in a while. */
  #again(): void {
    clearTimeout(this.#retry);
    this.#retry = setTimeout(() => {
      if (this.#hold.tun) void this.#worldChanged(this.#hold.readWorld());
      else void this.#linkLost('there is no TUN device');
    }, RETRY_MS);
    this.#retry.unref();
  }

  /** Brings config and world to engine and kernel where they differ from what is there. */
  async #apply(world: World, why: string): Promise<Applied> {
    const before = this.#compiled;
    const next = compile(activeBlocks(this.config), world, before, this.#links.now());
    const samePlan = isDeepStrictEqual({ ...next.plan, generation: 0 }, { ...before.plan, generation: 0 });
    const difference = samePlan ? '' : planDifference(before.plan, next.plan);
    let { flows } = NOTHING;
    this.#world = world;
    this.#hold.reserve(next);
    if (samePlan) this.#compiled = { ...next, plan: before.plan, memory: before.memory };
    else {
      writeMemory(this.paths.memory, next.memory); // first: it may fail, and then nothing has changed
      this.#compiled = next;
      flows = await this.#plane.workers!.setPlan(next.plan);
    }
    this.#hold.steer(next);
    this.#awaitBlockEnd();
    if (!samePlan) {
      const { stayed, moved, ended } = flows;
      this.#log.info(
        `${why}: ${difference || 'details of the plan'}; generation ${next.plan.generation}, flows: ${stayed} stayed, ${moved} moved, ${ended} ended`,
      );
    }
    // A way to a remote may carry more or less now.
    void this.#vxlan.follow(wantedVxlan(this.config, this.#compiled.plan));
    return { flows, difference };
  }

  /** Blocks with an end are part of the plan until then. */
  #awaitBlockEnd(): void {
    clearTimeout(this.#blockEnd);
    const end = nextBlockEnd(this.config);
    if (end === Number.POSITIVE_INFINITY) return;
    const wait = Math.min(Math.max(end * 1000 - Date.now(), 0) + 50, LONGEST_WAIT_MS);
    this.#blockEnd = setTimeout(() => void this.#worldChanged(this.#world, 'a block has ended'), wait);
    this.#blockEnd.unref();
  }

  /** Puts back what somebody else took away. */
  #verify(): Promise<void> {
    return this.#exclusive(async () => {
      if (this.phase !== 'ready') return;
      try {
        this.#hold.verify();
      } catch (error) {
        this.#log.error({ err: error }, 'cannot check TUN and steering');
      }
    });
  }

  /** The TUN was deleted under us: a new one, new descriptors for the workers, filters that lead to it. */
  #linkLost(message: string): Promise<void> {
    return this.#exclusive(async () => {
      if (this.phase !== 'ready') return;
      const { name } = this.config.tun;
      this.#log.error(`${message}; making ${name} again`);
      try {
        await this.#plane.renewTun(name);
        this.#hold.steer(this.#compiled, true);
        this.#trouble = '';
        this.#log.info(`${name} is back; flows are kept`);
      } catch (error) {
        this.#trouble = (error as Error).message;
        this.#hold.closeTun();
        this.#log.error({ err: error }, `cannot make ${name} again; trying in ${RETRY_MS / 1000} s`);
        this.#again();
      }
    });
  }

  // ---- Stop.

  /** Puts everything back, or with `keep` leaves TUN, steering and flows. Returns what could not be put back. */
  stop(keep: boolean): Promise<readonly string[]> {
    this.phase = 'stopping';
    return this.#exclusive(() => this.#tearDown(keep));
  }

  async #tearDown(keep: boolean): Promise<readonly string[]> {
    clearInterval(this.#timer);
    clearTimeout(this.#retry);
    clearTimeout(this.#blockEnd);
    this.#hold.unwatch();
    this.#links.close();
    await this.#vxlan.close();
    if (!keep) this.#hold.release();
    await this.#plane.stop(keep);
    const failed = keep ? [] : this.#hold.undo();
    this.#hold.close();
    if (keep) return failed;
    const { flows, memory, plan, temporary } = this.paths;
    for (const file of [flows, memory, plan, temporary]) this.#remove(file);
    return failed;
  }

  /** What is in the way of a file of ours (somebody's folder) is not ours to remove, and no reason to fail. */
  #remove(file: string): void {
    try {
      rmSync(file, { force: true });
    } catch (error) {
      this.#log.warn(`${file} stays: ${(error as Error).message}`);
    }
  }

  /** Runs `act` after everything that was asked for before it. */
  #exclusive<T>(act: () => Promise<T>): Promise<T> {
    const mine = this.#queue.then(act);
    this.#queue = mine.catch(() => {});
    return mine;
  }
}
