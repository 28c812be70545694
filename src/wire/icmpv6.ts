/** ICMPv6 (RFC 4443): what a router says of packets that it cannot pass on. `off` is the first byte of the ICMPv6 header. */

export const enum Icmpv6 {
  TYPE = 0,
  CODE = 1,
  CHECKSUM = 2,
  /** MTU of Packet Too Big; else unused. */
  PARAMETER = 4,
  QUOTED = 8,
  BYTES = 8,
}

export const enum Icmpv6Type {
  UNREACHABLE = 1,
  TOO_BIG = 2,
  TIME_EXCEEDED = 3,
  /** From here on messages are informational. */
  FIRST_QUERY = 128,
  REDIRECT = 137,
}

/** Codes of type 1. */
export const enum Unreachable6 {
  NO_ROUTE = 0,
  ADMIN = 1,
}
