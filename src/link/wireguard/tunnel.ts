/**
 * A device between its TUN and its UDP port: the way of the packets of one WireGuard interface, a batch at a time.
 *
 *     out:  TUN ─► tunSplit: segments in slots ─► device.seal, in place ─► udpSend: one message for a run of equal datagrams ─► UDP
 *     in:   UDP ─► udpReceive: datagrams in slots ─► device.open, in place ─► tunJoin: TCP runs in one write ─► TUN
 *
 * Theory of operation. Both ways are three native calls and three short loops, whatever the number of packets; each way has its columns, made once
 * and of a size that stays in the cache. What the device emits by itself (handshakes, keepalives, what was staged) is few: it is copied into a small third
 * set of columns, which goes out before the batch does, so that packets keep their order.
 *
 * The tunnel owns its columns and the UDP port; the TUN's descriptor is its owner's.
 */
import { getSystemErrorName } from 'node:util';
import { native } from '../../native.js';
import { LinkLost } from '../link.js';
import { UdpPort } from '../udp.js';
import { Columns } from './columns.js';
import { Device } from './device.js';
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
const EBADFD = 77;

/** Places in Tunnel.counts. */
export const TunnelCount = {
  /** Datagrams that the kernel refused to send, and errors when receiving. */
  SEND_FAILED: 0,
  RECEIVE_FAILED: 1,
} as const;

export class Tunnel {
  readonly device: Device;
  readonly port = new UdpPort();
  readonly counts = new Float64Array(2);
  readonly #in = new Columns(IN_SLOTS, new Uint8Array(IN_BYTES));
  readonly #out = new Columns(OUT_SLOTS, new Uint8Array(OUT_BYTES));
  readonly #own = new Columns(OWN_SLOTS, new Uint8Array(OWN_BYTES));
  #ownSlots = 0;
  #ownBytes = 0;
  readonly #vnet: 0 | 1;

  constructor(
    readonly name: string,
    readonly tunFd: number,
    options: { readonly vnet: boolean; readonly mtu: number },
  ) {
    this.#vnet = options.vnet ? 1 : 0;
    this.device = new Device({ mtu: options.mtu, emit: (message, endpoint) => this.#emit(message, endpoint) });
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
    for (const columns of [this.#in, this.#out, this.#own]) {
      columns.data.fill(0);
      columns.close();
    }
  }

  /** One batch from outside. Returns the datagrams received, 0 = none were there. */
  receive(fd: number, now: number): number {
    const columns = this.#in;
    const n = native.udpReceive(fd, columns.datagrams);
    if (n <= 0) {
      if (n < 0) this.counts[TunnelCount.RECEIVE_FAILED]! += 1;
      return 0;
    }
    const opened = this.device.open(columns, n, now);
    if (opened > 0) native.tunJoin(this.tunFd, columns.datagrams, n, this.#vnet);
    this.flush();
    return n;
  }

  /** One batch from inside. Returns the segments read; 0 = nothing was there. Throws LinkLost. */
  send(now: number): number {
    const columns = this.#out;
    const n = native.tunSplit(this.tunFd, columns.datagrams, this.#vnet);
    if (n < 0) {
      const words = n === -EBADFD ? 'the device was deleted' : getSystemErrorName(n);
      throw new LinkLost(this.name, `TUN ${this.name} cannot be read any more: ${words}`);
    }
    if (n === 0) return 0;
    const sealed = this.device.seal(columns, n, now);
    this.flush();
    if (sealed > 0) this.#transmit(columns, n, sealed);
    return n;
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
    this.#transmit(this.#own, n, n);
    this.#ownSlots = 0;
    this.#ownBytes = 0;
  }

  #transmit(columns: Columns, n: number, wanted: number): void {
    const sent = native.udpSend(this.port.four, this.port.six, columns.datagrams, n);
    if (sent !== wanted) this.counts[TunnelCount.SEND_FAILED]! += wanted - Math.max(0, sent);
  }

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
