/** What nftables and iptables share: both are the kernel's own conntrack. */
import { readFileSync } from 'node:fs';
import type { Namespace } from '../../src/lab/index.js';
import type { Stage } from '../lib/stage.js';

export const CONNTRACK = 'conntrack UDP timeout 300 s as ours; nf_conntrack_max and its hash as the machine has them';

/** Forwarding on, and the same patience with silent flows as the router under test has. */
export function forwarding(router: Namespace, on: boolean): void {
  router.sysctl(`net.ipv4.ip_forward=${on ? 1 : 0}`);
}

export function patience(router: Namespace): void {
  router.trySysctl('net.netfilter.nf_conntrack_udp_timeout=300', 'net.netfilter.nf_conntrack_udp_timeout_stream=300');
}

/** Belongs to the machine and not to a namespace; the bench leaves it alone. */
export function conntrackLimit(): number {
  try {
    return Number(readFileSync('/proc/sys/net/netfilter/nf_conntrack_max', 'latin1'));
  } catch {
    return 65_536; // the module is not loaded yet: its default on small machines
  }
}

export async function conntrackFlows({ router }: Stage): Promise<number> {
  return Number((await router.must(['sysctl', '-n', 'net.netfilter.nf_conntrack_count'])).trim());
}

/** Slab memory of conntrack entries, all namespaces together. */
export async function conntrackMemory(): Promise<Record<string, number>> {
  const line = /^nf_conntrack\s+\d+\s+(\d+)\s+(\d+)/m.exec(readFileSync('/proc/slabinfo', 'latin1'));
  return line ? { table: Number(line[1]) * Number(line[2]) } : {};
}

/** nfnetlink: IPCTNL_MSG_CT_DELETE without a tuple, which is what `conntrack -F` sends. */
const FLUSH = `
import socket, struct
s = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 12)
s.send(struct.pack('=IHHIIBBH', 20, (1 << 8) | 2, 5, 1, 0, 2, 0, 0))
raise SystemExit(-struct.unpack('=i', s.recv(4096)[16:20])[0])
`;

/** Removes every tracked flow of the namespace, so that each start begins empty. */
export async function forgetFlows(router: Namespace): Promise<void> {
  await router.must(['python3', '-c', FLUSH]);
}
