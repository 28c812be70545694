/** What a changed configuration keeps of what an endpoint knew. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { LOCAL, UNKNOWN, Vtep } from '../../../src/link/vxlan/index.js';
import { recall, remember } from '../../../src/link/vxlan/memory.js';
import { LOCAL_SIDE, parseIp, REMOTE_SIDE } from '../../../src/link/vxlan/neighbours.js';
import { RemoteStat, STAT_WORDS } from '../../../src/link/vxlan/remotes.js';
import { parseEndpoint } from '../../../src/link/wireguard/endpoint.js';

const AT = 1_000_000;

function made(vni: number, ...remotes: string[]): Vtep {
  const vtep = new Vtep({ name: 'a', vni, mtu: 1450 });
  for (const address of remotes) vtep.remotes.add(parseEndpoint(`${address}:4789`)!);
  return vtep;
}

const place = (vtep: Vtep, address: string) => vtep.remotes.find(parseEndpoint(`${address}:4789`)!, 0);

function old(): Vtep {
  const vtep = made(42, '192.0.2.1', '192.0.2.2');
  vtep.fdb.learn(0x0200, 1, LOCAL, AT);
  vtep.fdb.learn(0x0200, 2, place(vtep, '192.0.2.1'), AT - 1000);
  vtep.fdb.learn(0x0200, 3, place(vtep, '192.0.2.2'), AT - 1000);
  vtep.fdb.setStatic(0x0200, 4, place(vtep, '192.0.2.2'));
  vtep.neighbours.learn(parseIp('10.0.0.1')!, 0x0200, 1, LOCAL_SIDE, false, true, AT);
  vtep.neighbours.learn(parseIp('10.0.0.2')!, 0x0200, 2, REMOTE_SIDE, false, true, AT);
  vtep.neighbours.learn(parseIp('10.0.0.3')!, 0x0200, 3, REMOTE_SIDE, false, true, AT);
  vtep.remotes.stats[place(vtep, '192.0.2.2') * STAT_WORDS + RemoteStat.RX_FRAMES] = 7;
  vtep.counts[1] = 9;
  return vtep;
}

test('other remotes: addresses stay where their remote stays, with their age; those of a remote that went are forgotten', () => {
  const now = made(42, '192.0.2.9', '192.0.2.2');
  recall(now, remember(old(), AT), AT);
  assert.equal(now.fdb.find(0x0200, 1, AT), LOCAL);
  assert.equal(now.fdb.find(0x0200, 2, AT), UNKNOWN);
  assert.equal(now.fdb.find(0x0200, 3, AT), place(now, '192.0.2.2'));
  assert.equal(now.fdb.find(0x0200, 4, AT), UNKNOWN, 'static entries are the configuration’s');
  assert.equal(now.fdb.find(0x0200, 3, AT - 1000 + now.fdb.age), UNKNOWN, 'it ages on');
  const knows = (ip: string) => now.neighbours.find(parseIp(ip)!, AT) >= 0;
  assert.deepEqual([knows('10.0.0.1'), knows('10.0.0.2'), knows('10.0.0.3')], [true, false, true]);
  assert.equal(now.remotes.stats[place(now, '192.0.2.2') * STAT_WORDS + RemoteStat.RX_FRAMES], 7);
  assert.equal(now.counts[1], 9);
});

test('what was made static meanwhile wins; learning that was switched off takes nothing over; another network neither', () => {
  const fixed = made(42, '192.0.2.1', '192.0.2.2');
  fixed.fdb.setStatic(0x0200, 3, place(fixed, '192.0.2.1'));
  recall(fixed, remember(old(), AT), AT);
  assert.equal(fixed.fdb.find(0x0200, 3, AT), place(fixed, '192.0.2.1'));
  const deaf = new Vtep({ name: 'a', vni: 42, mtu: 1450, learning: false });
  recall(deaf, remember(old(), AT), AT);
  assert.equal(deaf.fdb.size, 0);
  const other = made(43, '192.0.2.1', '192.0.2.2');
  recall(other, remember(old(), AT), AT);
  assert.deepEqual([other.fdb.size, other.neighbours.size, other.counts[1]], [0, 0, 0]);
});
