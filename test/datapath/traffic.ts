/**
 * Random traffic for the engine: few hosts and few ports, so that packets meet each other's flows. Deterministic: a seed
 * makes the same packets again.
 */
import { Mapping } from '../../src/contract/plan.js';
import { xorshift } from '../flow/fixture.js';
import { build, ip } from '../lib-packets.js';
import { A, B, C, OTHER, P, type RigOptions, SERVER } from './rig.js';

const INSIDE = [A, B, C];
const OUTSIDE = [SERVER, OTHER, '192.0.2.9'];
const SYN = 2;
const ACK = 0x10;

/** Forwards of every kind, an endpoint-dependent rule for C, and a pool so small that ports run out. */
export const BUSY: RigOptions = {
  pool: [40_000, 40_063],
  forwards: [
    { first: 2222, to: A, toPort: 22 },
    { first: 30_000, last: 30_009, to: B, toPort: 10_000, protos: ['tcp', 'udp'] },
    { first: 9000, last: 9003, to: A, toPort: 443, single: true },
    { first: 1, last: 0, to: A, protos: ['icmp', 'other'] },
  ],
  nat: [{ from: [{ prefix: ip(C), mask: -1 }], mapping: Mapping.ENDPOINT_DEPENDENT }],
};

export class Traffic {
  readonly random: () => number;

  constructor(seed: number) {
    this.random = xorshift(seed);
  }

  pick<T>(list: readonly T[]): T {
    return list[this.random() % list.length]!;
  }

  /** One packet; many of them answer an earlier one or repeat it. */
  packet(): Uint8Array {
    const out = this.random() % 3 !== 0;
    const src = out ? this.pick(INSIDE) : this.pick(OUTSIDE);
    const toP = !out || this.random() % 4 === 0;
    const dst = toP ? P : this.random() % 12 === 0 ? this.pick(INSIDE) : this.pick(OUTSIDE);
    const sport = out
      ? this.pick([22, 80, 443, 10_003, 40_001, 40_002, 50_000 + (this.random() % 8)])
      : 50 + (this.random() % 4);
    const dport = toP ? this.pick([22, 2222, 30_003, 9001, 40_000 + (this.random() % 64)]) : 50 + (this.random() % 4);
    switch (this.random() % 8) {
      case 0:
        return build({
          proto: 'icmp',
          src,
          dst,
          type: this.pick([8, 8, 0, 13]),
          icmpId: this.pick([0, 7, 40_007, 40_008]),
        });
      case 1:
        return build({ proto: 47, src, dst, payload: new Uint8Array(8) });
      case 2:
      case 3:
      case 4:
        return build({ proto: 'udp', src, dst, sport, dport, payload: new Uint8Array(this.random() % 40) });
      default: {
        const flags = this.pick([SYN, SYN, SYN | ACK, ACK, ACK, ACK | 1, 4, ACK | 4]);
        const seq = this.pick([100, 101, 102, 4_000_000_000]);
        return build({ proto: 'tcp', src, dst, sport, dport, flags, seq, ack: this.pick([100, 101, 102, 103]) });
      }
    }
  }

  packets(n: number): Uint8Array[] {
    return Array.from({ length: n }, () => this.packet());
  }
}
