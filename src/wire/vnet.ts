/**
 * struct virtio_net_hdr (10 bytes, VIRTIO 1.2 §5.1.6), as a TUN with IFF_VNET_HDR puts it in front of each packet. Its
 * 16-bit fields are in host order: little-endian on every machine that this runs on (x64, arm64).
 */

/** Byte offsets. */
export const enum Vnet {
  FLAGS = 0,
  GSO_TYPE = 1,
  HDR_LEN = 2,
  GSO_SIZE = 4,
  CSUM_START = 6,
  CSUM_OFFSET = 8,
}

export const enum VnetFlag {
  /** The layer 4 checksum field holds only the pseudo-header sum; whoever puts the packet on a wire completes it. */
  NEEDS_CSUM = 1,
}

/** GSO_TYPE, and the bit that may come with it. */
export const enum Gso {
  NONE = 0,
  TCPV4 = 1,
  UDP = 3,
  TCPV6 = 4,
  UDP_L4 = 5,
  ECN = 0x80,
}
