// All ways to break the program that npm run mutants knows.
import './datapath.mjs';
import './flow.mjs';
import './control-host.mjs';
import './wireguard.mjs';
import './links.mjs';
import './vxlan.mjs';

export { MUTANTS } from './collect.mjs';
