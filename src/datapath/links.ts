/**
 * The site links of a worker, and its TUN, as one link: what the cycle receives from and sends to.
 *
 * Theory of operation. V8 compiles the cycle as one piece over one engine, one link and one batch (jit.ts), and takes the closure's constants for constants only
 * as long as there is one such closure. So there is no second cycle for what comes in by the links: it comes through the same `receive`, into the same
 * batch, a turn later. `receive` gives what the TUN has; within `turn` it gives what one socket brought, until that is used up. What leaves is told
 * apart by the batch's `out` column (emit.ts). Price, side by side: 1 to 2 % of the TUN's packets a second; once the compiler has met packets of a link, they
 * cost the TUN's way nothing more, and the look at the sockets once a batch 0.4 µs (bench/datapath/links.ts).
 *
 * A link is made when a plan brings its name, keeps its device (keys, peers, sessions) as long as plans do, and is closed when one does not. Its port is bound by
 * itself: where that fails the link stays dormant, `link-state` says why, and it is tried again every RETRY_MS. Numbers of links are places in the plan,
 * so they may change with it; names do not.
 *
 * The state of a link is one thread's, worker 0's, and what comes in by it walks there. What another worker has for a link it writes to a pair of sockets, as it
 * would to a TUN, with the link's out index where a vnet header has hdr_len, which nobody believes anyway; worker 0 seals it. (Numbers may differ for the
 * moment of a reload; out indexes stay with the name.) Bound: what all links together carry is what one core seals and opens; a full pair drops, counted as
 * link-error.
 */
import { Batch, VNET_BYTES } from '../batch.js';
import { type LinkStatus, MAX_LINKS } from '../contract/links.js';
import type { FromWorker } from '../contract/mailbox.js';
import type { Plan } from '../contract/plan.js';
import { batchId, DRAINS, Lanes, type Link, SiteLink, stampedMillis } from '../link/index.js';
import { native } from '../native.js';
import type { SiteSender } from './engine.js';

/** Behind two a link. */
const HANDED_TAG = 2 * MAX_LINKS;
const RETRY_MS = 3000;
/** How often the offset to the wall clock is read. */
const EPOCH_MS = 1000;
const NEVER = Number.POSITIVE_INFINITY;

/** Where the out index of a packet stands that one worker hands to another: hdr_len of the vnet header, in front of the packet. */
const OUT_AT = VNET_BYTES - 2;

interface Slot {
  readonly link: SiteLink;
  /** Index into Plan.interfaces. */
  out: number;
  /** As the plan has them. */
  listen: number;
  mark: number;
  /** Descriptors in the poller; −1 = none. */
  four: number;
  six: number;
  /** When to call tick. */
  due: number;
  retry: number;
  /** What the path carries where it is less than the plan says, else 0. */
  narrow: number;
  fresh: boolean;
}

export interface LinksOptions {
  readonly tell: (message: FromWorker) => void;
  /** By place in the plan: where a path carries less than the plan says (table header, LINK_MTUS); for the engines of all workers. */
  readonly mtus: Int32Array;
  /** Our end of the pair between workers; −1 = there is one worker. */
  readonly handOver?: number;
  /** Worker 0, who has the links. */
  readonly owner?: boolean;
}

export class Links implements Link, SiteSender {
  readonly name = 'links';
  readonly #tun: Link;
  readonly #tell: (message: FromWorker) => void;
  /** Our end of the pair between workers, or −1. */
  readonly #handOver: number;
  /** Table header from LINK_MTUS on. */
  readonly #mtus: Int32Array;
  readonly #owner: boolean;
  /** What others hand over; only where there are others. */
  readonly #handed: Batch | null;
  /** Out index by number − 1, for who hands over. */
  #outs: number[] = [];
  readonly #byName = new Map<string, Slot>();
  /** By number − 1. */
  #slots: Slot[] = [];
  #lanes: Lanes | null = null;
  /** Descriptor that is readable when any socket of a link is; −1: there has been no link yet. */
  poller = -1;
  /** The link whose packets `receive` gives, and its number; null: the TUN. */
  #turn: SiteLink | null = null;
  #number = 0;
  #epochAt = 0;

  constructor(tun: Link, { tell, mtus, handOver = -1, owner = true }: LinksOptions) {
    this.#tun = tun;
    this.#tell = tell;
    this.#mtus = mtus;
    this.#handOver = handOver;
    this.#owner = owner;
    this.#handed = owner && handOver >= 0 ? new Batch() : null;
  }

  /** Has this worker something to do for links, beside its TUN? */
  get any(): boolean {
    return this.#slots.length > 0;
  }

  // -- the cycle's link --

  receive(batch: Batch): number {
    return this.#turn === null ? this.#tun.receive(batch) : this.#turn.fill(batch, this.#number);
  }

  transmit(batch: Batch, n: number): number {
    return this.#tun.transmit(batch, n);
  }

  transmitTo(number: number, batch: Batch, n: number): number {
    if (!this.#owner) return this.#hand(this.#outs[number - 1] ?? 0, batch, n);
    const slot = this.#slots[number - 1];
    if (slot === undefined) return 0;
    const taken = slot.link.transmit(batch, n, stampedMillis(batch));
    slot.due = 0;
    return taken;
  }

  /** Gives packets to worker 0. */
  #hand(out: number, batch: Batch, n: number): number {
    const { data, off, list } = batch;
    for (let i = 0; i < n; i++) data[off[list[i]!]! - OUT_AT] = out;
    return native.tunTransmit(this.#handOver, batchId(batch), n);
  }

  /** Takes what other workers have given, and seals it. Returns how many packets. */
  #takeHanded(batch: Batch, now: number): number {
    batch.clear();
    const count = native.tunReceive(this.#handOver, batchId(batch));
    if (count <= 0) return 0;
    const { data, off, list } = batch;
    for (const slot of this.#slots) {
      let n = 0;
      for (let i = 0; i < count; i++) if (data[off[i]! - OUT_AT] === slot.out) list[n++] = i;
      if (n === 0) continue;
      slot.link.transmit(batch, n, now);
      slot.due = 0;
    }
    return count;
  }

  /** Walks what the sockets have by `step`. Returns the packets that came, 0 = nothing was there. */
  turn(step: () => number, now: number): number {
    const bits = native.pollerWait(this.poller, 0);
    let packets = 0;
    if ((bits & (1 << HANDED_TAG)) !== 0 && this.#handed !== null) packets += this.#takeHanded(this.#handed, now);
    for (let at = 0; at < this.#slots.length; at++) {
      const slot = this.#slots[at]!;
      if ((bits & (1 << (2 * at))) !== 0) packets += this.#take(slot, at + 1, slot.four, step, now);
      if ((bits & (2 << (2 * at))) !== 0) packets += this.#take(slot, at + 1, slot.six, step, now);
    }
    return packets;
  }

  #take(slot: Slot, number: number, fd: number, step: () => number, now: number): number {
    slot.due = 0;
    const { link } = slot;
    let packets = 0;
    link.begin();
    for (let drains = 0; drains === 0 || (drains < DRAINS && link.more); drains++) {
      if (!link.open(fd, now)) continue;
      this.#turn = link;
      this.#number = number;
      for (let n = step(); n > 0; n = step()) packets += n;
      this.#turn = null;
    }
    return packets;
  }

  /** Timers of the links, ports that could not be had. Returns when to come again. */
  tick(now: number): number {
    let due = NEVER;
    const epoch = now - this.#epochAt >= EPOCH_MS;
    if (epoch) this.#epochAt = now;
    for (const slot of this.#slots) {
      if (epoch) slot.link.device.epoch = Date.now() - now;
      if (now >= slot.retry) this.#start(slot, now);
      if (now >= slot.due) slot.due = slot.link.tick(now);
      due = Math.min(due, slot.due, slot.retry);
    }
    return due;
  }

  // -- plans and questions --

  setPlan(plan: Plan, now: number): void {
    this.#outs = plan.links.map(({ out }) => out);
    if (!this.#owner) return;
    // First those that go: another may come on their port.
    const names = new Set(plan.links.map(({ name }) => name));
    for (const name of [...this.#byName.keys()]) if (!names.has(name)) this.#drop(name);
    this.#slots = plan.links.map(({ name, out, listen, mark }) => {
      const { mtu } = plan.interfaces[out]!;
      const slot = this.#byName.get(name) ?? this.#make(name, mtu);
      // Dormant in the plan: the port stays open, and nothing is routed to it.
      if (mtu > 0) slot.link.setMtu(mtu);
      return Object.assign(slot, { out, listen, mark });
    });
    for (const slot of this.#slots) this.#start(slot, now);
    this.#mtus.fill(0, 0, MAX_LINKS);
    for (const [at, slot] of this.#slots.entries()) this.#mtus[at] = slot.narrow;
    this.#watch();
  }

  answer(name: string, text: string, now: number): { text: string; problem: string } {
    const slot = this.#byName.get(name);
    if (slot === undefined) return { text: 'errno=2\n\n', problem: `there is no link "${name}"` };
    let problem = '';
    const answer = slot.link.answer(text, now, (words) => {
      problem = words;
    });
    slot.due = 0;
    this.#watch();
    return { text: answer, problem };
  }

  status(): LinkStatus[] {
    return this.#slots.map(({ link }) => link.status());
  }

  close(): void {
    for (const name of [...this.#byName.keys()]) this.#drop(name);
    this.#slots = [];
    this.#lanes?.close();
    if (this.poller >= 0) native.closeFd(this.poller);
    this.#tun.close();
  }

  #make(name: string, mtu: number): Slot {
    this.#lanes ??= new Lanes();
    if (this.poller < 0) {
      this.poller = native.pollerCreate();
      if (this.#handed !== null) native.pollerAdd(this.poller, this.#handOver, HANDED_TAG);
    }
    const silent = (publicKey: string, attempts: number) =>
      this.#tell({ kind: 'link-silent', link: name, publicKey, attempts });
    const narrow = (inner: number, endpoint: string, pathMtu: number) => {
      slot.narrow = inner;
      const at = this.#slots.indexOf(slot);
      if (at >= 0) this.#mtus[at] = inner;
      const text =
        inner === 0
          ? `link ${name}: its paths carry packets of full size again`
          : `link ${name}: the path to ${endpoint} carries ${pathMtu} bytes, so the link carries ${inner} until it carries more`;
      this.#tell({ kind: 'notice', text });
    };
    const flooded = (is: boolean) => {
      const text = is
        ? `link ${name}: handshakes of strangers come by tens of thousands a second; most are dropped unread, peers with a session go on`
        : `link ${name}: the flood of handshakes has ended`;
      this.#tell({ kind: 'notice', text });
    };
    const link = new SiteLink(name, { lanes: this.#lanes, mtu, silent, narrow, flooded });
    const slot: Slot = {
      link,
      out: 0,
      listen: 0,
      mark: 0,
      four: -1,
      six: -1,
      due: 0,
      retry: NEVER,
      narrow: 0,
      fresh: true,
    };
    this.#byName.set(name, slot);
    return slot;
  }

  /** Port and mark as the plan has them; where the kernel refuses, again later. What was open stays open. */
  #start(slot: Slot, now: number): void {
    const { link, listen, mark } = slot;
    const { port } = link;
    slot.retry = NEVER;
    try {
      if (mark !== port.mark) port.setMark(mark);
      if (listen !== 0 && listen !== port.port) port.setPort(listen);
      if (!port.open) {
        link.device.epoch = Date.now() - now;
        link.start(now);
      }
      this.#say(slot, '');
    } catch (error) {
      slot.retry = now + RETRY_MS;
      this.#say(slot, (error as Error).message);
    }
    slot.due = 0;
    this.#watch();
  }

  /** Once for each change. */
  #say(slot: Slot, problem: string): void {
    const { link, fresh } = slot;
    if (!fresh && problem === link.problem) return;
    link.problem = problem;
    slot.fresh = false;
    const { port } = link;
    this.#tell({ kind: 'link-state', link: link.name, up: port.open, fresh, port: port.port, problem });
  }

  #drop(name: string): void {
    const slot = this.#byName.get(name)!;
    this.#forget(slot);
    slot.link.close();
    this.#byName.delete(name);
  }

  /** Sockets come and go with the port, and have their links' numbers as tags. */
  #watch(): void {
    for (const slot of this.#byName.values()) this.#forget(slot);
    for (const [at, slot] of this.#slots.entries()) {
      const { four, six } = slot.link.port;
      if (four >= 0) native.pollerAdd(this.poller, four, 2 * at);
      if (six >= 0) native.pollerAdd(this.poller, six, 2 * at + 1);
      slot.four = four;
      slot.six = six;
    }
  }

  #forget(slot: Slot): void {
    for (const fd of [slot.four, slot.six]) {
      if (fd < 0) continue;
      try {
        native.pollerRemove(this.poller, fd);
      } catch {
        // It was closed meanwhile, and left the poller by itself.
      }
    }
    slot.four = slot.six = -1;
  }
}
