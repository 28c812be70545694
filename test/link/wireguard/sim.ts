/**
 * Devices, wires and a clock that only the test moves: the ground for everything that takes longer than a test may.
 *
 * A wire loses, doubles, delays (so: reorders) and corrupts datagrams by a seeded generator. Deliveries and timers are events on one time line; nothing
 * waits for real.
 */
import { parseAllowedIp } from '../../../src/link/wireguard/allowed-ips.js';
import { Columns } from '../../../src/link/wireguard/columns.js';
import { clamp, publicKeyOf } from '../../../src/link/wireguard/crypto.js';
import { Device, type DeviceOptions } from '../../../src/link/wireguard/device.js';
import { ENDPOINT_WORDS, Ep, formatEndpoint, parseEndpoint } from '../../../src/link/wireguard/endpoint.js';
import { Outcome } from '../../../src/link/wireguard/outcome.js';
import type { Peer } from '../../../src/link/wireguard/peer.js';

/** Numbers from 0 to 1, the same for the same seed (mulberry32). */
export function seeded(seed: number): () => number {
  let state = seed | 0;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}

export interface Weather {
  readonly loss?: number;
  readonly duplicate?: number;
  readonly corrupt?: number;
  /** Milliseconds: each datagram takes this and up to `jitter` more. */
  readonly delay?: number;
  readonly jitter?: number;
}

export interface Arrived {
  readonly at: number;
  readonly packet: Uint8Array;
  readonly peer: number;
}

const SLOT_BYTES = 2048;

/** A device with its socket on the world's wire. */
export class Node {
  readonly device: Device;
  readonly columns = new Columns(64, new Uint8Array(64 * SLOT_BYTES));
  /** ECN bits of all datagrams that come in. */
  outerEcn = 0;
  readonly arrived: Arrived[] = [];
  /** Every datagram that it sent, for tests that look at the wire. */
  readonly sent: { readonly at: number; readonly bytes: Uint8Array; readonly to: string }[] = [];
  keepSent = false;
  readonly publicKey: Uint8Array;

  constructor(
    readonly world: World,
    public address: string,
    options: Partial<DeviceOptions> = {},
    secret: Uint8Array = world.bytes(32),
  ) {
    const key = secret.slice();
    clamp(key);
    this.publicKey = publicKeyOf(key);
    this.device = new Device({
      emit: (bytes, endpoint) => this.#send(bytes, formatEndpoint(endpoint)),
      random: (bytes) => bytes.set(world.bytes(bytes.length)),
      ...options,
    });
    this.device.epoch = 1_700_000_000_000;
    this.device.setPrivateKey(key);
    this.device.start(world.now);
    world.nodes.set(address, this);
  }

  /** The peer `other`, with its address if `known`. */
  meet(other: Node, allowed: readonly string[], known = true): Peer {
    const peer = this.device.addPeer(other.publicKey)!;
    if (known) peer.endpoint.set(parseEndpoint(other.address)!);
    for (const prefix of allowed) this.device.allowedIps.set(this.world.ip(prefix), peer.id);
    return peer;
  }

  /** Moves to another address: the old one is nobody's. */
  move(address: string): void {
    this.world.nodes.delete(this.address);
    this.address = address;
    this.world.nodes.set(address, this);
  }

  /** Sends inner packets, as one batch. Returns their outcomes. */
  send(packets: readonly Uint8Array[]): number[] {
    const c = this.columns;
    for (const [i, packet] of packets.entries()) {
      c.off[i] = i * SLOT_BYTES;
      c.from[i] = i * SLOT_BYTES + 16;
      c.len[i] = packet.length;
      c.data.set(packet, c.from[i]!);
    }
    this.device.seal(c, packets.length, this.world.now);
    const outcomes = packets.map((_, i) => c.outcome[i]!);
    for (const [i, outcome] of outcomes.entries()) {
      if (outcome !== Outcome.PASS) continue;
      const bytes = c.data.slice(c.off[i]!, c.off[i]! + c.len[i]!);
      this.#send(bytes, formatEndpoint(c.endpoint, i * ENDPOINT_WORDS));
    }
    return outcomes;
  }

  /** Datagrams that arrived together. Returns their outcomes. */
  receive(datagrams: readonly { readonly bytes: Uint8Array; readonly from: string }[]): number[] {
    const c = this.columns;
    for (const [i, { bytes, from }] of datagrams.entries()) {
      c.off[i] = i * SLOT_BYTES;
      c.len[i] = bytes.length;
      c.data.set(bytes, c.off[i]!);
      c.endpoint.set(parseEndpoint(from)!, i * ENDPOINT_WORDS);
      c.ecn[i] = this.outerEcn;
    }
    this.device.open(c, datagrams.length, this.world.now);
    const outcomes = datagrams.map((_, i) => c.outcome[i]!);
    for (const [i, outcome] of outcomes.entries()) {
      if (outcome !== Outcome.PASS) continue;
      const at = c.off[i]! + 16;
      this.arrived.push({ at: this.world.now, packet: c.data.slice(at, at + c.len[i]!), peer: c.peer[i]! });
    }
    return outcomes;
  }

  #send(bytes: Uint8Array, to: string): void {
    if (this.keepSent) this.sent.push({ at: this.world.now, bytes, to });
    this.world.carry(bytes, this.address, to);
  }
}

interface Event {
  readonly at: number;
  readonly act: () => void;
}

export class World {
  now = 1_000_000;
  readonly nodes = new Map<string, Node>();
  readonly random: () => number;
  weather: Weather = {};
  readonly #events: Event[] = [];

  constructor(readonly seed: number) {
    this.random = seeded(seed);
  }

  bytes(length: number): Uint8Array {
    const out = new Uint8Array(length);
    for (let i = 0; i < length; i++) out[i] = this.random() * 256;
    return out;
  }

  ip(text: string) {
    return parsePrefix(text);
  }

  carry(bytes: Uint8Array, from: string, to: string): void {
    const { loss = 0, duplicate = 0, corrupt = 0, delay = 0, jitter = 0 } = this.weather;
    const copies = this.random() < duplicate ? 2 : 1;
    for (let i = 0; i < copies; i++) {
      if (this.random() < loss) continue;
      const copy = bytes.slice();
      if (this.random() < corrupt) copy[Math.floor(this.random() * copy.length)]! ^= 1 << Math.floor(this.random() * 8);
      this.at(this.now + delay + Math.floor(this.random() * jitter), () =>
        this.nodes.get(to)?.receive([{ bytes: copy, from }]),
      );
    }
  }

  at(time: number, act: () => void): void {
    let low = 0;
    let high = this.#events.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.#events[middle]!.at <= time) low = middle + 1;
      else high = middle;
    }
    this.#events.splice(low, 0, { at: time, act });
  }

  /** Lets everything happen that happens until `time`. */
  runUntil(time: number): void {
    for (;;) {
      let next = this.#events[0]?.at ?? Number.POSITIVE_INFINITY;
      for (const node of this.nodes.values()) next = Math.min(next, Math.max(node.device.alarm.at, this.now));
      if (next > time) break;
      this.now = Math.max(this.now, next);
      while (this.#events.length > 0 && this.#events[0]!.at <= this.now) this.#events.shift()!.act();
      for (const node of this.nodes.values()) node.device.tick(this.now);
    }
    this.now = time;
  }

  run(millis: number): void {
    this.runUntil(this.now + millis);
  }
}

function parsePrefix(text: string) {
  return parseAllowedIp(text)!;
}

/** A UDP packet (its checksum is nobody's business here) from `source` to `target`, IPv4 or IPv6 by their looks. */
export function packetOf(source: string, target: string, payload: Uint8Array): Uint8Array {
  const words = new Int32Array(ENDPOINT_WORDS);
  if (!source.includes(':')) {
    const packet = new Uint8Array(28 + payload.length);
    const view = new DataView(packet.buffer);
    view.setUint16(0, 0x4500);
    view.setUint16(2, packet.length);
    packet[9] = 17;
    for (const [off, address] of [
      [12, source],
      [16, target],
    ] as const) {
      words.set(parseEndpoint(`${address}:1`)!);
      view.setInt32(off, words[Ep.ADDRESS]!);
    }
    packet.set(payload, 28);
    return packet;
  }
  const packet = new Uint8Array(48 + payload.length);
  const view = new DataView(packet.buffer);
  view.setUint32(0, 0x60000000);
  view.setUint16(4, packet.length - 40);
  packet[6] = 17;
  for (const [off, address] of [
    [8, source],
    [24, target],
  ] as const) {
    words.set(parseEndpoint(`[${address}]:1`)!);
    for (let i = 0; i < 4; i++) view.setInt32(off + 4 * i, words[Ep.ADDRESS + i]!);
  }
  packet.set(payload, 48);
  return packet;
}

/** Two nodes that know each other; 10.0.0.1 and fd00::1 are a's, 10.0.0.2 and fd00::2 are b's. */
export function pair(world: World, options: Partial<DeviceOptions> = {}) {
  const a = new Node(world, '192.0.2.1:1', options);
  const b = new Node(world, '192.0.2.2:2', options);
  const peerOfA = a.meet(b, ['10.0.0.2/32', 'fd00::2/128']);
  const peerOfB = b.meet(a, ['10.0.0.1/32', 'fd00::1/128']);
  return { a, b, peerOfA, peerOfB };
}
