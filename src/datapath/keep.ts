/**
 * Hairpin to a dynamic mapping: what the target answers is sent through its mapping, which lives on by it (RFC 4787 REQ-6, REQ-9).
 *
 * The row belongs to the sender's mapping and has no room for a second one, so the target's is not joined but *kept*: until the
 * time up to which this answer would keep a flow, its port stays its own and is open, whether it has flows or not. At most once a
 * second and flow the lock is taken; all other answers cost one lookup.
 */
import { Row } from '../contract/table-layout.js';
import { lifetime } from '../flow/expiry.js';
import type { Engine } from './engine.js';

/** The target of the hairpin row at word `at`, whose kind is `kind`, has answered. */
export function keepTarget(engine: Engine, at: number, kind: number, now: number): void {
  const { rows, mappings, lock } = engine.table;
  const proto = kind & 0xff;
  const outside = rows[at + Row.DST0]!;
  const p = rows[at + Row.PORTS0]! & 0xffff;
  const until = now + lifetime(kind, engine.plan.timeouts);
  const mapping = mappings.findOutside(proto, outside, p);
  if (mapping < 0 || mappings.keptUntil(mapping) >= until) return;
  lock.acquire();
  // It may have ended since, and its memory be another's.
  if (mappings.is(mapping, proto, rows[at + Row.SRC1]!, rows[at + Row.PORTS1]! >>> 16, outside, p))
    mappings.keep(mapping, until);
  lock.release();
}
