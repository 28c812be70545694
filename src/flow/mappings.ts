/**
 * Mappings: inside endpoint X:x ↔ outside endpoint P:p (RFC 4787 §4), rows of their own beside the flows.
 *
 * Theory of operation. Port, filtering and timers belong to the mapping; state and rewrite to the flow, which refers to
 * it. An endpoint-independent mapping lives while at least one flow in which its inside host has sent lives (COUNT); when
 * the last one ends it is *held*: the port stays its own until EXPIRES, so that the same inside endpoint gets it back at
 * once and nobody else gets it (RFC 6888 REQ-8). A *shared port* row is a port of endpoint-dependent flows; it has no
 * inside and only counts them.
 *
 * Address-dependent filtering asks whether the inside host has sent to address R. Nearly every mapping has one remote,
 * which stands in the row (REMOTE); from the second one on they are counted in the pinholes, so that a host that speaks
 * with 100,000 remotes from one port (or scans 65,535 ports of one) costs neither a walk nor a long probe.
 *
 * A mapping that a helper opens for a connection that its peer will make is *expected*: no flow yet, REMOTE says who may come,
 * until EXPIRES. The first flow in which the inside host answers makes it live.
 *
 * The columns of one row are in mapping-rows.ts. Everything here runs under the table's lock.
 */
import { Filtering } from '../contract/plan.js';
import {
  BUCKET,
  Header,
  MAPPING_KEPT,
  MAX_EXPECTED,
  MappingRow,
  type TableLayout,
  Words,
} from '../contract/table-layout.js';
import { TranslationEvent } from '../contract/translation.js';
import { BucketIndex } from './bucket-index.js';
import { hashTuple } from './hash.js';
import { MappingRows } from './mapping-rows.js';
import { PortBlocks } from './port-blocks.js';
import { PortPool } from './port-pool.js';
import { ProbeTable } from './probe-table.js';
import type { TranslationLog } from './translation-log.js';

/** Word of a host's row that counts its flows. */
const HOST_FLOWS = 4;
const Pinhole = { MAPPING: 0, REMOTE: 1, FLOWS: 2 } as const;
const IPPROTO_TCP = 6;
const IPPROTO_UDP = 17;

/** contract Proto index of an IP protocol number; ICMP for 1. */
export function protoIndex(proto: number): number {
  return proto === IPPROTO_TCP ? 0 : proto === IPPROTO_UDP ? 1 : 2;
}

export class Mappings extends MappingRows {
  readonly inside: BucketIndex;
  readonly outside: BucketIndex;
  readonly pinholes: ProbeTable;
  readonly hosts: ProbeTable;
  readonly ports: PortPool;
  readonly blocks: PortBlocks;
  /** Takes every mapping that begins or ends, or null (translation log off). */
  log: TranslationLog | null = null;
  /** Takes every block of ports that gets its first mapping or loses its last, or null. */
  blockLog: TranslationLog | null = null;
  /** Sum of loads that only warm the cache; read by nobody. */
  touched = 0;
  readonly #header: Int32Array;
  readonly #hash: Int32Array;

  constructor(buffer: ArrayBuffer, layout: TableLayout, header: Int32Array, hash: Int32Array) {
    super(buffer, layout, header, hash);
    this.#header = header;
    this.#hash = hash;
    const index = (at: number, hashOf: (value: number) => number) =>
      new BucketIndex(
        new Int32Array(buffer, at, layout.mappingBuckets * BUCKET),
        layout.mappingBuckets,
        layout.mappings,
        hashOf,
      );
    this.inside = index(layout.insideIndexAt, (value) => this.hashInsideOf(value - 1));
    this.outside = index(layout.outsideIndexAt, (value) => this.hashOutsideOf(value - 1));
    this.pinholes = new ProbeTable(
      new Int32Array(buffer, layout.pinholesAt, layout.pinholes * Words.PINHOLE),
      Words.PINHOLE,
      2,
      hash,
      header,
      Header.LIVE_PINHOLES,
    );
    this.hosts = new ProbeTable(
      new Int32Array(buffer, layout.hostsAt, layout.hosts * Words.HOST),
      Words.HOST,
      1,
      hash,
      header,
      Header.LIVE_HOSTS,
    );
    this.ports = new PortPool(buffer, layout.bitmapsAt);
    this.blocks = new PortBlocks(this, hash);
  }

  /** Mapping (live or held) of inside endpoint X:x that leaves from address P, or −1. */
  findInside(proto: number, inside: number, x: number, outside: number): number {
    const { words } = this;
    const hash = hashTuple(this.#hash, inside, outside, x << 16, proto);
    let at = this.inside.first(hash);
    const tag = hash << this.inside.shift;
    for (let choice = 0; ; choice++) {
      for (const end = at + BUCKET; at < end; at++) {
        const entry = this.inside.words[at]!;
        if ((entry & ~this.inside.mask) !== tag || entry === 0) continue;
        const mapping = (entry & this.inside.mask) - 1;
        const m = mapping * Words.MAPPING;
        if (
          words[m + MappingRow.INSIDE] === inside &&
          words[m + MappingRow.OUTSIDE] === outside &&
          words[m + MappingRow.PORTS]! >>> 16 === x &&
          (words[m + MappingRow.META]! & 0xff) === proto
        ) {
          return mapping;
        }
      }
      if (choice === 1) return -1;
      at = this.inside.second(hash);
    }
  }

  /** Mapping or shared port (live or held) at outside endpoint P:p, or −1. */
  findOutside(proto: number, outside: number, p: number): number {
    const { words } = this;
    const hash = this.hashOutside(outside, p, proto);
    let at = this.outside.first(hash);
    const tag = hash << this.outside.shift;
    for (let choice = 0; ; choice++) {
      for (const end = at + BUCKET; at < end; at++) {
        const entry = this.outside.words[at]!;
        if ((entry & ~this.outside.mask) !== tag || entry === 0) continue;
        const mapping = (entry & this.outside.mask) - 1;
        const m = mapping * Words.MAPPING;
        if (
          words[m + MappingRow.OUTSIDE] === outside &&
          (words[m + MappingRow.PORTS]! & 0xffff) === p &&
          (words[m + MappingRow.META]! & 0xff) === proto
        ) {
          return mapping;
        }
      }
      if (choice === 1) return -1;
      at = this.outside.second(hash);
    }
  }

  /** Loads what `findOutside` will want for n hashes of outside endpoints, which are overwritten; only warms the cache. */
  touchOutside(hashes: Int32Array, n: number): void {
    const { words, outside } = this;
    outside.touchFirst(hashes, n);
    for (let k = 0; k < n; k++) hashes[k] = outside.candidate(hashes[k]!);
    let touched = 0;
    for (let k = 0; k < n; k++) if (hashes[k] !== 0) touched ^= words[(hashes[k]! - 1) * Words.MAPPING]!;
    this.touched = touched;
  }

  /**
   * Makes a mapping for X:x at P:p, whose port the caller has claimed from the pool. A shared port passes inside 0, x 0.
   * COUNT is 0 until the first flow joins. Returns −1 when mappings or hosts are full.
   */
  create(
    proto: number,
    inside: number,
    x: number,
    outside: number,
    p: number,
    kind: number,
    filtering: number,
    rule: number,
  ): number {
    const { words } = this;
    const mapping = this.take();
    if (mapping < 0) return -1;
    const m = mapping * Words.MAPPING;
    words[m + MappingRow.INSIDE] = inside;
    words[m + MappingRow.OUTSIDE] = outside;
    words[m + MappingRow.PORTS] = (x << 16) | p;
    words[m + MappingRow.META] = proto | (kind << 8) | (filtering << 12) | (rule << 16);
    words[m + MappingRow.COUNT] = 0;
    words[m + MappingRow.EXPIRES] = 0;
    words[m + MappingRow.REMOTE] = 0;
    if (!this.attach(mapping)) {
      this.release(mapping);
      return -1;
    }
    Atomics.store(words, m, (words[m]! + 1) | 0);
    if (this.log !== null) this.#note(TranslationEvent.MAPPING_BEGINS, mapping);
    if (this.blockLog !== null) this.#noteBlock(TranslationEvent.BLOCK_BEGINS, proto, inside, outside, p, 1);
    return mapping;
  }

  /** Indexes a written row and counts it to its host; part of create and of the rebuild at start. False when full. */
  attach(mapping: number): boolean {
    const shared = this.isShared(mapping);
    if (!this.outside.insert(this.hashOutsideOf(mapping), mapping + 1)) return false;
    if (!shared) {
      const host = this.hosts.findOrInsert(this.insideOf(mapping), 0);
      if (host < 0 || !this.inside.insert(this.hashInsideOf(mapping), mapping + 1)) {
        this.outside.remove(this.hashOutsideOf(mapping), mapping + 1);
        if (host >= 0) this.#leaveHost(host, -1);
        return false;
      }
      this.hosts.words[host + 1 + protoIndex(this.protoOf(mapping))]!++;
    }
    this.#header[Header.LIVE_MAPPINGS] = this.#header[Header.LIVE_MAPPINGS]! + 1;
    return true;
  }

  /** Mappings that an inside host has, of contract Proto `proto`. */
  countOfHost(inside: number, proto: number): number {
    const host = this.hosts.find(inside, 0);
    return host < 0 ? 0 : this.hosts.words[host + 1 + proto]!;
  }

  /**
   * An inside host has begun a flow that no mapping counts (without NAT, or from its own forward's port). False when the hosts
   * are full: refuse the flow.
   */
  charge(inside: number): boolean {
    const host = this.hosts.findOrInsert(inside, 0);
    if (host < 0) return false;
    this.hosts.words[host + HOST_FLOWS]!++;
    return true;
  }

  discharge(inside: number): void {
    const host = this.hosts.find(inside, 0);
    if (host < 0) return;
    this.hosts.words[host + HOST_FLOWS]!--;
    this.#leaveHost(host, -1);
  }

  /** Flows that an inside host has: all that it has begun, and those through its mappings that it has answered (RFC 6888 REQ-5). */
  flowsOfHost(inside: number): number {
    const host = this.hosts.find(inside, 0);
    return host < 0 ? 0 : this.hosts.words[host + HOST_FLOWS]!;
  }

  /** A flow in which `inside` sends to `remote` joins. False when the pinholes or hosts are full: refuse the flow. */
  join(mapping: number, remote: number, inside: number): boolean {
    const { words, pinholes } = this;
    const m = mapping * Words.MAPPING;
    const count = words[m + MappingRow.COUNT]!;
    const host = this.hosts.findOrInsert(inside, 0);
    if (host < 0) return false;
    if (!this.isShared(mapping)) {
      if (count === 0) this.#expectNobody(mapping);
      const only = words[m + MappingRow.REMOTE]!;
      if (count === 0) words[m + MappingRow.REMOTE] = remote;
      else if (only !== remote) {
        if (only !== 0) {
          const first = pinholes.findOrInsert(mapping + 1, only);
          if (first < 0) return false;
          pinholes.words[first + Pinhole.FLOWS] = count;
          words[m + MappingRow.REMOTE] = 0;
        }
        const at = pinholes.findOrInsert(mapping + 1, remote);
        // Full between the two inserts: the first remote stays in the pinholes, which is right, only dearer.
        if (at < 0) return false;
        pinholes.words[at + Pinhole.FLOWS]!++;
      }
    }
    this.hosts.words[host + HOST_FLOWS]!++;
    words[m + MappingRow.COUNT] = count + 1;
    return true;
  }

  /** A flow that had joined with `remote` ends. The last one: the mapping is held for `hold` seconds, or ends at once. */
  leave(mapping: number, remote: number, inside: number, now: number, hold: number): void {
    const { words, pinholes } = this;
    const m = mapping * Words.MAPPING;
    this.discharge(inside);
    if (!this.isShared(mapping) && words[m + MappingRow.REMOTE] === 0) {
      const at = pinholes.find(mapping + 1, remote);
      if (at >= 0 && --pinholes.words[at + Pinhole.FLOWS]! <= 0) pinholes.removeAt(at);
    }
    const count = words[m + MappingRow.COUNT]! - 1;
    words[m + MappingRow.COUNT] = count;
    if (count > 0) return;
    words[m + MappingRow.REMOTE] = 0;
    const kept = this.keptUntil(mapping);
    if (kept < now) words[m + MappingRow.META]! &= ~MAPPING_KEPT;
    words[m + MappingRow.EXPIRES] = Math.max(now + hold, kept);
    if (hold === 0 && kept < now) this.end(mapping);
  }

  /** Does its filtering let a stranger in (RFC 4787 §5)? */
  letsIn(mapping: number, remote: number): boolean {
    const filtering = this.filteringOf(mapping);
    if (filtering === Filtering.ENDPOINT_INDEPENDENT) return true;
    return filtering === Filtering.ADDRESS_DEPENDENT && this.hasSentTo(mapping, remote);
  }

  /** Has the inside host sent to this remote address through the mapping (RFC 4787 §5)? */
  hasSentTo(mapping: number, remote: number): boolean {
    const m = mapping * Words.MAPPING;
    if (this.words[m + MappingRow.COUNT] === 0) return false;
    const only = this.words[m + MappingRow.REMOTE]!;
    return only !== 0 ? only === remote : this.pinholes.find(mapping + 1, remote) >= 0;
  }

  /** Opens a mapping without flows for `remote` until second `until`. False when MAX_EXPECTED are open. */
  expect(mapping: number, remote: number, until: number): boolean {
    const { words } = this;
    const m = mapping * Words.MAPPING;
    if (words[m + MappingRow.REMOTE] === 0) {
      if (this.#header[Header.LIVE_EXPECTED]! >= MAX_EXPECTED) return false;
      this.#header[Header.LIVE_EXPECTED]!++;
    }
    words[m + MappingRow.REMOTE] = remote;
    words[m + MappingRow.EXPIRES] = Math.max(until, this.keptUntil(mapping));
    return true;
  }

  /** Is this mapping, which has no flow yet, open for `remote`? */
  expects(mapping: number, remote: number, now: number): boolean {
    const { words } = this;
    const m = mapping * Words.MAPPING;
    return (
      (words[m]! & 1) !== 0 &&
      words[m + MappingRow.COUNT] === 0 &&
      words[m + MappingRow.REMOTE] === remote &&
      words[m + MappingRow.EXPIRES]! >= now
    );
  }

  /** Who was expected has come by a flow that does not join (hairpin): the port stays held until EXPIRES. */
  arrived(mapping: number): void {
    this.#expectNobody(mapping);
  }

  /** Only without flows. */
  #expectNobody(mapping: number): void {
    const m = mapping * Words.MAPPING;
    if (this.words[m + MappingRow.REMOTE] === 0) return;
    this.words[m + MappingRow.REMOTE] = 0;
    this.#header[Header.LIVE_EXPECTED]!--;
  }

  /** Ends a mapping without flows: port, host and memory are free again. */
  end(mapping: number): void {
    const { words } = this;
    const m = mapping * Words.MAPPING;
    if (!this.isShared(mapping)) this.#expectNobody(mapping);
    if (this.log !== null) this.#note(TranslationEvent.MAPPING_ENDS, mapping);
    Atomics.store(words, m, (words[m]! + 1) | 0);
    const proto = this.protoOf(mapping);
    this.outside.remove(this.hashOutsideOf(mapping), mapping + 1);
    if (!this.isShared(mapping)) {
      this.inside.remove(this.hashInsideOf(mapping), mapping + 1);
      const host = this.hosts.find(this.insideOf(mapping), 0);
      if (host >= 0) this.#leaveHost(host, protoIndex(proto));
    }
    const outside = words[m + MappingRow.OUTSIDE]!;
    this.ports.release(outside, protoIndex(proto), this.outsidePort(mapping));
    if (this.blockLog !== null)
      this.#noteBlock(
        TranslationEvent.BLOCK_ENDS,
        proto,
        this.insideOf(mapping),
        outside,
        this.outsidePort(mapping),
        0,
      );
    this.release(mapping);
    this.#header[Header.LIVE_MAPPINGS] = this.#header[Header.LIVE_MAPPINGS]! - 1;
  }

  /** A line when `used` ports of the block are used: the first came just now, or the last went. */
  #noteBlock(event: number, proto: number, inside: number, outside: number, p: number, used: number): void {
    const { blocks } = this;
    if (blocks.size === 0 || blocks.usedBeside(outside, protoIndex(proto), p) !== used) return;
    const first = blocks.firstOf(p);
    this.blockLog!.note(event, proto, inside, outside, (first << 16) | (first + blocks.size - 1), 0, 0, 0);
  }

  #note(event: number, mapping: number): void {
    const { words } = this;
    const m = mapping * Words.MAPPING;
    const meta = words[m + MappingRow.META]!;
    const inside = words[m + MappingRow.INSIDE]!;
    this.log!.note(
      event,
      meta & 0xff,
      inside,
      words[m + MappingRow.OUTSIDE]!,
      words[m + MappingRow.PORTS]!,
      0,
      0,
      meta >>> 16,
    );
  }

  #leaveHost(host: number, proto: number): void {
    const { words } = this.hosts;
    if (proto >= 0) words[host + 1 + proto]!--;
    for (let word = host + 1; word < host + Words.HOST; word++) if (words[word] !== 0) return;
    this.hosts.removeAt(host);
  }
}
