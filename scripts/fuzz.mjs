// npm run fuzz: sets up what is missing, builds, and lets generated traffic loose on the engine. Arguments: test/fuzz/main.ts.
import { handOver, setup } from './setup.mjs';

setup('build');
handOver([process.execPath, '--enable-source-maps', 'dist/test/fuzz/main.js', ...process.argv.slice(2)]);
