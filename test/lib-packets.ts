/**
 * Packets for tests, built and judged by slow readable code that shares nothing with src/: full checksums, no deltas.
 */
export interface Tuple {
  src: string;
  dst: string;
  sport?: number;
  dport?: number;
}

export interface PacketOptions extends Tuple {
  proto: 'tcp' | 'udp' | 'icmp' | number;
  payload?: Uint8Array;
  ttl?: number;
  tos?: number;
  id?: number;
  df?: boolean;
  /** Fragment offset in bytes, and more fragments. */
  offset?: number;
  mf?: boolean;
  ipOptions?: Uint8Array;
  flags?: number;
  seq?: number;
  ack?: number;
  window?: number;
  tcpOptions?: Uint8Array;
  type?: number;
  code?: number;
  icmpId?: number;
  /** UDP without checksum. */
  noChecksum?: boolean;
}

const NUMBERS = { tcp: 6, udp: 17, icmp: 1 } as const;

export function ip(text: string): number {
  return text.split('.').reduce((value, part) => (value << 8) | Number(part), 0);
}

export function dotted(value: number): string {
  return [24, 16, 8, 0].map((shift) => (value >>> shift) & 255).join('.');
}

/** Plain RFC 1071 over one array. */
export function fullChecksum(bytes: Uint8Array): number {
  let sum = 0;
  for (let i = 0; i < bytes.length; i += 2) sum += (bytes[i]! << 8) + (bytes[i + 1] ?? 0);
  while (sum > 0xffff) sum = (sum % 0x10000) + Math.floor(sum / 0x10000);
  return 0xffff - sum;
}

function pseudo(packet: Uint8Array, proto: number, length: number): Uint8Array {
  return Uint8Array.of(...packet.subarray(12, 20), 0, proto, length >> 8, length & 255);
}

function concat(...parts: Uint8Array[]): Uint8Array {
  return Uint8Array.from(parts.flatMap((part) => [...part]));
}

/** An IPv4 packet with right checksums. */
export function build(o: PacketOptions): Uint8Array {
  const proto = typeof o.proto === 'number' ? o.proto : NUMBERS[o.proto];
  const payload = o.payload ?? new Uint8Array(0);
  const later = (o.offset ?? 0) > 0;
  let l4: Uint8Array;
  let field = -1;
  if (later || ![1, 6, 17].includes(proto)) l4 = payload;
  else if (proto === 6) {
    const options = o.tcpOptions ?? new Uint8Array(0);
    const head = new Uint8Array(20);
    const v = new DataView(head.buffer);
    v.setUint16(0, o.sport!);
    v.setUint16(2, o.dport!);
    v.setUint32(4, (o.seq ?? 0) >>> 0);
    v.setUint32(8, (o.ack ?? 0) >>> 0);
    v.setUint8(12, ((20 + options.length) / 4) << 4);
    v.setUint8(13, o.flags ?? 2);
    v.setUint16(14, o.window ?? 65535);
    l4 = concat(head, options, payload);
    field = 16;
  } else if (proto === 17) {
    const head = new Uint8Array(8);
    const v = new DataView(head.buffer);
    v.setUint16(0, o.sport!);
    v.setUint16(2, o.dport!);
    v.setUint16(4, 8 + payload.length);
    l4 = concat(head, payload);
    field = o.noChecksum ? -1 : 6;
  } else {
    const head = new Uint8Array(8);
    const v = new DataView(head.buffer);
    v.setUint8(0, o.type ?? 8);
    v.setUint8(1, o.code ?? 0);
    v.setUint16(4, o.icmpId ?? 0);
    l4 = concat(head, payload);
    field = 2;
  }
  const options = o.ipOptions ?? new Uint8Array(0);
  const head = new Uint8Array(20);
  const v = new DataView(head.buffer);
  v.setUint8(0, 0x40 | (5 + options.length / 4));
  v.setUint8(1, o.tos ?? 0);
  v.setUint16(2, 20 + options.length + l4.length);
  v.setUint16(4, o.id ?? 1);
  v.setUint16(6, (o.df ? 0x4000 : 0) | (o.mf ? 0x2000 : 0) | ((o.offset ?? 0) >> 3));
  v.setUint8(8, o.ttl ?? 64);
  v.setUint8(9, proto);
  v.setInt32(12, ip(o.src));
  v.setInt32(16, ip(o.dst));
  const packet = concat(head, options, l4);
  return withChecksums(packet, field);
}

/** Fills in the IP checksum and, at `field` of layer 4 (−1 = none), that one. */
export function withChecksums(packet: Uint8Array, field: number): Uint8Array {
  const v = new DataView(packet.buffer, packet.byteOffset);
  const header = (packet[0]! & 15) * 4;
  v.setUint16(10, 0);
  v.setUint16(10, fullChecksum(packet.subarray(0, header)));
  if (field < 0) return packet;
  const proto = packet[9]!;
  v.setUint16(header + field, 0);
  v.setUint16(header + field, l4Checksum(packet, header, proto));
  return packet;
}

function l4Checksum(packet: Uint8Array, header: number, proto: number): number {
  const l4 = packet.subarray(header);
  if (proto === 1) return fullChecksum(l4);
  const sum = fullChecksum(concat(pseudo(packet, proto, l4.length), l4));
  return proto === 17 && sum === 0 ? 0xffff : sum;
}

export interface Parsed {
  src: string;
  dst: string;
  proto: number;
  ttl: number;
  tos: number;
  id: number;
  df: boolean;
  mf: boolean;
  offset: number;
  length: number;
  header: number;
  sport: number;
  dport: number;
  flags: number;
  type: number;
  code: number;
  icmpId: number;
  mtu: number;
  payload: Uint8Array;
  ipChecksumOk: boolean;
  l4ChecksumOk: boolean;
  options: Uint8Array;
}

/** Takes a packet apart, checksums verified in full. */
export function dissect(packet: Uint8Array): Parsed {
  const v = new DataView(packet.buffer, packet.byteOffset, packet.length);
  const header = (packet[0]! & 15) * 4;
  const proto = packet[9]!;
  const fragment = v.getUint16(6);
  const offset = (fragment & 0x1fff) * 8;
  const length = v.getUint16(2);
  const l4 = packet.subarray(header, length);
  const whole = offset === 0 && (fragment & 0x2000) === 0;
  const result: Parsed = {
    src: dotted(v.getInt32(12)),
    dst: dotted(v.getInt32(16)),
    proto,
    ttl: packet[8]!,
    tos: packet[1]!,
    id: v.getUint16(4),
    df: (fragment & 0x4000) !== 0,
    mf: (fragment & 0x2000) !== 0,
    offset,
    length,
    header,
    sport: 0,
    dport: 0,
    flags: 0,
    type: -1,
    code: -1,
    icmpId: 0,
    mtu: 0,
    payload: l4,
    ipChecksumOk: fullChecksum(packet.subarray(0, header)) === 0,
    l4ChecksumOk: true,
    options: packet.subarray(20, header),
  };
  if (offset > 0) return result;
  if (proto === 6 || proto === 17) {
    result.sport = v.getUint16(header);
    result.dport = v.getUint16(header + 2);
    const bytes = proto === 6 ? (packet[header + 12]! >> 4) * 4 : 8;
    result.payload = l4.subarray(bytes);
    if (proto === 6) result.flags = packet[header + 13]!;
    const none = proto === 17 && v.getUint16(header + 6) === 0;
    if (whole && !none) result.l4ChecksumOk = fullChecksum(concat(pseudo(packet, proto, l4.length), l4)) === 0;
  } else if (proto === 1) {
    result.type = packet[header]!;
    result.code = packet[header + 1]!;
    result.icmpId = v.getUint16(header + 4);
    result.mtu = v.getUint16(header + 6);
    result.payload = l4.subarray(8);
    if (whole) result.l4ChecksumOk = fullChecksum(l4) === 0;
  }
  return result;
}

/** TCP options: MSS, and a window scale if given. */
export function mssOption(mss: number, scale?: number): Uint8Array {
  const options = [2, 4, mss >> 8, mss & 255];
  if (scale !== undefined) options.push(1, 3, 3, scale);
  return Uint8Array.from(options);
}
