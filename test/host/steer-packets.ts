/** Random steerings and packets for the property tests: few addresses, so that everything meets everything. */

import type { Prefix } from '../../src/contract/plan.js';
import type { Claim, PortInterval, Steering } from '../../src/contract/steering.js';
import fc from '../property.js';
import type { Frame } from './bpf-interpreter.js';

export function ip(text: string): number {
  return text.split('.').reduce((sum, byte) => (sum << 8) | Number(byte), 0);
}

export function prefix(text: string): Prefix {
  const [address, length] = text.split('/') as [string, string];
  const mask = Number(length) === 0 ? 0 : (-1 << (32 - Number(length))) | 0;
  return { prefix: ip(address) & mask, mask };
}

export const TUN = 90;
export const UPLINKS = [
  { interface: 'up0', index: 10 },
  { interface: 'up1', index: 11 },
];

/** Public addresses that may be claimed. */
const PUBLIC = ['203.0.113.10', '203.0.113.11', '203.0.114.0', '198.18.0.1'].map(ip);
const SUBNETS = ['172.22.161.0/24', '172.22.162.0/25', '172.22.162.128/31', '10.0.0.0/30'];
const FOREIGN = ['172.17.0.0/16', '10.8.0.0/24', '10.8.0.128/25', '172.22.162.128/25', '100.64.0.0/10'];
/** Far sites behind links; one holds another, and a LAN's addresses. */
const SITES = ['192.168.20.0/24', '10.99.0.0/24', '10.0.0.0/8', '172.22.162.0/25'];
const HOST = ['172.22.161.1', '172.22.162.1', '172.17.0.1', '192.0.2.77'].map(ip);
/** Addresses at which something may change, besides those above. */
const EDGES = [
  '0.0.0.0',
  '8.8.8.8',
  '127.0.0.1',
  '126.255.255.255',
  '128.0.0.0',
  '172.22.160.255',
  '172.22.161.0',
  '172.22.161.20',
  '172.22.161.255',
  '172.22.162.0',
  '172.22.162.127',
  '172.22.162.128',
  '172.22.162.129',
  '10.0.0.3',
  '10.99.0.2',
  '192.168.20.9',
  '10.8.0.127',
  '10.8.1.0',
  '172.17.255.255',
  '172.18.0.0',
  '223.255.255.255',
  '224.0.0.1',
  '239.255.255.255',
  '240.0.0.0',
  '255.255.255.255',
].map(ip);

const addresses = fc.oneof(
  { weight: 10, arbitrary: fc.constantFrom(...EDGES, ...PUBLIC, ...HOST) },
  { weight: 3, arbitrary: fc.constantFrom(...PUBLIC) },
  { weight: 1, arbitrary: fc.integer() },
);

const portLists = fc.uniqueArray(fc.nat(65_535), { maxLength: 60, size: 'max' }).map((edges): PortInterval[] => {
  const sorted = [...edges].sort((a, b) => a - b);
  const list: PortInterval[] = [];
  for (let i = 0; i + 1 < sorted.length; i += 2) {
    const first = sorted[i]!;
    const last = sorted[i + 1]!;
    const before = list.at(-1);
    if (!before || first > before.last + 1) list.push({ first, last });
  }
  return list;
});

const claims: fc.Arbitrary<Claim[]> = fc.uniqueArray(
  fc.record({
    address: fc.constantFrom(...PUBLIC),
    shared: fc.boolean(),
    tcp: portLists,
    udp: portLists,
    other: fc.boolean(),
  }),
  { maxLength: 4, selector: ({ address }) => address },
);

export const steerings: fc.Arbitrary<Steering> = fc
  .record({
    claims,
    same: fc.boolean(),
    subnets: fc.subarray(SUBNETS, { minLength: 1 }),
    split: fc.nat(3),
    open: fc.array(fc.tuple(fc.nat(3), fc.boolean()), { maxLength: 3 }),
    sites: fc.subarray(SITES),
    foreign: fc.subarray(FOREIGN),
    host: fc.subarray(HOST),
    uplinks: fc.subarray(UPLINKS, { minLength: 1 }),
  })
  .map(({ claims, same, subnets, split, open, sites, foreign, host, uplinks }): Steering => {
    const first = subnets.slice(0, split).map(prefix);
    const second = subnets.slice(split).map(prefix);
    const all = [...first, ...second];
    return {
      tun: TUN,
      claims: same ? claims.map((claim) => ({ ...claim, udp: claim.tcp })) : claims,
      uplinks,
      lans: [
        { interface: 'lan0', index: 20, subnets: first },
        { interface: 'lan1', index: 21, subnets: second },
      ],
      lanSubnets: all,
      untranslated: open.map(([which, half]) => {
        const { prefix, mask } = all[which % all.length]!;
        return { prefix, mask: half ? mask >> 1 : mask };
      }),
      hostAddresses: [...host, ...claims.filter(({ shared }) => shared).map(({ address }) => address)],
      sites: sites.map(prefix),
      foreign: foreign.map(prefix),
      ipv6: null,
    };
  });

/** Ports at, and next to, the edges of what the steering claims. */
function portsOf(steering: Steering): fc.Arbitrary<number> {
  const edges = steering.claims
    .flatMap(({ tcp, udp }) => [...tcp, ...udp])
    .flatMap(({ first, last }) => [first - 1, first, last, last + 1])
    .filter((port) => port >= 0 && port <= 65_535);
  const any = fc.nat(65_535);
  return edges.length > 0 ? fc.oneof(any, fc.constantFrom(...edges)) : any;
}

interface Parts {
  readonly source: number;
  readonly destination: number;
  readonly protocol: number;
  readonly fragment: number;
  readonly words: number;
  readonly payload: Uint8Array;
}

/** An IPv4 header with `words` of options, and its payload. Checksums are the business of others. */
export function ipPacket({ source, destination, protocol, fragment, words, payload }: Parts): Uint8Array {
  const header = 20 + words * 4;
  const bytes = new Uint8Array(header + payload.length);
  const view = new DataView(bytes.buffer);
  bytes[0] = 0x40 | (header / 4);
  view.setUint16(2, bytes.length);
  view.setUint16(6, fragment);
  bytes[8] = 64;
  bytes[9] = protocol;
  view.setInt32(12, source);
  view.setInt32(16, destination);
  bytes.fill(1, 20, header); // options: no operation
  bytes.set(payload, header);
  return bytes;
}

export function portsPayload(source: number, destination: number): Uint8Array {
  const bytes = new Uint8Array(20);
  new DataView(bytes.buffer).setUint32(0, ((source << 16) | destination) >>> 0);
  return bytes;
}

function icmpPayload(type: number, quote: Uint8Array): Uint8Array {
  const bytes = new Uint8Array(8 + quote.length);
  bytes[0] = type;
  bytes.set(quote, 8);
  return bytes;
}

const fragments = fc.constantFrom(0, 0, 0, 0, 0x4000, 0x2000, 0x0001, 0x1fff, 0x6000);
const protocols = fc.constantFrom(1, 6, 6, 6, 17, 17, 17, 47, 50, 0, 255);

function ipPackets(steering: Steering): fc.Arbitrary<Uint8Array> {
  const ports = portsOf(steering);
  const common = {
    source: addresses,
    destination: addresses,
    fragment: fragments,
    words: fc.constantFrom(0, 0, 1, 10),
  };
  const plain = fc
    .record({ ...common, protocol: protocols, from: ports, to: ports })
    .map(({ from, to, ...rest }) => ipPacket({ ...rest, payload: portsPayload(from, to) }));
  const error = fc
    .record({ ...common, type: fc.constantFrom(3, 3, 3, 11, 12, 0, 8, 4, 5), quote: plain })
    .map(({ type, quote, ...rest }) => ipPacket({ ...rest, protocol: 1, payload: icmpPayload(type, quote) }));
  return fc.oneof({ weight: 2, arbitrary: plain }, { weight: 1, arbitrary: error });
}

const MAC_BYTES: Record<number, number> = { 1: 14, 772: 14, 512: 0, 65534: 0 };

/** Packets as a tc hook sees them: on Ethernet and without, tagged, for others, cut off. */
export function framesFor(steering: Steering): fc.Arbitrary<Frame> {
  return fc
    .record({
      packet: ipPackets(steering),
      cut: fc.oneof({ weight: 8, arbitrary: fc.constant(9999) }, { weight: 1, arbitrary: fc.nat(60) }),
      hatype: fc.constantFrom(1, 1, 1, 772, 512, 65534),
      linear: fc.constantFrom(9999, 9999, 14),
      protocol: fc.constantFrom(0x0800, 0x0800, 0x0800, 0x0800, 0x0800, 0x0800, 0x86dd, 0x0806, 0x8100),
      type: fc.constantFrom(0, 0, 0, 0, 0, 0, 1, 2, 3),
      vlan: fc.constantFrom(undefined, undefined, undefined, undefined, 0, 0xe000, 5, 0xe005),
      queue: fc.constantFrom(0, 0, 1, 7),
    })
    .map(({ packet, cut, hatype, linear, ...rest }): Frame => {
      const mac = MAC_BYTES[hatype]!;
      const bytes = new Uint8Array(mac + Math.min(packet.length, cut));
      bytes.set(packet.subarray(0, cut), mac);
      // Only on Ethernet may a sender choose what is linear.
      return { ...rest, hatype, bytes, mac, linear: mac > 0 ? Math.min(linear, bytes.length) : bytes.length };
    });
}
