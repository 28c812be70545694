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

/** Each part behind a mark, with its title: one shell instead of two dozen processes that enter the namespace one by one. */
const LOOK = `
part() { printf '\\036%s\\n' "$1"; shift; "$@" || exit; }
part 'ip addr' ip -o -4 addr
part 'ip -d rule' ip -d rule
part 'ip route (all tables)' ip -d route show table all
part 'tc qdisc' tc qdisc
# Settings that may not be read are no error, nor is a device without clsact; statistics are left out (no -s).
exec 2>/dev/null
printf '\\036sysctl -a\\n'; sysctl -a
for link; do
  for parent in ingress egress; do printf '\\036tc filter %s %s\\n' "$link" "$parent"; tc filter show dev "$link" "$parent"; done
done
exit 0`;

export async function kernelState(ns: Namespace): Promise<KernelState> {
  needTools(['ip', 'tc', 'sysctl']);
  const links = (JSON.parse(await ns.must(['ip', '-j', 'link'])) as { ifname: string }[])
    .map((link) => link.ifname)
    .sort();
  const state: Record<string, string[]> = { 'ip link': links };
  for (const part of (await ns.must(['sh', '-c', LOOK, 'sh', ...links])).split('\x1e').slice(1)) {
    const [title, ...lines] = part.split('\n').map((line) => line.trimEnd());
    state[title!] = lines;
  }
  const sorted = ['ip addr', 'ip route (all tables)', 'tc qdisc', 'sysctl -a'];
  for (const title of sorted) state[title]!.sort();
  state['ip route (all tables)'] = state['ip route (all tables)']!.map(steady).sort();
  state['sysctl -a'] = state['sysctl -a']!.filter(isSetting);
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
