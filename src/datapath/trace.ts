/**
 * A dry run: what would become of this packet, stage by stage, and which rule or which fact decides. Walks the same tables and
 * asks the same policy as the packet would, and writes nothing; where a packet would claim a port, it says from what.
 * Rare, on request, and never on a packet's way: strings are made here.
 */
import type { TraceAnswer } from '../contract/api.js';
import type { TracePacket } from '../contract/mailbox.js';
import { Filtering, Mapping, Proto } from '../contract/plan.js';
import { Row, RowFlag, STATE_NAMES, Words } from '../contract/table-layout.js';
import { VERDICTS, Verdict } from '../contract/verdict.js';
import { protoIndex } from '../flow/mappings.js';
import { Action, Decision } from '../policy/decide.js';
import { IPPROTO, impossibleSource } from '../wire/ipv4.js';
import type { Engine } from './engine.js';

const decision = new Decision();
const FILTERS = ['endpoint-independent', 'address-dependent', 'address-and-port-dependent'];

class Walk {
  readonly steps: { stage: string; text: string }[] = [];
  readonly #engine: Engine;

  constructor(engine: Engine) {
    this.#engine = engine;
  }

  say(stage: string, text: string): void {
    this.steps.push({ stage, text });
  }

  end(verdict: number): TraceAnswer {
    const { name, fate, sentence } = VERDICTS[verdict]!;
    return { verdict: name, fate, sentence, steps: this.steps };
  }

  /** `forward "web" (tungate.yaml:7:5)`. */
  rule(id: number): string {
    const { plan } = this.#engine;
    const forward = plan.forwards.find((rule) => rule.id === id);
    if (forward) return `forward "${forward.name}" (${forward.origin})`;
    const nat = plan.nat.find((rule) => rule.id === id);
    return nat ? `nat rule "${nat.name}"${nat.origin ? ` (${nat.origin})` : ''}` : 'no rule';
  }

  /** Step 6, or why there is none. */
  leave(out: number): TraceAnswer {
    const { plan, mtus } = this.#engine;
    if (out === 0) {
      this.say('emit', 'to the host itself');
      return this.end(Verdict.FORWARD);
    }
    if (mtus[out] === 0) {
      this.say('emit', `${plan.interfaces[out]?.name ?? `interface ${out}`} is away or down; flows wait for it`);
      return this.end(Verdict.NO_ROUTE);
    }
    this.say('emit', `by ${plan.interfaces[out]!.name}, MTU ${mtus[out]}`);
    return this.end(Verdict.FORWARD);
  }
}

export function trace(engine: Engine, packet: TracePacket, now: number): TraceAnswer {
  const walk = new Walk(engine);
  const { src, dst, sport, dport, proto } = packet;
  const query = proto === IPPROTO.ICMP;
  walk.say(
    'parse',
    `${protocol(proto)} ${endpoint(src, sport, proto)} → ${query ? dotted(dst) : endpoint(dst, dport, proto)}`,
  );
  if (impossibleSource(src)) return walk.end(Verdict.BAD_ADDRESS);
  if (dst >>> 24 >= 224) return walk.end(Verdict.MULTICAST);
  if (dst >>> 24 === 0 || dst >>> 24 === 127) return walk.end(Verdict.BAD_ADDRESS);

  const { table } = engine;
  const handle = table.find(src, dst, (sport << 16) | dport, proto);
  if (handle >= 0 && table.rows[(handle >>> 1) * Words.ROW + Row.EXPIRES]! >= now)
    return known(walk, engine, handle, now);
  walk.say('match', 'no flow; a new one would be decided');

  const index = proto === IPPROTO.TCP || proto === IPPROTO.UDP || query ? protoIndex(proto) : -1;
  const d = decision;
  const { policy } = engine;
  const site = policy.isHost(src) ? -1 : policy.sites.from(src);
  policy.decide(d, src, dst, sport, dport, index, site < 0 ? 0 : (site >> 16) + 1);
  const origin = policy.lanOf(src);
  walk.say(
    'policy',
    site >= 0
      ? `from link ${policy.sites.linkOf(site).name}`
      : origin
        ? `from LAN ${origin.interface}`
        : policy.isHost(src)
          ? 'from the host itself'
          : 'from outside',
  );
  if (d.action === Action.NONE) {
    if (d.rule !== 0) walk.say('policy', walk.rule(d.rule));
    return walk.end(d.verdict);
  }
  if (d.action === Action.PLAIN) {
    const to = policy.sites.to(dst) >= 0 ? 'to a far site' : d.out0 === 0 ? 'to the host itself' : 'to another LAN';
    walk.say('policy', d.rule !== 0 ? `${walk.rule(d.rule)}: not translated` : `${to}: not translated`);
    return walk.leave(d.out0);
  }
  if (d.action === Action.MAP) {
    walk.say('rewrite', `by the link's map: ${dotted(d.source)} → ${dotted(d.target)}`);
    return walk.leave(d.out0);
  }
  if (d.action === Action.POOL && !toMapping(walk, engine, packet, now)) return walk.end(poolVerdict(engine, packet));
  if (d.action === Action.DNAT) {
    walk.say('policy', walk.rule(d.rule));
    walk.say('rewrite', `destination → ${endpoint(d.target, d.targetPort, proto)}`);
  }
  if (d.action === Action.SNAT || d.sourceNat) {
    const verdict = source(walk, engine, packet, index);
    if (verdict !== Verdict.PENDING) return walk.end(verdict);
  }
  return walk.leave(d.out0);
}

/** A packet of a live flow: obeyed from its row. */
function known(walk: Walk, engine: Engine, handle: number, now: number): TraceAnswer {
  const { rows } = engine.table;
  const at = (handle >>> 1) * Words.ROW;
  const kind = rows[at + Row.KIND]!;
  const side = handle & 1;
  const proto = kind & 0xff;
  const state = proto === IPPROTO.TCP ? `${STATE_NAMES[(kind >>> 8) & 15] ?? ''}, ` : '';
  walk.say(
    'match',
    `flow ${handle >>> 1}, ${side === 0 ? 'side that began it' : 'side that answers'}; ${state}ends in ${rows[at + Row.EXPIRES]! - now} s if nothing comes`,
  );
  walk.say('policy', `decided when it began: ${walk.rule(rows[at + Row.RULE]! & 0xffff)}`);
  if ((kind & RowFlag.PLAIN) !== 0) walk.say('rewrite', 'nothing');
  else {
    // What this side sends leaves as the reverse of the other side's tuple.
    const other = at + Row.SRC0 + (side ^ 1) * 3;
    const ports = rows[other + 2]!;
    walk.say(
      'rewrite',
      `${endpoint(rows[other + 1]!, ports & 0xffff, proto)} → ${endpoint(rows[other]!, ports >>> 16, proto)}`,
    );
  }
  const rule = rows[at + Row.RULE]!;
  return walk.leave(side === 0 ? (rule >>> 16) & 0xff : rule >>> 24);
}

/** To a pool port: whose is it, and may the sender use it? Fills the decision's target. */
function toMapping(walk: Walk, engine: Engine, { src, dst, dport, proto }: TracePacket, now: number): boolean {
  const { mappings } = engine.table;
  const d = decision;
  const mapping = mappings.findOutside(proto, dst, dport);
  if (mapping < 0) {
    walk.say('mapping', `port ${dport} is the pool's and nobody inside holds it`);
    return false;
  }
  if (mappings.isShared(mapping)) {
    walk.say('mapping', `port ${dport} carries endpoint-dependent flows; only their own remotes may answer`);
    return false;
  }
  const inside = endpoint(mappings.insideOf(mapping), mappings.insidePort(mapping), proto);
  if (mappings.isHeld(mapping) && mappings.keptUntil(mapping) < now) {
    walk.say(
      'mapping',
      `port ${dport} is ${mappings.isHeldAt(mapping, now) ? 'held for' : 'no longer open for'} ${inside}, which has no flow`,
    );
    return false;
  }
  const filtering = mappings.filteringOf(mapping);
  const open = d.sourceNat || filtering === Filtering.ENDPOINT_INDEPENDENT;
  walk.say('mapping', `port ${dport} is ${inside}'s; filtering ${FILTERS[filtering]}`);
  if (!open && !(filtering === Filtering.ADDRESS_DEPENDENT && mappings.hasSentTo(mapping, src))) {
    walk.say('mapping', `${inside} has not sent to ${dotted(src)}`);
    return false;
  }
  d.target = mappings.insideOf(mapping);
  d.targetPort = mappings.insidePort(mapping);
  d.out0 = engine.policy.outToInside(d.target);
  walk.say('rewrite', `destination → ${inside}`);
  return true;
}

function poolVerdict({ table }: Engine, { dst, dport, proto }: TracePacket): number {
  const { mappings } = table;
  const mapping = mappings.findOutside(proto, dst, dport);
  return mapping < 0 || mappings.isShared(mapping) || mappings.isHeld(mapping) ? Verdict.NO_MAPPING : Verdict.FILTERED;
}

/** The public endpoint that the source becomes, or the verdict that ends here. */
function source(walk: Walk, engine: Engine, { src, sport, proto }: TracePacket, index: number): number {
  const d = decision;
  const { mappings } = engine.table;
  const { address } = engine.policy.addresses[d.address]!;
  if (d.rule !== 0 && d.action === Action.SNAT) walk.say('policy', walk.rule(d.rule));
  if (d.staticPort >= 0) {
    walk.say('rewrite', `source → ${endpoint(address, d.staticPort, proto)}, the port of its own forward`);
    return Verdict.PENDING;
  }
  if (index < 0) return Verdict.PROTOCOL;
  const free = mappings.ports.freeCount(address, index);
  const size = mappings.ports.size(address, index);
  if (d.mapping === Mapping.ENDPOINT_DEPENDENT) {
    walk.say('mapping', `endpoint-dependent: any of the pool's ${size} ports that its remote does not meet already`);
    return size > 0 ? Verdict.PENDING : Verdict.PORTS_EXHAUSTED;
  }
  const mapping = mappings.findInside(proto, src, sport, address);
  if (mapping >= 0) {
    walk.say('mapping', `${endpoint(src, sport, proto)} has one${mappings.isHeld(mapping) ? ', held' : ''}`);
    walk.say('rewrite', `source → ${endpoint(address, mappings.outsidePort(mapping), proto)}`);
    return Verdict.PENDING;
  }
  const { perHost } = engine.plan;
  const has = mappings.countOfHost(src, index);
  if (perHost > 0 && has >= perHost) {
    walk.say('mapping', `${dotted(src)} has ${has} mappings, its limit`);
    return Verdict.HOST_LIMIT;
  }
  const keeps = mappings.ports.inPool(address, index, sport) && !mappings.ports.isUsed(address, index, sport);
  walk.say(
    'mapping',
    `a new one; ${free} of the pool's ${size} ${['TCP', 'UDP', 'ICMP'][index]} ${index === Proto.ICMP ? 'ids' : 'ports'} are free`,
  );
  walk.say('rewrite', `source → ${dotted(address)}, ${keeps ? `port ${sport} kept` : 'a random port of the pool'}`);
  return free > 0 ? Verdict.PENDING : Verdict.PORTS_EXHAUSTED;
}

export function protocol(proto: number): string {
  return proto === IPPROTO.TCP
    ? 'tcp'
    : proto === IPPROTO.UDP
      ? 'udp'
      : proto === IPPROTO.ICMP
        ? 'icmp query'
        : `protocol ${proto}`;
}

export function dotted(address: number): string {
  return `${address >>> 24}.${(address >>> 16) & 255}.${(address >>> 8) & 255}.${address & 255}`;
}

export function endpoint(address: number, port: number, proto: number): string {
  const ported = proto === IPPROTO.TCP || proto === IPPROTO.UDP || (proto === IPPROTO.ICMP && port !== 0);
  return ported ? `${dotted(address)}:${port}` : dotted(address);
}
