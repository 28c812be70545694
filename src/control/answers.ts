/** What the API answers about rules, ports and packets, made when somebody asks. Pure: nothing here is kept. */
import type { PoolStatus, RuleRow, Status } from '../contract/api.js';
import { Counter, RuleCounter, ruleBase } from '../contract/counters.js';
import type { Link } from '../contract/links.js';
import type { Plan } from '../contract/plan.js';
import { VERDICTS } from '../contract/verdict.js';
import { formatAddress, formatPrefix } from './address.js';
import type { TableReader } from './flows.js';
import type { Config, ForwardConfig, NatConfig } from './model.js';
import { formatPorts } from './ports.js';

export const PROTOCOLS = ['tcp', 'udp', 'icmp'] as const;

/** Sums one counter over all workers. */
export function total(counters: readonly Float64Array[], index: number): number {
  let sum = 0;
  for (const block of counters) sum += block[index]!;
  return sum;
}

type Counters = readonly Float64Array[];

/** Forwards in the order of the file, then outbound rules in the order of matching. */
export function ruleRows(config: Config, plan: Plan, counters: Counters): RuleRow[] {
  const forwards = plan.forwards.map((rule, index) =>
    ruleRow('forward', rule, describeForward(config.forwards[index]!), counters),
  );
  const nat = plan.nat.map((rule, index) => ruleRow('nat', rule, describeNat(config.nat[index]), counters));
  return [...forwards, ...nat];
}

function ruleRow(
  kind: RuleRow['kind'],
  rule: { readonly id: number; readonly name: string; readonly origin: string },
  what: string,
  counters: Counters,
): RuleRow {
  const base = ruleBase(rule.id);
  return {
    id: rule.id,
    kind,
    name: rule.name,
    origin: rule.origin,
    what,
    packetsIn: total(counters, base + RuleCounter.PACKETS_IN),
    bytesIn: total(counters, base + RuleCounter.BYTES_IN),
    packetsOut: total(counters, base + RuleCounter.PACKETS_OUT),
    bytesOut: total(counters, base + RuleCounter.BYTES_OUT),
    flows: total(counters, base + RuleCounter.FLOWS),
    refused: total(counters, base + RuleCounter.REFUSED),
  };
}

/** `tcp 30000-30099 → 172.22.161.20:8000-8099, from 198.51.100.0/24`. */
export function describeForward(forward: ForwardConfig): string {
  const { ports, target, offset, single, from } = forward;
  const inside =
    ports.length === 0
      ? ''
      : `:${single !== 0 ? single : formatPorts(ports.map(({ first, last }) => ({ first: first + offset, last: last + offset })))}`;
  const where = forward.addresses.length > 0 ? ` on ${forward.addresses.map(formatAddress).join(', ')}` : '';
  const source = from.length > 0 ? `, from ${from.map(formatPrefix).join(', ')}` : '';
  const outside = ports.length === 0 ? '' : ` ${formatPorts(ports)}`;
  return `${forward.protos.join('+')}${outside}${where} → ${formatAddress(target)}${inside}${source}`;
}

/** `udp from 172.22.161.40/32: not translated`. Undefined = the rule that every plan ends with. */
export function describeNat(rule: NatConfig | undefined): string {
  if (rule === undefined) return 'everything else';
  const parts = [rule.protos.length === 0 ? 'all' : rule.protos.join('+')];
  if (rule.from.length > 0) parts.push(`from ${rule.from.map(formatPrefix).join(', ')}`);
  if (rule.to.length > 0) parts.push(`to ${rule.to.map(formatPrefix).join(', ')}`);
  if (!rule.translate) return `${parts.join(' ')}: not translated`;
  return rule.address === null ? parts.join(' ') : `${parts.join(' ')}: by ${formatAddress(rule.address)}`;
}

export function poolStatus(plan: Plan, table: TableReader | null): PoolStatus[] {
  const used = table?.countMappings();
  return plan.addresses.flatMap(({ address, poolSize }) =>
    PROTOCOLS.map((protocol, index) => ({
      address: formatAddress(address),
      protocol,
      used: used?.get(address)?.[index] ?? 0,
      size: poolSize[index]!,
    })),
  );
}

export function traffic(counters: Counters): Pick<Status, 'packets' | 'bytes' | 'drops'> {
  const drops = VERDICTS.flatMap(({ name, fate, sentence }, id) => {
    const packets = fate === 'drop' ? total(counters, Counter.VERDICT + id) : 0;
    return packets > 0 ? [{ reason: name, packets, sentence }] : [];
  }).sort((a, b) => b.packets - a.packets);
  return {
    packets: {
      received: total(counters, Counter.RX_PACKETS),
      sent: total(counters, Counter.TX_PACKETS),
      dropped: drops.reduce((sum, { packets }) => sum + packets, 0),
    },
    bytes: { received: total(counters, Counter.RX_BYTES), sent: total(counters, Counter.TX_BYTES) },
    drops,
  };
}

export function interfaces(plan: Plan): Pick<Status, 'uplinks' | 'lans'> {
  return {
    uplinks: plan.uplinks.map((uplink) => ({
      interface: uplink.interface,
      addresses: uplink.addresses.map((index) => formatAddress(plan.addresses[index]!.address)),
    })),
    lans: plan.lans.map((lan) => ({
      interface: lan.interface,
      subnet: formatPrefix(lan.subnet),
      gateway: lan.gateway === 0 ? 'none' : formatAddress(lan.gateway),
    })),
  };
}

/** Keys of the config, and what they become in a plan. */
const SETTINGS: readonly (readonly [string, readonly (keyof Plan)[]])[] = [
  ['timeouts', ['timeouts']],
  ['limits', ['perHost', 'perHostFlows', 'perHostRate']],
  ['reject_unsolicited', ['rejectUnsolicited']],
  ['log.translations', ['translationLog']],
  ['port_blocks', ['portBlocks']],
  ['inbound_refresh', ['inboundRefresh']],
  ['parity', ['parity']],
  ['helpers', ['helpers']],
];

/** What one plan has and the other has not, in words for one log line; '' when only the generation differs. */
export function planDifference(before: Plan, after: Plan): string {
  const parts: string[] = [];
  const named = (word: string, old: readonly { name: string }[], now: readonly { name: string }[]) => {
    const gone = old.filter(({ name }) => !now.some((rule) => rule.name === name)).map(({ name }) => name);
    const added = now.filter(({ name }) => !old.some((rule) => rule.name === name)).map(({ name }) => name);
    if (added.length > 0) parts.push(`${word} added: ${few(added)}`);
    if (gone.length > 0) parts.push(`${word} removed: ${few(gone)}`);
    const changed = now.filter((rule) => {
      const twin = old.find(({ name }) => name === rule.name);
      return twin && text(twin) !== text(rule);
    });
    if (changed.length > 0) parts.push(`${word} changed: ${few(changed.map(({ name }) => name))}`);
  };
  for (const uplink of after.uplinks) {
    const old = before.uplinks.find((item) => item.interface === uplink.interface);
    const was = old ? addressesOf(before, old) : 'none';
    const is = addressesOf(after, uplink);
    if (was !== is) parts.push(`address of ${uplink.interface}: ${was} → ${is}`);
  }
  named('forwards', before.forwards, after.forwards);
  named('nat rules', before.nat, after.nat);
  parts.push(...linkDifference(before.links, after.links));
  if (text(before.routes) !== text(after.routes))
    parts.push(
      before.routes.length === after.routes.length
        ? 'routes'
        : `routes: ${before.routes.length} → ${after.routes.length}`,
    );
  if (text(before.lans) !== text(after.lans)) parts.push('LANs');
  if (text(before.ipv6) !== text(after.ipv6)) parts.push('IPv6 of site links');
  if (text(before.interfaces) !== text(after.interfaces)) parts.push('interfaces');
  if (text(before.hostAddresses) !== text(after.hostAddresses)) parts.push("the host's addresses");
  const missing = (from: Plan, where: Plan) => {
    const there = new Set(where.blocked.map(formatPrefix));
    return from.blocked.map(formatPrefix).filter((prefix) => !there.has(prefix));
  };
  const [blocked, unblocked] = [missing(after, before), missing(before, after)];
  if (blocked.length > 0) parts.push(`blocked: ${few(blocked)}`);
  if (unblocked.length > 0) parts.push(`no longer blocked: ${few(unblocked)}`);
  for (const [name, keys] of SETTINGS) if (keys.some((key) => text(before[key]) !== text(after[key]))) parts.push(name);
  return parts.join('; ');
}

/** `links changed: hq (peers added: laptop)`. Numbers of interfaces and the pool follow from the rest. */
function linkDifference(before: readonly Link[], after: readonly Link[]): string[] {
  const parts: string[] = [];
  const missing = (from: readonly { name: string }[], where: readonly { name: string }[]) =>
    from.filter(({ name }) => !where.some((item) => item.name === name)).map(({ name }) => name);
  const [added, gone] = [missing(after, before), missing(before, after)];
  if (added.length > 0) parts.push(`links added: ${few(added)}`);
  if (gone.length > 0) parts.push(`links removed: ${few(gone)}`);
  for (const link of after) {
    const old = before.find(({ name }) => name === link.name);
    if (old === undefined) continue;
    const what: string[] = [];
    const [more, less] = [missing(link.peers, old.peers), missing(old.peers, link.peers)];
    if (more.length > 0) what.push(`peers added: ${few(more)}`);
    if (less.length > 0) what.push(`peers removed: ${few(less)}`);
    const changed = link.peers.filter((peer) => {
      const twin = old.peers.find(({ name }) => name === peer.name);
      return twin !== undefined && text(twin) !== text(peer);
    });
    if (changed.length > 0) what.push(`peers changed: ${few(changed.map(({ name }) => name))}`);
    const rest = ({ out: _, pool: __, peers: ___, ...others }: Link) => text(others);
    if (rest(old) !== rest(link)) what.push('settings');
    if (what.length > 0) parts.push(`link ${link.name}: ${what.join(', ')}`);
  }
  return parts;
}

const text = (value: unknown) => JSON.stringify(value, (key, inner: unknown) => (key === 'origin' ? undefined : inner));
const few = (names: readonly string[]) =>
  names.length <= 3 ? names.join(', ') : `${names.slice(0, 3).join(', ')} and ${names.length - 3} more`;

function addressesOf(plan: Plan, uplink: Plan['uplinks'][number]): string {
  return uplink.addresses.map((index) => formatAddress(plan.addresses[index]!.address)).join(', ') || 'none';
}
