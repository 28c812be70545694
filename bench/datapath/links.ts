/**
 * What site links cost the TUN's way, and what the way into a link costs. A router with a link, the far one as its other end in the same process (a
 * socket each on 127.0.0.1). One JSON line a figure, in packets (or bytes) a second of processor time:
 *
 *   the cycle at 1,000 flows where the TUN is the only source; the same between batches that came by the link, which go through the same compiled piece; the
 *   same with the poll of the links' sockets that the worker makes once a batch
 *   a gigabyte LAN to LAN: segments of 60 KB into one engine, sealed, through the socket, opened, joined, out of the other engine
 */
import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { Batch } from '../../src/batch.js';
import { MAX_LINKS } from '../../src/contract/links.js';
import { cycler } from '../../src/datapath/cycle.js';
import { prepareCompiler } from '../../src/datapath/jit.js';
import { Links } from '../../src/datapath/links.js';
import { Lanes, SiteLink } from '../../src/link/index.js';
import { A } from '../../test/datapath/rig.js';
import {
  D,
  FAR,
  hex,
  type Keys,
  LINK_MTU,
  makePair,
  NEAR,
  newKeys,
  settle,
  withLinks,
} from '../../test/datapath/sites-rig.js';
import { build } from '../../test/lib-packets.js';
import { engineFor, linkFor } from './ground.js';

const ROUNDS = 9;
const PACKETS = 2_000_000;
const FLOWS = 1000;
/** Batches of the TUN's between two turns of the link. */
const BETWEEN = 20;
const NOW = 1_000_000;

function print(figure: string, unit: string, values: number[]): void {
  const sorted = [...values].sort((a, b) => a - b);
  const median = sorted[sorted.length >> 1]!;
  console.log(JSON.stringify({ figure, unit, median, min: sorted[0], max: sorted.at(-1), rounds: values.length }));
}

function cpuSeconds(): number {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1e6;
}

/** `between`: what is done after each batch of the TUN's; its own time is not counted. */
function rates(figure: string, step: () => number, between: () => number): void {
  const values: number[] = [];
  for (let round = 0; round <= ROUNDS; round++) {
    let n = 0;
    let aside = 0;
    const from = cpuSeconds();
    for (let batches = 0; n < PACKETS; batches++) {
      n += step();
      if (batches % BETWEEN === 0) aside += between();
    }
    if (round > 0) values.push(n / (cpuSeconds() - from - aside));
  }
  print(figure, 'packets/s', values);
}

function besideLink(): void {
  const keys = newKeys();
  const engine = engineFor(FLOWS);
  const peer = { keys: newKeys(), allowed: [`${FAR}/32`, '192.168.20.0/24'] };
  engine.setPlan(withLinks(engine.plan, [{ address: NEAR, peers: [peer] }]));
  const links = new Links(linkFor(FLOWS), { tell: () => {}, mtus: new Int32Array(MAX_LINKS) });
  engine.sites = links;
  const step = cycler(engine, links, new Batch());
  for (let n = 0; n < FLOWS; ) n += step();
  rates(`cycle, ${FLOWS} flows, no packet of a link yet`, step, () => 0);

  links.setPlan(engine.plan, NOW);
  // The other end is no router: a second cycle in this process would make the compiler give up its constants.
  const far = new SiteLink('far', {
    lanes: new Lanes(),
    mtu: LINK_MTU,
    silent: () => {},
    narrow: () => {},
    flooded: () => {},
  });
  far.start(NOW);
  const say = (own: Keys, other: Keys, allowed: string) =>
    `set=1\nprivate_key=${hex(own.secret)}\npublic_key=${hex(other.public)}\nallowed_ip=${allowed}\n`;
  far.answer(say(peer.keys, keys, '172.22.161.0/24'), NOW, () => {});
  links.answer('hq', `${say(keys, peer.keys, '192.168.20.0/24')}endpoint=127.0.0.1:${far.port.port}\n`, NOW);
  for (let i = 0; i < 4; i++) {
    far.open(far.port.four, NOW);
    links.turn(step, NOW);
    links.tick(NOW);
  }
  const packet = build({
    proto: 'udp',
    src: D,
    dst: A,
    sport: 5000,
    dport: 53,
    payload: new Uint8Array(100),
    df: true,
  });
  const batch = new Batch();
  for (let i = 0; i < 8; i++) {
    batch.data.set(packet, batch.off[batch.append(packet.length)]!);
    batch.list[i] = i;
  }
  let came = 0;
  const turn = (): number => {
    const from = cpuSeconds();
    far.transmit(batch, 8, NOW);
    came += links.turn(step, NOW);
    links.tick(NOW);
    return cpuSeconds() - from;
  };
  for (let i = 0; i < 50; i++) turn();
  rates(`cycle, ${FLOWS} flows, between batches of a link`, step, turn);
  if (came === 0) throw new Error('nothing came by the link');
  const polled = () => {
    links.turn(step, NOW);
    return step();
  };
  rates(`cycle, ${FLOWS} flows, a poll of the links' sockets each batch`, polled, () => 0);
}

function through(): void {
  const pair = makePair();
  const payload = new Uint8Array(60_000).fill(7);
  const tcp = { proto: 'tcp', src: A, dst: D, sport: 6000, dport: 80 } as const;
  pair.near.tun.push(build({ ...tcp, flags: 2 }));
  settle(pair.near, pair.far);
  pair.far.tun.push(build({ proto: 'tcp', src: D, dst: A, sport: 80, dport: 6000, flags: 18, ack: 1 }));
  settle(pair.near, pair.far);
  const bytes = build({ ...tcp, flags: 16, seq: 1, ack: 1, window: 60_000, payload, df: true });
  const vnet = new Uint8Array(10);
  vnet.set([1, 1, 40, 0, 1400 & 255, 1400 >> 8, 20, 0, 16, 0]);
  const values: number[] = [];
  for (let round = 0; round <= 3; round++) {
    const from = cpuSeconds();
    let got = 0;
    while (got < 1e9) {
      for (let i = 0; i < 8; i++) pair.near.tun.push(bytes, vnet);
      pair.near.round();
      pair.far.round();
      for (const packet of pair.far.tun.take()) got += packet.bytes.length;
    }
    if (round > 0) values.push((got * 8) / 1e9 / (cpuSeconds() - from));
  }
  print('LAN to LAN, both routers in one process, 60 KB segments', 'Gb/s of processor time', values);
}

const [which] = process.argv.slice(2);
if (which === undefined) {
  for (const each of ['beside', 'through']) {
    const { status } = spawnSync(process.execPath, [fileURLToPath(import.meta.url), each], { stdio: 'inherit' });
    if (status !== 0) process.exit(1);
  }
} else {
  prepareCompiler();
  if (which === 'beside') besideLink();
  else through();
  process.exit(0);
}
