/**
 * The export file (state.proto) and back: live flows and mappings, so that they survive a reboot, a move to another machine,
 * or another layout of the table.
 *
 * Times are relative: a flow has as long to live after the import as it had left at the export. Names instead of numbers
 * (rules, flags, states), so that the reader may number them otherwise. The reader believes nothing: lengths are bounded
 * before they are allocated, the checksum is compared before anything is taken, and what a record says is judged by the
 * engine (datapath/import.ts).
 */
import { createHash } from 'node:crypto';
import {
  IMPORT_FLOW_BYTES,
  IMPORT_FLOW_WORDS,
  IMPORT_MAPPING_WORDS,
  ImportFlow,
  ImportMapping,
} from '../contract/import.js';
import { Kind, MappingKind, MappingRow, Row, RowFlag, Tcp, Words } from '../contract/table-layout.js';
import type { TableReader } from './flows.js';
import codec from './state-codec.js';

const MAGIC = Buffer.from('tungate-state 1\n');
/** Records a chunk: what a worker takes in at once. */
const CHUNK = 512;
/** A chunk is far smaller; whatever says more is no chunk of ours. */
const MAX_RECORD = 1 << 20;
const BYTES_A_FLOW = 256;

/** The most that a file for a table of so many rows can have. */
export function stateLimit(flows: number): number {
  return 4096 + flows * BYTES_A_FLOW;
}

interface MappingRecord {
  protocol?: number;
  inside?: number;
  insidePort?: number;
  outside?: number;
  outsidePort?: number;
  filtering?: number;
  rule?: string;
  shared?: boolean;
  held?: number;
}

interface TupleRecord {
  src?: number;
  dst?: number;
  sport?: number;
  dport?: number;
}

interface FlowRecord {
  protocol?: number;
  original?: TupleRecord | null;
  reply?: TupleRecord | null;
  seconds?: number;
  originalBytes?: number;
  replyBytes?: number;
  mapped?: boolean;
  state?: number;
  flags?: number[];
  tcp?: Partial<Record<'end0' | 'end1' | 'ack0' | 'ack1' | 'window0' | 'window1' | 'scale0' | 'scale1', number>> | null;
}

interface RecordMessage {
  head?: { version?: string; written?: number } | null;
  chunk?: { mappings?: MappingRecord[]; flows?: FlowRecord[] } | null;
  end?: { mappings?: number; flows?: number; sha256?: Uint8Array } | null;
}

const Message = (
  codec as unknown as {
    tungate: {
      state: {
        Record: {
          encode(message: RecordMessage): { finish(): Uint8Array };
          decode(bytes: Uint8Array): RecordMessage;
        };
      };
    };
  }
).tungate.state.Record;

/** By number of the enum Flag. */
const FLAGS: readonly number[] = [
  0,
  RowFlag.FIN0,
  RowFlag.FIN1,
  RowFlag.FIN0_ACKED,
  RowFlag.FIN1_ACKED,
  RowFlag.REPLIED,
  RowFlag.ASSURED,
  RowFlag.OUTBOUND,
  RowFlag.PLAIN,
  RowFlag.HAIRPIN,
  RowFlag.INBOUND,
  RowFlag.FORWARD,
  RowFlag.LOOSE,
];
const TCP = 6;

/** The file as pieces. `ruleName` tells a rule by its id; `now`: CLOCK_BOOTTIME seconds. */
export function* exportState(
  table: TableReader,
  ruleName: (id: number) => string,
  version: string,
  now: number,
): Generator<Uint8Array> {
  const hash = createHash('sha256');
  const seal = (bytes: Uint8Array) => {
    hash.update(bytes);
    return bytes;
  };
  yield seal(MAGIC);
  yield seal(framed({ head: { version, written: Math.floor(Date.now() / 1000) } }));
  const words = new Int32Array(Words.ROW + Words.TCP);
  const bytes = new Float64Array(words.buffer, Row.BYTES0 * 4, 2);
  const count = { mappings: 0, flows: 0 };
  let mappings: MappingRecord[] = [];
  for (let i = 0; i < table.mappingHighWater; i++) {
    if (!table.copyMapping(i, words)) continue;
    mappings.push(mappingRecord(words, ruleName, now));
    count.mappings++;
    if (mappings.length < CHUNK) continue;
    yield seal(framed({ chunk: { mappings } }));
    mappings = [];
  }
  if (mappings.length > 0) yield seal(framed({ chunk: { mappings } }));
  let flows: FlowRecord[] = [];
  for (let i = 0; i < table.highWater; i++) {
    if (!table.copyRow(i, now, words)) continue;
    flows.push(flowRecord(words, bytes, now));
    count.flows++;
    if (flows.length < CHUNK) continue;
    yield seal(framed({ chunk: { flows } }));
    flows = [];
  }
  if (flows.length > 0) yield seal(framed({ chunk: { flows } }));
  yield framed({ end: { ...count, sha256: hash.digest() } });
}

function framed(message: RecordMessage): Uint8Array {
  const body = Message.encode(message).finish();
  const length: number[] = [];
  for (let rest = body.length; ; rest >>>= 7) {
    length.push(rest > 127 ? (rest & 127) | 128 : rest);
    if (rest <= 127) break;
  }
  return Buffer.concat([Uint8Array.from(length), body]);
}

function mappingRecord(w: Int32Array, ruleName: (id: number) => string, now: number): MappingRecord {
  const meta = w[MappingRow.META]!;
  const live = w[MappingRow.COUNT]! > 0;
  return {
    protocol: meta & 0xff,
    inside: w[MappingRow.INSIDE]! >>> 0,
    insidePort: w[MappingRow.PORTS]! >>> 16,
    outside: w[MappingRow.OUTSIDE]! >>> 0,
    outsidePort: w[MappingRow.PORTS]! & 0xffff,
    filtering: (meta >>> 12) & 15,
    rule: ruleName(meta >>> 16),
    shared: ((meta >>> 8) & 15) === MappingKind.SHARED_PORT,
    held: live ? 0 : Math.max(w[MappingRow.EXPIRES]! - now, 0),
  };
}

function flowRecord(w: Int32Array, bytes: Float64Array, now: number): FlowRecord {
  const kind = w[Row.KIND]!;
  const protocol = kind & 0xff;
  return {
    protocol,
    original: tupleRecord(w, Row.SRC0),
    reply: tupleRecord(w, Row.SRC1),
    seconds: w[Row.EXPIRES]! - now + 1,
    originalBytes: bytes[0]!,
    replyBytes: bytes[1]!,
    mapped: w[Row.MAPPING] !== 0,
    state: (kind >>> Kind.STATE_SHIFT) & Kind.STATE_MASK,
    flags: FLAGS.flatMap((bit, flag) => (bit !== 0 && (kind & bit) !== 0 ? [flag] : [])),
    ...(protocol === TCP && { tcp: tcpRecord(w, kind) }),
  };
}

function tupleRecord(w: Int32Array, at: number): TupleRecord {
  return { src: w[at]! >>> 0, dst: w[at + 1]! >>> 0, sport: w[at + 2]! >>> 16, dport: w[at + 2]! & 0xffff };
}

function tcpRecord(w: Int32Array, kind: number): NonNullable<FlowRecord['tcp']> {
  const word = (i: number) => w[Words.ROW + i]! >>> 0;
  const windows = word(Tcp.WINDOWS);
  return {
    end0: word(Tcp.END0),
    end1: word(Tcp.END1),
    ack0: word(Tcp.ACK0),
    ack1: word(Tcp.ACK1),
    window0: windows >>> 16,
    window1: windows & 0xffff,
    scale0: (kind >>> RowFlag.SCALE0_SHIFT) & 15,
    scale1: (kind >>> RowFlag.SCALE1_SHIFT) & 15,
  };
}

/** What a file holds, packed for the engine. */
export interface StateChunk {
  readonly mappings: Int32Array;
  readonly flows: Int32Array;
  readonly bytes: Float64Array;
}

/** Not an export file, or not a whole one. */
export class StateError extends Error {}

/** Judges a whole file, then gives its chunks. Throws StateError; then nothing of it is to be used. */
export function readState(file: Uint8Array, ruleId: (name: string) => number): StateChunk[] {
  if (file.length < MAGIC.length || !MAGIC.equals(file.subarray(0, MAGIC.length)))
    throw new StateError('is not a file of "tungate flows export" (or of another format version)');
  const chunks: StateChunk[] = [];
  const count = { mappings: 0, flows: 0 };
  let at = MAGIC.length;
  for (;;) {
    const start = at;
    const { length, next } = recordLength(file, at);
    at = next + length;
    if (length > MAX_RECORD || at > file.length) throw new StateError(`is cut off or damaged at byte ${start}`);
    const { chunk, end } = decode(file.subarray(next, at), start);
    if (end) {
      const sum = createHash('sha256').update(file.subarray(0, start)).digest();
      if (at !== file.length) throw new StateError(`has ${file.length - at} bytes behind its end`);
      if (!sum.equals(Buffer.from(end.sha256 ?? []))) throw new StateError('is damaged: the checksum is wrong');
      if (end.mappings !== count.mappings || end.flows !== count.flows)
        throw new StateError('is damaged: records are missing');
      return chunks;
    }
    if (!chunk) continue;
    const { mappings = [], flows = [] } = chunk;
    if (mappings.length + flows.length > CHUNK)
      throw new StateError(`has a chunk of more than ${CHUNK} records at byte ${start}`);
    count.mappings += mappings.length;
    count.flows += flows.length;
    chunks.push(pack(mappings, flows, ruleId));
  }
}

function decode(bytes: Uint8Array, start: number): RecordMessage {
  try {
    return Message.decode(bytes);
  } catch (error) {
    throw new StateError(`is damaged at byte ${start}: ${(error as Error).message}`);
  }
}

function recordLength(file: Uint8Array, from: number): { length: number; next: number } {
  let length = 0;
  for (let at = from, shift = 0; at < file.length && shift < 28; at++, shift += 7) {
    length |= (file[at]! & 127) << shift;
    if (file[at]! < 128) return { length, next: at + 1 };
  }
  throw new StateError(`is cut off or damaged at byte ${from}`);
}

function pack(
  mappings: readonly MappingRecord[],
  flows: readonly FlowRecord[],
  ruleId: (name: string) => number,
): StateChunk {
  const chunk: StateChunk = {
    mappings: new Int32Array(mappings.length * IMPORT_MAPPING_WORDS),
    flows: new Int32Array(flows.length * IMPORT_FLOW_WORDS),
    bytes: new Float64Array(flows.length * IMPORT_FLOW_BYTES),
  };
  mappings.forEach((mapping, index) => {
    const w = chunk.mappings.subarray(index * IMPORT_MAPPING_WORDS);
    w[ImportMapping.PROTO] = mapping.protocol ?? 0;
    w[ImportMapping.INSIDE] = mapping.inside ?? 0;
    w[ImportMapping.OUTSIDE] = mapping.outside ?? 0;
    w[ImportMapping.PORTS] = ports(mapping.insidePort, mapping.outsidePort);
    w[ImportMapping.KIND] = mapping.shared ? MappingKind.SHARED_PORT : MappingKind.ENDPOINT_INDEPENDENT;
    w[ImportMapping.FILTERING] = mapping.filtering ?? 0;
    w[ImportMapping.RULE] = mapping.rule ? ruleId(mapping.rule) : 0;
    w[ImportMapping.SECONDS] = seconds(mapping.held);
  });
  flows.forEach((flow, index) => {
    const w = chunk.flows.subarray(index * IMPORT_FLOW_WORDS);
    const tcp = flow.tcp ?? {};
    let kind = ((flow.protocol ?? 0) & 0xff) | (((flow.state ?? 0) & Kind.STATE_MASK) << Kind.STATE_SHIFT);
    for (const flag of flow.flags ?? []) kind |= FLAGS[flag] ?? 0;
    kind |= ((tcp.scale0 ?? 0) & 15) << RowFlag.SCALE0_SHIFT;
    kind |= ((tcp.scale1 ?? 0) & 15) << RowFlag.SCALE1_SHIFT;
    w[ImportFlow.KIND] = kind;
    packTuple(w, ImportFlow.SRC0, flow.original);
    packTuple(w, ImportFlow.SRC1, flow.reply);
    w[ImportFlow.SECONDS] = seconds(flow.seconds);
    w[ImportFlow.MAPPED] = flow.mapped ? 1 : 0;
    w[ImportFlow.TCP + Tcp.END0] = tcp.end0 ?? 0;
    w[ImportFlow.TCP + Tcp.END1] = tcp.end1 ?? 0;
    w[ImportFlow.TCP + Tcp.ACK0] = tcp.ack0 ?? 0;
    w[ImportFlow.TCP + Tcp.ACK1] = tcp.ack1 ?? 0;
    w[ImportFlow.TCP + Tcp.WINDOWS] = ports(tcp.window0, tcp.window1);
    chunk.bytes[index * IMPORT_FLOW_BYTES] = flow.originalBytes ?? 0;
    chunk.bytes[index * IMPORT_FLOW_BYTES + 1] = flow.replyBytes ?? 0;
  });
  return chunk;
}

function packTuple(w: Int32Array, at: number, tuple: TupleRecord | null | undefined): void {
  w[at] = tuple?.src ?? 0;
  w[at + 1] = tuple?.dst ?? 0;
  w[at + 2] = ports(tuple?.sport, tuple?.dport);
}

function ports(high = 0, low = 0): number {
  return (high << 16) | (low & 0xffff);
}

function seconds(value = 0): number {
  return Math.min(value, 0x7fff_ffff);
}
