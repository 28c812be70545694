/**
 * Seals and opens 200,000 packets of a live session and prints the bytes that the heap grew by. `spoil` makes one empty array a packet, to show that the
 * measurement sees it. Run by no-allocation.serial.test.ts with flags that keep the garbage collector away.
 */
import { Columns } from '../../../src/link/wireguard/columns.js';
import { ENDPOINT_WORDS, parseEndpoint } from '../../../src/link/wireguard/endpoint.js';
import { packetOf, pair, World } from './sim.js';

const BATCH = 50;
const SLOT = 256;
const spoil = process.argv.includes('spoil');

const world = new World(1);
const { a, b } = pair(world);
const packet = packetOf('10.0.0.1', '10.0.0.2', new Uint8Array(100));
a.send([packet]);
world.run(100);

const c = new Columns(BATCH, new Uint8Array(BATCH * SLOT));
const from = parseEndpoint(a.address)!;
let kept: unknown;

function pass(batches: number, now: number): void {
  for (let t = 0; t < batches; t++) {
    for (let i = 0; i < BATCH; i++) {
      c.off[i] = i * SLOT;
      c.from[i] = i * SLOT + 16;
      c.len[i] = packet.length;
      c.data.set(packet, i * SLOT + 16);
    }
    if (a.device.seal(c, BATCH, now) !== BATCH) throw new Error('not sealed');
    for (let i = 0; i < BATCH; i++) {
      c.endpoint.set(from, i * ENDPOINT_WORDS);
      if (spoil) kept = [];
    }
    if (b.device.open(c, BATCH, now) !== BATCH) throw new Error('not opened');
  }
}

pass(2000, world.now);
globalThis.gc?.();
globalThis.gc?.();
const before = process.memoryUsage().heapUsed;
pass(200_000 / BATCH, world.now);
console.log(process.memoryUsage().heapUsed - before);
void kept;
