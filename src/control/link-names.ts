/**
 * What the host names of endpoints mean. Asked of the system's resolver (with /etc/hosts) when a name is first wanted, and again when its peer does not
 * answer: the name may mean another address by now (dynamic DNS). A name that cannot be resolved is asked for again and again, ever more slowly.
 *
 * A name with several addresses is tried one after the other: each silence takes the next one. Bound: ASKED questions at once, because each
 * holds a thread of Node's pool for as long as the resolver likes; a name at most once in TIMES.pause.
 */
import { ADDRCONFIG } from 'node:dns';
import { lookup } from 'node:dns/promises';

const ASKED = 2;
/** `pause`: least time between two questions for a name whose peer is silent; `retry`: after a first failure, `longest` after many. */
const TIMES = { pause: 5000, retry: 5000, longest: 60_000 };

export type NameTimes = typeof TIMES;
export type Lookup = (host: string) => Promise<readonly string[]>;

const ask: Lookup = async (host) =>
  (await lookup(host, { all: true, hints: ADDRCONFIG })).map(({ address }) => address);

interface Name {
  addresses: readonly string[];
  current: string;
  problem: string;
  asking: boolean;
  askedAt: number;
  failures: number;
  timer: NodeJS.Timeout | undefined;
}

export class LinkNames {
  readonly #names = new Map<string, Name>();
  readonly #changed: (host: string) => void;
  readonly #lookup: Lookup;
  readonly #times: typeof TIMES;
  readonly #waiting: (() => void)[] = [];
  #asked = 0;
  #closed = false;

  /** `changed`: a name means another address now, or has become a problem, or is none any more. */
  constructor(changed: (host: string) => void, lookup: Lookup = ask, times = TIMES) {
    this.#changed = changed;
    this.#lookup = lookup;
    this.#times = times;
  }

  /** The names that are wanted from now on. */
  want(hosts: ReadonlySet<string>): void {
    for (const [host, name] of this.#names)
      if (!hosts.has(host)) {
        clearTimeout(name.timer);
        this.#names.delete(host);
      }
    for (const host of hosts) {
      if (this.#names.has(host)) continue;
      const never = Number.NEGATIVE_INFINITY;
      const name = {
        addresses: [],
        current: '',
        problem: '',
        asking: false,
        askedAt: never,
        failures: 0,
        timer: undefined,
      };
      this.#names.set(host, name);
      void this.#ask(host, name, false);
    }
  }

  /** '' = not known (yet). */
  addressOf(host: string): string {
    return this.#names.get(host)?.current ?? '';
  }

  /** Why it is not known, or ''. */
  problemOf(host: string): string {
    return this.#names.get(host)?.problem ?? '';
  }

  get addresses(): string[] {
    return [...this.#names.values()].flatMap(({ current }) => (current === '' ? [] : [current]));
  }

  /** Nobody answers at its address. */
  silent(host: string): void {
    const name = this.#names.get(host);
    if (name && performance.now() - name.askedAt >= this.#times.pause) void this.#ask(host, name, true);
  }

  close(): void {
    this.#closed = true;
    this.want(new Set());
    for (const go of this.#waiting.splice(0)) go();
  }

  async #ask(host: string, name: Name, next: boolean): Promise<void> {
    if (name.asking) return;
    name.asking = true;
    while (this.#asked >= ASKED && !this.#closed) await new Promise<void>((resolve) => this.#waiting.push(resolve));
    if (this.#closed || this.#names.get(host) !== name) {
      name.asking = false;
      this.#waiting.shift()?.();
      return;
    }
    this.#asked++;
    name.askedAt = performance.now();
    const before = `${name.current} ${name.problem}`;
    try {
      name.addresses = await this.#lookup(host);
      if (name.addresses.length === 0) throw new Error('it has no address');
      const at = name.addresses.indexOf(name.current);
      name.current = name.addresses[next ? (at + 1) % name.addresses.length : Math.max(at, 0)]!;
      name.problem = '';
      name.failures = 0;
    } catch (error) {
      const { code, message } = error as NodeJS.ErrnoException;
      // What it meant before is still the best guess.
      name.problem = name.current === '' ? (code ?? message) : '';
      this.#later(host, name);
    } finally {
      this.#asked--;
      name.asking = false;
      this.#waiting.shift()?.();
    }
    if (!this.#closed && this.#names.get(host) === name && before !== `${name.current} ${name.problem}`)
      this.#changed(host);
  }

  #later(host: string, name: Name): void {
    if (this.#closed || this.#names.get(host) !== name || name.current !== '') return;
    const { retry, longest } = this.#times;
    const wait = Math.min(retry * 2 ** Math.min(name.failures++, 10), longest);
    clearTimeout(name.timer);
    name.timer = setTimeout(() => void this.#ask(host, name, false), wait);
    name.timer.unref();
  }
}
