/**
 * What a suite is, and what it is handed.
 *
 * Theory of operation. A suite names its figures and measures them peer by peer, round by round (A B C A B C …), so that a slow
 * minute of the machine hits all of them. Each value goes into the book under (suite, case, metric, peer), one a round;
 * medians, spreads and ratios are made of the book afterwards, never while measuring.
 */
import type { Peer, Setup, Way } from '../peers/peer.js';
import { Calm } from './machine.js';
import type { Stage } from './stage.js';

export interface Metric {
  readonly title: string;
  readonly unit: string;
  readonly better: 'more' | 'less';
  /** 'ratio': compared with the reference by division (the default); 'difference': by subtraction. */
  readonly compare?: 'ratio' | 'difference' | 'none';
  /** Drawn in the suite's plot. */
  readonly plot?: boolean;
}

export interface Figure {
  readonly suite: string;
  readonly case: string;
  readonly metric: string;
  readonly peer: string;
  /** One a round. */
  readonly values: number[];
}

export interface Options {
  readonly rounds: number;
  readonly seconds: number;
  readonly quick: boolean;
}

export interface Suite {
  readonly name: string;
  readonly title: string;
  /** How it is measured, for the page. */
  readonly method: string;
  readonly metrics: Readonly<Record<string, Metric>>;
  /** Programs beside those that every suite needs. */
  readonly tools?: readonly string[];
  run(bench: Bench): Promise<void>;
}

export class Bench {
  readonly figures: Figure[] = [];
  readonly calm: Calm;
  /** Seconds that the peer that runs now took until packets could flow. */
  started = 0;

  constructor(
    readonly suite: Suite,
    readonly stage: Stage,
    readonly peers: readonly Peer[],
    readonly options: Options,
    readonly say: (text: string) => void,
  ) {
    this.calm = new Calm(options.rounds * 2, say);
  }

  record(peer: Peer, what: string, values: Readonly<Record<string, number>>): void {
    const texts: string[] = [];
    for (const [metric, value] of Object.entries(values)) {
      const known = this.figures.find((f) => f.case === what && f.metric === metric && f.peer === peer.name);
      if (known) known.values.push(value);
      else this.figures.push({ suite: this.suite.name, case: what, metric, peer: peer.name, values: [value] });
      texts.push(`${metric} ${value.toPrecision(4)}`);
    }
    this.say(`${peer.name}, ${what}: ${texts.join(', ')}`);
  }

  /** The rounds: each peer is started, measured and stopped in turn. `only` leaves peers out. */
  async rounds(
    measure: (peer: Peer, way: Way, round: number) => Promise<void>,
    { only = () => true, setup = {}, rounds = this.options.rounds }: RoundsOptions = {},
  ): Promise<void> {
    for (let round = 1; round <= rounds; round++)
      for (const peer of this.peers.filter(only)) {
        this.say(`round ${round} of ${rounds}: ${peer.name}`);
        await this.with(peer, setup, (way) => measure(peer, way, round));
      }
  }

  async with<T>(peer: Peer, setup: Setup, act: (way: Way) => Promise<T>): Promise<T> {
    const from = performance.now();
    const way = await peer.start(this.stage, setup);
    this.started = (performance.now() - from) / 1000;
    try {
      return await act(way);
    } finally {
      await peer.stop(this.stage);
    }
  }
}

export interface RoundsOptions {
  readonly only?: (peer: Peer) => boolean;
  readonly setup?: Setup;
  readonly rounds?: number;
}
