/** The two ends of a control connection, as simple as can be: each knows what it has sent and what it has received. */
import assert from 'node:assert/strict';
import { build, dissect, type PacketOptions, type Parsed } from '../lib-packets.js';
import type { Rig } from './rig.js';

export const SYN = 2;
export const PSH = 8;
export const ACK = 16;

const bytesByPacket = new WeakMap<Parsed, Uint8Array>();

/** The bytes of a packet that `only` took apart, in a buffer of their own. */
export function whole(packet: Parsed | Uint8Array): Uint8Array {
  return packet instanceof Uint8Array ? packet : bytesByPacket.get(packet)!;
}

/** The one packet that came out, its checksums verified. */
export function only(out: Uint8Array[], intact = true): Parsed {
  assert.equal(out.length, 1, `${out.length} packets came out`);
  const copy = out[0]!.slice();
  const packet = dissect(copy);
  bytesByPacket.set(packet, copy);
  assert.equal(packet.length, copy.length, 'IP length');
  assert.ok(packet.ipChecksumOk, 'IP checksum');
  if (intact) assert.ok(packet.l4ChecksumOk, 'layer 4 checksum');
  return packet;
}

export const bytesOf = (text: string) => Uint8Array.from(text, (c) => c.charCodeAt(0));
export const textOf = (packet: Parsed) => String.fromCharCode(...packet.payload);

export interface Ends {
  readonly client: string;
  readonly cport: number;
  /** The server, and the address by which the client knows it. */
  readonly server: string;
  readonly asSeen: string;
  readonly port: number;
}

/** Numbers near the wrap-around, so that it is passed. */
const CLIENT_ISN = 0xffff_ffe0 | 0;
const SERVER_ISN = 0x7fff_fff0 | 0;

export class Dialog {
  /** Next number of each end as it counts itself, and as the other end counts it. */
  clientSeq = CLIENT_ISN;
  serverSeq = SERVER_ISN;
  /** What the server has received of the client, and the client of the server: next number expected. */
  serverView = 0;
  clientView = 0;
  /** The client as the server sees it. */
  face = { src: '', sport: 0 };

  constructor(
    readonly rig: Rig,
    readonly ends: Ends,
  ) {}

  fromClient(text: string, more: Partial<PacketOptions> = {}): Uint8Array {
    const { client, cport, asSeen, port } = this.ends;
    const common = { proto: 'tcp', src: client, sport: cport, dst: asSeen, dport: port, flags: PSH | ACK } as const;
    return build({ ...common, seq: this.clientSeq, ack: this.clientView, payload: bytesOf(text), ...more });
  }

  fromServer(text: string, more: Partial<PacketOptions> = {}): Uint8Array {
    const { server, port } = this.ends;
    const { src, sport } = this.face;
    const common = { proto: 'tcp', src: server, sport: port, dst: src, dport: sport, flags: PSH | ACK } as const;
    return build({ ...common, seq: this.serverSeq, ack: this.serverView, payload: bytesOf(text), ...more });
  }

  /** The handshake. */
  open(): void {
    const syn = only(this.rig.pass(this.fromClient('', { flags: SYN, ack: 0 })));
    this.face = { src: syn.src, sport: syn.sport };
    this.clientSeq = (this.clientSeq + 1) | 0;
    this.serverView = this.clientSeq;
    only(this.rig.pass(this.fromServer('', { flags: SYN | ACK })));
    this.serverSeq = (this.serverSeq + 1) | 0;
    this.clientView = this.serverSeq;
    only(this.rig.pass(this.fromClient('', { flags: ACK })));
  }

  /** The client sends this in one segment; the server takes it and acknowledges it. Returns what the server got. */
  client(text: string): string {
    const packet = only(this.rig.pass(this.fromClient(text)));
    const v = new DataView(whole(packet).buffer);
    assert.equal(v.getInt32(packet.header + 4), this.serverView, 'sequence number as the server counts');
    assert.equal(v.getInt32(packet.header + 8), this.serverSeq, 'acknowledgement as the server counts itself');
    this.clientSeq = (this.clientSeq + text.length) | 0;
    this.serverView = (this.serverView + packet.payload.length) | 0;
    const ack = only(this.rig.pass(this.fromServer('')));
    const back = new DataView(whole(ack).buffer);
    assert.equal(back.getInt32(ack.header + 8), this.clientSeq, 'acknowledgement as the client counts itself');
    assert.equal(back.getInt32(ack.header + 4), this.clientView, 'sequence number as the client counts');
    return textOf(packet);
  }

  /** The same from the server. */
  server(text: string): string {
    const packet = only(this.rig.pass(this.fromServer(text)));
    const v = new DataView(whole(packet).buffer);
    assert.equal(v.getInt32(packet.header + 4), this.clientView, 'sequence number as the client counts');
    assert.equal(v.getInt32(packet.header + 8), this.clientSeq, 'acknowledgement as the client counts itself');
    this.serverSeq = (this.serverSeq + text.length) | 0;
    this.clientView = (this.clientView + packet.payload.length) | 0;
    const ack = only(this.rig.pass(this.fromClient('')));
    const back = new DataView(whole(ack).buffer);
    assert.equal(back.getInt32(ack.header + 8), this.serverSeq, 'acknowledgement as the server counts itself');
    return textOf(packet);
  }
}
