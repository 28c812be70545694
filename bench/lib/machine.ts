/** What the machine is, what it did meanwhile, and whether it was left to us. */
import { readFileSync } from 'node:fs';
import { cpus, release, totalmem } from 'node:os';
import { run } from '../../src/lab/index.js';
import { UNPACKED } from './tools.js';

/** Share of the time that the hypervisor may give to others before a measurement counts as disturbed. */
export const STEAL_LIMIT = 0.1;

/** Seconds since boot, all cores together. */
export interface CpuTimes {
  readonly busy: number;
  readonly steal: number;
  readonly total: number;
}

export function parseCpuTimes(procStat: string): CpuTimes {
  const ticks = procStat.split('\n')[0]!.trim().split(/\s+/).slice(1, 9).map(Number);
  const [user, nice, system, idle, iowait, irq, softirq, steal] = ticks.map((each) => each / 100) as [
    ...[number, number, number, number],
    ...[number, number, number, number],
  ];
  const busy = user + nice + system + irq + softirq;
  return { busy, steal, total: busy + idle + iowait + steal };
}

export const cpuTimes = () => parseCpuTimes(readFileSync('/proc/stat', 'latin1'));

export interface Watched<T> {
  readonly result: T;
  /** Seconds of all cores together. */
  readonly busy: number;
  /** Share of the time, 0…1. */
  readonly steal: number;
}

export async function watched<T>(act: () => Promise<T>): Promise<Watched<T>> {
  const before = cpuTimes();
  const result = await act();
  const after = cpuTimes();
  const steal = (after.steal - before.steal) / Math.max(0.01, after.total - before.total);
  return { result, busy: after.busy - before.busy, steal };
}

/** Repeats what the hypervisor disturbed, `left.tries` times in all; after that the calmest one counts. */
export class Calm {
  readonly #say: (text: string) => void;
  #left: number;
  discarded = 0;
  /** Largest share of stolen time in a measurement that counted. */
  steal = 0;

  constructor(tries: number, say: (text: string) => void) {
    this.#left = tries;
    this.#say = say;
  }

  async measure<T>(act: () => Promise<T>): Promise<Watched<T>> {
    let best = await watched(act);
    while (best.steal > STEAL_LIMIT && this.#left > 0) {
      this.#left--;
      this.discarded++;
      this.#say(`${(best.steal * 100).toFixed(0)} % of the time was stolen: again`);
      const next = await watched(act);
      if (next.steal < best.steal) best = next;
    }
    this.steal = Math.max(this.steal, best.steal);
    return best;
  }
}

async function version(argv: readonly string[], pattern: RegExp): Promise<string> {
  try {
    const { stdout, stderr } = await run(argv, { seconds: 5, env: UNPACKED });
    return pattern.exec(stdout + stderr)?.[1] ?? 'unknown version';
  } catch {
    return 'not installed';
  }
}

export interface Machine {
  readonly date: string;
  readonly processor: string;
  readonly memory: string;
  readonly kernel: string;
  readonly node: string;
  readonly versions: Readonly<Record<string, string>>;
}

export async function machine(): Promise<Machine> {
  const [first] = cpus();
  return {
    date: new Date().toISOString().slice(0, 10),
    processor: `${cpus().length} × ${first!.model.trim()}`,
    memory: `${Math.round(totalmem() / 2 ** 30)} GiB`,
    kernel: `Linux ${release()}`,
    node: process.version,
    versions: {
      iperf3: await version(['iperf3', '--version'], /iperf (\S+)/),
      nftables: await version(['nft', '--version'], /v(\S+)/),
      iptables: await version(['iptables-legacy', '--version'], /v(\S+)/),
      slirp4netns: await version(['slirp4netns', '--version'], /version (\S+)/),
      // Debian's says "unknown version": its package knows.
      pasta: await version(['dpkg-query', '-W', 'passt'], /\s(\S+)/),
      nginx: await version(['nginx', '-v'], /nginx\/(\S+)/),
      wrk: await version(['wrk', '-v'], /wrk (?:debian\/)?([\d.]\S*)/),
    },
  };
}
