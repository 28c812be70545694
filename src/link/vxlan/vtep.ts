/**
 * The VXLAN tunnel endpoint of one network (one VNI): frames from the TAP become messages for remotes, messages become frames for the TAP. No sockets and no
 * clock of its own: columns and times (milliseconds, never going back) go in, columns come out.
 *
 * From the TAP: 1 read the frame; 2 loop: blocked, or a probe of ours; 3 tags; 4 size; 5 learn where its source is; 6 answer ARP and neighbour requests
 * here; 7 find its remotes, within storm control; 8 header, entropy, DSCP and ECN, copies.
 *
 * From the tunnel: 1 is it ours: how it came, header, remote; 2 read the frame; 3 loop; 4 tags; 5 learn; 6 storm control; 7 ECN. It goes to the TAP and never to
 * another remote: split horizon, so a full mesh needs no spanning tree.
 */

import { ENDPOINT_WORDS } from '../wireguard/endpoint.js';
import type { Columns } from './columns.js';
import { Arrival } from './columns.js';
import { decapsulateEcn, innerTos, outerTos } from './ecn.js';
import { Fdb, type FdbOptions, LOCAL, UNKNOWN } from './fdb.js';
import { type Random, systemRandom } from './hash.js';
import { checkHeader, MAX_VNI, sourceIndex, VXLAN_BYTES, writeHeader } from './header.js';
import { ETHERNET_BYTES, Inner, TAG_BYTES } from './inner.js';
import { INTERVAL, type LoopWatch, PROBE_BYTES, type Watched } from './loop.js';
import { LOCAL_SIDE, type NeighbourOptions, Neighbours, REMOTE_SIDE } from './neighbours.js';
import { OUTCOMES, Outcome } from './outcome.js';
import { RemoteStat, Remotes, STAT_WORDS } from './remotes.js';
import { Storm, StormControl, type StormRates } from './storm.js';
import { answerQuestion, learnPairs } from './suppress.js';
import { applyVlan, type VlanMode } from './vlan.js';

export interface VtepOptions {
  readonly name: string;
  readonly vni: number;
  /** Largest IP packet of a frame (mtu.ts). */
  readonly mtu: number;
  /** Tags that a frame of that size may carry beside; the same number as for mtu.ts, default 0. */
  readonly tags?: 0 | 1 | 2;
  /** How many source ports are bound (REQ-49). */
  readonly sourcePorts?: number;
  /** Default: learning is on. */
  readonly learning?: boolean;
  /** Answer ARP and neighbour requests from known pairs; default: yes. */
  readonly suppress?: boolean;
  readonly vlan?: VlanMode;
  /** Outer DSCP, 0–63; −1 = the inner one. Default 0. */
  readonly dscp?: number;
  readonly fdb?: FdbOptions;
  readonly neighbours?: NeighbourOptions;
  readonly storm?: StormRates;
  readonly loops?: LoopWatch;
  readonly random?: Random;
}

/** Gets a VXLAN message that the endpoint sends by itself (a loop probe), good until it returns. */
export type Emit = (message: Uint8Array, remote: number) => void;

/** Rows that one `tick` looks at: the whole tables in a minute, at a tick a second. */
const SWEEP_PARTS = 60;
const TICK = 1000;

export class Vtep {
  readonly remotes: Remotes;
  readonly fdb: Fdb;
  readonly neighbours: Neighbours;
  readonly loop: Watched | null;
  /** Frames and datagrams by outcome; copies that did not fit too. */
  readonly counts = new Float64Array(OUTCOMES.length);
  /** What stands in front of every frame. */
  readonly header = new Uint8Array(VXLAN_BYTES);
  readonly #storm: StormControl;
  readonly #inner = new Inner();
  readonly #flowKey: number;
  readonly #probe = new Uint8Array(VXLAN_BYTES + PROBE_BYTES);
  readonly #probeView = new DataView(this.#probe.buffer);
  readonly #learning: boolean;
  readonly #suppress: boolean;
  readonly #vlan: VlanMode;
  readonly #dscp: number;
  readonly #sourcePorts: number;
  /** The largest frame. */
  readonly #frameBytes: number;

  constructor(readonly options: VtepOptions) {
    const { vni, sourcePorts = 1, dscp = 0 } = options;
    if (!Number.isInteger(vni) || vni < 0 || vni > MAX_VNI) {
      throw new RangeError(`VNI ${vni} of link ${options.name}: it is a number from 0 to ${MAX_VNI}`);
    }
    if (!Number.isInteger(dscp) || dscp < -1 || dscp > 63) {
      throw new RangeError(
        `DSCP ${dscp} of link ${options.name}: it is a number from 0 to 63, or -1 for the inner one`,
      );
    }
    const random = options.random ?? systemRandom;
    this.remotes = new Remotes(random);
    this.fdb = new Fdb({ random, ...options.fdb });
    this.neighbours = new Neighbours({ random, ...options.neighbours });
    this.loop = options.loops?.add(options.name) ?? null;
    this.#storm = new StormControl(options.storm);
    const key = new Int32Array(1);
    random(new Uint8Array(key.buffer));
    this.#flowKey = key[0]!;
    this.#learning = options.learning ?? true;
    this.#suppress = options.suppress ?? true;
    this.#vlan = options.vlan ?? 'keep';
    this.#dscp = dscp;
    this.#sourcePorts = sourcePorts;
    this.#frameBytes = options.mtu + ETHERNET_BYTES + (options.tags ?? 0) * TAG_BYTES;
    writeHeader(new DataView(this.header.buffer), 0, vni);
  }

  /** Takes a remote out, and all that the tables have about it. */
  removeRemote(id: number): boolean {
    if (!this.remotes.remove(id)) return false;
    this.fdb.removePlace(id);
    return true;
  }

  /** Frees what other links share with this one. */
  close(): void {
    if (this.loop !== null) this.options.loops!.remove(this.loop);
  }

  // ---- From the TAP.

  /** Slots 0…n of the columns, as columns.ts says. Returns how many pairs are in `out`. */
  fromTap(c: Columns, n: number, now: number): number {
    c.out = 0;
    c.answers = 0;
    for (let i = 0; i < n; i++) {
      const outcome = this.#encapsulate(c, i, now);
      c.outcome[i] = outcome;
      this.counts[outcome]! += 1;
    }
    return c.out;
  }

  #encapsulate(c: Columns, i: number, now: number): number {
    const inner = this.#inner;
    const v = c.view;
    // 1
    const read = inner.read(v, c.off[i]!, c.len[i]!);
    if (read !== Outcome.PASS) return read;
    // 2
    if (this.loop !== null) {
      if (this.options.loops!.isOwn(v, inner, this.loop, 'tap', now)) return Outcome.PROBE;
      if (this.loop.blocked(now)) return Outcome.LOOP;
    }
    // 3
    if (inner.tags > 0) {
      const tagged = applyVlan(this.#vlan, true, c, i, inner);
      if (tagged !== Outcome.PASS) return tagged;
    }
    // 4
    const frames = this.#frames(c, i);
    if (frames === 0) return Outcome.TOO_BIG;
    // 5
    if (!this.#learn(inner, LOCAL, now)) return Outcome.STATIC_MOVED;
    // 6
    if (this.#suppress) {
      if (this.#learning) learnPairs(this.neighbours, c.data, v, inner, LOCAL_SIDE, now);
      const bytes = answerQuestion(this.neighbours, this.fdb, c.data, v, c.off[i]!, inner, now);
      if (bytes > 0) {
        c.len[i] = bytes;
        c.answer[c.answers++] = i;
        return Outcome.ANSWERED;
      }
    }
    // 7
    const place = inner.group ? UNKNOWN : this.fdb.find(inner.dstHi, inner.dstLo, now);
    if (place === LOCAL) return Outcome.LOCAL;
    if (place === UNKNOWN) {
      if (this.remotes.floods === 0) return Outcome.NO_REMOTE;
      const kind = inner.broadcast ? Storm.BROADCAST : inner.group ? Storm.MULTICAST : Storm.UNKNOWN;
      // Without learning, one remote that gets everything is how a point-to-point link is configured: no flood.
      const direct = kind === Storm.UNKNOWN && !this.#learning && this.remotes.floods === 1;
      const stormed = direct ? Outcome.PASS : this.#storms(kind, 0, frames, now);
      if (stormed !== Outcome.PASS) return stormed;
    }
    // 8
    if (c.segment[i] === 0) writeHeader(v, c.off[i]! - VXLAN_BYTES, this.options.vni);
    c.source[i] = sourceIndex(inner.hash(v, this.#flowKey), this.#sourcePorts);
    c.tos[i] = outerTos(innerTos(v, inner), this.#dscp);
    return place === UNKNOWN ? this.#flood(c, i, frames) : this.#copy(c, i, place, frames);
  }

  /** How many frames the slot is on the wire; 0 = one of them is too large for the tunnel. */
  #frames(c: Columns, i: number): number {
    const inner = this.#inner;
    const most = this.#frameBytes;
    const len = c.len[i]!;
    const segment = c.segment[i]!;
    if (segment === 0) return len <= most ? 1 : 0;
    const headers = inner.headerBytes(c.view, c.off[i]!);
    if (headers === 0 || headers + segment > most) return 0;
    return Math.max(1, Math.ceil((len - headers) / segment));
  }

  #flood(c: Columns, i: number, frames: number): number {
    const { floodList, floods } = this.remotes;
    for (let k = 0; k < floods; k++) {
      if (this.#copy(c, i, floodList[k]!, frames) !== Outcome.PASS) {
        this.counts[Outcome.COPIES_FULL]! += floods - k;
        break;
      }
    }
    return Outcome.FLOODED;
  }

  #copy(c: Columns, i: number, remote: number, frames: number): number {
    if (c.out === c.copies) return Outcome.COPIES_FULL;
    c.outFrame[c.out] = i;
    c.outRemote[c.out++] = remote;
    const { stats } = this.remotes;
    stats[remote * STAT_WORDS + RemoteStat.TX_FRAMES]! += frames;
    stats[remote * STAT_WORDS + RemoteStat.TX_BYTES]! += c.len[i]!;
    return Outcome.PASS;
  }

  // ---- From the tunnel.

  /** Slots 0…n of the columns, as columns.ts says. Returns how many are for the TAP (outcome PASS). */
  fromTunnel(c: Columns, n: number, now: number, owner = -1): number {
    let passed = 0;
    for (let i = 0; i < n; i++) {
      if (owner >= 0 && c.source[i] !== owner) {
        c.outcome[i] = Outcome.WRONG_VNI; // another endpoint's, which counts it
        continue;
      }
      const outcome = this.#decapsulate(c, i, now);
      c.outcome[i] = outcome;
      this.counts[outcome]! += 1;
      if (outcome === Outcome.PASS) passed++;
    }
    return passed;
  }

  #decapsulate(c: Columns, i: number, now: number): number {
    const inner = this.#inner;
    const v = c.view;
    const off = c.off[i]!;
    // 1
    c.remote[i] = -1;
    if (c.arrival[i] !== 0) {
      return (c.arrival[i]! & Arrival.FRAGMENTED) !== 0 ? Outcome.FRAGMENTED : Outcome.TRUNCATED;
    }
    const checked = checkHeader(v, off, c.len[i]!, this.options.vni);
    if (checked !== Outcome.PASS) return checked;
    const remote = this.remotes.find(c.endpoint, i * ENDPOINT_WORDS);
    if (remote < 0) return Outcome.STRANGER;
    c.remote[i] = remote;
    c.off[i] = off + VXLAN_BYTES;
    c.len[i] = c.len[i]! - VXLAN_BYTES;
    // 2
    const read = inner.read(v, c.off[i]!, c.len[i]!);
    if (read !== Outcome.PASS) return read;
    // 3
    if (this.loop !== null) {
      if (this.options.loops!.isOwn(v, inner, this.loop, 'tunnel', now)) return Outcome.PROBE;
      if (this.loop.blocked(now)) return Outcome.LOOP;
    }
    // 4
    if (inner.tags > 0) {
      const tagged = applyVlan(this.#vlan, false, c, i, inner);
      if (tagged !== Outcome.PASS) return tagged;
    }
    // 5
    if (!this.#learn(inner, remote, now)) return Outcome.STATIC_MOVED;
    // 6
    if (inner.group) {
      const stormed = this.#storms(inner.broadcast ? Storm.BROADCAST : Storm.MULTICAST, 1, 1, now);
      if (stormed !== Outcome.PASS) return stormed;
    }
    // 7
    if (c.tos[i]! >= 0 && !decapsulateEcn(v, inner, c.tos[i]!)) return Outcome.ECN_DROP;
    if (this.#suppress && this.#learning) learnPairs(this.neighbours, c.data, v, inner, REMOTE_SIDE, now);
    const { stats } = this.remotes;
    stats[remote * STAT_WORDS + RemoteStat.RX_FRAMES]! += 1;
    stats[remote * STAT_WORDS + RemoteStat.RX_BYTES]! += c.len[i]!;
    return Outcome.PASS;
  }

  // ---- Both.

  #learn(inner: Inner, place: number, now: number): boolean {
    if (!this.#learning) return this.fdb.agrees(inner.srcHi, inner.srcLo, place);
    return this.fdb.learn(inner.srcHi, inner.srcLo, place, now);
  }

  #storms(kind: number, way: 0 | 1, frames: number, now: number): number {
    if (this.#storm.admit(kind, way, frames, now)) return Outcome.PASS;
    return Outcome.STORM_BROADCAST + kind;
  }

  /** Ageing and loop probes: to be called about once a second. Returns when next. */
  tick(now: number, emit: Emit): number {
    this.fdb.sweep(Math.ceil(this.fdb.capacity / SWEEP_PARTS), now);
    this.neighbours.sweep(Math.ceil(this.neighbours.capacity / SWEEP_PARTS), now);
    const { loop } = this;
    if (loop !== null && now >= loop.nextProbe) {
      loop.nextProbe = now + INTERVAL;
      this.options.loops!.write(this.#probeView, loop, this.options.vni);
      for (let k = 0; k < this.remotes.floods; k++) emit(this.#probe, this.remotes.floodList[k]!);
    }
    return now + TICK;
  }
}
