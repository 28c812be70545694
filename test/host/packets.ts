/** Whole IPv4 packets with right checksums, for kernels that look. */
import { native } from '../../src/native.js';
import { ip } from './steer-packets.js';

export interface Ends {
  readonly from: string;
  readonly to: string;
  readonly ttl?: number;
}

function ipv4({ from, to, ttl = 64 }: Ends, protocol: number, payload: Uint8Array): Buffer {
  const packet = Buffer.alloc(20 + payload.length);
  packet[0] = 0x45;
  packet.writeUInt16BE(packet.length, 2);
  packet[8] = ttl;
  packet[9] = protocol;
  packet.writeInt32BE(ip(from), 12);
  packet.writeInt32BE(ip(to), 16);
  packet.writeUInt16BE(~native.checksum(packet, 0, 20, 0) & 0xffff, 10);
  packet.set(payload, 20);
  return packet;
}

/** Sum of the pseudo header, un-complemented. */
function pseudo({ from, to }: Ends, protocol: number, length: number): number {
  const header = Buffer.alloc(12);
  header.writeInt32BE(ip(from), 0);
  header.writeInt32BE(ip(to), 4);
  header.writeUInt16BE(protocol, 8);
  header.writeUInt16BE(length, 10);
  return native.checksum(header, 0, 12, 0);
}

export function udp(ends: Ends, sourcePort: number, port: number, data = 'hello'): Buffer {
  const payload = Buffer.concat([Buffer.alloc(8), Buffer.from(data)]);
  payload.writeUInt16BE(sourcePort, 0);
  payload.writeUInt16BE(port, 2);
  payload.writeUInt16BE(payload.length, 4);
  payload.writeUInt16BE(~native.checksum(payload, 0, payload.length, pseudo(ends, 17, payload.length)) & 0xffff, 6);
  return ipv4(ends, 17, payload);
}

export const SYN = 2;
export const ACK = 16;

/** `partial`: the checksum is left to whoever cuts the packet up, so the field holds the pseudo header's sum. */
export function tcp(ends: Ends, ports: [number, number], flags: number, data = 0, partial = false): Buffer {
  const payload = Buffer.alloc(20 + data);
  payload.writeUInt16BE(ports[0], 0);
  payload.writeUInt16BE(ports[1], 2);
  payload[12] = 0x50;
  payload[13] = flags;
  payload.writeUInt16BE(0x7fff, 14);
  const base = pseudo(ends, 6, payload.length);
  const sum = partial ? base : ~native.checksum(payload, 0, payload.length, base) & 0xffff;
  payload.writeUInt16BE(sum, 16);
  return ipv4(ends, 6, payload);
}

/** `rest`: the four bytes behind the checksum, 0 where omitted. */
export function icmp(ends: Ends, type: number, code: number, data: Uint8Array): Buffer {
  const payload = Buffer.concat([Buffer.from([type, code, 0, 0, 0, 0, 0, 0]), data]);
  payload.writeUInt16BE(~native.checksum(payload, 0, payload.length, 0) & 0xffff, 2);
  return ipv4(ends, 1, payload);
}

export const echo = (ends: Ends): Buffer => icmp(ends, 8, 0, Buffer.from('ping'));
