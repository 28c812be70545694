/** UDP header (RFC 768). */
export const UDP_BYTES = 8;

/** Byte offsets in the header. */
export const Udp = { PORTS: 0, LENGTH: 4, CHECKSUM: 6 } as const;
