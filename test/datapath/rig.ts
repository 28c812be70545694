/**
 * The engine on a memory link: no kernel, no clock of its own.
 *
 *   client A 172.22.161.170 ─┐                       ┌─ server 198.51.100.10
 *   client B 172.22.161.20  ─┴ LAN 172.22.161.0/24 ─ router P=203.0.113.10 ─ internet
 *   client C 10.7.0.5 ───────  LAN 10.7.0.0/24     ─┘
 */

import { Batch } from '../../src/batch.js';
import { Counter, counterView, newCounters } from '../../src/contract/counters.js';
import {
  Filtering,
  type Forward,
  Mapping,
  type NatRule,
  OWNER_POOL,
  type Plan,
  type Prefix,
  type PublicAddress,
  poolBits,
} from '../../src/contract/plan.js';
import { staticPorts } from '../../src/contract/static-ports.js';
import { tableLayout } from '../../src/contract/table-layout.js';
import { VERDICTS } from '../../src/contract/verdict.js';
import { cycle } from '../../src/datapath/cycle.js';
import { Engine } from '../../src/datapath/engine.js';
import { openTable } from '../../src/flow/open.js';
import { MemoryLink } from '../../src/link/index.js';
import { native } from '../../src/native.js';
import { ip } from '../lib-packets.js';

export const P = '203.0.113.10';
export const A = '172.22.161.170';
export const B = '172.22.161.20';
export const C = '10.7.0.5';
export const GATEWAY = '172.22.161.1';
export const SERVER = '198.51.100.10';
export const OTHER = '192.0.2.77';

export function prefix(text: string): Prefix {
  const [address, length] = text.split('/');
  const mask = length === '0' ? 0 : (-1 << (32 - Number(length ?? 32))) | 0;
  return { prefix: ip(address!) & mask, mask };
}

export interface ForwardSpec {
  first: number;
  last?: number;
  to: string;
  toPort?: number;
  single?: boolean;
  protos?: ('tcp' | 'udp' | 'icmp' | 'other')[];
  from?: string[];
  maxFlows?: number;
  maxRate?: number;
}

export interface RigOptions {
  pool?: [number, number];
  forwards?: ForwardSpec[];
  nat?: Partial<NatRule>[];
  flows?: number;
  perHost?: number;
  shared?: boolean;
  helpers?: string[];
  mtu?: { wan?: number; lan?: number };
  change?: (plan: Plan) => Plan;
}

/** A plan by hand, without config: what compile would make of the topology above. */
export function makePlan(o: RigOptions = {}, generation = 1): Plan {
  const [first, last] = o.pool ?? [20000, 49999];
  const owners = [0, 1, 2].map(() => new Uint16Array(65536)) as [Uint16Array, Uint16Array, Uint16Array];
  for (const owner of owners) owner.fill(OWNER_POOL, first, last + 1);
  let icmpForward = 0;
  let otherForward = 0;
  const forwards: Forward[] = (o.forwards ?? []).map((f, i) => {
    const id = i + 1;
    const end = f.last ?? f.first;
    const protos = f.protos ?? ['tcp'];
    if (protos.includes('tcp')) owners[0].fill(id, f.first, end + 1);
    if (protos.includes('udp')) owners[1].fill(id, f.first, end + 1);
    if (protos.includes('icmp')) icmpForward = id;
    if (protos.includes('other')) otherForward = id;
    const toPort = f.toPort ?? f.first;
    return {
      id,
      name: `f${id}`,
      origin: `test:${id}:1`,
      addresses: [0],
      target: ip(f.to),
      offset: toPort - f.first,
      single: f.single ? toPort : 0,
      out: f.to.startsWith('10.7.') ? 3 : 2,
      from: (f.from ?? []).map(prefix),
      maxFlows: f.maxFlows ?? 0,
      maxRate: f.maxRate ?? 0,
    };
  });
  const plan: Plan = {
    generation,
    interfaces: [
      { name: '', mtu: 65535, uplink: -1, lan: -1 },
      { name: 'wan', mtu: o.mtu?.wan ?? 1500, uplink: 0, lan: -1 },
      { name: 'lan', mtu: o.mtu?.lan ?? 1500, uplink: -1, lan: 0 },
      { name: 'lan2', mtu: 1500, uplink: -1, lan: 1 },
    ],
    uplinks: [{ interface: 'wan', out: 1, addresses: [0] }],
    addresses: [
      withOwners({ address: ip(P), uplink: 0, shared: o.shared ?? true, icmpForward, otherForward }, owners, forwards),
    ],
    lans: [
      { interface: 'lan', out: 2, subnet: prefix('172.22.161.0/24'), gateway: ip(GATEWAY) },
      { interface: 'lan2', out: 3, subnet: prefix('10.7.0.0/24'), gateway: ip('10.7.0.1') },
    ],
    forwards,
    nat: (o.nat ?? []).map((rule, i) => ({
      id: 1000 + i,
      name: `nat${i}`,
      origin: `test:${i}:1`,
      from: [],
      to: [],
      protos: 7,
      translate: true,
      mapping: Mapping.ENDPOINT_INDEPENDENT,
      filtering: Filtering.ADDRESS_DEPENDENT,
      address: -1,
      ...rule,
    })),
    links: [],
    ipv6: null,
    routes: [
      { ...prefix('172.22.161.0/24'), out: 2 },
      { ...prefix('10.7.0.0/24'), out: 3 },
      { ...prefix('203.0.113.0/24'), out: 1 },
      { ...prefix('172.17.0.0/16'), out: 0 },
      { prefix: 0, mask: 0, out: 1 },
    ],
    hostAddresses: [P, GATEWAY, '10.7.0.1', '127.0.0.1'].map(ip),
    blocked: [],
    timeouts: {
      udp: 300,
      dns: 10,
      tcpEstablished: 7440,
      tcpOpening: 240,
      tcpClosing: 240,
      unanswered: 30,
      icmp: 60,
      hold: 120,
      fragment: 30,
    },
    perHost: o.perHost ?? 0,
    perHostFlows: 0,
    perHostRate: 0,
    rejectUnsolicited: false,
    translationLog: 'off',
    portBlocks: 0,
    inboundRefresh: false,
    parity: true,
    helpers: o.helpers ?? [],
  };
  return o.change ? o.change(plan) : plan;
}

/** A public address whose ports have these owners. */
export function withOwners(
  rest: Omit<PublicAddress, 'owners' | 'pool' | 'poolSize' | 'statics'>,
  owners: PublicAddress['owners'],
  forwards: readonly Forward[] = [],
): PublicAddress {
  const count = (owner: Uint16Array) => owner.filter((who) => who === OWNER_POOL).length;
  const [tcp, udp, icmp] = owners;
  return {
    ...rest,
    owners,
    pool: [poolBits(tcp), poolBits(udp), poolBits(icmp)],
    poolSize: [count(tcp), count(udp), count(icmp)],
    statics: [staticPorts(tcp, forwards), staticPorts(udp, forwards)],
  };
}

export class Rig {
  readonly engine: Engine;
  readonly counters: Float64Array;
  readonly link: MemoryLink;
  readonly batch = new Batch();
  /** Milliseconds; tests turn it. */
  now = 1_000_000;

  constructor(o: RigOptions = {}) {
    const flows = o.flows ?? 4096;
    this.counters = counterView(newCounters());
    const { table } = openTable(
      native.mapAnonymous(tableLayout(flows).bytes),
      flows,
      new Int32Array(4),
      this.now / 1000,
      native,
    );
    table.quarantine = 0;
    this.engine = new Engine(table, makePlan(o), this.counters);
    this.link = new MemoryLink('rig', () => this.now);
  }

  /** Passes packets through one or more cycles; returns what came out. */
  pass(...packets: (Uint8Array | { bytes: Uint8Array; vnet: Uint8Array })[]): Uint8Array[] {
    return this.passWithVnet(...packets).map((packet) => packet.bytes);
  }

  passWithVnet(
    ...packets: (Uint8Array | { bytes: Uint8Array; vnet: Uint8Array })[]
  ): { bytes: Uint8Array; vnet: Uint8Array }[] {
    for (const p of packets) p instanceof Uint8Array ? this.link.push(p) : this.link.push(p.bytes, p.vnet);
    while (cycle(this.engine, this.link, this.batch) > 0);
    return this.link.sent.splice(0);
  }

  /** Sweeps the whole table, as the worker does over SWEEP_SECONDS. */
  advance(seconds: number): void {
    this.now += seconds * 1000;
    const before = this.engine.sweeper.flows;
    for (let i = 0; i < 60; i++) this.engine.sweeper.step(Math.floor(this.now / 1000), this.engine.plan.timeouts);
    this.engine.fragments.sweep(Math.floor(this.now / 1000), this.engine.plan.timeouts.fragment);
    this.counters[Counter.FLOWS_ENDED]! += this.engine.sweeper.flows - before;
  }

  /** Counts of every verdict that is not 0, by name. */
  verdicts(): Record<string, number> {
    const result: Record<string, number> = {};
    VERDICTS.forEach((v, id) => {
      const n = this.counters[Counter.VERDICT + id]!;
      if (n > 0) result[v.name] = n;
    });
    return result;
  }
}
