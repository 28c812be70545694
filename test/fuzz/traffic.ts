/**
 * The generator: packets that the hosts of world.ts would send. It sees what came out of the router (`saw`) and lets the
 * receivers answer, so handshakes, transfers, pings, port-unreachables and hairpins come about by themselves; beside them
 * it sends what nobody asked for.
 */
import type { MemoryPacket } from '../../src/link/memory.js';
import { ACK, clone, craft, FIN, ICMP, offload, RST, type Shape, SYN, sealHeader, TCP, UDP, viewOf } from './packet.js';
import type { Random } from './random.js';
import { FORWARDED, HOST, INSIDE, inLan, isPublic, ODD, OUTSIDE, PUBLIC, STRANGERS } from './world.js';

const RING = 256;
const DIALOGUES = 6;
const FTP = 21;
const FRAGMENT = { MF: 0x2000, DF: 0x4000 };

export class Traffic {
  readonly #random: Random;
  /** What came out lately, and what went in. */
  readonly #out: Uint8Array[] = [];
  readonly #in: MemoryPacket[] = [];
  /** What was said last in control connections. */
  readonly #dialogues: Uint8Array[] = [];
  #outAt = 0;
  #inAt = 0;
  readonly #makers: readonly [number, () => MemoryPacket | MemoryPacket[]][];
  readonly #weights: number;

  constructor(random: Random) {
    this.#random = random;
    this.#makers = [
      [14, () => this.#fromInside()],
      [34, () => this.#answer()],
      [16, () => this.#again()],
      [8, () => this.#toForward()],
      [6, () => this.#toPool()],
      [6, () => this.#icmpError()],
      [5, () => this.#fragments()],
      [2, () => this.#gso()],
      [3, () => this.#fromHost()],
      [8, () => this.#control()],
      [3, () => this.#astray()],
      [1, () => this.#noise()],
    ];
    this.#weights = this.#makers.reduce((sum, [weight]) => sum + weight, 0);
  }

  next(): MemoryPacket[] {
    let at = this.#random.below(this.#weights);
    const [, make] = this.#makers.find(([weight]) => (at -= weight) < 0)!;
    const made = make();
    const packets = Array.isArray(made) ? made : [made];
    for (const packet of packets) {
      if (this.#random.chance(0.02)) this.#decorate(packet);
      this.#in[this.#inAt++ % RING] = packet;
    }
    return packets;
  }

  /** A packet that left the router; some are remembered and answered. */
  saw(bytes: Uint8Array): void {
    if (bytes.length >= 40 && bytes[9] === TCP && isControl(bytes)) {
      this.#dialogues.unshift(bytes.slice(0, 1600));
      this.#dialogues.length = Math.min(this.#dialogues.length, DIALOGUES);
    }
    if (bytes.length < 28 || !this.#random.chance(0.4)) return;
    this.#out[this.#outAt++ % RING] = bytes.slice(0, 1600);
  }

  // -- who is spoken to, from where --

  #remotePort(): number {
    return this.#random.pick([53, 80, 443, 443, 9, 65_535, 20_000, FTP]);
  }

  /** A few busy ports, so that mappings have several flows; some low ones; some any. */
  #sourcePort(): number {
    const r = this.#random;
    return r.chance(0.6) ? 20_000 + r.below(40) : r.chance(0.3) ? r.below(1100) : r.below(65_536);
  }

  #poolPort(): number {
    const r = this.#random;
    const seen = r.chance(0.7) ? this.#out[r.below(RING)] : undefined;
    if (seen && isPublic(viewOf(seen).getInt32(12)) && (seen[0]! & 15) === 5) return viewOf(seen).getUint16(20);
    return r.pick([20_000 + r.below(60), 40_000 + r.below(64), 900 + r.below(200), r.below(65_536)]);
  }

  #body(proto: number, more: Partial<Shape>): Shape {
    const r = this.#random;
    const shape: Shape = {
      src: 0,
      dst: 0,
      proto,
      id: r.below(8),
      ttl: r.chance(0.03) ? r.below(3) : 64,
      payload: r.chance(0.05) ? r.below(1472) : r.below(24),
      fragment: r.chance(0.3) ? FRAGMENT.DF : 0,
      ...more,
    };
    if (proto === TCP) {
      shape.flags ??= r.chance(0.8) ? SYN : r.pick([ACK, ACK | FIN, RST, RST | ACK, SYN | ACK, 0x18, 0]);
      if ((shape.flags & SYN) !== 0) {
        shape.payload = r.chance(0.05) ? 5 : 0;
        if (r.chance(0.9)) shape.tcpOptions = r.pick(SYN_OPTIONS);
      }
      shape.seq ??= r.below(4) * 0x4000_0000 + r.below(1000);
      shape.ack ??= r.below(1000);
    }
    return shape;
  }

  // -- the makers --

  #fromInside(): MemoryPacket {
    const r = this.#random;
    const proto = r.pick([TCP, TCP, UDP, UDP, ICMP, r.chance(0.1) ? r.below(256) : UDP]);
    const src = r.chance(0.02) ? r.pick(STRANGERS) : r.pick(INSIDE);
    const dst = r.chance(0.85) ? r.pick(OUTSIDE) : r.pick(r.chance(0.5) ? INSIDE : r.chance(0.8) ? HOST : ODD);
    return this.#query(proto, { src, dst });
  }

  /** A packet that asks: echo for ICMP, else from a source port to a remote one. */
  #query(proto: number, ends: { src: number; dst: number; dport?: number }): MemoryPacket {
    const r = this.#random;
    if (proto === ICMP) {
      const type = r.chance(0.9) ? 8 : r.pick([0, 13, 14, 5, 9, 10, 17, 3, 255]);
      return craft(this.#body(ICMP, { ...ends, sport: type << 8, dport: r.below(50) }));
    }
    return craft(this.#body(proto, { sport: this.#sourcePort(), dport: this.#remotePort(), ...ends }));
  }

  /** The next step of a control connection, or a new one, of a client or a server inside. */
  #control(): MemoryPacket {
    const r = this.#random;
    if (this.#dialogues.length > 0 && r.chance(0.9)) return this.#answer(r.pick(this.#dialogues));
    const inside = r.chance(0.6);
    const ends = { src: r.pick(inside ? INSIDE : OUTSIDE), dst: r.pick(inside ? OUTSIDE : PUBLIC) };
    return craft(this.#body(TCP, { ...ends, sport: this.#sourcePort(), dport: FTP, flags: SYN }));
  }

  /** Its receiver answers a packet that came out. */
  #answer(seen = this.#out.length > 0 ? this.#out[this.#random.below(this.#out.length)] : undefined): MemoryPacket {
    const r = this.#random;
    if (!seen || (seen[0]! & 15) !== 5) return this.#fromInside();
    const v = viewOf(seen);
    const ends = { src: v.getInt32(16), dst: v.getInt32(12) };
    const proto = seen[9]!;
    if (proto === ICMP) {
      const type = seen[20] === 8 ? 0 : seen[20] === 13 ? 14 : 8;
      return craft(this.#body(ICMP, { ...ends, sport: type << 8, dport: v.getUint16(24) }));
    }
    const ports = { sport: v.getUint16(22), dport: v.getUint16(20) };
    if (proto !== TCP || seen.length < 40) return craft(this.#body(proto, { ...ends, ...ports }));
    const segment = this.#segment(v, seen);
    const control = ports.sport === FTP || ports.dport === FTP;
    const speaks = control && r.chance(0.8) && ((segment.flags ?? 0) & (SYN | RST)) === 0;
    const line = speaks ? { payload: ftpLine(r, ports.sport === FTP, ends.src) } : {};
    return craft(this.#body(TCP, { ...ends, ...ports, ...segment, ...line }));
  }

  /** What a TCP stack may answer to a segment: mostly the next step of the handshake, of a transfer or of the end. */
  #segment(v: DataView, seen: Uint8Array): Partial<Shape> {
    const r = this.#random;
    const flags = seen[33]!;
    const payload = Math.max(0, seen.length - 20 - (seen[32]! >> 4) * 4);
    const next = (v.getUint32(24) + payload + (flags & SYN ? 1 : 0) + (flags & FIN ? 1 : 0)) >>> 0;
    const acked = v.getUint32(28);
    if ((flags & (SYN | ACK)) === SYN) {
      const answer = r.chance(0.85) ? SYN | ACK : r.pick([RST | ACK, SYN, ACK]);
      return { flags: answer, seq: r.u32(), ack: next };
    }
    const answer = r.chance(0.6) ? ACK : r.pick([ACK | FIN, ACK | FIN, RST, RST | ACK, 0x18, SYN]);
    const shift = r.chance(0.05) ? r.between(-70_000, 70_000) : 0;
    return { flags: answer, seq: (acked + shift) >>> 0, ack: next, window: r.pick([65_535, 1024, 0]) };
  }

  /** The same packet again, or the next one of its flow. */
  #again(): MemoryPacket {
    const r = this.#random;
    const before = this.#in.length > 0 ? this.#in[r.below(this.#in.length)] : undefined;
    return before ? clone(before) : this.#fromInside();
  }

  #toForward(): MemoryPacket {
    const r = this.#random;
    const src = r.chance(0.7) ? r.pick(OUTSIDE) : r.pick(INSIDE);
    const proto = r.pick([TCP, TCP, UDP, ICMP, r.chance(0.2) ? 47 : UDP]);
    return this.#query(proto, { src, dst: r.pick(PUBLIC), dport: r.pick(FORWARDED) });
  }

  #toPool(): MemoryPacket {
    const r = this.#random;
    const src = r.chance(0.7) ? r.pick(OUTSIDE) : r.pick(INSIDE);
    const proto = r.pick([TCP, UDP, UDP, ICMP]);
    return this.#query(proto, { src, dst: r.pick(PUBLIC), dport: this.#poolPort() });
  }

  #fromHost(): MemoryPacket {
    const r = this.#random;
    const dport = r.chance(0.7) ? r.pick(FORWARDED) : this.#poolPort();
    return this.#query(r.pick([TCP, UDP, ICMP]), { src: r.pick(HOST), dst: r.pick([...PUBLIC, ...OUTSIDE]), dport });
  }

  /** From outside straight to a LAN, from nowhere, to nowhere. */
  #astray(): MemoryPacket {
    const r = this.#random;
    const all = r.pick([INSIDE, ODD, STRANGERS, HOST]);
    return this.#query(r.pick([TCP, UDP, ICMP, 47]), { src: r.pick(r.chance(0.5) ? OUTSIDE : ODD), dst: r.pick(all) });
  }

  #noise(): MemoryPacket {
    const r = this.#random;
    const packet = craft(this.#body(UDP, { src: r.u32() | 0, dst: r.u32() | 0, payload: r.below(64) }));
    const from = r.below(20);
    for (let i = from; i < packet.bytes.length; i++) packet.bytes[i] = r.below(256);
    return packet;
  }

  /** An ICMP error about a packet that came out: from its receiver or from a router on its way. */
  #icmpError(): MemoryPacket {
    const r = this.#random;
    const seen = this.#out.length > 0 ? this.#out[r.below(this.#out.length)]! : undefined;
    if (!seen) return this.#fromInside();
    const v = viewOf(seen);
    const [qsrc, qdst] = [v.getInt32(12), v.getInt32(16)];
    const near = inLan(qdst) ? [...INSIDE, ...STRANGERS] : [...OUTSIDE, ...STRANGERS];
    const src = r.chance(0.5) ? qdst : r.chance(0.8) ? r.pick(near) : r.pick([...HOST, ...ODD, ...INSIDE]);
    const quoted = r.chance(0.4) ? 28 : r.between(20, seen.length);
    const type = r.pick([3, 3, 3, 11, 12]);
    const code = type === 3 ? r.pick([0, 1, 3, 4, 13]) : 0;
    const payload = seen.slice(0, quoted);
    if (payload.length > 8 && r.chance(0.3)) payload[8] = r.below(64);
    const dst = r.chance(0.95) ? qsrc : r.pick([...PUBLIC, ...INSIDE, qdst]);
    return craft(this.#body(ICMP, { src, dst, sport: (type << 8) | code, dport: 0, payload }));
  }

  /** A datagram in pieces, now and then out of order, twice, or not whole. */
  #fragments(): MemoryPacket[] {
    const r = this.#random;
    const whole = r.chance(0.5) ? this.#fromInside() : r.chance(0.5) ? this.#answer() : this.#toForward();
    const header = (whole.bytes[0]! & 15) * 4;
    const proto = whole.bytes[9]!;
    const data = Uint8Array.from({ length: r.between(40, 600) }, (_, i) => i & 255);
    data.set(whole.bytes.subarray(header).subarray(0, 40));
    const v = viewOf(whole.bytes);
    const ends = { src: v.getInt32(12), dst: v.getInt32(16), proto, id: r.below(64) };
    const pieces: MemoryPacket[] = [];
    for (let at = 0; at < data.length; ) {
      const size = r.chance(0.9) ? r.between(3, 20) * 8 : 8;
      const mf = at + size < data.length ? FRAGMENT.MF : 0;
      const offset = r.chance(0.02) ? 8189 : at >> 3;
      // The first piece brings layer 4's header as bytes: `craft` must not write another.
      pieces.push(raw({ ...ends, fragment: mf | offset }, data.subarray(at, at + size)));
      at += size;
    }
    if (r.chance(0.3)) pieces.reverse();
    if (r.chance(0.1)) pieces.push(clone(r.pick(pieces)));
    if (r.chance(0.1)) pieces.splice(r.below(pieces.length), 1);
    return pieces;
  }

  #gso(): MemoryPacket {
    const r = this.#random;
    const inside = r.chance(0.5);
    const ends = inside ? { src: r.pick(INSIDE), dst: r.pick(OUTSIDE) } : { src: r.pick(OUTSIDE), dst: r.pick(PUBLIC) };
    const ports = { sport: this.#sourcePort(), dport: inside ? this.#remotePort() : r.pick(FORWARDED) };
    const proto = r.chance(0.7) ? TCP : UDP;
    const size = r.chance(0.2) ? r.between(8000, 60_000) : r.below(3000);
    const flags = r.chance(0.3) ? SYN : ACK;
    const packet = craft({ ...this.#body(proto, { ...ends, ...ports, flags }), payload: size });
    return offload(packet, r.chance(0.8) ? r.pick([536, 1448, 1460, 1]) : 0);
  }

  /** Leaves the checksum to the device, as every local sender does. */
  #decorate(packet: MemoryPacket): void {
    const { bytes } = packet;
    if (bytes[9] === TCP || bytes[9] === UDP) {
      const v = viewOf(bytes);
      const l4 = (bytes[0]! & 15) * 4;
      if ((v.getUint16(6) & 0x3fff) === 0 && bytes.length >= l4 + (bytes[9] === TCP ? 20 : 8)) offload(packet);
    }
  }
}

function isControl(bytes: Uint8Array): boolean {
  const v = viewOf(bytes);
  return (bytes[0]! & 15) === 5 && (v.getUint16(20) === FTP || v.getUint16(22) === FTP);
}

/** What an FTP server or client might say: mostly right, now and then of somebody else's address, cut, or nonsense. */
function ftpLine(r: Random, server: boolean, own: number): Uint8Array {
  const address = r.chance(0.85) ? own : r.pick([...INSIDE, ...OUTSIDE, ...PUBLIC]);
  const host = [24, 16, 8, 0].map((shift) => (address >>> shift) & 255);
  const port = r.pick([1023, 1024, 5000, 20_001, 65_535, r.below(65_536)]);
  const six = [...host, port >> 8, port & 255].join(',');
  const lines = server
    ? [
        '220 ready',
        `227 Entering Passive Mode (${six}).`,
        `229 Entering Extended Passive Mode (|||${port}|)`,
        '234 TLS',
        '200 ok',
      ]
    : [`PORT ${six}`, `PORT ${six}`, `EPRT |1|${host.join('.')}|${port}|`, 'PASV', 'EPSV', 'AUTH TLS', 'NOOP'];
  const many = r.chance(0.15) ? [r.pick(lines), r.pick(lines)] : [r.chance(0.5) ? lines[0]! : r.pick(lines)];
  const text = many.map((line) => `${line}\r\n`).join('');
  const all = Uint8Array.from(text, (sign) => sign.charCodeAt(0));
  if (r.chance(0.05)) all[r.below(all.length)] = r.below(256);
  return r.chance(0.1) ? all.subarray(0, 1 + r.below(all.length)) : all;
}

/** A packet whose layer 4 is these bytes, whatever its protocol. */
function raw(s: Shape, bytes: Uint8Array): MemoryPacket {
  const packet = craft({ ...s, proto: 255, payload: bytes });
  packet.bytes[9] = s.proto;
  sealHeader(packet.bytes);
  return packet;
}

const bytes = (...list: number[]) => Uint8Array.from(list);
const SYN_OPTIONS = [
  bytes(2, 4, 5, 180),
  bytes(2, 4, 255, 255, 1, 3, 3, 7),
  bytes(1, 2, 4, 5, 180, 3, 3, 14),
  bytes(1, 1, 4, 2, 2, 4, 2, 24),
  bytes(8, 10, 0, 0, 0, 1, 0, 0, 0, 0, 2, 4),
  bytes(2, 0, 0, 0),
  bytes(254, 255, 2, 4),
  bytes(1, 1, 1, 2),
  bytes(0, 2, 4, 255),
];
