/** Whose address an ICMP error shows (REQ-28, REQ-41), and where errors and answers do not go. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Plan } from '../../src/contract/plan.js';
import { build, dissect } from '../lib-packets.js';
import { A, C, makePlan, P, prefix, Rig, type RigOptions, SERVER } from './rig.js';

const ROUTER_BEHIND_LAN = '10.99.0.1';
const NO_NAT = '192.168.50.5';

const udp = (src: string, sport: number, dst: string, dport: number) =>
  build({ proto: 'udp', src, sport, dst, dport, payload: new Uint8Array(8) });
const unreachable = (src: string, about: Uint8Array) =>
  build({ proto: 'icmp', src, dst: dissect(about).src, type: 3, code: 1, payload: about });

test('REQ-41 an error of a router behind a LAN goes outside under the public address', () => {
  const rig = new Rig();
  rig.pass(udp(A, 20_000, SERVER, 53));
  const [inward] = rig.pass(udp(SERVER, 53, P, 20_000));
  const [out] = rig.pass(unreachable(ROUTER_BEHIND_LAN, inward!));
  const error = dissect(out!);
  assert.deepEqual([error.src, error.dst, dissect(error.payload).dst], [P, SERVER, P]);
});

test('REQ-41 where nothing is translated an error of a foreign sender is dropped, one of a LAN host passes', () => {
  const rig = new Rig({ nat: [{ to: [prefix('192.168.50.0/24')], translate: false }, {}] });
  rig.pass(udp(A, 20_000, NO_NAT, 53));
  const [inward] = rig.pass(udp(NO_NAT, 53, A, 20_000));
  assert.deepEqual(rig.pass(unreachable(ROUTER_BEHIND_LAN, inward!)), []);
  assert.equal(rig.verdicts()['foreign-source'], 1);
  assert.equal(rig.pass(unreachable(A, inward!)).length, 1);
});

/** The plan when the kernel does not reach the second LAN: as compile makes it. */
function withoutLan2(options: RigOptions): Plan {
  const plan = makePlan(options, 2);
  return {
    ...plan,
    interfaces: plan.interfaces.map((out) => (out.lan === 1 ? { ...out, mtu: 0 } : out)),
    lans: plan.lans.map((lan, i) => (i === 1 ? { ...lan, out: 0 } : lan)),
  };
}

test('REQ-41 nothing is written for a LAN that is away: no error, no hairpin, no answer through a mapping', () => {
  const options: RigOptions = { forwards: [{ first: 2222, to: A, toPort: 22, protos: ['udp'] }] };
  const rig = new Rig(options);
  const [outward] = rig.pass(udp(C, 20_000, SERVER, 53));
  rig.pass(udp(A, 30_000, SERVER, 53));
  rig.engine.setPlan(withoutLan2(options));
  assert.deepEqual(rig.pass(unreachable(SERVER, outward!)), [], 'an error to it');
  assert.deepEqual(
    rig
      .pass(udp(SERVER, 53, P, 20_000))
      .map((p) => dissect(p).dst)
      .filter((dst) => dst === C),
    [],
  );
  for (const packet of rig.pass(udp(C, 20_001, P, 2222), udp(A, 30_000, P, 20_000))) {
    const { src, dst, proto } = dissect(packet);
    assert.ok(proto === 1 && src !== P, `only the refusal comes back, not ${src} to ${dst}`);
  }
});
