/**
 * DSCP and ECN between the inner and the outer header (RFC 2983, RFC 6040): congestion that the underlay marks must reach the inner receiver, and DSCP is the
 * operator's choice: one value for the tunnel ("pipe"), or the inner one ("uniform").
 */
import { adjust, fold } from '../../wire/checksum.js';
import { type Inner, Kind } from './inner.js';

const CE = 3;
const DROP = 4;

/** RFC 6040 §4.2, figure 4: inner · 4 + outer → what goes on. */
const DECAPSULATED = Uint8Array.of(
  // outer: not-ECT, ECT(1), ECT(0), CE        inner:
  ...[0, 0, 0, DROP], //                       not-ECT
  ...[1, 1, 1, CE], //                         ECT(1)
  ...[2, 1, 2, CE], //                         ECT(0)
  ...[CE, CE, CE, CE], //                      CE
);

/** TOS or traffic class of the inner packet, 0 when it is not IP. */
export function innerTos(v: DataView, inner: Inner): number {
  if (inner.kind === Kind.IPV4) return v.getUint8(inner.l3 + 1);
  return inner.kind === Kind.IPV6 ? (v.getUint16(inner.l3) >>> 4) & 255 : 0;
}

/** The outer TOS: ECN copied (RFC 6040 §4.1, normal mode), DSCP fixed, or with −1 the inner one. */
export function outerTos(tos: number, dscp: number): number {
  return dscp < 0 ? tos : (dscp << 2) | (tos & 3);
}

/** Carries the outer ECN over to the inner packet. False: it is to be dropped (RFC 6040: CE on what is not ECN-capable). */
export function decapsulateEcn(v: DataView, inner: Inner, outer: number): boolean {
  if (inner.kind !== Kind.IPV4 && inner.kind !== Kind.IPV6) return true;
  const tos = innerTos(v, inner);
  const ecn = DECAPSULATED[((tos & 3) << 2) | (outer & 3)]!;
  if (ecn === DROP) return false;
  if (ecn !== (tos & 3)) setEcn(v, inner, ecn);
  return true;
}

function setEcn(v: DataView, inner: Inner, ecn: number): void {
  const { l3 } = inner;
  const old = v.getUint16(l3);
  if (inner.kind === Kind.IPV6) {
    v.setUint16(l3, (old & ~0x30) | (ecn << 4));
    return;
  }
  const made = (old & ~3) | ecn;
  v.setUint16(l3, made);
  // RFC 1624: the header's checksum follows, and a wrong one stays wrong.
  v.setUint16(l3 + 10, adjust(v.getUint16(l3 + 10), fold((~old & 0xffff) + made)));
}
