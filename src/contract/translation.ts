/** Events of the translation log (RFC 6888 REQ-12), as a worker hands them up: Int32 words, EVENT_WORDS an event. */
export const enum TranslationEvent {
  MAPPING_BEGINS = 0,
  MAPPING_ENDS = 1,
  FLOW_BEGINS = 2,
  FLOW_ENDS = 3,
  /** PORTS: first port of the block << 16 | last. */
  BLOCK_BEGINS = 4,
  BLOCK_ENDS = 5,
}

/** Words of an event. Mappings have no remote (RFC 6888 REQ-14: no destinations). */
export const enum Translation {
  EVENT = 0,
  /** IP protocol number. */
  PROTO = 1,
  INSIDE = 2,
  OUTSIDE = 3,
  /** Inside port << 16 | outside port. */
  PORTS = 4,
  REMOTE = 5,
  REMOTE_PORT = 6,
  RULE = 7,
}
export const EVENT_WORDS = 8;
