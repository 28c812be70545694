/**
 * A peer that may send anything inside: whole packets of random fields, mutated ones, errors that quote flows of others, fragments. What the router hands to its
 * TUN because of it is judged by three sentences of this file, not by the engine's own tables.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Batch } from '../../src/batch.js';
import type { LinkAccess } from '../../src/contract/links.js';
import type { Prefix } from '../../src/contract/plan.js';
import { Lanes, SiteLink } from '../../src/link/index.js';
import { build, dissect, ip } from '../lib-packets.js';
import fc from '../property.js';
import { A, B, C, GATEWAY, makePlan, OTHER, P, prefix, SERVER } from './rig.js';
import { ALL, D, FAR, hex, LINK_MTU, NEAR, newKeys, Router, withLinks } from './sites-rig.js';

const NOW = 1_000_000;
/** On the uplink's wire: nearer than any peer. */
const WIRE = '203.0.113.77';
const inside = (text: string, list: readonly Prefix[]) => list.some((p) => (ip(text) & p.mask) === p.prefix);

/** A peer without a router behind it: it sends what it is told. */
class Peer {
  readonly keys = newKeys();
  readonly link = new SiteLink('peer', {
    lanes: new Lanes(),
    mtu: LINK_MTU,
    silent: () => {},
    narrow: () => {},
    flooded: () => {},
  });
  readonly #batch = new Batch();

  constructor(readonly router: Router) {
    this.link.start(NOW);
  }

  meet(allowed: readonly string[]): void {
    this.router.know({ keys: this.keys, allowed }, `127.0.0.1:${this.link.port.port}`);
    const lines = [`private_key=${hex(this.keys.secret)}`, `public_key=${hex(this.router.keys.public)}`];
    this.link.answer(`set=1\n${lines.join('\n')}\nallowed_ip=0.0.0.0/0\n`, NOW, (words) => assert.fail(words));
    for (let i = 0; i < 4; i++) this.round();
  }

  send(packets: readonly Uint8Array[]): void {
    const batch = this.#batch;
    batch.clear();
    for (const packet of packets) {
      const slot = batch.append(packet.length);
      batch.data.set(packet, batch.off[slot]!);
      batch.list[slot] = slot;
    }
    this.link.transmit(batch, packets.length, NOW);
    this.round();
  }

  round(): void {
    this.link.open(this.link.port.four, NOW);
    this.router.round();
  }
}

const addresses = fc.constantFrom(
  A,
  B,
  C,
  D,
  P,
  NEAR,
  FAR,
  GATEWAY,
  SERVER,
  WIRE,
  OTHER,
  '192.168.20.77',
  '127.0.0.1',
  '224.0.0.1',
  '255.255.255.255',
  '0.0.0.0',
  '10.99.0.9',
);
const ports = fc.constantFrom(0, 22, 53, 80, 443, 5000, 20_000, 20_001, 65_535);
const packets = fc
  .record({
    src: addresses,
    dst: addresses,
    proto: fc.constantFrom('udp' as const, 'tcp' as const, 'icmp' as const, 47),
    sport: ports,
    dport: ports,
    ttl: fc.constantFrom(0, 1, 2, 64),
    flags: fc.constantFrom(2, 16, 18, 4, 1),
    type: fc.constantFrom(8, 0, 3, 11, 5, 9),
    mf: fc.boolean(),
    offset: fc.constantFrom(0, 0, 0, 8, 1480),
    quote: fc.tuple(addresses, addresses, ports, ports),
    size: fc.nat(300),
  })
  .map(({ quote, size, ...fields }) => {
    const [src, dst, sport, dport] = quote;
    const payload = fields.proto === 'icmp' ? build({ proto: 'udp', src, dst, sport, dport }) : new Uint8Array(size);
    return build({
      ...fields,
      icmpId: fields.sport,
      payload: fields.mf ? payload.subarray(0, payload.length & ~7) : payload,
    });
  });
/** Some bytes changed afterwards, the header's checksum not mended. */
const mutated = fc
  .tuple(packets, fc.array(fc.tuple(fc.nat(40), fc.nat(255)), { maxLength: 3 }))
  .map(([packet, changes]) => {
    const copy = packet.slice();
    for (const [at, byte] of changes) if (at !== 0 && at !== 2 && at !== 3 && at < copy.length) copy[at] = byte;
    return copy;
  });

function router(access: readonly LinkAccess[], allowed: readonly string[]): Peer {
  const clock = { now: NOW };
  const forwards = [{ first: 443, to: B, protos: ['tcp' as const, 'udp' as const] }];
  const near = new Router(withLinks(makePlan({ forwards }), [{ address: NEAR, peers: [], access }]), clock);
  const peer = new Peer(near);
  const { plan } = near;
  const peers = [{ name: 'peer', publicKey: '', allowedIps: allowed.map(prefix), allowedIps6: [], maps: [] }];
  near.setPlan({ ...plan, links: plan.links.map((link) => ({ ...link, peers })) });
  peer.meet(allowed);
  // Live flows of others: A's to the internet, B's to the far site, a client's to the forward.
  for (const packet of [
    build({ proto: 'udp', src: A, dst: WIRE, sport: 20_000, dport: 53 }),
    build({ proto: 'udp', src: B, dst: D, sport: 5000, dport: 53 }),
    build({ proto: 'udp', src: WIRE, dst: P, sport: 5000, dport: 443 }),
  ])
    near.tun.push(packet);
  near.round();
  assert.equal(near.tun.take().length, 2);
  return peer;
}

const LANS = ['172.22.161.0/24', '10.7.0.0/24'].map(prefix);
const OWN = [NEAR, GATEWAY, P, '10.7.0.1', '127.0.0.1'];

for (const [what, access, allowed] of [
  ['to LANs only', { ...ALL, internet: false, host: false }, ['192.168.20.0/24', `${FAR}/32`]],
  ['to the host only', { ...ALL, internet: false, lan: false }, ['192.168.20.0/24', `${FAR}/32`]],
  ['to the internet only, and allowed any source', { ...ALL, lan: false, host: false }, ['0.0.0.0/0']],
  ['everywhere, and allowed any source', ALL, ['0.0.0.0/0']],
] as const) {
  test(`hostile: a peer that may go ${what}`, (t) => {
    const peer = router([access], allowed);
    t.after(() => {
      peer.router.close();
      peer.link.close();
    });
    const mine = allowed.map(prefix);
    fc.assert(
      fc.property(fc.array(mutated, { minLength: 1, maxLength: 40, size: 'max' }), (batch) => {
        peer.send(batch);
        for (const { bytes } of peer.router.tun.take()) {
          const { src, dst } = dissect(bytes);
          const words = `${src} → ${dst}`;
          // Nobody's source but the peer's own; and P, where it was translated.
          assert.ok(
            src === P || (inside(src, mine) && !inside(src, LANS) && !OWN.includes(src) && src !== WIRE),
            words,
          );
          if (OWN.includes(dst)) assert.ok(access.host, words);
          else if (inside(dst, LANS))
            assert.ok(access.lan || (access.internet && src === P) || inside(src, [prefix(`${D}/32`)]), words);
          else assert.ok(access.internet && src === P, words);
        }
      }),
      { numRuns: 300 },
    );
    const { pending = 0, ...verdicts } = peer.router.rig.verdicts();
    assert.equal(pending, 0);
    assert.ok(Object.keys(verdicts).length > 5, JSON.stringify(verdicts));
    // The flows of others are as they were.
    peer.router.tun.push(build({ proto: 'udp', src: WIRE, dst: P, sport: 53, dport: 20_000 }));
    peer.router.round();
    assert.deepEqual(
      peer.router.tun.take().map(({ bytes }) => dissect(bytes).dst),
      [A],
    );
  });
}
