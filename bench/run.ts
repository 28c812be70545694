/**
 * `npm run bench`: one TCP stream through a router, in both directions, tungate and the kernel's nftables in turn.
 *
 *   client 172.22.161.170 ── lan [ router ] wan ── 203.0.113.1 server      veth pairs with offloads, no bridges
 *
 * Method: the peers are interleaved, so that a slow minute of the machine hits all of them; a round in which the hypervisor
 * stole more than a tenth of the time is measured again (at most as often as there are rounds). Rates are what the receiving
 * iperf3 counted. CPU seconds are those of the whole machine, both iperf3 included, for each gigabit. Medians, with the
 * smallest and the largest value as spread. The last lines are the same figures as JSON, one object a line.
 *
 *   --rounds N (3)   --seconds N (5)   --flows N (100000: memory is read with that many flows)
 */
import { readFileSync } from 'node:fs';
import { cpus, release } from 'node:os';
import { parseArgs } from 'node:util';
import { becomeNamespaceRoot, iperf, Lab, type Namespace, needTools } from '../src/lab/index.js';
import { nftables } from './peers/nftables.js';
import type { Peer } from './peers/peer.js';
import { tungate } from './peers/tungate.js';

const DIRECTIONS = ['out', 'in'] as const;
const STEAL_LIMIT = 0.1;
const SERVER = '203.0.113.1';

interface Sample {
  readonly peer: string;
  readonly direction: string;
  readonly gbps: number;
  readonly cpuPerGbit: number;
  readonly steal: number;
}

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      rounds: { type: 'string', default: '3' },
      seconds: { type: 'string', default: '5' },
      flows: { type: 'string', default: '100000' },
    },
  });
  const rounds = positive('rounds', values.rounds);
  const seconds = positive('seconds', values.seconds);
  const flows = positive('flows', values.flows);
  await becomeNamespaceRoot();
  needTools(['iperf3', 'nft', 'python3']);

  const lab = new Lab();
  try {
    const { client, router, server } = build(lab);
    const peers = [nftables(), tungate()];
    const samples: Sample[] = [];
    const memory: { flows: number; mib: number }[] = [];
    for (let round = 1; round <= rounds; round++) {
      for (const peer of peers) {
        await peer.start(router);
        await iperf(server, client, SERVER, { seconds: 1 }); // warm-up
        for (const direction of DIRECTIONS)
          samples.push(await calm(rounds, () => measure({ client, server }, peer, direction, seconds)));
        if (peer.memory && round === rounds) {
          await makeFlows(client, flows);
          memory.push({ flows: (await peer.flows?.()) ?? 0, mib: peer.memory() });
        }
        await peer.stop();
      }
    }
    report(samples, memory, rounds, seconds);
  } finally {
    await lab.close();
  }
}

function positive(name: string, text: string): number {
  const value = Number(text);
  if (!Number.isInteger(value) || value < 1) {
    process.stderr.write(`--${name} takes a whole number above 0, not "${text}"\n`);
    process.exit(2);
  }
  return value;
}

function build(lab: Lab) {
  const client = lab.namespace('client');
  const router = lab.namespace('router');
  const server = lab.namespace('server');
  router.ip(
    `link add lan type veth peer name eth0 netns ${client.name}`,
    `link add wan type veth peer name eth0 netns ${server.name}`,
    'link set lan up',
    'link set wan up',
    'addr add 172.22.161.1/24 dev lan',
    'addr add 203.0.113.10/24 dev wan',
    `route add default via ${SERVER}`,
  );
  client.ip('link set eth0 up', 'addr add 172.22.161.170/24 dev eth0', 'route add default via 172.22.161.1');
  server.ip('link set eth0 up', `addr add ${SERVER}/24 dev eth0`);
  for (const each of [client, router, server]) each.sysctl('net.ipv4.conf.all.rp_filter=0');
  return { client, router, server };
}

/** Repeats a measurement that the hypervisor disturbed; after that many tries the calmest one counts. */
async function calm(tries: number, act: () => Promise<Sample>): Promise<Sample> {
  let best = await act();
  for (let attempt = 0; attempt < tries && best.steal > STEAL_LIMIT; attempt++) {
    process.stderr.write(`  ${(best.steal * 100).toFixed(0)} % of the time was stolen: again\n`);
    const next = await act();
    if (next.steal < best.steal) best = next;
  }
  return best;
}

async function measure(
  { client, server }: { client: Namespace; server: Namespace },
  peer: Peer,
  direction: string,
  seconds: number,
): Promise<Sample> {
  const before = cpuTimes();
  const received = await iperf(server, client, SERVER, { seconds, reverse: direction === 'in' });
  const after = cpuTimes();
  const gigabits = (received.bytes * 8) / 1e9;
  const sample = {
    peer: peer.name,
    direction,
    gbps: received.gbps,
    cpuPerGbit: (after.busy - before.busy) / gigabits,
    steal: (after.steal - before.steal) / (after.total - before.total),
  };
  process.stderr.write(`  ${peer.name} ${direction}: ${sample.gbps.toFixed(2)} Gb/s\n`);
  return sample;
}

/** Seconds since boot, all cores together. */
function cpuTimes(): { busy: number; steal: number; total: number } {
  const fields = readFileSync('/proc/stat', 'utf8').split('\n')[0]!.trim().split(/\s+/).slice(1, 9).map(Number);
  const [user, nice, system, idle, iowait, irq, softirq, steal] = fields.map((ticks) => ticks / 100) as [
    number,
    number,
    number,
    number,
    number,
    number,
    number,
    number,
  ];
  const busy = user + nice + system + irq + softirq;
  return { busy, steal, total: busy + idle + iowait + steal };
}

const FLOWS = `
import socket, sys, time
left = int(sys.argv[2])
for sport in range(40000, 60000):
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind(('', sport))
    for dport in range(1, 2001):
        try:
            sock.sendto(b'x', (sys.argv[1], dport))
        except OSError:
            pass
        left -= 1
        if left % 100 == 0:
            time.sleep(0.002)  # a burst without end would overflow the TUN's queue
        if left == 0:
            sys.exit(0)
    sock.close()
`;

/** UDP to that many different destinations: one flow each. */
async function makeFlows(client: Namespace, count: number): Promise<void> {
  await client.must(['python3', '-c', FLOWS, SERVER, String(count)], { seconds: 60 });
}

// -- figures --

function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2;
}

function report(
  samples: readonly Sample[],
  memory: readonly { flows: number; mib: number }[],
  rounds: number,
  seconds: number,
): void {
  const out = process.stdout;
  const peers = [...new Set(samples.map((sample) => sample.peer))];
  const of = (peer: string, direction: string) =>
    samples.filter((each) => each.peer === peer && each.direction === direction);
  const lines: object[] = [];
  out.write(
    `\n${new Date().toISOString().slice(0, 10)}, ${cpus().length} × ${cpus()[0]!.model.trim()}, Linux ${release()}, Node ${process.version}, one TCP stream, ${rounds} × ${seconds} s\n\n`,
  );
  out.write(
    `${'peer'.padEnd(18)}${'direction'.padEnd(11)}${'Gb/s'.padStart(7)}  ${'spread'.padEnd(15)}${'CPU s/Gb'.padStart(9)}${'ratio'.padStart(8)}\n`,
  );
  for (const direction of DIRECTIONS) {
    const reference = median(of(peers[0]!, direction).map((each) => each.gbps));
    for (const peer of peers) {
      const rates = of(peer, direction).map((each) => each.gbps);
      const figures = {
        peer,
        direction,
        gbps: round(median(rates)),
        min: round(Math.min(...rates)),
        max: round(Math.max(...rates)),
        cpuSecondsPerGigabit: round(median(of(peer, direction).map((each) => each.cpuPerGbit)), 4),
        ratio: round(median(rates) / reference),
        steal: round(Math.max(...of(peer, direction).map((each) => each.steal)), 3),
      };
      lines.push({ bench: 'throughput', ...figures });
      const spread = `${figures.min.toFixed(2)}–${figures.max.toFixed(2)}`;
      out.write(
        `${peer.padEnd(18)}${direction.padEnd(11)}${figures.gbps.toFixed(2).padStart(7)}  ${spread.padEnd(15)}${figures.cpuSecondsPerGigabit.toFixed(3).padStart(9)}${figures.ratio.toFixed(2).padStart(8)}\n`,
      );
    }
  }
  for (const { flows, mib } of memory) {
    out.write(`tungate resident memory with ${flows} flows: ${mib.toFixed(0)} MiB\n`);
    lines.push({ bench: 'memory', peer: 'tungate', flows, mib: round(mib) });
  }
  out.write('\n');
  for (const line of lines) out.write(`${JSON.stringify(line)}\n`);
}

function round(value: number, digits = 2): number {
  return Number(value.toFixed(digits));
}

await main();
