/**
 * What the router says to the program that started it, in systemd's words (sd_notify(3)); silence where nobody listens.
 *
 * Theory of operation. Everything goes as datagrams to NOTIFY_SOCKET. A message that cannot be sent is lost and nothing
 * waits for it: the manager is a listener, never a part of the router.
 *
 * - The watchdog is fed only while every worker thread moves packets. The workers' own supervision (workers.ts) is quicker
 *   and keeps more, so it has the whole of WATCHDOG_USEC to put things right before the manager kills the process.
 * - The TUN's descriptors are left with the manager (FDSTORE). While somebody holds them the device keeps its carrier and
 *   packets wait in its queues instead of being dropped, so that a restart loses time and not packets. All are stored under one
 *   name; what is stored there is always replaced as a whole, and the manager drops by itself those whose device is gone.
 * - A next start finds them in LISTEN_FDS, LISTEN_FDNAMES. These and the other variables are meant for this process alone
 *   and are removed from the environment: a child that inherits them would speak in our name.
 */
import { native } from '../native.js';

const FIRST_FD = 3;
export const TUN_FDS = 'tun';
/** The status line is for people; it need not be newer than this. */
const STATUS_MS = 10_000;

export interface Health {
  /** Every worker moves packets. */
  readonly alive: boolean;
  /** One line for `systemctl status`. */
  readonly text: string;
}

type Environment = Record<string, string | undefined>;

export class ServiceManager {
  readonly #socket: string | undefined;
  /** 0 = no watchdog. */
  readonly #watchdogMs: number;
  #stored: readonly number[];
  #timer: NodeJS.Timeout | undefined;

  /** Takes what is meant for this process out of `environment`. */
  constructor(environment: Environment = process.env, pid: number = process.pid) {
    const take = (name: string): string | undefined => {
      const value = environment[name];
      delete environment[name];
      return value;
    };
    this.#socket = take('NOTIFY_SOCKET');
    const usec = Number(take('WATCHDOG_USEC') ?? 0);
    const guarded = take('WATCHDOG_PID');
    this.#watchdogMs = usec > 0 && (guarded === undefined || Number(guarded) === pid) ? usec / 1000 : 0;
    const names = take('LISTEN_FDNAMES')?.split(':') ?? [];
    const count = Number(take('LISTEN_FDS') ?? 0);
    const ours = Number(take('LISTEN_PID')) === pid;
    this.#stored = ours
      ? Array.from({ length: count }, (_, i) => FIRST_FD + i).filter((_, i) => names[i] === TUN_FDS)
      : [];
  }

  /** The TUN descriptors that the last run left with the manager; they belong to the caller now, who asks once. */
  takeTunFds(): readonly number[] {
    const stored = this.#stored;
    this.#stored = [];
    return stored;
  }

  /** Replaces what the manager keeps for the next start. */
  storeTunFds(fds: readonly number[]): void {
    this.#send(['FDSTOREREMOVE=1', `FDNAME=${TUN_FDS}`]);
    if (fds.length > 0) this.#send(['FDSTORE=1', `FDNAME=${TUN_FDS}`], fds);
  }

  /** Packets flow. From now on the watchdog is fed. */
  ready(health: () => Health): void {
    this.#send(['READY=1', `STATUS=${health().text}`]);
    clearInterval(this.#timer);
    if (this.#socket === undefined) return;
    // Half of what is allowed, as sd_watchdog_enabled(3) asks for; a feeding may be late once.
    const period = this.#watchdogMs > 0 ? Math.min(this.#watchdogMs / 2, STATUS_MS) : STATUS_MS;
    this.#timer = setInterval(() => {
      const { alive, text } = health();
      this.#send([...(alive && this.#watchdogMs > 0 ? ['WATCHDOG=1'] : []), `STATUS=${text}`]);
    }, period);
    this.#timer.unref();
  }

  /** Around a reload: `reloading`, then `reloaded`, whatever came of it. */
  reloading(): void {
    this.#send(['RELOADING=1', `MONOTONIC_USEC=${process.hrtime.bigint() / 1000n}`]);
  }

  reloaded(text: string): void {
    this.#send(['READY=1', `STATUS=${text}`]);
  }

  /** The end begins: the watchdog has no say in it. */
  stopping(text: string): void {
    clearInterval(this.#timer);
    this.#send(['STOPPING=1', `STATUS=${text}`]);
  }

  #send(lines: readonly string[], fds: readonly number[] = []): void {
    if (this.#socket === undefined) return;
    try {
      native.notifySend(this.#socket, `${lines.map((line) => line.replaceAll('\n', ' ')).join('\n')}\n`, fds);
    } catch {
      // Nobody listens any more, or does not keep up.
    }
  }
}
