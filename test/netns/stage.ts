/**
 * What every test of this folder stands on: the standard topology (drawn in src/lab/topology.ts) with servers on its hosts,
 * and the real daemon in the router's namespace.
 */
import assert from 'node:assert/strict';
import { buildTopology, Daemon, INTERNET, LAN, P, PATIENCE, type Topology } from '../../src/lab/index.js';

export { Capture, diffState, INTERNET, kernelState, LAN, P, THIRD } from '../../src/lab/index.js';

/** The config that the tests start from; `more` is appended. */
export function config(more = '', forwards: readonly string[] = FORWARDS): string {
  const list = forwards.map((line) => `  - ${line}\n`).join('');
  return `uplink: { interface: vmbr0, address: auto, ports: "20000-29999" }
lans:
  - { interface: vmbr1, subnet: ${LAN.subnet} }
forwards:
${list}${more}
`;
}

export const FORWARDS = [
  `"10000-10999:${LAN.a}:10000-10999/tcp"`,
  `{ name: game, ports: 30000-30099, to: "${LAN.b}:8000-8099", proto: [tcp, udp] }`,
  `{ name: ssh-of-vm, ports: 2222, to: "${LAN.a}:22", proto: tcp, from: [198.51.100.0/24] }`,
] as const;

export interface Stage extends Topology {
  readonly daemon: Daemon;
}

/** Topology and servers; the daemon is made but not started. */
export async function prepare(text: string = config(), options: { third?: boolean } = {}): Promise<Stage> {
  const topology = await buildTopology(options);
  try {
    await Promise.all([
      topology.router.serve({ tcp: [22], udp: [53] }),
      topology.a.serve({ tcp: [22, 9999, 10000, 10007, 10999], udp: [10007], http: [10080] }),
      topology.b.serve({ tcp: [22, 8000, 8099], udp: [8000, 8042] }),
      topology.one.serve({ tcp: [7], udp: [7], http: [8080] }),
      topology.two.serve({ tcp: [7], udp: [7] }),
      topology.third?.serve({ tcp: [7], udp: [7] }),
    ]);
    return { ...topology, daemon: new Daemon(topology.router.ns, text) };
  } catch (error) {
    await topology.lab.close();
    throw error;
  }
}

/** The same with the daemon up. */
export async function raise(text?: string, options?: { third?: boolean }): Promise<Stage> {
  const stage = await prepare(text, options);
  try {
    await stage.daemon.up();
    return stage;
  } catch (error) {
    await stage.lab.close();
    throw error;
  }
}

export function addressOf(endpoint: string): string {
  return endpoint.slice(0, endpoint.lastIndexOf(':'));
}

export function portOf(endpoint: string): number {
  return Number(endpoint.slice(endpoint.lastIndexOf(':') + 1));
}

/** Asserts that translated traffic flows, out and in: the router works. */
export async function assertWorks({ a, one }: Stage, seconds = PATIENCE): Promise<void> {
  const out = await a.askTcp({ to: INTERNET.one, port: 7, seconds });
  assert.equal(addressOf(out.peer), P);
  const inwards = await one.askTcp({ to: P, port: 10007, seconds });
  assert.equal(inwards.host, 'client-a');
}

/**
 * The same as a question, for whoever repeats it. With little patience: a SYN that was lost comes again a second later, another
 * connection's at once.
 */
export function works(stage: Stage): Promise<boolean> {
  return assertWorks(stage, 0.5).then(
    () => true,
    () => false,
  );
}

/** Waits until `probe` is true, at most `seconds`; then fails with `what`. */
export async function eventually(what: string, probe: () => Promise<boolean>, seconds = PATIENCE): Promise<void> {
  const end = Date.now() + seconds * 1000;
  while (!(await probe())) {
    if (Date.now() > end) assert.fail(`${what}: not within ${seconds} s`);
    await pause(100);
  }
}

export function pause(milliseconds: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, milliseconds));
}

/** Repeats `act` in the background until stopped; gives what each round returned. */
export function repeat<T>(act: () => Promise<T>, everyMs: number): { stop(): Promise<T[]> } {
  const results: T[] = [];
  let going = true;
  const loop = (async () => {
    while (going) {
      results.push(await act());
      await pause(everyMs);
    }
  })();
  return {
    async stop() {
      going = false;
      await loop;
      return results;
    },
  };
}
