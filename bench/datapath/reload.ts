/**
 * A reload beside traffic (REQ-69): for how long a worker is busy with a new plan instead of packets.
 *
 * 10,000 flows and 1,000 forwards, with one public address and with sixteen. What stands between two batches is measured piece by
 * piece, as a worker does it: taking the plan from the mailbox (structured clone; owners arrays are shared memory), Engine.setPlan,
 * of that the time under the table's lock, which other workers' new flows wait for, and the longest slice of the re-decision.
 * Microseconds, median and longest of 100 reloads; one JSON line each. The aim is 5,000 for the sum of the longest.
 */
import { MessageChannel, receiveMessageOnPort } from 'node:worker_threads';
import type { Plan, PublicAddress } from '../../src/contract/plan.js';
import { Redecision } from '../../src/datapath/reload.js';
import { A, B, makePlan, Rig, type RigOptions, SERVER, withOwners } from '../../test/datapath/rig.js';
import { build } from '../../test/lib-packets.js';

const FORWARDS = 1000;
const FLOWS = 10_000;
const RELOADS = 100;
const WARM_UP = 20;

const micros = () => Number(process.hrtime.bigint()) / 1000;

function shared(owner: Uint16Array): Uint16Array {
  const copy = new Uint16Array(new SharedArrayBuffer(owner.byteLength));
  copy.set(owner);
  return copy;
}

function options(addresses: number): RigOptions {
  const address = (first: PublicAddress, n: number) => {
    const [tcp, udp, icmp] = first.owners;
    return withOwners({ ...first, address: first.address + n }, [shared(tcp), shared(udp), shared(icmp)]);
  };
  return {
    flows: 262_144,
    forwards: Array.from({ length: FORWARDS }, (_, n) => ({
      ...{ first: 10_000 + n, to: n % 2 ? A : B, toPort: 2000 + n, protos: ['tcp' as const, 'udp' as const] },
    })),
    change: (plan: Plan) => ({
      ...plan,
      addresses: Array.from({ length: addresses }, (_, n) => address(plan.addresses[0]!, n)),
    }),
  };
}

function measure(addresses: number): void {
  const o = options(addresses);
  const rig = new Rig(o);
  const { engine } = rig;
  for (let n = 0; n < FLOWS; n++) {
    const [src, dst, dport] = n % 2 ? [A, SERVER, 9] : [SERVER, '203.0.113.10', 10_000 + (n % FORWARDS)];
    rig.pass(build({ proto: 'udp', src: src!, sport: 1024 + n, dst: dst!, dport: dport as number }));
  }
  const { port1, port2 } = new MessageChannel();
  const { lock } = engine.table;
  const [acquire, release] = [lock.acquire.bind(lock), lock.release.bind(lock)];
  let since = 0;
  let locked = 0;
  lock.acquire = () => {
    acquire();
    since = micros();
  };
  lock.release = () => {
    locked = Math.max(locked, micros() - since);
    release();
  };
  const samples: Record<string, number[]> = { message: [], set_plan: [], lock: [], slice: [] };
  for (let reload = -WARM_UP; reload < RELOADS; reload++) {
    port1.postMessage(makePlan(o, 100 + reload));
    const sent = micros();
    const plan = receiveMessageOnPort(port2)!.message as Plan;
    const taken = micros();
    locked = 0;
    engine.setPlan(plan);
    const set = micros();
    const lockedFor = locked;
    const redecision = new Redecision(plan.generation);
    let slice = 0;
    for (let done = false; !done; ) {
      const from = micros();
      done = redecision.step(engine, Math.floor(rig.now / 1000));
      slice = Math.max(slice, micros() - from);
    }
    if (reload < 0) continue;
    samples.message!.push(taken - sent);
    samples.set_plan!.push(set - taken);
    samples.lock!.push(lockedFor);
    samples.slice!.push(slice);
  }
  port1.close();
  for (const [step, list] of Object.entries(samples)) {
    list.sort((a, b) => a - b);
    const [median, longest] = [list[list.length >> 1]!, list[list.length - 1]!].map(Math.round);
    console.log(
      JSON.stringify({ bench: 'reload', addresses, forwards: FORWARDS, flows: FLOWS, step, median, longest }),
    );
  }
}

for (const addresses of [1, 16]) measure(addresses);
