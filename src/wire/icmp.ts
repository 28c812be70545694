/**
 * ICMP for IPv4 (RFC 792), as a NAT needs it (RFC 5508): queries carry an identifier, errors quote the packet they are
 * about. Pure functions on (view, off): `off` is the first byte of the ICMP header.
 */

/** Byte offsets in the header, and its size; an error's quoted packet begins behind it. */
export const enum Icmp {
  TYPE = 0,
  CODE = 1,
  CHECKSUM = 2,
  ID = 4,
  NEXT_HOP_MTU = 6,
  QUOTED = 8,
  BYTES = 8,
}

export const enum IcmpType {
  ECHO_REPLY = 0,
  UNREACHABLE = 3,
  SOURCE_QUENCH = 4,
  REDIRECT = 5,
  ECHO = 8,
  TIME_EXCEEDED = 11,
  PARAMETER_PROBLEM = 12,
  TIMESTAMP = 13,
  TIMESTAMP_REPLY = 14,
}

/** Codes of type 3. */
export const enum Unreachable {
  NET = 0,
  HOST = 1,
  PORT = 3,
  TOO_BIG = 4,
  ADMIN = 13,
}

/** A query that asks, with an identifier. */
export function isIcmpRequest(type: number): boolean {
  return type === IcmpType.ECHO || type === IcmpType.TIMESTAMP;
}

/** The answer to a query. */
export function isIcmpReply(type: number): boolean {
  return type === IcmpType.ECHO_REPLY || type === IcmpType.TIMESTAMP_REPLY;
}

/** An error that quotes a packet and is passed on: unreachable, time exceeded, parameter problem (RFC 5508 REQ-10). */
export function isIcmpError(type: number): boolean {
  return type === IcmpType.UNREACHABLE || type === IcmpType.TIME_EXCEEDED || type === IcmpType.PARAMETER_PROBLEM;
}
