/** The generator and the sink of bench/load, run in namespaces. */
import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import type { Namespace, Process } from '../../src/lab/index.js';
import type { Trial } from './search.js';

/** Beside dist/, because tsc fills that: this file runs as dist/bench/lib/load.js. */
const PROGRAM = fileURLToPath(new URL('../../../build/bench/load', import.meta.url));

/** From where to where `load send` sends; the numbers of sources, ports and targets multiply to the flows there can be. */
export interface Stream {
  readonly interface: string;
  readonly mac: string;
  readonly 'own-mac': string;
  readonly from: string;
  readonly to: string;
  readonly sources?: number;
  readonly sport?: number;
  readonly sports?: number;
  readonly targets?: number;
  readonly dport?: number;
  readonly dports?: number;
  readonly 'dport-step'?: number;
  readonly flows?: number;
}

export interface Sent {
  readonly sent: number;
  readonly seconds: number;
  /** Packets that were due while the generator was off the processor for long, and were not sent. */
  readonly forgiven: number;
  readonly realtime: boolean;
}

export interface Received {
  readonly received: number;
  readonly foreign: number;
  /** Packets that the sink's own queue dropped: not the router's loss. */
  readonly overflow: number;
  /** Microseconds, with `delays`. */
  readonly p50?: number;
  readonly p99?: number;
  readonly p999?: number;
  readonly max?: number;
  /** Longest silence beyond the sender's own, in microseconds. */
  readonly gap?: number;
}

export interface Connected {
  readonly begun: number;
  readonly done: number;
  readonly refused: number;
  readonly reset: number;
  readonly timeout: number;
  readonly local: number;
  readonly p50: number;
  readonly p99: number;
  readonly max: number;
}

function argv(verb: string, options: object): string[] {
  if (!existsSync(PROGRAM)) throw new Error(`${PROGRAM} is missing: "npm run bench" builds it`);
  return [PROGRAM, verb, ...Object.entries(options).flatMap(([name, value]) => [`--${name}`, String(value)])];
}

let runs = 0;

/** A sink that stands ready; `end` waits for the last packets and returns what it counted. */
export class Sink {
  readonly run = ++runs;
  readonly #process: Process;

  private constructor(ns: Namespace, port: number, delays: boolean) {
    this.#process = ns.spawn(argv('sink', { port, run: this.run, delays: delays ? 1 : 0 }));
  }

  static async start(ns: Namespace, port: number, delays = false): Promise<Sink> {
    const sink = new Sink(ns, port, delays);
    await sink.#process.waitFor(/ready/, 5);
    return sink;
  }

  async end(): Promise<Received> {
    await new Promise((resolve) => setTimeout(resolve, 150));
    const code = await this.#process.stop();
    if (code !== 0) throw new Error(`the sink ended with ${code}: ${this.#process.tail()}`);
    return JSON.parse(this.#process.stdout) as Received;
  }
}

export interface SendOptions {
  /** Packets a second; 0 = as fast as it goes. */
  readonly rate: number;
  readonly seconds: number;
  /** Ends it earlier. */
  readonly packets?: number;
  readonly run: number;
  readonly realtime?: boolean;
  /** Packets that it may owe after it overslept, and then sends at once; the rest is forgiven. */
  readonly debt?: number;
}

export async function send(ns: Namespace, stream: Stream, options: SendOptions): Promise<Sent> {
  const { realtime, ...rest } = options;
  const text = await ns.must(argv('send', { ...stream, ...rest, realtime: realtime ? 1 : 0 }), {
    seconds: Math.ceil(options.seconds) + 30,
  });
  return JSON.parse(text) as Sent;
}

/** One measurement: what of a stream arrives. */
export async function pass(
  from: Namespace,
  to: Namespace,
  stream: Stream,
  options: Omit<SendOptions, 'run'> & { readonly delays?: boolean },
): Promise<Trial & Sent & Received> {
  const { delays, ...rest } = options;
  const sink = await Sink.start(to, stream.dport === undefined || stream.dports ? 7000 : stream.dport, delays);
  const sent = await send(from, stream, { ...rest, run: sink.run });
  const received = await sink.end();
  const kept = received.received + received.overflow;
  return { ...received, ...sent, sent: sent.sent / sent.seconds, received: kept / sent.seconds };
}

export async function connect(
  ns: Namespace,
  options: { to: string; port: number; from: string; sources: number; sport: number; rate: number; seconds: number },
): Promise<Connected> {
  const text = await ns.must(argv('connect', options), { seconds: options.seconds + 60 });
  return JSON.parse(text) as Connected;
}

/** Sends one ping so that the neighbour is known, and returns its MAC as `ns` sees it. */
export async function macOf(ns: Namespace, interfaceName: string, neighbour: string): Promise<string> {
  for (let attempt = 0; attempt < 20; attempt++) {
    await ns.run(['ping', '-c', '1', '-W', '1', neighbour], { seconds: 5 });
    const text = await ns.must(['ip', 'neigh', 'show', neighbour, 'dev', interfaceName]);
    const mac = /lladdr (\S+)/.exec(text)?.[1];
    if (mac) return mac;
  }
  throw new Error(`${ns.role}: ${neighbour} does not answer ARP on ${interfaceName}`);
}

export async function ownMac(ns: Namespace, interfaceName: string): Promise<string> {
  const text = await ns.must(['ip', 'link', 'show', 'dev', interfaceName]);
  return /link\/ether (\S+)/.exec(text)![1]!;
}
