/**
 * IPv6 between LANs and site links, stateless: two routers over loopback sockets (sites-rig.ts), judged by the bytes that each hands to its TUN.
 *
 *   LAN 2001:db8:1::/64 ─ near fd99::1 ═══ WireGuard ═══ fd99::2 far ─ LAN 2001:db8:20::/64
 */
import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { Batch, Ctl, VNET_BYTES } from '../../src/batch.js';
import { Counter } from '../../src/contract/counters.js';
import type { Access6, Ipv6Plan } from '../../src/contract/ipv6.js';
import { VERDICTS, Verdict } from '../../src/contract/verdict.js';
import { formatAddress6, parseAddress6, parsePrefix6 } from '../../src/control/address-ipv6.js';
import { wordsOf } from '../../src/host/ipv6.js';
import type { MemoryPacket } from '../../src/link/index.js';
import { checksum } from '../../src/wire/checksum.js';
import fc from '../property.js';
import { FAR, LINK_MTU, makePair, NEAR, type Pair, type Router, settle } from './sites-rig.js';

const A = '2001:db8:1::a';
const D = '2001:db8:20::d';
const NEAR_LAN = '2001:db8:1::/64';
const FAR_LAN = '2001:db8:20::/64';
const ALL6: Access6 = { from: [], lan: true, host: true, links: 0 };
const LAN_OUT = 2;
const [TCP, UDP, ICMP6] = [6, 17, 58];

function planOf(o: {
  lan: string;
  far: string;
  own: string;
  gateway: string;
  access?: readonly Access6[];
  out?: number;
  hosts?: readonly string[];
}): Ipv6Plan {
  return {
    lans: [{ prefix: parsePrefix6(o.lan), out: o.out ?? LAN_OUT, gateway: parseAddress6(o.gateway) }],
    links: [{ address: parseAddress6(o.own), access: o.access ?? [ALL6] }],
    sites: [o.far, o.own === 'fd99::1' ? 'fd99::2/128' : 'fd99::1/128'].map((text) => ({
      prefix: parsePrefix6(text),
      link: 0,
    })),
    hosts: [o.own, o.gateway, ...(o.hosts ?? [])].map(parseAddress6),
    foreign: [],
  };
}

const NEAR6 = { lan: NEAR_LAN, far: FAR_LAN, own: 'fd99::1', gateway: '2001:db8:1::1' };
const FAR6 = { lan: FAR_LAN, far: NEAR_LAN, own: 'fd99::2', gateway: '2001:db8:20::1' };

function pairFor(t: TestContext, near: Partial<Parameters<typeof planOf>[0]> = {}, far = {}): Pair {
  const pair = makePair({
    allowedFar: [`${FAR}/32`, '192.168.20.0/24', '2001:db8::/32', 'fd99::2/128'],
    allowedNear: [`${NEAR}/32`, '172.22.161.0/24', '2001:db8::/32', 'fd99::1/128'],
  });
  t.after(() => {
    pair.near.close();
    pair.far.close();
  });
  pair.near.setPlan({ ...pair.near.plan, ipv6: planOf({ ...NEAR6, ...near }) });
  pair.far.setPlan({ ...pair.far.plan, ipv6: planOf({ ...FAR6, ...far }) });
  settle(pair.near, pair.far);
  return pair;
}

interface Six {
  readonly src?: string;
  readonly dst?: string;
  readonly hop?: number;
  readonly next?: number;
  /** Extension headers as bytes, the last one names `next` by itself. */
  readonly extensions?: Uint8Array;
  readonly payload?: Uint8Array;
  readonly gso?: number;
}

function words(text: string): Uint8Array {
  const bytes = new Uint8Array(16);
  const view = new DataView(bytes.buffer);
  parseAddress6(text).forEach((word, i) => {
    view.setInt32(4 * i, word);
  });
  return bytes;
}

/** Sum of the pseudo-header (RFC 8200 §8.1). */
function pseudo(packet: Uint8Array, l4: number, proto: number): number {
  return checksum(packet, 8, 32, 0) + (packet.length - l4) + proto;
}

function build6(o: Six): MemoryPacket {
  const extensions = o.extensions ?? new Uint8Array(0);
  const payload = o.payload ?? udp();
  const bytes = new Uint8Array(40 + extensions.length + payload.length);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, 0x60012345);
  view.setUint16(4, extensions.length + payload.length);
  bytes[6] = extensions.length > 0 ? 0 : (o.next ?? UDP);
  bytes[7] = o.hop ?? 64;
  bytes.set(words(o.src ?? A), 8);
  bytes.set(words(o.dst ?? D), 24);
  bytes.set(extensions, 40);
  const l4 = 40 + extensions.length;
  bytes.set(payload, l4);
  const proto = o.next ?? UDP;
  const at = l4 + (proto === TCP ? 16 : proto === UDP ? 6 : 2);
  const vnet = new Uint8Array(VNET_BYTES);
  if (o.gso !== undefined) {
    const v = new DataView(vnet.buffer);
    vnet[0] = 1;
    vnet[1] = 4;
    v.setUint16(4, o.gso, true);
    v.setUint16(6, l4, true);
    v.setUint16(8, 16, true);
    view.setUint16(at, fold(pseudo(bytes, l4, proto)));
  } else if (at + 2 <= bytes.length) {
    view.setUint16(at, 0);
    view.setUint16(at, ~checksum(bytes, l4, bytes.length - l4, pseudo(bytes, l4, proto)) & 0xffff);
  }
  return { bytes, vnet };
}

function fold(sum: number): number {
  return (sum & 0xffff) + (sum >>> 16);
}

function udp(size = 16): Uint8Array {
  const bytes = new Uint8Array(8 + size);
  const view = new DataView(bytes.buffer);
  view.setUint16(0, 5000);
  view.setUint16(2, 53);
  view.setUint16(4, bytes.length);
  return bytes;
}

function tcp(o: { flags?: number; mss?: number; size?: number } = {}): Uint8Array {
  const options = o.mss === undefined ? 0 : 4;
  const bytes = new Uint8Array(20 + options + (o.size ?? 0));
  const view = new DataView(bytes.buffer);
  view.setUint16(0, 40_000);
  view.setUint16(2, 80);
  bytes[12] = ((20 + options) / 4) << 4;
  bytes[13] = o.flags ?? 16;
  if (o.mss !== undefined) {
    view.setUint16(20, 0x0204);
    view.setUint16(22, o.mss);
  }
  for (let i = 20 + options; i < bytes.length; i++) bytes[i] = i * 7;
  return bytes;
}

function look({ bytes }: MemoryPacket) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  return {
    bytes,
    src: formatAddress6(wordsOf(bytes.subarray(8, 24))),
    dst: formatAddress6(wordsOf(bytes.subarray(24, 40))),
    next: bytes[6]!,
    hop: bytes[7]!,
    view,
    type: bytes[40]!,
    code: bytes[41]!,
    /** Of layer 4 behind no extension. */
    sumOk: checksum(bytes, 40, bytes.length - 40, pseudo(bytes, 40, bytes[6]!)) === 0xffff,
  };
}

function send({ near, far }: Pair, from: Router, ...packets: Six[]) {
  for (const packet of packets) {
    const { bytes, vnet } = build6(packet);
    from.tun.push(bytes, vnet);
  }
  settle(near, far);
  return { near: near.tun.take().map(look), far: far.tun.take().map(look) };
}

function drops({ rig }: Router): Record<string, number> {
  const found: Record<string, number> = {};
  VERDICTS.forEach(({ name, fate }, id) => {
    const n = rig.engine.counters[Counter.VERDICT + id]!;
    if (fate === 'drop' && n > 0) found[name] = n;
  });
  return found;
}

test('LAN to LAN and back: unchanged but for the hop limit, one less at each router that no kernel follows', (t) => {
  const pair = pairFor(t);
  const [there] = send(pair, pair.near, {}).far;
  assert.deepEqual([there?.src, there?.dst, there?.hop, there?.sumOk], [A, D, 63, true]);
  const sent = build6({}).bytes;
  sent[7] = 63;
  assert.deepEqual(there!.bytes, sent);
  const [back] = send(pair, pair.far, { src: D, dst: A }).near;
  assert.deepEqual([back?.src, back?.dst, back?.hop], [D, A, 63]);
  assert.deepEqual([drops(pair.near), drops(pair.far)], [{}, {}]);
});

test('without IPv6 in the plan it is dropped by name, from the TUN and from a link', (t) => {
  const pair = pairFor(t);
  pair.far.setPlan({ ...pair.far.plan, ipv6: null });
  assert.deepEqual(send(pair, pair.near, {}).far, []);
  assert.deepEqual(drops(pair.far), { 'not-ipv4': 1 });
  assert.deepEqual(send(pair, pair.far, { src: D, dst: A }).near, []);
  assert.deepEqual(drops(pair.far), { 'not-ipv4': 2 });
});

test('hop limit 1: ICMPv6 Time Exceeded from the gateway of the LAN, and across the link from its address there', (t) => {
  const pair = pairFor(t);
  const { near, far } = send(pair, pair.near, { hop: 1 });
  assert.deepEqual(far, []);
  const [error] = near;
  assert.deepEqual([error?.src, error?.dst, error?.type, error?.code, error?.sumOk], ['2001:db8:1::1', A, 3, 0, true]);
  assert.deepEqual(error!.bytes.subarray(48), build6({ hop: 1 }).bytes, 'the packet is quoted');
  // The second hop is the far router: 2 leaves near as 1.
  const second = send(pair, pair.near, { hop: 2 });
  assert.deepEqual(second.far, []);
  assert.deepEqual([second.near[0]?.src, second.near[0]?.type], ['fd99::2', 3]);
  assert.equal(drops(pair.far)['ttl-expired'], 1);
});

test('what the host itself sends passes no hop here, and what is for the host counts none', (t) => {
  const pair = pairFor(t);
  const [out] = send(pair, pair.near, { src: 'fd99::1', dst: 'fd99::2', hop: 1 }).far;
  assert.deepEqual([out?.src, out?.hop], ['fd99::1', 1]);
});

test('REQ-45 larger than the link: Packet Too Big with its MTU; the MSS of a SYN is what both ways carry', (t) => {
  const pair = pairFor(t);
  const { near, far } = send(pair, pair.near, { payload: udp(LINK_MTU - 47) });
  assert.deepEqual(far, []);
  const [error] = near;
  assert.deepEqual([error?.type, error?.view.getUint32(44), error?.sumOk], [2, LINK_MTU, true]);
  assert.ok(error!.bytes.length <= 1280, 'an error has at most the least MTU');
  assert.equal(send(pair, pair.near, { payload: udp(LINK_MTU - 48) }).far.length, 1, 'exactly the MTU passes');
  for (const from of [pair.near, pair.far]) {
    const way = from === pair.near ? {} : { src: D, dst: A };
    const syn = send(pair, from, { ...way, next: TCP, payload: tcp({ flags: 2, mss: 8960 }) });
    const [seen] = from === pair.near ? syn.far : syn.near;
    assert.deepEqual([seen?.view.getUint16(62), seen?.sumOk], [LINK_MTU - 60, true]);
    const small = send(pair, from, { ...way, next: TCP, payload: tcp({ flags: 2, mss: 1000 }) });
    assert.equal((from === pair.near ? small.far : small.near)[0]?.view.getUint16(62), 1000, 'only ever lowered');
  }
  const data = send(pair, pair.near, { next: TCP, payload: tcp({ mss: 8960 }) }).far[0];
  assert.equal(data?.view.getUint16(62), 8960, 'not in a segment without SYN');
});

test('a link narrower than 1280 bytes carries what fits, and says 1280 to what does not', (t) => {
  const pair = pairFor(t);
  const interfaces = pair.near.plan.interfaces.map((item) => (item.name === 'hq' ? { ...item, mtu: 1200 } : item));
  pair.near.setPlan({ ...pair.near.plan, interfaces });
  assert.equal(send(pair, pair.near, { payload: udp(1200 - 48) }).far.length, 1);
  assert.equal(send(pair, pair.near, { payload: udp(1400 - 48) }).near[0]?.view.getUint32(44), 1280);
  assert.deepEqual(send(pair, pair.near, { payload: udp(1250 - 48) }), { near: [], far: [] });
  assert.equal(drops(pair.near)['too-big'], 2);
});

test('a GSO packet of the kernel is cut to the link, and its checksums are completed', (t) => {
  const pair = pairFor(t);
  const size = 20_000;
  const { far } = send(pair, pair.near, { next: TCP, payload: tcp({ size }), gso: 1380 });
  const bytes = far.reduce((sum, packet) => sum + packet.bytes.length - 60, 0);
  assert.equal(bytes, size);
  assert.ok(far.every((packet) => packet.hop === 63));
  assert.equal(pair.near.rig.engine.counters[Counter.RX_SEGMENTS], Math.ceil(size / 1380));
  const toobig = send(pair, pair.near, { next: TCP, payload: tcp({ size }), gso: 1440 });
  assert.deepEqual([toobig.far.length, toobig.near[0]?.type], [0, 2]);
});

test('fragments and extension headers pass; ICMPv6 of all types too', (t) => {
  const pair = pairFor(t);
  // Hop-by-hop with padding, then a fragment header: first, and a later one.
  const options = Uint8Array.of(44, 0, 1, 4, 0, 0, 0, 0);
  const fragment = (offset: number, more: number) =>
    Uint8Array.of(...options, UDP, 0, offset >>> 8, (offset & 0xf8) | more, 1, 2, 3, 4);
  for (const extensions of [fragment(0, 1), fragment(1480, 0)]) {
    const [seen] = send(pair, pair.near, { extensions }).far;
    assert.deepEqual([seen?.hop, seen?.next, seen?.bytes.subarray(40, 56)], [63, 0, extensions]);
  }
  // A SYN behind options has its MSS lowered.
  const [syn] = send(pair, pair.near, {
    extensions: Uint8Array.of(TCP, 0, 1, 4, 0, 0, 0, 0),
    next: TCP,
    payload: tcp({ flags: 2, mss: 8960 }),
  }).far;
  assert.equal(syn?.view.getUint16(70), LINK_MTU - 60);
  const [ping] = send(pair, pair.near, { next: ICMP6, payload: Uint8Array.of(128, 0, 0, 0, 0, 1, 0, 1) }).far;
  assert.deepEqual([ping?.type, ping?.sumOk], [128, true]);
  assert.deepEqual(drops(pair.near), {});
});

test('no error about an error, nor about a redirect (RFC 4443 §2.4), and at most so many a second', (t) => {
  const pair = pairFor(t);
  const icmp = (type: number): Six => ({ hop: 1, next: ICMP6, payload: Uint8Array.of(type, 0, 0, 0, 0, 0, 0, 0) });
  assert.deepEqual(send(pair, pair.near, icmp(1), icmp(3), icmp(137)), { near: [], far: [] });
  assert.equal(send(pair, pair.near, icmp(128)).near.length, 1);
  const flood = send(pair, pair.near, ...Array.from({ length: 400 }, (): Six => ({ hop: 1 })));
  assert.ok(flood.near.length < 300, `${flood.near.length} errors`);
  assert.ok(pair.near.rig.engine.counters[Counter.ICMP_LIMITED]! > 0);
});

test('policy: both ways or not at all; the refused is told, and counted as link-policy', (t) => {
  const only = (from: string): Access6 => ({ from: [parsePrefix6(from)], lan: true, host: false, links: 0 });
  const pair = pairFor(t, { access: [only(`${D}/128`)] });
  assert.equal(send(pair, pair.near, {}).far.length, 1, 'D may');
  assert.equal(send(pair, pair.far, { src: D, dst: A }).near.length, 1, 'and so may what answers');
  const other = '2001:db8:20::e';
  const refused = send(pair, pair.near, { dst: other });
  assert.deepEqual(refused.far, []);
  assert.deepEqual([refused.near[0]?.src, refused.near[0]?.type, refused.near[0]?.code], ['2001:db8:1::1', 1, 1]);
  const inward = send(pair, pair.far, { src: other, dst: A });
  assert.deepEqual([inward.near, inward.far[0]?.type, inward.far[0]?.code], [[], 1, 1]);
  assert.deepEqual(send(pair, pair.far, { src: D, dst: 'fd99::1' }).near, [], 'host: deny');
  assert.deepEqual(send(pair, pair.far, { src: D, dst: '2001:db8:1::1' }).near, [], 'the gateway is the host too');
  assert.deepEqual(drops(pair.near), { 'link-policy': 4 });
});

test('who is who: foreign sources, what is not routed, and what can be no address, each by its name', (t) => {
  const pair = pairFor(t);
  const cases: [Router, Six, string][] = [
    [pair.near, { src: '2001:db8:9::1' }, 'foreign-source'],
    [pair.near, { src: D, dst: A }, 'foreign-source'],
    [pair.far, { src: '2001:db8:20::d', dst: '2001:db8:20::e' }, 'no-route'],
    [pair.near, { dst: '2001:db8:9::1' }, 'no-route'],
    [pair.near, { dst: 'ff02::1' }, 'multicast'],
    [pair.near, { dst: 'fe80::1' }, 'bad-address'],
    [pair.near, { src: '::1' }, 'bad-address'],
    [pair.near, { src: '::ffff:10.0.0.1' }, 'bad-address'],
  ];
  for (const [router, packet, name] of cases) {
    const before = drops(router)[name] ?? 0;
    const { near, far } = send(pair, router, packet);
    assert.equal((drops(router)[name] ?? 0) - before, 1, `${JSON.stringify(packet)} is ${name}`);
    assert.ok([...near, ...far].every(({ type, next }) => next === ICMP6 && type === 1));
  }
  // A peer may have more allowed IPs than the plan's sites; and it cannot speak for our LAN.
  const before = drops(pair.near)['foreign-source'] ?? 0;
  pair.far.setPlan({ ...pair.far.plan, ipv6: planOf({ ...FAR6, lan: '2001:db8:7::/64', gateway: '2001:db8:7::1' }) });
  send(pair, pair.far, { src: '2001:db8:7::1', dst: A });
  pair.far.setPlan({
    ...pair.far.plan,
    ipv6: planOf({ ...FAR6, lan: '2001:db8:1:0:5::/80', gateway: '2001:db8:1:0:5::1' }),
  });
  send(pair, pair.far, { src: '2001:db8:1:0:5::7', dst: A });
  assert.equal((drops(pair.near)['foreign-source'] ?? 0) - before, 2);
});

test('cut packets and vnet headers that cannot be meant are dropped by name', (t) => {
  const pair = pairFor(t);
  const { bytes, vnet } = build6({});
  const wrong = (change: (v: DataView) => void): MemoryPacket => {
    const packet = build6({ next: TCP, payload: tcp({ size: 3000 }), gso: 1000 });
    change(new DataView(packet.vnet.buffer));
    return packet;
  };
  const cases: [MemoryPacket, string][] = [
    [{ bytes: bytes.subarray(0, 39), vnet }, 'truncated'],
    [{ bytes: bytes.subarray(0, 50), vnet }, 'truncated'],
    [wrong((v) => v.setUint16(6, 8, true)), 'bad-vnet-header'],
    [wrong((v) => v.setUint16(8, 2, true)), 'bad-vnet-header'],
    [wrong((v) => v.setUint16(4, 0, true)), 'bad-vnet-header'],
    [wrong((v) => v.setUint8(1, 1)), 'bad-vnet-header'],
    [wrong((v) => v.setUint8(0, 0)), 'bad-vnet-header'],
  ];
  for (const [packet, name] of cases) {
    const before = drops(pair.near)[name] ?? 0;
    pair.near.tun.push(packet.bytes, packet.vnet);
    settle(pair.near, pair.far);
    assert.equal((drops(pair.near)[name] ?? 0) - before, 1, name);
  }
  assert.deepEqual(pair.far.tun.take(), []);
});

test("a LAN that the kernel does not reach gets nothing, and a link's own datagram does not go round", (t) => {
  const pair = pairFor(t, {}, { out: 0 });
  const { near, far } = send(pair, pair.near, {});
  assert.deepEqual([far, near[0]?.src, near[0]?.type, near[0]?.code], [[], 'fd99::2', 1, 0]);
  const own = udp();
  const { links } = pair.near.plan;
  pair.near.setPlan({ ...pair.near.plan, links: links.map((link) => ({ ...link, listen: pair.near.port() })) });
  new DataView(own.buffer).setUint16(0, pair.near.port());
  assert.deepEqual(send(pair, pair.near, { src: 'fd99::1', payload: own }), { near: [], far: [] });
  assert.equal(drops(pair.near)['link-loop'], 1);
});

test('REQ-64 any bytes that call themselves IPv6: each gets a verdict, and nothing outside of the packet is written', (t) => {
  const pair = pairFor(t);
  const { engine } = pair.near.rig;
  const right = [
    build6({}),
    build6({ hop: 1 }),
    build6({ next: TCP, payload: tcp({ flags: 2, mss: 8960 }) }),
    build6({ next: TCP, payload: tcp({ size: 3000 }), gso: 1000 }),
    build6({ extensions: Uint8Array.of(44, 0, 1, 4, 0, 0, 0, 0, UDP, 0, 0, 1, 1, 2, 3, 4) }),
    build6({ src: D, dst: A }),
  ];
  const edit = fc.tuple(fc.nat(120), fc.integer({ min: 0, max: 255 }));
  const packets = fc.array(
    fc.record({
      which: fc.nat(right.length - 1),
      cut: fc.nat(4000),
      edits: fc.array(edit, { maxLength: 4 }),
      vnet: fc.array(fc.tuple(fc.nat(VNET_BYTES - 1), fc.nat(255)), { maxLength: 2 }),
    }),
    { minLength: 1, maxLength: 30 },
  );
  const batch = new Batch();
  const tracked = new Uint8Array(batch.data.length);
  let forwarded = 0;
  fc.assert(
    fc.property(packets, fc.integer({ min: 0, max: 1 }), (list, ingress) => {
      batch.clear();
      batch.ctl[Ctl.INGRESS] = ingress;
      for (const { which, cut, edits, vnet } of list) {
        const { bytes, vnet: head } = right[which]!;
        const slot = batch.append(Math.max(20, bytes.length - (cut % 7 === 0 ? cut % bytes.length : 0)));
        const off = batch.off[slot]!;
        batch.data.set(bytes.subarray(0, batch.len[slot]), off);
        batch.data.set(head, off - VNET_BYTES);
        for (const [at, value] of edits) if (at < batch.len[slot]!) batch.data[off + at] = value;
        for (const [at, value] of vnet) batch.data[off - VNET_BYTES + at] = value;
        batch.data[off] = 0x60 | (batch.data[off]! & 15);
        batch.verdict[slot] = Verdict.NOT_IPV4;
      }
      const { count } = batch;
      const used = batch.ctl[Ctl.USED]!;
      const sizes = batch.len.slice(0, count);
      tracked.set(batch.data.subarray(0, used));
      engine.ipv6!.walk(engine, batch);
      for (let i = 0; i < count; i++) {
        const off = batch.off[i]!;
        assert.notEqual(batch.verdict[i], Verdict.NOT_IPV4);
        assert.ok(batch.len[i]! <= sizes[i]! && batch.len[i]! >= 20);
        if (batch.verdict[i] === Verdict.FORWARD) forwarded++;
        // Hop limit, MSS and a checksum; all else of a packet is its sender's.
        let changed = 0;
        for (let at = 0; at < sizes[i]!; at++) if (batch.data[off + at] !== tracked[off + at]) changed++;
        assert.ok(changed <= (batch.verdict[i] === Verdict.FORWARD ? 5 : 0), `${changed} bytes of packet ${i}`);
        tracked.set(batch.data.subarray(off, off + sizes[i]!), off);
      }
      assert.ok(
        Buffer.compare(batch.data.subarray(0, used), tracked.subarray(0, used)) === 0,
        'nothing between packets',
      );
    }),
    { numRuns: 1000 },
  );
  assert.ok(forwarded > 100, `${forwarded} were forwarded`);
});
