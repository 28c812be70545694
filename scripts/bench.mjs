// npm run bench: sets up what is missing, builds, measures. Arguments go to bench/run.ts (--rounds N, --seconds N).
import { handOver, setup } from './setup.mjs';

setup('bench');
handOver([process.execPath, 'dist/bench/run.js', ...process.argv.slice(2)]);
