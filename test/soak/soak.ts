/**
 * `npm run soak -- --minutes N`: a router under mixed load while every fault of test/netns/faults.ts strikes in turn, again and
 * again. Between two faults nothing may fail; at the end nothing may have grown. Prints one table of figures; exits 0 only
 * if all of it holds.
 *
 * Theory of operation. Time is cut into epochs: odd ones from a fault's strike until new flows work again, even ones are calm.
 * A request counts against the router only when its whole life lay in one calm epoch. Long connections must live through
 * every fault (but the one that takes their address away). Memory and descriptors are read after the first round of faults,
 * when everything has been used once, and at the end, each time after a pause and a garbage collection; the process is the
 * same one, because the kill -9 comes before. Then the daemon hands over, its table file is walked by the invariants' checker,
 * and the next start takes it, ends politely, and the kernel is compared with what it was.
 */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { tableLayout } from '../../src/contract/table-layout.js';
import { joinTable } from '../../src/flow/open.js';
import { becomeNamespaceRoot } from '../../src/lab/index.js';
import { native } from '../../src/native.js';
import { checkTable } from '../flow/invariants.js';
import { FAULTS, type Fault, order, upAsPuppet } from '../netns/faults.js';
import {
  assertWorks,
  config,
  diffState,
  INTERNET,
  kernelState,
  P,
  pause,
  prepare,
  type Stage,
} from '../netns/stage.js';

const FLOWS = 65_536;
const RECOVERY_SECONDS = 30;
/** What was in flight at the end of a fault gets as long before it counts again; then as long until the next fault. */
const CALM_MS = 1500;
/** Growth that is no leak: what the allocator keeps, and tables that doubled once. */
const MEMORY_SLACK = 1.15;
const DESCRIPTOR_SLACK = 3;
/** A pool that holds every mapping of the load until its time is over, minutes later. */
const CONFIG = config(
  `limits: { flows: ${FLOWS} }\ntimeouts: { udp: 120 }\nmetrics: { listen: 127.0.0.1:9469 }\n`,
).replace('"20000-29999"', '"20000-49999"');

interface Tally {
  done: number;
  /** While a fault was about. */
  excused: number;
  failed: number;
  last: string;
}

const tallies = new Map<string, Tally>();
const recoveries = new Map<string, number[]>();
const wrong: string[] = [];
let epoch = 0;
let ended = false;

/** Repeats `act` until the end and keeps the score. */
async function load(name: string, everyMs: number, act: () => Promise<unknown>): Promise<void> {
  const tally: Tally = { done: 0, excused: 0, failed: 0, last: '' };
  tallies.set(name, tally);
  while (!ended) {
    const born = epoch;
    try {
      await act();
      tally.done++;
    } catch (error) {
      if (born !== epoch || born % 2 === 1) tally.excused++;
      else {
        tally.failed++;
        tally.last = (error as Error).message;
      }
    }
    await pause(everyMs);
  }
}

function startLoad({ a, b, one, two, router }: Stage): Promise<void>[] {
  const must = (truth: boolean, what: string) => {
    if (!truth) throw new Error(what);
  };
  const long: Record<string, Awaited<ReturnType<typeof a.connect>> | undefined> = {};
  const longLived = (name: string, open: () => ReturnType<typeof a.connect>) =>
    load(name, 500, async () => {
      const there = long[name] ?? (await open());
      long[name] = there;
      try {
        await there.say('still here', 25);
      } catch (error) {
        delete long[name];
        await there.hangUp(true).catch(() => {});
        throw error;
      }
    });
  return [
    load('new TCP out', 30, () => a.askTcp({ to: INTERNET.one, port: 7, seconds: 2 })),
    load('new TCP in by a forward', 30, () => one.askTcp({ to: P, port: 10_007, seconds: 2 })),
    load('hairpin', 40, () => b.askTcp({ to: P, port: 10_007, seconds: 2 })),
    load('new UDP out', 20, () => b.askUdp({ to: INTERNET.two, port: 7, seconds: 2 })),
    load('UDP in by a forward', 30, () => two.askUdp({ to: P, port: 30_042, seconds: 2 })),
    load('download 4 MB', 100, async () =>
      must((await a.download(`http://${INTERNET.one}:8080/4000000`, 25)).intact, 'torn'),
    ),
    load('upload 2 MB', 150, async () => must((await one.download(`http://${P}:10080/2000000`, 25)).intact, 'torn')),
    load("host's own service", 100, () => one.askTcp({ to: P, port: 22, seconds: 2 })),
    load('scrape', 1000, async () =>
      must((await router.fetch('http://127.0.0.1:9469/metrics')).status === 200, 'status'),
    ),
    longLived('long TCP out', () => a.connect({ to: INTERNET.two, port: 7, seconds: 2 })),
    longLived('long TCP in', () => two.connect({ to: P, port: 10_007, seconds: 2 })),
  ];
}

/** Milliseconds that a fault takes by itself, with the calm before and after it counts. */
function longest(fault: Fault): number {
  return (fault.seconds ?? 0) * 1000 + 2 * CALM_MS;
}

async function strike(stage: Stage, fault: Fault): Promise<void> {
  epoch++;
  await fault.strike(stage);
  await pause((fault.seconds ?? 0) * 1000);
  await fault.heal?.(stage);
  const healed = performance.now();
  for (;;) {
    try {
      // A connection that began before the last address went is lost with it; the next one is what counts.
      await assertWorks(stage, 5);
      break;
    } catch (error) {
      if (performance.now() - healed > RECOVERY_SECONDS * 1000) {
        wrong.push(`${fault.name}: not well ${RECOVERY_SECONDS} s later: ${(error as Error).message}`);
        break;
      }
      await pause(50);
    }
  }
  const times = recoveries.get(fault.name) ?? [];
  recoveries.set(fault.name, [...times, Math.round(performance.now() - healed)]);
  await pause(CALM_MS);
  epoch++;
  await pause(CALM_MS);
}

interface Size {
  readonly mib: number;
  readonly descriptors: number;
  readonly threads: number;
}

async function measure(stage: Stage): Promise<Size> {
  order(stage, 'garbage');
  await pause(500);
  const proc = join('/proc', String(stage.daemon.process.child.pid));
  const status = readFileSync(join(proc, 'status'), 'latin1');
  return {
    mib: Math.round(Number(/^VmRSS:\s+(\d+)/m.exec(status)![1]) / 102.4) / 10,
    descriptors: readdirSync(join(proc, 'fd')).length,
    threads: Number(/^Threads:\s+(\d+)/m.exec(status)![1]),
  };
}

async function soak(minutes: number): Promise<void> {
  const stage = await prepare(CONFIG);
  const { daemon, router } = stage;
  try {
    const untouched = await kernelState(router.ns);
    await upAsPuppet(stage);
    await assertWorks(stage);
    const loads = startLoad(stage);
    const late = performance.now() + minutes * 60_000;
    const [kills, others] = [
      FAULTS.filter(({ name }) => name.includes('killed and')),
      FAULTS.filter(({ name }) => !name.includes('killed and')),
    ];
    for (const fault of kills) await strike(stage, fault);
    let first: Size | undefined;
    let rounds = 0;
    for (; rounds === 0 || performance.now() < late; rounds++) {
      for (const fault of others) {
        // What would not be over in time is not begun: shorter ones may follow, and the rest of the time is calm.
        if (rounds > 0 && performance.now() + longest(fault) > late) continue;
        process.stderr.write(`soak: round ${rounds + 1}: ${fault.name}\n`);
        await strike(stage, fault);
      }
      first ??= await measure(stage);
      if (others.every((fault) => performance.now() + longest(fault) > late)) await pause(late - performance.now());
    }
    ended = true;
    await Promise.all(loads);
    const last = await measure(stage);
    const status = await daemon.json<Status>('status');
    await judge(stage, first!, last, status, untouched);
    report(minutes, rounds, first!, last, status);
  } finally {
    ended = true;
    await stage.lab.close();
  }
}

interface Status {
  readonly problems: readonly string[];
  readonly flows: { readonly live: number };
  readonly workers: readonly { readonly state: string; readonly restarts: number }[];
  readonly packets: Readonly<Record<string, number>>;
  readonly drops: readonly { readonly reason: string; readonly packets: number }[];
}

async function judge(
  stage: Stage,
  first: Size,
  last: Size,
  status: Status,
  untouched: Awaited<ReturnType<typeof kernelState>>,
) {
  const { daemon, router } = stage;
  for (const [name, { done, failed, last }] of tallies) {
    // A datagram that is lost is lost; a connection has no such excuse.
    const allowed = name.includes('UDP') ? done / 1000 : 0;
    if (failed > allowed) wrong.push(`${name}: ${failed} of ${done} failed in calm times: ${last}`);
    if (done === 0) wrong.push(`${name}: never worked`);
  }
  if (last.mib > first.mib * MEMORY_SLACK) wrong.push(`memory grew from ${first.mib} to ${last.mib} MiB`);
  if (last.descriptors > first.descriptors + DESCRIPTOR_SLACK)
    wrong.push(`descriptors: ${first.descriptors} after the first round, ${last.descriptors} at the end`);
  if (status.problems.length > 0) wrong.push(`problems: ${status.problems.join('; ')}`);

  if ((await daemon.stop('SIGUSR2')) !== 0) wrong.push('the hand-over failed');
  try {
    const file = join(daemon.runtimeDir, 'default', 'flows');
    const { buffer } = native.mapFile(file, tableLayout(FLOWS).bytes);
    checkTable(joinTable(buffer, FLOWS, native));
  } catch (error) {
    wrong.push(`the flow table: ${(error as Error).message}`);
  }
  try {
    await daemon.up();
    await assertWorks(stage);
  } catch (error) {
    wrong.push(`after the hand-over: ${(error as Error).message}`);
  }
  if ((await daemon.stop()) !== 0) wrong.push('the stop failed');
  // Bridges that were made again have other hardware addresses, and ip_forward was written by a fault.
  const differences = diffState(untouched, await kernelState(router.ns)).filter(
    (line) => !/fe80|vmbr1|forwarding|rp_filter/.test(line),
  );
  for (const line of differences) wrong.push(`left in the kernel: ${line}`);
}

function report(minutes: number, rounds: number, first: Size, last: Size, status: Status): void {
  const line = (name: string, ...cells: (string | number)[]) =>
    process.stdout.write(`${name.padEnd(52)}${cells.map((cell) => String(cell).padStart(12)).join('')}\n`);
  process.stdout.write(
    `\nsoak: ${minutes} min, ${rounds} rounds of ${recoveries.size} faults, ${new Date().toISOString().slice(0, 10)}\n\n`,
  );
  line('load', 'done', 'in faults', 'failed');
  for (const [name, { done, excused, failed }] of tallies) line(name, done, excused, failed);
  process.stdout.write('\n');
  line('fault', 'times', 'median ms', 'worst ms');
  for (const [name, times] of recoveries) {
    const sorted = times.toSorted((x, y) => x - y);
    line(name, times.length, sorted[Math.floor(sorted.length / 2)]!, sorted.at(-1)!);
  }
  process.stdout.write('\n');
  line('daemon', 'first round', 'end');
  line('resident memory, MiB', first.mib, last.mib);
  line('descriptors', first.descriptors, last.descriptors);
  line('threads', first.threads, last.threads);
  line('live flows', '', status.flows.live);
  line(
    'worker restarts',
    '',
    status.workers.reduce((sum, { restarts }) => sum + restarts, 0),
  );
  for (const [name, count] of Object.entries(status.packets)) line(`packets ${name}`, '', count);
  for (const { reason, packets } of status.drops) line(`  dropped: ${reason}`, '', packets);
  for (const what of wrong) process.stdout.write(`\nWRONG: ${what}`);
  process.stdout.write(`\n${wrong.length === 0 ? 'all of it held' : `${wrong.length} things are wrong`}\n`);
}

const { values } = parseArgs({ options: { minutes: { type: 'string', default: '3' } } });
const minutes = Number(values.minutes);
if (!(minutes > 0 && minutes <= 10_080)) {
  process.stderr.write(`--minutes takes a number above 0 and up to 10080 (a week), not "${values.minutes}"\n`);
  process.exit(2);
}
await becomeNamespaceRoot();
await soak(minutes);
process.exit(wrong.length === 0 ? 0 : 1);
