/** UDP header (RFC 768). */

/** Byte offsets in the header, and its size. */
export const enum Udp {
  PORTS = 0,
  LENGTH = 4,
  CHECKSUM = 6,
  BYTES = 8,
}
