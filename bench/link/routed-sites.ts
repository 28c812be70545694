/**
 * Two LANs joined by a WireGuard link between their routers, for the benches:
 *
 *     a 192.168.1.5 ─ lan ─ near 198.18.0.1 ═══ WireGuard ═══ 198.18.0.2 far ─ lan ─ d 192.168.20.5
 *                            └ 198.18.9.1 ─ flooder 198.18.9.9
 *
 * The routers are tungate, or kernel routers with a WireGuard device beside the kernel's forwarding (wireguard-go). Names of links carry the pid: their sockets are the machine's.
 */
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Daemon, type Implementation, type Lab, type Namespace, run, Site, until } from '../../src/lab/index.js';

export const A = '192.168.1.5';
export const D = '192.168.20.5';
export const NEAR = '198.18.0.1';
/** Where the flooder meets the near router. */
export const NEAR_OTHER = '198.18.9.1';
const FAR = '198.18.0.2';
export const PORT = 51820;
/** Of the clock of /proc/PID/stat. */
const TICKS = 100;

export interface Keys {
  readonly secret: string;
  readonly public: string;
}

export interface RoutedSites {
  readonly a: Namespace;
  readonly d: Namespace;
  readonly near: Namespace;
  readonly flooder: Namespace;
  /** Of the near router, and of a peer that it knows and that is not there. */
  readonly keys: { readonly near: Keys; readonly absent: Keys };
  /** Processor seconds of both routers' daemons so far. */
  cpu(): number;
  /** The near router's daemon, where it is tungate. */
  readonly daemon: Daemon | null;
}

async function makeKeys(): Promise<Keys> {
  const secret = (await run(['wg', 'genkey'])).stdout.trim();
  return { secret, public: (await run(['wg', 'pubkey'], { input: secret })).stdout.trim() };
}

function wires(lab: Lab): Pick<RoutedSites, 'a' | 'd' | 'near' | 'flooder'> & { far: Namespace } {
  const [a, near, far, d, flooder] = ['a', 'near', 'far', 'd', 'flooder'].map((name) => lab.namespace(name)) as [
    Namespace,
    Namespace,
    Namespace,
    Namespace,
    Namespace,
  ];
  near.ip(
    `link add lan type veth peer name eth0 netns ${a.name}`,
    `link add wan type veth peer name wan netns ${far.name}`,
    `link add other type veth peer name eth0 netns ${flooder.name}`,
    'addr add 192.168.1.1/24 dev lan',
    `addr add ${NEAR}/24 dev wan`,
    `addr add ${NEAR_OTHER}/24 dev other`,
    'link set lan up',
    'link set wan up',
    'link set other up',
    `route add default via ${FAR}`,
  );
  far.ip(
    `link add lan type veth peer name eth0 netns ${d.name}`,
    'addr add 192.168.20.1/24 dev lan',
    `addr add ${FAR}/24 dev wan`,
    'link set lan up',
    'link set wan up',
    `route add default via ${NEAR}`,
  );
  a.ip(`addr add ${A}/24 dev eth0`, 'link set eth0 up', 'route add default via 192.168.1.1');
  d.ip(`addr add ${D}/24 dev eth0`, 'link set eth0 up', 'route add default via 192.168.20.1');
  flooder.ip('addr add 198.18.9.9/24 dev eth0', 'link set eth0 up');
  for (const ns of [near, far]) ns.sysctl('net.ipv4.conf.all.rp_filter=0', 'net.ipv4.conf.default.rp_filter=0');
  return { a, near, far, d, flooder };
}

function cpuOf(pid: number): number {
  const fields = readFileSync(`/proc/${pid}/stat`, 'latin1')
    .replace(/^.*\) /, '')
    .split(' ');
  return (Number(fields[11]) + Number(fields[12])) / TICKS;
}

async function answers(a: Namespace): Promise<void> {
  const ping = ['ping', '-n', '-c', '1', '-W', '1', D];
  await until(async () => (await a.run(ping)).code === 0, `${D} answers through the link`);
}

/** `peers`: further lines of the near router's list. */
export async function tungateSites(lab: Lab): Promise<RoutedSites> {
  const { a, near, far, d, flooder } = wires(lab);
  const keys = { near: await makeKeys(), far: await makeKeys(), absent: await makeKeys() };
  const dir = join(lab.dir, 'keys');
  mkdirSync(dir, { recursive: true });
  for (const [name, { secret }] of Object.entries(keys)) writeFileSync(join(dir, name), `${secret}\n`, { mode: 0o600 });
  const config = (own: 'near' | 'far', subnet: string, peers: string) => `uplink: { interface: wan, address: auto }
lans: [{ interface: lan, subnet: ${subnet} }]
metrics: { listen: off }
links:
  - name: b${process.pid}${own[0]}
    wireguard: { private_key_file: ${join(dir, own)}, listen: ${PORT} }
    peers:
${peers}    policy: { lan: allow }
`;
  const peer = (name: string, key: string, allowed: string, endpoint = '') =>
    `      - { name: ${name}, public_key: "${key}", allowed_ips: ${allowed}${endpoint && `, endpoint: "${endpoint}"`} }\n`;
  const daemons = await Promise.all([
    Daemon.start(
      near,
      config(
        'near',
        '192.168.1.0/24',
        peer('far', keys.far.public, '192.168.20.0/24', `${FAR}:${PORT}`) +
          peer('absent', keys.absent.public, '192.168.99.0/24'),
      ),
    ),
    Daemon.start(far, config('far', '192.168.20.0/24', peer('near', keys.near.public, '192.168.1.0/24'))),
  ]);
  await answers(a);
  const cpu = () => daemons.reduce((sum, daemon) => sum + cpuOf(daemon.process.child.pid!), 0);
  return { a, d, near, flooder, keys, cpu, daemon: daemons[0]! };
}

/** Kernel routers (ip_forward), each with a WireGuard device of that implementation. */
export async function kernelSites(lab: Lab, implementation: Implementation): Promise<RoutedSites> {
  const { a, near, far, d, flooder } = wires(lab);
  for (const ns of [near, far]) ns.sysctl('net.ipv4.ip_forward=1');
  const site = (ns: Namespace, letter: string, address: string) =>
    new Site(lab, ns, `b${process.pid}${letter}`, [`${address}/24`]);
  const [one, two] = [site(near, 'n', '10.99.0.1'), site(far, 'f', '10.99.0.2')];
  await one.start(implementation, { LOG_LEVEL: 'error' });
  await two.start(implementation, { LOG_LEVEL: 'error' });
  const meet = (own: Site, other: Site, allowed: string, endpoint: string) =>
    own.set(['peer', other.publicKey, 'allowed-ips', allowed, 'endpoint', `${endpoint}:${PORT}`]);
  await meet(one, two, '10.99.0.2/32,192.168.20.0/24', FAR);
  await meet(two, one, '10.99.0.1/32,192.168.1.0/24', NEAR);
  near.ip(`route add 192.168.20.0/24 dev ${one.name}`);
  far.ip(`route add 192.168.1.0/24 dev ${two.name}`);
  await answers(a);
  const nobody = { secret: '', public: '' };
  return {
    ...{ a, d, near, flooder, daemon: null },
    keys: { near: { secret: '', public: one.publicKey }, absent: nobody },
    cpu: () => one.cpu() + two.cpu(),
  };
}
