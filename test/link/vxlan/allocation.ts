/**
 * A program: passes 200,000 frames through an endpoint, both ways and of every kind, and prints how many bytes the heap grew by. With the argument
 * "spoil" it makes one empty array a frame beside, to show that it would be seen.
 */
import { Columns, LoopWatch, Vtep } from '../../../src/link/vxlan/index.js';
import { ENDPOINT_WORDS } from '../../../src/link/wireguard/endpoint.js';
import { arp, BROADCAST, endpoint, ethernet, message, nd, udp4, whoHas } from './frames.js';

const FRAMES = 200_000;
const SLOT = 2048;
const FRONT = 64;
const KINDS = 64;
const NOW = 1e12;

const [LOCAL, REMOTE] = ['02:00:00:00:00:01', '02:00:00:00:00:02'];
const loops = new LoopWatch(() => {});
const vtep = new Vtep({
  name: 'a',
  vni: 42,
  mtu: 1450,
  sourcePorts: 64,
  loops,
  storm: { broadcast: 0, multicast: 0, unknown: 0 },
});
for (const address of ['192.0.2.1', '192.0.2.2', '2001:db8::3']) vtep.remotes.add(endpoint(address));

const data = (dst: string, src: string, n: number) =>
  ethernet(dst, src, 0x0800, udp4('10.0.0.1', '10.0.0.2', [n, 53], 100, { tos: 2 }));
const asks6 = nd(135, [LOCAL, 'fd00::1'], ['33:33:ff:00:00:02', 'ff02::1:ff00:2'], 'fd00::2', [1, LOCAL]);
const out = [
  ...Array.from({ length: 8 }, (_, n) => data(REMOTE, LOCAL, n)),
  data(BROADCAST, LOCAL, 1),
  data('02:00:00:00:00:99', LOCAL, 1),
  whoHas([LOCAL, '10.0.0.1'], '10.0.0.2'),
  asks6,
  data(LOCAL, LOCAL, 2),
  data(REMOTE, BROADCAST, 2),
];
const back = [
  ...Array.from({ length: 8 }, (_, n) => message(data(LOCAL, REMOTE, n))),
  message(data(BROADCAST, REMOTE, 1)),
  message(ethernet(BROADCAST, REMOTE, 0x0806, arp(1, [REMOTE, '10.0.0.2'], [LOCAL, '10.0.0.1']))),
  message(nd(136, [REMOTE, 'fd00::2'], [LOCAL, 'fd00::1'], 'fd00::2', [2, REMOTE])),
  message(data(LOCAL, REMOTE, 1), 7),
  new Uint8Array(5),
];
const [from, stranger] = [endpoint('192.0.2.2', 50_000), endpoint('192.0.2.9', 50_000)];
const [tap, tunnel] = [1, 2].map(() => new Columns(KINDS, new Uint8Array(KINDS * SLOT)));

function fill(c: Columns, frames: readonly Uint8Array[]): void {
  for (let i = 0; i < KINDS; i++) {
    const frame = frames[i % frames.length]!;
    c.off[i] = i * SLOT + FRONT;
    c.len[i] = frame.length;
    c.tos[i] = 3;
    c.data.set(frame, c.off[i]!);
    c.endpoint.set(i === 5 ? stranger : from, i * ENDPOINT_WORDS);
  }
}

const spoil = process.argv[2] === 'spoil';
let kept: unknown;
const run = (count: number): void => {
  for (let done = 0; done < count; done += 2 * KINDS) {
    fill(tap!, out);
    vtep.fromTap(tap!, KINDS, NOW);
    fill(tunnel!, back);
    vtep.fromTunnel(tunnel!, KINDS, NOW);
    if (spoil) for (let i = 0; i < 2 * KINDS; i++) kept = [i];
  }
};

globalThis.gc!();
for (let i = 0; i < 20; i++) run(FRAMES / 4);
let least = Number.POSITIVE_INFINITY;
for (let i = 0; i < 5; i++) {
  const before = process.memoryUsage().heapUsed;
  run(FRAMES);
  least = Math.min(least, process.memoryUsage().heapUsed - before);
}
console.log(least);
void kept;
