/**
 * TCP state of a flow, as much of it as a NAT needs (RFC 5382, RFC 7857 §2; state names are conntrack's).
 *
 * Theory of operation. Both sides' highest sequence end, highest ACK and last window are kept in the row's TCP words.
 * Every segment is forwarded; only a segment that its receiver would accept changes state. So a RST counts when its
 * sequence is exactly what the receiver expects next, or exactly the sender's highest (RFC 5961 §3.2), a FIN when it lies
 * in the receiver's window, and a blind attacker must guess 32 bits to end a flow here, as at the host itself.
 *
 *   side 0 SYN → SYN_SENT → side 1 SYN+ACK → SYN_RECV → ACK → ESTABLISHED
 *                        └→ side 1 SYN (simultaneous open) → SYN_SENT2 → SYN+ACK → SYN_RECV
 *   FIN → FIN_WAIT → its ACK → CLOSE_WAIT → the other FIN → LAST_ACK → its ACK → TIME_WAIT; a valid RST → CLOSE
 *   valid segments of both sides in CLOSE → ESTABLISHED: the RST was not taken for real
 *   SYN in TIME_WAIT or CLOSE → SYN_SENT again: the 5-tuple is reused at once
 *
 * A flow that is picked up in mid-stream (LOOSE: the table was lost, or the router is new) starts as ESTABLISHED without
 * windows and learns them from both sides' first segments.
 */
import { Kind, RowFlag, State, Tcp } from '../contract/table-layout.js';
import { TcpFlag } from '../wire/tcp.js';

/** Window scale nibble of a side that announced none. */
const NO_SCALE = 15;
/** Scale taken for a side whose SYN was not seen: the largest, so that nothing valid is refused. */
const LOOSE_SCALE = 14;
const FIN_FLAGS = RowFlag.FIN0 | RowFlag.FIN1 | RowFlag.FIN0_ACKED | RowFlag.FIN1_ACKED;
/** How far a retransmission may lie behind what the receiver has acknowledged and still be taken for the flow's own. */
const BEHIND = 66_000;

/** Of the segment that tcpUpdate has looked at last: would its receiver take it? What it would not, keeps no flow alive. */
export const segment = { accepted: true };

/** Row.KIND of a flow that begins with this segment's flags: SYN, or picked up in mid-stream. */
export function tcpBirth(flags: number): number {
  const scales = (NO_SCALE << RowFlag.SCALE0_SHIFT) | (NO_SCALE << RowFlag.SCALE1_SHIFT);
  return (flags & TcpFlag.SYN) !== 0 && (flags & TcpFlag.ACK) === 0
    ? (State.SYN_SENT << Kind.STATE_SHIFT) | scales
    : (State.ESTABLISHED << Kind.STATE_SHIFT) | RowFlag.LOOSE | scales;
}

/**
 * Takes in one segment and returns the new Row.KIND.
 *
 * @param kind Row.KIND before
 * @param t the table's TCP words; `at` is the row's first
 * @param side 0 or 1: who sent it
 * @param payload bytes behind the TCP header, all segments of a GSO packet together
 * @param scale window scale announced in this SYN, −1 = none (ignored without SYN)
 */
export function tcpUpdate(
  kind: number,
  t: Int32Array,
  at: number,
  side: number,
  seq: number,
  ack: number,
  window: number,
  flags: number,
  payload: number,
  scale: number,
): number {
  segment.accepted = false;
  let state = (kind >>> Kind.STATE_SHIFT) & Kind.STATE_MASK;
  const other = side ^ 1;
  const myEnd = at + Tcp.END0 + side;
  const myAck = at + Tcp.ACK0 + side;
  const yourEnd = at + Tcp.END0 + other;
  const yourAck = at + Tcp.ACK0 + other;

  if ((flags & TcpFlag.SYN) !== 0) {
    if ((flags & TcpFlag.RST) !== 0) return kind;
    if ((flags & TcpFlag.ACK) === 0 && (state === State.TIME_WAIT || state === State.CLOSE)) {
      // Reuse of the 5-tuple. Whoever sends the SYN is the opener; the row keeps its sides.
      kind &= ~(FIN_FLAGS | RowFlag.LOOSE);
      kind &= ~(RowFlag.REPLIED | RowFlag.ASSURED);
      kind = withState(kind, side === 0 ? State.SYN_SENT : State.SYN_SENT2);
      t.fill(0, at, at + 5);
      state = side === 0 ? State.SYN_SENT : State.SYN_SENT2;
    }
    if (state === State.ESTABLISHED || state >= State.FIN_WAIT) {
      // A SYN inside a live connection: the receiver answers with a challenge ACK; here it changes nothing.
      if (state !== State.SYN_SENT2) return kind;
    }
    if ((flags & TcpFlag.ACK) !== 0) {
      // It must acknowledge the other's SYN, and may leave out data that came with it (RFC 7413 §2): myAck…yourEnd.
      const least = t[myAck] !== 0 ? t[myAck]! : t[yourEnd]!;
      const known = (kind & RowFlag.LOOSE) === 0 && t[yourEnd] !== 0;
      if (known && (((ack - least) | 0) < 0 || ((ack - t[yourEnd]!) | 0) > 0)) return kind;
      t[myAck] = ack;
    } else if (payload > 0 && t[yourAck] === 0) {
      t[yourAck] = (seq + 1) | 0;
    }
    segment.accepted = true;
    t[myEnd] = (seq + 1 + payload) | 0;
    setWindow(t, at, side, window);
    const shift = side === 0 ? RowFlag.SCALE0_SHIFT : RowFlag.SCALE1_SHIFT;
    kind = (kind & ~(15 << shift)) | ((scale < 0 ? NO_SCALE : scale) << shift);
    if (side === 1 && state === State.SYN_SENT)
      kind = withState(kind, (flags & TcpFlag.ACK) !== 0 ? State.SYN_RECV : State.SYN_SENT2);
    else if ((flags & TcpFlag.ACK) !== 0 && state === State.SYN_SENT2) kind = withState(kind, State.SYN_RECV);
    return kind;
  }

  if ((flags & TcpFlag.RST) !== 0) {
    // Exactly next for the receiver, or exactly the sender's highest; in answer to a SYN it acknowledges that SYN. 0 is unknown.
    const opening = state === State.SYN_SENT || state === State.SYN_SENT2;
    const refused = opening && (flags & TcpFlag.ACK) !== 0 && t[yourEnd] !== 0 && ack === t[yourEnd];
    const exact = seq !== 0 && (seq === t[yourAck] || seq === t[myEnd]);
    segment.accepted = refused || exact;
    return refused || exact ? withState(kind & ~FIN_FLAGS, State.CLOSE) : kind;
  }

  const end = (seq + payload + (flags & TcpFlag.FIN)) | 0;
  const loose = (kind & RowFlag.LOOSE) !== 0;
  if (t[yourAck] !== 0) {
    const yourScale = (kind >>> (side === 0 ? RowFlag.SCALE1_SHIFT : RowFlag.SCALE0_SHIFT)) & 15;
    const edge = (t[yourAck]! + scaled(windowOf(t, at, other), yourScale, loose)) | 0;
    // Beyond the window (a keepalive probe of one byte more is let be), or long acknowledged: not the flow's business.
    if (((end - edge) | 0) > 1 || ((end - t[yourAck]! + BEHIND + scaled(65_535, yourScale, loose)) | 0) < 0)
      return kind;
  }
  segment.accepted = true;
  if (t[myEnd] === 0 || ((end - t[myEnd]!) | 0) > 0) t[myEnd] = end;
  if ((flags & TcpFlag.ACK) !== 0) {
    // An ACK of what was never sent moves nothing; where nothing of the other side is known it is believed.
    if (t[yourEnd] === 0) t[yourEnd] = ack;
    if (((ack - t[yourEnd]!) | 0) > 0) return kind;
    if (t[myAck] === 0 || ((ack - t[myAck]!) | 0) >= 0) {
      t[myAck] = ack;
      setWindow(t, at, side, window);
    }
  }

  if (state === State.CLOSE) return resumed(kind, side);
  if (state === State.SYN_RECV && (flags & TcpFlag.ACK) !== 0 && ack === t[yourEnd]) {
    kind = withState(kind, State.ESTABLISHED) | RowFlag.ASSURED;
    state = State.ESTABLISHED;
  }
  // What is acknowledged already cannot hold a FIN that is new: without this, 8 MiB of the past would be as good as the window.
  if ((flags & TcpFlag.FIN) !== 0 && (t[yourAck] === 0 || ((end - t[yourAck]!) | 0) > 0))
    kind |= side === 0 ? RowFlag.FIN0 : RowFlag.FIN1;
  if ((kind & (RowFlag.FIN0 | RowFlag.FIN1)) === 0) return kind;
  // A FIN is the last byte its side sends: acknowledged when the other side's ACK has reached the end.
  const yourFin = side === 0 ? RowFlag.FIN1 : RowFlag.FIN0;
  if ((kind & yourFin) !== 0 && t[myAck] === t[yourEnd]) kind |= side === 0 ? RowFlag.FIN1_ACKED : RowFlag.FIN0_ACKED;
  return withState(kind, closingState(kind));
}

/**
 * A valid segment after the RST. When both sides have sent one, neither took the RST for real, and the connection goes on
 * (RFC 7857 §2: state is kept unless traffic resumes). The acknowledged bits, which an ended flow has no use for, remember who.
 */
function resumed(kind: number, side: number): number {
  const spoken = kind | (side === 0 ? RowFlag.FIN0_ACKED : RowFlag.FIN1_ACKED);
  const both = RowFlag.FIN0_ACKED | RowFlag.FIN1_ACKED;
  return (spoken & both) === both ? withState(spoken & ~both, State.ESTABLISHED) : spoken;
}

function closingState(kind: number): number {
  const both = (kind & RowFlag.FIN0) !== 0 && (kind & RowFlag.FIN1) !== 0;
  const acked0 = (kind & RowFlag.FIN0_ACKED) !== 0;
  const acked1 = (kind & RowFlag.FIN1_ACKED) !== 0;
  if (!both) return acked0 || acked1 ? State.CLOSE_WAIT : State.FIN_WAIT;
  return acked0 && acked1 ? State.TIME_WAIT : State.LAST_ACK;
}

function withState(kind: number, state: number): number {
  return (kind & ~(Kind.STATE_MASK << Kind.STATE_SHIFT)) | (state << Kind.STATE_SHIFT);
}

function windowOf(t: Int32Array, at: number, side: number): number {
  return side === 0 ? t[at + Tcp.WINDOWS]! >>> 16 : t[at + Tcp.WINDOWS]! & 0xffff;
}

function setWindow(t: Int32Array, at: number, side: number, window: number): void {
  const both = t[at + Tcp.WINDOWS]!;
  t[at + Tcp.WINDOWS] = side === 0 ? (both & 0xffff) | (window << 16) : (both & ~0xffff) | window;
}

function scaled(window: number, scale: number, loose: boolean): number {
  return window << (scale === NO_SCALE ? (loose ? LOOSE_SCALE : 0) : scale);
}
