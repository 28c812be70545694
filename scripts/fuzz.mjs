// npm run fuzz: sets up what is missing, builds, and lets generated traffic loose on the engine, or with `--target wireguard` altered messages on a WireGuard
// device. Arguments: test/fuzz/main.ts, test/fuzz/wireguard.ts.
import { handOver, setup } from './setup.mjs';

setup('build');
const words = process.argv.slice(2);
const wireguard = words[words.indexOf('--target') + 1] === 'wireguard' && words.includes('--target');
const program = wireguard ? 'dist/test/fuzz/wireguard.js' : 'dist/test/fuzz/main.js';
handOver([process.execPath, '--enable-source-maps', program, ...words]);
