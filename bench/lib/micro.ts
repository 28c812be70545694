/**
 * A micro bench: one stage of the way by itself, in nanoseconds of processor time an operation.
 *
 * Each runs in a process of its own (V8 compiles for what it has seen, and two benches in one process would see each
 * other's types). Processor time and not wall time: what else runs on the machine takes turns with it, but shares its caches.
 */
export interface Micro {
  /** `folder/what`, where the folder is that of src/. */
  readonly name: string;
  /** What one operation is. */
  readonly unit: string;
  /** Made once; the function does a slice of work and returns how many operations that was. */
  prepare(): () => number;
}

export interface MicroResult {
  readonly name: string;
  readonly unit: string;
  /** Nanoseconds an operation, one a round. */
  readonly values: readonly number[];
}

export interface MicroOptions {
  readonly rounds: number;
  /** Processor time of a round. */
  readonly milliseconds: number;
}

const WARM_UP = { least: 5, most: 20, steady: 0.05 };

function cpuMicros(): number {
  const { user, system } = process.cpuUsage();
  return user + system;
}

export function measure(micro: Micro, { rounds, milliseconds }: MicroOptions): MicroResult {
  const slice = micro.prepare();
  const round = () => {
    const from = cpuMicros();
    const until = from + milliseconds * 1000;
    let operations = 0;
    let now = from;
    while (now < until) {
      for (let i = 0; i < 16; i++) operations += slice();
      now = cpuMicros();
    }
    return ((now - from) * 1000) / operations;
  };
  // Until it is compiled: V8 does that beside us, on our processor time, and a whole cycle takes it a second.
  let last = round();
  for (let i = 0; i < WARM_UP.most; i++) {
    const next = round();
    const steady = Math.abs(next / last - 1) < WARM_UP.steady;
    last = next;
    if (steady && i >= WARM_UP.least) break;
  }
  return { name: micro.name, unit: micro.unit, values: Array.from({ length: rounds }, round) };
}

/**
 * A fixed amount of work that has nothing to do with the product: integer arithmetic and loads that hit the first-level cache.
 * Where a baseline was taken on another machine, the two speeds of this loop say what to expect of this one.
 */
export const calibration: Micro = {
  name: 'calibration',
  unit: 'step',
  prepare() {
    const words = new Int32Array(4096);
    let state = 1;
    return () => {
      for (let i = 0; i < 4096; i++) {
        state = (Math.imul(state, 1_664_525) + 1_013_904_223) | 0;
        words[i] = (words[(state >>> 20) & 4095]! ^ state) | 0;
      }
      return 4096;
    };
  },
};
