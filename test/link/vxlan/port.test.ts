/** One UDP port for two networks: each datagram goes to the endpoint whose number it bears, and is counted there alone. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Columns, Outcome, Vtep, VXLAN_BYTES } from '../../../src/link/vxlan/index.js';
import { Port, type Receiver } from '../../../src/link/vxlan/port.js';
import { ENDPOINT_WORDS, parseEndpoint } from '../../../src/link/wireguard/endpoint.js';

const FROM = parseEndpoint('192.0.2.1:50000')!;

test('REQ-48 two networks at one port: each gets its own, and what belongs to neither is counted once', () => {
  const c = new Columns(8, new Uint8Array(4096));
  const passed = new Map<number, number[]>();
  const made = (vni: number): Receiver & { readonly vtep: Vtep } => {
    const vtep = new Vtep({ name: `${vni}`, vni, mtu: 1450 });
    vtep.remotes.add(FROM);
    const take = (n: number, now: number, owner: number) => {
      vtep.fromTunnel(c, n, now, owner);
      passed.set(
        vni,
        [...c.outcome.subarray(0, n).entries()].filter(([, each]) => each === Outcome.PASS).map(([i]) => i),
      );
    };
    return { order: { vni }, inId: 0, take, vtep };
  };
  const [one, two] = [made(42), made(43)];
  const port = new Port('', -1, c);
  port.receivers.push(one, two);
  [43, 42, 44, 43, -1].forEach((vni, i) => {
    const at = 64 + i * 256;
    c.off[i] = at;
    c.len[i] = vni < 0 ? 4 : VXLAN_BYTES + 60;
    c.tos[i] = 0;
    c.view.setUint8(at, 8);
    c.view.setUint32(at + 4, vni << 8);
    c.data.set([2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2 + i, 8, 0x99], at + VXLAN_BYTES);
    c.endpoint.set(FROM, i * ENDPOINT_WORDS);
  });
  port.deal(5, 1000);
  assert.deepEqual([passed.get(42), passed.get(43)], [[1], [0, 3]]);
  assert.deepEqual([one.vtep.counts[Outcome.PASS], two.vtep.counts[Outcome.PASS]], [1, 2]);
  assert.deepEqual([one.vtep.counts[Outcome.WRONG_VNI], two.vtep.counts[Outcome.WRONG_VNI]], [1, 0]);
  assert.deepEqual([one.vtep.counts[Outcome.MALFORMED], two.vtep.counts[Outcome.MALFORMED]], [1, 0]);
});
