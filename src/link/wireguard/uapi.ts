/**
 * The text protocol by which wg(8) speaks with a userspace device (wireguard.com/xplatform, "configuration protocol"). Parser and printer are pure; uapi-server.ts
 * carries the text.
 *
 *     set=1\nprivate_key=HEX\nlisten_port=51820\npublic_key=HEX\nallowed_ip=10.0.0.0/24\n\n   →   errno=0\n\n
 *     get=1\n\n                                                                              →   key=value…\nerrno=0\n\n
 *
 * A request is parsed as a whole before anything of it is applied, so one with an error in it changes nothing.
 */
import { constants } from 'node:os';
import { type AllowedIp, formatAllowedIp, parseAllowedIp } from './allowed-ips.js';
import { KEY_BYTES } from './constants.js';
import type { Device } from './device.js';
import { formatEndpoint, parseEndpoint } from './endpoint.js';
import { type Peer, Stat } from './peer.js';

export class UapiError extends Error {
  override readonly name = 'UapiError';
  /** As the protocol has it: negative. */
  readonly errno: number;

  constructor(errno: number, message: string) {
    super(message);
    this.errno = -errno;
  }
}

/** What the device's owner holds: its socket. */
export interface Socket {
  readonly listenPort: number;
  readonly fwmark: number;
  /** Both throw an Error with `errno` when the kernel refuses. */
  setListenPort(port: number): void | Promise<void>;
  setFwmark(mark: number): void | Promise<void>;
}

export interface PromptSocket extends Socket {
  setListenPort(port: number): void;
  setFwmark(mark: number): void;
}

export interface DeviceChange {
  /** Null: take the key away. */
  privateKey?: Uint8Array | null;
  listenPort?: number;
  fwmark?: number;
  replacePeers: boolean;
  readonly peers: PeerChange[];
}

export interface PeerChange {
  readonly publicKey: Uint8Array;
  remove: boolean;
  updateOnly: boolean;
  presharedKey?: Uint8Array;
  endpoint?: Int32Array;
  /** Seconds, 0 = off. */
  keepalive?: number;
  replaceAllowedIps: boolean;
  readonly allowedIps: { readonly ip: AllowedIp; readonly remove: boolean }[];
}

export type Request = { readonly op: 'get' } | { readonly op: 'set'; readonly change: DeviceChange };

// -- parsing --

/** `text` without its last empty line. Throws UapiError. */
export function parseRequest(text: string): Request {
  const lines = text.split('\n').filter((line) => line !== '');
  const first = lines.shift();
  if (first === 'get=1') {
    if (lines.length > 0) throw invalid(`get=1 takes no arguments, not "${nameOf(lines[0]!)}"`);
    return { op: 'get' };
  }
  if (first !== 'set=1') throw invalid(`unknown operation "${nameOf(first ?? '')}"; known: get=1, set=1`);
  const change: DeviceChange = { replacePeers: false, peers: [] };
  let peer: PeerChange | undefined;
  for (const line of lines) {
    const at = line.indexOf('=');
    if (at < 0) throw invalid('a line without "="');
    const key = line.slice(0, at);
    const value = line.slice(at + 1);
    if (key === 'public_key') {
      peer = {
        publicKey: parseKey(key, value),
        remove: false,
        updateOnly: false,
        replaceAllowedIps: false,
        allowedIps: [],
      };
      change.peers.push(peer);
    } else if (peer === undefined) {
      deviceLine(change, key, value);
    } else {
      peerLine(peer, key, value);
    }
  }
  return { op: 'set', change };
}

function deviceLine(change: DeviceChange, key: string, value: string): void {
  switch (key) {
    case 'private_key': {
      const secret = parseKey(key, value);
      change.privateKey = secret.every((byte) => byte === 0) ? null : secret;
      break;
    }
    case 'listen_port':
      change.listenPort = parseNumber(key, value, 65_535);
      break;
    case 'fwmark':
      change.fwmark = parseNumber(key, value, 0xffffffff);
      break;
    case 'replace_peers':
      change.replacePeers = parseTrue(key, value);
      break;
    default:
      throw invalid(`unknown device key "${key}"`);
  }
}

function peerLine(peer: PeerChange, key: string, value: string): void {
  switch (key) {
    case 'remove':
      peer.remove = parseTrue(key, value);
      break;
    case 'update_only':
      peer.updateOnly = parseTrue(key, value);
      break;
    case 'preshared_key':
      peer.presharedKey = parseKey(key, value);
      break;
    case 'endpoint': {
      const endpoint = parseEndpoint(value);
      if (endpoint === null) throw invalid(`endpoint "${value}" is not ADDRESS:PORT`);
      peer.endpoint = endpoint;
      break;
    }
    case 'persistent_keepalive_interval':
      peer.keepalive = parseNumber(key, value, 65_535);
      break;
    case 'replace_allowed_ips':
      peer.replaceAllowedIps = parseTrue(key, value);
      break;
    case 'allowed_ip': {
      const remove = value.startsWith('-');
      const ip = parseAllowedIp(remove || value.startsWith('+') ? value.slice(1) : value);
      if (ip === null) throw invalid(`allowed_ip "${value}" is not ADDRESS/LENGTH`);
      peer.allowedIps.push({ ip, remove });
      break;
    }
    case 'protocol_version':
      if (value !== '1') throw invalid(`protocol_version ${value} is not spoken here, only 1`);
      break;
    default:
      throw invalid(`unknown peer key "${key}"`);
  }
}

function invalid(message: string): UapiError {
  return new UapiError(constants.errno.EINVAL, message);
}

/** For messages: never the value, which may be a secret. */
function nameOf(line: string): string {
  return line.replace(/=.*/, '');
}

function parseKey(key: string, value: string): Uint8Array {
  if (!/^[0-9a-f]{64}$/i.test(value)) throw invalid(`${key} must be ${KEY_BYTES * 2} hexadecimal digits`);
  return new Uint8Array(Buffer.from(value, 'hex'));
}

function parseNumber(key: string, value: string, most: number): number {
  const number = /^(0x[0-9a-f]{1,8}|\d{1,10})$/i.test(value) ? Number(value) : Number.NaN;
  if (!(number <= most)) throw invalid(`${key} must be a number from 0 to ${most}`);
  return number;
}

function parseTrue(key: string, value: string): boolean {
  if (value !== 'true') throw invalid(`${key} can only be "true"`);
  return true;
}

// -- applying --

/** The socket first, because the kernel may refuse; the rest cannot fail. */
export async function applyChange(device: Device, socket: Socket, change: DeviceChange, now: number): Promise<void> {
  if (change.fwmark !== undefined && change.fwmark !== socket.fwmark) await socket.setFwmark(change.fwmark);
  if (change.listenPort !== undefined && change.listenPort !== socket.listenPort) {
    await socket.setListenPort(change.listenPort);
  }
  applyToDevice(device, change, now);
}

/** The same where the socket answers at once: for a thread without an event loop. */
export function applyChangeNow(device: Device, socket: PromptSocket, change: DeviceChange, now: number): void {
  if (change.fwmark !== undefined && change.fwmark !== socket.fwmark) socket.setFwmark(change.fwmark);
  if (change.listenPort !== undefined && change.listenPort !== socket.listenPort) {
    socket.setListenPort(change.listenPort);
  }
  applyToDevice(device, change, now);
}

function applyToDevice(device: Device, change: DeviceChange, now: number): void {
  if (change.privateKey !== undefined) {
    device.setPrivateKey(change.privateKey);
    change.privateKey?.fill(0);
  }
  if (change.replacePeers) for (const peer of [...device.peers]) if (peer !== undefined) device.removePeer(peer);
  for (const peer of change.peers) applyPeer(device, peer, now);
}

function applyPeer(device: Device, change: PeerChange, now: number): void {
  const known = device.peer(change.publicKey);
  if (change.remove) {
    if (known !== undefined) device.removePeer(known);
    return;
  }
  if (known === undefined && change.updateOnly) return;
  const peer = known ?? device.addPeer(change.publicKey);
  if (peer === undefined) return; // our own key: wg-quick files with all hosts in them are usual
  if (change.presharedKey !== undefined) {
    peer.presharedKey.set(change.presharedKey);
    change.presharedKey.fill(0);
  }
  if (change.endpoint !== undefined) peer.endpoint.set(change.endpoint);
  if (change.replaceAllowedIps) device.allowedIps.removePeer(peer.id);
  for (const { ip, remove } of change.allowedIps) {
    if (remove) device.allowedIps.remove(ip, peer.id);
    else device.allowedIps.set(ip, peer.id);
  }
  const millis = change.keepalive === undefined ? peer.timers.interval : change.keepalive * 1000;
  // Only a change sends a packet: `wg syncconf` repeats what is there.
  if (millis !== peer.timers.interval) device.keepalive(peer, millis, now);
  device.nudge(peer, now);
}

// -- printing --

/** The answer to get=1, private and preshared keys included: whoever may open the socket may know them. */
export function describe(device: Device, socket: Socket): string {
  const lines: string[] = [];
  if (device.own !== null) lines.push(`private_key=${hex(device.own.secret)}`);
  if (socket.listenPort !== 0) lines.push(`listen_port=${socket.listenPort}`);
  if (socket.fwmark !== 0) lines.push(`fwmark=${socket.fwmark}`);
  const allowed = device.allowedIps.byPeer();
  for (const peer of device.peers) if (peer !== undefined) describePeer(peer, allowed.get(peer.id) ?? [], lines);
  return `${lines.join('\n')}${lines.length > 0 ? '\n' : ''}errno=0\n\n`;
}

function describePeer(peer: Peer, allowed: readonly AllowedIp[], lines: string[]): void {
  const last = peer.stats[Stat.LAST_HANDSHAKE]!;
  const seconds = Math.floor(last / 1000);
  lines.push(
    `public_key=${hex(peer.publicKey)}`,
    `preshared_key=${hex(peer.presharedKey)}`,
    'protocol_version=1',
    ...(peer.hasEndpoint ? [`endpoint=${formatEndpoint(peer.endpoint)}`] : []),
    `last_handshake_time_sec=${seconds}`,
    `last_handshake_time_nsec=${Math.floor((last - seconds * 1000) * 1e6)}`,
    `tx_bytes=${peer.stats[Stat.TX_BYTES]}`,
    `rx_bytes=${peer.stats[Stat.RX_BYTES]}`,
    `persistent_keepalive_interval=${peer.timers.interval / 1000}`,
    ...allowed.map((ip) => `allowed_ip=${formatAllowedIp(ip)}`),
  );
}

function hex(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('hex');
}

// -- one request --

type Complain = (words: string) => void;

/** Answers one request; errors become the protocol's errno, and their words go to `complain`. */
export async function answer(
  device: Device,
  socket: Socket,
  text: string,
  now: number,
  complain: Complain = () => {},
): Promise<string> {
  try {
    const request = parseRequest(text);
    if (request.op === 'get') return describe(device, socket);
    await applyChange(device, socket, request.change, now);
    return 'errno=0\n\n';
  } catch (error) {
    return refusal(error, complain);
  }
}

/** The same at once. */
export function answerNow(
  device: Device,
  socket: PromptSocket,
  text: string,
  now: number,
  complain: Complain = () => {},
): string {
  try {
    const request = parseRequest(text);
    if (request.op === 'get') return describe(device, socket);
    applyChangeNow(device, socket, request.change, now);
    return 'errno=0\n\n';
  } catch (error) {
    return refusal(error, complain);
  }
}

function refusal(error: unknown, complain: Complain): string {
  const { errno, message } = error as { errno?: number; message: string };
  complain(message);
  return `errno=${errno ?? -constants.errno.EIO}\n\n`;
}
