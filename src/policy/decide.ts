/**
 * The decision: what is to become of a packet that belongs to no flow. Asked once a flow, obeyed from the row afterwards.
 *
 * Pure: (tuple, plan) → Decision. It neither reads nor writes flow state: where the answer depends on a mapping (a packet
 * to a pool port) or needs a port (source NAT), it says so and admit does it. Steps, in order:
 *
 *   1 blocked or impossible addresses
 *   2 to a public address: forward · pool port · the host's own
 *   3 from a LAN: to the host · to another LAN · by an uplink (nat rules, own forward's port) · nowhere
 *   4 from the host itself to a far site
 *   5 anything else from outside: refused by name
 *   6 from a peer of a site link: what the link's `access` lists: public address · host · LAN · other peers · an uplink
 *
 * Where a packet came from is told by the link that brought it, and behind the TUN by its source address; the steering filters let nobody
 * speak with another's, and the links' devices no peer.
 *
 * Sites with the same subnet (`map`): the peer's name for one of our addresses is translated address by address, stateless. It stands in the row as any
 * rewrite does, because the row is there anyway: ICMP errors, fragments and checksums follow it without a line of their own, and a packet
 * costs nothing more. At the link's edge it would be one more pass over every packet.
 */

import type { Link, LinkAccess } from '../contract/links.js';
import {
  Filtering,
  type Forward,
  type Lan,
  Mapping,
  type NatRule,
  OWNER_HOST,
  OWNER_POOL,
  OWNER_RESERVED,
  type Plan,
  Proto,
  type PublicAddress,
} from '../contract/plan.js';
import { staticPort } from '../contract/static-ports.js';
import { Verdict } from '../contract/verdict.js';
import { allowedBy, inPrefixes } from './acl.js';
import { RouteTable } from './route.js';
import { Sites } from './sites.js';

/** What admit has to do. */
export const enum Action {
  /** Count `verdict` and forget the packet (a drop, or PUNT). */
  NONE = 0,
  /** A row without rewrite. */
  PLAIN = 1,
  /** Source to a port of `address`: out by an uplink. */
  SNAT = 2,
  /** Destination to `target`:`targetPort`; with `sourceNat` also the source (hairpin, the host itself). */
  DNAT = 3,
  /** To a pool port: ask the mappings. `sourceNat` as above. */
  POOL = 4,
  /** Destination to `target`, source to `source`, ports as they are: prefix translation of a site link. */
  MAP = 5,
}

export class Decision {
  action: number = Action.NONE;
  verdict: number = Verdict.PENDING;
  /** Rule that decided: a forward's or nat rule's id, 0 = none. */
  rule = 0;
  target = 0;
  source = 0;
  targetPort = 0;
  /** DNAT and POOL from a LAN or from the host: the receiver sees P:p of the sender. */
  sourceNat = false;
  /** Index into Policy.addresses that the source is translated to. */
  address = 0;
  /** Port of that address that is the sender's own (its forward's port), or −1: one of the pool. */
  staticPort = -1;
  mapping: number = Mapping.ENDPOINT_INDEPENDENT;
  filtering: number = Filtering.ADDRESS_DEPENDENT;
  /** Out interfaces of what side 0 and side 1 send. */
  out0 = 0;
  out1 = 0;
}

const REST_RULE = {
  rule: 0,
  mapping: Mapping.ENDPOINT_INDEPENDENT,
  filtering: Filtering.ADDRESS_DEPENDENT,
} as const;

/** The plan, made ready for questions. A new plan is a new Policy. */
export class Policy {
  readonly plan: Plan;
  readonly #routes: RouteTable;
  readonly #addressIndex = new Map<number, number>();
  readonly #hostAddresses: Set<number>;
  readonly #forwards = new Map<number, Forward>();
  /** Those of the plan, and behind them the links' own that have a pool. */
  readonly addresses: readonly PublicAddress[];
  readonly #poolIndex = new Map<number, number>();
  readonly sites: Sites;

  constructor(plan: Plan) {
    this.plan = plan;
    this.#routes = new RouteTable(plan.routes);
    this.sites = new Sites(plan, this.#routes);
    this.addresses = [...plan.addresses, ...plan.links.flatMap((link) => (link.pool === null ? [] : [link.pool]))];
    this.addresses.forEach((a, index) => {
      this.#poolIndex.set(a.address, index);
    });
    this.#hostAddresses = new Set(plan.hostAddresses);
    plan.addresses.forEach((a, index) => {
      this.#addressIndex.set(a.address, index);
    });
    for (const forward of plan.forwards) this.#forwards.set(forward.id, forward);
  }

  /** Index into plan.addresses, or −1. */
  addressIndex(address: number): number {
    return this.#addressIndex.get(address) ?? -1;
  }

  /** Index into `addresses`, the links' own included, or −1. */
  poolIndex(address: number): number {
    return this.#poolIndex.get(address) ?? -1;
  }

  /** Is it behind a link? */
  isSite(address: number): boolean {
    return this.sites.from(address) >= 0;
  }

  /** Out interface towards an inside address: of its LAN or its link, or 0: it is the host's. A LAN's may be 0 as well: ask lanOf. */
  outToInside(address: number): number {
    const site = this.sites.to(address);
    return site >= 0 && !this.isHost(address) ? this.sites.linkOf(site).out : (this.lanOf(address)?.out ?? 0);
  }

  forward(id: number): Forward | undefined {
    return this.#forwards.get(id);
  }

  isHost(address: number): boolean {
    return this.#hostAddresses.has(address);
  }

  /** The LAN that an address is in, or undefined. */
  lanOf(address: number): Lan | undefined {
    for (const lan of this.plan.lans) if ((address & lan.subnet.mask) === lan.subnet.prefix) return lan;
    return undefined;
  }

  /**
   * Decides about the first packet of a flow.
   *
   * @param proto IP protocol number; `index` its contract Proto, or −1 for a protocol without ports
   * @param sport,dport ports, or the query id on the side that has it (0 on the other)
   * @param ingress the link that brought it: index into plan.links + 1, or 0: the TUN
   */
  decide(d: Decision, src: number, dst: number, sport: number, dport: number, index: number, ingress = 0): void {
    d.action = Action.NONE;
    d.verdict = Verdict.PENDING;
    d.rule = 0;
    d.sourceNat = false;
    d.staticPort = -1;
    d.mapping = REST_RULE.mapping;
    d.filtering = REST_RULE.filtering;
    const { plan } = this;

    if (plan.blocked.length > 0 && (inPrefixes(plan.blocked, src) || inPrefixes(plan.blocked, dst))) {
      d.verdict = Verdict.BLOCKED;
      return;
    }
    if (ingress > 0) {
      this.#fromLink(d, this.sites.links[ingress - 1]!, src, dst, sport, dport, index, ingress);
      return;
    }
    const to = this.addressIndex(dst);
    const lan = this.lanOf(src);
    const host = this.isHost(src);
    if (!host && this.sites.from(src) >= 0) d.verdict = Verdict.FOREIGN_SOURCE;
    else if (to >= 0) this.#toPublic(d, src, sport, dport, index, to, lan !== undefined, lan?.out ?? 0);
    else if (lan && src !== lan.gateway) this.#fromLan(d, lan, src, dst, sport, index);
    else if (host && !this.isHost(dst) && this.sites.to(dst) >= 0) this.#fromHost(d, src, dst, sport, index);
    else if (this.lanOf(dst)) d.verdict = Verdict.OUTSIDE_TO_LAN;
    else if (this.isHost(dst)) d.verdict = Verdict.PUNT;
    else d.verdict = Verdict.FOREIGN_SOURCE;
  }

  /** `inside`: the sender is a LAN host or a peer, and its packets leave by `back`. */
  #toPublic(
    d: Decision,
    src: number,
    sport: number,
    dport: number,
    index: number,
    to: number,
    inside: boolean,
    back: number,
  ): void {
    const address = this.plan.addresses[to]!;
    const owner = this.#ownerOf(address, index, dport);
    if (owner === OWNER_HOST || owner === OWNER_RESERVED) {
      // Our own sockets hear at each address, also at one that only the TUN has.
      if (address.shared || owner === OWNER_RESERVED) d.verdict = Verdict.PUNT;
      else d.verdict = index < 0 ? Verdict.PROTOCOL : Verdict.NO_MAPPING;
      return;
    }
    // As in #fromLan: the answer would follow the default route out.
    if (inside && back === 0) {
      d.verdict = Verdict.NO_ROUTE;
      return;
    }
    // An inside host or the host itself as the sender: without source NAT the answer would not come back this way.
    const fromHost = !inside && this.isHost(src);
    d.sourceNat = inside || fromHost;
    d.address = to;
    d.out1 = inside ? back : fromHost ? 0 : Math.max(this.#routes.lookup(src), 0);
    if (inside) this.#natRule(d, src, address.address, index);
    d.address = to;
    d.staticPort = inside ? this.staticPort(address, src, sport, index) : -1;

    if (owner === OWNER_POOL) {
      d.action = Action.POOL;
      d.verdict = Verdict.NO_MAPPING;
      return;
    }
    const forward = this.#forwards.get(owner)!;
    d.rule = forward.id;
    if (!allowedBy(forward.from, src)) {
      d.verdict = Verdict.FORWARD_SOURCE;
      return;
    }
    if (forward.out === 0) {
      d.verdict = this.lanOf(forward.target)?.out === 0 ? Verdict.NO_ROUTE : Verdict.NOT_OURS;
      return;
    }
    d.action = Action.DNAT;
    d.target = forward.target;
    d.targetPort =
      index < 0 || index === Proto.ICMP ? 0 : forward.single !== 0 ? forward.single : (dport + forward.offset) & 0xffff;
    d.out0 = forward.out;
    const site = this.sites.to(forward.target);
    if (site >= 0) this.#throughLink(d, this.sites.linkOf(site));
  }

  /** A forward to a target behind a peer: the far side answers to the link's address, hardly to everybody's (it would by its own uplink). */
  #throughLink(d: Decision, link: Link): void {
    const own = link.pool === null ? -1 : this.poolIndex(link.pool.address);
    if (own < 0) return;
    d.sourceNat = true;
    d.address = own;
    d.staticPort = -1;
    // By remote, so that nobody behind the link finds the client by the port.
    d.mapping = Mapping.ENDPOINT_DEPENDENT;
    d.filtering = Filtering.ADDRESS_AND_PORT_DEPENDENT;
  }

  #fromLan(d: Decision, lan: Lan, src: number, dst: number, sport: number, index: number): void {
    if (this.isHost(dst)) {
      d.verdict = Verdict.PUNT;
      return;
    }
    const site = this.sites.to(dst);
    const other = site < 0 ? this.lanOf(dst) : undefined;
    // A LAN that the kernel does not reach by its interface: what is written for it would follow the default route out.
    if (lan.out === 0 || other?.out === 0) {
      d.verdict = Verdict.NO_ROUTE;
      return;
    }
    d.out1 = lan.out;
    if (site >= 0) {
      if (this.sites.linkOf(site).fromLan) this.#toSite(d, site, src, dst);
      else d.verdict = Verdict.LINK_POLICY;
    } else if (other) {
      d.action = Action.PLAIN;
      d.out0 = other.out;
    } else this.#byUplink(d, src, dst, sport, index);
  }

  /** The host itself to a far site; a datagram of a link's own is not to go into a link. */
  #fromHost(d: Decision, src: number, dst: number, sport: number, index: number): void {
    d.out1 = 0;
    if (index === Proto.UDP && this.sites.isLinkPort(sport)) d.verdict = Verdict.LINK_LOOP;
    else this.#toSite(d, this.sites.to(dst), src, dst);
  }

  /** One of ours to a peer: untranslated, or with the address that the peer knows it by. */
  #toSite(d: Decision, site: number, src: number, dst: number): void {
    d.out0 = this.sites.linkOf(site).out;
    d.target = dst;
    d.source = this.sites.seenAs(site, src);
    d.action = d.source === src ? Action.PLAIN : Action.MAP;
  }

  /** Step 6. The device has made sure that the source is the peer's. */
  #fromLink(
    d: Decision,
    link: Link,
    src: number,
    dst: number,
    sport: number,
    dport: number,
    index: number,
    ingress: number,
  ): void {
    d.out1 = link.out;
    d.verdict = Verdict.LINK_POLICY;
    const site = this.sites.to(src);
    // Its allowed IPs may hold more than what is its own.
    if (site >> 16 !== ingress - 1 || this.isHost(src)) {
      d.verdict = Verdict.FOREIGN_SOURCE;
      return;
    }
    const access = this.sites.access(link, src);
    if (access === undefined) return;
    const to = this.addressIndex(dst);
    const owner = to < 0 ? OWNER_HOST : this.#ownerOf(this.plan.addresses[to]!, index, dport);
    if (owner !== OWNER_HOST && owner !== OWNER_RESERVED) {
      if (access.internet || access.lan) this.#toPublic(d, src, sport, dport, index, to, true, link.out);
      return;
    }
    if (to >= 0 || this.isHost(dst)) {
      if (!access.host) return;
      d.action = Action.PLAIN;
      d.out0 = 0;
      return;
    }
    this.#fromPeer(d, access, site, src, dst, sport, index);
  }

  /** To a LAN, another peer, or out by an uplink. */
  #fromPeer(
    d: Decision,
    access: LinkAccess,
    site: number,
    src: number,
    dst: number,
    sport: number,
    index: number,
  ): void {
    const meant = this.sites.meant(site, dst);
    const other = meant === dst ? this.sites.to(dst) : -1;
    if (other >= 0) {
      // Back to the one that it came from: it would come again.
      if (other === site || (access.links & (1 << (other >> 16))) === 0) return;
      d.action = Action.PLAIN;
      d.out0 = this.sites.linkOf(other).out;
      return;
    }
    const lan = this.lanOf(meant);
    if (lan) {
      if (!access.lan) return;
      if (lan.out === 0) {
        d.verdict = Verdict.NO_ROUTE;
        return;
      }
      d.out0 = lan.out;
      d.target = meant;
      d.source = src;
      d.action = meant === dst ? Action.PLAIN : Action.MAP;
      return;
    }
    if (access.internet) this.#byUplink(d, src, dst, sport, index);
  }

  /** By the uplink that the kernel routes it to, translated unless a nat rule says otherwise. `d.out1` is written. */
  #byUplink(d: Decision, src: number, dst: number, sport: number, index: number): void {
    const out = this.#routes.lookup(dst);
    const uplink = out > 0 ? this.plan.interfaces[out]!.uplink : -1;
    if (uplink < 0) {
      d.verdict = out < 0 ? Verdict.NO_ROUTE : Verdict.NOT_OURS;
      return;
    }
    d.out0 = out;
    const rule = this.#natRule(d, src, dst, index);
    if (rule !== undefined && !rule.translate) {
      d.action = Action.PLAIN;
      return;
    }
    const { addresses } = this.plan.uplinks[uplink]!;
    if (addresses.length === 0) {
      d.verdict = Verdict.NO_ROUTE;
      return;
    }
    // All mappings of an inside host use one address (REQ-2, paired pooling).
    d.address = rule !== undefined && rule.address >= 0 ? rule.address : addresses[spread(src) % addresses.length]!;
    for (let i = 0; i < addresses.length; i++) {
      const own = this.staticPort(this.plan.addresses[addresses[i]!]!, src, sport, index);
      if (own < 0) continue;
      d.address = addresses[i]!;
      d.staticPort = own;
      break;
    }
    if (index < 0) {
      // No ports to tell hosts apart: only the host that an `all` forward names may send (1:1).
      const forward = this.#forwards.get(this.plan.addresses[d.address]!.otherForward);
      if (forward === undefined || forward.target !== src) {
        d.verdict = Verdict.PROTOCOL;
        return;
      }
      d.rule = forward.id;
      d.staticPort = 0;
    }
    d.action = Action.SNAT;
  }

  /** Who owns a port (or query id, or the whole protocol) of a public address. */
  #ownerOf(address: PublicAddress, index: number, dport: number): number {
    if (index < 0) return address.otherForward;
    // An ICMP query to P (id on the source side) is the forward's or the host's; an answer (id on ours) is a mapping's.
    if (index === Proto.ICMP && dport === 0) return address.icmpForward;
    return address.owners[index]![dport]!;
  }

  /** First nat rule that matches; its mapping and filtering go into the decision. */
  #natRule(d: Decision, src: number, dst: number, index: number): NatRule | undefined {
    for (const rule of this.plan.nat) {
      if (index >= 0 && (rule.protos & (1 << index)) === 0) continue;
      if (!allowedBy(rule.from, src) || !allowedBy(rule.to, dst)) continue;
      d.rule = rule.id;
      d.mapping = rule.mapping;
      d.filtering = rule.filtering;
      return rule;
    }
    return undefined;
  }

  /** Port of `address` that forwards one to one to X:x, so that what X:x sends leaves by it (REQ-70), or −1. */
  staticPort(address: PublicAddress, src: number, sport: number, index: number): number {
    if (index < 0 || index === Proto.ICMP) return -1;
    return staticPort(address.statics[index]!, src, sport);
  }
}

/** Spreads neighbouring addresses evenly (Knuth's multiplicative hash). */
function spread(address: number): number {
  return Math.imul(address, 0x9e3779b1) >>> 16;
}
