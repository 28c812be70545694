/**
 * tcpdump as a witness: what was seen on an interface while something else happened, one line a packet.
 */
import { readFileSync } from 'node:fs';
import type { Namespace, Process } from './namespace.js';
import { needTools } from './namespace.js';
import { SNIFFER } from './sniffer.js';

/** A single mapped user: nobody to change to. */
function inUserNamespace(): boolean {
  return readFileSync('/proc/self/setgroups', 'utf8').trim() === 'deny';
}

/**
 * Each packet takes a slot of the given length (-s) in tcpdump's buffer (-B, in KiB): here 16,000 of them. Without a length a slot
 * is one of 64 KiB, and 8 MiB lost the rest of a burst after 129.
 */
const BUFFER = ['-s', '2048', '-B', '32768', '--immediate-mode'];

export class Capture {
  private constructor(
    readonly process: Process,
    readonly what: string,
  ) {}

  /** Starts to listen; resolves when tcpdump is ready, so that nothing sent afterwards is missed. */
  static async start(ns: Namespace, device: string, filter: string, options: readonly string[] = []): Promise<Capture> {
    needTools(['tcpdump']);
    // -U with -l: a line is out as soon as it is seen.
    const argv = inUserNamespace()
      ? ['python3', '-c', SNIFFER, device, filter, ...options]
      : ['tcpdump', '-i', device, '-n', '-l', '-U', '-tt', ...BUFFER, ...options, filter];
    const process = ns.spawn(argv);
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
    const code = await this.process.stop('SIGINT');
    if (code !== 0) throw new Error(`the capture on ${this.what} failed (${code})\n${this.process.stderr}`);
    const dropped = Number(/(\d+) packets? dropped by kernel/.exec(this.process.stderr)?.[1] ?? 0);
    if (dropped > 0) throw new Error(`tcpdump on ${this.what} missed ${dropped} packets`);
    return this.lines;
  }
}
