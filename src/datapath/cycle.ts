/**
 * The way of a packet. One call walks one batch from the link to the link:
 *
 *   receive   link.receive      what is ready now, never waiting to fill a batch
 *   parse     parse.ts          lengths, offsets, tuple; or a named drop
 *   ipv6      ipv6.ts           what is IPv6: LAN to site link and back, stateless; the stages below are IPv4's
 *   match     match.ts          conntrack lookup without lock
 *   admit     foresee.ts        misses only: policy decides once, for all of them
 *             admit.ts          a port is claimed, a row is written
 *   rewrite   rewrite.ts        obey the row: state, TTL, MTU, addresses, ports, checksums
 *   emit      emit.ts           by verdict, one native call
 *
 * Beside the way: fragment.ts and icmp.ts (packets that follow others), help.ts (control connections of helpers; expect.ts,
 * splice.ts), reply.ts and reply-ipv6.ts (ICMP errors of our own), claim.ts (ports and rows when they run short), tap.ts (capture), engine.ts (what the stages
 * share), jit.ts (what V8 is told), worker.ts (the thread that calls this for ever). A steady-state cycle allocates nothing.
 */
import { type Batch, Ctl } from '../batch.js';
import { Counter } from '../contract/counters.js';
import type { Link } from '../link/link.js';
import { admit } from './admit.js';
import { emit } from './emit.js';
import type { Engine } from './engine.js';
import { match } from './match.js';
import { parse } from './parse.js';
import { rewrite } from './rewrite.js';

/** Takes one batch from the link through the engine and back to it. Returns the packets received. */
export function cycle(engine: Engine, link: Link, batch: Batch): number {
  batch.clear();
  const received = link.receive(batch);
  if (received === 0) return 0;
  walk(engine, batch, batch.ctl[Ctl.SECONDS]!);
  if (engine.tap !== null) engine.tap.after(batch);
  emit(engine, batch, link);
  return received;
}

/** `cycle` for one engine, link and batch, which the compiler then takes for constants (jit.ts). Make one a thread. */
export function cycler(engine: Engine, link: Link, batch: Batch): () => number {
  return () => cycle(engine, link, batch);
}

/** The stages between the links: every slot of the batch has a verdict afterwards. */
export function walk(engine: Engine, batch: Batch, now: number): void {
  engine.counters[Counter.BATCHES]!++;
  parse(batch, 0, engine.counters);
  if (engine.tap !== null) engine.tap.before(batch);
  if (engine.ipv6 !== null) engine.ipv6.walk(engine, batch);
  if (match(engine.table, batch, 0, now) > 0) admit(engine, batch, 0, now);
  rewrite(engine, batch, 0, now);
}
