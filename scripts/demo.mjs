// npm run demo: sets up what is missing, builds, shows the router at work.
import { handOver, setup } from './setup.mjs';

setup('demo');
handOver([process.execPath, 'dist/src/lab/demo.js', ...process.argv.slice(2)]);
