/**
 * Stage 2½, IPv6 between LANs and site links: what parse has set aside as not IPv4, where the plan carries IPv6 at all.
 *
 * Theory of operation. There is no IPv6 state: no row, no mapping, nothing is translated. So the decision is taken for each packet (a GSO packet counts as
 * one), from its two addresses: whose each of them is says one look-up of the longest prefix, in a trie that holds the peers' allowed IPs, the LANs'
 * prefixes, the host's own addresses, and what else the host is connected to. Since nobody knows who began, a pair of addresses is allowed both ways or not at all: both
 * are asked of the same entry of the far side's `policy`, and two links must list each other. The host itself may always send; what it gets, `host` allows.
 *
 * What comes by the TUN is told by its source, as for IPv4: a LAN's, or the host's own (steering lets no LAN host have that one). What comes by a link
 * has passed the peer's allowed IPs, and must be nobody nearer's.
 *
 * Hop limit: one less for what leaves by a link; what leaves by the TUN the kernel routes, and it counts that hop. Layer 4 is looked at only to lower the MSS of
 * a SYN, so fragments and extension headers pass; nothing has a checksum to be mended but that.
 */
import { type Batch, Ctl, VNET_BYTES } from '../batch.js';
import { Counter } from '../contract/counters.js';
import type { Ipv6Plan, Prefix6, Words6 } from '../contract/ipv6.js';
import type { Plan } from '../contract/plan.js';
import { Verdict } from '../contract/verdict.js';
import { PrefixTrie } from '../link/index.js';
import { Icmpv6Type, Unreachable6 } from '../wire/icmpv6.js';
import { IPPROTO } from '../wire/ipv4.js';
import { decrementHopLimit, IPV6_MIN_MTU, Ipv6, impossibleSource6, isMulticast6, upperLayer } from '../wire/ipv6.js';
import { clampMss, Tcp, TcpFlag, tcpHeaderBytes } from '../wire/tcp.js';
import { Udp } from '../wire/udp.js';
import { Gso, Vnet, VnetFlag } from '../wire/vnet.js';
import type { Engine } from './engine.js';
import { replyError6 } from './reply-ipv6.js';

/** Whose an address is: kind, with an index into Plan.links or Ipv6Plan.lans; −1 = nobody's that is known. */
const enum Whose {
  LINK = 0,
  LAN = 0x10000,
  HOST = 0x20000,
  FOREIGN = 0x30000,
  KIND = 0xff0000,
  INDEX = 0xffff,
  NOBODY = -1,
}

/** IPv6 and TCP header without options (REQ-45). */
const MSS_HEADERS = 60;
/** First two bytes of a vnet header: what asks for something. */
const OFFLOADS = (VnetFlag.NEEDS_CSUM << 8) | 0xff;

/** Access6 made ready. */
interface Access {
  /** null: everybody. */
  readonly from: PrefixTrie | null;
  readonly lan: boolean;
  readonly host: boolean;
  readonly links: number;
}

export class Ipv6Sites {
  readonly plan: Ipv6Plan;
  readonly #whose = new PrefixTrie(4);
  readonly #access: readonly (readonly Access[])[];
  /** UDP ports of the links: what the host sends from one is a link's own. */
  readonly #ports: ReadonlySet<number>;
  /** Out index of each link. */
  readonly #outs: readonly number[];
  /** Of the packet at hand. */
  readonly src = new Int32Array(4);
  readonly dst = new Int32Array(4);
  /** Place and kind of its layer 4 (`upperLayer`), and its size on the wire. */
  #upper = -1;
  #wire = 0;
  /** Way out, out index of where answers go, and whether it is a hop: what `#way` has found. */
  #site = 0;
  #out = 0;
  #hop = true;

  constructor(plan: Ipv6Plan, { links }: Plan) {
    this.plan = plan;
    // On a tie the later one stays: what is nearer to us.
    for (const prefix of plan.foreign) this.#set(prefix, Whose.FOREIGN);
    for (const { prefix, link } of plan.sites) this.#set(prefix, Whose.LINK | link);
    plan.lans.forEach(({ prefix }, at) => {
      this.#set(prefix, Whose.LAN | at);
    });
    for (const words of plan.hosts) this.#set({ words, length: 128 }, Whose.HOST);
    this.#access = plan.links.map(({ access }) =>
      access.map(({ from, lan, host, links }) => ({ from: from.length === 0 ? null : trieOf(from), lan, host, links })),
    );
    this.#ports = new Set(links.map(({ listen }) => listen).filter((port) => port !== 0));
    this.#outs = links.map(({ out }) => out);
  }

  #set({ words, length }: Prefix6, value: number): void {
    this.#whose.set(Int32Array.from(words), 0, length, value);
  }

  /** Gives each IPv6 packet in the batch its verdict, and its way out. */
  walk(engine: Engine, batch: Batch): void {
    const { verdict, view, off, count } = batch;
    for (let i = 0; i < count; i++)
      if (verdict[i] === Verdict.NOT_IPV4 && view.getUint8(off[i]!) >>> 4 === 6)
        verdict[i] = this.#one(engine, batch, i);
  }

  #one(engine: Engine, batch: Batch, i: number): number {
    const { view } = batch;
    const off = batch.off[i]!;
    if (batch.len[i]! < Ipv6.BYTES) return Verdict.TRUNCATED;
    const total = view.getUint16(off + Ipv6.LENGTH) + Ipv6.BYTES;
    if (total > batch.len[i]!) return Verdict.TRUNCATED;
    batch.len[i] = total;
    if (isMulticast6(view, off + Ipv6.DST)) return Verdict.MULTICAST;
    if (impossibleSource6(view, off + Ipv6.SRC) || impossibleSource6(view, off + Ipv6.DST)) return Verdict.BAD_ADDRESS;
    this.#upper = upperLayer(view, off, off + total);
    if (!this.#offloads(engine, batch, i)) return Verdict.BAD_VNET_HEADER;

    const verdict = this.#way(engine, batch, i);
    if (verdict !== Verdict.FORWARD) return verdict;
    const mtu = engine.mtus[this.#out]!;
    if (this.#hop && view.getUint8(off + Ipv6.HOP_LIMIT) <= 1) {
      replyError6(engine, this, batch, i, Icmpv6Type.TIME_EXCEEDED, 0, 0, this.#upper);
      return Verdict.TTL_EXPIRED;
    }
    if (mtu === 0) {
      replyError6(engine, this, batch, i, Icmpv6Type.UNREACHABLE, Unreachable6.NO_ROUTE, 0, this.#upper);
      return Verdict.NO_ROUTE;
    }
    if (this.#wire > mtu) {
      // A link that is narrower than IPv6 allows cannot say so: nobody would send less (RFC 8201 §4).
      const least = Math.max(mtu, IPV6_MIN_MTU);
      if (this.#wire > least) replyError6(engine, this, batch, i, Icmpv6Type.TOO_BIG, 0, least, this.#upper);
      return Verdict.TOO_BIG;
    }
    this.#clamp(engine, batch, i, mtu);
    if (this.#site !== 0 && this.#hop) decrementHopLimit(view, off);
    batch.out[i] = this.#site;
    return Verdict.FORWARD;
  }

  /** From where to where, and may it? FORWARD with #site, #out and #hop, or why not. */
  #way(engine: Engine, batch: Batch, i: number): number {
    const { view } = batch;
    const off = batch.off[i]!;
    read(view, off + Ipv6.SRC, this.src);
    read(view, off + Ipv6.DST, this.dst);
    const from = this.#whose.find(this.src, 0);
    const to = this.#whose.find(this.dst, 0);
    const ingress = batch.ctl[Ctl.INGRESS]!;
    this.#site = 0;
    this.#out = 0;
    this.#hop = true;
    if (ingress === 0 ? kind(from) !== Whose.LAN && kind(from) !== Whose.HOST : from !== (Whose.LINK | (ingress - 1)))
      return Verdict.FOREIGN_SOURCE;

    let allowed = false;
    if (kind(to) === Whose.LINK) {
      this.#site = to + 1;
      this.#out = this.#outs[to]!;
      const there = this.#accessOf(to, this.dst);
      if (ingress !== 0) {
        const here = this.#accessOf(from, this.src);
        allowed = here !== null && there !== null && lists(here, to) && lists(there, from);
      } else if (kind(from) === Whose.HOST) {
        this.#hop = false;
        if (this.#isLoop(view, off)) return Verdict.LINK_LOOP;
        allowed = true;
      } else allowed = there?.lan === true;
    } else if (ingress !== 0 && kind(to) === Whose.LAN) {
      allowed = this.#accessOf(from, this.src)?.lan === true;
      const { out } = this.plan.lans[to & Whose.INDEX]!;
      if (allowed && out === 0) return this.#nowhere(engine, batch, i);
      this.#out = out;
    } else if (ingress !== 0 && kind(to) === Whose.HOST) {
      this.#hop = false;
      allowed = this.#accessOf(from, this.src)?.host === true;
    } else return this.#nowhere(engine, batch, i);
    if (allowed) return Verdict.FORWARD;
    replyError6(engine, this, batch, i, Icmpv6Type.UNREACHABLE, Unreachable6.ADMIN, 0, this.#upper);
    return Verdict.LINK_POLICY;
  }

  #nowhere(engine: Engine, batch: Batch, i: number): number {
    replyError6(engine, this, batch, i, Icmpv6Type.UNREACHABLE, Unreachable6.NO_ROUTE, 0, this.#upper);
    return Verdict.NO_ROUTE;
  }

  #accessOf(link: number, far: Int32Array): Access | null {
    const list = this.#access[link]!;
    for (let n = 0; n < list.length; n++) {
      const access = list[n]!;
      if (access.from === null || access.from.find(far, 0) >= 0) return access;
    }
    return null;
  }

  /** Our own address as the sender of the packet at hand knows it; null: we have none to speak with. */
  ownFor(ingress: number): Words6 | null {
    const { links, lans } = this.plan;
    const own = ingress > 0 ? links[ingress - 1]!.address : null;
    if (own !== null) return own;
    const from = this.#whose.find(this.src, 0);
    if (kind(from) === Whose.LAN) {
      const { out, gateway } = lans[from & Whose.INDEX]!;
      // What is written for a LAN that the kernel does not reach would follow another route out.
      return out === 0 ? null : gateway;
    }
    for (let n = 0; n < links.length; n++) if (links[n]!.address !== null) return links[n]!.address;
    for (let n = 0; n < lans.length; n++) if (lans[n]!.gateway !== null) return lans[n]!.gateway;
    return null;
  }

  /** A datagram of a link's own, which some route leads back into it. */
  #isLoop(view: DataView, off: number): boolean {
    if ((this.#upper & 0xff) !== IPPROTO.UDP || this.#upper < 0) return false;
    return this.#ports.has(view.getUint16(off + (this.#upper >>> 8)));
  }

  /** Can the vnet header be meant for this packet? Finds its size on the wire. */
  #offloads(engine: Engine, batch: Batch, i: number): boolean {
    const { view } = batch;
    const off = batch.off[i]!;
    const vnet = off - VNET_BYTES;
    this.#wire = batch.len[i]!;
    if ((view.getUint16(vnet) & OFFLOADS) === 0) return true;
    const l4 = this.#upper >>> 8;
    const proto = this.#upper & 0xff;
    const room = batch.len[i]! - l4;
    const tcp = proto === IPPROTO.TCP;
    // A guest chooses the place of the sum: with any other, something else in the packet would be overwritten.
    if (this.#upper < 0 || (!tcp && proto !== IPPROTO.UDP) || room < (tcp ? Tcp.BYTES : Udp.BYTES)) return false;
    if ((view.getUint8(vnet + Vnet.FLAGS) & VnetFlag.NEEDS_CSUM) === 0) return false;
    if (view.getUint16(vnet + Vnet.CSUM_START, true) !== l4) return false;
    if (view.getUint16(vnet + Vnet.CSUM_OFFSET, true) !== (tcp ? Tcp.CHECKSUM : Udp.CHECKSUM)) return false;
    const gso = view.getUint8(vnet + Vnet.GSO_TYPE) & ~Gso.ECN;
    if (gso === Gso.NONE) return true;
    const size = view.getUint16(vnet + Vnet.GSO_SIZE, true);
    const head = tcp ? tcpHeaderBytes(view, off + l4) : Udp.BYTES;
    if (gso !== (tcp ? Gso.TCPV6 : Gso.UDP_L4) || size === 0 || head > room || (tcp && head < Tcp.BYTES)) return false;
    this.#wire = Math.min(this.#wire, l4 + head + size);
    engine.counters[Counter.RX_SEGMENTS]! += Math.max(0, Math.ceil((room - head) / size) - 1);
    return true;
  }

  /** Lowers the MSS of a SYN to what both ways carry. */
  #clamp(engine: Engine, batch: Batch, i: number, mtu: number): void {
    if ((this.#upper & 0xff) !== IPPROTO.TCP || this.#upper < 0) return;
    const { view } = batch;
    const off = batch.off[i]!;
    const l4 = off + (this.#upper >>> 8);
    const room = off + batch.len[i]! - l4;
    if (room < Tcp.BYTES || (view.getUint8(l4 + Tcp.FLAGS) & TcpFlag.SYN) === 0) return;
    if (tcpHeaderBytes(view, l4) > room || tcpHeaderBytes(view, l4) < Tcp.BYTES) return;
    const ingress = batch.ctl[Ctl.INGRESS]!;
    const back = ingress === 0 ? this.#backOut() : this.#outs[ingress - 1]!;
    const partial = (view.getUint8(off - VNET_BYTES + Vnet.FLAGS) & VnetFlag.NEEDS_CSUM) !== 0;
    clampMss(view, l4, Math.min(mtu, engine.mtus[back] || mtu) - MSS_HEADERS, partial);
  }

  /** Out index of the LAN that the packet comes from; 0: the host. */
  #backOut(): number {
    const from = this.#whose.find(this.src, 0);
    return kind(from) === Whose.LAN ? this.plan.lans[from & Whose.INDEX]!.out : 0;
  }
}

function trieOf(prefixes: readonly Prefix6[]): PrefixTrie {
  const trie = new PrefixTrie(4);
  for (const { words, length } of prefixes) trie.set(Int32Array.from(words), 0, length, 0);
  return trie;
}

function kind(whose: number): number {
  return whose < 0 ? Whose.NOBODY : whose & Whose.KIND;
}

function lists({ links }: Access, link: number): boolean {
  return ((links >>> link) & 1) !== 0;
}

function read(view: DataView, at: number, words: Int32Array): void {
  for (let n = 0; n < 4; n++) words[n] = view.getInt32(at + 4 * n);
}
