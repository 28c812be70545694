/**
 * Session keys: 32 bytes a slot in one array, which the addon reads. Columns name a key by its slot, so ending a session is to overwrite its slot,
 * and no copy stays behind in garbage that only the collector knows.
 */

import { KEY_BYTES } from './constants.js';
import { crypto } from './crypto.js';

const FIRST_SLOTS = 64;

export class KeyRing {
  bytes = new Uint8Array(FIRST_SLOTS * KEY_BYTES);
  #free: number[] = [];
  #used = 0;

  /** Takes `key` over: the caller's copy is overwritten. */
  add(key: Uint8Array): number {
    const slot = this.#free.pop() ?? this.#used++;
    if ((slot + 1) * KEY_BYTES > this.bytes.length) this.#grow();
    this.bytes.set(key, slot * KEY_BYTES);
    key.fill(0);
    return slot;
  }

  remove(slot: number): void {
    this.bytes.fill(0, slot * KEY_BYTES, (slot + 1) * KEY_BYTES);
    this.#free.push(slot);
    crypto.forget();
  }

  /** Keys in use. */
  get size(): number {
    return this.#used - this.#free.length;
  }

  #grow(): void {
    const old = this.bytes;
    this.bytes = new Uint8Array(old.length * 2);
    this.bytes.set(old);
    old.fill(0);
  }
}
