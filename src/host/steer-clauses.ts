/**
 * What steering programs are made of: heads that say which packets are looked at, and clauses that say which of those
 * are meant. A program is one head and some clauses; a packet is meant when any clause says so.
 *
 * X points at the IP header, as a value for `[x + k]` loads, and M[0] keeps it. On Ethernet and loopback X is 14, an ordinary
 * offset. SKF_NET_OFF would do on every link, but before Linux 6.16 it sees only the linear part of the packet's memory; a VM can
 * make its tap device build packets with next to nothing there, the load would end the program with "no match", and
 * the packet would be past. On other links (PPP, TUN) there is no MAC header or an unknown one, and X is SKF_NET_OFF.
 *
 * Clauses must be divisible: a slice is a part of the address space and of the port space, and a clause emits the code for
 * what lies in it. The whole is the union of the slices, so a slice may be a filter of its own (steer-programs.ts).
 */
import type { Claim } from '../contract/steering.js';
import { Ancillary, type Assembler, type Label, SKF_NET_OFF } from './bpf.js';
import {
  ADDRESSES_END,
  addressPair,
  emitMember,
  emitPortMember,
  type IntervalSet,
  merge,
  PORTS_END,
  portSet,
  union,
  within,
} from './intervals.js';

/** Half-open ranges. Conditions that do not speak of ports belong to the slices with port 0. */
export interface Slice {
  readonly addresses: readonly [number, number];
  readonly ports: readonly [number, number];
}

export const WHOLE: Slice = { addresses: [0, ADDRESSES_END], ports: [0, PORTS_END] };

export interface Clause {
  /** Boundaries of address and of port intervals in the slice: where the code's length comes from. Both 0: nothing is meant. */
  weigh(slice: Slice): { readonly addresses: number; readonly ports: number };
  /** Jumps to `yes` or `no`; may spoil A and X. Not called where weigh() says nothing. */
  emit(asm: Assembler, slice: Slice, yes: Label, no: Label): void;
}

// Ethernet and IPv4 by the numbers.
const ETH_P_IP = 0x0800;
const ETH_P_8021Q = 0x8100;
const ETH_P_8021AD = 0x88a8;
const ARPHRD_ETHER = 1;
const ARPHRD_LOOPBACK = 772;
const ETHERNET_BYTES = 14;
const PACKET_HOST = 0;
const VLAN_ID = 0x0fff;
const FRAGMENT = 0x3fff;
const ICMP = 1;
const TCP = 6;
const UDP = 17;
/** Offsets in the IPv4 header. */
const FRAG = 6;
const PROTO = 9;
const SRC = 12;
const DST = 16;
/** ICMP errors: unreachable, time exceeded, parameter problem. The kernel quotes behind their 8-byte header. */
const ERROR_TYPES = [3, 11, 12];
const ICMP_HEADER = 8;

const IP_SLOT = 0;

// ---- Heads. Each leaves X (and M[0]) at the IP header and falls through, or jumps away.

function emitBase(asm: Assembler): void {
  const ethernet = asm.label('ethernet');
  const done = asm.label('ip header');
  asm.ancillary(Ancillary.HATYPE);
  asm.jeq(ARPHRD_ETHER, ethernet, null);
  asm.jeq(ARPHRD_LOOPBACK, ethernet, null);
  asm.setX(SKF_NET_OFF);
  asm.ja(done);
  asm.place(ethernet);
  asm.setX(ETHERNET_BYTES);
  asm.place(done);
  asm.storeX(IP_SLOT);
}

/**
 * IPv4 (or `protocol`) for this host's MAC address, untagged; X is at the IP header. A tag with VLAN id 0 carries a priority only: the kernel strips it and
 * takes the packet as untagged, so such packets are meant too (the TUN writes the tag into them, and the engine drops them).
 */
export function emitIngressHead(asm: Assembler, no: Label, protocol = ETH_P_IP): void {
  const untagged = asm.label('untagged');
  asm.ancillary(Ancillary.PROTOCOL);
  asm.jeq(protocol, null, no);
  asm.ancillary(Ancillary.PKTTYPE);
  asm.jeq(PACKET_HOST, null, no);
  asm.ancillary(Ancillary.VLAN_TAG_PRESENT);
  asm.jeq(0, untagged, null);
  asm.ancillary(Ancillary.VLAN_TAG);
  asm.and(VLAN_ID);
  asm.jeq(0, null, no);
  asm.place(untagged);
  emitBase(asm);
}

/**
 * As above, for filters that drop. Two tags with VLAN id 0 are stripped by the kernel as well, one behind the other, and
 * behind the second one no filter looks: dropped. `strict` (LANs): so is IPv4 behind a single one.
 */
export function emitDropHead(asm: Assembler, strict: boolean, yes: Label, no: Label): void {
  const tagged = asm.label('priority tagged');
  const twice = asm.label('tagged twice');
  const clauses = asm.label('clauses');
  asm.ancillary(Ancillary.PKTTYPE);
  asm.jeq(PACKET_HOST, null, no);
  emitBase(asm);
  asm.ancillary(Ancillary.VLAN_TAG_PRESENT);
  asm.jeq(0, null, tagged);
  asm.ancillary(Ancillary.PROTOCOL);
  asm.jeq(ETH_P_IP, clauses, no);
  asm.place(tagged);
  asm.ancillary(Ancillary.VLAN_TAG);
  asm.and(VLAN_ID);
  asm.jeq(0, null, no);
  asm.ancillary(Ancillary.PROTOCOL);
  asm.jeq(ETH_P_IP, strict ? yes : clauses, null);
  asm.jeq(ETH_P_8021Q, twice, null);
  asm.jeq(ETH_P_8021AD, twice, no);
  asm.place(twice);
  asm.load('h', 0);
  asm.and(VLAN_ID);
  asm.jeq(0, yes, no);
  asm.place(clauses);
}

/**
 * IPv4 on its way out. `born`: only what this kernel made itself. A packet that came in by a device, the TUN too, still
 * bears the number of the receive queue (plus one); one that the kernel made has none.
 */
export function emitEgressHead(asm: Assembler, born: boolean, no: Label): void {
  asm.ancillary(Ancillary.PROTOCOL);
  asm.jeq(ETH_P_IP, null, no);
  if (born) {
    asm.ancillary(Ancillary.QUEUE);
    asm.jeq(0, null, no);
  }
  emitBase(asm);
}

// ---- Clauses.

const cut = (set: IntervalSet, slice: Slice): IntervalSet => within(set, ...slice.addresses);
const hasPortZero = (slice: Slice): boolean => slice.ports[0] === 0;

/** The address at `offset` of the IP header is in the set. */
function addressClause(set: IntervalSet, offset: number): Clause {
  return {
    weigh: (slice) => ({ addresses: hasPortZero(slice) ? cut(set, slice).length : 0, ports: 0 }),
    emit(asm, slice, yes, no) {
      asm.loadX(IP_SLOT);
      asm.load('w', offset);
      emitMember(asm, cut(set, slice), ADDRESSES_END, yes, no);
    },
  };
}

export const sourceClause = (set: IntervalSet): Clause => addressClause(set, SRC);
export const destinationClause = (set: IntervalSet): Clause => addressClause(set, DST);

/** Public addresses with the same lists share one copy of the code. */
export interface ClaimGroup {
  readonly addresses: IntervalSet;
  readonly shared: boolean;
  readonly tcp: IntervalSet;
  readonly udp: IntervalSet;
  readonly other: boolean;
}

export function groupClaims(claims: readonly Claim[]): ClaimGroup[] {
  const groups = new Map<string, ClaimGroup>();
  for (const claim of claims) {
    const group = {
      addresses: union([addressPair(claim.address)]),
      shared: claim.shared,
      tcp: claim.shared ? portSet(claim.tcp) : [],
      udp: claim.shared ? portSet(claim.udp) : [],
      other: claim.shared && claim.other,
    };
    const key = JSON.stringify([group.shared, group.tcp, group.udp, group.other]);
    const known = groups.get(key)?.addresses ?? [];
    groups.set(key, { ...group, addresses: merge(known, group.addresses) });
  }
  return [...groups.values()];
}

/** How a header is compared with the claims: by its destination, or (the quote in an error) by its source. */
interface Side {
  readonly address: number;
  readonly port: number;
  readonly icmp: boolean;
}

function weighGroups(groups: readonly ClaimGroup[], slice: Slice): { addresses: number; ports: number } {
  let addresses = 0;
  let ports = 0;
  for (const group of groups) {
    const here = cut(group.addresses, slice).length;
    const inner = within(group.tcp, ...slice.ports).length + within(group.udp, ...slice.ports).length;
    if (here === 0 || (inner === 0 && !hasPortZero(slice))) continue;
    addresses += here;
    ports += inner;
  }
  return { addresses, ports };
}

/** Compares the header at X with the claims. Spoils X. */
function emitGroups(
  asm: Assembler,
  groups: readonly ClaimGroup[],
  side: Side,
  slice: Slice,
  yes: Label,
  no: Label,
): void {
  const meant = groups.filter((group) => {
    const weight = weighGroups([group], slice);
    return weight.addresses > 0;
  });
  asm.load('w', side.address);
  meant.forEach((group, i) => {
    const found = asm.label('claim');
    const next = i + 1 < meant.length ? asm.label('next claim') : no;
    emitMember(asm, cut(group.addresses, slice), ADDRESSES_END, found, next);
    asm.place(found);
    emitGroup(asm, group, side, slice, yes, no);
    if (next !== no) asm.place(next);
  });
}

function emitGroup(asm: Assembler, group: ClaimGroup, side: Side, slice: Slice, yes: Label, no: Label): void {
  const base = hasPortZero(slice);
  if (!group.shared) {
    asm.ja(base ? yes : no);
    return;
  }
  const tcp = within(group.tcp, ...slice.ports);
  const udp = within(group.udp, ...slice.ports);
  const same = JSON.stringify(tcp) === JSON.stringify(udp);
  const tcpPorts = asm.label('tcp ports');
  const udpPorts = same ? tcpPorts : asm.label('udp ports');
  asm.load('h', FRAG);
  asm.jset(FRAGMENT, base ? yes : no, null);
  asm.load('b', PROTO);
  asm.jeq(TCP, tcpPorts, null);
  asm.jeq(UDP, udpPorts, null);
  asm.jeq(ICMP, base && side.icmp ? yes : no, base && group.other ? yes : no);
  asm.place(tcpPorts);
  emitPort(asm, tcp, side.port, yes, no);
  if (same) return;
  asm.place(udpPorts);
  emitPort(asm, udp, side.port, yes, no);
}

function emitPort(asm: Assembler, ports: IntervalSet, offset: number, yes: Label, no: Label): void {
  if (ports.length > 0) {
    emitPayload(asm, 0);
    asm.load('h', offset);
  }
  emitPortMember(asm, ports, yes, no);
}

/** X ← what stands `extra` bytes behind the IP header at X, whose length is in its own first byte. */
function emitPayload(asm: Assembler, extra: number): void {
  asm.load('b', 0);
  asm.and(0x0f);
  asm.shiftLeft(2);
  asm.addX();
  if (extra > 0) asm.add(extra);
  asm.tax();
}

/**
 * Goes to P and is claimed. `icmp` false: ICMP stays, where P is shared. `exceptFrom`: not when the source is in this set.
 */
export function claimClause(groups: readonly ClaimGroup[], icmp: boolean, exceptFrom: IntervalSet = []): Clause {
  return {
    weigh: (slice) => weighGroups(groups, slice),
    emit(asm, slice, yes, no) {
      asm.loadX(IP_SLOT);
      if (exceptFrom.length > 0) {
        const stranger = asm.label('stranger');
        asm.load('w', SRC);
        emitMember(asm, exceptFrom, ADDRESSES_END, no, stranger);
        asm.place(stranger);
      }
      emitGroups(asm, groups, { address: DST, port: 2, icmp }, slice, yes, no);
    },
  };
}

/** An unfragmented ICMP error; leaves X at the quoted IP header. */
function emitErrorQuote(asm: Assembler, no: Label): void {
  const quoted = asm.label('quote');
  asm.load('b', PROTO);
  asm.jeq(ICMP, null, no);
  asm.load('h', FRAG);
  asm.jset(FRAGMENT, no, null);
  emitPayload(asm, 0);
  asm.load('b', 0);
  ERROR_TYPES.forEach((type, i) => {
    asm.jeq(type, quoted, i + 1 < ERROR_TYPES.length ? null : no);
  });
  asm.place(quoted);
  // `tax` and `txa` cost as much as adding to each offset, but then a quote reads like any other header.
  asm.txa();
  asm.add(ICMP_HEADER);
  asm.tax();
}

/** An ICMP error that quotes an address of the set, on either side. */
export function quotedAddressClause(set: IntervalSet): Clause {
  return {
    weigh: (slice) => ({ addresses: hasPortZero(slice) ? cut(set, slice).length : 0, ports: 0 }),
    emit(asm, slice, yes, no) {
      const target = asm.label('quoted destination');
      asm.loadX(IP_SLOT);
      emitErrorQuote(asm, no);
      asm.load('w', SRC);
      emitMember(asm, cut(set, slice), ADDRESSES_END, yes, target);
      asm.place(target);
      asm.load('w', DST);
      emitMember(asm, cut(set, slice), ADDRESSES_END, yes, no);
    },
  };
}

/** An ICMP error to P about a packet that was sent from a claimed port of P: one of ours, which the kernel refused. */
export function quotedClaimClause(groups: readonly ClaimGroup[]): Clause {
  const shared = groups.filter((group) => group.shared);
  const addresses = shared.reduce<IntervalSet>((sum, group) => merge(sum, group.addresses), []);
  return {
    weigh: (slice) => weighGroups(shared, slice),
    emit(asm, slice, yes, no) {
      const toClaim = asm.label('to a claimed address');
      asm.loadX(IP_SLOT);
      asm.load('w', DST);
      emitMember(asm, addresses, ADDRESSES_END, toClaim, no);
      asm.place(toClaim);
      emitErrorQuote(asm, no);
      emitGroups(asm, shared, { address: SRC, port: 0, icmp: true }, slice, yes, no);
    },
  };
}
