/**
 * Loops: two links between the same two bridges, or a link beside another way that joins them. Every broadcast then goes round for ever.
 *
 * Theory of operation. Each link sends a small probe frame into its tunnel, to every remote, once in INTERVAL. Split horizon and the bridges behind the remotes see to
 * it that no frame ever returns to the site that sent it into a tunnel. So a probe of ours that arrives here, from any tunnel or at any TAP, proves a loop,
 * and as it carries the number of the link that sent it, both ends of the loop have a name: "sent by A, came back by B".
 *
 * Why probes and not the rate at which addresses move between TAP and tunnel: a loop without traffic is found before it hurts, a migration or a failing-over pair is
 * not mistaken for one, nobody has to choose a threshold, and the flapping table cannot say which other link is part of it. (The moves are counted all the
 * same: Fdb.crossings.) Price: 60 bytes a remote each INTERVAL. It is not found behind equipment that eats unknown EtherTypes; storm control bounds that.
 *
 * What is done: of the two links the younger one (higher number) is blocked, both ways, for HOLD and a random part of it, again as long as probes come back: one way
 * stays open. Both sites see their own probes; that they release at random moments makes one of them stay open and the other blocked. With `report` it is
 * only said.
 *
 * A stranger cannot block a link: a probe counts only with this process's 64-bit secret, and with a sequence number sent in the last few intervals. A
 * configured remote could send our probes back; it could as well build the loop.
 *
 * Frame: group address 03:74:75:6e:67:61 (bridges flood it), a locally administered source a link, EtherType 0x88b5 (IEEE: local experiments), magic,
 * secret, link, sequence.
 */

import { type Random, systemRandom } from './hash.js';
import { VXLAN_BYTES, writeHeader } from './header.js';
import type { Inner } from './inner.js';

export const PROBE_TYPE = 0x88b5;
export const PROBE_BYTES = 60;
const MAGIC = 0x7467_6c70; // "tglp"
const GROUP_HI = 0x0374;
const GROUP_LO = 0x756e_6761;
const AT = 14;

/** Milliseconds. */
export const INTERVAL = 2000;
export const HOLD = 10_000;
/** A probe that was under way for longer is a replay. */
const FRESH = 8;

export interface Loop {
  /** Names of the link that sent the probe and of the one that it came back by; the same when it came back by another way. */
  readonly sentBy: string;
  readonly cameBackBy: string;
  /** Where it came back: out of the tunnel, or from the bridge. */
  readonly from: 'tunnel' | 'tap';
  /** The link that is blocked for it, '' = none. */
  readonly blocked: string;
}

export type LoopAction = 'block' | 'report';

/** A link's place in the watch. */
export class Watched {
  blockedUntil = Number.NEGATIVE_INFINITY;
  /** A loop in which it was found is told once, until it was away for a while. */
  toldUntil = Number.NEGATIVE_INFINITY;
  nextProbe = 0;
  sequence = 0;
  /** Probes that came back. */
  found = 0;

  constructor(
    readonly name: string,
    readonly number: number,
  ) {}

  blocked(now: number): boolean {
    return now < this.blockedUntil;
  }
}

/** One for all links of a daemon: a loop has two of them. */
export class LoopWatch {
  readonly #links = new Map<number, Watched>();
  readonly #secret = new Int32Array(2);
  readonly #random: Random;
  #next = 1;

  constructor(
    /** Told once a loop, and again when it comes back after HOLD. */
    readonly tell: (loop: Loop) => void,
    readonly action: LoopAction = 'block',
    random: Random = systemRandom,
  ) {
    this.#random = random;
    random(new Uint8Array(this.#secret.buffer));
  }

  add(name: string): Watched {
    const link = new Watched(name, this.#next++);
    link.sequence = this.#word();
    this.#links.set(link.number, link);
    return link;
  }

  remove(link: Watched): void {
    this.#links.delete(link.number);
  }

  /** Writes the VXLAN message with the next probe of `link`, PROBE_BYTES + VXLAN_BYTES long, to v[0…). */
  write(v: DataView, link: Watched, vni: number): void {
    link.sequence = (link.sequence + 1) | 0;
    for (let i = 0; i < VXLAN_BYTES + PROBE_BYTES; i += 4) v.setInt32(i, 0);
    writeHeader(v, 0, vni);
    const at = VXLAN_BYTES;
    v.setUint16(at, GROUP_HI);
    v.setInt32(at + 2, GROUP_LO);
    v.setUint16(at + 6, 0x0274);
    v.setInt32(at + 8, this.#secret[0]! ^ link.number);
    v.setUint16(at + 12, PROBE_TYPE);
    v.setInt32(at + AT, MAGIC);
    v.setInt32(at + AT + 4, this.#secret[0]!);
    v.setInt32(at + AT + 8, this.#secret[1]!);
    v.setInt32(at + AT + 12, link.number);
    v.setInt32(at + AT + 16, link.sequence);
  }

  /** Is the frame a probe of ours? Then the loop is told and broken. Others' probes are ordinary multicast: they look for their own loops. */
  isOwn(v: DataView, inner: Inner, here: Watched, from: Loop['from'], now: number): boolean {
    if (inner.etherType !== PROBE_TYPE || inner.end - inner.l3 < 20) return false;
    const at = inner.l3;
    if (v.getInt32(at) !== MAGIC || v.getInt32(at + 4) !== this.#secret[0] || v.getInt32(at + 8) !== this.#secret[1]) {
      return false;
    }
    const sender = this.#links.get(v.getInt32(at + 12));
    if (sender === undefined) return true;
    const late = (sender.sequence - v.getInt32(at + 16)) | 0;
    if (late >= 0 && late < FRESH) this.#found(sender, here, from, now);
    return true;
  }

  #found(sender: Watched, here: Watched, from: Loop['from'], now: number): void {
    const younger = sender.number > here.number ? sender : here;
    here.found++;
    const hold = HOLD + (this.#word() >>> 0) * HOLD * 2 ** -32;
    if (this.action === 'block') younger.blockedUntil = Math.max(younger.blockedUntil, now + hold);
    const isNew = now >= younger.toldUntil;
    younger.toldUntil = now + 3 * HOLD;
    if (!isNew) return;
    const blocked = this.action === 'block' ? younger.name : '';
    this.tell({ sentBy: sender.name, cameBackBy: here.name, from, blocked });
  }

  #word(): number {
    const word = new Int32Array(1);
    this.#random(new Uint8Array(word.buffer));
    return word[0]!;
  }
}

/** What is said to people. */
export function describeLoop(loop: Loop): string {
  const way =
    loop.sentBy === loop.cameBackBy
      ? `a probe that link ${loop.sentBy} sent came back to it from ${loop.from === 'tap' ? 'its bridge' : 'its tunnel'}: something else joins the two bridges as well`
      : `a probe that link ${loop.sentBy} sent came back by link ${loop.cameBackBy}: the two join the same bridges`;
  const done = loop.blocked === '' ? 'nothing is blocked' : `link ${loop.blocked} is blocked while it lasts`;
  return `loop: ${way}; ${done}; take one of them out, or let the bridges speak STP`;
}
