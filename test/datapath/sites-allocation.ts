/**
 * A program: 200,000 packets through a router's site link, half of them out and half of them in, and prints how many bytes the heap grew by. The other end is a
 * link without a router, so its half is counted as well. With the argument "spoil" one empty array a packet is made beside.
 */
import { Batch } from '../../src/batch.js';
import { MAX_LINKS } from '../../src/contract/links.js';
import { cycler } from '../../src/datapath/cycle.js';
import { Links } from '../../src/datapath/links.js';
import { Lanes, ReplayLink, SiteLink } from '../../src/link/index.js';
import { build } from '../lib-packets.js';
import { A, makePlan, Rig } from './rig.js';
import { D, hex, type Keys, LINK_MTU, NEAR, newKeys, withLinks } from './sites-rig.js';

const PACKETS = 200_000;
const NOW = 1_000_000;
const FLOWS = 64;

const [ours, theirs] = [newKeys(), newKeys()];
const plan = withLinks(makePlan(), [{ address: NEAR, peers: [{ keys: theirs, allowed: ['192.168.20.0/24'] }] }]);
const { engine } = new Rig({ change: () => plan });
const payload = new Uint8Array(1000);
const out = Array.from({ length: FLOWS }, (_, i) =>
  build({ proto: 'udp', src: A, dst: D, sport: 5000 + i, dport: 53, payload }),
);
const back = Array.from({ length: FLOWS }, (_, i) =>
  build({ proto: 'udp', src: D, dst: A, sport: 53, dport: 5000 + i, payload }),
);

const links = new Links(new ReplayLink(out, { clock: () => NOW, batch: FLOWS }), {
  tell: () => {},
  mtus: new Int32Array(MAX_LINKS),
});
engine.sites = links;
links.setPlan(plan, NOW);
const step = cycler(engine, links, new Batch());
const far = new SiteLink('far', { lanes: new Lanes(), mtu: LINK_MTU, silent: () => {}, narrow: () => {} });
far.start(NOW);
const say = (own: Keys, other: Keys, allowed: string) =>
  `set=1\nprivate_key=${hex(own.secret)}\npublic_key=${hex(other.public)}\nallowed_ip=${allowed}\n`;
far.answer(say(theirs, ours, '172.22.161.0/24'), NOW, () => {});
links.answer('hq', `${say(ours, theirs, '192.168.20.0/24')}endpoint=127.0.0.1:${far.port.port}\n`, NOW);

const batch = new Batch();
for (const packet of back) {
  const slot = batch.append(packet.length);
  batch.data.set(packet, batch.off[slot]!);
  batch.list[slot] = slot;
}
const taken = new Batch();

/** One batch out, one batch in. Returns the packets that came through. */
function round(): number {
  step();
  let n = 0;
  if (far.open(far.port.four, NOW)) {
    for (;;) {
      taken.clear();
      const some = far.fill(taken, 1);
      if (some === 0) break;
      n += some;
    }
  }
  far.transmit(batch, FLOWS, NOW);
  n += links.turn(step, NOW);
  links.tick(NOW);
  return n;
}

const spoil = process.argv[2] === 'spoil';
let kept: unknown;
function run(count: number): void {
  for (let done = 0, idle = 0; done < count; ) {
    const n = round();
    done += n;
    idle = n === 0 ? idle + 1 : 0;
    if (idle > 100_000) throw new Error('nothing comes through the link');
    if (spoil) for (let i = 0; i < n; i++) kept = [i];
  }
}

run(10 * FLOWS);
globalThis.gc!();
for (let i = 0; i < 8; i++) run(PACKETS / 4);
let least = Number.POSITIVE_INFINITY;
for (let i = 0; i < 4; i++) {
  const before = process.memoryUsage().heapUsed;
  run(PACKETS);
  least = Math.min(least, process.memoryUsage().heapUsed - before);
}
console.log(least);
if (kept === 0) console.log(kept);
process.exit(0);
