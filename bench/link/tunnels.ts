/**
 * Who else joins two sites: tunnels from Debian, beside tungate and wireguard-go, each with the best settings that its manual names for speed.
 *
 * A tunnel stands between the two hosts of `buildSites` (src/lab/wireguard.ts) and carries IP between 10.98.0.1 and 10.98.0.2, or the addresses of
 * INSIDE. Programs run in the foreground, with their files in the lab's folder. nebula, n2n and tinc are one process a host, as OpenVPN and WireGuard
 * are; n2n's supernode, which only introduces the two, runs beside the second.
 */
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import {
  endpoint,
  type Implementation,
  INSIDE,
  LAB_ENV,
  type Namespace,
  OUTSIDE,
  type Process,
  run,
  type Site,
  until,
} from '../../src/lab/index.js';
import { UNPACKED } from '../lib/tools.js';

export const ADDRESS = { a: '10.98.0.1', b: '10.98.0.2' } as const;
const PORT = 5555;
/** Of the clock of /proc/PID/stat. */
const TICKS = 100;

export interface Tunnel {
  readonly name: string;
  readonly settings: string;
  /** Programs that it needs. */
  readonly tools: readonly string[];
  /** Resolves when it carries packets: the far side's address, and processor seconds of both daemons so far. */
  start(a: Site, b: Site): Promise<{ readonly to: string; cpu(): number }>;
}

export function missingTools({ tools }: Tunnel): string[] {
  return tools.filter((tool) => !LAB_ENV.PATH.split(':').some((dir) => existsSync(join(dir, tool))));
}

export function wireguard(name: string, settings: string, tool: string, implementation: Implementation): Tunnel {
  return {
    name,
    settings,
    tools: [tool, 'wg'],
    async start(a, b) {
      await a.start(implementation, { LOG_LEVEL: 'error' });
      await b.start(implementation, { LOG_LEVEL: 'error' });
      await b.peer(a, undefined);
      await a.peer(b, endpoint(OUTSIDE.b));
      await answers(a.host, INSIDE.b);
      return { to: INSIDE.b, cpu: () => a.cpu() + b.cpu() };
    },
  };
}

export async function answers(host: Namespace, address: string): Promise<void> {
  const ping = ['ping', '-n', '-c', '1', '-W', '1', address];
  await until(async () => (await host.run(ping)).code === 0, `${address} answers through the tunnel`);
}

/** Seconds of processor time so far. */
export function cpuOf(processes: readonly Process[]): number {
  let ticks = 0;
  for (const { child } of processes) {
    const fields = readFileSync(`/proc/${child.pid}/stat`, 'latin1')
      .replace(/^.*\) /, '')
      .split(' ');
    ticks += Number(fields[11]) + Number(fields[12]);
  }
  return ticks / TICKS;
}

async function must(argv: readonly string[], input = ''): Promise<string> {
  const { code, stdout, stderr } = await run(argv, { input, env: UNPACKED });
  if (code !== 0) throw new Error(`${argv.join(' ')}: ${stderr}`);
  return stdout;
}

/** Starts both and waits until they carry packets. */
async function both(a: Site, b: Site, argv: (site: Site, which: 'a' | 'b') => readonly string[]) {
  const start = (site: Site, which: 'a' | 'b') => site.host.spawn(argv(site, which), { env: UNPACKED });
  const processes = [start(b, 'b'), start(a, 'a')];
  try {
    await answers(a.host, ADDRESS.b);
  } catch (error) {
    throw new Error(`${(error as Error).message}\n${processes.map((each) => each.tail()).join('\n')}`);
  }
  return { to: ADDRESS.b, cpu: () => cpuOf(processes) };
}

function folder(site: Site, name: string): string {
  const dir = join(site.lab.dir, `${name}-${site.host.role}`);
  mkdirSync(dir, { recursive: true });
  return dir;
}

const other = (which: 'a' | 'b') => (which === 'a' ? 'b' : 'a');

export const openvpn: Tunnel = {
  name: 'OpenVPN',
  settings:
    "point to point over UDP, TLS with certificates, AES-256-GCM in its own process (no kernel module), txqueuelen 1000, the kernel's socket buffers, fast-io",
  tools: ['openvpn', 'openssl'],
  async start(a, b) {
    const prints: Record<string, string> = {};
    for (const [site, which] of [
      [a, 'a'],
      [b, 'b'],
    ] as const) {
      const dir = folder(site, 'openvpn');
      await must([
        ...[
          'openssl',
          'req',
          '-x509',
          '-newkey',
          'ec',
          '-pkeyopt',
          'ec_paramgen_curve:prime256v1',
          '-nodes',
          '-days',
          '2',
        ],
        ...['-subj', `/CN=${which}`, '-keyout', join(dir, 'key'), '-out', join(dir, 'cert')],
      ]);
      const text = await must(['openssl', 'x509', '-in', join(dir, 'cert'), '-noout', '-fingerprint', '-sha256']);
      prints[which] = text.trim().split('=')[1]!;
    }
    return both(a, b, (site, which) => {
      const dir = folder(site, 'openvpn');
      return [
        ...['openvpn', '--dev', 'tun0', '--dev-type', 'tun', '--proto', 'udp4', '--port', String(PORT)],
        ...['--remote', OUTSIDE[other(which)], '--ifconfig', ADDRESS[which], ADDRESS[other(which)]],
        ...(which === 'a' ? ['--tls-client'] : ['--tls-server', '--dh', 'none']),
        ...['--cert', join(dir, 'cert'), '--key', join(dir, 'key'), '--peer-fingerprint', prints[other(which)]!],
        ...['--data-ciphers', 'AES-256-GCM', '--txqueuelen', '1000', '--sndbuf', '0', '--rcvbuf', '0', '--fast-io'],
      ];
    });
  },
};

export const nebula: Tunnel = {
  name: 'nebula',
  settings: 'AES-256-GCM, MTU 1440, one routine (two were slower here), its firewall open',
  tools: ['nebula', 'nebula-cert'],
  async start(a, b) {
    const ca = folder(a, 'nebula-ca');
    const files = (dir: string, name: string) => [join(dir, `${name}.crt`), join(dir, `${name}.key`)] as const;
    const [caCert, caKey] = files(ca, 'ca');
    await must(['nebula-cert', 'ca', '-name', 'bench', '-out-crt', caCert, '-out-key', caKey]);
    for (const [site, which] of [
      [a, 'a'],
      [b, 'b'],
    ] as const) {
      const dir = folder(site, 'nebula');
      const [cert, key] = files(dir, 'host');
      await must([
        ...['nebula-cert', 'sign', '-ca-crt', caCert, '-ca-key', caKey, '-name', which, '-ip', `${ADDRESS[which]}/24`],
        ...['-out-crt', cert, '-out-key', key],
      ]);
      const config = {
        pki: { ca: caCert, cert, key },
        static_host_map: { [ADDRESS[other(which)]]: [`${OUTSIDE[other(which)]}:${PORT}`] },
        lighthouse: { am_lighthouse: false, hosts: [] },
        listen: { host: '0.0.0.0', port: PORT, batch: 64, read_buffer: 10_485_760, write_buffer: 10_485_760 },
        cipher: 'aes',
        routines: 1,
        tun: { dev: 'nebula0', mtu: 1440, tx_queue: 1000 },
        logging: { level: 'error', format: 'text' },
        firewall: {
          outbound: [{ port: 'any', proto: 'any', host: 'any' }],
          inbound: [{ port: 'any', proto: 'any', host: 'any' }],
        },
      };
      // YAML holds JSON.
      writeFileSync(join(dir, 'config.yml'), JSON.stringify(config));
    }
    return both(a, b, (site) => ['nebula', '-config', join(folder(site, 'nebula'), 'config.yml')]);
  },
};

export const n2n: Tunnel = {
  name: 'n2n',
  settings:
    'version 1 as Debian has it: a TAP, Twofish (it has no other cipher), MTU 1400; the hosts speak with each other, not by the supernode',
  tools: ['edge', 'supernode'],
  async start(a, b) {
    b.host.spawn(['supernode', '-l', '7654'], { env: UNPACKED });
    return both(a, b, (_, which) => [
      ...['edge', '-d', 'n2n0', '-a', ADDRESS[which], '-c', 'bench', '-k', 'a key for the bench', '-M', '1400'],
      ...['-l', `${OUTSIDE.b}:7654`, '-p', String(PORT), '-u', '0', '-g', '0'],
    ]);
  },
};

export const tinc: Tunnel = {
  name: 'tinc',
  settings:
    "version 1.0, switch mode, AES-128-CBC with SHA-1 cut to 4 bytes (its defaults' digest; it cannot do GCM), no compression, high priority",
  tools: ['tincd', 'openssl'],
  async start(a, b) {
    const keys: Record<string, string> = {};
    for (const which of ['a', 'b'] as const) {
      const secret = await must(['openssl', 'genrsa', '-traditional', '2048']);
      const open = await must(['openssl', 'rsa', '-RSAPublicKey_out'], secret);
      keys[which] = open;
      const dir = folder(which === 'a' ? a : b, 'tinc');
      writeFileSync(join(dir, 'rsa_key.priv'), secret, { mode: 0o600 });
    }
    for (const [site, which] of [
      [a, 'a'],
      [b, 'b'],
    ] as const) {
      const dir = folder(site, 'tinc');
      mkdirSync(join(dir, 'hosts'), { recursive: true });
      const connect = which === 'a' ? 'ConnectTo = b\n' : '';
      writeFileSync(
        join(dir, 'tinc.conf'),
        `Name = ${which}\nMode = switch\nInterface = tinc0\nDeviceType = tap\nProcessPriority = high\n${connect}`,
      );
      for (const host of ['a', 'b'] as const)
        writeFileSync(
          join(dir, 'hosts', host),
          `Address = ${OUTSIDE[host]} ${PORT}\nPort = ${PORT}\nCipher = aes-128-cbc\nCompression = 0\n${keys[host]}`,
        );
      const up = `#!/bin/sh\nip addr add ${ADDRESS[which]}/24 dev $INTERFACE && ip link set $INTERFACE up\n`;
      writeFileSync(join(dir, 'tinc-up'), up, { mode: 0o755 });
    }
    return both(a, b, (site) => {
      const dir = folder(site, 'tinc');
      return ['tincd', '-D', '-c', dir, `--pidfile=${join(dir, 'pid')}`];
    });
  },
};

/** Those that carry IP, and those that carry Ethernet. */
export const IP_TUNNELS: readonly Tunnel[] = [openvpn, nebula];
export const ETHERNET_TUNNELS: readonly Tunnel[] = [n2n, tinc];
