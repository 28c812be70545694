// npm run bench: sets up what is missing, builds, measures. Arguments go to bench/run.ts (--help names them). A first argument that is a path under bench/ runs
// that program alone: npm run bench -- link/vxlan-tunnel --rounds 3
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { buildLoad } from './bench-load.mjs';
import { handOver, root, setup } from './setup.mjs';

const [program = '', ...args] = process.argv.slice(2);
const alone = /^[a-z][a-z/-]*$/.test(program) && existsSync(join(root, 'bench', `${program}.ts`));

setup('bench');
buildLoad();
handOver([process.execPath, `dist/bench/${alone ? program : 'run'}.js`, ...(alone ? args : process.argv.slice(2))]);
