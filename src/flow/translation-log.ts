/**
 * Who had which public port when (RFC 6888 REQ-12): mappings, or every flow, as they begin and end.
 *
 * Off by default, because it is a record of what people do. A bounded ring of events in the worker's memory, emptied into a
 * message to the control plane between batches; when more happens than it holds, the newest are lost and counted. `mappings`
 * says nothing of destinations (RFC 6888 REQ-14); `flows` does.
 */
import { EVENT_WORDS, Translation } from '../contract/translation.js';

const SLOTS = 8192;

export class TranslationLog {
  readonly #events = new Int32Array(SLOTS * EVENT_WORDS);
  #count = 0;
  /** Events that found the ring full since `take`. */
  lost = 0;

  note(
    event: number,
    proto: number,
    inside: number,
    outside: number,
    ports: number,
    remote: number,
    remotePort: number,
    rule: number,
  ): void {
    if (this.#count === SLOTS) {
      this.lost++;
      return;
    }
    const at = this.#count++ * EVENT_WORDS;
    const events = this.#events;
    events[at + Translation.EVENT] = event;
    events[at + Translation.PROTO] = proto;
    events[at + Translation.INSIDE] = inside;
    events[at + Translation.OUTSIDE] = outside;
    events[at + Translation.PORTS] = ports;
    events[at + Translation.REMOTE] = remote;
    events[at + Translation.REMOTE_PORT] = remotePort;
    events[at + Translation.RULE] = rule;
  }

  get count(): number {
    return this.#count;
  }

  /** A copy of the events so far; the ring is empty again. */
  take(): Int32Array {
    const events = this.#events.slice(0, this.#count * EVENT_WORDS);
    this.#count = 0;
    this.lost = 0;
    return events;
  }
}
