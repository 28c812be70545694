/**
 * One queue of a TUN device as a link: the kernel's way in and out of the engine.
 *
 * Every packet carries its virtio-net header, so TCP and UDP arrive as segments of up to 64 KiB with the checksum left to
 * the one who cuts them up, and leave the same way. The addon reads and writes the batch's memory itself; this file makes
 * the batch known to it (once a thread and batch) and turns its error numbers into LinkLost.
 */
import { getSystemErrorName } from 'node:util';
import type { Batch } from '../batch.js';
import { native } from '../native.js';
import { batchId } from './batch-id.js';
import { type Link, LinkLost } from './link.js';

/** EBADFD: what a queue answers when its device was deleted; libuv has no name for it. */
const EBADFD = 77;

function lost(name: string, errno: number): LinkLost {
  if (errno === EBADFD) return new LinkLost(name, `TUN ${name} is gone: the device was deleted`);
  return new LinkLost(name, `TUN ${name} cannot be read: ${getSystemErrorName(-errno)}`);
}

export class TunLink implements Link {
  readonly name: string;
  readonly fd: number;
  readonly #owned: boolean;
  /** The batch of the last call and its number: a worker has one, so the map is asked once. */
  #batch: Batch | null = null;
  #id = -1;

  private constructor(name: string, fd: number, owned: boolean) {
    this.name = name;
    this.fd = fd;
    this.#owned = owned;
  }

  /** Opens a queue of `name` (a template such as `tun%d` is allowed), making the device if there is none. Closes it again. */
  static open(name: string): TunLink {
    const info = native.tunOpen(name);
    return new TunLink(info.name, info.fd, true);
  }

  /** A queue that somebody else opened and will close: a worker is handed its descriptor by the control plane. */
  static adopt(name: string, fd: number): TunLink {
    return new TunLink(name, fd, false);
  }

  receive(batch: Batch): number {
    if (batch !== this.#batch) this.#use(batch);
    const n = native.tunReceive(this.fd, this.#id);
    if (n < 0) throw lost(this.name, -n);
    return n;
  }

  transmit(batch: Batch, n: number): number {
    if (batch !== this.#batch) this.#use(batch);
    return native.tunTransmit(this.fd, this.#id, n);
  }

  close(): void {
    if (this.#owned) native.closeFd(this.fd);
  }

  #use(batch: Batch): void {
    this.#id = batchId(batch);
    this.#batch = batch;
  }
}
