/**
 * A link's UDP port: one socket for each family, on the same number. Opening and options are here; batches go through native/udp.cc.
 *
 * The sockets exist while the link is up. A port that the kernel chose stays ours over down and up, so that peers who know us by it find us again.
 */
import { native } from '../native.js';

/** Another port number is tried so often where the kernel's choice for one family is taken in the other. */
const TRIES = 16;

export class UdpPort {
  /** DF on what is sent. Before `start`. */
  dontFragment = false;
  /** −1 = none. */
  four = -1;
  six = -1;
  #port = 0;
  #mark = 0;

  /** The number that was asked for, or given by the kernel; 0 = neither. */
  get port(): number {
    return this.#port;
  }

  get mark(): number {
    return this.#mark;
  }

  get open(): boolean {
    return this.four >= 0 || this.six >= 0;
  }

  /** Opens both sockets. Throws EADDRINUSE…; nothing is open then. */
  start(): void {
    if (this.open) return;
    this.#bind(this.#port);
  }

  stop(): void {
    if (this.four >= 0) native.closeFd(this.four);
    if (this.six >= 0) native.closeFd(this.six);
    this.four = this.six = -1;
  }

  /** While open: moves there. The old sockets live on when the new number is refused. */
  setPort(port: number): void {
    const [four, six, old] = [this.four, this.six, this.#port];
    this.#port = port;
    if (four < 0 && six < 0) return;
    this.four = this.six = -1;
    try {
      this.#bind(port);
    } catch (error) {
      [this.four, this.six] = [four, six];
      this.#port = old;
      throw error;
    }
    if (four >= 0) native.closeFd(four);
    if (six >= 0) native.closeFd(six);
  }

  setMark(mark: number): void {
    if (this.four >= 0) native.udpMark(this.four, mark | 0);
    if (this.six >= 0) native.udpMark(this.six, mark | 0);
    this.#mark = mark;
  }

  #bind(port: number): void {
    for (let attempt = 1; ; attempt++) {
      let four: { fd: number; port: number } | undefined;
      try {
        four = this.#try(4, port);
        const six = this.#try(6, four?.port ?? port);
        const bound = four ?? six;
        if (bound === undefined) throw new Error('this kernel has neither IPv4 nor IPv6');
        this.four = four?.fd ?? -1;
        this.six = six?.fd ?? -1;
        this.#port = bound.port;
        return;
      } catch (error) {
        if (four !== undefined) native.closeFd(four.fd);
        const taken = (error as NodeJS.ErrnoException).code === 'EADDRINUSE';
        if (!taken || port !== 0 || four === undefined || attempt === TRIES) throw error;
      }
    }
  }

  /** Undefined: this kernel has not that family. */
  #try(family: 4 | 6, port: number): { fd: number; port: number } | undefined {
    try {
      const bound = native.udpOpen(family, port, this.#mark | 0);
      if (this.dontFragment) native.udpDontFragment(bound.fd, family);
      return bound;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'EAFNOSUPPORT') return undefined;
      throw error;
    }
  }
}
