/** The shape of one line of `tungate doctor`, and what the checks are told. */
import type { Plan } from '../contract/plan.js';
import type { PortInterval, Steering } from '../contract/steering.js';
import type { World } from '../contract/world.js';

export interface Check {
  /** Short and stable: 'kernel', 'interface vmbr0'. */
  readonly name: string;
  readonly status: 'ok' | 'warn' | 'fail';
  /** What was found. */
  readonly detail: string;
  /** What to do about it; '' where nothing has to be done. */
  readonly remedy: string;
  /** `up` refuses to start because of it. A failure that may end by itself (an interface to come) does not. */
  readonly blocks: boolean;
}

/** What the config asks for. Without it only the machine is checked. */
export interface PreflightInput {
  /** Name of the TUN device. */
  readonly tun: string;
  readonly plan: Plan;
  readonly steering: Pick<Steering, 'claims'>;
  /** Ports that will be kept from the host's automatic source ports. */
  readonly reservedPorts: readonly PortInterval[];
}

export interface Wanted extends PreflightInput {
  readonly world: World;
}

export function ok(name: string, detail: string): Check {
  return { name, status: 'ok', detail, remedy: '', blocks: false };
}

export function warn(name: string, detail: string, remedy: string): Check {
  return { name, status: 'warn', detail, remedy, blocks: false };
}

export function fail(name: string, detail: string, remedy: string): Check {
  return { name, status: 'fail', detail, remedy, blocks: true };
}

/** A failure that `up` can start with, because it may end without a restart. */
export function failForNow(name: string, detail: string, remedy: string): Check {
  return { name, status: 'fail', detail, remedy, blocks: false };
}
