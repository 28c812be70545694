/** What the rest of the program may use of host/: what is read from the kernel, changed in it, and put back. */

import type { Claim } from '../contract/steering.js';
import type { World } from '../contract/world.js';
import type { Check, PreflightInput } from './check.js';

export type { Check, PreflightInput } from './check.js';
export { type Change, Journal, type UndoReport } from './journal.js';
export { findLink, type Link, readLinks, setLink } from './link.js';
export { KernelError, Netlink } from './netlink.js';
export { type OuterTap, openOuterTap, verifyOuterTap } from './outer-tap.js';
export { reservePorts } from './reserve.js';
export { applySteering, closeSteering, type SteeringReport, verifySteering } from './steer.js';
export { type SteeringWatch, watchSteering } from './steer-watch.js';
export { setTunAddresses, setTunRoutes, setupTun, type Tun, type TunOptions, tunTrouble, verifyTun } from './tun.js';
export { changedIpv6, setTunIpv6 } from './tun-ipv6.js';
export { readWorld, type WorldWatch, watchWorld } from './world.js';

/** Behind `tungate doctor` and before a start (preflight.ts). A large part of this folder, so it is loaded when it is asked for. */
export async function preflight(input: PreflightInput | undefined, world: World): Promise<Check[]> {
  return (await import('./preflight.js')).preflight(input, world);
}

/** Behind a reload (check-sockets.ts). */
export async function servicesCutOff(wanted: PreflightInput, before: readonly Claim[]): Promise<string[]> {
  return (await import('./check-sockets.js')).servicesCutOff(wanted, before);
}

/** Who holds these UDP ports, in words; a router of ours does not count. */
export async function heldPorts(ports: readonly number[]): Promise<Map<number, string>> {
  return (await import('./check-links.js')).heldPorts(ports);
}
