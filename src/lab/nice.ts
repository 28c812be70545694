/** Nice values of a process' threads, which on Linux have one each (sched(7)). */
import { execFileSync } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';

/** By thread; the first one's number is the process'. */
export function niceOf(pid: number): Map<number, number> {
  const threads = readdirSync(`/proc/${pid}/task`);
  return new Map(
    threads.map((thread) => {
      const stat = readFileSync(`/proc/${pid}/task/${thread}/stat`, 'latin1');
      return [Number(thread), Number(stat.slice(stat.lastIndexOf(')') + 2).split(' ')[16])]; // proc_pid_stat(5), field 19
    }),
  );
}

/** What comes of asking for `nice` here: root may, root of a user namespace may not. */
export function niceAllowed(nice: number): number {
  return Number(
    execFileSync('nice', ['-n', String(nice), 'nice'], { encoding: 'latin1', stdio: ['ignore', 'pipe', 'ignore'] }),
  );
}
