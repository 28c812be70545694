/**
 * A UDP port that datagrams for one or several networks arrive at: links with the same address and port differ by their VNI, as vxlan devices of Linux may.
 * One socket, one receive, and each datagram goes to the endpoint whose number it bears; what bears none of them is counted by the first.
 */
import { native } from '../../native.js';
import type { Columns } from './columns.js';
import { VXLAN_BYTES, vniOf } from './header.js';

/** A tunnel, as its port sees it. */
export interface Receiver {
  readonly order: { readonly vni: number };
  /** The columns' id in the addon, of datagrams that arrive. */
  readonly inId: number;
  /** `owner`: of slots whose `source` is that; −1 = of all. */
  take(n: number, now: number, owner: number): void;
}

export class Port {
  readonly receivers: Receiver[] = [];
  readonly #columns: Columns;

  constructor(
    readonly key: string,
    readonly fd: number,
    columns: Columns,
  ) {
    this.#columns = columns;
  }

  /** One batch. Returns the datagrams received; 0 = none were there. */
  receive(now: number): number {
    const { receivers } = this;
    const n = native.vxlanReceive(this.fd, receivers[0]!.inId);
    if (n <= 0) return 0;
    if (receivers.length === 1) receivers[0]!.take(n, now, -1);
    else this.deal(n, now);
    return n;
  }

  /** Slots 0…n to those whose they are. */
  deal(n: number, now: number): void {
    this.#sort(n);
    for (let k = 0; k < this.receivers.length; k++) this.receivers[k]!.take(n, now, k);
  }

  #sort(n: number): void {
    const { off, len, source, view } = this.#columns;
    for (let i = 0; i < n; i++) {
      source[i] = len[i]! < VXLAN_BYTES ? 0 : this.#index(vniOf(view, off[i]!));
    }
  }

  #index(vni: number): number {
    for (let k = 0; k < this.receivers.length; k++) if (this.receivers[k]!.order.vni === vni) return k;
    return 0;
  }
}
