/**
 * Several sites in simulation: each a bridge that learns, with hosts and the TAPs of its endpoints as ports, over a wire that delivers at once.
 *
 *     host a ─ br A ─ vx ══╗        every endpoint has both others as remotes
 *     host b ─ br B ─ vx ══╬══
 *     host c ─ br C ─ vx ══╝
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  describeLoop,
  type Loop,
  type LoopAction,
  LoopWatch,
  Outcome,
  type VtepOptions,
} from '../../../src/link/vxlan/index.js';
import { HOLD, INTERVAL, PROBE_BYTES, PROBE_TYPE } from '../../../src/link/vxlan/loop.js';
import { Bench, BROADCAST, ethernet, hex, message, seededBytes, VNI } from './frames.js';

type Deliver = (frame: Uint8Array) => void;

class Link {
  readonly bench: Bench;
  readonly peers = new Map<number, { link: Link; as: string }>();
  sent = 0;
  /** Of the TAP, at the bridge. */
  readonly portNumber: number;

  constructor(
    readonly world: World,
    readonly bridge: Bridge,
    readonly address: string,
    options: Partial<VtepOptions>,
  ) {
    this.bench = new Bench(options);
    this.portNumber = bridge.ports.push((frame) => this.#fromTap(frame)) - 1;
    world.links.push(this);
  }

  /** Joins two endpoints, each the other's remote. */
  join(other: Link): void {
    for (const [one, two] of [
      [this, other],
      [other, this],
    ] as const) {
      const [id] = one.bench.remotes(two.address);
      one.peers.set(id!, { link: two, as: one.address });
    }
  }

  #fromTap(frame: Uint8Array): void {
    this.bench.now = this.world.now;
    const [got] = this.bench.tap([frame]);
    got!.to.forEach((remote, k) => {
      this.carry(got!.messages[k]!, remote);
    });
    if (got!.answer) this.bridge.receive(got!.answer, this.portNumber);
  }

  carry(bytes: Uint8Array, remote: number): void {
    const { link, as } = this.peers.get(remote)!;
    this.sent++;
    this.world.later(() => link.fromWire(bytes.slice(), as));
  }

  fromWire(bytes: Uint8Array, from: string): void {
    this.bench.now = this.world.now;
    const [got] = this.bench.tunnel([{ bytes, from }]);
    if (got!.outcome === Outcome.PASS) this.bridge.receive(got!.frame, this.portNumber);
  }

  tick(): void {
    this.bench.vtep.tick(this.world.now, (bytes, remote) => this.carry(bytes.slice(), remote));
  }
}

/** A learning bridge without spanning tree, as Linux's is by default. */
class Bridge {
  readonly ports: Deliver[] = [];
  readonly #where = new Map<string, number>();

  constructor(readonly world: World) {}

  /** A host's port; what arrives there is kept. */
  host(): { send: Deliver; got: Uint8Array[] } {
    const got: Uint8Array[] = [];
    const port = this.ports.push((frame) => got.push(frame)) - 1;
    return { send: (frame) => this.receive(frame, port), got };
  }

  receive(frame: Uint8Array, port: number): void {
    const [dst, src] = [hex(frame.subarray(0, 6)), hex(frame.subarray(6, 12))];
    this.#where.set(src, port);
    const known = (frame[0]! & 1) === 0 ? this.#where.get(dst) : undefined;
    for (const [n, deliver] of this.ports.entries()) {
      if (n !== port && (known === undefined || known === n)) this.world.later(() => deliver(frame.slice()));
    }
  }
}

class World {
  now = 1_000_000;
  readonly links: Link[] = [];
  readonly #queue: (() => void)[] = [];
  steps = 0;

  later(act: () => void): void {
    this.#queue.push(act);
  }

  /** Delivers until all is quiet, or `most` deliveries. */
  settle(most = 10_000): number {
    let done = 0;
    while (this.#queue.length > 0 && done < most) {
      this.#queue.shift()!();
      done++;
    }
    this.steps += done;
    return done;
  }

  /** Lets time pass, ticking as a daemon does. */
  pass(milliseconds: number, most = 10_000): void {
    for (const end = this.now + milliseconds; this.now < end; ) {
      this.now += 1000;
      for (const link of this.links) link.tick();
      this.settle(most);
    }
  }

  link(bridge: Bridge, address: string, options: Partial<VtepOptions> = {}): Link {
    return new Link(this, bridge, address, options);
  }
}

const MAC = { a: '02:00:00:00:00:0a', b: '02:00:00:00:00:0b', c: '02:00:00:00:00:0c' };
const frame = (dst: string, src: string, n = 0) =>
  ethernet(dst, src, 0x88b6, Uint8Array.of(n, ...new Array(45).fill(0)));

function triangle() {
  const world = new World();
  const [A, B, C] = [new Bridge(world), new Bridge(world), new Bridge(world)];
  const hosts = { a: A.host(), b: B.host(), c: C.host() };
  const links = [A, B, C].map((bridge, i) => world.link(bridge, `192.0.2.${i + 1}`));
  links[0]!.join(links[1]!);
  links[1]!.join(links[2]!);
  links[0]!.join(links[2]!);
  return { world, hosts, links };
}

test('three sites in a triangle: a broadcast arrives once everywhere, nothing twice, nothing back to a remote', () => {
  const { world, hosts, links } = triangle();
  hosts.a.send(frame(BROADCAST, MAC.a, 1));
  world.settle();
  assert.deepEqual([hosts.a.got.length, hosts.b.got.length, hosts.c.got.length], [0, 1, 1]);
  assert.deepEqual(
    links.map(({ sent }) => sent),
    [2, 0, 0],
  );
  hosts.b.send(frame(MAC.a, MAC.b, 2));
  world.settle();
  assert.deepEqual([hosts.a.got.length, hosts.b.got.length, hosts.c.got.length], [1, 1, 1]);
  assert.deepEqual(
    links.map(({ sent }) => sent),
    [2, 1, 0],
  );
  hosts.a.send(frame(MAC.b, MAC.a, 3));
  world.settle();
  assert.deepEqual(
    links.map(({ sent }) => sent),
    [3, 1, 0],
  );
  assert.equal(hosts.b.got.length, 2);
});

test('three sites in a triangle: any traffic of theirs ends, each frame at most once at each host', () => {
  const { world, hosts } = triangle();
  const random = new Uint8Array(600);
  seededBytes(5)(random);
  const [macs, all] = [Object.values(MAC), Object.values(hosts)];
  for (let i = 0; i < 200; i++) {
    const src = random[3 * i]! % 3;
    const dst = [...macs, BROADCAST, '02:00:00:00:00:99'][random[3 * i + 1]! % 5]!;
    for (const host of all) host.got.length = 0;
    all[src]!.send(frame(dst, macs[src]!, i));
    assert.ok(world.settle() < 30);
    const wanted = dst === macs[src] ? -1 : macs.indexOf(dst);
    for (const [n, { got }] of all.entries()) {
      assert.ok(got.length <= 1);
      if (n === wanted || (dst === BROADCAST && n !== src)) assert.equal(got.length, 1);
      if (n === src) assert.equal(got.length, 0);
    }
  }
});

test('a triangle has no loop: probes stay silent for an hour', () => {
  const told: Loop[] = [];
  const { world, links } = (() => {
    const w = new World();
    const made = [1, 2, 3].map((n) => {
      const loops = new LoopWatch((loop) => told.push(loop), 'block', seededBytes(n));
      return w.link(new Bridge(w), `192.0.2.${n}`, { loops, name: `vx${n}` });
    });
    made[0]!.join(made[1]!);
    made[1]!.join(made[2]!);
    made[0]!.join(made[2]!);
    return { world: w, links: made };
  })();
  world.pass(3_600_000);
  assert.deepEqual(told, []);
  assert.ok(links[0]!.sent >= (2 * 3_600_000) / INTERVAL - 4);
});

/** Two links between the same two bridges. */
function double(action: LoopAction = 'block', sites: readonly boolean[] = [true, true]) {
  const world = new World();
  const told: { site: string; loop: Loop }[] = [];
  const [A, B] = [new Bridge(world), new Bridge(world)];
  const hosts = { a: A.host(), b: B.host() };
  const links = [A, B].flatMap((bridge, i) => {
    const site = 'ab'[i]!;
    const watch = new LoopWatch((loop) => told.push({ site, loop }), action, seededBytes(i + 20));
    const loops = sites[i] ? { loops: watch } : {};
    return [1, 2].map((n) => world.link(bridge, `192.0.${n}.${i + 1}`, { name: `${site}${n}`, ...loops, vni: VNI }));
  });
  links[0]!.join(links[2]!);
  links[1]!.join(links[3]!);
  return { world, hosts, links, told };
}

test('two links between two bridges: the loop is there without us', () => {
  const { world, hosts } = double('block', [false, false]);
  hosts.a.send(frame(BROADCAST, MAC.a));
  assert.equal(world.settle(1000), 1000);
});

test('two links between two bridges are detected, both named, and one of them is blocked', () => {
  const { world, hosts, links, told } = double('block', [true, false]);
  world.pass(5000);
  assert.equal(told.length, 1);
  const { loop } = told[0]!;
  assert.deepEqual([loop.sentBy, loop.cameBackBy].sort(), ['a1', 'a2']);
  assert.equal(loop.blocked, 'a2');
  assert.equal(loop.from, 'tunnel');
  assert.match(describeLoop(loop), /link a[12] sent came back by link a[12].*link a2 is blocked/);
  hosts.a.send(frame(BROADCAST, MAC.a));
  assert.ok(world.settle() < 20);
  assert.equal(
    hosts.b.got.length,
    1 + hosts.b.got.filter((each) => each[12] === PROBE_TYPE >> 8 && each[13] === 0xb5).length,
  );
  assert.equal(links[1]!.bench.vtep.counts[Outcome.LOOP]! > 0, true);
  // As long as it lasts, and told once.
  world.pass(600_000);
  hosts.a.send(frame(BROADCAST, MAC.a));
  assert.ok(world.settle() < 20);
  assert.equal(told.length, 1);
});

test('when both sites watch, one link stays open and the loop stays broken', () => {
  const { world, hosts, told } = double();
  world.pass(10_000);
  const names = new Set(told.map(({ site }) => site));
  assert.ok(names.size >= 1);
  let arrived = 0;
  for (let i = 0; i < 60; i++) {
    world.pass(10_000);
    hosts.b.got.length = 0;
    hosts.a.send(frame(BROADCAST, MAC.a, i));
    assert.ok(world.settle(2000) < 2000, `round ${i}: goes round`);
    arrived += hosts.b.got.filter((each) => each[12] === 0x88 && each[13] === 0xb6).length;
  }
  assert.equal(arrived, 60);
});

test('the loop is taken out: the link is released', () => {
  const { world, links, told } = double('block', [true, false]);
  world.pass(5000);
  assert.equal(told.length, 1);
  // The second link's wire is cut.
  for (const link of [links[1]!, links[3]!]) for (const peer of link.peers.values()) peer.as = '203.0.113.1';
  world.pass(2 * HOLD + 5000);
  assert.ok(!links[1]!.bench.vtep.loop!.blocked(world.now));
});

test('report only: it is said, nothing is blocked', () => {
  const { world, links, told } = double('report', [true, false]);
  world.pass(5000, 500);
  assert.equal(told.length, 1);
  assert.equal(told[0]!.loop.blocked, '');
  assert.match(describeLoop(told[0]!.loop), /nothing is blocked/);
  assert.ok(links.every((link) => !link.bench.vtep.loop?.blocked(world.now)));
});

test('another way between the two bridges, not ours: the link that the probe came back to is named', () => {
  const world = new World();
  const told: Loop[] = [];
  const [A, B] = [new Bridge(world), new Bridge(world)];
  const loops = new LoopWatch((loop) => told.push(loop), 'block', seededBytes(4));
  const one = world.link(A, '192.0.2.1', { loops, name: 'hq' });
  one.join(world.link(B, '192.0.2.2'));
  // A leased line.
  const ends = [A.ports.length, B.ports.length] as const;
  A.ports.push((each) => B.receive(each, ends[1]));
  B.ports.push((each) => A.receive(each, ends[0]));
  world.pass(3000, 200);
  assert.deepEqual(told, [{ sentBy: 'hq', cameBackBy: 'hq', from: 'tap', blocked: 'hq' }]);
  assert.match(describeLoop(told[0]!), /came back to it from its bridge/);
});

test('nobody can block a link without its secret, nor with an old probe', () => {
  const told: Loop[] = [];
  const loops = new LoopWatch((loop) => told.push(loop), 'block', seededBytes(9));
  const bench = new Bench({ loops });
  bench.remotes('192.0.2.2');
  const probes: Uint8Array[] = [];
  for (let i = 0; i < 10; i++) {
    bench.now += INTERVAL;
    bench.vtep.tick(bench.now, (bytes) => probes.push(bytes.slice()));
  }
  const back = (bytes: Uint8Array) => bench.tunnel([{ bytes, from: '192.0.2.2' }])[0]!.outcome;
  assert.equal(probes[0]!.length, PROBE_BYTES + 8);
  assert.equal(back(probes[0]!), Outcome.PROBE);
  const guessed = probes[9]!.slice();
  guessed[8 + 14 + 5]! ^= 1;
  assert.equal(back(guessed), Outcome.PASS);
  const ahead = probes[9]!.slice();
  ahead[8 + 14 + 19]! += 1;
  assert.equal(back(ahead), Outcome.PROBE);
  const cut = message(probes[9]!.slice(8, 8 + 14 + 19));
  assert.equal(back(cut), Outcome.PASS);
  assert.equal(told.length, 0);
  assert.equal(back(probes[9]!), Outcome.PROBE);
  assert.equal(told.length, 1);
  bench.vtep.close();
  assert.equal(back(probes[9]!), Outcome.PROBE);
});
