/** A seeded random generator, and the trick that makes the engine's own randomness repeatable. */
import crypto from 'node:crypto';
import { syncBuiltinESMExports } from 'node:module';

/** sfc32 (Chris Doty-Humphrey, PractRand): small, fast, and good enough to choose packets. */
export class Random {
  #a: number;
  #b = 0x9e3779b9;
  #c = 0x243f6a88;
  #count = 1;

  constructor(seed: number) {
    this.#a = seed | 0;
    for (let i = 0; i < 12; i++) this.u32();
  }

  u32(): number {
    const t = (this.#a + this.#b + this.#count) | 0;
    this.#count = (this.#count + 1) | 0;
    this.#a = this.#b ^ (this.#b >>> 9);
    this.#b = (this.#c + (this.#c << 3)) | 0;
    this.#c = ((this.#c << 21) | (this.#c >>> 11)) + t;
    return t >>> 0;
  }

  /** 0…n−1. */
  below(n: number): number {
    return Math.floor((this.u32() / 2 ** 32) * n);
  }

  /** from…to, both included. */
  between(from: number, to: number): number {
    return from + this.below(to - from + 1);
  }

  chance(p: number): boolean {
    return this.u32() < p * 2 ** 32;
  }

  pick<T>(list: readonly T[]): T {
    return list[this.below(list.length)]!;
  }
}

/** From here on `randomFillSync`, the engine's source of hash keys and ports, draws from `random`: a run can be repeated. */
export function makeRepeatable(random: Random): void {
  Object.assign(crypto, {
    randomFillSync: (view: Int32Array | Uint32Array) => {
      for (let i = 0; i < view.length; i++) view[i] = random.u32();
      return view;
    },
  });
  syncBuiltinESMExports();
}
