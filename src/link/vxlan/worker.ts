/**
 * The data plane of all VXLAN links: one thread that blocks in one native call, walks batches, and takes mail between two of them. No promises and no event
 * loop, as in datapath/worker.ts. Frames never enter the engine: they are Ethernet, and a loss of either thread leaves the other alone.
 */
import { isDeepStrictEqual } from 'node:util';
import { parentPort, receiveMessageOnPort } from 'node:worker_threads';
import type { FromVxlan, ToVxlan, VxlanInit, VxlanOrder, VxlanStatus } from '../../contract/vxlan.js';
import { native } from '../../native.js';
import { describeLoop, LoopWatch } from './loop.js';
import { type Memory, recall, remember } from './memory.js';
import { Port } from './port.js';
import { Lanes, openReceiving, VxlanTunnel } from './tunnel.js';

const WAKE = 0;
/** Longest sleep, milliseconds. */
const LONGEST_WAIT = 1000;

function post(message: FromVxlan): void {
  parentPort!.postMessage(message);
}

/** A link in its place: its descriptors have the tags 2·place + 1 (TAP) and 2·place + 2 (UDP). */
interface Seat {
  readonly tunnel: VxlanTunnel;
  loop: string;
  loopUntil: number;
}

class VxlanWorker {
  readonly #wakeFd: number;
  readonly #poller = native.pollerCreate();
  readonly #lanes = new Lanes();
  /** By address, port and device. */
  readonly #ports = new Map<string, Port>();
  readonly #seats: (Seat | null)[] = [];
  /** Of links that carry nothing: name → why. */
  readonly #problems = new Map<string, string>();
  readonly #loops = new LoopWatch((loop) => {
    const text = describeLoop(loop);
    post({ kind: 'say', level: 'warn', text });
    for (const seat of this.#seats) {
      const name = seat?.tunnel.order.name;
      if (seat && (name === loop.sentBy || name === loop.cameBackBy)) {
        seat.loop = text;
        seat.loopUntil = native.boottime() + LOOP_SHOWN;
      }
    }
  });
  #running = true;

  constructor({ wakeFd }: VxlanInit) {
    this.#wakeFd = wakeFd;
    native.pollerAdd(this.#poller, wakeFd, WAKE);
  }

  run(): void {
    try {
      this.#work();
    } finally {
      // Descriptors are the process's: those of a thread that failed would hold their ports.
      for (let place = 0; place < this.#seats.length; place++) this.#leave(place);
      native.closeFd(this.#poller);
    }
    post({ kind: 'stopped' });
  }

  #work(): void {
    let bits = 1 << WAKE; // messages may have come before us
    while (this.#running) {
      const now = native.boottime();
      if (bits & (1 << WAKE)) this.#takeMail();
      let at = now + LONGEST_WAIT;
      for (let place = 0; place < this.#seats.length; place++) {
        const seat = this.#seats[place];
        if (!seat) continue;
        at = Math.min(at, this.#serve(seat, place, bits >> (2 * place + 1), now));
      }
      if (this.#running) bits = native.pollerWait(this.#poller, Math.max(0, Math.ceil(at - native.boottime())));
    }
  }

  #serve(seat: Seat, place: number, bits: number, now: number): number {
    const { tunnel } = seat;
    try {
      if (bits & 2) tunnel.port.receive(now);
      if (bits & 1) tunnel.send(now);
      return tunnel.tick(now);
    } catch (error) {
      const { name } = tunnel.order;
      const text = (error as Error).message;
      this.#leave(place);
      this.#problems.set(name, text);
      post({ kind: 'say', level: 'error', text: `link "${name}" carries nothing: ${text}` });
      return now + LONGEST_WAIT;
    }
  }

  // ---- Mail.

  #takeMail(): void {
    native.wakeClear(this.#wakeFd);
    for (let got = receiveMessageOnPort(parentPort!); got; got = receiveMessageOnPort(parentPort!)) {
      const message = got.message as ToVxlan;
      if (message.kind === 'stop') this.#running = false;
      else if (message.kind === 'want') this.#want(message);
      else if (message.kind === 'status') post({ kind: 'status', id: message.id, links: this.#status() });
      else {
        const seat = this.#seats.find((item) => item?.tunnel.order.name === message.link);
        post({ kind: 'fdb', id: message.id, rows: seat?.tunnel.fdb(native.boottime()) ?? [] });
      }
    }
  }

  #want({ id, links }: Extract<ToVxlan, { kind: 'want' }>): void {
    this.#problems.clear();
    const runs = (name: string) => this.#seats.find((seat) => seat?.tunnel.order.name === name)?.tunnel;
    // What goes goes first: another may want its port. What it knows waits for the link that comes in its place.
    const known = new Map<string, Memory>();
    this.#seats.forEach((seat, place) => {
      if (seat === null) return;
      const { order, tapFd, outerFd } = seat.tunnel;
      const wanted = links.find((item) => item.order.name === order.name);
      if (wanted?.tapFd !== tapFd || wanted.outerFd !== outerFd || !isDeepStrictEqual(wanted.order, order)) {
        known.set(order.name, remember(seat.tunnel.vtep, native.boottime()));
        this.#leave(place);
      }
    });
    for (const { order, tapFd, outerFd } of links) {
      if (runs(order.name)) continue;
      try {
        const tunnel = this.#open(order, tapFd, outerFd);
        const memory = known.get(order.name);
        if (memory !== undefined) recall(tunnel.vtep, memory, native.boottime());
        this.#enter(tunnel);
      } catch (error) {
        this.#problems.set(order.name, (error as Error).message);
      }
    }
    post({ kind: 'done', id, problems: [...this.#problems] });
  }

  #open(order: VxlanOrder, tapFd: number, outerFd: number): VxlanTunnel {
    const key = `${order.local} ${order.port} ${order.device}`;
    const port = this.#ports.get(key) ?? new Port(key, openReceiving(order), this.#lanes.in);
    try {
      return new VxlanTunnel(order, tapFd, this.#lanes, port, this.#loops, outerFd);
    } catch (error) {
      if (port.receivers.length === 0) native.closeFd(port.fd);
      throw error;
    }
  }

  #enter(tunnel: VxlanTunnel): void {
    let place = this.#seats.indexOf(null);
    if (place < 0) place = this.#seats.length;
    this.#seats[place] = { tunnel, loop: '', loopUntil: 0 };
    native.pollerAdd(this.#poller, tunnel.tapFd, 2 * place + 1);
    const { port } = tunnel;
    if (port.receivers.push(tunnel) > 1) return;
    this.#ports.set(port.key, port);
    native.pollerAdd(this.#poller, port.fd, 2 * place + 2);
  }

  #leave(place: number): void {
    const tunnel = this.#seats[place]?.tunnel;
    if (!tunnel) return;
    native.pollerRemove(this.#poller, tunnel.tapFd);
    this.#seats[place] = null;
    this.#leavePort(tunnel);
    tunnel.close();
  }

  /** The port stays while another link has it, and wakes us for that one then. */
  #leavePort(tunnel: VxlanTunnel): void {
    const { port } = tunnel;
    port.receivers.splice(port.receivers.indexOf(tunnel), 1);
    native.pollerRemove(this.#poller, port.fd);
    const heir = this.#seats.findIndex((seat) => seat?.tunnel.port === port);
    if (heir >= 0) native.pollerAdd(this.#poller, port.fd, 2 * heir + 2);
    else {
      this.#ports.delete(port.key);
      native.closeFd(port.fd);
    }
  }

  #status(): VxlanStatus[] {
    const now = native.boottime();
    const running = this.#seats.flatMap((seat) =>
      seat === null ? [] : [seat.tunnel.status(now < seat.loopUntil ? seat.loop : '')],
    );
    const none = { loop: '', remotes: [], outcomes: {}, sendFailed: 0, tapFailed: 0, addresses: 0, refused: 0 };
    return [...running, ...[...this.#problems].map(([name, problem]) => ({ name, problem, ...none }))];
  }
}

/** As long as a link may be blocked for it, milliseconds. */
const LOOP_SHOWN = 30_000;

parentPort!.once('message', (init: VxlanInit) => new VxlanWorker(init).run());
