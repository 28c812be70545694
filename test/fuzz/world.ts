/**
 * Who speaks in the fuzzer, and the plans under which.
 *
 *   LAN 172.22.161.0/24, 10.7.0.0/24 ─ router P, P2 ─ internet; 192.168.50.0/24 is reached without NAT where a rule says so
 *
 * A plan is a number: each bit turns one thing. So a reload is a bit that changes, and a whole run fits into a few numbers.
 */
import { Filtering, Mapping, OWNER_HOST, OWNER_POOL, type Plan } from '../../src/contract/plan.js';
import { A, B, C, GATEWAY, makePlan, OTHER, P, prefix, type RigOptions, SERVER, withOwners } from '../datapath/rig.js';
import { ip } from '../lib-packets.js';

export const P2 = '203.0.113.11';

export const PUBLIC = [P, P2].map(ip);
export const HOST = [P, P2, GATEWAY, '10.7.0.1'].map(ip);
export const INSIDE = [A, B, C, '172.22.161.2', '172.22.161.3', '172.22.161.4', '10.7.0.6', '10.7.0.7'].map(ip);
/** On the LAN's wire, but of no LAN's subnet. */
export const STRANGERS = ['10.99.0.1', '172.22.162.9', '192.168.1.1'].map(ip);
export const NO_NAT = ['192.168.50.5', '192.168.50.6'].map(ip);
export const OUTSIDE = [
  ...[SERVER, OTHER, '8.8.8.8', '1.1.1.1', '198.51.100.11', '198.51.100.12', '203.0.113.1', '100.64.3.3'].map(ip),
  ...NO_NAT,
];
/** Subnet of the second LAN, which a plan may lose. */
export const LAN2 = prefix('10.7.0.0/24');
/** Never right, as source or as destination. */
export const ODD = ['0.0.0.0', '127.0.0.1', '255.255.255.255', '224.0.0.1', '240.0.0.1', '172.17.0.2', '0.1.2.3'].map(
  ip,
);

const LANS = ['172.22.161.0/24', '10.7.0.0/24'].map(prefix);
const DOCKER = prefix('172.17.0.0/16');
const WITHOUT_NAT = prefix('192.168.50.0/24');

export function inLan(address: number): boolean {
  return LANS.some((lan) => (address & lan.mask) === lan.prefix);
}

export function isPublic(address: number): boolean {
  return PUBLIC.includes(address);
}

/** The router's own: P, P2, gateways. */
export function isOurs(address: number): boolean {
  return HOST.includes(address);
}

export function isNoNat(address: number): boolean {
  return (address & WITHOUT_NAT.mask) === WITHOUT_NAT.prefix;
}

export function isOutside(address: number): boolean {
  return !inLan(address) && !isOurs(address);
}

/** Routed by the kernel on its own account (docker0): what is written for it is not of the engine's routing. */
export function isKernels(address: number): boolean {
  return (address & DOCKER.mask) === DOCKER.prefix;
}

/** Bits of a plan's number. */
export const PlanBit = {
  FORWARDS_MOVED: 1,
  NARROW_POOL: 2,
  NO_NAT: 4,
  SYMMETRIC: 8,
  FULL_CONE: 16,
  STRICT: 32,
  ALL_FORWARD: 64,
  PER_HOST: 128,
  SECOND_ADDRESS: 256,
  NOT_SHARED: 512,
  SMALL_MTU: 1024,
  LOW_POOL: 2048,
  LAN2_GONE: 4096,
  BLOCKED: 8192,
  SHORT_TIMES: 16_384,
  PORT_BLOCKS: 32_768,
  LIMITED: 65_536,
  /** The FTP helper is on. */
  HELPER: 131_072,
} as const;
export const PLAN_BITS = 18;

/** Ports that forwards have, for those who knock at them. */
export const FORWARDED = [10_000, 10_001, 10_050, 2222, 30_000, 30_040, 5000, 5007, 2300, 21];

export function planOf(number: number, generation: number): Plan {
  const has = (bit: number) => (number & bit) !== 0;
  const first = has(PlanBit.FORWARDS_MOVED) ? B : A;
  const options: RigOptions = {
    pool: has(PlanBit.LOW_POOL) ? [900, 1100] : has(PlanBit.NARROW_POOL) ? [40_000, 40_063] : [20_000, 49_999],
    shared: !has(PlanBit.NOT_SHARED),
    perHost: has(PlanBit.PER_HOST) ? 12 : 0,
    helpers: has(PlanBit.HELPER) ? ['ftp'] : [],
    ...(has(PlanBit.SMALL_MTU) ? { mtu: { wan: 576, lan: 1280 } } : {}),
    forwards: [
      { first: 10_000, last: 10_099, to: first, protos: ['tcp', 'udp'] },
      { first: 2222, to: B, toPort: 22, ...(has(PlanBit.LIMITED) ? { maxFlows: 5 } : {}) },
      { first: 21, to: first },
      {
        ...{ first: 30_000, last: 30_099, to: B, toPort: 8000, protos: ['tcp' as const, 'udp' as const] },
        ...(has(PlanBit.LIMITED) ? { maxFlows: 40, maxRate: 3 } : {}),
      },
      { first: 5000, last: 5010, to: C, toPort: 80, single: true, protos: ['tcp', 'udp'] },
      { first: 2300, to: A, from: ['198.51.100.0/24', '172.22.161.0/24'] },
      ...(has(PlanBit.ALL_FORWARD) ? [{ first: 9999, to: first, protos: ['icmp' as const, 'other' as const] }] : []),
    ],
    nat: [
      ...(has(PlanBit.NO_NAT) ? [{ to: [WITHOUT_NAT], translate: false }] : []),
      ...(has(PlanBit.SYMMETRIC)
        ? [{ from: [prefix(B), prefix('10.7.0.0/24')], mapping: Mapping.ENDPOINT_DEPENDENT }]
        : []),
      ...(has(PlanBit.FULL_CONE) ? [{ protos: 2, filtering: Filtering.ENDPOINT_INDEPENDENT }] : []),
      ...(has(PlanBit.STRICT) ? [{ filtering: Filtering.ADDRESS_AND_PORT_DEPENDENT }] : []),
      {},
    ],
    change: (plan) => changed(plan, number),
  };
  return makePlan(options, generation);
}

function changed(plan: Plan, number: number): Plan {
  const has = (bit: number) => (number & bit) !== 0;
  const shared = !has(PlanBit.NOT_SHARED);
  const [only] = plan.addresses;
  const second = withOwners({ ...only!, address: PUBLIC[1]!, icmpForward: 0, otherForward: 0 }, poolOnly(plan));
  return {
    ...plan,
    addresses: has(PlanBit.SECOND_ADDRESS) ? [only!, second] : plan.addresses,
    uplinks: [{ ...plan.uplinks[0]!, addresses: has(PlanBit.SECOND_ADDRESS) ? [0, 1] : [0] }],
    hostAddresses: plan.hostAddresses.filter((address) => shared || !isPublic(address)),
    // What compile makes of a LAN whose subnet the kernel does not reach: no out interface, and the interface is dormant.
    interfaces: plan.interfaces.map((out) => (out.lan === 1 && has(PlanBit.LAN2_GONE) ? { ...out, mtu: 0 } : out)),
    lans: plan.lans.map((lan, i) => (i === 1 && has(PlanBit.LAN2_GONE) ? { ...lan, out: 0 } : lan)),
    blocked: has(PlanBit.BLOCKED) ? [prefix('1.1.1.1')] : [],
    timeouts: has(PlanBit.SHORT_TIMES)
      ? {
          udp: 5,
          dns: 1,
          tcpEstablished: 20,
          tcpOpening: 4,
          tcpClosing: 5,
          unanswered: 3,
          icmp: 3,
          hold: 2,
          fragment: 2,
        }
      : plan.timeouts,
    inboundRefresh: has(PlanBit.SMALL_MTU),
    parity: !has(PlanBit.LOW_POOL),
    portBlocks: has(PlanBit.PORT_BLOCKS) ? 32 : 0,
    perHostFlows: has(PlanBit.PER_HOST) ? 60 : 0,
  };
}

/** The same pool without the first address's forwards. */
function poolOnly(plan: Plan): Plan['addresses'][number]['owners'] {
  const copy = (owner: Uint16Array) => owner.map((who) => (who === OWNER_POOL ? OWNER_POOL : OWNER_HOST));
  const [tcp, udp, icmp] = plan.addresses[0]!.owners;
  return [copy(tcp), copy(udp), copy(icmp)];
}
