/** Site links in the engine: two routers over loopback sockets (sites-rig.ts), judged by the bytes that each hands to its TUN. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { build, dissect } from '../lib-packets.js';
import { A } from './rig.js';
import { D, makePair, settle } from './sites-rig.js';

test('LAN to LAN through two routers, untranslated, TTL one less', (t) => {
  const { near, far } = makePair();
  t.after(() => [near, far].forEach((router) => router.close()));
  near.tun.push(build({ proto: 'icmp', src: A, dst: D, icmpId: 77, payload: new Uint8Array(56) }));
  settle(near, far);
  const out = far.tun.take();
  console.log(near.rig.verdicts(), far.rig.verdicts(), near.links.status(), far.links.status(), near.told, far.told);
  assert.equal(out.length, 1);
  const packet = dissect(out[0]!.bytes);
  assert.equal(packet.src, A);
  assert.equal(packet.dst, D);
  assert.equal(packet.ttl, 63);
});
