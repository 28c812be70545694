/**
 * VXLAN links as control sees them: their TAPs, and the thread that moves their frames (link/vxlan/worker.ts).
 *
 * Theory of operation. A TAP is opened here and not made persistent: it lives as long as this process holds it, so nothing of a link outlives the daemon, however it
 * ends, and there is nothing to be undone. A link that stays through a reload keeps its TAP, and its bridge port with it; only what differs is set. The thread
 * is started with the first link and ends with the last; when it fails it is started again with all that is wanted.
 */
import { Worker } from 'node:worker_threads';
import type { FromVxlan, ToVxlan, VxlanFdbRow, VxlanInit, VxlanOrder, VxlanStatus } from '../contract/vxlan.js';
import { findLink, Netlink, type OuterTap, openOuterTap, setLink, verifyOuterTap } from '../host/index.js';
import { mtuProblem, tapMtu } from '../link/vxlan/mtu.js';
import { ENDPOINT_WORDS, Ep, parseAddress } from '../link/wireguard/endpoint.js';
import { native } from '../native.js';

/** A TAP's own 500 overflow under bursts. */
const TX_QUEUE = 1000;
/** For a thread that does not answer: only there to stop a hang. */
const PATIENCE_MS = 10_000;
/** Between two starts of a thread that failed. */
const RESTART_MS = 1000;
/** Between two looks at the device by which super-frames leave: as long TCP may stand still. */
const OUTER_MS = 1000;

export interface VxlanWanted {
  readonly order: VxlanOrder;
  /** Name of the TAP, and of the bridge that it becomes a port of ('' = none). */
  readonly tap: string;
  readonly bridge: string;
  /** Of the TAP: six bytes. */
  readonly mac: Uint8Array;
  /** Of the outer addresses. */
  readonly family: 4 | 6;
  /** What the outer packets may have; 0 = what the kernel knows of the ways to the remotes. */
  readonly pathMtu: number;
}

/** Where the kernel knows no way. */
const ETHERNET = 1500;
/** A bridge that comes later, an address that is not there yet. */
const RETRY_MS = 5000;
/** Any port: only the way is looked up. */
const SOME_PORT = 4789;

interface Tap {
  readonly fd: number;
  readonly index: number;
  /** Put into a bridge by us. */
  bridged: boolean;
}

type Log = (level: 'info' | 'warn' | 'error', text: string) => void;
type Answer = Extract<FromVxlan, { readonly id: number }>;
/** Omit, for each member of the union by itself. */
type Question = ToVxlan extends infer Each ? (Each extends { readonly id: number } ? Omit<Each, 'id'> : never) : never;

export class VxlanLinks {
  readonly #log: Log;
  readonly #netlink = new Netlink();
  readonly #taps = new Map<string, Tap>();
  /** undefined: not tried yet; null: this kernel cannot. */
  #outer: OuterTap | null | undefined;
  #outerTimer: NodeJS.Timeout | undefined;
  readonly #asked = new Map<number, (answer: Answer | null) => void>();
  #wanted: readonly VxlanWanted[] = [];
  #problems: readonly (readonly [string, string])[] = [];
  #worker: Worker | null = null;
  #wakeFd = -1;
  #questions = 0;
  #stopped: () => void = () => {};
  #restart: NodeJS.Timeout | undefined;
  /** What runs, with the MTUs that were found. */
  #running: readonly VxlanWanted[] = [];
  #queue: Promise<unknown> = Promise.resolve();
  #closed = false;

  constructor(log: Log) {
    this.#log = log;
  }

  /** Why links carry nothing: [name, what is wrong]. */
  get problems(): readonly (readonly [string, string])[] {
    return this.#problems;
  }

  get running(): readonly VxlanWanted[] {
    return this.#running;
  }

  /** Brings about what is wanted, all of it; what is there already and the same is left alone. */
  follow(wanted: readonly VxlanWanted[]): Promise<void> {
    this.#queue = this.#queue.then(() => this.#follow(wanted));
    return this.#queue as Promise<void>;
  }

  async #follow(wanted: readonly VxlanWanted[]): Promise<void> {
    if (this.#closed) return;
    clearTimeout(this.#restart);
    this.#wanted = wanted;
    if (wanted.length === 0 && this.#worker === null) return;
    const gone = [...this.#taps.keys()].filter((name) => !wanted.some(({ tap }) => tap === name));
    const problems: (readonly [string, string])[] = [];
    const links: { order: VxlanOrder; tapFd: number; outerFd: number }[] = [];
    const running: VxlanWanted[] = [];
    for (const each of wanted) {
      try {
        const order = { ...each.order, mtu: mtuOf(each) };
        links.push({ order, tapFd: this.#tap(each, order.mtu), outerFd: this.#outerFd(each) });
        running.push({ ...each, order });
      } catch (error) {
        problems.push([each.order.name, (error as Error).message]);
      }
    }
    this.#running = running;
    this.#start();
    const answer = await this.#ask({ kind: 'want', links });
    if (answer?.kind === 'done') problems.push(...answer.problems);
    // Only now: the thread has let go of them.
    for (const name of gone) this.#drop(name);
    const told = new Map(this.#problems);
    this.#problems = problems;
    for (const [name, text] of problems) if (told.get(name) !== text) this.#log('error', `link "${name}": ${text}`);
    if (wanted.length === 0) {
      await this.#end();
      this.#dropOuter();
    } else if (problems.length > 0) this.#again(RETRY_MS);
  }

  async status(): Promise<readonly VxlanStatus[]> {
    const answer = this.#worker === null ? null : await this.#ask({ kind: 'status' });
    return answer?.kind === 'status' ? answer.links : [];
  }

  /** The forwarding table of a link. */
  async fdb(link: string): Promise<readonly VxlanFdbRow[]> {
    const answer = this.#worker === null ? null : await this.#ask({ kind: 'fdb', link });
    return answer?.kind === 'fdb' ? answer.rows : [];
  }

  async close(): Promise<void> {
    this.#closed = true;
    clearTimeout(this.#restart);
    await this.#queue;
    this.#wanted = [];
    await this.#end();
    for (const name of [...this.#taps.keys()]) this.#drop(name);
    this.#dropOuter();
    this.#netlink.close();
  }

  // ---- TAPs.

  /** Opens it where it is not open yet; MTU, bridge and state are set in any case. Returns its descriptor. */
  #tap({ tap: name, bridge, mac }: VxlanWanted, mtu: number): number {
    const master = bridge === '' ? 0 : this.#bridge(bridge);
    let tap = this.#taps.get(name);
    // Somebody may have deleted it.
    if (tap !== undefined && findLink(this.#netlink, tap.index) === undefined) {
      this.#drop(name);
      tap = undefined;
    }
    if (tap === undefined) {
      if (findLink(this.#netlink, name) !== undefined)
        throw new Error(`an interface ${name} is there already; name the TAP otherwise, or take that interface away`);
      const { fd } = native.tapOpen(name);
      tap = { fd, index: findLink(this.#netlink, name)!.index, bridged: false };
      this.#taps.set(name, tap);
    }
    // A bridge that somebody else put it into is theirs.
    const join = master !== 0 || tap.bridged ? { master } : {};
    setLink(this.#netlink, tap.index, { mtu, mac, txqueuelen: TX_QUEUE, up: true, ...join });
    tap.bridged = master !== 0;
    return tap.fd;
  }

  /** −1: frames of this link are cut up before they leave. */
  #outerFd({ family, order }: VxlanWanted): number {
    if (family !== 4 || order.device !== '') return -1;
    if (this.#outer === undefined) {
      try {
        this.#outer = openOuterTap(this.#netlink);
        this.#outerTimer = setInterval(() => this.#verifyOuter(), OUTER_MS).unref();
      } catch (error) {
        this.#outer = null;
        this.#log('info', `TCP over VXLAN is cut up here and not by the kernel: ${(error as Error).message}`);
      }
    }
    return this.#outer?.fd ?? -1;
  }

  #verifyOuter(): void {
    try {
      if (this.#outer && verifyOuterTap(this.#outer))
        this.#log(
          'warn',
          `forwarding of ${this.#outer.name} was switched off, perhaps with net.ipv4.ip_forward; it is on again`,
        );
    } catch (error) {
      this.#log('warn', `${this.#outer?.name}: ${(error as Error).message}`);
    }
  }

  #dropOuter(): void {
    clearInterval(this.#outerTimer);
    if (this.#outer) native.closeFd(this.#outer.fd);
    this.#outer = undefined;
  }

  #bridge(name: string): number {
    const bridge = findLink(this.#netlink, name);
    if (bridge === undefined)
      throw new Error(
        `the bridge ${name} is not there; make it with "ip link add ${name} type bridge", or leave \`bridge\` out`,
      );
    if (bridge.kind !== 'bridge') throw new Error(`${name} is no bridge`);
    return bridge.index;
  }

  #drop(name: string): void {
    const tap = this.#taps.get(name);
    if (tap === undefined) return;
    this.#taps.delete(name);
    native.closeFd(tap.fd);
  }

  // ---- The thread.

  #start(): void {
    if (this.#worker !== null) return;
    this.#wakeFd = native.wakeCreate();
    const worker = new Worker(new URL('../link/vxlan/worker.js', import.meta.url), { name: 'vxlan' });
    this.#worker = worker;
    worker.on('message', (message: FromVxlan) => this.#hear(message));
    worker.on('error', (error) => this.#failed(error));
    worker.postMessage({ wakeFd: this.#wakeFd } satisfies VxlanInit);
  }

  #failed(error: Error): void {
    this.#log('error', `the thread of the VXLAN links failed and is started again: ${error.stack ?? error.message}`);
    this.#forgetWorker();
    this.#again(RESTART_MS);
  }

  #again(ms: number): void {
    if (this.#closed) return;
    clearTimeout(this.#restart);
    this.#restart = setTimeout(() => void this.follow(this.#wanted), ms);
    this.#restart.unref();
  }

  async #end(): Promise<void> {
    const worker = this.#worker;
    if (worker === null) return;
    const stopped = new Promise<void>((resolve) => {
      this.#stopped = resolve;
    });
    this.#send({ kind: 'stop' });
    const timer = setTimeout(this.#stopped, PATIENCE_MS);
    await stopped;
    clearTimeout(timer);
    await worker.terminate();
    this.#forgetWorker();
  }

  #forgetWorker(): void {
    if (this.#worker === null) return;
    this.#worker = null;
    native.closeFd(this.#wakeFd);
    for (const answer of this.#asked.values()) answer(null);
    this.#asked.clear();
    this.#stopped();
  }

  #send(message: ToVxlan): void {
    this.#worker?.postMessage(message);
    native.wakeSet(this.#wakeFd);
  }

  #ask(question: Question): Promise<Answer | null> {
    const id = this.#questions++;
    return new Promise((resolve) => {
      const timer = setTimeout(() => {
        this.#asked.delete(id);
        resolve(null);
      }, PATIENCE_MS);
      this.#asked.set(id, (answer) => {
        clearTimeout(timer);
        resolve(answer);
      });
      this.#send({ ...question, id } as ToVxlan);
    });
  }

  #hear(message: FromVxlan): void {
    if (message.kind === 'say') {
      this.#log(message.level, message.text);
      // A link ended: its TAP was deleted.
      if (message.level === 'error') this.#again(RETRY_MS);
    } else if (message.kind === 'stopped') this.#stopped();
    else {
      this.#asked.get(message.id)?.(message);
      this.#asked.delete(message.id);
    }
  }
}

/** What the config says, or what fits. Throws when it does not fit. */
export function mtuOf({ order, family, pathMtu }: VxlanWanted): number {
  const ways = remotesOf(order)
    .map((remote) => native.udpPathMtu(endpointOf(remote), 0))
    .filter((mtu) => mtu > 0);
  const path = Math.min(pathMtu === 0 ? 65_535 : pathMtu, ...(ways.length > 0 ? ways : [ETHERNET]));
  const mtu = order.mtu === 0 ? tapMtu(path, { family }) : order.mtu;
  const problem = mtuProblem(mtu, path, { family });
  if (problem !== '') throw new Error(problem);
  return mtu;
}

/** All that are heard. */
export function remotesOf({ remotes, fdb }: Pick<VxlanOrder, 'remotes' | 'fdb'>): string[] {
  return [...new Set([...remotes, ...fdb.map(([, remote]) => remote)])];
}

export function endpointOf(address: string, port = SOME_PORT): Int32Array {
  const words = new Int32Array(ENDPOINT_WORDS);
  words[Ep.FAMILY] = parseAddress(address, words, Ep.ADDRESS);
  words[Ep.PORT] = port;
  return words;
}
