/**
 * The slow readable twin of the engine: a NAT as its documentation describes it, made of Maps and objects, one packet at a
 * time, every checksum in full. It knows one public address P, shared with the host, and the topology of rig.ts.
 *
 * Where the engine may choose freely (a random port, an IP id), the twin looks at what the engine chose, checks that it was
 * allowed to, and holds it to it from then on. Time does not pass here: no flow ends.
 */
import assert from 'node:assert/strict';
import { type Forward, Mapping, OWNER_HOST, OWNER_POOL, type Plan } from '../../src/contract/plan.js';
import { build, dissect, dotted, ip, type Parsed, withChecksums } from '../lib-packets.js';
import { P } from './rig.js';

interface Tuple {
  src: string;
  dst: string;
  sport: number;
  dport: number;
}

interface TwinMapping {
  inside: string;
  x: number;
  p: number;
  shared: boolean;
  filtering: number;
  remotes: Set<string>;
}

interface Flow {
  proto: number;
  /** What each side's packets carry when they arrive. */
  sides: [Tuple, Tuple];
  plain: boolean;
  /** The mapping that it came in by, until the inside host answers. */
  awaits?: TwinMapping | undefined;
}

export interface Outcome {
  verdict: string;
  out: Uint8Array[];
}

/** Want of resources, or forbidden: insiders are told (RFC 5508 REQ-8). */
const PROHIBITED = ['ports-exhausted', 'forward-source', 'protocol'];
const FIELDS: Record<number, number> = { 1: 2, 6: 16, 17: 6 };
const SYN = 2;
const ACK = 0x10;
const RST_FIN = 5;

const keyOf = (proto: number, t: Tuple) => `${proto} ${t.src}:${t.sport} ${t.dst}:${t.dport}`;
const endOf = (proto: number, host: string, port: number) => `${proto} ${host}:${port}`;
const reversed = (t: Tuple): Tuple => ({ src: t.dst, dst: t.src, sport: t.dport, dport: t.sport });

export class Twin {
  readonly #plan: Plan;
  readonly #flows = new Map<string, { flow: Flow; side: 0 | 1 }>();
  readonly #inside = new Map<string, TwinMapping>();
  readonly #outside = new Map<string, TwinMapping>();
  readonly #ids = new Set<string>();
  readonly #pools = new Map<number, number[]>();

  constructor(plan: Plan) {
    this.#plan = plan;
  }

  /** What must become of the packet; `engine`: what the engine sent, from which its free choices are read. */
  pass(packet: Uint8Array, engine: readonly Uint8Array[]): Outcome {
    const p = dissect(packet);
    const t = tupleOf(p);
    const known = this.#flows.get(keyOf(p.proto, t));
    if (known) return this.#send(packet, p, known.flow, known.side, engine);
    const chosen = engine.length === 1 ? tupleOf(dissect(engine[0]!)) : undefined;
    const flow = this.#decide(p, t, chosen);
    if (typeof flow === 'string') return this.#refuse(packet, p, flow, engine);
    const [one, two] = flow.sides;
    if (this.#flows.has(keyOf(p.proto, two))) return this.#refuse(packet, p, 'ports-exhausted', engine);
    this.#flows.set(keyOf(p.proto, two), { flow, side: 1 });
    this.#flows.set(keyOf(p.proto, one), { flow, side: 0 });
    return this.#send(packet, p, flow, 0, engine);
  }

  /** An ICMP error from `sender` that quotes the first bytes of `sent`, which is what `original` was sent on as. */
  error(sender: string, type: number, code: number, original: Uint8Array, sent: Uint8Array, quoted: number): Outcome {
    const s = dissect(sent);
    const known = this.#flows.get(keyOf(s.proto, reversed(tupleOf(s))));
    if (!known) return { verdict: 'icmp-no-flow', out: [] };
    const o = dissect(original);
    // The sender of the quoted packet learns nothing of what lies behind the address that it spoke to.
    // Outside nobody but P is seen, not even a router behind a LAN.
    const outside = !this.#lan(o.src) && !this.#isHost(o.src);
    const hidden = !known.flow.plain && sender !== P && (this.#lan(sender) !== undefined || outside);
    const spoken = sender === s.dst || hidden;
    const src = spoken ? o.dst : sender;
    // The id is what the packet left with: the sender of the original does not look at it (RFC 792).
    const payload = withId(original, s.id).slice(0, quoted);
    return { verdict: 'forward', out: [build({ proto: 'icmp', type, code, src, dst: o.src, payload })] };
  }

  #send(packet: Uint8Array, p: Parsed, flow: Flow, side: 0 | 1, engine: readonly Uint8Array[]): Outcome {
    if (flow.awaits && side === 1) {
      flow.awaits.remotes.add(flow.sides[0].src);
      flow.awaits = undefined;
    }
    const to = reversed(flow.sides[side === 0 ? 1 : 0]);
    const out = rewritten(packet, p, to);
    const free = !flow.plain && !p.df && !this.#lan(to.dst) && !this.#isHost(to.dst);
    return { verdict: 'forward', out: [free ? withId(out, this.#freshId(p.proto, to.dst, engine)) : out] };
  }

  /** REQ-24: towards one destination no id comes twice before all have come. */
  #freshId(proto: number, dst: string, engine: readonly Uint8Array[]): number {
    if (engine.length !== 1) return 0;
    const { id } = dissect(engine[0]!);
    const key = `${proto} ${dst} ${id}`;
    assert.ok(!this.#ids.has(key), `IP id ${id} is used twice towards ${dst}`);
    this.#ids.add(key);
    return id;
  }

  #refuse(packet: Uint8Array, p: Parsed, verdict: string, engine: readonly Uint8Array[]): Outcome {
    if (verdict === 'punt') return { verdict, out: [packet] };
    const gateway = this.#lan(p.src)?.gateway;
    const code = verdict === 'no-route' ? 0 : PROHIBITED.includes(verdict) ? 13 : -1;
    if (code < 0 || (verdict !== 'no-route' && gateway === undefined)) return { verdict, out: [] };
    const id = engine.length === 1 ? dissect(engine[0]!).id : 0;
    const src = gateway === undefined ? P : dotted(gateway);
    const payload = packet.slice(0, 548);
    return { verdict, out: [build({ proto: 'icmp', type: 3, code, src, dst: p.src, id, tos: 0xc0, payload })] };
  }

  // -- the decision, once a flow --

  #decide(p: Parsed, t: Tuple, chosen: Tuple | undefined): Flow | string {
    if (p.dst === P) return this.#toPublic(p, t, chosen);
    const lan = this.#lan(p.src);
    if (lan === undefined) {
      if (this.#lan(p.dst)) return 'outside-to-lan';
      return this.#isHost(p.dst) ? 'punt' : 'foreign-source';
    }
    if (this.#isHost(p.dst)) return 'punt';
    if (this.#lan(p.dst)) {
      return begins(p, true) ?? { proto: p.proto, sides: [t, reversed(t)], plain: true };
    }
    if ([6, 17, 1].includes(p.proto))
      return begins(p, true) ?? this.#sourceNat(p, t, { host: t.dst, port: t.dport }, chosen);
    const forward = this.#forward(this.#plan.addresses[0]!.otherForward);
    if (!forward || dotted(forward.target) !== p.src) return 'protocol';
    return { proto: p.proto, sides: [t, { ...reversed(t), dst: P }], plain: false };
  }

  #toPublic(p: Parsed, t: Tuple, chosen: Tuple | undefined): Flow | string {
    const address = this.#plan.addresses[0]!;
    const index = [6, 17, 1].indexOf(p.proto);
    const owner =
      index < 0
        ? address.otherForward
        : p.proto === 1 && t.dport === 0
          ? address.icmpForward
          : address.owners[index as 0 | 1 | 2][t.dport]!;
    if (owner === OWNER_HOST) return 'punt';
    const insider = this.#lan(p.src) !== undefined || this.#isHost(p.src);
    if (owner === OWNER_POOL) {
      const refused = begins(p, false);
      if (refused !== undefined) return p.proto === 1 ? 'punt' : refused;
      const mapping = this.#outside.get(endOf(p.proto, P, t.dport));
      if (!mapping || mapping.shared || mapping.remotes.size === 0) return 'no-mapping';
      if (!insider && mapping.filtering === 1 && !mapping.remotes.has(p.src)) return 'filtered';
      if (!insider && mapping.filtering === 2) return 'filtered';
      const to = { host: mapping.inside, port: mapping.x };
      if (insider) return this.#sourceNat(p, t, to, chosen);
      const flow = this.#inbound(p, t, to, chosen);
      flow.awaits = mapping;
      return flow;
    }
    const forward = this.#forward(owner)!;
    if (forward.from.length > 0 && !forward.from.some((f) => (ip(p.src) & f.mask) === f.prefix))
      return 'forward-source';
    const refused = begins(p, true);
    if (refused !== undefined) return refused;
    const hasPorts = index >= 0 && p.proto !== 1;
    const port = !hasPorts ? 0 : forward.single !== 0 ? forward.single : t.dport + forward.offset;
    const to = { host: dotted(forward.target), port };
    if (insider && index < 0) return 'protocol';
    return insider ? this.#sourceNat(p, t, to, chosen) : this.#inbound(p, t, to, chosen);
  }

  /** Destination only: the client's source stays, unless its answer would be another flow's. */
  #inbound(p: Parsed, t: Tuple, to: { host: string; port: number }, chosen: Tuple | undefined): Flow {
    const answer = { src: to.host, sport: to.port, dst: t.src, dport: t.sport };
    if (this.#flows.has(keyOf(p.proto, answer)) && chosen) {
      assert.ok(chosen.sport >= 1024, `a client's second source port is ${chosen.sport}`);
      answer.dport = chosen.sport;
    }
    return { proto: p.proto, sides: [t, answer], plain: false };
  }

  /** Source to P:p, on the way to `to`. */
  #sourceNat(p: Parsed, t: Tuple, to: { host: string; port: number }, chosen: Tuple | undefined): Flow | string {
    const answer = (port: number): Tuple => ({ src: to.host, sport: to.port, dst: P, dport: port });
    const flow = (port: number): Flow => ({ proto: p.proto, sides: [t, answer(port)], plain: false });
    const own = this.#isHost(t.src) ? -1 : this.#ownForward(p.proto, t);
    if (own >= 0) return flow(own);
    const rule = this.#isHost(t.src) ? undefined : this.#rule(t);
    if (rule?.mapping === Mapping.ENDPOINT_DEPENDENT)
      return this.#endpointDependent(p, t, answer, chosen) ?? 'ports-exhausted';
    let mapping = this.#inside.get(endOf(p.proto, t.src, t.sport));
    if (!mapping) {
      const port = this.#claim(p.proto, t.sport, chosen?.sport);
      if (port < 0) return 'ports-exhausted';
      if (this.#flows.has(keyOf(p.proto, answer(port)))) return 'ports-exhausted';
      mapping = {
        inside: t.src,
        x: t.sport,
        p: port,
        shared: false,
        filtering: rule?.filtering ?? 1,
        remotes: new Set(),
      };
      this.#inside.set(endOf(p.proto, t.src, t.sport), mapping);
      this.#outside.set(endOf(p.proto, P, port), mapping);
    }
    if (!this.#flows.has(keyOf(p.proto, answer(mapping.p)))) mapping.remotes.add(t.dst);
    return flow(mapping.p);
  }

  #endpointDependent(
    p: Parsed,
    t: Tuple,
    answer: (port: number) => Tuple,
    chosen: Tuple | undefined,
  ): Flow | undefined {
    const usable = (port: number) =>
      this.#inPool(p.proto, port) &&
      (this.#outside.get(endOf(p.proto, P, port))?.shared ?? true) &&
      !this.#flows.has(keyOf(p.proto, answer(port)));
    const port = usable(t.sport) ? t.sport : (chosen?.sport ?? -1);
    if (port < 0) return undefined;
    assert.ok(usable(port), `the engine shares port ${port}, which is not free for this remote`);
    const key = endOf(p.proto, P, port);
    if (!this.#outside.has(key))
      this.#outside.set(key, { inside: '', x: 0, p: port, shared: true, filtering: 2, remotes: new Set() });
    return { proto: p.proto, sides: [t, answer(port)], plain: false };
  }

  /** REQ-4, 5, 23: the source port if it is free; else the engine's choice, of the best class that has one. */
  #claim(proto: number, wanted: number, chosen: number | undefined): number {
    const free = this.#pool(proto).filter((port) => !this.#outside.has(endOf(proto, P, port)));
    if (free.length === 0) return -1;
    if (free.includes(wanted)) return wanted;
    const side = free.filter((port) => port < 1024 === wanted < 1024);
    const even = (list: number[]) => (this.#plan.parity ? list.filter((port) => (port & 1) === (wanted & 1)) : list);
    const best = [even(side), side, even(free), free].find((list) => list.length > 0)!;
    assert.ok(
      chosen !== undefined && best.includes(chosen),
      `port ${chosen} for ${wanted}: allowed are ${best.slice(0, 9)}…`,
    );
    return chosen;
  }

  /** REQ-70: the port of a forward that maps one to one onto the sender's own. */
  #ownForward(proto: number, t: Tuple): number {
    if (proto !== 6 && proto !== 17) return -1;
    const owners = this.#plan.addresses[0]!.owners[proto === 6 ? 0 : 1];
    for (const forward of this.#plan.forwards) {
      if (forward.single !== 0 || dotted(forward.target) !== t.src) continue;
      const port = t.sport - forward.offset;
      if (port >= 0 && port < 65_536 && owners[port] === forward.id) return port;
    }
    return -1;
  }

  #rule(t: Tuple) {
    const match = (list: readonly { prefix: number; mask: number }[], host: string) =>
      list.length === 0 || list.some((f) => (ip(host) & f.mask) === f.prefix);
    return this.#plan.nat.find((rule) => match(rule.from, t.src) && match(rule.to, t.dst));
  }

  #pool(proto: number): number[] {
    let ports = this.#pools.get(proto);
    if (!ports) {
      ports = Array.from({ length: 65_536 }, (_, port) => port).filter((port) => this.#inPool(proto, port));
      this.#pools.set(proto, ports);
    }
    return ports;
  }

  #inPool(proto: number, port: number): boolean {
    return this.#plan.addresses[0]!.owners[[6, 17, 1].indexOf(proto) as 0 | 1 | 2][port] === OWNER_POOL;
  }

  #forward(id: number): Forward | undefined {
    return this.#plan.forwards.find((forward) => forward.id === id);
  }

  #isHost(host: string): boolean {
    return this.#plan.hostAddresses.includes(ip(host));
  }

  #lan(host: string) {
    return this.#plan.lans.find((lan) => (ip(host) & lan.subnet.mask) === lan.subnet.prefix);
  }
}

/** Why this packet cannot be a flow's first, or undefined. `known`: the way is known without state. */
function begins(p: Parsed, known: boolean): string | undefined {
  if (p.proto === 1) return p.type === 0 || p.type === 14 ? 'no-state' : undefined;
  if (p.proto !== 6) return undefined;
  if ((p.flags & SYN) !== 0) return (p.flags & ACK) === 0 ? undefined : 'no-state';
  return known && (p.flags & RST_FIN) === 0 ? undefined : 'no-state';
}

/** A query's id is the source port of who asks and the destination port of who is answered. */
function tupleOf(p: Parsed): Tuple {
  const { src, dst } = p;
  if (p.proto !== 1) return { src, dst, sport: p.sport, dport: p.dport };
  return p.type === 8 || p.type === 13
    ? { src, dst, sport: p.icmpId, dport: 0 }
    : { src, dst, sport: 0, dport: p.icmpId };
}

/** The packet with other addresses and ports, its checksums made anew. */
function rewritten(packet: Uint8Array, p: Parsed, to: Tuple): Uint8Array {
  const copy = packet.slice();
  const v = new DataView(copy.buffer);
  v.setInt32(12, ip(to.src));
  v.setInt32(16, ip(to.dst));
  if (p.proto === 6 || p.proto === 17) {
    v.setUint16(p.header, to.sport);
    v.setUint16(p.header + 2, to.dport);
  } else if (p.proto === 1) v.setUint16(p.header + 4, to.sport | to.dport);
  const without = p.proto === 17 && v.getUint16(p.header + 6) === 0;
  return withChecksums(copy, without ? -1 : (FIELDS[p.proto] ?? -1));
}

function withId(packet: Uint8Array, id: number): Uint8Array {
  const copy = packet.slice();
  new DataView(copy.buffer).setUint16(4, id);
  return withChecksums(copy, -1);
}
