/**
 * From `Steering` to filters: which interface, which hook, drop or redirect, and the program. Pure.
 *
 *   LAN ingress     drop      a source that the engine must not see: an address of the host or of P, another LAN's; any source
 *                             but this LAN's own to a claimed port (the engine knows LAN senders by their address alone)
 *                   redirect  everything, except to the host (unless claimed: hairpin), broadcast, multicast, `foreign`
 *   (On uplinks a far site's addresses are as a LAN's: what is theirs goes by their link or not at all.)
 *   uplink ingress  drop      to or from a LAN address; from an address of the host or of P (the kernel would call it
 *                             martian, the engine would take it for the host); not what is for `untranslated`
 *                   redirect  what is claimed: fragments and ICMP to P, TCP and UDP to claimed ports; a P not shared: all;
 *                             to a LAN address: so no moment of a reload lets such a packet into the kernel
 *   uplink egress   drop      from or to a LAN address: whatever state the LANs' own filters are in. An interface that is made
 *                             again is routed by the kernel, where ip_forward is on, until it has its filters; one that is away
 *                             leaves its subnet to the default route
 *                   redirect  ICMP errors that the kernel made and that quote a LAN address (a forward to a dead VM)
 *   lo egress       redirect  what is claimed, ICMP excepted: the host reaches its own forwards by P, and the ports of VMs
 *                             behind P too (REQ-10). Pool ports are taken along with forwards: otherwise the host's kernel
 *                             would answer on them with RST (REQ-67). No socket of the host may sit there anyway, and its
 *                             automatic ports are kept out of the pool, so no conversation of the host with itself is hit.
 *                             ICMP errors to P that quote a claimed source port: a translated packet was refused.
 *                             An error that quotes one of the host's own ports stays, LAN address or not: it is the host's.
 *
 * IPv6 has programs of its own (steer-ipv6.ts). Whatever is not named here is none of our business and goes on to the next filter and into the kernel. IPsec tunnels
 * that end on the host hand their decrypted packets to the uplink's ingress hook again: to a LAN they are dropped there.
 *
 * Size. The kernel takes 4096 instructions, but until 6.8 it cannot delete a filter whose description does not fit one page, and
 * `tc monitor` cannot show it; so there a program ends at MAX_PROGRAM, and at LARGEST_PROGRAM on a kernel that can. A packet meets the
 * filters one after the other, so fewer are better: 10,000 forwards, every second port, are 5 filters on a LAN, where they were 36 before ports
 * that stand close were bits (intervals.ts). What is longer becomes several filters: first one a
 * clause, then each clause is halved by address or port range, again and again. The halves are always at the same
 * places and give the filter its handle. So an update creates the slices that are new, swaps those that stay, deletes
 * the others last, and at no moment a packet that is meant before and after finds no slice that means it.
 */
import type { SteeringIpv6 } from '../contract/ipv6.js';
import type { Steering } from '../contract/steering.js';
import { Assembler, type Instruction, type Label } from './bpf.js';
import { ADDRESSES_END, addressPair, complement, difference, merge, prefixPair, union } from './intervals.js';
import {
  type Clause,
  claimClause,
  destinationClause,
  emitDropHead,
  emitEgressHead,
  emitIngressHead,
  groupClaims,
  quotedAddressClause,
  quotedClaimClause,
  type Slice,
  sourceClause,
  WHOLE,
} from './steer-clauses.js';
import { type Ipv6Program, lanPrograms, uplinkPrograms } from './steer-ipv6.js';

/** Instructions: 3 KiB, which leaves room for the rest of the description in one page. */
export const MAX_PROGRAM = 384;
/** Instructions where the kernel makes its descriptions as long as they need to be: with the rest below the 32 KiB of one message. */
export const LARGEST_PROGRAM = 3000;

/** The loopback interface has this index in every network namespace. */
export const LOOPBACK_INDEX = 1;

/** Handles of filters that drop have this bit. */
export const DROP_HANDLES = 0x8000_0000;

const TC_ACT_SHOT = 2;
/** TC_ACT_UNSPEC (−1): the next filter looks. As the result of a filter with an action: matches. */
const UNSPEC = 0xffffffff;
const MATCH = 0xffffffff;
const NO_MATCH = 0;

const IPV6_PART = 15;

export type Hook = 'ingress' | 'egress';

export interface SteeringFilter {
  readonly interface: string;
  readonly index: number;
  readonly hook: Hook;
  readonly action: 'drop' | 'redirect';
  /** Tells action and slice (see handleOf); unique for interface and hook. */
  readonly handle: number;
  readonly program: readonly Instruction[];
}

/** The heads, by what they are for. */
type Head = 'lan-drop' | 'uplink-drop' | 'guard' | 'ingress' | 'egress' | 'egress-born';

const isDrop = (head: Head): boolean => head === 'lan-drop' || head === 'uplink-drop' || head === 'guard';

/** All filters, in the order in which they go in: LANs first, and drop before redirect. Taken out in reverse. */
export function steeringFilters(steering: Steering, largest = MAX_PROGRAM): SteeringFilter[] {
  checkInterfaces(steering);
  const groups = groupClaims(steering.claims);
  const claimed = union(steering.claims.map(({ address }) => addressPair(address)));
  const host = union(steering.hostAddresses.map(addressPair));
  const lanSubnets = union(steering.lanSubnets.map(prefixPair));
  const ours = merge(host, claimed);
  const sites = union(steering.sites.map(prefixPair));
  const inside = merge(lanSubnets, sites);
  const closed = difference(inside, union(steering.untranslated.map(prefixPair)));

  const filters: SteeringFilter[] = [];
  const add = (at: { interface: string; index: number }, hook: Hook, head: Head, clauses: readonly Clause[]): void => {
    const action = isDrop(head) ? 'drop' : 'redirect';
    for (const { handle, program } of slicedPrograms(head, clauses, largest)) {
      filters.push({ interface: at.interface, index: at.index, hook, action, handle, program });
    }
  };

  const kept = complement(merge(host, neverOurs(steering)), ADDRESSES_END);
  for (const lan of steering.lans) {
    const own = union(lan.subnets.map(prefixPair));
    const spoofed = merge(ours, difference(lanSubnets, own));
    add(lan, 'ingress', 'lan-drop', [sourceClause(spoofed), claimClause(groups, true, own)]);
    add(lan, 'ingress', 'ingress', [claimClause(groups, true), destinationClause(difference(kept, claimed))]);
  }
  for (const uplink of steering.uplinks) {
    add(uplink, 'ingress', 'uplink-drop', [sourceClause(merge(ours, inside)), destinationClause(closed)]);
    add(uplink, 'egress', 'guard', [sourceClause(closed), destinationClause(inside)]);
    add(uplink, 'egress', 'egress-born', [quotedAddressClause(inside)]);
    add(uplink, 'ingress', 'ingress', [claimClause(groups, true), destinationClause(lanSubnets)]);
  }
  if (steering.ipv6 !== null) filters.push(...ipv6Filters(steering, steering.ipv6));
  const loopback = { interface: 'lo', index: LOOPBACK_INDEX };
  add(loopback, 'egress', 'egress', [claimClause(groups, false), quotedClaimClause(groups)]);
  return filters;
}

/** Theirs are the handles of part 15, which no clause has. */
function ipv6Filters({ uplinks }: Steering, ipv6: SteeringIpv6): SteeringFilter[] {
  const results = { drop: { yes: TC_ACT_SHOT, no: UNSPEC }, redirect: { yes: MATCH, no: NO_MATCH } };
  const filter = (at: { interface: string; index: number }, { action, part, program }: Ipv6Program): SteeringFilter => {
    const handle = ((action === 'drop' ? DROP_HANDLES : 0) | (IPV6_PART << 27) | (part + 1)) >>> 0;
    return { interface: at.interface, index: at.index, hook: 'ingress', action, handle, program };
  };
  return [
    ...ipv6.lans.flatMap((lan) => lanPrograms(ipv6, lan.prefixes, results).map((one) => filter(lan, one))),
    ...uplinks.flatMap((uplink) => uplinkPrograms(ipv6, results.drop).map((one) => filter(uplink, one))),
  ];
}

/** Destinations that stay in the kernel beside the host's own addresses. */
function neverOurs({ lanSubnets, foreign }: Steering): number[] {
  const directedBroadcasts = lanSubnets
    .filter(({ mask }) => ~mask >>> 0 > 1)
    .map(({ prefix, mask }) => addressPair(prefix | ~mask));
  const multicast: [number, number] = [0xe0000000, 0xf0000000];
  const loopback: [number, number] = [0x7f000000, 0x80000000];
  return [...union([addressPair(0xffffffff), ...directedBroadcasts, multicast, loopback, ...foreign.map(prefixPair)])];
}

function checkInterfaces({ lans, uplinks, tun }: Steering): void {
  const seen = new Map<number, string>([
    [tun, 'the TUN'],
    [LOOPBACK_INDEX, 'the loopback interface'],
  ]);
  for (const [role, list] of [
    ['a LAN', lans],
    ['an uplink', uplinks],
  ] as const) {
    for (const { interface: name, index } of list) {
      const other = seen.get(index);
      if (other)
        throw new Error(`interface ${name} is ${role} and ${other} at once; each needs an interface of its own`);
      seen.set(index, role);
    }
  }
}

// ---- Slices.

/** Numbers of halves: 1 is the whole, 2n and 2n + 1 are the halves of n. */
interface Path {
  readonly addresses: number;
  readonly ports: number;
}

interface Numbered {
  readonly handle: number;
  readonly program: Instruction[];
}

/**
 * One program with all clauses where it fits, else programs for slices of each clause, the shortest last: the kernel puts a new filter in front of the others,
 * and what is short means wide ranges, such as the pool, where most packets go. With two dozen filters a stream in had 39 Gb/s instead of 33 (with one: 40).
 */
function slicedPrograms(head: Head, clauses: readonly Clause[], largest: number): Numbered[] {
  const meant = clauses.filter((clause) => !isEmpty(clause, WHOLE));
  // The head of a program that drops what comes in does something on its own (priority tags).
  if (meant.length === 0 && head !== 'lan-drop' && head !== 'uplink-drop') return [];
  const program = buildProgram(head, meant, WHOLE);
  if (program.length <= largest) return [{ handle: handleOf(head, 0, { addresses: 1, ports: 1 }), program }];
  return clauses
    .flatMap((clause, i) => halve(head, clause, i + 1, WHOLE, { addresses: 1, ports: 1 }, largest))
    .sort((one, other) => other.program.length - one.program.length);
}

function halve(head: Head, clause: Clause, part: number, slice: Slice, path: Path, largest: number): Numbered[] {
  if (isEmpty(clause, slice)) return [];
  const program = buildProgram(head, [clause], slice);
  if (program.length <= largest) return [{ handle: handleOf(head, part, path), program }];
  const weight = clause.weigh(slice);
  const by = weight.ports > weight.addresses ? 'ports' : 'addresses';
  const [from, to] = slice[by];
  if (to - from < 2) throw new Error(`a steering program of ${program.length} instructions cannot be divided further`);
  const middle = (from + to) / 2;
  return [
    ...halve(head, clause, part, { ...slice, [by]: [from, middle] }, { ...path, [by]: path[by] * 2 }, largest),
    ...halve(head, clause, part, { ...slice, [by]: [middle, to] }, { ...path, [by]: path[by] * 2 + 1 }, largest),
  ];
}

function isEmpty(clause: Clause, slice: Slice): boolean {
  const { addresses, ports } = clause.weigh(slice);
  return addresses + ports === 0;
}

/**
 * 32 bits: 1 for drop, part (4), then either 0 and the address path (26), or 1, the address path (9) and the port path (17).
 */
function handleOf(head: Head, part: number, { addresses, ports }: Path): number {
  const fits = ports === 1 ? addresses < 1 << 26 : addresses < 1 << 9;
  if (!fits) throw new Error('the public addresses have too many different port lists to steer by; use equal lists');
  const slice = ports === 1 ? addresses : (1 << 26) | (addresses << 17) | ports;
  return ((isDrop(head) ? DROP_HANDLES : 0) | (part << 27) | slice) >>> 0;
}

function buildProgram(head: Head, clauses: readonly Clause[], slice: Slice): Instruction[] {
  const asm = new Assembler();
  const yes = asm.label('yes');
  const no = asm.label('no');
  emitHead(asm, head, yes, no);
  if (clauses.length === 0) asm.ja(no);
  clauses.forEach((clause, i) => {
    const next = i + 1 < clauses.length ? asm.label('next clause') : no;
    clause.emit(asm, slice, yes, next);
    if (next !== no) asm.place(next);
  });
  asm.place(yes);
  asm.ret(isDrop(head) ? TC_ACT_SHOT : MATCH);
  asm.place(no);
  asm.ret(isDrop(head) ? UNSPEC : NO_MATCH);
  return asm.assemble();
}

function emitHead(asm: Assembler, head: Head, yes: Label, no: Label): void {
  if (head === 'ingress') emitIngressHead(asm, no);
  else if (head === 'egress' || head === 'egress-born' || head === 'guard')
    emitEgressHead(asm, head === 'egress-born', no);
  else emitDropHead(asm, head === 'lan-drop', yes, no);
}
