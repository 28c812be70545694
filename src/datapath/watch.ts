/**
 * A tap that explains: of the next packets that a filter names, what each stage found and which rule decided.
 *
 * A packet is explained when it has been parsed, by the same dry run that `trace` makes of a packet that nobody sent (trace.ts),
 * while the table is still as the packet meets it; what it became is added when every stage is through. What the filter names
 * only after translation (an answer to an inside host) is explained then, by the flow that it belongs to. Of packets that came
 * in one batch, a later one may be explained as if the earlier ones had not been there yet.
 *
 * Strings are made here, for as many packets as were asked for and for no other.
 */
import { BATCH_SLOTS, type Batch, Ctl } from '../batch.js';
import type { SeenAnswer } from '../contract/api.js';
import type { WatchFilter } from '../contract/mailbox.js';
import { VERDICTS, Verdict } from '../contract/verdict.js';
import { Icmp } from '../wire/icmp.js';
import { IPPROTO, Ipv4 } from '../wire/ipv4.js';
import type { Engine } from './engine.js';
import { Flag } from './parse.js';
import { hasTuple, type Tap } from './tap.js';
import { dotted, endpoint, protocol, trace } from './trace.js';

type Steps = SeenAnswer['steps'];

export class Watch implements Tap {
  readonly #engine: Engine;
  readonly #filter: WatchFilter;
  readonly #tell: (answer: SeenAnswer) => void;
  readonly #steps: (Steps | undefined)[] = new Array<undefined>(BATCH_SLOTS).fill(undefined);
  #left: number;
  #known = 0;

  constructor(engine: Engine, filter: WatchFilter, count: number, tell: (answer: SeenAnswer) => void) {
    this.#engine = engine;
    this.#filter = filter;
    this.#left = count;
    this.#tell = tell;
  }

  before(batch: Batch): void {
    this.#known = batch.count;
    for (let i = 0, due = this.#left; due > 0 && i < batch.count; i++) {
      if (!hasTuple(batch, i) || !this.#names(batch, i, batch.src[i]!, batch.dst[i]!, batch.ports[i]!)) continue;
      this.#steps[i] = this.#explain(batch, i);
      due--;
    }
  }

  after(batch: Batch): void {
    const { view, off } = batch;
    for (let i = 0; i < this.#known; i++) {
      let steps = this.#steps[i];
      this.#steps[i] = undefined;
      if (this.#left === 0) continue;
      const sent = VERDICTS[batch.verdict[i]!]!.fate === 'send';
      const [src, dst] = sent ? [view.getInt32(off[i]! + Ipv4.SRC), view.getInt32(off[i]! + Ipv4.DST)] : [0, 0];
      if (steps === undefined && sent && this.#names(batch, i, src, dst, this.#portsNow(batch, i)))
        steps = this.#explain(batch, i);
      if (steps !== undefined) this.#end(batch, i, steps, sent);
    }
  }

  /** Is the packet between these two one that was asked for? */
  #names(batch: Batch, i: number, src: number, dst: number, ports: number): boolean {
    const { address, other, port, proto } = this.#filter;
    if (proto !== undefined && batch.proto[i] !== proto) return false;
    if (port !== undefined && (!hasPorts(batch, i) || (ports >>> 16 !== port && (ports & 0xffff) !== port)))
      return false;
    const is = (prefix: WatchFilter['address'] | undefined, value: number): boolean =>
      prefix === undefined || (value & prefix.mask) === prefix.prefix;
    return (is(address, src) && is(other, dst)) || (is(address, dst) && is(other, src));
  }

  /** The ports that stand in the packet now. */
  #portsNow(batch: Batch, i: number): number {
    return hasPorts(batch, i) ? batch.view.getInt32(batch.l4[i]!) : batch.ports[i]!;
  }

  #explain(batch: Batch, i: number): Steps {
    const [src, dst, ports] = [batch.src[i]!, batch.dst[i]!, batch.ports[i]!];
    const proto = batch.proto[i]!;
    const flags = batch.flags[i]!;
    const between = `${dotted(src)} → ${dotted(dst)}`;
    if ((flags & Flag.NO_TUPLE) !== 0) {
      const what =
        (flags & Flag.LATER_FRAGMENT) !== 0
          ? 'a later fragment; goes where the first one of its datagram goes'
          : `icmp type ${batch.view.getUint8(batch.l4[i]! + Icmp.TYPE)}; judged by the packet that it quotes`;
      return [{ stage: 'parse', text: `${protocol(proto)} ${between}, ${what}` }];
    }
    // Parse has the last word over what cannot be what it says.
    if (batch.verdict[i] !== Verdict.PENDING && VERDICTS[batch.verdict[i]!]!.fate === 'drop')
      return [{ stage: 'parse', text: `${protocol(proto)} ${between}` }];
    // A query's id stands where its sender's port would be; in the answer, where its destination's would.
    const packet = { src, dst, proto, sport: ports >>> 16, dport: ports & 0xffff };
    return trace(this.#engine, packet, batch.ctl[Ctl.SECONDS]!).steps;
  }

  /** Every stage is through. */
  #end(batch: Batch, i: number, steps: Steps, sent: boolean): void {
    this.#left--;
    const { view } = batch;
    const off = batch.off[i]!;
    const { name, fate, sentence } = VERDICTS[batch.verdict[i]!]!;
    const last = { stage: 'emit', text: '' };
    if (sent) {
      const ports = this.#portsNow(batch, i);
      const proto = batch.proto[i]!;
      const shown = hasPorts(batch, i) ? ports : 0;
      last.text = `${endpoint(view.getInt32(off + Ipv4.SRC), shown >>> 16, proto)} → ${endpoint(view.getInt32(off + Ipv4.DST), shown & 0xffff, proto)} is sent`;
    }
    this.#tell({
      at: new Date().toISOString(),
      bytes: batch.len[i]!,
      verdict: name,
      fate,
      sentence,
      steps: sent ? [...steps, last] : steps,
    });
  }
}

function hasPorts(batch: Batch, i: number): boolean {
  const proto = batch.proto[i];
  return (proto === IPPROTO.TCP || proto === IPPROTO.UDP) && (batch.flags[i]! & Flag.NO_TUPLE) === 0;
}
