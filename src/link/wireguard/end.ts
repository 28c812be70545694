/**
 * A device and its UDP port: what a bare interface (tunnel.ts) and a link of the engine (site.ts) have in common.
 *
 * What the device emits by itself (handshakes, keepalives, what was staged) is few: it is copied into a small set of columns, which goes out before the batch
 * does, so that packets keep their order.
 */
import { native } from '../../native.js';
import { UdpPort } from '../udp.js';
import { Columns } from './columns.js';
import { Device, type DeviceOptions } from './device.js';
import { ENDPOINT_WORDS } from './endpoint.js';
import { Outcome } from './outcome.js';
import type { PromptSocket } from './uapi.js';

/** 64 messages of the kernel's (few are that long at once; what is not touched costs nothing), and the datagrams that they may hold. */
const IN_BYTES = 64 * (65_536 + 1_600);
const IN_SLOTS = 4096;
/** Some ten of the TUN's largest packets. */
const OUT_BYTES = 12 * 65_536;
const OUT_SLOTS = 512;
const OWN_BYTES = 4 * 65_536;
const OWN_SLOTS = 64;

/** Places in TunnelEnd.counts. */
export const TunnelCount = {
  /** Datagrams that the kernel refused to send, and errors when receiving. */
  SEND_FAILED: 0,
  RECEIVE_FAILED: 1,
} as const;

/** Columns for both ways. Between two calls they hold nothing, so all links of a thread share one set. */
export class Lanes {
  readonly in = new Columns(IN_SLOTS, new Uint8Array(IN_BYTES));
  readonly out = new Columns(OUT_SLOTS, new Uint8Array(OUT_BYTES));

  close(): void {
    closeColumns(this.in);
    closeColumns(this.out);
  }
}

function closeColumns(columns: Columns): void {
  columns.data.fill(0);
  columns.close();
}

export class TunnelEnd {
  readonly device: Device;
  readonly port = new UdpPort();
  readonly counts = new Float64Array(2);
  readonly #own = new Columns(OWN_SLOTS, new Uint8Array(OWN_BYTES));
  #ownSlots = 0;
  #ownBytes = 0;

  constructor(
    readonly name: string,
    options: Omit<DeviceOptions, 'emit'>,
  ) {
    this.device = new Device({ ...options, emit: (message, endpoint) => this.#emit(message, endpoint) });
  }

  /** What the text protocol holds of us. */
  get socket(): PromptSocket {
    const { port } = this;
    return {
      listenPort: port.port,
      fwmark: port.mark,
      setListenPort: (number) => port.setPort(number),
      setFwmark: (mark) => port.setMark(mark),
    };
  }

  /** Opens the port and greets the peers. Throws when the port is taken; the device stays down then. */
  start(now: number): void {
    this.port.start();
    this.device.start(now);
    this.device.greet(now);
    this.flush();
  }

  stop(): void {
    this.device.stop();
    this.port.stop();
  }

  close(): void {
    this.stop();
    this.device.close();
    closeColumns(this.#own);
  }

  /** Does what is due; returns when to come again. */
  tick(now: number): number {
    const at = this.device.tick(now);
    this.flush();
    return at;
  }

  /** Sends what the device has emitted. */
  flush(): void {
    const n = this.#ownSlots;
    if (n === 0) return;
    this.transmitSealed(this.#own, n, n);
    this.#ownSlots = 0;
    this.#ownBytes = 0;
  }

  /** One batch of datagrams into `columns`. Returns how many there were; 0 = none. */
  protected receiveInto(columns: Columns, fd: number): number {
    const n = native.udpReceive(fd, columns.datagrams);
    if (n < 0) this.counts[TunnelCount.RECEIVE_FAILED]! += 1;
    return Math.max(n, 0);
  }

  /** Sends slots 0…n, of which `wanted` are PASS. */
  protected transmitSealed(columns: Columns, n: number, wanted: number): void {
    const sent = native.udpSend(this.port.four, this.port.six, columns.datagrams, n);
    if (sent === wanted) return;
    this.counts[TunnelCount.SEND_FAILED]! += wanted - Math.max(0, sent);
    this.failed();
  }

  /** Datagrams were refused. */
  protected failed(): void {}

  #emit(message: Uint8Array, endpoint: Int32Array): void {
    if (this.#ownSlots === OWN_SLOTS || this.#ownBytes + message.length > OWN_BYTES) this.flush();
    const slot = this.#ownSlots++;
    const columns = this.#own;
    columns.data.set(message, this.#ownBytes);
    columns.off[slot] = this.#ownBytes;
    columns.len[slot] = message.length;
    columns.outcome[slot] = Outcome.PASS;
    columns.endpoint.set(endpoint, slot * ENDPOINT_WORDS);
    this.#ownBytes += (message.length + 15) & ~15;
  }
}
