/**
 * The VXLAN header (RFC 7348 §5), 8 bytes between UDP and the inner Ethernet frame:
 *
 *     0 flags: 0x08 = the VNI is valid    1–3 reserved    4–6 VNI    7 reserved
 *
 * Reserved bits are sent as zero and ignored on arrival (REQ-48), also where newer drafts gave them a meaning (GBP, GPE).
 */
import { Outcome } from './outcome.js';

export const VXLAN_BYTES = 8;
/** IANA's port, and the one that Linux used before and flannel still does. */
export const VXLAN_PORT = 4789;
export const VXLAN_PORT_OLD = 8472;
export const MAX_VNI = 0xff_ffff;
/** The ports that RFC 7348 §5 recommends to send from: 16384 of them. */
export const FIRST_SOURCE_PORT = 49_152;
export const SOURCE_PORTS = 16_384;

const VNI_VALID = 0x08;

export function writeHeader(v: DataView, off: number, vni: number): void {
  v.setInt32(off, VNI_VALID << 24);
  v.setInt32(off + 4, vni << 8);
}

/** Is view[off…off+len) a message of this network? PASS or what is wrong with it. The inner frame is not looked at. */
export function checkHeader(v: DataView, off: number, len: number, vni: number): number {
  if (len < VXLAN_BYTES) return Outcome.MALFORMED;
  if ((v.getUint8(off) & VNI_VALID) === 0) return Outcome.NO_VNI;
  return vniOf(v, off) === vni ? Outcome.PASS : Outcome.WRONG_VNI;
}

/** Of a header that is there: what one socket for several networks tells them apart by. */
export function vniOf(v: DataView, off: number): number {
  return v.getUint32(off + 4) >>> 8;
}

/** Which of `ports` source ports a flow leaves by: the hash's high bits, so that the same hash serves any number (REQ-49). */
export function sourceIndex(hash: number, ports: number): number {
  return ((hash >>> 0) * ports * 2 ** -32) | 0;
}
