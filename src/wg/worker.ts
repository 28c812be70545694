/**
 * The data plane of a bare WireGuard device: one thread that blocks in one native call, walks batches, answers wg(8) between two of them.
 *
 * No promises and no event loop, as in datapath/worker.ts. The protocol's state is here and nowhere else, so nothing of it is locked or shared: the main
 * thread passes requests on as text, and gets text.
 */
import { parentPort, receiveMessageOnPort } from 'node:worker_threads';
import { answerNow, cryptoProblem, Tunnel } from '../link/wireguard/index.js';
import { native } from '../native.js';
import type { DeviceInit, FromDevice, ToDevice } from './mail.js';

const Tag = { TUN: 0, WAKE: 1, FOUR: 2, SIX: 3 } as const;
/** Longest sleep, milliseconds: a wall clock that was set is noticed by then. */
const LONGEST_WAIT = 10_000;
/** How often the offset to the wall clock is read. */
const EPOCH_EVERY = 1_000;

function post(message: FromDevice): void {
  parentPort!.postMessage(message);
}

class Worker {
  readonly #init: DeviceInit;
  readonly #tunnel: Tunnel;
  readonly #poller = native.pollerCreate();
  #watched = { four: -1, six: -1 };
  #running = true;
  #up = false;
  #epochAt = Number.NEGATIVE_INFINITY;

  constructor(init: DeviceInit) {
    this.#init = init;
    this.#tunnel = new Tunnel(init.name, init.tunFd, init);
    native.pollerAdd(this.#poller, init.tunFd, Tag.TUN);
    native.pollerAdd(this.#poller, init.wakeFd, Tag.WAKE);
    if (cryptoProblem !== '') post({ kind: 'say', level: 'error', text: cryptoProblem });
  }

  run(): void {
    const tunnel = this.#tunnel;
    const { port } = tunnel;
    let bits = 1 << Tag.WAKE; // messages may have come before us
    let more = false;
    try {
      for (;;) {
        const now = native.boottime();
        if (now - this.#epochAt >= EPOCH_EVERY) {
          this.#epochAt = now;
          tunnel.device.epoch = Date.now() - now;
        }
        if (bits & (1 << Tag.WAKE)) this.#takeMail(now);
        if (!this.#running) break;
        if (bits & (1 << Tag.FOUR) && port.four >= 0) tunnel.receive(port.four, now);
        if (bits & (1 << Tag.SIX) && port.six >= 0) tunnel.receive(port.six, now);
        // A packet may have been cut only in part: then the TUN itself may have nothing more to say.
        if (more || bits & (1 << Tag.TUN)) more = tunnel.send(now) > 0;
        const at = tunnel.tick(now);
        bits = native.pollerWait(this.#poller, more ? 0 : Math.min(LONGEST_WAIT, Math.max(0, Math.ceil(at - now))));
      }
    } catch (error) {
      post({ kind: 'lost', text: (error as Error).message });
    }
    this.#forgetSockets();
    tunnel.close();
    native.closeFd(this.#poller);
    post({ kind: 'stopped' });
  }

  #takeMail(now: number): void {
    native.wakeClear(this.#init.wakeFd);
    for (let got = receiveMessageOnPort(parentPort!); got; got = receiveMessageOnPort(parentPort!)) {
      const message = got.message as ToDevice;
      if (message.kind === 'stop') this.#running = false;
      else if (message.kind === 'state') this.#setState(message.up, message.mtu, now);
      else this.#answer(message.id, message.text, now);
    }
    this.#watchSockets();
    this.#tunnel.flush();
  }

  #answer(id: number, text: string, now: number): void {
    const { device, socket } = this.#tunnel;
    const complain = (words: string) => post({ kind: 'say', level: 'error', text: words });
    post({ kind: 'answer', id, text: answerNow(device, socket, text, now, complain) });
  }

  #setState(up: boolean, mtu: number, now: number): void {
    const tunnel = this.#tunnel;
    if (mtu !== tunnel.device.mtu) {
      tunnel.device.mtu = mtu;
      post({ kind: 'say', level: 'info', text: `MTU ${mtu}` });
    }
    if (up === this.#up) return;
    this.#up = up;
    if (!up) {
      this.#forgetSockets();
      tunnel.stop();
      post({ kind: 'say', level: 'info', text: 'down' });
      return;
    }
    try {
      tunnel.start(now);
      post({ kind: 'say', level: 'info', text: `up, UDP port ${tunnel.port.port}` });
    } catch (error) {
      // The next "up" tries again.
      this.#up = false;
      post({ kind: 'say', level: 'error', text: `the link stays down: ${(error as Error).message}` });
    }
  }

  /** Sockets come and go with the port and the link; a closed one has left the poller by itself. */
  #watchSockets(): void {
    const { four, six } = this.#tunnel.port;
    this.#forgetSockets();
    if (four >= 0) native.pollerAdd(this.#poller, four, Tag.FOUR);
    if (six >= 0) native.pollerAdd(this.#poller, six, Tag.SIX);
    this.#watched = { four, six };
  }

  #forgetSockets(): void {
    for (const fd of [this.#watched.four, this.#watched.six]) {
      if (fd < 0) continue;
      try {
        native.pollerRemove(this.#poller, fd);
      } catch {
        // closed meanwhile
      }
    }
    this.#watched = { four: -1, six: -1 };
  }
}

parentPort!.once('message', (init: DeviceInit) => new Worker(init).run());
