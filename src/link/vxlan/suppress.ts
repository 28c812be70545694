/**
 * ARP and neighbour suppression: a broadcast question whose answer is known does not travel to every site, it is answered on the TAP side, in the slot that it
 * came in (RFC 7342, RFC 9161; what the Linux device calls `proxy`).
 *
 * Answered is only what is safe to answer: an untagged broadcast or multicast question, for an address whose pair is on the REMOTE side and whose MAC address the
 * forwarding table has at a remote. Everything else travels: questions by unicast (they test whether the owner lives), duplicate address detection (the
 * owner must object itself), gratuitous ARP, addresses that are local, unknown or disputed, and whatever is malformed.
 *
 * An IPv6 answer must say whether the owner is a router (hosts drop a default router that denies it), and only its own advertisement tells: solicitations
 * keep a pair alive and never make one. Answers leave the Override flag clear, as proxies do (RFC 4861 §7.2.8).
 */
import { checksum, fold, sum32 } from '../../wire/checksum.js';
import type { Fdb } from './fdb.js';
import { type Inner, Kind } from './inner.js';
import { LOCAL_SIDE, type Neighbours } from './neighbours.js';

const ARP_ETHERNET_IPV4_HI = 0x0001_0800;
const ARP_SIZES = 0x0604;
const REQUEST = 1;
const REPLY = 2;
const ICMPV6 = 58;
const SOLICIT = 135;
const ADVERTISE = 136;
const SOURCE_ADDRESS = 1;
const TARGET_ADDRESS = 2;
const ND_BYTES = 24;
const OPTION_BYTES = 8;
const ROUTER_FLAG = 0x8000_0000 | 0;
const SOLICITED_FLAG = 0x4000_0000;
const NOT_GIVEN = -1;

const ip = new Int32Array(4);

/** Learns the pairs that a frame tells, of hosts on `side`. Untagged frames only: the same address may be another host's in another VLAN. */
export function learnPairs(
  pairs: Neighbours,
  bytes: Uint8Array,
  v: DataView,
  inner: Inner,
  side: number,
  now: number,
): void {
  if (inner.tags !== 0) return;
  if (inner.kind === Kind.ARP) learnArp(pairs, v, inner, side, now);
  else if (inner.proto === ICMPV6 && inner.kind === Kind.IPV6) learnNd(pairs, bytes, v, inner, side, now);
}

/** The answer to the question in the frame at `off`, written over it. Returns its length, 0 = there is none. */
export function answerQuestion(
  pairs: Neighbours,
  fdb: Fdb,
  bytes: Uint8Array,
  v: DataView,
  off: number,
  inner: Inner,
  now: number,
): number {
  if (inner.tags !== 0 || !inner.group) return 0;
  if (inner.kind === Kind.ARP) return answerArp(pairs, fdb, v, off, inner, now);
  if (inner.proto !== ICMPV6 || inner.kind !== Kind.IPV6) return 0;
  return answerNd(pairs, fdb, bytes, v, off, inner, now);
}

// ---- ARP (RFC 826): hardware, protocol, sizes, operation, then sender's and target's MAC and IP address.

function isArp(v: DataView, at: number): boolean {
  return v.getInt32(at) === ARP_ETHERNET_IPV4_HI && v.getUint16(at + 4) === ARP_SIZES;
}

function learnArp(pairs: Neighbours, v: DataView, inner: Inner, side: number, now: number): void {
  const at = inner.l3;
  if (!isArp(v, at)) return;
  const operation = v.getUint16(at + 6);
  if (operation !== REQUEST && operation !== REPLY) return;
  // Who speaks for another (or as a cluster with a shared address) is not an owner whom we could speak for.
  if (v.getUint16(at + 8) !== inner.srcHi || v.getInt32(at + 10) !== inner.srcLo) return;
  const sender = v.getInt32(at + 14);
  if (!unicast4(sender)) return;
  mapped(sender);
  pairs.learn(ip, inner.srcHi, inner.srcLo, side, false, true, now);
}

function answerArp(pairs: Neighbours, fdb: Fdb, v: DataView, off: number, inner: Inner, now: number): number {
  const at = inner.l3;
  if (!isArp(v, at) || v.getUint16(at + 6) !== REQUEST) return 0;
  const sender = v.getInt32(at + 14);
  const target = v.getInt32(at + 24);
  // A probe (RFC 5227) asks with 0.0.0.0; gratuitous ARP asks for itself.
  if (!unicast4(sender) || !unicast4(target) || sender === target) return 0;
  mapped(target);
  const row = answerable(pairs, fdb, inner, now);
  if (row < 0) return 0;
  const [hi, lo] = [pairs.hi(row), pairs.lo(row)];
  const [askHi, askLo] = [v.getUint16(at + 8), v.getInt32(at + 10)];
  addresses(v, off, inner, hi, lo);
  v.setUint16(at + 6, REPLY);
  v.setUint16(at + 8, hi);
  v.setInt32(at + 10, lo);
  v.setInt32(at + 14, target);
  v.setUint16(at + 18, askHi);
  v.setInt32(at + 20, askLo);
  v.setInt32(at + 24, sender);
  return inner.end - off;
}

function unicast4(address: number): boolean {
  const top = address >>> 24;
  return top !== 0 && top !== 127 && top < 224;
}

function mapped(address: number): void {
  ip[0] = 0;
  ip[1] = 0;
  ip[2] = 0xffff;
  ip[3] = address;
}

// ---- Neighbour discovery (RFC 4861 §4.3, 4.4): type, code, checksum, flags, target, then options.

/** ICMPv6 type of a well-formed solicitation or advertisement: right checksum, never forwarded by a router. 0 = it is none. */
function ndType(bytes: Uint8Array, v: DataView, inner: Inner): number {
  const { l3 } = inner;
  const at = l3 + 40;
  const length = v.getUint16(l3 + 4);
  if (length < ND_BYTES || at + length > inner.end || v.getUint8(l3 + 7) !== 255) return 0;
  const type = v.getUint8(at);
  if ((type !== SOLICIT && type !== ADVERTISE) || v.getUint8(at + 1) !== 0 || v.getUint8(at + 8) === 0xff) return 0;
  return checksum(bytes, at, length, pseudo6(v, l3, length)) === 0xffff ? type : 0;
}

/** Offset of the link-layer address in the option `wanted`; NOT_GIVEN also when the options are malformed. */
function linkAddress(v: DataView, l3: number, wanted: number): number {
  const end = l3 + 40 + v.getUint16(l3 + 4);
  let at = l3 + 40 + ND_BYTES;
  while (at + OPTION_BYTES <= end) {
    const size = v.getUint8(at + 1) * 8;
    if (size === 0 || at + size > end) return NOT_GIVEN;
    if (v.getUint8(at) === wanted) return size === OPTION_BYTES ? at + 2 : NOT_GIVEN;
    at += size;
  }
  return NOT_GIVEN;
}

function learnNd(pairs: Neighbours, bytes: Uint8Array, v: DataView, inner: Inner, side: number, now: number): void {
  const type = ndType(bytes, v, inner);
  if (type === 0) return;
  const { l3 } = inner;
  const advertised = type === ADVERTISE;
  const option = linkAddress(v, l3, advertised ? TARGET_ADDRESS : SOURCE_ADDRESS);
  if (option === NOT_GIVEN) return;
  if (v.getUint16(option) !== inner.srcHi || v.getInt32(option + 2) !== inner.srcLo) return;
  const at = advertised ? l3 + 48 : l3 + 8;
  if (!readIpv6(v, at)) return;
  const router = advertised && v.getInt32(l3 + 44) < 0;
  // On the TAP side the pair is only there so that it is not answered: a solicitation is as good.
  pairs.learn(ip, inner.srcHi, inner.srcLo, side, router, advertised || side === LOCAL_SIDE, now);
}

function answerNd(
  pairs: Neighbours,
  fdb: Fdb,
  bytes: Uint8Array,
  v: DataView,
  off: number,
  inner: Inner,
  now: number,
): number {
  const { l3 } = inner;
  if (ndType(bytes, v, inner) !== SOLICIT) return 0;
  // Without a source it is duplicate address detection, which only the owner may answer. The option's room is needed for ours.
  if (!readIpv6(v, l3 + 8) || linkAddress(v, l3, SOURCE_ADDRESS) === NOT_GIVEN) return 0;
  if (!readIpv6(v, l3 + 48)) return 0;
  const row = answerable(pairs, fdb, inner, now);
  if (row < 0) return 0;
  const [hi, lo] = [pairs.hi(row), pairs.lo(row)];
  addresses(v, off, inner, hi, lo);
  const length = ND_BYTES + OPTION_BYTES;
  v.setUint16(l3 + 4, length);
  for (let i = 0; i < 16; i += 4) {
    v.setInt32(l3 + 24 + i, v.getInt32(l3 + 8 + i));
    v.setInt32(l3 + 8 + i, v.getInt32(l3 + 48 + i));
  }
  const at = l3 + 40;
  v.setUint16(at, ADVERTISE << 8);
  v.setUint16(at + 2, 0);
  v.setInt32(at + 4, SOLICITED_FLAG | (pairs.router(row) ? ROUTER_FLAG : 0));
  v.setUint16(at + ND_BYTES, (TARGET_ADDRESS << 8) | 1);
  v.setUint16(at + ND_BYTES + 2, hi);
  v.setInt32(at + ND_BYTES + 4, lo);
  v.setUint16(at + 2, ~checksum(bytes, at, length, pseudo6(v, l3, length)) & 0xffff);
  return at + length - off;
}

/** Reads an address to `ip`. False: unspecified or multicast. */
function readIpv6(v: DataView, at: number): boolean {
  for (let i = 0; i < 4; i++) ip[i] = v.getInt32(at + 4 * i);
  return v.getUint8(at) !== 0xff && (ip[0]! | ip[1]! | ip[2]! | ip[3]!) !== 0;
}

function pseudo6(v: DataView, l3: number, length: number): number {
  let sum = ICMPV6 + length;
  for (let i = 8; i < 40; i += 4) sum += sum32(v.getInt32(l3 + i));
  return fold(sum);
}

// ---- Both.

/** Row of the pair for `ip` that may be answered to the frame's sender, or −1. */
function answerable(pairs: Neighbours, fdb: Fdb, inner: Inner, now: number): number {
  const row = pairs.find(ip, now);
  if (row < 0 || pairs.side(row) === LOCAL_SIDE) return -1;
  const [hi, lo] = [pairs.hi(row), pairs.lo(row)];
  if (hi === inner.srcHi && lo === inner.srcLo) return -1;
  // LOCAL or unknown: the owner has moved here, or nobody knows where it is.
  return fdb.find(hi, lo, now) >= 0 ? row : -1;
}

/** The answer goes back to who asked, from the owner. */
function addresses(v: DataView, off: number, inner: Inner, hi: number, lo: number): void {
  v.setUint16(off, inner.srcHi);
  v.setInt32(off + 2, inner.srcLo);
  v.setUint16(off + 6, hi);
  v.setInt32(off + 8, lo);
}
