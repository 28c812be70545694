/**
 * Flows and mappings on their way into a running engine (`tungate flows import`): packed records from control, judged and
 * written by the engine, and what became of them.
 *
 * Times are seconds from now; rule ids are the present plan's. Records are passive numbers: everything about them is checked
 * where they are written (datapath/import.ts).
 */

/** Int32 words of a mapping. */
export const enum ImportMapping {
  PROTO = 0,
  INSIDE = 1,
  OUTSIDE = 2,
  /** x << 16 | p. */
  PORTS = 3,
  /** MappingKind. */
  KIND = 4,
  FILTERING = 5,
  RULE = 6,
  /** How long it is held without flows. */
  SECONDS = 7,
}
export const IMPORT_MAPPING_WORDS = 8;

/** Int32 words of a flow. Tuples as in a row (table-layout.ts). */
export const enum ImportFlow {
  /** As Row.KIND: protocol, state, flags. */
  KIND = 0,
  SRC0 = 1,
  DST0 = 2,
  PORTS0 = 3,
  SRC1 = 4,
  DST1 = 5,
  PORTS1 = 6,
  SECONDS = 7,
  /** 1: its public port is a mapping's. */
  MAPPED = 8,
  /** TCP_WORDS of them. */
  TCP = 9,
}
export const IMPORT_FLOW_WORDS = 16;
/** Bytes that side 0 and side 1 have sent, Float64. */
export const IMPORT_FLOW_BYTES = 2;

/** What becomes of a record; index = code. */
export const IMPORT_FATES = [
  ['taken-over', 'Lives on here.'],
  ['invalid', 'Nothing that an engine could have written.'],
  ['decided-otherwise', 'The config in force would not make it: its rule, address, LAN or forward is another.'],
  ['in-use', 'A live flow here has one of its tuples.'],
  ['port', "Its public port is no longer in the pool, or another inside host's."],
  ['full', 'The table is full.'],
] as const;
export const enum ImportFate {
  TAKEN = 0,
  INVALID = 1,
  DECIDED = 2,
  IN_USE = 3,
  PORT = 4,
  FULL = 5,
}
