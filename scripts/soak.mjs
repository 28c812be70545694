// npm run soak -- --minutes N: sets up what is missing, builds, and lets every fault strike a router under load.
import { handOver, setup } from './setup.mjs';

setup('test');
handOver([process.execPath, 'dist/test/soak/soak.js', ...process.argv.slice(2)]);
