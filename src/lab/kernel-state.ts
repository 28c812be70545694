/**
 * Everything in a namespace's kernel that a router may have changed, as text that can be compared: rules, routes, addresses,
 * interfaces, tc, sysctl. The judge is iproute2 and sysctl, not our own netlink code.
 */
import type { Namespace } from './namespace.js';
import { needTools } from './namespace.js';

/** Counters and readings: they change by themselves, or cannot be compared from one second to the next. */
const RESTLESS = [
  'fs.dentry-state',
  'fs.file-nr',
  'fs.inode-nr',
  'fs.inode-state',
  'fs.quota',
  'fs.aio-nr',
  'kernel.ns_last_pid',
  'kernel.pty.nr',
  'kernel.random',
  'kernel.tainted',
  'kernel.perf',
  'kernel.keys',
  'kernel.cad_pid',
  'kernel.sched_domain',
  'net.netfilter.nf_conntrack_count',
  'vm.stat_refresh',
  'vm.',
  'debug.',
  'dev.',
  'abi.',
];

export type KernelState = Readonly<Record<string, readonly string[]>>;

export async function kernelState(ns: Namespace): Promise<KernelState> {
  needTools(['ip', 'tc', 'sysctl']);
  const text = async (...argv: string[]) => (await ns.must(argv)).split('\n').map((line) => line.trimEnd());
  const links = (JSON.parse(await ns.must(['ip', '-j', 'link'])) as { ifname: string }[])
    .map((link) => link.ifname)
    .sort();
  const state: Record<string, string[]> = {
    'ip link': links,
    'ip addr': (await text('ip', '-o', '-4', 'addr')).sort(),
    'ip -d rule': await text('ip', '-d', 'rule'),
    'ip route (all tables)': (await text('ip', '-d', 'route', 'show', 'table', 'all')).map(steady).sort(),
    'tc qdisc': (await text('tc', 'qdisc')).sort(),
    'sysctl -a': (await ns.run(['sysctl', '-a'])).stdout.split('\n').filter(isSetting).sort(),
  };
  for (const link of links) {
    for (const parent of ['ingress', 'egress'] as const) {
      // Statistics are left out (no -s); a device without clsact answers with nothing or an error: both mean "none".
      state[`tc filter ${link} ${parent}`] = (await ns.run(['tc', 'filter', 'show', 'dev', link, parent])).stdout.split(
        '\n',
      );
    }
  }
  return state;
}

function isSetting(line: string): boolean {
  return line !== '' && !RESTLESS.some((prefix) => line.startsWith(prefix));
}

/** IPv6 timers of a route tick. */
function steady(line: string): string {
  return line.replace(/ expires \S+/, '').replace(/ used \d+/, '');
}

/** What differs, as `-before` and `+after` lines; empty = the kernel is as it was. */
export function diffState(before: KernelState, after: KernelState): string[] {
  const differences: string[] = [];
  for (const key of new Set([...Object.keys(before), ...Object.keys(after)])) {
    const old = before[key] ?? [];
    const now = after[key] ?? [];
    if (old.join('\n') === now.join('\n')) continue;
    const gone = old.filter((line) => !now.includes(line));
    const come = now.filter((line) => !old.includes(line));
    if (gone.length + come.length === 0) differences.push(`${key}: same lines in another order or number`);
    for (const line of gone) differences.push(`${key}: - ${line}`);
    for (const line of come) differences.push(`${key}: + ${line}`);
  }
  return differences;
}
