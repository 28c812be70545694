/**
 * Figures of the VXLAN endpoint, in memory: one JSON line each. Times are processor time, so that a busy machine spoils them less.
 *
 *     node dist/bench/link/vxlan.js
 */
import { Columns, Vtep, type VtepOptions, VXLAN_BYTES } from '../../src/link/vxlan/index.js';
import { ENDPOINT_WORDS, parseEndpoint } from '../../src/link/wireguard/endpoint.js';
import { writeIpv4 } from '../../src/wire/ipv4.js';

const ROUNDS = 9;
const BATCH = 64;
const SLOT = 2048;
const FRONT = 64;
const TIMES = 500;

/** Nanoseconds of processor time so far. */
function clock(): number {
  const { user, system } = process.cpuUsage();
  return (user + system) * 1000;
}

function print(name: string, perFrame: number[]): void {
  const sorted = [...perFrame].sort((a, b) => a - b);
  const round = (value: number) => Number(value.toPrecision(4));
  const [median, min, max] = [sorted[sorted.length >> 1]!, sorted[0]!, sorted.at(-1)!].map(round);
  const rate = round(1000 / sorted[sorted.length >> 1]!);
  console.log(JSON.stringify({ bench: 'link/vxlan', name, unit: 'ns/frame', median, min, max, 'M frames/s': rate }));
}

/** A TCP segment of `bytes`, from and to stations and hosts by number. */
function frame(to: number, from: number, bytes: number): Uint8Array {
  const made = new Uint8Array(bytes);
  const v = new DataView(made.buffer);
  v.setUint16(0, 0x0200);
  v.setInt32(2, to);
  v.setUint16(6, 0x0200);
  v.setInt32(8, from);
  v.setUint16(12, 0x0800);
  writeIpv4(made, v, 14, { src: 0x0a000000 + from, dst: 0x0a000000 + to, proto: 6, length: bytes - 14 });
  v.setInt32(34, (from << 16) | to);
  v.setUint8(46, 0x50);
  return made;
}

const LOCALS = 0x1000;

function ground(stations: number, options: Partial<VtepOptions> = {}) {
  const vtep = new Vtep({ name: 'bench', vni: 42, mtu: 1450, sourcePorts: 64, ...options });
  const remotes = [1, 2, 3].map((n) => vtep.remotes.add(parseEndpoint(`192.0.2.${n}:4789`)!));
  for (let n = 0; n < stations; n++) vtep.fdb.learn(0x0200, n, remotes[n % 3]!, 0);
  return { vtep, c: new Columns(BATCH, new Uint8Array(BATCH * SLOT), BATCH * 8) };
}

/** `prepare` fills the batch (not measured), `act` is what is measured. */
function time(name: string, prepare: (turn: number) => void, act: () => void): void {
  const values: number[] = [];
  for (let round = 0; round < ROUNDS + 2; round++) {
    let spent = 0;
    for (let turn = 0; turn < TIMES; turn++) {
      prepare(turn);
      // Many times each, so that the clock's own price is small: what the endpoint writes does not change what it does next.
      const begun = clock();
      act();
      spent += clock() - begun;
    }
    values.push(spent / TIMES / BATCH / REPEATS);
  }
  print(name, values.slice(2));
}

const REPEATS = 16;

function fromTap(name: string, stations: number, bytes: number, options: Partial<VtepOptions> = {}, segment = 0): void {
  const { vtep, c } = ground(stations, options);
  time(
    name,
    (turn) => {
      for (let i = 0; i < BATCH; i++) {
        c.off[i] = i * SLOT + FRONT;
        c.len[i] = bytes;
        c.segment[i] = segment;
        c.data.set(frame((turn * BATCH + i) % stations, LOCALS * 16 + (i & 7), Math.min(bytes, 128)), c.off[i]!);
      }
    },
    () => {
      for (let k = 0; k < REPEATS; k++) if (vtep.fromTap(c, BATCH, 1000) === 0) throw new Error('nothing was sent');
    },
  );
}

function fromTunnel(name: string, stations: number, bytes: number, options: Partial<VtepOptions> = {}): void {
  const { vtep, c } = ground(stations, options);
  time(
    name,
    (turn) => {
      for (let i = 0; i < BATCH; i++) {
        const at = i * SLOT + FRONT;
        const station = (turn * BATCH + i) % stations;
        c.data.set(vtep.header, at);
        c.data.set(frame(LOCALS * 16, station, Math.min(bytes, 128)), at + VXLAN_BYTES);
        c.endpoint.set(parseEndpoint(`192.0.2.${1 + (station % 3)}:4789`)!, i * ENDPOINT_WORDS);
      }
    },
    () => {
      for (let k = 0; k < REPEATS; k++) {
        for (let i = 0; i < BATCH; i++) {
          c.off[i] = i * SLOT + FRONT;
          c.len[i] = bytes + VXLAN_BYTES;
          c.tos[i] = 0;
        }
        if (vtep.fromTunnel(c, BATCH, 1000) !== BATCH) throw new Error('frames were lost');
      }
    },
  );
}

fromTap('from the TAP: 1464 bytes, 16 known stations', 16, 1464);
fromTap('from the TAP: 1464 bytes, 3,000 known stations', 3000, 1464);
fromTap('from the TAP: super-frames (one decision for many), 16 stations', 16, 1900, {}, 1400);
fromTap('from the TAP: flooded to 3 remotes', 16, 200, { learning: false, fdb: { age: 1 }, storm: { unknown: 0 } });
fromTunnel('from the tunnel: 1464 bytes, 16 known stations', 16, 1464);
fromTunnel('from the tunnel: 1464 bytes, 3,000 known stations', 3000, 1464);
