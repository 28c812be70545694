/** Site links in the engine: two routers over loopback sockets (sites-rig.ts), judged by the bytes that each hands to its TUN. */
import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import type { LinkAccess } from '../../src/contract/links.js';
import { Redecision } from '../../src/datapath/reload.js';
import type { MemoryPacket } from '../../src/link/index.js';
import { native } from '../../src/native.js';
import { build, dissect, ip, mssOption, type PacketOptions } from '../lib-packets.js';
import { A, B, GATEWAY, makePlan, OTHER, P, prefix, SERVER } from './rig.js';
import {
  ALL,
  D,
  FAR,
  farPlan,
  LINK_MTU,
  LINK_OUT,
  makePair,
  NEAR,
  newKeys,
  type Pair,
  type PairOptions,
  Router,
  settle,
  withLinks,
} from './sites-rig.js';

const NOTHING: LinkAccess = { from: [], lan: false, internet: false, host: false, links: 0 };
/** P by itself: the far side is on the same wire, and that route of its kernel's is longer. */
const EVERYWHERE = ['0.0.0.0/0', `${P}/32`];

function pairFor(t: TestContext, o: PairOptions = {}): Pair {
  const pair = makePair(o);
  t.after(() => {
    pair.near.close();
    pair.far.close();
  });
  return pair;
}

/** What comes out of both TUNs when these go into one. */
function send({ near, far }: Pair, from: Router, ...packets: PacketOptions[]) {
  for (const packet of packets) from.tun.push(build(packet));
  settle(near, far);
  return { near: near.tun.take().map(look), far: far.tun.take().map(look) };
}

function look({ bytes }: MemoryPacket) {
  const parsed = dissect(bytes);
  const ok = parsed.ipChecksumOk && parsed.l4ChecksumOk;
  // The MSS option that mssOption puts first.
  const mss = bytes[20] !== undefined && parsed.proto === 6 && bytes[40] === 2 ? (bytes[42]! << 8) | bytes[43]! : 0;
  return { ...parsed, bytes, ok, mss };
}
const udp = (src: string, dst: string, sport = 5000, dport = 53, rest: Partial<PacketOptions> = {}): PacketOptions => ({
  proto: 'udp',
  src,
  dst,
  sport,
  dport,
  payload: Uint8Array.of(1, 2, 3),
  ...rest,
});
const SYN = 2;
const ACK = 16;

test('LAN to LAN and back through two routers: untranslated, TTL one less at each link, every checksum right', (t) => {
  const pair = pairFor(t);
  const there = send(pair, pair.near, { proto: 'icmp', src: A, dst: D, icmpId: 77, payload: new Uint8Array(56) });
  assert.deepEqual(there.near, []);
  const [ping] = there.far;
  assert.deepEqual([ping?.src, ping?.dst, ping?.ttl, ping?.ok], [A, D, 63, true]);
  const back = send(pair, pair.far, {
    proto: 'icmp',
    type: 0,
    src: D,
    dst: A,
    icmpId: 77,
    payload: new Uint8Array(56),
  });
  assert.deepEqual([back.near[0]?.src, back.near[0]?.dst, back.near[0]?.ttl, back.near[0]?.ok], [D, A, 63, true]);
  // And begun by the far side.
  const other = send(pair, pair.far, udp(D, B));
  assert.deepEqual([other.near[0]?.src, other.near[0]?.dst], [D, B]);
  assert.deepEqual(pair.near.rig.verdicts(), { forward: 3 });
});

test('REQ-58 TTL 1 towards a link: the router says so, the near one as gateway, the far one from its link', (t) => {
  const pair = pairFor(t);
  const first = send(pair, pair.near, udp(A, D, 5000, 33434, { ttl: 1 }));
  assert.deepEqual([first.near[0]?.src, first.near[0]?.type], [GATEWAY, 11]);
  const second = send(pair, pair.near, udp(A, D, 5000, 33434, { ttl: 2 }));
  assert.deepEqual(second.far, []);
  assert.deepEqual([second.near[0]?.src, second.near[0]?.dst, second.near[0]?.type], [FAR, A, 11]);
  const third = send(pair, pair.near, udp(A, D, 5000, 33434, { ttl: 3 }));
  assert.equal(third.far[0]?.ttl, 2);
});

test('REQ-47 what is longer than the link takes: ICMP 3/4 with its MTU for DF, fragments in order without', (t) => {
  const pair = pairFor(t);
  const payload = Uint8Array.from({ length: 4000 }, (_, i) => i * 7);
  const refused = send(pair, pair.near, udp(A, D, 5000, 53, { payload, df: true }));
  assert.deepEqual([refused.near[0]?.type, refused.near[0]?.code, refused.far.length], [3, 4, 0]);
  assert.equal(refused.near[0]!.mtu, LINK_MTU);
  // The largest that fits goes whole.
  const fits = send(pair, pair.near, udp(A, D, 5000, 53, { payload: payload.subarray(0, LINK_MTU - 28), df: true }));
  assert.equal(fits.far[0]?.bytes.length, LINK_MTU);

  const cut = send(pair, pair.near, udp(A, D, 5000, 53, { payload, id: 4711 }));
  assert.equal(cut.far.length, 3);
  let next = 0;
  const whole = new Uint8Array(4008);
  for (const [i, { bytes }] of cut.far.entries()) {
    const view = new DataView(bytes.buffer, bytes.byteOffset);
    const word = view.getUint16(6);
    assert.equal((word & 0x1fff) * 8, next, 'in order');
    assert.equal((word & 0x2000) !== 0, i < 2, 'more fragments');
    assert.equal(view.getUint16(4), 4711);
    assert.ok(bytes.length <= LINK_MTU);
    whole.set(bytes.subarray(20), next);
    next += bytes.length - 20;
  }
  assert.deepEqual(whole.subarray(8), payload);
  assert.equal(next, 4008);
});

test('a TCP segment of 60 KB is cut up, sealed, and arrives as one again; its SYN was clamped', (t) => {
  const pair = pairFor(t);
  const tcp = { proto: 'tcp', src: A, dst: D, sport: 6000, dport: 80 } as const;
  const syn = send(pair, pair.near, { ...tcp, flags: SYN, tcpOptions: mssOption(1460, 7) });
  assert.equal(syn.far[0]?.mss, LINK_MTU - 40);
  const back = { proto: 'tcp', src: D, dst: A, sport: 80, dport: 6000 } as const;
  send(pair, pair.far, { ...back, flags: SYN | ACK, ack: 1, seq: 100, tcpOptions: mssOption(1460, 7) });
  const payload = Uint8Array.from({ length: 60_000 }, (_, i) => (i * 31) >>> 3);
  const bytes = build({ ...tcp, flags: ACK, seq: 1, ack: 101, window: 1000, payload, df: true });
  // As a TUN gives it: the checksum left to the one who cuts it up.
  const vnet = new Uint8Array(10);
  const view = new DataView(vnet.buffer);
  vnet.set([1, 1]);
  view.setUint16(2, 40, true);
  view.setUint16(4, LINK_MTU - 40, true);
  view.setUint16(6, 20, true);
  view.setUint16(8, 16, true);
  pair.near.tun.push(bytes, vnet);
  settle(pair.near, pair.far);
  const out = pair.far.tun.take();
  assert.equal(out.length, 1);
  assert.deepEqual(out[0]!.bytes.subarray(40), payload);
  assert.equal(out[0]!.vnet[1], 1, 'GSO');
  assert.equal(new DataView(out[0]!.vnet.buffer, out[0]!.vnet.byteOffset).getUint16(4, true), LINK_MTU - 40);
});

test('a peer to the internet: source P, the answer goes back through the link', (t) => {
  const pair = pairFor(t, { allowedNear: EVERYWHERE });
  const out = send(pair, pair.far, udp(D, SERVER));
  assert.deepEqual([out.near[0]?.src, out.near[0]?.dst], [P, SERVER]);
  const port = out.near[0]!.sport!;
  const back = send(pair, pair.near, udp(SERVER, P, 53, port));
  assert.deepEqual([back.far[0]?.src, back.far[0]?.dst, back.far[0]?.dport], [SERVER, D, 5000]);
});

test('REQ-10 hairpin from a site link: the target sees P:p of the peer', (t) => {
  const plan = makePlan({ forwards: [{ first: 80, to: B, toPort: 8080, protos: ['udp'] }] });
  const pair = pairFor(t, { allowedNear: EVERYWHERE, near: { plan } });
  const there = send(pair, pair.far, udp(D, P, 5000, 80));
  assert.deepEqual([there.near[0]?.src, there.near[0]?.dst, there.near[0]?.dport], [P, B, 8080]);
  const back = send(pair, pair.near, udp(B, P, 8080, there.near[0]!.sport!));
  assert.deepEqual([back.far[0]?.src, back.far[0]?.sport, back.far[0]?.dst], [P, 80, D]);
});

test('a forward to a target behind a peer: the far side sees the link address and answers to it', (t) => {
  const bare = makePlan({ forwards: [{ first: 8080, to: D, toPort: 80, protos: ['tcp', 'udp'] }] });
  const plan = { ...bare, forwards: bare.forwards.map((forward) => ({ ...forward, out: LINK_OUT })) };
  const pair = pairFor(t, { near: { plan, pool: true } });
  const there = send(pair, pair.near, udp(SERVER, P, 1234, 8080));
  assert.deepEqual([there.far[0]?.src, there.far[0]?.dst, there.far[0]?.dport], [NEAR, D, 80]);
  const back = send(pair, pair.far, udp(D, NEAR, 80, there.far[0]!.sport!));
  assert.deepEqual(
    [back.near[0]?.src, back.near[0]?.sport, back.near[0]?.dst, back.near[0]?.dport],
    [P, 8080, SERVER, 1234],
  );
  // A LAN host by P as well; nobody else of the far side finds them by the port.
  const hairpin = send(pair, pair.near, udp(A, P, 999, 8080));
  assert.deepEqual([hairpin.far[0]?.src, hairpin.far[0]?.dst], [NEAR, D]);
  const probe = send(pair, pair.far, udp('192.168.20.9', NEAR, 80, there.far[0]!.sport!));
  assert.equal(probe.near[0]?.dst, NEAR, "to the host's own sockets, not to the client");
});

test('the host itself and the far site: by the link address, and only with `host`', (t) => {
  const pair = pairFor(t);
  const there = send(pair, pair.near, udp(NEAR, D));
  assert.deepEqual(
    [there.far[0]?.src, there.far[0]?.dst, there.far[0]?.ttl],
    [NEAR, D, 64],
    'this router is no hop of its own',
  );
  const [hop] = send(pair, pair.near, udp(NEAR, D, 5000, 53, { ttl: 1 })).near;
  assert.deepEqual([hop?.src, hop?.dst, hop?.type], [FAR, NEAR, 11]);
  const back = send(pair, pair.far, udp(D, NEAR, 53, 5000));
  assert.deepEqual([back.near[0]?.src, back.near[0]?.dst, back.near[0]?.ttl], [D, NEAR, 63]);
  const service = send(pair, pair.far, { proto: 'tcp', src: D, dst: NEAR, sport: 7000, dport: 22, flags: SYN });
  assert.equal(service.near[0]?.dport, 22);
  const answer = send(pair, pair.near, { proto: 'tcp', src: NEAR, dst: D, sport: 22, dport: 7000, flags: SYN | ACK });
  assert.equal(answer.far[0]?.sport, 22);

  const closed = pairFor(t, { near: { access: [{ ...ALL, host: false }] } });
  const refused = send(closed, closed.far, { proto: 'tcp', src: D, dst: NEAR, sport: 7000, dport: 22, flags: SYN });
  assert.deepEqual(refused.near, []);
  assert.deepEqual([refused.far[0]?.type, refused.far[0]?.code], [3, 13]);
});

test('what the policy does not list is refused, both ways, and said', (t) => {
  const pair = pairFor(t, { near: { access: [], fromLan: false }, allowedNear: EVERYWHERE });
  const tries = send(pair, pair.far, udp(D, A), udp(D, SERVER), udp(D, NEAR), udp(D, P, 1, 80));
  assert.deepEqual(tries.near, []);
  assert.deepEqual(
    tries.far.map(({ type, code }) => [type, code]),
    Array(4).fill([3, 13]),
  );
  const out = send(pair, pair.near, udp(A, D));
  assert.deepEqual([out.far.length, out.near[0]?.type, out.near[0]?.code], [0, 3, 13]);
  assert.equal(pair.near.rig.verdicts()['link-policy'], 5);

  const some = pairFor(t, { near: { access: [{ ...NOTHING, from: [prefix(`${FAR}/32`)], lan: true }] } });
  assert.deepEqual(send(some, some.far, udp(D, A)).near, []);
  assert.equal(send(some, some.far, udp(FAR, A)).near.length, 1);
});

test('nobody speaks with a source that is not his: not a peer, not a LAN host, not the internet', (t) => {
  const pair = pairFor(t, { allowedNear: EVERYWHERE, allowedFar: ['0.0.0.0/0'] });
  // A flow of A's to the internet by the near uplink is not there when everything goes to the far side; by P it is.
  const plan = pair.near.plan;
  pair.near.setPlan({
    ...plan,
    links: plan.links.map((l) => ({
      ...l,
      peers: l.peers.map((p) => ({ ...p, allowedIps: [`${FAR}/32`, '192.168.20.0/24'].map(prefix) })),
    })),
  });
  const out = send(pair, pair.near, udp(A, SERVER));
  const port = out.near[0]!.sport!;
  // The device lets the peer say what it likes (0.0.0.0/0); the engine does not.
  pair.far.setPlan({
    ...pair.far.plan,
    hostAddresses: [...pair.far.plan.hostAddresses, ...[SERVER, B, GATEWAY, NEAR].map(ip)],
  });
  const lies = send(pair, pair.far, udp(SERVER, P, 53, port), udp(B, A), udp(GATEWAY, A), udp(NEAR, A));
  assert.deepEqual(lies.near, []);
  assert.equal(pair.near.rig.verdicts()['foreign-source'], 4);
  // From the LAN or the uplink as if from the far site.
  const flow = send(pair, pair.far, udp(D, A));
  assert.equal(flow.near.length, 1);
  const forged = send(pair, pair.near, udp(D, A), udp(D, P, 53, 20000), udp(D, B));
  assert.deepEqual([forged.near, forged.far], [[], []]);
  assert.equal(pair.near.rig.verdicts()['foreign-source'], 7);
  // The answer of the right one still comes.
  assert.equal(send(pair, pair.near, udp(SERVER, P, 53, port)).near[0]?.dst, A);
});

test('an ICMP error about a flow with the far side is taken from there only', (t) => {
  const pair = pairFor(t);
  const flow = send(pair, pair.far, udp(D, A));
  send(pair, pair.near, udp(A, D, 53, 5000));
  const quoted = build(udp(A, D, 53, 5000));
  const error: PacketOptions = { proto: 'icmp', type: 3, code: 1, src: '192.168.20.1', dst: A, payload: quoted };
  assert.equal(flow.near.length, 1);
  assert.deepEqual(send(pair, pair.near, { ...error, src: SERVER }).near, []);
  assert.deepEqual(send(pair, pair.near, error).near, []);
  // The far router says so itself: its VM does not answer ARP, its kernel tells A.
  pair.far.setPlan({ ...pair.far.plan, hostAddresses: [...pair.far.plan.hostAddresses, ip('192.168.20.1')] });
  assert.equal(send(pair, pair.far, error).near[0]?.dst, A);
});

test('a peer that takes everything (0.0.0.0/0): a forward of ours still answers by the uplink', (t) => {
  const plan = makePlan({ forwards: [{ first: 80, to: B, protos: ['udp'] }] });
  const pair = pairFor(t, { near: { plan }, allowedFar: ['0.0.0.0/0'] });
  const out = send(pair, pair.near, udp(A, SERVER));
  assert.equal(out.near.length, 0, 'the internet is behind the peer now');
  const client = send(pair, pair.near, udp(OTHER, P, 1234, 80));
  assert.deepEqual([client.near[0]?.src, client.near[0]?.dst], [OTHER, B]);
  const answer = send(pair, pair.near, udp(B, OTHER, 80, 1234));
  assert.deepEqual([answer.near[0]?.src, answer.near[0]?.dst, answer.far.length], [P, OTHER, 0]);
});

test('a source that the peer was not given is dropped by the device, by name', (t) => {
  const pair = pairFor(t);
  pair.far.setPlan({ ...pair.far.plan, hostAddresses: [...pair.far.plan.hostAddresses, ip(OTHER)] });
  assert.deepEqual(send(pair, pair.far, udp(OTHER, A)).near, []);
  assert.equal(pair.near.links.status()[0]!.outcomes['bad-source'], 1);
});

test('sites with the same subnet: each side sees the other by its map, ICMP errors included', (t) => {
  const LAN = '172.22.161.0/24';
  const pair = pairFor(t, {
    far: { plan: farPlan(LAN, GATEWAY) },
    allowedFar: [`${FAR}/32`, '10.71.2.0/24'],
    allowedNear: [`${NEAR}/32`, '10.71.1.0/24'],
    nearMaps: [[LAN, '10.71.1.0/24']],
    farMaps: [[LAN, '10.71.2.0/24']],
  });
  const there = send(pair, pair.near, udp(A, '10.71.2.20', 5000, 53));
  assert.deepEqual([there.far[0]?.src, there.far[0]?.dst, there.far[0]?.ok], ['10.71.1.170', B, true]);
  const back = send(pair, pair.far, udp(B, '10.71.1.170', 53, 5000));
  assert.deepEqual([back.near[0]?.src, back.near[0]?.dst, back.near[0]?.ok], ['10.71.2.20', A, true]);
  assert.deepEqual([back.near[0]?.sport, back.near[0]?.dport], [53, 5000]);
  // B has no such port: what it quotes is what A has sent.
  const quoted = there.far[0]!.bytes.subarray(0, 28);
  const told = send(pair, pair.far, {
    proto: 'icmp',
    type: 3,
    code: 3,
    src: B,
    dst: '10.71.1.170',
    payload: quoted,
    icmpId: 0,
  });
  assert.equal(told.near.length, 1);
  const { bytes, src, dst } = told.near[0]!;
  assert.deepEqual([src, dst], ['10.71.2.20', A]);
  const inner = dissect(bytes.subarray(28));
  assert.deepEqual([inner.src, inner.dst, inner.sport, inner.dport], [A, '10.71.2.20', 5000, 53]);
});

test('peer to peer of one link, and not back to the one that it came from', (t) => {
  const clock = { now: 1_000_000 };
  const [hubKeys, oneKeys, twoKeys] = [newKeys(), newKeys(), newKeys()];
  const one = { keys: oneKeys, allowed: ['192.168.20.0/24'] };
  const two = { keys: twoKeys, allowed: ['192.168.30.0/24', '192.168.40.0/24'] };
  const hub = new Router(
    withLinks(makePlan(), [{ address: NEAR, peers: [one, two], access: [{ ...NOTHING, links: 1 }] }]),
    clock,
    hubKeys,
  );
  const spoke = (subnet: string, gateway: string, keys: typeof oneKeys) =>
    new Router(
      withLinks(farPlan(subnet, gateway), [{ address: FAR, peers: [{ keys: hubKeys, allowed: EVERYWHERE }] }]),
      clock,
      keys,
    );
  const left = spoke('192.168.20.0/24', '192.168.20.1', oneKeys);
  const right = spoke('192.168.30.0/24', '192.168.30.1', twoKeys);
  const all = [hub, left, right];
  t.after(() => {
    for (const router of all) router.close();
  });
  left.know({ keys: hubKeys, allowed: EVERYWHERE }, `127.0.0.1:${hub.port()}`);
  right.know({ keys: hubKeys, allowed: EVERYWHERE }, `127.0.0.1:${hub.port()}`);
  hub.know(one);
  hub.know(two);
  settle(...all);
  // The hub knows nobody's endpoint before it has heard from him.
  right.tun.push(build(udp('192.168.30.7', '192.168.20.5')));
  settle(...all);
  assert.deepEqual(
    left.tun
      .take()
      .map(look)
      .map(({ src, ttl }) => [src, ttl]),
    [['192.168.30.7', 62]],
  );
  left.tun.push(build(udp('192.168.20.5', '192.168.30.7', 53, 5000)));
  settle(...all);
  assert.equal(right.tun.take().length, 1);
  right.tun.push(build(udp('192.168.30.7', '192.168.40.1')));
  settle(...all);
  assert.equal(hub.rig.verdicts()['link-policy'], 1);
});

test('REQ-15 fragments from the far side are followed by the link that brought them', (t) => {
  const pair = pairFor(t);
  const payload = new Uint8Array(3000).fill(9);
  const out = send(pair, pair.far, udp(D, A, 5000, 53, { payload, id: 99 }));
  assert.equal(out.near.length, 3);
  // A later fragment of the same datagram from the LAN's side is nobody's.
  const forged = send(pair, pair.near, { proto: 17, src: D, dst: A, id: 99, offset: 1400, mf: false, payload });
  assert.deepEqual(forged.near, []);
});

test('after a restart the session is new, and the flow goes on', (t) => {
  const pair = pairFor(t, { allowedNear: EVERYWHERE });
  const port = send(pair, pair.far, udp(D, SERVER)).near[0]!.sport!;
  const { near, far, clock } = pair;
  // All that survives a SIGKILL is the table; here the engine stands for it.
  const plan = near.plan;
  near.setPlan({ ...plan, links: [] });
  clock.now += 1000;
  near.setPlan(plan);
  near.know({ keys: far.keys, allowed: [`${FAR}/32`, '192.168.20.0/24'] }, `127.0.0.1:${far.port()}`);
  settle(near, far);
  assert.equal(near.links.status()[0]!.peers[0]!.handshakesInitiated, 1, 'begun at once, before there was a packet');
  const back = send(pair, near, udp(SERVER, P, 53, port));
  assert.deepEqual([back.far[0]?.src, back.far[0]?.dst], [SERVER, D]);
});

test('REQ-61 a plan that takes the permission away ends those flows and no others', (t) => {
  const pair = pairFor(t, { allowedNear: EVERYWHERE });
  send(pair, pair.far, udp(D, SERVER), udp(D, A));
  const { plan } = pair.near;
  pair.near.setPlan({
    ...plan,
    generation: 2,
    links: plan.links.map((link) => ({ ...link, access: [{ ...ALL, internet: false }] })),
  });
  const redecision = new Redecision(2);
  while (!redecision.step(pair.near.rig.engine, 1000));
  assert.deepEqual([redecision.stayed, redecision.moved, redecision.ended], [1, 0, 1]);
});

test("a link's own datagram that the kernel sent into the TUN ends there, by name", (t) => {
  const pair = pairFor(t, { near: { plan: makePlan() } });
  const plan = pair.near.plan;
  const port = pair.near.port();
  pair.near.setPlan({ ...plan, links: plan.links.map((link) => ({ ...link, listen: port })) });
  assert.deepEqual(send(pair, pair.near, udp(NEAR, D, port, 51820)).far, []);
  assert.equal(pair.near.rig.verdicts()['link-loop'], 1);
});

test('a port that is taken: the link says so, stays down, and comes up when it is free', (t) => {
  const clock = { now: 1_000_000 };
  const first = new Router(withLinks(makePlan(), [{ address: NEAR, peers: [] }]), clock);
  const plan = withLinks(makePlan(), [{ address: NEAR, peers: [] }]);
  const port = first.port();
  const second = new Router({ ...plan, links: plan.links.map((link) => ({ ...link, listen: port })) }, clock);
  t.after(() => second.close());
  assert.match(JSON.stringify(second.told), /"up":false,"fresh":true.*EADDRINUSE/);
  second.told.length = 0;
  clock.now += 3000;
  second.round();
  assert.deepEqual(second.told, [], 'the same problem is not said twice');
  first.close();
  clock.now += 3000;
  second.round();
  assert.deepEqual(second.told, [{ kind: 'link-state', link: 'hq', up: true, fresh: false, port, problem: '' }]);
});

test('a link of another name on the port of one that goes', (t) => {
  const { near } = pairFor(t);
  const { plan } = near;
  const listen = near.port();
  near.told.length = 0;
  near.setPlan({ ...plan, links: plan.links.map((link) => ({ ...link, name: 'other', listen })) });
  assert.deepEqual(near.told, [
    { kind: 'link-state', link: 'other', up: true, fresh: true, port: listen, problem: '' },
  ]);
});

test('a peer that does not answer is told of, so that its name can be looked up again', (t) => {
  const { near, clock } = pairFor(t);
  const gone = { keys: newKeys(), allowed: ['192.168.50.0/24'] };
  near.know(gone, '127.0.0.1:9');
  near.tun.push(build(udp(NEAR, '192.168.50.1')));
  settle(near);
  for (let i = 0; i < 4; i++) {
    clock.now += 6000;
    near.round();
  }
  const silent = near.told.filter(({ kind }) => kind === 'link-silent');
  assert.ok(silent.length >= 1, JSON.stringify(near.told));
});

test('several workers: one has the links, another gives it what it has for them', (t) => {
  const clock = { now: 1_000_000 };
  const [one, two] = native.pairCreate();
  const farKeys = newKeys();
  const toFar = { keys: farKeys, allowed: ['192.168.20.0/24'] };
  const plan = withLinks(makePlan(), [{ address: NEAR, peers: [toFar] }]);
  const owner = new Router(plan, clock, newKeys(), { handOver: one });
  const other = new Router(plan, clock, owner.keys, { handOver: two, owner: false });
  const far = new Router(
    withLinks(farPlan(), [{ address: FAR, peers: [{ keys: owner.keys, allowed: EVERYWHERE }] }]),
    clock,
    farKeys,
  );
  const all = [owner, other, far];
  t.after(() => {
    for (const router of all) router.close();
    native.closeFd(one);
    native.closeFd(two);
  });
  assert.equal(other.told.length, 0, 'it opens no port');
  far.know({ keys: owner.keys, allowed: EVERYWHERE });
  owner.know(toFar, `127.0.0.1:${far.port()}`);
  settle(...all);
  for (let i = 0; i < 20; i++)
    other.tun.push(build(udp(A, D, 5000 + i, 53, { payload: new Uint8Array(1200).fill(i) })));
  settle(...all);
  const out = far.tun.take().map(look);
  assert.deepEqual(
    out.map(({ sport, ok }) => [sport, ok]),
    Array.from({ length: 20 }, (_, i) => [5000 + i, true]),
  );
  assert.deepEqual(other.rig.verdicts(), { forward: 20 });
});
