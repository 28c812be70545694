/** What the two threads of a bare WireGuard device say to each other. */

export interface DeviceInit {
  readonly name: string;
  readonly tunFd: number;
  /** The TUN speaks vnet headers. */
  readonly vnet: boolean;
  readonly mtu: number;
  /** eventfd: set after each message to the worker. */
  readonly wakeFd: number;
}

export type ToDevice =
  /** A request of wg(8), without its empty line. */
  | { readonly kind: 'ask'; readonly id: number; readonly text: string }
  /** The interface went up or down, or its MTU changed. */
  | { readonly kind: 'state'; readonly up: boolean; readonly mtu: number }
  | { readonly kind: 'stop' };

export type FromDevice =
  | { readonly kind: 'answer'; readonly id: number; readonly text: string }
  /** Something to be logged. */
  | { readonly kind: 'say'; readonly level: 'error' | 'info'; readonly text: string }
  /** The interface is gone. */
  | { readonly kind: 'lost'; readonly text: string }
  | { readonly kind: 'stopped' };
