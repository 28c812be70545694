/** What the rest of the program may use of host/: what is read from the kernel, changed in it, and put back. */
export { KernelError, Netlink } from './netlink.js';
