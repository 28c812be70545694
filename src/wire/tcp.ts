/** TCP header (RFC 9293 §3.1). Pure functions on (view, off): `off` is the first byte of the header. */

import { adjust, delta32, fold } from './checksum.js';

/** Byte offsets in the header, and what it has without options. */
export const enum Tcp {
  PORTS = 0,
  SEQ = 4,
  ACK = 8,
  DATA_OFFSET = 12,
  FLAGS = 13,
  WINDOW = 14,
  CHECKSUM = 16,
  URGENT = 18,
  BYTES = 20,
}

export const enum TcpFlag {
  FIN = 0x01,
  SYN = 0x02,
  RST = 0x04,
  PSH = 0x08,
  ACK = 0x10,
}

const OPTION_END = 0;
const OPTION_NOP = 1;
const OPTION_MSS = 2;
const OPTION_WINDOW_SCALE = 3;
const OPTION_SACK = 5;

/** Bytes of the header, options included; 0…60, not yet checked. */
export function tcpHeaderBytes(v: DataView, off: number): number {
  return (v.getUint8(off + Tcp.DATA_OFFSET) >>> 4) << 2;
}

/**
 * Offset in `v` of option `kind`'s first byte, or −1. Stops at a malformed list (a length below 2, or past the header), as
 * the kernel does.
 */
function findOption(v: DataView, off: number, kind: number, bytes: number): number {
  const end = off + tcpHeaderBytes(v, off);
  let at = off + Tcp.BYTES;
  while (at < end) {
    const k = v.getUint8(at);
    if (k === OPTION_END) return -1;
    if (k === OPTION_NOP) {
      at++;
      continue;
    }
    if (at + 1 >= end) return -1;
    const length = v.getUint8(at + 1);
    if (length < 2 || at + length > end) return -1;
    if (k === kind && length === bytes) return at;
    at += length;
  }
  return -1;
}

/** Offset in `v` of the 16-bit MSS value in a SYN, or −1. */
export function mssAt(v: DataView, off: number): number {
  const at = findOption(v, off, OPTION_MSS, 4);
  return at < 0 ? -1 : at + 2;
}

/** Window scale announced in a SYN (RFC 7323; 0…14), or −1 when there is none. */
export function windowScale(v: DataView, off: number): number {
  const at = findOption(v, off, OPTION_WINDOW_SCALE, 3);
  return at < 0 ? -1 : Math.min(v.getUint8(at + 2), 14);
}

/** Flag combinations that no stack sends: none at all, SYN with FIN or RST, FIN without ACK (RFC 9293 §3.10.7; nmap's probes). */
export function impossibleFlags(flags: number): boolean {
  const f = flags & (TcpFlag.FIN | TcpFlag.SYN | TcpFlag.RST | TcpFlag.ACK);
  if (f === 0 || f === TcpFlag.FIN) return true;
  return (f & TcpFlag.SYN) !== 0 && (f & (TcpFlag.FIN | TcpFlag.RST)) !== 0;
}

/**
 * Offset in `v` of the SACK option's first byte (RFC 2018), or −1. Its length is 2 + 8 a block, 1 to 4 of them.
 */
export function sackAt(v: DataView, off: number): number {
  for (let bytes = 10; bytes <= 34; bytes += 8) {
    const at = findOption(v, off, OPTION_SACK, bytes);
    if (at >= 0) return at;
  }
  return -1;
}

/** Blocks of a SACK option at `at`; 0 for −1. */
export function sackBlocks(v: DataView, at: number): number {
  return at < 0 ? 0 : (v.getUint8(at + 1) - 2) >>> 3;
}

/** Lowers the MSS of a SYN to `limit` (REQ-45), its checksum with it unless that is partial; an absent option stays absent. */
export function clampMss(v: DataView, l4: number, limit: number, partial: boolean): void {
  const at = mssAt(v, l4);
  if (at < 0) return;
  const mss = v.getUint16(at);
  if (mss <= limit) return;
  v.setUint16(at, limit);
  if (partial) return;
  let delta = delta32(mss, limit);
  // At an odd offset the value straddles two checksum words: its bytes count swapped.
  if (((at - l4) & 1) !== 0) delta = fold(((delta & 0xff) << 8) | (delta >>> 8));
  v.setUint16(l4 + Tcp.CHECKSUM, adjust(v.getUint16(l4 + Tcp.CHECKSUM), delta));
}
