/**
 * A program: runs 200,000 packets of established flows through the cycle and prints how many bytes the heap grew by. With
 * the argument "spoil" it makes one empty array a packet beside, to show that it would be seen.
 */
import { Batch } from '../../src/batch.js';
import { cycle } from '../../src/datapath/cycle.js';
import { ReplayLink } from '../../src/link/index.js';
import { build } from '../lib-packets.js';
import { A, B, P, Rig, SERVER } from './rig.js';

const PACKETS = 200_000;
const ACK = 0x10;

const rig = new Rig({ forwards: [{ first: 8080, to: A, toPort: 80 }] });
const packets: Uint8Array[] = [];

/** Opens a flow and takes both directions of it among the packets. */
function flow(packet: Uint8Array, reply: (out: Uint8Array) => Uint8Array): void {
  const [out] = rig.pass(packet);
  packets.push(packet, reply(out!));
}

const port = (bytes: Uint8Array, at: number) => (bytes[at]! << 8) | bytes[at + 1]!;
for (let n = 0; n < 30; n++) {
  const payload = new Uint8Array(200);
  flow(build({ proto: 'udp', src: A, sport: 30_000 + n, dst: SERVER, dport: 99, payload }), (out) =>
    build({ proto: 'udp', src: SERVER, sport: 99, dst: P, dport: port(out, 20), payload }),
  );
  flow(build({ proto: 'icmp', src: B, dst: SERVER, icmpId: 21_000 + n, payload }), (out) =>
    build({ proto: 'icmp', type: 0, src: SERVER, dst: P, icmpId: port(out, 24), payload }),
  );
  for (const [src, dst, dport] of [
    [A, SERVER, 443],
    [SERVER, P, 8080],
    [B, P, 8080],
  ] as const) {
    rig.pass(build({ proto: 'tcp', src, sport: 31_000 + n, dst, dport, flags: 2, seq: 100 }));
    flow(
      build({ proto: 'tcp', src, sport: 31_000 + n, dst, dport, flags: ACK, seq: 101, ack: 901, payload }),
      (out) => {
        const back = { src: dst === P ? A : SERVER, dst: src === SERVER ? SERVER : P };
        return build({
          proto: 'tcp',
          ...back,
          sport: port(out, 22),
          dport: port(out, 20),
          flags: ACK,
          seq: 901,
          ack: 301,
        });
      },
    );
  }
  // What is dropped, punted and held belongs to the steady state of a host on the internet, too.
  packets.push(build({ proto: 'udp', src: SERVER, sport: 5, dst: P, dport: 45_000 + n }));
  packets.push(build({ proto: 'tcp', src: SERVER, sport: 5, dst: P, dport: 22 }));
  packets.push(build({ proto: 17, src: SERVER, dst: P, id: n, offset: 1480, payload }));
}

const spoil = process.argv[2] === 'spoil';
let kept: unknown;
const batch = new Batch();
const link = new ReplayLink(packets, { clock: () => 1_000_000 });
const run = (count: number): void => {
  for (let done = 0; done < count; ) {
    const n = cycle(rig.engine, link, batch);
    done += n;
    if (spoil) for (let i = 0; i < n; i++) kept = [i];
  }
};

// A collection throws optimised code away, so there is one before, and none while it is measured.
globalThis.gc!();
for (let i = 0; i < 20; i++) run(PACKETS / 4);
let least = Number.POSITIVE_INFINITY;
for (let i = 0; i < 5; i++) {
  const before = process.memoryUsage().heapUsed;
  run(PACKETS);
  least = Math.min(least, process.memoryUsage().heapUsed - before);
}
console.log(least);
if (kept === 0) console.log(kept);
