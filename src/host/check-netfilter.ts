/**
 * Rules of a netfilter that is present which would break the engine's packets.
 *
 * What the engine writes comes out of the TUN as if it had arrived there, and passes prerouting, forward and postrouting.
 * Three things hurt: a forward chain that drops it, one that drops what conntrack calls invalid (conntrack sees the two
 * directions as two half conversations, because the addresses are changed behind its back), and a source NAT for other
 * traffic that takes its ports on P from the pool, where the answers then go to the engine instead.
 */
import { existsSync, readFileSync } from 'node:fs';
import type { PortInterval } from '../contract/steering.js';
import { type Check, fail, ok, type Wanted, warn } from './check.js';
import { ipv4Text } from './ipv4.js';
import { type Chain, CT_INVALID, type InterfaceCondition, type Rule, readRuleSet } from './nftables.js';
import { intersectPorts, mergePorts, portsText, subtractPorts } from './ports.js';

const PREROUTING = 0;
const INPUT = 1;
const FORWARD = 2;
const POSTROUTING = 4;
const DEEPEST = 16;

export function checkNetfilter(wanted: Wanted): Check[] {
  const legacy = checkLegacy();
  const set = readRuleSet();
  if (!set || set.chains.length === 0) return [...legacy, ok('netfilter', 'nf_tables has no chains')];
  const names = interfaceNames(wanted);
  const checks = [
    ...legacy,
    ...checkForward(set.chains, wanted.tun, names),
    ...checkSourceNat(set.chains, wanted, names),
  ];
  return checks.length > 0 ? checks : [ok('netfilter', 'no rule of nf_tables is in the way')];
}

/** INPUT chains that may not let in what peers of site links send: by an uplink, to a port of the host's own. */
export function inputRefusals(
  wanted: Wanted,
): { readonly where: string; readonly maybe: boolean; readonly remedy: (port: number) => string }[] {
  const { chains = [] } = readRuleSet() ?? {};
  const names = interfaceNames(wanted);
  const uplink = wanted.plan.uplinks[0]?.interface ?? '';
  return chains
    .filter(({ hook, drops }) => hook === INPUT && drops)
    .flatMap((base) => {
      const found = walk(base, uplink, chains, names, 0);
      if (found.accepts) return [];
      const remedy = (port: number) =>
        byIptables(base)
          ? `iptables -I ${base.name} -p udp --dport ${port} -j ACCEPT`
          : `nft insert rule ${base.family} ${base.table} ${base.name} udp dport ${port} accept`;
      return [{ where: `chain ${base.name} of table ${base.family} ${base.table}`, maybe: found.maybe, remedy }];
    });
}

/** The old iptables has its own tables, which only its own program can read. */
function checkLegacy(): Check[] {
  const file = '/proc/net/ip_tables_names';
  let tables: string[];
  try {
    tables = existsSync(file) ? readFileSync(file, 'utf8').split('\n').filter(Boolean) : [];
  } catch {
    // Only root may read it; a service with CAP_NET_ADMIN alone is not root.
    return [
      warn(
        'iptables',
        'whether the old iptables is in use cannot be seen by this user',
        'run "tungate doctor" once as root',
      ),
    ];
  }
  if (tables.length === 0) return [];
  return [
    warn(
      'iptables',
      `the old iptables is in use (${tables.join(', ')}), whose rules cannot be read from here`,
      'look yourself (iptables-legacy-save): no FORWARD policy DROP, no "ctstate INVALID -j DROP", no MASQUERADE with ports of the pool',
    ),
  ];
}

/** `iif` conditions compare indexes, noted as "#4": give names to them. */
function interfaceNames({ world }: Wanted): (condition: InterfaceCondition) => string {
  const byIndex = new Map(world.interfaces.map(({ index, name }) => [`#${index}`, name]));
  return ({ name }) => byIndex.get(name) ?? name;
}

type NameOf = (condition: InterfaceCondition) => string;

function admits(condition: InterfaceCondition | undefined, device: string, nameOf: NameOf): boolean {
  if (!condition) return true;
  const name = nameOf(condition);
  const same = name.endsWith('*') ? device.startsWith(name.slice(0, -1)) : device === name;
  return same !== condition.not;
}

function checkForward(chains: readonly Chain[], tun: string, nameOf: NameOf): Check[] {
  const untracked = chains.some(
    ({ hook, rules }) =>
      hook === PREROUTING && rules.some((rule) => rule.notrack && rule.others === 0 && admits(rule.iif, tun, nameOf)),
  );
  return chains
    .filter(({ hook }) => hook === FORWARD)
    .flatMap((base) => {
      const found = walk(base, tun, chains, nameOf, 0);
      const checks: Check[] = [];
      const where = `chain ${base.name} of table ${base.family} ${base.table}`;
      if (found.invalid && !untracked) {
        checks.push(
          fail(
            'netfilter',
            `${where} drops what conntrack calls invalid${found.invalid === base.name ? '' : ` (in ${found.invalid})`}: translated connections would break`,
            `keep conntrack off the TUN: ${notrackRemedy(base, tun)}`,
          ),
        );
      }
      if (base.drops && !found.accepts) {
        checks.push(
          (found.maybe ? warn : fail)(
            'netfilter',
            `${where} has policy drop and no rule that lets ${tun} through${found.maybe ? ' for certain' : ''}`,
            acceptRemedy(base, tun),
          ),
        );
      }
      return checks;
    });
}

interface Walk {
  /** A packet from the TUN is accepted here, whatever else it is. */
  accepts: boolean;
  /** Some are accepted. */
  maybe: boolean;
  /** Name of the chain that drops invalid ones before that, or ''. */
  invalid: string;
}

/** Follows a packet that came from the TUN, through jumps, until it is accepted for certain. */
function walk(chain: Chain, tun: string, chains: readonly Chain[], nameOf: NameOf, depth: number): Walk {
  const found: Walk = { accepts: false, maybe: false, invalid: '' };
  for (const rule of chain.rules) {
    if (!admits(rule.iif, tun, nameOf)) continue;
    if (dropsInvalid(rule)) found.invalid ||= chain.name;
    const always = rule.others === 0 && !rule.oif && !rule.source && rule.ctStates === undefined;
    if (rule.verdict === 'accept') {
      found.maybe = true;
      if (always) return { ...found, accepts: true };
    } else if ((rule.verdict === 'jump' || rule.verdict === 'goto') && depth < DEEPEST) {
      const next = chains.find(
        (one) => one.name === rule.target && one.table === chain.table && one.family === chain.family,
      );
      const inner = next && walk(next, tun, chains, nameOf, depth + 1);
      if (inner) {
        found.invalid ||= inner.invalid;
        found.maybe ||= inner.maybe || inner.accepts;
        if (always && inner.accepts) return { ...found, accepts: true };
      }
    }
  }
  return found;
}

/** A rule that drops no more than the invalid ones of one protocol is bad enough. */
function dropsInvalid(rule: Rule): boolean {
  if ((rule.ctDropped & CT_INVALID) !== 0) return true;
  return rule.verdict === 'drop' && rule.ctStates !== undefined && (rule.ctStates & CT_INVALID) !== 0;
}

function byIptables({ table, name }: Chain): boolean {
  return table === 'filter' && name === name.toUpperCase();
}

function acceptRemedy(chain: Chain, tun: string): string {
  if (byIptables(chain)) return `iptables -I ${chain.name} -i ${tun} -j ACCEPT`;
  return `nft insert rule ${chain.family} ${chain.table} ${chain.name} iifname "${tun}" accept`;
}

function notrackRemedy(chain: Chain, tun: string): string {
  if (byIptables(chain)) return `iptables -t raw -I PREROUTING -i ${tun} -j CT --notrack`;
  return `nft add table ip tungate_notrack; nft 'add chain ip tungate_notrack raw { type filter hook prerouting priority raw; }'; nft add rule ip tungate_notrack raw iifname "${tun}" notrack`;
}

function checkSourceNat(chains: readonly Chain[], wanted: Wanted, nameOf: NameOf): Check[] {
  const reached = new Set<Chain>();
  for (const base of chains) {
    if (base.hook === POSTROUTING && base.type === 'nat') reach(base, chains, reached);
  }
  return [...reached].flatMap((chain) => chain.rules.flatMap((rule) => judgeNat(chain, rule, wanted, nameOf)));
}

function reach(chain: Chain, chains: readonly Chain[], reached: Set<Chain>): void {
  if (reached.has(chain)) return;
  reached.add(chain);
  for (const rule of chain.rules) {
    const next =
      rule.target &&
      chains.find((one) => one.name === rule.target && one.table === chain.table && one.family === chain.family);
    if (next) reach(next, chains, reached);
  }
}

function judgeNat(chain: Chain, rule: Rule, wanted: Wanted, nameOf: NameOf): Check[] {
  const { nat } = rule;
  if (!nat || fromLan(rule, wanted)) return [];
  const checks: Check[] = [];
  for (const claim of wanted.steering.claims) {
    const uplink = wanted.plan.addresses.find(({ address }) => address === claim.address)?.uplink ?? 0;
    const device = wanted.plan.uplinks[uplink]?.interface ?? '';
    if (!admits(rule.oif, device, nameOf)) continue;
    if (nat.address !== undefined ? nat.address !== claim.address : !claim.shared) continue;
    const claimed = mergePorts([...claim.tcp, ...claim.udp]);
    const shared = nat.ports ? intersectPorts(claimed, [nat.ports]) : claimed;
    if (shared.length > 0) checks.push(overlap(chain, nat.kind, ipv4Text(claim.address), shared, claimed));
  }
  return checks;
}

function overlap(chain: Chain, kind: string, address: string, shared: PortInterval[], claimed: PortInterval[]): Check {
  const to = kind === 'snat' ? `snat to ${address}` : 'masquerade to ';
  const rest = freeRange(claimed);
  const remedy = rest
    ? `give the rule ports of its own (iptables: -p tcp and -p udp, --to-ports ${rest}; nft: meta l4proto { tcp, udp } ${to}:${rest}), or make that network a LAN of the router`
    : 'make that network a LAN of the router, or make the pool smaller: it leaves no ports';
  return fail(
    'netfilter',
    `a ${kind} rule in chain ${chain.name} of table ${chain.family} ${chain.table} may take ports ${shorten(shared)} of ${address}, which belong to the router: answers to that traffic would be lost`,
    remedy,
  );
}

/** The widest range of unprivileged ports that nobody claims. */
function freeRange(claimed: readonly PortInterval[]): string | undefined {
  const free = subtractPorts([{ first: 1024, last: 65_535 }], claimed);
  const widest = free.toSorted((a, b) => b.last - b.first - (a.last - a.first))[0];
  return widest && portsText([widest]);
}

function shorten(ports: readonly PortInterval[]): string {
  const few = portsText(ports.slice(0, 3));
  return ports.length > 3 ? `${few},…` : few;
}

/** A rule left over for a LAN of ours never sees a packet: they do not pass the kernel untranslated. */
function fromLan({ source }: Rule, { plan }: Wanted): boolean {
  return source !== undefined && plan.lans.some(({ subnet }) => ((source.prefix ^ subnet.prefix) & subnet.mask) === 0);
}
