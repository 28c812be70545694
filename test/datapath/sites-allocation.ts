/**
 * A program: 200,000 packets through a router's site link, half of them out and half of them in, a quarter of both IPv6, and prints how many bytes the heap grew by. The other end is a
 * link without a router, so its half is counted as well. With the argument "spoil" one empty array a packet is made beside.
 */
import { Batch } from '../../src/batch.js';
import { Counter } from '../../src/contract/counters.js';
import type { Ipv6Plan } from '../../src/contract/ipv6.js';
import { MAX_LINKS } from '../../src/contract/links.js';
import { VERDICTS } from '../../src/contract/verdict.js';
import { parseAddress6, parsePrefix6 } from '../../src/control/address-ipv6.js';
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
const SIX = { near: '2001:db8:1::a', far: '2001:db8:20::d', gateway: '2001:db8:1::1' } as const;
const ipv6: Ipv6Plan = {
  lans: [{ prefix: parsePrefix6('2001:db8:1::/64'), out: 2, gateway: parseAddress6(SIX.gateway) }],
  links: [{ address: null, access: [{ from: [], lan: true, host: true, links: 0 }] }],
  sites: [{ prefix: parsePrefix6('2001:db8:20::/64'), link: 0 }],
  hosts: [parseAddress6(SIX.gateway)],
  foreign: [],
};
const plan = {
  ...withLinks(makePlan(), [
    { address: NEAR, peers: [{ keys: theirs, allowed: ['192.168.20.0/24', '2001:db8:20::/64'] }] },
  ]),
  ipv6,
};
const { engine } = new Rig({ change: () => plan });
const payload = new Uint8Array(1000);
const isSix = (i: number) => i % 4 === 3;
const out = Array.from({ length: FLOWS }, (_, i) =>
  isSix(i) ? six(SIX.near, SIX.far) : build({ proto: 'udp', src: A, dst: D, sport: 5000 + i, dport: 53, payload }),
);
const back = Array.from({ length: FLOWS }, (_, i) =>
  isSix(i) ? six(SIX.far, SIX.near) : build({ proto: 'udp', src: D, dst: A, sport: 53, dport: 5000 + i, payload }),
);

/** UDP; nobody looks at its checksum. */
function six(src: string, dst: string): Uint8Array {
  const bytes = new Uint8Array(48 + payload.length);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, 0x60000000);
  view.setUint16(4, 8 + payload.length);
  bytes.set([17, 64], 6);
  [src, dst].flatMap(parseAddress6).forEach((word, i) => {
    view.setInt32(8 + 4 * i, word);
  });
  view.setUint16(44, 8 + payload.length);
  return bytes;
}

const links = new Links(new ReplayLink(out, { clock: () => NOW, batch: FLOWS }), {
  tell: () => {},
  mtus: new Int32Array(MAX_LINKS),
});
engine.sites = links;
links.setPlan(plan, NOW);
const step = cycler(engine, links, new Batch());
const far = new SiteLink('far', {
  lanes: new Lanes(),
  mtu: LINK_MTU,
  silent: () => {},
  narrow: () => {},
  flooded: () => {},
});
far.start(NOW);
const say = (own: Keys, other: Keys, allowed: readonly string[]) =>
  `set=1\nprivate_key=${hex(own.secret)}\npublic_key=${hex(other.public)}\n${allowed.map((ip) => `allowed_ip=${ip}\n`).join('')}`;
far.answer(say(theirs, ours, ['172.22.161.0/24', '2001:db8:1::/64']), NOW, () => {});
links.answer(
  'hq',
  `${say(ours, theirs, ['192.168.20.0/24', '2001:db8:20::/64'])}endpoint=127.0.0.1:${far.port.port}\n`,
  NOW,
);

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
VERDICTS.forEach(({ name, fate }, id) => {
  const n = engine.counters[Counter.VERDICT + id]!;
  if (fate === 'drop' && n > 0) throw new Error(`${n} packets were dropped: ${name}`);
});
console.log(least);
if (kept === 0) console.log(kept);
process.exit(0);
