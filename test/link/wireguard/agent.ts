/**
 * A bare device in a namespace, for the interop tests: the protocol core behind two ordinary UDP sockets, with wg(8)'s socket, and in place of a kernel on the
 * inside a little host that answers pings and sends them.
 *
 *     node agent.js NAME ADDRESS…      inner addresses; all else is set by `wg set NAME …`
 *
 * Calls come over IPC, one promise each: ping, jump (its clock, forward), status, restart.
 */
import { createSocket, type Socket as Udp } from 'node:dgram';
import { Columns } from '../../../src/link/wireguard/columns.js';
import { Device } from '../../../src/link/wireguard/device.js';
import { ENDPOINT_WORDS, Ep, formatAddress, parseAddress } from '../../../src/link/wireguard/endpoint.js';
import { OUTCOMES, Outcome } from '../../../src/link/wireguard/outcome.js';
import { Stat } from '../../../src/link/wireguard/peer.js';
import { answer, type Socket } from '../../../src/link/wireguard/uapi.js';
import { UapiServer } from '../../../src/link/wireguard/uapi-server.js';
import { native } from '../../../src/native.js';

const [name = 'wg0', ...addresses] = process.argv.slice(2);
const SLOT = 2048;
const columns = new Columns(1, new Uint8Array(SLOT));
let skew = 0;
const now = () => native.boottime() + skew;

// -- outside --

const sockets = new Map<number, Udp>();

function open(family: 4 | 6, port: number): Promise<number> {
  const socket = createSocket({ type: family === 4 ? 'udp4' : 'udp6', ipv6Only: family === 6 });
  socket.on('message', (message, from) => {
    columns.off[0] = 0;
    columns.len[0] = message.length;
    columns.data.set(message.subarray(0, SLOT));
    columns.endpoint.fill(0);
    columns.endpoint[Ep.FAMILY] = family;
    columns.endpoint[Ep.PORT] = from.port;
    parseAddress(from.address.replace(/%.*/, ''), columns.endpoint, Ep.ADDRESS);
    if (device.open(columns, 1, now()) === 1) inner(columns.data.slice(16, 16 + columns.len[0]!));
    arm();
  });
  return new Promise((resolve, reject) => {
    socket.once('error', reject);
    socket.bind(port, () => {
      sockets.set(family, socket);
      resolve(socket.address().port);
    });
  });
}

function emit(message: Uint8Array, endpoint: Int32Array): void {
  const family = endpoint[Ep.FAMILY]!;
  // An address that is away is a datagram that is lost.
  sockets.get(family)?.send(message, endpoint[Ep.PORT]!, formatAddress(family, endpoint, Ep.ADDRESS), () => {});
}

const outside = {
  listenPort: 0,
  fwmark: 0,
  async setListenPort(port: number) {
    for (const socket of sockets.values()) socket.close();
    sockets.clear();
    outside.listenPort = await open(4, port);
    await open(6, outside.listenPort);
  },
  setFwmark(mark: number) {
    outside.fwmark = mark;
  },
} satisfies Socket;

// -- the device --

let device = make();

function make(): Device {
  const made = new Device({ emit, mtu: 1420 });
  made.epoch = Date.now() - now();
  made.start(now());
  return made;
}

let timer: NodeJS.Timeout | undefined;

function arm(): void {
  clearTimeout(timer);
  const wait = device.tick(now()) - now();
  if (Number.isFinite(wait)) timer = setTimeout(arm, Math.max(1, wait));
}

function transmit(packet: Uint8Array): number {
  columns.off[0] = 0;
  columns.from[0] = 16;
  columns.len[0] = packet.length;
  columns.data.set(packet, 16);
  if (device.seal(columns, 1, now()) === 1) {
    emit(columns.data.slice(0, columns.len[0]), columns.endpoint.slice(0, ENDPOINT_WORDS));
  }
  arm();
  return columns.outcome[0]!;
}

// -- inside: a host that knows ping --

const waiting = new Map<number, (packet: Uint8Array) => void>();

function inner(packet: Uint8Array): void {
  const six = packet[0]! >> 4 === 6;
  const at = six ? 40 : (packet[0]! & 15) * 4;
  if (packet[six ? 6 : 9] !== (six ? 58 : 1)) return;
  const [request, reply] = six ? [128, 129] : [8, 0];
  if (packet[at] === request) {
    const [from, to, bytes] = six ? [8, 24, 16] : [12, 16, 4];
    const source = packet.slice(from, from + bytes);
    packet.copyWithin(from, to, to + bytes);
    packet.set(source, to);
    packet[at] = reply;
    complete(packet, at, six);
    transmit(packet);
  } else if (packet[at] === reply) {
    waiting.get((packet[at + 6]! << 8) | packet[at + 7]!)?.(packet.subarray(at + 8));
  }
}

/** ICMP checksum, over IPv6 with its pseudo-header; the addresses were swapped or written, which IPv4's own sum has to know only when it is new. */
function complete(packet: Uint8Array, at: number, six: boolean): void {
  packet[at + 2] = packet[at + 3] = 0;
  const pseudo = six ? native.checksum(packet, 8, 32, 58 + packet.length - at) : 0;
  const sum = ~native.checksum(packet, at, packet.length - at, pseudo) & 0xffff;
  packet[at + 2] = sum >> 8;
  packet[at + 3] = sum & 255;
}

let sequence = 0;

/** Resolves to the answer's round trip in milliseconds; rejects when there is none within `seconds`. */
function ping(to: string, size: number, seconds: number): Promise<number> {
  const six = to.includes(':');
  const at = six ? 40 : 20;
  const packet = new Uint8Array(at + 8 + size);
  const view = new DataView(packet.buffer);
  const own = addresses.find((each) => each.includes(':') === six)!;
  const write = (address: string, off: number) => {
    const words = new Int32Array(4);
    parseAddress(address, words, 0);
    for (let i = 0; i < (six ? 4 : 1); i++) view.setInt32(off + 4 * i, words[i]!);
  };
  if (six) {
    view.setUint32(0, 0x60000000);
    view.setUint16(4, packet.length - 40);
    packet[6] = 58;
    packet[7] = 64;
    write(own, 8);
    write(to, 24);
  } else {
    view.setUint16(0, 0x4500);
    view.setUint16(2, packet.length);
    packet[8] = 64;
    packet[9] = 1;
    write(own, 12);
    write(to, 16);
    view.setUint16(10, ~native.checksum(packet, 0, 20, 0) & 0xffff);
  }
  packet[at] = six ? 128 : 8;
  const number = ++sequence & 0xffff;
  view.setUint16(at + 6, number);
  for (let i = 0; i < size; i++) packet[at + 8 + i] = i;
  complete(packet, at, six);
  const begun = performance.now();
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => {
      waiting.delete(number);
      reject(new Error(`no answer from ${to} within ${seconds} s`));
    }, seconds * 1000);
    waiting.set(number, (payload) => {
      clearTimeout(timer);
      waiting.delete(number);
      if (payload.length === size && payload.every((byte, i) => byte === (i & 255))) resolve(performance.now() - begun);
      else reject(new Error('the answer is not what was sent'));
    });
    const outcome = transmit(packet);
    if (outcome !== Outcome.PASS && outcome !== Outcome.STAGED) {
      clearTimeout(timer);
      reject(new Error(OUTCOMES[outcome]!.name));
    }
  });
}

// -- calls --

export type Call =
  | { readonly op: 'ping'; readonly to: string; readonly size: number; readonly seconds: number }
  | { readonly op: 'jump'; readonly millis: number }
  | { readonly op: 'status' }
  | { readonly op: 'restart' };

export interface Status {
  readonly counts: Record<string, number>;
  readonly initiated: number;
  readonly answered: number;
  readonly initiator: boolean | null;
}

async function perform(call: Call): Promise<unknown> {
  switch (call.op) {
    case 'ping':
      return ping(call.to, call.size, call.seconds);
    case 'jump':
      skew += call.millis;
      device.epoch -= call.millis; // the wall clock does not jump
      arm();
      return undefined;
    case 'restart': {
      // All that a restarted process has: its configuration.
      const config = await answer(device, outside, 'get=1\n', now());
      device.close();
      device = make();
      const lines = config.split('\n').filter((line) => !/^(errno|last_handshake|rx_|tx_|$)/.test(line));
      await answer(device, outside, `set=1\n${lines.join('\n')}\n`, now());
      device.greet(now());
      arm();
      return undefined;
    }
    case 'status': {
      const peer = device.peers.find((each) => each !== undefined);
      const counts: Record<string, number> = {};
      OUTCOMES.forEach((row, id) => {
        if (device.counts[id]! > 0) counts[row.name] = device.counts[id]!;
      });
      return {
        counts,
        initiated: peer?.stats[Stat.HANDSHAKES_INITIATED] ?? 0,
        answered: peer?.stats[Stat.HANDSHAKES_ANSWERED] ?? 0,
        initiator: peer?.current?.initiator ?? null,
      } satisfies Status;
    }
  }
}

process.on('message', (message: { id: number; call: Call }) => {
  perform(message.call).then(
    (result) => process.send?.({ id: message.id, result }),
    (error: unknown) => process.send?.({ id: message.id, error: (error as Error).message }),
  );
});
process.on('disconnect', () => process.exit(0));
const server = await UapiServer.open({
  name,
  answer: async (text) => {
    const words = await answer(device, outside, text, now(), (complaint) => console.error(complaint));
    arm();
    return words;
  },
});
process.on('exit', () => server.close());
process.on('SIGTERM', () => process.exit(0));
process.send?.({ id: 0 });
