/** Reads pcap files (micro- and nanosecond, either byte order) for tests that assert on what was recorded. */
import { readFileSync } from 'node:fs';

export interface PcapPacket {
  /** Nanoseconds since the epoch. */
  readonly time: bigint;
  /** Length on the wire; `bytes` may be shorter. */
  readonly length: number;
  readonly bytes: Uint8Array;
}

export interface Pcap {
  /** LINKTYPE_: 1 Ethernet, 101 raw IP. */
  readonly linkType: number;
  readonly packets: PcapPacket[];
}

const NANO = 0xa1b23c4d;
const MICRO = 0xa1b2c3d4;

export function parsePcap(file: Uint8Array): Pcap {
  const view = new DataView(file.buffer, file.byteOffset, file.byteLength);
  if (file.length < 24) throw new Error(`not a pcap file: ${file.length} bytes are less than its header`);
  const little = [NANO, MICRO].includes(view.getUint32(0, true));
  const magic = view.getUint32(0, little);
  if (magic !== NANO && magic !== MICRO) throw new Error(`not a pcap file: magic 0x${magic.toString(16)}`);
  const fraction = magic === NANO ? 1n : 1000n;
  const packets: PcapPacket[] = [];
  for (let at = 24; at < file.length; ) {
    if (at + 16 > file.length) throw new Error(`record header cut off at byte ${at}`);
    const captured = view.getUint32(at + 8, little);
    const body = at + 16;
    if (body + captured > file.length) throw new Error(`record of ${captured} bytes cut off at byte ${at}`);
    packets.push({
      time: BigInt(view.getUint32(at, little)) * 1_000_000_000n + BigInt(view.getUint32(at + 4, little)) * fraction,
      length: view.getUint32(at + 12, little),
      bytes: file.subarray(body, body + captured),
    });
    at = body + captured;
  }
  return { linkType: view.getUint32(20, little), packets };
}

export function readPcap(path: string): Pcap {
  return parsePcap(readFileSync(path));
}

/** A pcap file with nanosecond times, little-endian. */
export function writePcap(linkType: number, packets: readonly { time: bigint; bytes: Uint8Array }[]): Uint8Array {
  const file = new Uint8Array(packets.reduce((sum, { bytes }) => sum + 16 + bytes.length, 24));
  const view = new DataView(file.buffer);
  view.setUint32(0, NANO, true);
  view.setUint16(4, 2, true);
  view.setUint16(6, 4, true);
  view.setUint32(16, 65_535, true);
  view.setUint32(20, linkType, true);
  let at = 24;
  for (const { time, bytes } of packets) {
    view.setUint32(at, Number(time / 1_000_000_000n), true);
    view.setUint32(at + 4, Number(time % 1_000_000_000n), true);
    view.setUint32(at + 8, bytes.length, true);
    view.setUint32(at + 12, bytes.length, true);
    file.set(bytes, at + 16);
    at += 16 + bytes.length;
  }
  return file;
}
