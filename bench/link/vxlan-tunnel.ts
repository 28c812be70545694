/**
 * VXLAN from end to end on the real kernel: two hosts on this machine, TCP through one virtual Ethernet, in turns: tungate at both ends, at one end with the
 * Linux vxlan device at the other (who sends first), and the device at both ends; tungate's encrypted (`over` a WireGuard link) beside what carries encrypted Ethernet
 * in Debian. One JSON line each: rate, processor time of the whole machine and of tungate's (or the other's) processes a gigabit, and the rate by the kernel's,
 * of the encrypted ones tungate's by the other's.
 *
 *     node dist/bench/link/vxlan-tunnel.js [--rounds 5] [--seconds 3] [--peers tungate→kernel,kernel→kernel] [--streams 1]
 *
 * A peer whose programs are not installed is named and left out.
 */
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import {
  becomeNamespaceRoot,
  buildSites,
  Daemon,
  iperf,
  Lab,
  needTools,
  OUTSIDE,
  type Site,
} from '../../src/lab/index.js';
import { ADDRESS, answers, cpuOf, ETHERNET_TUNNELS, missingTools, type Tunnel } from './tunnels.js';

await becomeNamespaceRoot();
needTools(['ip', 'iperf3', 'wg']);
const { values } = parseArgs({
  options: {
    rounds: { type: 'string', default: '5' },
    seconds: { type: 'string', default: '3' },
    streams: { type: 'string', default: '1' },
    peers: { type: 'string' },
  },
});

type End = (site: Site, which: 'a' | 'b') => Promise<Daemon | undefined>;
const OTHER = { a: 'b', b: 'a' } as const;
const KEYS = join('keys', 'wg');

const kernel: End = async ({ host }, which) => {
  host.ip(
    `link add vx0 type vxlan id 42 local ${OUTSIDE[which]} remote ${OUTSIDE[OTHER[which]]} dstport 4789`,
    `addr add ${ADDRESS[which]}/24 dev vx0`,
    'link set vx0 up',
  );
  return undefined;
};

async function daemon({ host }: Site, which: 'a' | 'b', links: string, prepare?: (dir: string) => void) {
  const made = new Daemon(host, links);
  prepare?.(made.dir);
  await made.up();
  host.ip(`addr add ${ADDRESS[which]}/24 dev vx0`);
  return made;
}

const tungate: End = (site, which) =>
  daemon(
    site,
    which,
    `links: [{ name: lan, vxlan: { vni: 42, local: ${OUTSIDE[which]}, remotes: ${OUTSIDE[OTHER[which]]} }, tap: vx0 }]\n`,
  );

interface Keys {
  readonly secret: string;
  readonly open: string;
}

async function keys({ host }: Site): Promise<Keys> {
  const secret = (await host.must(['wg', 'genkey'])).trim();
  return { secret, open: (await host.must(['wg', 'pubkey'], { input: secret })).trim() };
}

/** VXLAN inside of a WireGuard link. */
const encrypted: Tunnel = {
  name: 'tungate encrypted',
  settings: 'VXLAN `over` a WireGuard link, its defaults',
  tools: ['wg'],
  async start(a, b) {
    const all = { a: await keys(a), b: await keys(b) };
    const start = (site: Site, which: 'a' | 'b') => {
      const other = OTHER[which];
      const number = { a: 1, b: 2 } as const;
      const text = `links:
  - name: way
    wireguard: { private_key_file: ${KEYS}, listen: 51820 }
    address: 10.99.0.${number[which]}/24
    peers: [{ name: far, public_key: "${all[other].open}", endpoint: "${OUTSIDE[other]}:51820", allowed_ips: 10.99.0.${number[other]}/32 }]
    policy: { host: allow }
  - { name: lan, vxlan: { vni: 42, remotes: 10.99.0.${number[other]}, over: way }, tap: vx0 }
`;
      return daemon(site, which, text, (dir) => {
        mkdirSync(join(dir, 'keys'));
        writeFileSync(join(dir, KEYS), `${all[which].secret}\n`, { mode: 0o600 });
      });
    };
    const both = [await start(a, 'a'), await start(b, 'b')];
    await answers(a.host, ADDRESS.b);
    return { to: ADDRESS.b, cpu: () => cpuOf(both.map(({ process }) => process)) };
  },
};

/** `from` is where the bytes come from. */
function plain(name: string, from: End, to: End): Tunnel {
  return {
    name,
    settings: 'VXLAN over IPv4, defaults',
    tools: [],
    async start(a, b) {
      const ends = [await from(a, 'a'), await to(b, 'b')];
      await answers(a.host, ADDRESS.b);
      return { to: ADDRESS.b, cpu: () => cpuOf(ends.flatMap((each) => (each === undefined ? [] : [each.process]))) };
    },
  };
}

const REFERENCE = 'kernel→kernel';
const PLAIN = [
  plain(REFERENCE, kernel, kernel),
  plain('tungate→kernel', tungate, kernel),
  plain('kernel→tungate', kernel, tungate),
  plain('tungate→tungate', tungate, tungate),
];
const ENCRYPTED = [encrypted, ...ETHERNET_TUNNELS];
const PEERS = [...PLAIN, ...ENCRYPTED].filter((peer) => {
  if (values.peers && !values.peers.split(',').includes(peer.name)) return false;
  const missing = missingTools(peer);
  if (missing.length > 0) console.error(`${peer.name} is left out: ${missing.join(', ')} not found`);
  return missing.length === 0;
});

interface Figure {
  readonly gbps: number;
  /** Seconds of processor time a gigabit: of the whole machine, of the daemons. */
  readonly machine: number;
  readonly daemons: number;
}

/** Seconds that the machine's processors were not idle; what the hypervisor gave to others is not in it. */
function busy(): number {
  const [user, nice, system, , , irq, soft] = /^cpu +(.*)$/m
    .exec(readFileSync('/proc/stat', 'latin1'))![1]!
    .split(' ')
    .map(Number);
  return (user! + nice! + system! + irq! + soft!) / 100;
}

async function measure(peer: Tunnel): Promise<Figure> {
  const lab = new Lab();
  try {
    const { a, b } = buildSites(lab);
    const { to, cpu } = await peer.start(a, b);
    const streams = Number(values.streams);
    await iperf(b.host, a.host, to, { seconds: 1, streams });
    const [daemons, machine] = [cpu(), busy()];
    const { bytes, gbps } = await iperf(b.host, a.host, to, { seconds: Number(values.seconds), streams });
    const gigabits = (bytes * 8) / 1e9;
    return { gbps, machine: (busy() - machine) / gigabits, daemons: (cpu() - daemons) / gigabits };
  } finally {
    await lab.close();
  }
}

/** n2n misses its supernode's start now and then, and asks again a minute later: once more. */
async function measured(peer: Tunnel): Promise<Figure> {
  try {
    return await measure(peer);
  } catch (error) {
    console.error(`${peer.name}, once more: ${(error as Error).message.split('\n')[0]}`);
    return measure(peer);
  }
}

function summary(list: readonly number[]): { median: number; min: number; max: number } {
  const sorted = [...list].sort((x, y) => x - y).map((value) => Number(value.toPrecision(3)));
  return { median: sorted[sorted.length >> 1]!, min: sorted[0]!, max: sorted.at(-1)! };
}

const figures = new Map<Tunnel, Figure[]>(PEERS.map((peer) => [peer, []]));
for (let round = 0; round < Number(values.rounds); round++) {
  for (const peer of PEERS) {
    const figure = await measured(peer);
    figures.get(peer)!.push(figure);
    const { gbps, machine, daemons } = figure;
    console.error(
      `${peer.name}: ${gbps.toFixed(2)} Gb/s, ${machine.toFixed(3)} CPU s/Gb, daemons ${daemons.toFixed(3)} CPU s/Gb`,
    );
  }
}

function print(peer: string, name: string, unit: string, list: readonly number[]): void {
  console.log(JSON.stringify({ bench: 'link/vxlan-tunnel', peer, name, unit, ...summary(list) }));
}

/** Round by round, so that a slow minute of the machine hits both. */
const ratios = (of: readonly Figure[], by: readonly Figure[]) => of.map(({ gbps }, round) => gbps / by[round]!.gbps);

for (const [{ name }, list] of figures) {
  const streams = values.streams === '1' ? '1 stream' : `${values.streams} streams`;
  print(
    name,
    `TCP, ${streams}`,
    'Gb/s',
    list.map(({ gbps }) => gbps),
  );
  print(
    name,
    'whole machine',
    'CPU s/Gb',
    list.map(({ machine }) => machine),
  );
  print(
    name,
    'daemons',
    'CPU s/Gb',
    list.map(({ daemons }) => daemons),
  );
}
const reference = [...figures].find(([{ name }]) => name === REFERENCE)?.[1];
for (const [peer, list] of figures) {
  if (reference !== undefined && list !== reference && PLAIN.includes(peer))
    print(peer.name, "rate by the kernel's", '×', ratios(list, reference));
  const ours = figures.get(encrypted);
  if (ours !== undefined && peer !== encrypted && ENCRYPTED.includes(peer))
    print(peer.name, "tungate's encrypted rate by the peer's", '×', ratios(ours, list));
}
