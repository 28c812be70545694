/**
 * Inner VLAN tags, by option (RFC 7348 §6.1):
 * - `keep`: pass through, as the Linux device does;
 * - `strip`: the RFC's way: taken off before the tunnel, and what comes out of the tunnel with one is discarded;
 * - `refuse`: discarded both ways.
 *
 * A provider's and a customer's tag are taken off together: what goes on is an untagged frame.
 */

import { VNET_BYTES } from '../../batch.js';
import { Vnet } from '../../wire/vnet.js';
import type { Columns } from './columns.js';
import { type Inner, TAG_BYTES } from './inner.js';
import { Outcome } from './outcome.js';

export type VlanMode = 'keep' | 'strip' | 'refuse';

/** PASS or TAGGED; a frame from the TAP may have lost its tags, and `inner` was read again. */
export function applyVlan(mode: VlanMode, toTunnel: boolean, c: Columns, i: number, inner: Inner): number {
  if (inner.tags === 0 || mode === 'keep') return Outcome.PASS;
  if (mode === 'refuse' || !toTunnel) return Outcome.TAGGED;
  const bytes = inner.tags * TAG_BYTES;
  const off = c.off[i]!;
  // The frame's tail stays where it is: only the two addresses move, and a super-frame's vnet header with them.
  const front = c.segment[i] === 0 ? 0 : VNET_BYTES;
  c.data.copyWithin(off + bytes - front, off - front, off + 12);
  if (front > 0) shorten(c.view, off + bytes - VNET_BYTES, bytes);
  c.off[i] = off + bytes;
  c.len[i] = c.len[i]! - bytes;
  const read = inner.read(c.view, off + bytes, c.len[i]!);
  // More tags than are looked behind.
  return inner.tags > 0 ? Outcome.TAGGED : read;
}

/** The offsets in a vnet header count from the frame's beginning. */
function shorten(v: DataView, vnet: number, bytes: number): void {
  const headers = v.getUint16(vnet + Vnet.HDR_LEN, true);
  v.setUint16(vnet + Vnet.HDR_LEN, Math.max(0, headers - bytes), true);
  const start = v.getUint16(vnet + Vnet.CSUM_START, true);
  v.setUint16(vnet + Vnet.CSUM_START, Math.max(0, start - bytes), true);
}
