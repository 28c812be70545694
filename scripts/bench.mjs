// npm run bench: sets up what is missing, builds, measures. Arguments go to bench/run.ts (--help names them).
import { buildLoad } from './bench-load.mjs';
import { handOver, setup } from './setup.mjs';

setup('bench');
buildLoad();
handOver([process.execPath, 'dist/bench/run.js', ...process.argv.slice(2)]);
