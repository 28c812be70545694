/**
 * Fragments on the packet's way: the first one is decided like any packet, later ones follow it.
 */
import type { Batch } from '../batch.js';
import { Counter } from '../contract/counters.js';
import { Verdict } from '../contract/verdict.js';
import { headerBytes, Ipv4 } from '../wire/ipv4.js';
import type { Engine } from './engine.js';
import { Flag } from './parse.js';

/** Key half that tells datagrams between two hosts apart. */
function idProto(batch: Batch, i: number): number {
  return (batch.view.getUint16(batch.off[i]! + Ipv4.ID) << 16) | batch.proto[i]!;
}

/** A later fragment: follows its first if that is known, else waits for it. Returns its verdict, PENDING with a handle to follow. */
export function laterFragment(engine: Engine, batch: Batch, i: number, now: number): number {
  const { fragments } = engine;
  const key = idProto(batch, i);
  if (fragments.lookup(batch.src[i]!, batch.dst[i]!, key, now)) {
    follow(engine, batch, i);
    return fragments.handle < 0 ? fragments.verdict : Verdict.PENDING;
  }
  fragments.hold(batch.src[i]!, batch.dst[i]!, key, batch.data, batch.off[i]!, batch.len[i]!, now);
  return Verdict.HELD;
}

/**
 * A first fragment has its verdict: remembers it for those that follow, and releases those that came before it. They are
 * appended to the batch, pending, and the stage that called goes on with them.
 */
export function firstFragment(engine: Engine, batch: Batch, i: number, now: number): void {
  const { fragments } = engine;
  const src = batch.src[i]!;
  const dst = batch.dst[i]!;
  const key = idProto(batch, i);
  const verdict = batch.verdict[i]!;
  // A fragment that was decided but not sent (TTL, MTU) leaves nothing for the others to follow but its verdict.
  const handle = verdict === Verdict.FORWARD ? batch.handle[i]! : -1;
  fragments.remember(src, dst, key, handle, batch.generation[i]!, verdict, now + engine.plan.timeouts.fragment);
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
    batch.ports[slot] = 0;
    batch.proto[slot] = batch.proto[i]!;
    batch.l4[slot] = off + headerBytes(batch.view, off);
    batch.flags[slot] = Flag.LATER_FRAGMENT;
    batch.handle[slot] = handle;
    batch.generation[slot] = batch.generation[i]!;
    batch.verdict[slot] = handle < 0 ? verdict : Verdict.PENDING;
  }
}

function follow(engine: Engine, batch: Batch, i: number): void {
  batch.handle[i] = engine.fragments.handle;
  batch.generation[i] = engine.fragments.generation;
}
