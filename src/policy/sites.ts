/**
 * What is behind which peer of which link, and who of there may begin what. Made once a plan; asked once a flow.
 *
 * An address belongs to a peer when one of the peer's allowed IPs holds it and nothing nearer does. A longer prefix wins, whoever has it: a link, a LAN,
 * or a route of the kernel's. On a tie it depends on who asks. Where a packet is to go, the link wins: a peer with 0.0.0.0/0 takes what the
 * default route would have taken. Whether a sender is a peer's, the uplink or LAN wins: behind the same two defaults is the whole internet, and it
 * goes on speaking to us by the uplink.
 */
import type { Link, LinkAccess, LinkMap } from '../contract/links.js';
import type { Plan, Prefix } from '../contract/plan.js';
import { allowedBy } from './acl.js';
import { RouteTable } from './route.js';

/** In a number: link (index into plan.links) << 16 | peer. */
const PEER = 0xffff;

export class Sites {
  readonly links: readonly Link[];
  readonly #routes: RouteTable;
  readonly #plan: Plan;
  readonly #sites: RouteTable;
  /** UDP ports of the links: a datagram that the host sends from one of them is a link's own. */
  readonly #ports: ReadonlySet<number>;

  constructor(plan: Plan, routes: RouteTable) {
    this.#plan = plan;
    this.#routes = routes;
    this.links = plan.links;
    this.#ports = new Set(plan.links.map((link) => link.listen).filter((port) => port !== 0));
    this.#sites = new RouteTable(
      plan.links.flatMap((link, at) =>
        link.peers.flatMap((peer, p) => peer.allowedIps.map((prefix) => ({ ...prefix, out: (at << 16) | p }))),
      ),
    );
  }

  get none(): boolean {
    return this.links.length === 0;
  }

  isLinkPort(port: number): boolean {
    return this.#ports.has(port);
  }

  /** The site that what is sent to `address` has to go to: a number for linkOf and peerOf, or −1. */
  to(address: number): number {
    if (this.none) return -1;
    const site = this.#sites.lookup(address);
    if (site < 0) return -1;
    const { matched } = this.#sites;
    this.#routes.lookup(address);
    return matched >= Math.max(this.#routes.matched, this.#lanMatched(address)) ? site : -1;
  }

  /** The site that `address` speaks from; what an uplink's or LAN's route is as near to, is theirs. */
  from(address: number): number {
    const site = this.to(address);
    if (site < 0) return -1;
    this.#sites.lookup(address);
    const { matched } = this.#sites;
    const ours = this.#routes.lookup(address) > 0 && this.#routes.matched === matched;
    return ours || this.#lanMatched(address) === matched ? -1 : site;
  }

  linkOf(site: number): Link {
    return this.links[site >> 16]!;
  }

  /** What the peer sees our address as, or the address itself. */
  seenAs(site: number, address: number): number {
    for (const { inside, outside } of this.#maps(site))
      if ((address & inside.mask) === inside.prefix) return outside.prefix | (address & ~inside.mask);
    return address;
  }

  /** The address of ours that the peer means. */
  meant(site: number, address: number): number {
    for (const { inside, outside } of this.#maps(site))
      if ((address & outside.mask) === outside.prefix) return inside.prefix | (address & ~outside.mask);
    return address;
  }

  /** What the sender may begin; undefined: nothing. */
  access(link: Link, src: number): LinkAccess | undefined {
    for (const access of link.access) if (allowedBy(access.from, src)) return access;
    return undefined;
  }

  #maps(site: number): readonly LinkMap[] {
    return this.linkOf(site).peers[site & PEER]!.maps;
  }

  /** Mask of the LAN that the address is in, as an unsigned number; −1: none. A LAN may have no route at the moment. */
  #lanMatched(address: number): number {
    let best = -1;
    for (const { subnet } of this.#plan.lans) if (holds(subnet, address)) best = Math.max(best, subnet.mask >>> 0);
    return best;
  }
}

function holds({ prefix, mask }: Prefix, address: number): boolean {
  return (address & mask) === prefix;
}
