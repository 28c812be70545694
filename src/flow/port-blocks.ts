/**
 * Port blocks (RFC 6888 REQ-14): an inside host takes the ports of its mappings from blocks that are its alone, so that a log with one
 * line a block says who had which port when, and nothing of whom anybody talked to.
 *
 * Theory of operation. A block is `size` neighbouring ports, a power of two, of one address and protocol, as far as the pool has them.
 * Nowhere is written whose it is: it is his who has a port in it, as its first used port's mapping says; an empty block is nobody's. So there
 * is nothing to keep in step between workers or over a crash. A host's search begins at a place of its own (a keyed hash, that a
 * stranger cannot know) and goes round: the first block of its own with a free port, else the first empty one it has met. Mostly that is
 * one look; who needs a new block looks at all of them, 30 µs for 512.
 *
 * The source port is kept only within a block of one's own; parity is. Endpoint-dependent mappings share ports between hosts, so they and
 * blocks exclude each other (the config says so). Mappings from before blocks were turned on stay where they are: a block that they
 * share is the host's with the lowest port.
 */
import { hashTuple } from './hash.js';
import type { Mappings } from './mappings.js';

const PORTS = 65_536;
const IP_PROTOCOLS = [6, 17, 1] as const;

export class PortBlocks {
  /** Ports a block; 0 = off: every port of the pool is anybody's. */
  size = 0;
  readonly #mappings: Mappings;
  readonly #hash: Int32Array;

  constructor(mappings: Mappings, hash: Int32Array) {
    this.#mappings = mappings;
    this.#hash = hash;
  }

  /** A port for `inside` from one of its blocks, or from a new one; −1 when there is none. `index`: contract Proto. */
  claim(inside: number, address: number, index: number, wanted: number, parity: boolean): number {
    const { ports } = this.#mappings;
    const { size } = this;
    const blocks = PORTS / size;
    let empty = -1;
    let first = ((hashTuple(this.#hash, inside, address, 0, index) >>> 0) % blocks) * size;
    for (let n = 0; n < blocks; n++, first = (first + size) % PORTS) {
      if (!ports.hasFree(address, index, first, size)) continue;
      const used = ports.firstUsed(address, index, first, size);
      if (used < 0) {
        if (empty < 0) empty = first;
        continue;
      }
      const mapping = this.#mappings.findOutside(IP_PROTOCOLS[index]!, address, used);
      if (mapping >= 0 && this.#mappings.insideOf(mapping) === inside)
        return ports.claimWithin(address, index, wanted, parity, first, size);
    }
    return empty < 0 ? -1 : ports.claimWithin(address, index, wanted, parity, empty, size);
  }

  /** First port of the block of `port`. */
  firstOf(port: number): number {
    return port & ~(this.size - 1);
  }

  /** Ports of the block of `port` that are used. */
  usedBeside(address: number, index: number, port: number): number {
    return this.#mappings.ports.countUsed(address, index, this.firstOf(port), this.size);
  }
}
