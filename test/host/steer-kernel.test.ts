/**
 * The real kernel as judge of programs, interpreter and installation.
 *
 *   frames ─► in-up0w ─► up0w ═ veth ═ up0 ─ ingress: our filters ─┬─► tun0   (redirected)
 *                                                                  ├─► pass0  (a stranger's last filter: passed)
 *                                                                  └─► neither: dropped
 *   the same for lan0, lan1; up1 is a TUN (no MAC header); frames for egress are sent by lo and up0 themselves.
 */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import type { Steering } from '../../src/contract/steering.js';
import { Journal } from '../../src/host/journal.js';
import { Netlink } from '../../src/host/netlink.js';
import { applySteering, removeSteering } from '../../src/host/steer.js';
import type { Hook } from '../../src/host/steer-programs.js';
import { inNamespace } from '../in-namespace.js';
import fc from '../property.js';
import type { Frame } from './bpf-interpreter.js';
import { framesFor, steerings } from './steer-packets.js';
import { type Fate, fateOf, ShortPacket } from './steer-predicate.js';
import { catchPassed, frame, injector, MAC, quietNamespace, sh, Tap } from './wire.js';

/** Sent behind the others, through the same queue: when it has come, they have. */
const LAST = 0xffff;

/** The IP identification is looked at by nobody, so it numbers the packets. */
function numbered(bytes: Uint8Array, mac: number, number: number): Buffer {
  const copy = Buffer.from(bytes);
  copy.writeUInt16BE(number, mac + 4);
  return copy;
}

function numbersOf(packets: readonly Buffer[], skip: number): Set<number> {
  return new Set(packets.map((packet) => packet.readUInt16BE(skip + 4)));
}

inNamespace('steering on the real kernel', import.meta.url, ['--net'], () => {
  quietNamespace();
  const folder = mkdtempSync(join(tmpdir(), 'tungate-steer-'));
  const nl = new Netlink();
  const journal = new Journal(join(folder, 'undo'));
  const tun = new Tap('tun0');
  const passed = new Tap('pass0');
  for (const [name, index] of [
    ['up0', 10],
    ['lan0', 20],
    ['lan1', 21],
  ] as const) {
    sh(`ip link add ${name} index ${index} mtu 9000 type veth peer name ${name}w mtu 9000
        ip link set ${name} address ${MAC.host} up; ip link set ${name}w up`);
    catchPassed(name, 'ingress', 'pass0');
  }
  const up1 = new Tap('up1');
  catchPassed('up1', 'ingress', 'pass0');
  catchPassed('up0', 'egress', 'pass0');
  catchPassed('lo', 'egress', 'pass0');
  const wires = { up0: injector('up0w'), lan0: injector('lan0w'), lan1: injector('lan1w') };
  const lo = injector('lo');
  const up0Out = injector('up0');
  after(() => rmSync(folder, { recursive: true }));

  const met: Record<Fate, number> = { pass: 0, drop: 0, redirect: 0 };

  /** Sends the frames towards a hook; says what the kernel did with each. `last` sends a packet of number LAST that passes. */
  function judge(send: (number: number) => void, count: number, mac: number, last?: () => void): Fate[] {
    for (let i = 0; i < count; i++) send(i);
    last?.();
    const isLast = (packet: Buffer): boolean => packet.readUInt16BE(mac + 4) === LAST;
    const letPast = numbersOf(last ? passed.collect(isLast) : passed.read(10), mac);
    const redirected = numbersOf(tun.read(10), mac);
    assert.equal(letPast.has(LAST), last !== undefined);
    return Array.from({ length: count }, (_, i) => (redirected.has(i) ? 'redirect' : letPast.has(i) ? 'pass' : 'drop'));
  }

  function check(
    steering: Steering,
    index: number,
    hook: Hook,
    frames: readonly Frame[],
    fates: readonly Fate[],
  ): number {
    let compared = 0;
    frames.forEach((one, i) => {
      try {
        const expected = fateOf(steering, index, hook, one);
        assert.equal(fates[i], expected, `interface ${index} ${hook} packet ${i}`);
        met[expected]++;
        compared++;
      } catch (error) {
        if (!(error instanceof ShortPacket)) throw error;
      }
    });
    return compared;
  }

  test('the kernel does with random packets what the plain predicate says', () => {
    let compared = 0;
    fc.assert(
      fc.property(
        steerings.chain((steering) =>
          fc.tuple(
            fc.constant(steering),
            fc.array(framesFor(steering), { minLength: 120, maxLength: 120, size: 'max' }),
          ),
        ),
        ([drawn, all]) => {
          const steering: Steering = {
            ...drawn,
            tun: tun.index,
            uplinks: [
              { interface: 'up0', index: 10 },
              { interface: 'up1', index: up1.index },
            ],
          };
          applySteering(nl, steering, journal);
          const whole = all.filter(({ bytes, mac, protocol }) => bytes.length >= mac + 20 && protocol === 0x0800);
          const onWire = whole.filter(({ hatype }) => hatype === 1);

          for (const [name, index] of [
            ['up0', 10],
            ['lan0', 20],
            ['lan1', 21],
          ] as const) {
            const frames = onWire.map((one): Frame => ({ ...one, type: one.type === 0 ? 0 : 3 }));
            const empty = new Uint8Array(20).fill(0x45, 0, 1);
            const fates = judge(
              (i) => {
                const { bytes, mac, type, vlan } = frames[i]!;
                const packet = numbered(bytes, mac, i).subarray(mac);
                // A tag goes back into the packet when the TUN is read, but behind the number.
                wires[name].write([frame(type === 0 ? MAC.host : MAC.other, packet, vlan === undefined ? [] : [vlan])]);
              },
              frames.length,
              0,
              () => wires[name].write([frame(MAC.other, numbered(empty, 0, LAST))]),
            );
            compared += check(steering, index, 'ingress', frames, fates);
          }

          const bare = whole.filter(({ mac }) => mac === 0).map((one): Frame => ({ ...one, type: 0, vlan: undefined }));
          const versionFour = bare.map((one) => numbered(one.bytes, 0, 0));
          const bareFates = judge((i) => up1.write([numbered(versionFour[i]!, 0, i)]), bare.length, 0);
          compared += check(steering, up1.index, 'ingress', bare, bareFates);

          for (const [out, index] of [
            [lo, 1],
            [up0Out, 10],
          ] as const) {
            const frames = whole
              .filter(({ mac }) => mac === 14)
              .map((one): Frame => ({ ...one, queue: 1, vlan: undefined, hatype: index === 1 ? 772 : 1 }));
            const fates = judge(
              (i) => out.write([frame(MAC.other, numbered(frames[i]!.bytes, 14, i).subarray(14))]),
              frames.length,
              14,
            );
            compared += check(steering, index, 'egress', frames, fates);
          }
        },
      ),
      { numRuns: 14, endOnFailure: true },
    );
    assert.ok(compared > 2000, `${compared} packets compared`);
    for (const [fate, count] of Object.entries(met)) assert.ok(count > 100, `${fate}: ${count}`);
    removeSteering(nl, journal);
  });
});
