/**
 * The daemon: a router, its ears, and what they answer. `life.ts` starts one and waits for its end.
 *
 * The ears open before anything in the kernel is changed (a metrics address that is taken is a config error, and should
 * cost nothing), answer `starting` until packets flow, and close after everything is put back, so that `tungate stop`
 * and a second `tungate up` always meet somebody.
 */
import type {
  ConfigAnswer,
  Flow,
  LinkRow,
  ReloadAnswer,
  RuleRow,
  SeenAnswer,
  Status,
  TraceAnswer,
  VxlanFdb,
  VxlanLinkRow,
} from '../contract/api.js';
import type { TracePacket, WatchFilter } from '../contract/mailbox.js';
import { native } from '../native.js';
import { interfaces, poolStatus, ruleRows, traffic } from './answers.js';
import { type Daemon as Answers, listenMetrics, listenSocket, Refused } from './api.js';
import { Captures } from './capture.js';
import { Changes } from './changes.js';
import { vxlanLinks } from './compile-links.js';
import type { FlowFilter } from './flows.js';
import { linkRows } from './link-answers.js';
import { formatListen } from './listen.js';
import type { Logger } from './log.js';
import type { Metrics } from './metrics.js';
import type { Config } from './model.js';
import { readTunDrops } from './proc.js';
import type { Router } from './router.js';
import type { Health, ServiceManager } from './service-manager.js';
import { State } from './state.js';
import { Top } from './top.js';
import { vxlanRows } from './vxlan-answers.js';
import { ConfigWatch } from './watch.js';

export class Daemon implements Answers {
  readonly changes: Changes;
  readonly state: State;
  readonly top: Top;
  readonly captures: Captures;
  readonly #router: Router;
  readonly #log: Logger;
  readonly #version: string;
  readonly #startedAt = Date.now() / 1000;
  /** Loaded when somebody scrapes for the first time: prom-client is a few MB that many routers never need. */
  #metrics: Promise<Metrics> | null = null;
  readonly #onStop: (keep: boolean) => void;
  readonly #manager: ServiceManager | undefined;
  #closeSocket: (() => Promise<void>) | null = null;
  #closeMetrics: (() => Promise<void>) | null = null;
  #listening = 'off';
  #watch: ConfigWatch | null = null;
  #watching = false;

  /** `onStop`: somebody asked for the end by the API. `manager` is told of reloads. */
  constructor(router: Router, log: Logger, version: string, onStop: (keep: boolean) => void, manager?: ServiceManager) {
    this.changes = new Changes(router, (next) => this.#adopt(next));
    this.state = new State(router, version);
    this.top = new Top(router);
    this.captures = new Captures(router);
    this.#router = router;
    this.#log = log;
    this.#version = version;
    this.#onStop = onStop;
    this.#manager = manager;
  }

  async listen(): Promise<void> {
    this.#closeSocket = await listenSocket(this, this.#router.paths.socket);
    await this.#listenMetrics(this.#router.config);
    this.#watchFiles(this.#router.config);
  }

  /** Once is enough: by the second time the socket may be that of the next router. */
  async close(): Promise<void> {
    this.#watch?.close();
    const [metrics, socket] = [this.#closeMetrics, this.#closeSocket];
    this.#closeMetrics = this.#closeSocket = null;
    await Promise.all([metrics?.(), socket?.()]);
  }

  async #listenMetrics(config: Config): Promise<void> {
    const where = formatListen(config.metrics.listen);
    if (where === this.#listening) return;
    const { listen } = config.metrics;
    const close = listen && (await listenMetrics(this, listen.host, listen.port));
    await this.#closeMetrics?.();
    this.#closeMetrics = close;
    this.#listening = where;
  }

  /** What the service manager is to know. */
  health(): Health {
    const router = this.#router;
    const workers = router.workers?.status() ?? [];
    const problems = router.problems.length;
    const parts = [
      describe(router),
      `${router.table?.liveFlows ?? 0} flows`,
      ...(problems > 0 ? [`${problems} problem${problems > 1 ? 's' : ''} (tungate status)`] : []),
    ];
    return { alive: workers.length > 0 && workers.every(({ state }) => state === 'ready'), text: parts.join('; ') };
  }

  // ---- What the API asks.

  status(): Status {
    const router = this.#router;
    const { plan } = router.compiled;
    const workers = router.workers;
    return {
      name: router.paths.name,
      version: this.#version,
      pid: process.pid,
      phase: router.phase,
      uptimeSeconds: process.uptime(), // the wall clock may jump
      config: {
        file: router.config.file,
        generation: plan.generation,
        loadedAt: new Date(router.loadedAt * 1000).toISOString(),
        lastErrors: router.lastReload.errors,
      },
      problems: router.problems,
      ...interfaces(plan),
      tun: router.config.tun.name,
      workers: workers?.status() ?? [],
      flows: { live: router.table?.liveFlows ?? 0, limit: router.config.limits.flows },
      pools: poolStatus(plan, router.table),
      ...traffic(workers?.counters ?? []),
    };
  }

  *flows(filter: FlowFilter): Generator<Flow> {
    const table = this.#router.table;
    if (!table) return;
    const now = nowSeconds();
    // The mark may rise while a slow reader takes his time; what came after he asked is not his.
    for (let index = 0, end = table.highWater; index < end && this.#router.table === table; index++) {
      const flow = table.read(index, now, filter);
      if (flow) yield flow;
    }
  }

  endFlows(flows: readonly { index: number; generation: number }[]): Promise<number> {
    const workers = this.#router.workers;
    if (!workers || this.#router.phase !== 'ready') throw new Refused(409, `the router is ${this.#router.phase}`);
    return workers.endFlows(flows);
  }

  async trace(packet: TracePacket): Promise<TraceAnswer> {
    const { workers, phase } = this.#router;
    const answer = phase === 'ready' ? await workers?.trace(packet) : null;
    if (!answer) throw new Refused(409, `the router is ${phase === 'ready' ? 'starting its workers again' : phase}`);
    return answer;
  }

  watch(filter: WatchFilter, count: number, take: (answer: SeenAnswer) => void): () => void {
    const { workers, phase } = this.#router;
    if (!workers || phase !== 'ready') throw new Refused(409, `the router is ${phase}`);
    if (this.#watching) throw new Refused(409, 'another live trace waits for its packets; one at a time');
    this.#watching = true;
    workers.watch(filter, count, take);
    return () => {
      if (this.#watching) workers.watch(null);
      this.#watching = false;
    };
  }

  rules(): RuleRow[] {
    const router = this.#router;
    return ruleRows(router.config, router.compiled.plan, router.workers?.counters ?? []);
  }

  async links(): Promise<(LinkRow | VxlanLinkRow)[]> {
    const { config, links, vxlan, compiled, phase } = this.#router;
    const statuses = phase === 'ready' ? await links.status() : [];
    const ethernet = phase === 'ready' ? await vxlan.status() : [];
    return [
      ...linkRows(compiled.plan, statuses, links),
      ...vxlanRows(config, vxlan.running, ethernet, new Map(vxlan.problems)),
    ];
  }

  async fdb(name: string | undefined): Promise<VxlanFdb[]> {
    const { config, vxlan, phase } = this.#router;
    const links = vxlanLinks(config).filter((link) => name === undefined || link.name === name);
    if (name !== undefined && links.length === 0)
      throw new Refused(404, `there is no VXLAN link "${name}"; tungate links shows them`);
    return Promise.all(
      links.map(async ({ name: link, tap }) => ({ link, tap, rows: phase === 'ready' ? await vxlan.fdb(link) : [] })),
    );
  }

  async metrics(): Promise<{ contentType: string; text: string }> {
    const router = this.#router;
    const workers = router.workers?.status() ?? [];
    this.#metrics ??= import('./metrics.js').then(({ Metrics }) => new Metrics());
    const metrics = await this.#metrics;
    // A worker that does not answer is no reason to say nothing of the rest.
    const links = await this.links().catch(() => []);
    const text = await metrics.scrape({
      version: this.#version,
      startedAt: this.#startedAt,
      plan: router.compiled.plan,
      lastReload: { ok: router.lastReload.errors.length === 0, at: router.lastReload.at },
      problems: router.problems.length,
      counters: router.workers?.counters ?? [],
      busy: workers.map(({ busy }) => busy),
      restarts: workers.map(({ restarts }) => restarts),
      table: router.table,
      now: nowSeconds(),
      tunDrops: readTunDrops(router.config.tun.name),
      links,
    });
    return { contentType: metrics.contentType, text };
  }

  config(): ConfigAnswer {
    const { config, compiled } = this.#router;
    return { file: config.file, generation: compiled.plan.generation, config };
  }

  async reload(): Promise<ReloadAnswer> {
    this.#manager?.reloading();
    try {
      return await this.#reload();
    } finally {
      this.#manager?.reloaded(this.health().text);
    }
  }

  #reload(): Promise<ReloadAnswer> {
    return this.#router.reload((next) => this.#adopt(next));
  }

  async #adopt(next: Config): Promise<void> {
    try {
      await this.#listenMetrics(next);
    } catch (error) {
      throw new Refused(422, (error as Error).message);
    }
    this.#log.level = next.log.level;
    this.#watchFiles(next);
  }

  #watchFiles({ watch, file }: Config): void {
    if (!watch) {
      this.#watch?.close();
      this.#watch = null;
    } else if (this.#watch) this.#watch.known();
    else this.#watch = new ConfigWatch(file, () => this.reload());
  }

  stop(keep: boolean): void {
    this.#onStop(keep);
  }
}

function nowSeconds(): number {
  return Math.floor(native.boottime() / 1000);
}

/** `203.0.113.10 on vmbr0 for 172.22.161.0/24 on vmbr1`. */
export function describe(router: Router): string {
  const { uplinks, lans } = interfaces(router.compiled.plan);
  const sites = router.config.links.map(({ name }) => name).join(', ');
  const outside = uplinks.map((uplink) => `${uplink.addresses.join(', ') || 'no address yet'} on ${uplink.interface}`);
  const inside = lans.map((lan) => `${lan.subnet} on ${lan.interface}`).join(', ');
  const nat = [outside.join('; '), inside].filter((part) => part !== '').join(' for ');
  return [nat, sites === '' ? '' : `links ${sites}`].filter((part) => part !== '').join('; ');
}
