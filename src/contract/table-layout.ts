/**
 * The flow table file: where everything lies. Both planes map the same file; the data plane writes, control reads.
 *
 * One file a router (`RUNTIME_DIR/flows`), on tmpfs, all pages allocated. Sections stand one behind the other, each on a
 * cache line:
 *
 *   header | rows 64 B | tcp 20 B | flow index | mappings 32 B | inside index | outside index | pinholes | hosts | port bitmaps | control
 *
 * A row or mapping is live when its GENERATION is odd; the writer stores it last. Times are CLOCK_BOOTTIME seconds.
 * Indexes, pinholes, hosts and bitmaps can be rebuilt from rows and mappings, and are, at every start.
 * Price: ≤ 128 bytes for each of `limits.flows`, everything included (`bytesPerFlow`).
 */

export const TABLE_MAGIC = 0x544e_4754; // 'TGNT'
/** Raised by every change of this page; a file of another version is refused and made anew. */
export const TABLE_VERSION = 4;

/** Int32 words of the header. */
export const enum Header {
  MAGIC = 0,
  VERSION = 1,
  /** Rows (= `limits.flows`). */
  ROWS = 2,
  /** First 16 bytes of /proc/sys/kernel/random/boot_id, as 4 words: boottime seconds of another boot mean nothing. */
  BOOT_ID = 3,
  /** Secret key of the hash, 2 words. */
  HASH_KEY = 7,
  /** 0 free, 1 held, 2 held with sleepers. */
  LOCK = 9,
  /** Rows 0…HIGH_WATER−1 have been used at least once. */
  HIGH_WATER = 10,
  /** FIFO of freed rows (row + 1, chained through Row.DELTA); 0 = empty. */
  FREE_HEAD = 11,
  FREE_TAIL = 12,
  LIVE_FLOWS = 13,
  MAPPING_HIGH_WATER = 14,
  MAPPING_FREE = 15,
  LIVE_MAPPINGS = 16,
  LIVE_HOSTS = 17,
  LIVE_PINHOLES = 18,
  /** Raised by each insert and delete. */
  CHANGES = 19,
  /** Mappings that a helper has opened for a connection that has not come yet. */
  LIVE_EXPECTED = 20,
  /** Forwards with limits; rows from COUNTED on are not yet in their counts (flow/rule-flows.ts). */
  LIMITED = 21,
  COUNTED = 22,
  /** Inner MTU of the links by their place in the plan, where a path carries less than the plan says; 0 = as it says. MAX_LINKS words. */
  LINK_MTUS = 32,
}
export const HEADER_BYTES = 4096;
/** In the header's second half: live flows of the forwards with limits. */
export const LIMITS_AT = 512;
export const LIMIT_SLOTS = 128;
export const LIMIT_WORDS = 4;
export const Limit = { RULE: 0, FLOWS: 1, SECOND: 2, MADE: 3 } as const;
/** Three quarters: a search that finds nothing ends soon. */
export const MAX_LIMITED = 96;

/** Int32 words of one record of each section. */
export const enum Words {
  ROW = 16,
  TCP = 5,
  MAPPING = 8,
  /** Address-dependent filtering of mappings with more than one remote: mapping + 1, remote address, flows. */
  PINHOLE = 3,
  /** Inside hosts: address, live mappings by Proto (TCP, UDP, ICMP), flows that the host has begun or, through a mapping, answered. */
  HOST = 5,
  CONTROL = 32,
}

/** Int32 words of a flow row. Side 0 sent the first packet; side 1 answers. */
export const enum Row {
  GENERATION = 0,
  /** IP protocol | State << 8 (4 bits) | RowFlag bits from 12 on. */
  KIND = 1,
  /** The tuple as side 0's packets carry it when they arrive; ports = source << 16 | destination. */
  SRC0 = 2,
  DST0 = 3,
  PORTS0 = 4,
  /** The tuple as side 1's packets carry it when they arrive. What side s sends leaves as the reverse of the other side's tuple. */
  SRC1 = 5,
  DST1 = 6,
  PORTS1 = 7,
  /** Ones' complement deltas of side 0's rewrite: address words << 16 | layer 4 (addresses where they count, and ports). */
  DELTA = 8,
  /** The row is dead after this second. */
  EXPIRES = 9,
  /** Mapping index + 1, or 0: no mapping (forward, plain routing, endpoint-dependent port is in PORT_OWNER flag). */
  MAPPING = 10,
  /** rule id | out interface of side 0's packets << 16 | of side 1's << 24. */
  RULE = 11,
  /** Bytes (IP length) that each side sent, Float64 at word 12 and 14. */
  BYTES0 = 12,
  BYTES1 = 14,
}

/** Where the state stands in Row.KIND. */
export const enum Kind {
  STATE_SHIFT = 8,
  STATE_MASK = 15,
}

/** Bits 12… of Row.KIND. */
export const enum RowFlag {
  /** TCP: a FIN of side 0 / side 1 was seen, and was acknowledged. */
  FIN0 = 1 << 12,
  FIN1 = 1 << 13,
  FIN0_ACKED = 1 << 14,
  FIN1_ACKED = 1 << 15,
  /** Side 1 has answered. */
  REPLIED = 1 << 16,
  /** Both ways seen and lasting: what conntrack calls ASSURED. */
  ASSURED = 1 << 17,
  /** The inside host has sent in this flow: it counts in its mapping. */
  OUTBOUND = 1 << 18,
  /** Nothing is rewritten (routed between LANs, `translate: false`). */
  PLAIN = 1 << 19,
  /** Source and destination are rewritten. */
  HAIRPIN = 1 << 20,
  /** Side 0 came from outside (forward, or inbound through a mapping). */
  INBOUND = 1 << 21,
  /** Made by a forward (destination NAT). */
  FORWARD = 1 << 22,
  /** Picked up in mid-stream: no window is known yet. */
  LOOSE = 1 << 23,
  /** Window scales of side 0 and side 1, 4 bits each; 15 = none announced. */
  SCALE0_SHIFT = 24,
  SCALE1_SHIFT = 28,
}

/** Int32 words of the TCP part of a row: highest sequence end sent, highest ACK sent, last windows (side 0 << 16 | side 1). */
export const enum Tcp {
  END0 = 0,
  END1 = 1,
  ACK0 = 2,
  ACK1 = 3,
  WINDOWS = 4,
}

/** Values of a row's state bits. TCP names are conntrack's. */
export const enum State {
  NONE = 0,
  SYN_SENT = 1,
  SYN_RECV = 2,
  ESTABLISHED = 3,
  FIN_WAIT = 4,
  CLOSE_WAIT = 5,
  LAST_ACK = 6,
  TIME_WAIT = 7,
  CLOSE = 8,
  SYN_SENT2 = 9,
}
export const STATE_NAMES = [
  'NONE',
  'SYN_SENT',
  'SYN_RECV',
  'ESTABLISHED',
  'FIN_WAIT',
  'CLOSE_WAIT',
  'LAST_ACK',
  'TIME_WAIT',
  'CLOSE',
  'SYN_SENT2',
] as const;

/** Int32 words of a mapping: (protocol, inside X:x) ↔ (outside P:p). */
export const enum MappingRow {
  /** Odd = live or held. */
  GENERATION = 0,
  INSIDE = 1,
  OUTSIDE = 2,
  /** x << 16 | p. */
  PORTS = 3,
  /** protocol number | kind << 8 (MappingKind) | MAPPING_KEPT | filtering << 12 | rule id << 16. */
  META = 4,
  /** Flows in which the inside host has sent. 0 = held. */
  COUNT = 5,
  /** Held or expected: the port is nobody else's until this second. Live: last second in which an outbound flow keeps it (informative). */
  EXPIRES = 6,
  /**
   * Address-dependent filtering: the only remote address so far, or 0 when remotes are in the pinholes. With COUNT 0: the
   * address that a helper expects a connection from, or 0. Free mappings: next free + 1.
   */
  REMOTE = 7,
}
/** Bit of META: open and its own until EXPIRES, whether it has flows or not (its host answers hairpin flows through it). */
export const MAPPING_KEPT = 1 << 11;
export const enum MappingKind {
  ENDPOINT_INDEPENDENT = 0,
  /** A port that endpoint-dependent flows share; INSIDE and x are 0. */
  SHARED_PORT = 1,
}

/** Public addresses whose ports have bitmaps; each holds 3 × 2048 words behind a line with the address and its counts (flow/port-pool.ts). */
export const BITMAP_ADDRESSES = 16;
export const BITMAP_WORDS = 16 + 3 * 2048;

/**
 * Control connections that a helper reads (flow/control-streams.ts). Each finds its record in CONTROL_WINDOW of them. Word
 * `X + side` is about what that side sends.
 */
export const CONTROLS = 1024;
export const CONTROL_WINDOW = 8;
export const enum Control {
  /** Row + 1, or 0. The record is dead when the row's generation is another. */
  ROW = 0,
  GENERATION = 1,
  /** Number of corrections | StreamFlag bits | what the helper keeps between two lines << 16. */
  STATE = 2,
  /** Sequence number behind the last byte read, as the sender counts. */
  NEXT = 4,
  /** Bytes by which the corrections that are no longer listed have lengthened the stream. */
  BASE = 6,
  /** CORRECTIONS of side 0, then of side 1: sequence number as the sender counts; old length << 24 | new length << 16 | port. */
  CORRECTIONS = 8,
  /** EXPECTED mappings + 1 that were opened for this connection. */
  EXPECTED = 24,
}
export const CORRECTIONS = 4;
export const EXPECTED = 8;
/** Expected connections in all. */
export const MAX_EXPECTED = 1024;

/** Index entries a bucket: one cache line. */
export const BUCKET = 16;

export interface TableLayout {
  readonly rows: number;
  readonly mappings: number;
  /** Buckets of each index. */
  readonly flowBuckets: number;
  readonly mappingBuckets: number;
  readonly pinholes: number;
  readonly hosts: number;
  /** Byte offsets of the sections. */
  readonly rowsAt: number;
  readonly tcpAt: number;
  readonly flowIndexAt: number;
  readonly mappingsAt: number;
  readonly insideIndexAt: number;
  readonly outsideIndexAt: number;
  readonly pinholesAt: number;
  readonly hostsAt: number;
  readonly bitmapsAt: number;
  readonly controlsAt: number;
  readonly bytes: number;
}

export const MIN_FLOWS = 1024;
/** Handles and tags share 32 bits; 4 M rows leave 9 bits of tag. */
export const MAX_FLOWS = 4_194_304;

/** Where everything lies in a table for `flows` rows. Throws RangeError outside MIN_FLOWS…MAX_FLOWS. */
export function tableLayout(flows: number): TableLayout {
  if (!Number.isInteger(flows) || flows < MIN_FLOWS || flows > MAX_FLOWS) {
    throw new RangeError(`flows must be ${MIN_FLOWS}…${MAX_FLOWS}, not ${flows}`);
  }
  const mappings = Math.ceil(flows / 2);
  // Indexes are at most three quarters full: two choices of 16-entry buckets do not overflow there.
  const flowBuckets = Math.ceil((flows * 2) / (BUCKET * 0.75));
  const mappingBuckets = Math.ceil(mappings / (BUCKET * 0.75));
  const pinholes = Math.ceil(flows * 0.62);
  const hosts = Math.ceil(flows / 8);
  let at = HEADER_BYTES;
  const section = (bytes: number): number => {
    const start = at;
    at = (at + bytes + 63) & ~63;
    return start;
  };
  const rowsAt = section(flows * Words.ROW * 4);
  const tcpAt = section(flows * Words.TCP * 4);
  const flowIndexAt = section(flowBuckets * BUCKET * 4);
  const mappingsAt = section(mappings * Words.MAPPING * 4);
  const insideIndexAt = section(mappingBuckets * BUCKET * 4);
  const outsideIndexAt = section(mappingBuckets * BUCKET * 4);
  const pinholesAt = section(pinholes * Words.PINHOLE * 4);
  const hostsAt = section(hosts * Words.HOST * 4);
  const bitmapsAt = section(BITMAP_ADDRESSES * BITMAP_WORDS * 4);
  const controlsAt = section(CONTROLS * Words.CONTROL * 4);
  return {
    rows: flows,
    mappings,
    flowBuckets,
    mappingBuckets,
    pinholes,
    hosts,
    rowsAt,
    tcpAt,
    flowIndexAt,
    mappingsAt,
    insideIndexAt,
    outsideIndexAt,
    pinholesAt,
    hostsAt,
    bitmapsAt,
    controlsAt,
    bytes: at,
  };
}
