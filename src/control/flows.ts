/**
 * Reading the flow table from outside: rows of the mapped file into objects, while the workers go on writing.
 *
 * Theory of operation. A worker takes no lock for us, so a row may be deleted and reused while it is read. The row's
 * generation is odd while it lives and stored last; it is loaded before and after the words, and a row whose generation
 * changed in between is read again or, when it is gone, left out. All words are loaded with Atomics, which keeps the
 * loads in order on every processor (plain loads may pass each other on arm64). What changes within one life of a row
 * (timeout, state, bytes) may be a packet apart; what names the flow cannot be mixed from two flows.
 */
import type { Flow, FlowTuple } from '../contract/api.js';
import type { Prefix } from '../contract/plan.js';
import {
  HEADER_BYTES,
  Header,
  Kind,
  MappingRow,
  Row,
  RowFlag,
  STATE_NAMES,
  type TableLayout,
  Words,
} from '../contract/table-layout.js';
import { formatAddress } from './address.js';

const TCP = 6;
const ICMP = 1;
const UDP = 17;

/** Names as /etc/protocols has them; conntrack says "unknown" for the rest, so do we in its grammar. */
const PROTOCOL_NAMES: Readonly<Record<number, string>> = {
  1: 'icmp',
  2: 'igmp',
  4: 'ipip',
  6: 'tcp',
  17: 'udp',
  33: 'dccp',
  41: 'ipv6',
  47: 'gre',
  50: 'esp',
  51: 'ah',
  132: 'sctp',
  136: 'udplite',
};

/** Every field that is given must be equal. Addresses are int32 with a mask, as in the plan. */
export interface FlowFilter {
  readonly proto?: number;
  readonly src?: Prefix;
  readonly dst?: Prefix;
  readonly sport?: number;
  readonly dport?: number;
}

/** The mapped table as control sees it. */
export class TableReader {
  readonly layout: TableLayout;
  readonly #words: Int32Array;
  readonly #bytes: Float64Array;
  readonly #header: Int32Array;

  constructor(buffer: ArrayBuffer | SharedArrayBuffer, layout: TableLayout) {
    this.layout = layout;
    this.#words = new Int32Array(buffer);
    this.#bytes = new Float64Array(buffer, layout.rowsAt, layout.rows * (Words.ROW / 2));
    this.#header = new Int32Array(buffer, 0, HEADER_BYTES / 4);
  }

  /** Rows below this have been used at least once. */
  get highWater(): number {
    return Math.min(Atomics.load(this.#header, Header.HIGH_WATER), this.layout.rows);
  }

  get liveFlows(): number {
    return Atomics.load(this.#header, Header.LIVE_FLOWS);
  }

  get liveMappings(): number {
    return Atomics.load(this.#header, Header.LIVE_MAPPINGS);
  }

  /**
   * The flow in row `index`, or null when the row is free, dead at `now` (CLOCK_BOOTTIME seconds), or filtered out.
   */
  read(index: number, now: number, filter: FlowFilter = {}): Flow | null {
    const words = this.#words;
    const at = this.layout.rowsAt / 4 + index * Words.ROW;
    for (let attempt = 0; attempt < 4; attempt++) {
      const generation = Atomics.load(words, at + Row.GENERATION);
      if ((generation & 1) === 0) return null;
      const kind = Atomics.load(words, at + Row.KIND);
      const src0 = Atomics.load(words, at + Row.SRC0);
      const dst0 = Atomics.load(words, at + Row.DST0);
      const ports0 = Atomics.load(words, at + Row.PORTS0);
      const src1 = Atomics.load(words, at + Row.SRC1);
      const dst1 = Atomics.load(words, at + Row.DST1);
      const ports1 = Atomics.load(words, at + Row.PORTS1);
      const expires = Atomics.load(words, at + Row.EXPIRES);
      const rule = Atomics.load(words, at + Row.RULE) & 0xffff;
      const original = this.#bytes[index * (Words.ROW / 2) + Row.BYTES0 / 2]!;
      const reply = this.#bytes[index * (Words.ROW / 2) + Row.BYTES1 / 2]!;
      if (Atomics.load(words, at + Row.GENERATION) !== generation) continue;
      if (expires < now) return null;
      const proto = kind & 0xff;
      if (!matches(filter, proto, src0, dst0, ports0)) return null;
      return {
        index,
        generation,
        proto,
        protocol: PROTOCOL_NAMES[proto] ?? String(proto),
        state: proto === TCP ? (STATE_NAMES[(kind >>> Kind.STATE_SHIFT) & Kind.STATE_MASK] ?? 'NONE') : '',
        timeout: expires - now,
        original: tuple(proto, src0, dst0, ports0),
        reply: tuple(proto, src1, dst1, ports1),
        bytes: { original, reply },
        replied: (kind & RowFlag.REPLIED) !== 0,
        assured: (kind & RowFlag.ASSURED) !== 0,
        hairpin: (kind & RowFlag.HAIRPIN) !== 0,
        rule,
      };
    }
    // Four lives in four reads: a flow that short is nobody's concern.
    return null;
  }

  /**
   * Copies a live row's words, then its TCP words, into `into` (ROW_WORDS + TCP_WORDS of them). False when the row is free,
   * dead at `now`, or changes hands while it is read.
   */
  copyRow(index: number, now: number, into: Int32Array): boolean {
    const words = this.#words;
    const at = this.layout.rowsAt / 4 + index * Words.ROW;
    const generation = Atomics.load(words, at);
    if ((generation & 1) === 0) return false;
    for (let i = 0; i < Words.ROW; i++) into[i] = Atomics.load(words, at + i);
    const tcp = this.layout.tcpAt / 4 + index * Words.TCP;
    for (let i = 0; i < Words.TCP; i++) into[Words.ROW + i] = Atomics.load(words, tcp + i);
    return Atomics.load(words, at) === generation && into[Row.EXPIRES]! >= now;
  }

  /** Mappings below this have been used at least once. */
  get mappingHighWater(): number {
    return Math.min(Atomics.load(this.#header, Header.MAPPING_HIGH_WATER), this.layout.mappings);
  }

  /** The same for a mapping, live or held. */
  copyMapping(index: number, into: Int32Array): boolean {
    const words = this.#words;
    const at = this.layout.mappingsAt / 4 + index * Words.MAPPING;
    const generation = Atomics.load(words, at);
    if ((generation & 1) === 0) return false;
    for (let i = 0; i < Words.MAPPING; i++) into[i] = Atomics.load(words, at + i);
    return Atomics.load(words, at) === generation;
  }

  /** Live flows by protocol and state, e.g. { 'tcp ESTABLISHED': 3, 'udp ': 1 } as a map of maps. */
  countFlows(now: number): Map<string, Map<string, number>> {
    const counts = new Int32Array(256 * 16);
    const words = this.#words;
    const end = this.highWater;
    let at = this.layout.rowsAt / 4;
    for (let index = 0; index < end; index++, at += Words.ROW) {
      if ((words[at + Row.GENERATION]! & 1) === 0 || words[at + Row.EXPIRES]! < now) continue;
      counts[(words[at + Row.KIND]! & 0xff) * 16 + ((words[at + Row.KIND]! >>> 8) & 0xf)]!++;
    }
    const result = new Map<string, Map<string, number>>();
    counts.forEach((count, cell) => {
      if (count === 0) return;
      const proto = cell >>> 4;
      const name = PROTOCOL_NAMES[proto] ?? String(proto);
      const state = proto === TCP ? (STATE_NAMES[cell & 15] ?? 'NONE') : 'NONE';
      const states = result.get(name) ?? new Map<string, number>();
      states.set(state, (states.get(state) ?? 0) + count);
      result.set(name, states);
    });
    return result;
  }

  /** Live and held mappings by outside address (int32), each [tcp, udp, icmp]. */
  countMappings(): Map<number, [number, number, number]> {
    const result = new Map<number, [number, number, number]>();
    const words = this.#words;
    const end = this.mappingHighWater;
    let at = this.layout.mappingsAt / 4;
    for (let index = 0; index < end; index++, at += Words.MAPPING) {
      if ((words[at + MappingRow.GENERATION]! & 1) === 0) continue;
      const proto = words[at + MappingRow.META]! & 0xff;
      const slot = proto === TCP ? 0 : proto === UDP ? 1 : 2;
      const outside = words[at + MappingRow.OUTSIDE]!;
      const used = result.get(outside) ?? [0, 0, 0];
      used[slot]!++;
      result.set(outside, used);
    }
    return result;
  }
}

function matches(filter: FlowFilter, proto: number, src: number, dst: number, ports: number): boolean {
  if (filter.proto !== undefined && filter.proto !== proto) return false;
  if (filter.src !== undefined && (src & filter.src.mask) !== filter.src.prefix) return false;
  if (filter.dst !== undefined && (dst & filter.dst.mask) !== filter.dst.prefix) return false;
  if (filter.sport === undefined && filter.dport === undefined) return true;
  if (proto !== TCP && proto !== UDP) return false;
  if (filter.sport !== undefined && ports >>> 16 !== filter.sport) return false;
  return filter.dport === undefined || (ports & 0xffff) === filter.dport;
}

function tuple(proto: number, src: number, dst: number, ports: number): FlowTuple {
  const addresses = { src: formatAddress(src), dst: formatAddress(dst) };
  if (proto === TCP || proto === UDP) return { ...addresses, sport: ports >>> 16, dport: ports & 0xffff };
  // A query id stands in both halves, or in the half of the side that asks.
  if (proto === ICMP) return { ...addresses, id: ports >>> 16 || ports & 0xffff };
  return addresses;
}

/** `tcp`, `udp`, `icmp`, … or a number, as an IP protocol number; undefined when it is neither. */
export function protocolNumber(text: string): number | undefined {
  if (/^\d{1,3}$/.test(text)) return Number(text) <= 255 ? Number(text) : undefined;
  const found = Object.entries(PROTOCOL_NAMES).find(([, name]) => name === text.toLowerCase());
  return found && Number(found[0]);
}
