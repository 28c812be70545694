/**
 * Several peers at one socket, and a processor that cannot take all of it: who gets what. A router's link (sites-rig.ts) and two peers, each a link without a
 * router, over loopback sockets. The processor's limit is the test's: in each round both send, and the router gets one turn.
 */
import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { Batch } from '../../src/batch.js';
import { Lanes, SiteLink } from '../../src/link/index.js';
import { build } from '../lib-packets.js';
import { A, makePlan } from './rig.js';
import { hex, type Keys, LINK_MTU, NEAR, newKeys, Router, settle, withLinks } from './sites-rig.js';

const SIZE = 1000;
const PER_BATCH = 64;

/** A peer that sends UDP to the LAN host A, `rate` batches a round. */
class Sender {
  readonly keys: Keys = newKeys();
  readonly link = new SiteLink('far', {
    lanes: new Lanes(),
    mtu: LINK_MTU,
    silent: () => {},
    narrow: () => {},
    flooded: () => {},
  });
  readonly #batch = new Batch();
  sent = 0;

  constructor(
    readonly address: string,
    readonly clock: { now: number },
  ) {
    this.link.start(clock.now);
    const packet = build({ proto: 'udp', src: address, dst: A, sport: 5000, dport: 53, payload: new Uint8Array(SIZE) });
    for (let i = 0; i < PER_BATCH; i++) {
      const slot = this.#batch.append(packet.length);
      this.#batch.data.set(packet, this.#batch.off[slot]!);
      this.#batch.list[slot] = slot;
    }
  }

  meet(router: Router): void {
    this.link.answer(
      `set=1\nprivate_key=${hex(this.keys.secret)}\npublic_key=${hex(router.keys.public)}\nallowed_ip=0.0.0.0/0\nendpoint=127.0.0.1:${router.port()}\n`,
      this.clock.now,
      assert.fail,
    );
  }

  send(packets: number): void {
    this.link.transmit(this.#batch, packets, this.clock.now);
    this.sent += packets;
  }

  /** Handshakes and keepalives. */
  listen(): void {
    this.link.open(this.link.port.four, this.clock.now);
    this.link.tick(this.clock.now);
  }
}

interface Shares {
  readonly received: readonly number[];
  readonly sent: readonly number[];
  readonly dropped: number;
}

/** Each round: every peer sends its packets (64 at most at a time), then the router has one turn. Counts after a quarter of the rounds. */
function run(t: TestContext, rates: readonly number[], rounds = 200): Shares {
  const clock = { now: 1_000_000 };
  const senders = rates.map((_, i) => new Sender(`10.99.0.${10 + i}`, clock));
  const peers = senders.map(({ keys, address }) => ({ keys, allowed: [`${address}/32`] }));
  const router = new Router(withLinks(makePlan(), [{ address: NEAR, peers }]), clock);
  t.after(() => {
    router.close();
    for (const { link } of senders) link.close();
  });
  for (const peer of peers) router.know(peer);
  for (const sender of senders) {
    sender.meet(router);
    for (let i = 0; i < 3; i++) {
      sender.send(1);
      settle(router);
      sender.listen();
    }
  }
  const received = rates.map(() => 0);
  const sent = rates.map(() => 0);
  for (let round = 0; round < rounds; round++) {
    clock.now += 1;
    const before = senders.map((sender) => sender.sent);
    const left = [...rates];
    while (left.some((packets) => packets > 0))
      senders.forEach((sender, i) => {
        const n = Math.min(left[i]!, PER_BATCH);
        if (n > 0) sender.send(n);
        left[i]! -= n;
      });
    router.turn();
    for (const { bytes } of router.tun.take()) {
      const from = bytes[15]! - 10;
      if (round >= rounds / 4 && bytes[9] === 17) received[from]!++;
    }
    if (round < rounds / 4) continue;
    senders.forEach((sender, i) => {
      sent[i]! += sender.sent - before[i]!;
    });
  }
  const dropped = router.links.status()[0]!.outcomes['over-share'] ?? 0;
  return { received, sent, dropped };
}

/** Part of what it sent that arrived. */
const part = ({ received, sent }: Shares, peer: number): number => received[peer]! / sent[peer]!;

test('one peer floods: another that wants less than its share gets all of it', (t) => {
  const shares = run(t, [64, 4096]);
  assert.ok(part(shares, 0) > 0.95, JSON.stringify(shares));
  assert.ok(part(shares, 1) < 0.2, 'the flood is more than the router can take');
  assert.ok(shares.dropped > 0, 'and what was not taken of it has a name');
});

test('two flood, one three times as much: each gets half', (t) => {
  const shares = run(t, [2048, 6144]);
  const [a, b] = shares.received as [number, number];
  assert.ok(a > 0.8 * b && b > 0.8 * a, JSON.stringify(shares));
});

test('nobody floods: nothing is dropped; one alone floods: it has the whole of the router', (t) => {
  const calm = run(t, [64, 64], 100);
  assert.deepEqual([part(calm, 0), part(calm, 1), calm.dropped], [1, 1, 0]);
  const alone = run(t, [4096], 100);
  assert.deepEqual([alone.dropped, alone.received[0]! > 10_000], [0, true], JSON.stringify(alone));
});
