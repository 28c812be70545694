/**
 * Fragments on the packet's way: the first one is decided like any packet, later ones follow it.
 */
import { type Batch, Ctl } from '../batch.js';
import { Counter } from '../contract/counters.js';
import { Verdict } from '../contract/verdict.js';
import { Fragment, headerBytes, Ipv4 } from '../wire/ipv4.js';
import type { Engine } from './engine.js';
import { Flag } from './parse.js';

/** Key half that tells datagrams between two hosts apart: IP id << 16 | link that brought it << 8 | protocol. */
export function fragmentKey(batch: Batch, i: number): number {
  return (batch.view.getUint16(batch.off[i]! + Ipv4.ID) << 16) | (batch.ctl[Ctl.INGRESS]! << 8) | batch.proto[i]!;
}

/** A later fragment: follows its first if that is known, else waits for it. Returns its verdict, PENDING with a handle to follow. */
export function laterFragment(engine: Engine, batch: Batch, i: number, now: number): number {
  const { fragments } = engine;
  const key = fragmentKey(batch, i);
  if (!fragments.lookup(batch.src[i]!, batch.dst[i]!, key, now)) {
    fragments.hold(batch.src[i]!, batch.dst[i]!, key, batch.data, batch.off[i]!, batch.len[i]!, now);
    return Verdict.HELD;
  }
  if (fragments.handle < 0) return fragments.verdict;
  return follow(engine, batch, i);
}

/** Is this first fragment one that we know already, of a datagram that is not complete? Then it overlaps. */
export function repeatsFirst(engine: Engine, batch: Batch, i: number, key: number, now: number): boolean {
  const { fragments } = engine;
  return fragments.lookup(batch.src[i]!, batch.dst[i]!, key, now) && fragments.handle >= 0 && !fragments.complete();
}

/**
 * A first fragment has its verdict: remembers it for those that follow, and releases those that came before it. They are
 * appended to the batch, pending, and the stage that called goes on with them. `key` is what fragmentKey said before the
 * packet was rewritten.
 */
export function firstFragment(engine: Engine, batch: Batch, i: number, key: number, now: number): void {
  const { fragments } = engine;
  const { view } = batch;
  const src = batch.src[i]!;
  const dst = batch.dst[i]!;
  const verdict = batch.verdict[i]!;
  // A fragment that was decided but not sent (TTL, MTU) leaves nothing for the others to follow but its verdict.
  const handle = verdict === Verdict.FORWARD ? batch.handle[i]! : -1;
  const generation = batch.generation[i]!;
  const until = now + engine.plan.timeouts.fragment;
  const newId = view.getUint16(batch.off[i]! + Ipv4.ID);
  const bytes = batch.off[i]! + batch.len[i]! - batch.l4[i]!;
  fragments.remember(src, dst, key, handle, generation, verdict, until, newId, bytes);
  engine.counters[Counter.FRAGMENTS]!++;
  if (fragments.held === 0) return;
  for (let at = fragments.findHeld(src, dst, key, 0); at >= 0; at = fragments.findHeld(src, dst, key, at + 1)) {
    const slot = batch.append(fragments.heldLength(at));
    if (slot < 0) {
      engine.counters[Counter.VERDICT + Verdict.BATCH_FULL]!++;
      return;
    }
    const off = batch.off[slot]!;
    fragments.take(at, batch.data, off);
    batch.src[slot] = src;
    batch.dst[slot] = dst;
    batch.proto[slot] = batch.proto[i]!;
    batch.l4[slot] = off + headerBytes(view, off);
    batch.flags[slot] = Flag.LATER_FRAGMENT;
    fragments.handle = handle;
    fragments.generation = generation;
    fragments.newId = newId;
    batch.verdict[slot] = handle < 0 ? verdict : follow(engine, batch, slot);
  }
}

/** A later fragment goes where `fragments` says, with the first one's new id (in `ports`), unless it overlaps. */
function follow(engine: Engine, batch: Batch, i: number): number {
  const { fragments } = engine;
  const fragment = batch.view.getUint16(batch.off[i]! + Ipv4.FRAGMENT);
  const from = (fragment & Fragment.OFFSET) << 3;
  const bytes = batch.off[i]! + batch.len[i]! - batch.l4[i]!;
  if (!fragments.cover(from, bytes, (fragment & Fragment.MF) === 0)) return Verdict.FRAGMENT_INVALID;
  batch.handle[i] = fragments.handle;
  batch.generation[i] = fragments.generation;
  batch.ports[i] = fragments.newId;
  return Verdict.PENDING;
}
