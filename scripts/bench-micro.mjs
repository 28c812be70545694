// npm run bench:compare: builds, then judges the micro benches by the committed baseline (bench/compare.ts).
// npm run bench:micro: the micro benches alone (bench/micro.ts).
import { handOver, setup } from './setup.mjs';

const [program, ...args] = process.argv.slice(2);
setup('build');
handOver([process.execPath, `dist/bench/${program}.js`, ...args]);
