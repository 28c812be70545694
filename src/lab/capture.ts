/**
 * tcpdump as a witness: what was seen on an interface while something else happened, one line a packet.
 */
import type { Namespace, Process } from './namespace.js';
import { needTools } from './namespace.js';

export class Capture {
  private constructor(
    readonly process: Process,
    readonly what: string,
  ) {}

  /** Starts to listen; resolves when tcpdump is ready, so that nothing sent afterwards is missed. */
  static async start(ns: Namespace, device: string, filter: string, options: readonly string[] = []): Promise<Capture> {
    needTools(['tcpdump']);
    // -Z root: in a user namespace there is no other user to change to. -U with -l: a line is out as soon as it is seen.
    const argv = ['tcpdump', '-i', device, '-n', '-l', '-U', '-tt', '-B', '8192', '--immediate-mode', '-Z', 'root'];
    const process = ns.spawn([...argv, ...options, filter]);
    await process.waitFor(/listening on/);
    return new Capture(process, `${ns.role}/${device} ${filter}`);
  }

  /** Lines so far. */
  get lines(): string[] {
    return this.process.stdout.split('\n').filter((line) => line !== '');
  }

  /** Stops and returns every line. Fails when the kernel dropped packets of the capture: then it is no witness. */
  async stop(): Promise<string[]> {
    await new Promise((resolve) => setTimeout(resolve, 100)); // what is on the wire now is still to be seen
    await this.process.stop('SIGINT');
    const dropped = Number(/(\d+) packets? dropped by kernel/.exec(this.process.stderr)?.[1] ?? 0);
    if (dropped > 0) throw new Error(`tcpdump on ${this.what} missed ${dropped} packets`);
    return this.lines;
  }
}
