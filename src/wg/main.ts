/**
 * `tungate wg NAME`: a bare WireGuard device, a drop-in for wireguard-go. No NAT, no config file: wg(8) or wg-quick(8) set it up.
 *
 * Theory of operation. This thread owns what the device stands on: the TUN's descriptor, the UAPI socket, a netlink bell; the worker (worker.ts) owns the
 * protocol and the packets. Up, down and MTU are the kernel's to say (`ip link set NAME up`): at each ring of the bell the interface is looked at, and the
 * worker told. The device ends, in order, when its interface or its socket's file is removed, or at SIGTERM, SIGINT and SIGHUP. A TUN that nobody
 * holds is gone, so nothing stays behind.
 *
 * Into the background: Node cannot fork, so the verb starts itself again in a session of its own, and ends when the new process says that its
 * socket answers (background.ts).
 */
import { Worker } from 'node:worker_threads';
import { findLink, type Link, Netlink, setLink } from '../host/index.js';
import { UAPI_DIR, UapiServer } from '../link/wireguard/index.js';
import { native } from '../native.js';
import type { DeviceInit, FromDevice, ToDevice } from './mail.js';

/** As wireguard-go: right for any path of 1500 bytes. */
const MTU = 1420;
/** The TUN's own 500 overflow under bursts of large packets. */
const TX_QUEUE = 1000;
const NETLINK_ROUTE = 0;
const RTNLGRP_LINK = 1;
const NOTIFICATION_BYTES = 64 * 1024;
/** For a worker that does not end: only there to stop a hang. */
const STOP_MS = 3000;

export interface BareOptions {
  readonly name: string;
  /** An open TUN that somebody hands over. */
  readonly tunFd?: number | undefined;
  readonly log: (level: 'error' | 'info', text: string) => void;
  /** The socket answers. */
  readonly ready: () => void;
  readonly dir?: string;
}

/** Runs until the device ends; resolves with the exit code. Throws when it cannot begin. */
export async function runBareDevice(options: BareOptions): Promise<number> {
  const device = new BareDevice(options);
  return device.run();
}

interface OpenTun {
  readonly fd: number;
  readonly name: string;
  readonly vnet: boolean;
  readonly fresh: boolean;
}

function openTun(name: string, given: number | undefined): OpenTun {
  if (given !== undefined) return { fd: given, fresh: false, ...native.tunAdopt(given) };
  return { ...native.tunOpen(name), vnet: true, fresh: true };
}

class BareDevice {
  readonly #options: BareOptions;
  readonly #tun: OpenTun;
  readonly #netlink = new Netlink();
  readonly #bell: number;
  readonly #wakeFd = native.wakeCreate();
  readonly #worker: Worker;
  readonly #asked = new Map<number, (text: string) => void>();
  #questions = 0;
  #index = 0;
  #state = '';
  #end: (code: number) => void = () => {};
  #stopped: () => void = () => {};

  constructor(options: BareOptions) {
    this.#options = options;
    this.#bell = native.netlinkOpen(NETLINK_ROUTE, [RTNLGRP_LINK]);
    this.#tun = openTun(options.name, options.tunFd);
    const link = findLink(this.#netlink, this.#tun.name);
    if (link !== undefined) {
      this.#index = link.index;
      if (this.#tun.fresh) setLink(this.#netlink, link.index, { mtu: MTU, txqueuelen: TX_QUEUE });
    }
    this.#worker = new Worker(new URL('./worker.js', import.meta.url));
  }

  async run(): Promise<number> {
    const { name, fd: tunFd, vnet } = this.#tun;
    const { log } = this.#options;
    const ended = new Promise<number>((resolve) => {
      this.#end = resolve;
    });
    const stopped = new Promise<void>((resolve) => {
      this.#stopped = resolve;
    });
    this.#worker.on('message', (message: FromDevice) => this.#hear(message));
    this.#worker.on('error', (error) => {
      log('error', `the data plane failed: ${error.stack ?? error.message}`);
      this.#stopped();
      this.#end(1);
    });
    this.#worker.postMessage({ name, tunFd, vnet, mtu: MTU, wakeFd: this.#wakeFd } satisfies DeviceInit);
    const unwatch = native.watch(this.#bell, () => this.#ring());
    this.#look();

    let server: UapiServer | undefined;
    try {
      server = await UapiServer.open({
        name,
        dir: this.#options.dir ?? UAPI_DIR,
        answer: (text) => this.#ask(text),
        removed: () => {
          log('info', 'the socket was removed: ending');
          this.#end(0);
        },
      });
      for (const signal of ['SIGTERM', 'SIGINT', 'SIGHUP'] as const) process.once(signal, () => this.#end(0));
      log('info', `device ${name}: socket ${server.path}`);
      this.#options.ready();
      return await ended;
    } finally {
      server?.close();
      unwatch();
      this.#send({ kind: 'stop' });
      const timer = setTimeout(this.#stopped, STOP_MS);
      await stopped;
      clearTimeout(timer);
      await this.#worker.terminate();
      this.#netlink.close();
      for (const fd of [this.#bell, this.#wakeFd, tunFd]) native.closeFd(fd);
    }
  }

  // -- the worker --

  #send(message: ToDevice): void {
    this.#worker.postMessage(message);
    native.wakeSet(this.#wakeFd);
  }

  #ask(text: string): Promise<string> {
    const id = this.#questions++;
    return new Promise((resolve) => {
      this.#asked.set(id, resolve);
      this.#send({ kind: 'ask', id, text });
    });
  }

  #hear(message: FromDevice): void {
    switch (message.kind) {
      case 'answer':
        this.#asked.get(message.id)?.(message.text);
        this.#asked.delete(message.id);
        break;
      case 'say':
        this.#options.log(message.level, message.text);
        break;
      case 'lost':
        this.#options.log('info', `${message.text}: ending`);
        this.#end(0);
        break;
      default:
        this.#stopped();
    }
  }

  // -- the interface --

  #ring(): void {
    const into = new Uint8Array(NOTIFICATION_BYTES);
    // What was said does not matter (and may have been lost): the interface is looked at.
    for (let left = 64; left > 0 && native.netlinkReceive(this.#bell, into, 0) !== 0; left--);
    this.#look();
  }

  #look(): void {
    let link: Link | undefined;
    try {
      link = findLink(this.#netlink, this.#index);
    } catch (error) {
      this.#options.log('error', (error as Error).message);
      return;
    }
    // Not here: deleted, which the worker hears from the TUN itself, or moved into another namespace, where it works on.
    if (link === undefined) return;
    const state = `${link.up} ${link.mtu}`;
    if (state === this.#state) return;
    this.#state = state;
    this.#send({ kind: 'state', up: link.up, mtu: link.mtu });
  }
}
