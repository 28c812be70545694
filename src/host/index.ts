/** What the rest of the program may use of host/: what is read from the kernel, changed in it, and put back. */
export { type Change, Journal, type UndoReport } from './journal.js';
export { KernelError, Netlink } from './netlink.js';
export { reservePorts } from './reserve.js';
export { setTunAddresses, setupTun, type Tun, type TunOptions, tunTrouble } from './tun.js';
export { readWorld, type WorldWatch, watchWorld } from './world.js';
