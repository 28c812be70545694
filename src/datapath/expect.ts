/**
 * Where a helper's data connection comes in: a port of P for the announced X:x, open for the other end of the control
 * connection alone.
 *
 * A forward that maps X:x one to one is that port already. Else it is one of the pool, with a mapping that has no flow yet
 * and says whom it waits for and until when (flow/mappings.ts); admit lets him in. The first flow in which X answers makes it a mapping
 * like any other; what nobody comes for ends by time. Under the table's lock.
 */
import { Counter } from '../contract/counters.js';
import { Filtering, Proto } from '../contract/plan.js';
import { EXPECTED, MappingKind, Row } from '../contract/table-layout.js';
import { claimPort } from './claim.js';
import type { Engine } from './engine.js';

/** How long an announced port waits for its connection. */
const EXPECTED_SECONDS = 60;

/** Port of P by which the other end reaches the announced X:x, or −1. */
export function expectAt(
  engine: Engine,
  record: number,
  at: number,
  side: number,
  real: number,
  face: number,
  now: number,
): number {
  const { table, policy, plan, help } = engine;
  const { controls, mappings, rows } = table;
  const x = help.found.port;
  const index = policy.addressIndex(face);
  if (index < 0) return -1;
  const own = policy.staticPort(plan.addresses[index]!, real, x, Proto.TCP);
  if (own >= 0) return own;
  const peer = rows[at + Row.SRC0 + (side ^ 1) * 3]!;
  const proto = rows[at + Row.KIND]! & 0xff;
  let mapping = mappings.findInside(proto, real, x, face);
  if (mapping >= 0) {
    const port = mappings.outsidePort(mapping);
    if (!mappings.ports.inPool(face, Proto.TCP, port)) return -1;
    // Live: its own filtering says who may come.
    if (!mappings.isHeld(mapping)) return mayCome(engine, mapping, peer) ? port : -1;
  }
  const place = placeFor(engine, record, mapping, real, peer, now);
  if (place < 0) return -1;
  let fresh = false;
  if (mapping < 0) {
    if (plan.perHost > 0 && mappings.countOfHost(real, Proto.TCP) >= plan.perHost) return -1;
    const port = claimPort(engine, real, face, Proto.TCP, x, now);
    if (port < 0) return -1;
    const rule = rows[at + Row.RULE]! & 0xffff;
    const kind = MappingKind.ENDPOINT_INDEPENDENT;
    mapping = mappings.create(proto, real, x, face, port, kind, Filtering.ADDRESS_DEPENDENT, rule);
    if (mapping < 0) {
      mappings.ports.release(face, Proto.TCP, port);
      return -1;
    }
    fresh = true;
    engine.counters[Counter.MAPPINGS_CREATED]!++;
  }
  if (!mappings.expect(mapping, peer, now + EXPECTED_SECONDS)) {
    if (fresh) mappings.end(mapping);
    return -1;
  }
  controls.setExpected(record, place, mapping);
  return mappings.outsidePort(mapping);
}

function mayCome(engine: Engine, mapping: number, peer: number): boolean {
  const { mappings } = engine.table;
  return mappings.filteringOf(mapping) === Filtering.ENDPOINT_INDEPENDENT || mappings.hasSentTo(mapping, peer);
}

/** A place among the connection's EXPECTED that nothing waits in, or the one of `mapping` itself; −1 when all wait. */
function placeFor(engine: Engine, record: number, mapping: number, real: number, peer: number, now: number): number {
  const { controls, mappings } = engine.table;
  let place = -1;
  for (let k = 0; k < EXPECTED; k++) {
    const waiting = controls.expected(record, k);
    if (waiting >= 0 && waiting === mapping) return k;
    if (waiting < 0 || mappings.insideOf(waiting) !== real || !mappings.expects(waiting, peer, now)) place = k;
  }
  return place;
}
