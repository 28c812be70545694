/**
 * What fits (REQ-46, 47): nothing is ever fragmented, so the MTU of the TAP (and of the bridge and the VMs behind it) follows from the path's.
 *
 * VXLAN takes 50 bytes of an IPv4 path (IP 20, UDP 8, VXLAN 8, inner Ethernet 14) and 70 of an IPv6 one; WireGuard below it 60 or 80 more, by the family of
 * its own endpoint, and then the VXLAN part's family is that of the addresses inside of the WireGuard link. Inner tags that are kept take 4 bytes each, when
 * tagged frames shall be as long as untagged ones.
 */
import { ETHERNET_BYTES, TAG_BYTES } from './inner.js';

const UDP_BYTES = 8;
const VXLAN_BYTES = 8;
/** Type, receiver, counter and tag of a WireGuard data message. */
const WIREGUARD_BYTES = 32;
/** RFC 8200 §5: less cannot carry IPv6. RFC 791: less cannot carry IPv4. */
const LEAST_IPV6 = 1280;
const LEAST_IPV4 = 68;

export type Family = 4 | 6;

export interface Underlay {
  /** Of the addresses of the VXLAN endpoints. */
  readonly family: Family;
  /** Where it goes through WireGuard: the family of WireGuard's own endpoint. */
  readonly over?: Family;
  /** Tags that full-sized frames may carry. */
  readonly tags?: 0 | 1 | 2;
}

/** Bytes of path MTU that the inner IP packet does not get. */
export function overheadBytes(underlay: Underlay): number {
  const vxlan = ipBytes(underlay.family) + UDP_BYTES + VXLAN_BYTES + ETHERNET_BYTES;
  const wireguard = underlay.over === undefined ? 0 : ipBytes(underlay.over) + UDP_BYTES + WIREGUARD_BYTES;
  return vxlan + wireguard + (underlay.tags ?? 0) * TAG_BYTES;
}

/** MTU for the TAP on a path of `pathMtu`. */
export function tapMtu(pathMtu: number, underlay: Underlay): number {
  return pathMtu - overheadBytes(underlay);
}

/** Path MTU that a TAP's MTU needs. */
export function neededPathMtu(mtu: number, underlay: Underlay): number {
  return mtu + overheadBytes(underlay);
}

/** What is wrong with an MTU for the TAP, or ''. */
export function mtuProblem(mtu: number, pathMtu: number, underlay: Underlay): string {
  const most = tapMtu(pathMtu, underlay);
  const why = `a path MTU of ${pathMtu} less ${overheadBytes(underlay)} bytes of overhead`;
  if (most < LEAST_IPV4) return `no MTU is possible: ${why} leaves ${most}; raise the underlay's MTU`;
  if (mtu > most) return `MTU ${mtu} is too large: ${why} leaves ${most}; set it to ${most} or less`;
  if (mtu < LEAST_IPV4) return `MTU ${mtu} cannot carry IPv4 (${LEAST_IPV4} is the least)`;
  return '';
}

/** What will not work with it although it is possible, or ''. */
export function mtuWarning(mtu: number): string {
  return mtu < LEAST_IPV6 ? `MTU ${mtu} cannot carry IPv6 (${LEAST_IPV6} is the least): hosts will disable it` : '';
}

function ipBytes(family: Family): number {
  return family === 4 ? 20 : 40;
}
