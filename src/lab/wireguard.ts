/**
 * Two hosts, each with a WireGuard interface by an implementation of its own, for tests and bench:
 *
 *     a  10.99.0.1, fd99::1 ─ wg ─ 192.0.2.1, 2001:db8::1 ─── veth ─── 192.0.2.2, 2001:db8::2 ─ wg ─ 10.99.0.2, fd99::2  b
 *
 * Interface names carry the pid: sockets in /var/run/wireguard are the machine's, whatever the namespace.
 */
import { readFileSync } from 'node:fs';
import { type Lab, type Namespace, PATIENCE, type Process } from './namespace.js';

export const INSIDE = { a: '10.99.0.1', b: '10.99.0.2', a6: 'fd99::1', b6: 'fd99::2' } as const;
export const OUTSIDE = { a: '192.0.2.1', b: '192.0.2.2', a6: '2001:db8::1', b6: '2001:db8::2' } as const;
const PORT = 51820;
/** Of the clock of /proc/PID/stat. */
const TICKS = 100;

/** How an implementation is started in the foreground. */
export type Implementation = (name: string) => readonly string[];

export const wireguardGo: Implementation = (name) => ['wireguard-go', '-f', name];
export const tungateWg =
  (cli: string): Implementation =>
  (name) => [process.execPath, cli, 'wg', '-f', name];

export class Site {
  process: Process | undefined;
  publicKey = '';
  #secret = '';

  constructor(
    readonly lab: Lab,
    readonly host: Namespace,
    /** The interface. */
    readonly name: string,
    readonly inside: readonly string[],
    /** The command line that runs wg(8). */
    readonly wg: readonly string[] = ['wg'],
  ) {}

  /** Starts the interface and brings it up; keys are kept over restarts. `settings`: what is set before it is up. */
  async start(
    implementation: Implementation,
    env: Readonly<Record<string, string>> = {},
    settings: () => Promise<void> = async () => {},
  ): Promise<void> {
    const launch = () => {
      this.process = this.host.spawn(implementation(this.name), { env: { LOG_LEVEL: 'verbose', ...env } });
    };
    launch();
    let again = 3;
    await until(async () => {
      const { code, title } = this.process!;
      if (code !== undefined) {
        // wg(8) deletes a socket that refuses it: whoever asks for any interface between another's bind and listen ends that one's start.
        if (again-- === 0 || !/uapi socket/.test(this.process!.tail()))
          throw new Error(`${title} ended with ${code}\n${this.process!.tail()}`);
        launch();
      }
      return (await this.host.run([...this.wg, 'show', this.name])).code === 0;
    }, `${this.name} answers wg(8)`);
    if (this.#secret === '') {
      this.#secret = await this.host.must([...this.wg, 'genkey']);
      this.publicKey = (await this.host.must([...this.wg, 'pubkey'], { input: this.#secret })).trim();
    }
    await this.set(['private-key', '/dev/stdin', 'listen-port', String(PORT)], this.#secret);
    await settings();
    this.host.ip(...this.inside.map((address) => `addr add ${address} dev ${this.name}`), `link set ${this.name} up`);
  }

  async set(words: readonly string[], input = ''): Promise<void> {
    // Through a pipe: /dev/stdin of a socket cannot be opened.
    await this.host.must(['sh', '-c', 'cat | "$@"', 'sh', ...this.wg, 'set', this.name, ...words], { input });
  }

  /** One of the lists of `wg show NAME WHAT`, its first line without the peer's key. */
  async show(what: string): Promise<string> {
    const text = await this.host.must([...this.wg, 'show', this.name, what]);
    return text.trim().split('\n')[0]!.split('\t').slice(-1)[0]!;
  }

  /** `endpoint`: undefined = it will come to us. */
  async peer(other: Site, endpoint: string | undefined, ...more: string[]): Promise<void> {
    const allowed = other.inside.map((address) => address.replace(/\/.*/, address.includes(':') ? '/128' : '/32'));
    const where = endpoint === undefined ? [] : ['endpoint', endpoint];
    await this.set(['peer', other.publicKey, 'allowed-ips', allowed.join(','), ...where, ...more]);
  }

  /** Seconds of processor time of the daemon so far. */
  cpu(): number {
    const pid = this.process!.child.pid!;
    const fields = readFileSync(`/proc/${pid}/stat`, 'latin1')
      .replace(/^.*\) /, '')
      .split(' ');
    return (Number(fields[11]) + Number(fields[12])) / TICKS;
  }

  async stop(signal: NodeJS.Signals = 'SIGTERM'): Promise<number> {
    return this.process!.stop(signal);
  }
}

export function buildSites(lab: Lab, wg?: readonly string[]): { a: Site; b: Site } {
  const a = lab.namespace('a');
  const b = lab.namespace('b');
  a.ip(`link add eth0 type veth peer name eth0 netns ${b.name}`);
  for (const [host, four, six] of [
    [a, OUTSIDE.a, OUTSIDE.a6],
    [b, OUTSIDE.b, OUTSIDE.b6],
  ] as const) {
    host.ip(`addr add ${four}/24 dev eth0`, `addr add ${six}/64 dev eth0 nodad`, 'link set eth0 up');
  }
  const site = (host: Namespace, letter: string, four: string, six: string) =>
    new Site(lab, host, `tg${process.pid}${letter}`, [`${four}/24`, `${six}/64`], wg);
  return { a: site(a, 'a', INSIDE.a, INSIDE.a6), b: site(b, 'b', INSIDE.b, INSIDE.b6) };
}

export function endpoint(address: string): string {
  return address.includes(':') ? `[${address}]:${PORT}` : `${address}:${PORT}`;
}

/** Looks every 50 ms; throws after `seconds`. */
export async function until(holds: () => boolean | Promise<boolean>, what: string, seconds = PATIENCE): Promise<void> {
  const end = Date.now() + seconds * 1000;
  while (!(await holds())) {
    if (Date.now() > end) throw new Error(`${what}: not within ${seconds} s`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}
