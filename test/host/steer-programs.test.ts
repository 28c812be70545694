import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import type { PortInterval, Steering } from '../../src/contract/steering.js';
import { disassemble } from '../../src/host/bpf.js';
import { type Hook, MAX_PROGRAM, type SteeringFilter, steeringFilters } from '../../src/host/steer-programs.js';
import fc from '../property.js';
import type { Frame } from './bpf-interpreter.js';
import { framesFor, ip, ipPacket, portsPayload, prefix, steerings, TUN } from './steer-packets.js';
import { type Fate, fateOf, runFilters, ShortPacket } from './steer-predicate.js';

const TCP = 6;
const UDP = 17;

const PROXMOX: Steering = {
  tun: TUN,
  claims: [
    {
      address: ip('203.0.113.10'),
      shared: true,
      tcp: [
        { first: 2222, last: 2222 },
        { first: 10_000, last: 10_999 },
        { first: 20_000, last: 49_999 },
      ],
      udp: [{ first: 20_000, last: 49_999 }],
      other: false,
    },
  ],
  uplinks: [{ interface: 'vmbr0', index: 10 }],
  lans: [{ interface: 'vmbr1', index: 20, subnets: [prefix('172.22.161.0/24')] }],
  lanSubnets: [prefix('172.22.161.0/24')],
  hostAddresses: [ip('203.0.113.10'), ip('172.22.161.1')],
  untranslated: [],
  sites: [],
  ipv6: null,
  foreign: [prefix('172.17.0.0/16')],
};
const [LO, UPLINK, LAN] = [1, 10, 20];

function frame(
  source: string,
  destination: string,
  protocol: number,
  to = 0,
  from = 40_000,
  more: Partial<Frame> = {},
): Frame {
  const packet = ipPacket({
    source: ip(source),
    destination: ip(destination),
    protocol,
    fragment: 0,
    words: 0,
    payload: portsPayload(from, to),
  });
  const bytes = new Uint8Array(14 + packet.length);
  bytes.set(packet, 14);
  return {
    bytes,
    mac: 14,
    linear: bytes.length,
    hatype: 1,
    protocol: 0x0800,
    type: 0,
    vlan: undefined,
    queue: 0,
    ...more,
  };
}

function fate(steering: Steering, index: number, one: Frame, hook: Hook = 'ingress'): Fate {
  return runFilters(steeringFilters(steering), index, hook, one);
}

describe('the way of the packets of the Proxmox case', () => {
  const R = '198.51.100.7';
  const P = '203.0.113.10';
  const VM = '172.22.161.170';
  const cases: [string, number, Frame, Fate][] = [
    ['SSH to the host stays in the kernel', UPLINK, frame(R, P, TCP, 22), 'pass'],
    ['a forward is redirected', UPLINK, frame(R, P, TCP, 10_999), 'redirect'],
    ['one port further is the host', UPLINK, frame(R, P, TCP, 11_000), 'pass'],
    ['a forward for TCP only leaves UDP alone', UPLINK, frame(R, P, UDP, 10_999), 'pass'],
    ['REQ-66 from outside to a LAN address: dropped', UPLINK, frame(R, VM, TCP, 22), 'drop'],
    ['from outside with a LAN source: dropped', UPLINK, frame(VM, P, TCP, 10_999), 'drop'],
    ['from outside with P as source: dropped', UPLINK, frame(P, P, TCP, 10_999), 'drop'],
    ['a VM to the internet is redirected', LAN, frame(VM, R, TCP, 443), 'redirect'],
    ['a VM with a foreign source too: the engine drops it by name', LAN, frame('10.9.9.9', R, TCP, 443), 'redirect'],
    ['a VM to the gateway stays', LAN, frame(VM, '172.22.161.1', UDP, 53), 'pass'],
    ["a VM to the host's own service on P stays", LAN, frame(VM, P, TCP, 22), 'pass'],
    ['REQ-10 a VM to a forward of P: hairpin', LAN, frame(VM, P, TCP, 2222), 'redirect'],
    ['a VM with the address of the gateway: dropped', LAN, frame('172.22.161.1', R, TCP, 443), 'drop'],
    ['a VM with the address P: dropped', LAN, frame(P, VM, TCP, 443), 'drop'],
    ['a VM with an outside address to a forward (around `from`): dropped', LAN, frame(R, P, TCP, 2222), 'drop'],
    ['DHCP passes', LAN, frame('0.0.0.0', '255.255.255.255', UDP, 67), 'pass'],
    ['directed broadcast passes', LAN, frame(VM, '172.22.161.255', UDP, 137), 'pass'],
    ['multicast passes', LAN, frame(VM, '224.0.0.251', UDP, 5353), 'pass'],
    ['another bridge of the host is its own business', LAN, frame(VM, '172.17.0.2', TCP, 80), 'pass'],
    ['a frame between VMs that promiscuous mode shows passes', LAN, frame(VM, R, TCP, 443, 1, { type: 3 }), 'pass'],
    ['a priority tag does not lead around the filters', LAN, frame(VM, R, TCP, 443, 1, { vlan: 0xe000 }), 'drop'],
    ['another VLAN is another interface', LAN, frame(VM, R, TCP, 443, 1, { vlan: 7 }), 'pass'],
    [
      'a packet with nothing in its linear part is seen all the same',
      LAN,
      frame(VM, R, TCP, 1, 1, { linear: 14 }),
      'redirect',
    ],
  ];
  for (const [name, index, one, expected] of cases) {
    test(name, () => assert.equal(fate(PROXMOX, index, one), expected));
  }

  test('REQ-34 what comes for LAN hosts that a rule leaves untranslated is seen by the engine, for no others', () => {
    const steering = { ...PROXMOX, untranslated: [prefix('172.22.161.128/25')] };
    assert.equal(fate(steering, UPLINK, frame(R, VM, TCP, 22)), 'redirect');
    assert.equal(fate(steering, UPLINK, frame(R, '172.22.161.127', TCP, 22)), 'drop');
    assert.equal(fate(steering, UPLINK, frame('172.22.161.130', VM, TCP, 22)), 'drop');
  });

  test('REQ-10 the host to its own forward by P leaves lo for the engine; to its own service it does not', () => {
    const lo = { hatype: 772 };
    assert.equal(fate(PROXMOX, LO, frame(P, P, TCP, 2222, 50_000, lo), 'egress'), 'redirect');
    assert.equal(fate(PROXMOX, LO, frame(P, P, TCP, 22, 50_000, lo), 'egress'), 'pass');
    assert.equal(fate(PROXMOX, LO, frame('127.0.0.1', '127.0.0.1', TCP, 2222, 50_000, lo), 'egress'), 'pass');
  });
});

describe('programs against the plain predicate', () => {
  const hooks: [number, Hook][] = [
    [LO, 'egress'],
    [10, 'ingress'],
    [11, 'ingress'],
    [10, 'egress'],
    [20, 'ingress'],
    [21, 'ingress'],
  ];

  test('they agree on random steerings and packets', () => {
    const seen: Record<string, number> = {};
    fc.assert(
      fc.property(
        steerings.chain((steering) =>
          fc.tuple(fc.constant(steering), fc.array(framesFor(steering), { minLength: 20, maxLength: 40 })),
        ),
        ([steering, frames]) => {
          const filters = steeringFilters(steering);
          for (const [index, hook] of hooks.filter(([index]) => filters.some((filter) => filter.index === index))) {
            for (const one of frames) {
              let expected: Fate;
              try {
                expected = fateOf(steering, index, hook, one);
              } catch (error) {
                if (!(error instanceof ShortPacket)) throw error;
                continue; // any fate will do; it must only not be an exception
              } finally {
                runFilters(filters, index, hook, one);
              }
              const actual = runFilters(filters, index, hook, one);
              seen[`${hook} ${actual}`] = (seen[`${hook} ${actual}`] ?? 0) + 1;
              assert.equal(actual, expected, `interface ${index} ${hook}`);
            }
          }
        },
      ),
      { numRuns: 400 },
    );
    // The generator is worth its name: each fate was met, often.
    for (const kind of [
      'ingress pass',
      'ingress drop',
      'ingress redirect',
      'egress pass',
      'egress drop',
      'egress redirect',
    ]) {
      assert.ok((seen[kind] ?? 0) > 300, `${kind}: ${seen[kind]}`);
    }
  });

  test('programs are within the limit and handles are unique on a hook', () => {
    fc.assert(
      fc.property(steerings, (steering) => {
        const keys = new Set<string>();
        for (const { index, hook, handle, program } of steeringFilters(steering)) {
          assert.ok(program.length <= MAX_PROGRAM, disassemble(program));
          const key = `${index} ${hook} ${handle}`;
          assert.ok(!keys.has(key), key);
          assert.ok(handle > 0 && handle <= 0xffffffff);
          keys.add(key);
        }
      }),
      { numRuns: 100 },
    );
  });
});

describe('slices', () => {
  const comb = (count: number, shift = 0): PortInterval[] =>
    Array.from({ length: count }, (_, i) => ({ first: 1024 + i * 20 + shift, last: 1024 + i * 20 + 9 }));
  const withPorts = (tcp: PortInterval[]): Steering => ({
    ...PROXMOX,
    claims: [{ ...PROXMOX.claims[0]!, tcp }],
  });
  const redirects = (filters: readonly SteeringFilter[], index: number): SteeringFilter[] =>
    filters.filter((one) => one.index === index && one.hook === 'ingress' && one.action === 'redirect');

  test('3,000 port ranges need several filters, and each port is decided right', () => {
    const steering = withPorts(comb(3000));
    const filters = steeringFilters(steering);
    assert.ok(redirects(filters, UPLINK).length > 10);
    assert.ok(filters.every(({ program }) => program.length <= MAX_PROGRAM));
    const here = redirects(filters, UPLINK);
    for (let port = 0; port < 65_536; port += 7) {
      const one = frame('198.51.100.7', '203.0.113.10', TCP, port);
      assert.equal(runFilters(here, UPLINK, 'ingress', one), fateOf(steering, UPLINK, 'ingress', one), `port ${port}`);
    }
  });

  test('5,000 foreign prefixes likewise', () => {
    const foreign = Array.from({ length: 5000 }, (_, i) => ({ prefix: (0x0a000000 + i * 512) | 0, mask: ~255 }));
    const steering = { ...PROXMOX, foreign };
    const here = steeringFilters(steering).filter(({ index }) => index === LAN);
    assert.ok(here.length > 20);
    for (let i = 0; i < 12_000; i += 5) {
      const one = frame('172.22.161.9', '0.0.0.0', UDP, 53);
      new DataView(one.bytes.buffer).setInt32(30, (0x0a000000 + i * 256) | 0);
      assert.equal(runFilters(here, LAN, 'ingress', one), fateOf(steering, LAN, 'ingress', one));
    }
  });

  test('REQ-67 no port that is claimed before and after an update is let past at any step of it', () => {
    const counts = fc.tuple(fc.constantFrom(1, 90, 200, 420, 700), fc.constantFrom(1, 90, 200, 420, 700), fc.nat(9));
    fc.assert(
      fc.property(counts, ([before, after, shift]) => {
        const old = redirects(steeringFilters(withPorts(comb(before))), UPLINK);
        const next = redirects(steeringFilters(withPorts(comb(after, shift))), UPLINK);
        // As applySteering does it: create, replace, delete.
        const present = new Map(old.map((one) => [one.handle, one]));
        const steps: (() => void)[] = [
          ...next.filter(({ handle }) => !present.has(handle)).map((one) => () => void present.set(one.handle, one)),
          ...next.filter(({ handle }) => present.has(handle)).map((one) => () => void present.set(one.handle, one)),
          ...old
            .filter(({ handle }) => !next.some((n) => n.handle === handle))
            .map((one) => () => void present.delete(one.handle)),
        ];
        const frames = Array.from({ length: 200 }, (_, i) =>
          frame('198.51.100.7', '203.0.113.10', TCP, 1024 + i * 67),
        ).filter(
          (one) =>
            runFilters(old, UPLINK, 'ingress', one) === 'redirect' &&
            runFilters(next, UPLINK, 'ingress', one) === 'redirect',
        );
        for (const step of steps) {
          step();
          for (const one of frames) assert.equal(runFilters([...present.values()], UPLINK, 'ingress', one), 'redirect');
        }
      }),
      { numRuns: 40 },
    );
  });

  test('an interface that is uplink and LAN at once is refused by name', () => {
    const twice = { ...PROXMOX, lans: [{ ...PROXMOX.lans[0]!, index: 10, interface: 'vmbr0' }] };
    assert.throws(() => steeringFilters(twice), /interface vmbr0 is an uplink and a LAN at once/);
  });
});
