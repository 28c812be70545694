/** A worker that writes SYNs to a TUN's descriptor, as fast as it goes, until it is told to stop. */
import { workerData } from 'node:worker_threads';
import { Batch } from '../../src/batch.js';
import { TunLink } from '../../src/link/index.js';
import { SYN, tcp } from './packets.js';
import { frame, MAC } from './wire.js';

/** words: [0] 1 = stop, [1] packets sent. */
const { fd, words, from, to, port } = workerData as {
  fd: number;
  words: Int32Array;
  from: string;
  to: string;
  port: number;
};

const link = TunLink.adopt('load', fd);
const batch = new Batch();
const COUNT = 50;
for (let i = 0; i < COUNT; i++) {
  const bytes = frame(MAC.host, tcp({ from, to }, [1024 + i, port], SYN));
  const slot = batch.append(bytes.length);
  batch.data.set(bytes, batch.off[slot]);
  batch.list[i] = slot;
}
while (Atomics.load(words, 0) === 0) Atomics.add(words, 1, link.transmit(batch, COUNT));
