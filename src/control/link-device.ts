/**
 * What a link's WireGuard device is told, in the text of wg(8)'s protocol, so that it becomes what the config says: only what differs, as
 * `wg syncconf` does it, so that no session is disturbed that need not be. Pure: text in, text out. The texts hold keys; they go to the worker and
 * nowhere else.
 */

import type { Prefix6 } from '../contract/ipv6.js';
import type { Prefix } from '../contract/plan.js';
import { formatPrefix, parsePrefix } from './address.js';
import { formatPrefix6, parsePrefix6 } from './address-ipv6.js';

/** Keys in hex, as the protocol has them; allowed IPs and endpoints in its text form. */
export interface DevicePeer {
  readonly presharedKey: string;
  /** '' = not known; of a wish: leave it. */
  readonly endpoint: string;
  /** Seconds. */
  readonly keepalive: number;
  readonly allowedIps: readonly string[];
}

export interface DeviceState {
  readonly privateKey: string;
  readonly listenPort: number;
  readonly fwmark: number;
  /** By public key. */
  readonly peers: ReadonlyMap<string, DevicePeer>;
}

export const NO_KEY = '0'.repeat(64);

/** The answer to get=1. */
export function parseState(text: string): DeviceState {
  const device = { privateKey: NO_KEY, listenPort: 0, fwmark: 0 };
  const peers = new Map<string, { presharedKey: string; endpoint: string; keepalive: number; allowedIps: string[] }>();
  let peer = { presharedKey: NO_KEY, endpoint: '', keepalive: 0, allowedIps: [] as string[] };
  for (const line of text.split('\n')) {
    const at = line.indexOf('=');
    const value = line.slice(at + 1);
    switch (line.slice(0, Math.max(at, 0))) {
      case 'private_key':
        device.privateKey = value;
        break;
      case 'listen_port':
        device.listenPort = Number(value);
        break;
      case 'fwmark':
        device.fwmark = Number(value);
        break;
      case 'public_key':
        peer = { presharedKey: NO_KEY, endpoint: '', keepalive: 0, allowedIps: [] };
        peers.set(value, peer);
        break;
      case 'preshared_key':
        peer.presharedKey = value;
        break;
      case 'endpoint':
        peer.endpoint = value;
        break;
      case 'persistent_keepalive_interval':
        peer.keepalive = Number(value);
        break;
      case 'allowed_ip':
        peer.allowedIps.push(value);
        break;
      default:
    }
  }
  return { ...device, peers };
}

export interface DeviceChange {
  /** set=1…, or '' where nothing differs. */
  readonly text: string;
  /** `private key`, `peer branch: endpoint, keepalive`: for people, without secrets. */
  readonly words: readonly string[];
}

/** `nameOf`: what a peer is called, by its public key. */
export function changeOf(
  is: DeviceState,
  wanted: Pick<DeviceState, 'privateKey' | 'peers'>,
  nameOf: (publicKey: string) => string,
): DeviceChange {
  const lines: string[] = [];
  const words: string[] = [];
  if (is.privateKey !== wanted.privateKey) {
    lines.push(`private_key=${wanted.privateKey}`);
    words.push('private key');
  }
  for (const key of is.peers.keys())
    if (!wanted.peers.has(key)) {
      lines.push(`public_key=${key}`, 'remove=true');
      words.push(`peer ${nameOf(key)} removed`);
    }
  for (const [key, peer] of wanted.peers) {
    const before = is.peers.get(key);
    const { lines: changed, words: what } = peerChange(before, peer);
    if (changed.length === 0 && before !== undefined) continue;
    lines.push(`public_key=${key}`, ...changed);
    words.push(before === undefined ? `peer ${nameOf(key)} added` : `peer ${nameOf(key)}: ${what.join(', ')}`);
  }
  return { text: lines.length === 0 ? '' : `set=1\n${lines.join('\n')}\n`, words };
}

function peerChange(
  is: DevicePeer | undefined,
  wanted: DevicePeer,
): { readonly lines: readonly string[]; readonly words: readonly string[] } {
  const lines: string[] = [];
  const words: string[] = [];
  if ((is?.presharedKey ?? NO_KEY) !== wanted.presharedKey) {
    lines.push(`preshared_key=${wanted.presharedKey}`);
    words.push('preshared key');
  }
  if (wanted.endpoint !== '' && is?.endpoint !== wanted.endpoint) {
    lines.push(`endpoint=${wanted.endpoint}`);
    words.push('endpoint');
  }
  if ((is?.keepalive ?? 0) !== wanted.keepalive) {
    lines.push(`persistent_keepalive_interval=${wanted.keepalive}`);
    words.push('keepalive');
  }
  if (is === undefined || !sameSet(is.allowedIps, wanted.allowedIps)) {
    lines.push('replace_allowed_ips=true', ...wanted.allowedIps.map((ip) => `allowed_ip=${ip}`));
    words.push('allowed_ips');
  }
  return { lines, words };
}

function sameSet(a: readonly string[], b: readonly string[]): boolean {
  const set = new Set(a);
  return set.size === new Set(b).size && b.every((item) => set.has(item));
}

/** IPv4 ones of a device's allowed IPs. */
export function planPrefixes(allowedIps: readonly string[]): Prefix[] {
  return allowedIps.filter((ip) => !ip.includes(':')).map(parsePrefix);
}

export function planPrefixes6(allowedIps: readonly string[]): Prefix6[] {
  return allowedIps.filter((ip) => ip.includes(':')).map(parsePrefix6);
}

export function samePrefixes6(a: readonly Prefix6[], b: readonly Prefix6[]): boolean {
  return sameSet(a.map(formatPrefix6), b.map(formatPrefix6));
}

export function samePrefixes(a: readonly Prefix[], b: readonly Prefix[]): boolean {
  return sameSet(a.map(formatPrefix), b.map(formatPrefix));
}

export type Filtered = { readonly text: string } | { readonly refused: string };

/**
 * A request of wg(8) as a link's device may have it: port and mark are the config's, because NAT and firewall rules know them from there.
 * The values that are there, and those that `wg setconf` and `syncconf` send where the file has none (0), go through without effect.
 */
export function withoutSocket(
  request: string,
  { listenPort, fwmark }: { listenPort: number; fwmark: number },
): Filtered {
  const kept: string[] = [];
  for (const line of request.split('\n')) {
    const match = /^(listen_port|fwmark)=(.*)$/.exec(line);
    if (match === null) kept.push(line);
    else {
      const value = Number(match[2]);
      const is = match[1] === 'fwmark' ? fwmark : listenPort;
      const key = match[1] === 'fwmark' ? 'mark' : 'listen';
      if (value !== 0 && value !== is)
        return { refused: `${match[1]} is the config's (wireguard.${key}); change it there and reload` };
    }
  }
  return { text: kept.join('\n') };
}

export function hexOf(base64: string): string {
  return Buffer.from(base64, 'base64').toString('hex');
}

export function base64Of(hex: string): string {
  return Buffer.from(hex, 'hex').toString('base64');
}
