/**
 * For how long packets wait, or are lost, while a router ends and the next one begins: the daemon as it is shipped, in the standard
 * topology (src/lab/topology.ts), with a stream that only the server speaks, one datagram each millisecond.
 *
 *     node dist/bench/control/restart.js [ROUNDS]        (root; default 10)
 *
 * For each way of restarting, one JSON line: `outage` is the longest silence of the stream, `lost` its datagrams that never
 * came, `fresh` the time from the start of the new process until a flow that it has never seen works; minimum, median and maximum
 * in milliseconds, and the share of time that the machine was taken away from us (steal) meanwhile.
 */
import { readFileSync } from 'node:fs';
import { INTERNET, pause, raise, type Stage } from '../../test/netns/stage.js';
import { Ticker } from '../../test/netns/ticker.js';

const ROUNDS = Number(process.argv[2] ?? 10);

interface Way {
  readonly name: string;
  readonly options?: readonly string[];
  /** Ends the running one. Returns when the next may start. */
  end(stage: Stage): Promise<unknown>;
}

const WAYS: readonly Way[] = [
  { name: 'up --take-over', options: ['--take-over'], end: async () => {} },
  { name: 'SIGUSR2, up', end: ({ daemon }) => daemon.stop('SIGUSR2') },
  { name: 'stop --keep, up', end: ({ daemon }) => daemon.cli('stop', '--keep') },
  { name: 'kill -9, up', end: ({ daemon }) => daemon.kill() },
];

/** Processor time of all, and what of it the hypervisor gave to others. */
function processor(): { all: number; steal: number } {
  const [line = ''] = readFileSync('/proc/stat', 'latin1').split('\n');
  const ticks = line.trim().split(/\s+/).slice(1, 9).map(Number);
  return { all: ticks.reduce((sum, each) => sum + each, 0), steal: ticks[7] ?? 0 };
}

async function round(stage: Stage, way: Way): Promise<{ outage: number; lost: number; fresh: number }> {
  const { a, one, daemon } = stage;
  const stream = await Ticker.start('udp', a, one, 9002, 1);
  await pause(500);
  const old = daemon.process;
  await way.end(stage);
  const begin = performance.now();
  daemon.launch(...(way.options ?? []));
  const next = daemon.process;
  let fresh = 0;
  if (way.options === undefined)
    while (fresh === 0 && performance.now() - begin < 20_000)
      if ((await a.tryAsk('udp', { to: INTERNET.two, port: 7, seconds: 0.01 })) === 'host-2')
        fresh = performance.now() - begin;
  await next.waitFor(/\bready\b/, 20);
  await old.ended;
  await pause(500);
  const { longestGap, lost } = await stream.stop();
  return { outage: longestGap, lost, fresh };
}

function spread(values: readonly number[]): { min: number; median: number; max: number } {
  const sorted = [...values].sort((a, b) => a - b);
  const at = (share: number) => Math.round(sorted[Math.floor((sorted.length - 1) * share)]!);
  return { min: at(0), median: at(0.5), max: at(1) };
}

const stage = await raise();
try {
  for (const way of WAYS) {
    const before = processor();
    const rounds = [];
    for (let i = 0; i < ROUNDS; i++) rounds.push(await round(stage, way));
    const after = processor();
    const steal = (after.steal - before.steal) / (after.all - before.all);
    console.log(
      JSON.stringify({
        restart: way.name,
        rounds: ROUNDS,
        outage: spread(rounds.map(({ outage }) => outage)),
        lost: spread(rounds.map(({ lost }) => lost)),
        ...(way.options === undefined && { fresh: spread(rounds.map(({ fresh }) => fresh)) }),
        steal: Number(steal.toFixed(4)),
      }),
    );
  }
} finally {
  await stage.lab.close();
}
