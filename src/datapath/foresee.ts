/**
 * Stage 4's first half: what policy says about all packets without a flow, and the index buckets that their flows will need.
 *
 * A decision is a pure function of packet and plan, so it can be made for the whole batch before the first row is written. From it
 * follows, nearly always, what the way back will look like: the port is the source port where the pool has it. That is a guess
 * and only warms the cache; admit looks again under the lock. Without it each new flow waits for two cache misses in a row
 * that the processor could have had under way together (findMany in flow/table.ts tells how).
 */
import { BATCH_SLOTS, type Batch, Ctl } from '../batch.js';
import { Verdict } from '../contract/verdict.js';
import { protoIndex } from '../flow/mappings.js';
import { Action } from '../policy/decide.js';
import { IPPROTO } from '../wire/ipv4.js';
import type { Engine } from './engine.js';
import { Flag } from './parse.js';

const ways = new Int32Array(BATCH_SLOTS);
const outsides = new Int32Array(BATCH_SLOTS);

/** Fills `engine.decisions` of the slots in [from, count) that are pending, have a tuple and no handle. */
export function foresee(engine: Engine, batch: Batch, from: number): void {
  const { table, policy, decisions } = engine;
  const { src, dst, ports, proto, flags, verdict, handle } = batch;
  const ingress = batch.ctl[Ctl.INGRESS]!;
  const count = batch.count;
  let n = 0;
  let m = 0;
  for (let i = from; i < count; i++) {
    if (verdict[i] !== Verdict.PENDING || handle[i]! >= 0 || (flags[i]! & Flag.NO_TUPLE) !== 0) continue;
    const d = decisions[i]!;
    const protocol = proto[i]!;
    const index =
      protocol === IPPROTO.TCP || protocol === IPPROTO.UDP || protocol === IPPROTO.ICMP ? protoIndex(protocol) : -1;
    const sport = ports[i]! >>> 16;
    const dport = ports[i]! & 0xffff;
    policy.decide(d, src[i]!, dst[i]!, sport, dport, index, ingress);
    if (d.action === Action.NONE) continue;
    if (d.action === Action.POOL) {
      outsides[m++] = table.mappings.hashOutside(dst[i]!, dport, protocol);
      continue;
    }
    const forward = d.action === Action.DNAT;
    if (d.action === Action.SNAT || (forward && d.sourceNat)) {
      const { address } = policy.addresses[d.address]!;
      const port = d.staticPort >= 0 ? d.staticPort : sport;
      const remote = forward ? d.target : dst[i]!;
      const remotePort = forward ? d.targetPort : dport;
      ways[n++] = table.hashOf(remote, address, (remotePort << 16) | port, protocol);
      if (d.staticPort < 0) outsides[m++] = table.mappings.hashOutside(address, port, protocol);
    } else if (forward) ways[n++] = table.hashOf(d.target, src[i]!, (d.targetPort << 16) | sport, protocol);
    else {
      const mapped = d.action === Action.MAP;
      ways[n++] = table.hashOf(
        mapped ? d.target : dst[i]!,
        mapped ? d.source : src[i]!,
        (dport << 16) | sport,
        protocol,
      );
    }
  }
  table.mappings.touchOutside(outsides, m);
  table.index.touchFirst(ways, n);
  table.index.touchSecond(ways, n);
}
