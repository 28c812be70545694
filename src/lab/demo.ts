/**
 * `npm run demo` and `tungate demo`: the router at work on real traffic, each step with what is expected and what was seen.
 *
 * Builds the standard topology (topology.ts), starts the real daemon in the router's namespace from a config file, plays
 * client and server around it, stops it and compares the kernel with what it was. Exits 0 only if every step saw what
 * it expected. Nothing is left behind, whatever happens.
 */
import { Daemon } from './daemon.js';
import { type Step, steps } from './demo-steps.js';
import { needTools } from './namespace.js';
import { becomeNamespaceRoot } from './privilege.js';
import { Table } from './table.js';
import { buildTopology, type Topology } from './topology.js';

const PICTURE = `
   client-a 172.22.161.170 ─┐                                                ┌─ host-1 198.51.100.10
                            ├─ vmbr1 ─ router: tungate ─ vmbr0 ───── inet ───┤
   client-b 172.22.161.20 ──┘                            203.0.113.10 = P    └─ host-2 192.0.2.10
`;

const CONFIG = `# What the demo runs with: a host with one public address and two virtual machines.
uplink: { interface: vmbr0, address: auto, ports: "20000-29999" }
lans:
  - { interface: vmbr1, subnet: 172.22.161.0/24 }
forwards:
  - "10000-10999:172.22.161.170:10000-10999/tcp"
  - { name: game, ports: 30000-30099, to: 172.22.161.20:8000-8099, proto: [tcp, udp] }
  - { name: ssh-of-vm, ports: 2222, to: 172.22.161.170:22, proto: tcp, from: [198.51.100.0/24] }
metrics: { listen: 127.0.0.1:9469 }
`;

async function main(): Promise<boolean> {
  await becomeNamespaceRoot();
  needTools(['ip', 'tc', 'sysctl', 'nsenter', 'ping', 'traceroute', 'iperf3']);
  const out = process.stdout;
  out.write('tungate demo: everything happens in network namespaces of its own; nothing of this machine is touched.\n');
  out.write(`${PICTURE}\n${CONFIG.replace(/^/gm, '   ').trimEnd()}\n\n`);

  const topology = await buildTopology();
  try {
    return await show(topology);
  } finally {
    await topology.lab.close();
  }
}

async function show(topology: Topology): Promise<boolean> {
  const out = process.stdout;
  const daemon = new Daemon(topology.router.ns, CONFIG);
  const width = Math.min(Math.max(out.columns ?? 132, 100), 160);
  const half = Math.floor((width - 4 - 30 - 8) / 2);
  const table = new Table(out, ['', 'step', 'expected', 'seen'], [4, 30, half, half]);
  let failed = 0;
  let number = 0;
  for (const step of steps) {
    const { ok, seen } = await attempt(step, { ...topology, daemon });
    number++;
    if (!ok) failed++;
    table.row([`${ok ? '✓' : '✗'} ${number}`, step.title, step.expected, seen], ok);
    // Without a daemon every other step would only wait for its time limit.
    if (!ok && step.vital) break;
  }
  if (failed > 0 && daemon.process) out.write(`\nWhat the daemon said:\n${daemon.process.tail()}\n`);
  out.write(
    failed === 0
      ? `\nAll ${steps.length} steps saw what they expected.\n`
      : `\n${failed} of ${steps.length} steps FAILED.\n`,
  );
  return failed === 0;
}

async function attempt(step: Step, stage: Parameters<Step['run']>[0]): Promise<{ ok: boolean; seen: string }> {
  try {
    return await step.run(stage);
  } catch (error) {
    return { ok: false, seen: (error as Error).message.split('\n')[0]! };
  }
}

process.exitCode = (await main()) ? 0 : 1;
