/** The suites, in the order of the page. A new one is a file and a line here. */
import type { Suite } from '../lib/bench.js';
import { suite as connections } from './connections.js';
import { suite as cpu } from './cpu.js';
import { suite as growth } from './growth.js';
import { suite as latency } from './latency.js';
import { suite as memory } from './memory.js';
import { suite as small } from './small.js';
import { suite as tcp } from './tcp.js';

export const SUITES: readonly Suite[] = [tcp, small, connections, latency, growth, memory, cpu];
