/**
 * A device between its TUN and its UDP port: the way of the packets of one WireGuard interface, a batch at a time.
 *
 *     out:  TUN ─► tunSplit: segments in slots ─► device.seal, in place ─► udpSend: one message for a run of equal datagrams ─► UDP
 *     in:   UDP ─► udpReceive: datagrams in slots ─► device.open, in place ─► tunJoin: TCP runs in one write ─► TUN
 *
 * Theory of operation. Both ways are three native calls and three short loops, whatever the number of packets; each way has its columns, made once
 * and of a size that stays in the cache.
 *
 * The tunnel owns its columns and the UDP port; the TUN's descriptor is its owner's.
 */
import { getSystemErrorName } from 'node:util';
import { native } from '../../native.js';
import { LinkLost } from '../link.js';
import { Lanes, TunnelEnd } from './end.js';

const EBADFD = 77;

export class Tunnel extends TunnelEnd {
  readonly #lanes = new Lanes();
  readonly #vnet: 0 | 1;

  constructor(
    name: string,
    readonly tunFd: number,
    options: { readonly vnet: boolean; readonly mtu: number },
  ) {
    super(name, { mtu: options.mtu });
    this.#vnet = options.vnet ? 1 : 0;
  }

  override close(): void {
    super.close();
    this.#lanes.close();
  }

  /** One batch from outside. Returns the datagrams received, 0 = none were there. */
  receive(fd: number, now: number): number {
    const columns = this.#lanes.in;
    const n = this.receiveInto(columns, fd);
    if (n === 0) return 0;
    const opened = this.device.open(columns, n, now);
    if (opened > 0) native.tunJoin(this.tunFd, columns.datagrams, n, this.#vnet);
    this.flush();
    return n;
  }

  /** One batch from inside. Returns the segments read; 0 = nothing was there. Throws LinkLost. */
  send(now: number): number {
    const columns = this.#lanes.out;
    const n = native.tunSplit(this.tunFd, columns.datagrams, this.#vnet);
    if (n < 0) {
      const words = n === -EBADFD ? 'the device was deleted' : getSystemErrorName(n);
      throw new LinkLost(this.name, `TUN ${this.name} cannot be read any more: ${words}`);
    }
    if (n === 0) return 0;
    const sealed = this.device.seal(columns, n, now);
    this.flush();
    if (sealed > 0) this.transmitSealed(columns, n, sealed);
    return n;
  }
}
