/**
 * What the router holds in the kernel: one TUN, reserved ports, filters, addresses, and the journal in which each of them is
 * noted before it is made. The router (router.ts) says what is wanted and when; here it is brought about, checked, and put back.
 *
 * The hold outlives the process: after a crash or a hand-over the next one opens the same journal and finds the same device and
 * the same filters. `adopts` says so.
 */
import { lstatSync } from 'node:fs';
import { isDeepStrictEqual } from 'node:util';
import type { Steering } from '../contract/steering.js';
import type { World } from '../contract/world.js';
import {
  applySteering,
  changedIpv6,
  closeSteering,
  Journal,
  Netlink,
  readWorld,
  reservePorts,
  type SteeringWatch,
  setTunAddresses,
  setTunIpv6,
  setTunRoutes,
  setupTun,
  type Tun,
  verifySteering,
  verifyTun,
  type WorldWatch,
  watchSteering,
  watchWorld,
} from '../host/index.js';
import { native } from '../native.js';
import type { Compiled } from './compiled.js';
import { formatAddress } from './dotted.js';
import type { Log } from './early-log.js';

/** What is wanted of the kernel: a part of what compile gives back. */
export type Wanted = Pick<Compiled, 'steering' | 'reservedPorts' | 'tunAddresses' | 'tunRoutes' | 'tunIpv6'>;

export interface Bells {
  worldChanged(world: World): void;
  worldUnreadable(error: Error): void;
  steeringTouched(): void;
}

export class KernelHold {
  /** What of the last `steer` the kernel refused, in words. */
  problems: readonly string[] = [];
  #tun: Tun | null = null;
  #steering: Steering | null = null;
  #ipv6: Compiled['tunIpv6'] = null;
  #worldWatch: WorldWatch | null = null;
  #steeringWatch: SteeringWatch | null = null;
  readonly #nl: Netlink;
  readonly #journal: Journal;
  readonly #log: Log;

  /** Opens the journal; changes nothing. */
  constructor(undoFile: string, log: Log) {
    this.#log = log;
    this.#journal = new Journal(undoFile);
    this.#nl = new Netlink();
  }

  /** True when an earlier run left its TUN and steering here. */
  get adopts(): boolean {
    return this.#journal.changes.length > 0;
  }

  get tun(): Tun | null {
    return this.#tun;
  }

  readWorld(): World {
    return readWorld(this.#nl);
  }

  /** Makes the TUN or adopts it. `keep`: of its addresses, those that must not vanish for a moment. */
  openTun(name: string, queues: number, keep: readonly number[], stored: readonly number[] = []): Tun {
    const held = this.#journal.changes.flatMap((change) => (change.kind === 'address' ? [change.address] : []));
    const addresses = keep.filter((address) => held.includes(formatAddress(address)));
    this.#tun = setupTun(this.#nl, { name, queues, addresses, stored }, this.#journal);
    return this.#tun;
  }

  closeTun(): void {
    for (const fd of this.#tun?.fds ?? []) native.closeFd(fd);
    this.#tun = null;
  }

  /** First of what is wanted: before the engine gives out a port, the kernel must not. */
  reserve({ reservedPorts }: Wanted): void {
    reservePorts(reservedPorts, this.#journal);
  }

  /** Last of what is wanted, after the engine knows: filters, swapped in place, then what ARP is answered for, then the host's own way to the links. */
  steer({ steering, tunAddresses, tunRoutes, tunIpv6 }: Wanted, always = false): void {
    const next = { ...steering, tun: this.#tun!.index };
    // Two equal values mean that nothing has to be changed.
    if (always || !isDeepStrictEqual(next, this.#steering)) this.#apply(next);
    setTunAddresses(this.#nl, this.#tun!, tunAddresses, this.#journal);
    const routes = setTunRoutes(this.#nl, this.#tun!, tunRoutes, this.#journal);
    this.#ipv6 = tunIpv6;
    this.problems = [...routes, ...setTunIpv6(this.#nl, this.#tun!, tunIpv6, this.#journal)];
  }

  #apply(steering: Steering): void {
    const report = applySteering(this.#nl, steering, this.#journal);
    this.#steering = steering;
    for (const [word, lines] of Object.entries(report) as [string, readonly string[]][]) {
      for (const line of lines) this.#log.debug(`steering: ${word}: ${line}`);
    }
    if (report.vanished.length > 0)
      throw new Error(`${report.vanished.join(', ')} vanished while its filters were set`);
  }

  /** `known`: what has happened since is reported. */
  watch(known: World, bells: Bells): void {
    this.#worldWatch = watchWorld(
      (world) => bells.worldChanged(world),
      (error) => bells.worldUnreadable(error),
      known,
    );
    this.#steeringWatch = watchSteering(() => bells.steeringTouched());
  }

  /** Puts back what somebody else took away (a `tc qdisc del` by hand, a network manager, a write to ip_forward). */
  verify(): void {
    if (!this.#tun || !this.#steering) return;
    const changed = verifyTun(this.#nl, this.#tun, this.#journal);
    if (this.#ipv6 !== null) changed.push(...changedIpv6(this.#tun.name));
    // A device that was down has lost its IPv6 addresses.
    if (this.#ipv6 !== null && changed.length > 0) setTunIpv6(this.#nl, this.#tun, this.#ipv6, this.#journal);
    if (changed.length > 0) this.#log.warn(`somebody changed the TUN; putting it back: ${changed.join('; ')}`);
    const missing = verifySteering(this.#nl, this.#steering, this.#journal);
    if (missing.length === 0) return;
    this.#log.warn(`somebody changed the steering; putting it back: ${missing.join('; ')}`);
    this.#apply(this.#steering);
  }

  /** A socket's file outside the runtime directory. */
  noteSocket(path: string): void {
    this.#journal.note({ kind: 'socket', path, inode: lstatSync(path).ino });
  }

  // ---- The end.

  unwatch(): void {
    this.#worldWatch?.close();
    this.#steeringWatch?.close();
  }

  /** Nothing is handed to the engine any more. Each step by itself: what fails here is tried once more by `undo`. */
  release(): void {
    this.#attempt(() => this.#tun && setTunRoutes(this.#nl, this.#tun, [], this.#journal));
    this.#attempt(() => this.#tun && setTunAddresses(this.#nl, this.#tun, [], this.#journal));
    this.#attempt(() => this.#tun && setTunIpv6(this.#nl, this.#tun, null, this.#journal));
    this.#attempt(() => closeSteering(this.#nl, this.#journal));
  }

  #attempt(act: () => unknown): void {
    try {
      act();
    } catch (error) {
      this.#log.warn({ err: error }, 'while stopping');
    }
  }

  /** Puts everything back that is in the journal. Returns what could not be. */
  undo(): readonly string[] {
    const report = this.#journal.undoAll(this.#nl);
    for (const line of report.left) this.#log.warn(`left as it is: ${line}`);
    return report.failed;
  }

  /** Lets go; what is in the kernel stays there, and its journal. */
  close(): void {
    this.closeTun();
    this.#journal.close();
    this.#nl.close();
  }
}
