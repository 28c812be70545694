/**
 * Two routers and their LANs, joined by a site link: each an engine between memory (its TUN) and a UDP socket on 127.0.0.1. The clock is the test's.
 *
 *   A 172.22.161.170 ─ LAN ─ router "near" P=203.0.113.10  10.99.0.1 ═══ WireGuard ═══ 10.99.0.2  router "far" P=203.0.113.20 ─ LAN 192.168.20.0/24 ─ D .5
 */
import { randomBytes } from 'node:crypto';
import { Batch } from '../../src/batch.js';
import type { Link, LinkAccess, LinkPeer } from '../../src/contract/links.js';
import type { FromWorker } from '../../src/contract/mailbox.js';
import { OWNER_POOL, type Plan } from '../../src/contract/plan.js';
import { Header } from '../../src/contract/table-layout.js';
import { parsePrefix6 } from '../../src/control/address-ipv6.js';
import { cycler } from '../../src/datapath/cycle.js';
import { Links } from '../../src/datapath/links.js';
import { MemoryLink } from '../../src/link/index.js';
import { clamp, publicKeyOf } from '../../src/link/wireguard/index.js';
import { ip } from '../lib-packets.js';
import { makePlan, P, prefix, Rig, type RigOptions, withOwners } from './rig.js';

export const D = '192.168.20.5';
export const FAR_P = '203.0.113.20';
export const NEAR = '10.99.0.1';
export const FAR = '10.99.0.2';
/** Out index of the first link. */
export const LINK_OUT = 4;
/** Of a path of 1500 bytes over IPv4. */
export const LINK_MTU = 1440;

export const ALL: LinkAccess = { from: [], lan: true, internet: true, host: true, links: -1 };

export interface Keys {
  readonly secret: Uint8Array;
  readonly public: Uint8Array;
}

export function newKeys(): Keys {
  const secret = new Uint8Array(randomBytes(32));
  clamp(secret);
  return { secret, public: publicKeyOf(secret) };
}

export const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex');
export const base64 = (bytes: Uint8Array): string => Buffer.from(bytes).toString('base64');

export interface PeerSpec {
  readonly keys: Keys;
  readonly allowed: readonly string[];
  readonly maps?: readonly [inside: string, outside: string][];
}

export interface LinkSpec {
  readonly name?: string;
  readonly address: string;
  readonly peers: readonly PeerSpec[];
  readonly access?: readonly LinkAccess[];
  readonly fromLan?: boolean;
  readonly pool?: boolean;
  readonly mtu?: number;
}

/** Adds links to a plan. */
export function withLinks(plan: Plan, specs: readonly LinkSpec[]): Plan {
  const interfaces = [...plan.interfaces];
  const links = specs.map((spec): Link => {
    const name = spec.name ?? 'hq';
    interfaces.push({ name, mtu: spec.mtu ?? LINK_MTU, uplink: -1, lan: -1 });
    const owners = [0, 1, 2].map(() => new Uint16Array(65536).fill(OWNER_POOL, 20000, 50000));
    return {
      name,
      origin: 'test:1:1',
      out: interfaces.length - 1,
      listen: 0,
      mark: 0,
      address: ip(spec.address),
      pool: spec.pool
        ? withOwners(
            { address: ip(spec.address), uplink: -1, shared: true, icmpForward: 0, otherForward: 0 },
            owners as unknown as [Uint16Array, Uint16Array, Uint16Array],
          )
        : null,
      peers: spec.peers.map(
        (peer, at): LinkPeer => ({
          name: `peer${at}`,
          publicKey: base64(peer.keys.public),
          allowedIps: peer.allowed.filter((text) => !text.includes(':')).map(prefix),
          allowedIps6: peer.allowed.filter((text) => text.includes(':')).map(parsePrefix6),
          maps: (peer.maps ?? []).map(([inside, outside]) => ({ inside: prefix(inside), outside: prefix(outside) })),
        }),
      ),
      access: spec.access ?? [ALL],
      fromLan: spec.fromLan ?? true,
    };
  });
  const hostAddresses = [...plan.hostAddresses, ...specs.map(({ address }) => ip(address))];
  return { ...plan, interfaces, links, hostAddresses };
}

/** The far router's plan: other addresses in the same places. */
export function farPlan(subnet = '192.168.20.0/24', gateway = '192.168.20.1', o: RigOptions = {}): Plan {
  const plan = makePlan(o);
  const lan = prefix(subnet);
  return {
    ...plan,
    addresses: [{ ...plan.addresses[0]!, address: ip(FAR_P) }],
    lans: [{ interface: 'lan', out: 2, subnet: lan, gateway: ip(gateway) }],
    routes: [
      { ...lan, out: 2 },
      { ...prefix('203.0.113.0/24'), out: 1 },
      { prefix: 0, mask: 0, out: 1 },
    ],
    hostAddresses: [FAR_P, gateway, '127.0.0.1'].map(ip),
  };
}

/** An engine with its links. */
export class Router {
  readonly rig: Rig;
  readonly links: Links;
  readonly tun: MemoryLink;
  readonly told: FromWorker[] = [];
  readonly #step: () => number;

  constructor(
    plan: Plan,
    readonly clock: { now: number },
    readonly keys: Keys = newKeys(),
    { handOver = -1, owner = true }: { handOver?: number; owner?: boolean } = {},
  ) {
    this.rig = new Rig({ change: () => plan });
    this.tun = new MemoryLink('tun', () => clock.now);
    this.links = new Links(this.tun, {
      tell: (message) => this.told.push(message),
      mtus: this.rig.engine.table.header.subarray(Header.LINK_MTUS),
      handOver,
      owner,
    });
    this.rig.engine.sites = this.links;
    this.#step = cycler(this.rig.engine, this.links, new Batch());
    this.links.setPlan(plan, clock.now);
  }

  get plan(): Plan {
    return this.rig.engine.plan;
  }

  port(name = 'hq'): number {
    return this.links.status().find((link) => link.name === name)!.port;
  }

  ask(text: string, name = 'hq'): string {
    return this.links.answer(name, text, this.clock.now).text;
  }

  /** Gives the device its key and the peer. */
  know(peer: PeerSpec, endpoint?: string, name = 'hq'): void {
    const lines = [
      `private_key=${hex(this.keys.secret)}`,
      `public_key=${hex(peer.keys.public)}`,
      'replace_allowed_ips=true',
      ...peer.allowed.map((text) => `allowed_ip=${text}`),
      ...(endpoint === undefined ? [] : [`endpoint=${endpoint}`]),
    ];
    const answer = this.ask(`set=1\n${lines.join('\n')}\n`, name);
    if (answer !== 'errno=0\n\n') throw new Error(answer);
  }

  /** One round: what the TUN has, what the sockets have. */
  round(): number {
    const { now } = this.clock;
    let packets = 0;
    for (let n = this.#step(); n > 0; n = this.#step()) packets += n;
    if (this.links.any) packets += this.links.turn(this.#step, now);
    this.links.tick(now);
    this.rig.engine.followLinkMtus();
    return packets;
  }

  /** What one look at the sockets brings. */
  turn(): number {
    const packets = this.links.turn(this.#step, this.clock.now);
    this.links.tick(this.clock.now);
    return packets;
  }

  setPlan(plan: Plan): void {
    this.rig.engine.setPlan(plan);
    this.links.setPlan(plan, this.clock.now);
  }

  close(): void {
    this.links.close();
  }
}

const idle = new Int32Array(new SharedArrayBuffer(4));

/**
 * Runs all until nothing moves any more. Datagrams on 127.0.0.1 are mostly there as soon as they are sent, but a busy kernel may put it off; and
 * handshakes bring no packet: hence quiet rounds, and a little sleep in them.
 */
export function settle(...routers: Router[]): void {
  for (let quiet = 0; quiet < 10; ) {
    quiet = routers.reduce((sum, router) => sum + router.round(), 0) > 0 ? 0 : quiet + 1;
    if (quiet > 3) Atomics.wait(idle, 0, 0, 3);
  }
}

export interface Pair {
  readonly near: Router;
  readonly far: Router;
  readonly clock: { now: number };
}

export interface PairOptions {
  readonly near?: Partial<LinkSpec> & { readonly plan?: Plan };
  readonly far?: Partial<LinkSpec> & { readonly plan?: Plan };
  /** Allowed IPs: what near sends to far, and far to near. */
  readonly allowedFar?: readonly string[];
  readonly allowedNear?: readonly string[];
  readonly nearMaps?: readonly [string, string][];
  readonly farMaps?: readonly [string, string][];
}

/** The two of the picture; each knows the other, and near begins. */
export function makePair(o: PairOptions = {}): Pair {
  const clock = { now: 1_000_000 };
  const [nearKeys, farKeys] = [newKeys(), newKeys()];
  const toFar: PeerSpec = {
    keys: farKeys,
    allowed: o.allowedFar ?? [`${FAR}/32`, '192.168.20.0/24'],
    maps: o.nearMaps ?? [],
  };
  const toNear: PeerSpec = {
    keys: nearKeys,
    allowed: o.allowedNear ?? [`${NEAR}/32`, '172.22.161.0/24'],
    maps: o.farMaps ?? [],
  };
  const near = new Router(
    withLinks(o.near?.plan ?? makePlan(), [{ address: NEAR, peers: [toFar], ...o.near }]),
    clock,
    nearKeys,
  );
  const far = new Router(
    withLinks(o.far?.plan ?? farPlan(), [{ address: FAR, peers: [toNear], ...o.far }]),
    clock,
    farKeys,
  );
  far.know(toNear);
  near.know(toFar, `127.0.0.1:${far.port()}`);
  settle(near, far);
  return { near, far, clock };
}

export { P };
