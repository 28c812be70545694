/** What is measured: something that translates between the client and the server. */
import type { Stage } from '../lib/stage.js';

/** How the client reaches the world by this peer. */
export interface Way {
  readonly interface: string;
  readonly gateway: string;
  readonly address: string;
}

/** The wire `lan`, for peers that are routers. */
export const ROUTED: Way = { interface: 'eth0', gateway: '172.22.161.1', address: '172.22.161.170' };

export interface Setup {
  /** Forwards of P that do not merge: every second port from FIRST_FORWARD on, UDP, all to port 7000 of the client. */
  readonly forwards?: number;
  /** Flows there must be room for. */
  readonly flows?: number;
}

export const FIRST_FORWARD = 30_001;

export interface Peer {
  readonly name: string;
  /** Its best settings, in words, for the page. */
  readonly settings: string;
  /** A router: hairpin, forwards, any number of inside addresses. Otherwise it serves one namespace and what that one begins. */
  readonly router: boolean;
  /** Takes part in the suites that last long: growth, memory, full load. */
  readonly thorough: boolean;
  /** Empty, or why it cannot be measured here. */
  missing(stage: Stage): Promise<string>;
  /** Resolves when packets flow. */
  start(stage: Stage, setup?: Setup): Promise<Way>;
  stop(stage: Stage): Promise<void>;
  /** Live flows, where it can say. */
  flows?(stage: Stage): Promise<number>;
  /** What operators and their monitoring do to it while packets pass; `n` counts the times. Resolves when it is done. */
  stir?(stage: Stage, n: number): Promise<void>;
  /** Bytes, by name (rss, pss, table…), of what runs now. */
  memory?(stage: Stage): Promise<Readonly<Record<string, number>>>;
  /** The most flows that this machine lets it have. */
  limit?(): number;
}
