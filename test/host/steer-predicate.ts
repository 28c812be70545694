/**
 * What steering means, once more, in plain words: no bytecode, no intervals, no slices. And packets to try it on.
 */

import type { Prefix } from '../../src/contract/plan.js';
import type { Claim, PortInterval, Steering } from '../../src/contract/steering.js';
import type { Hook, SteeringFilter } from '../../src/host/steer-programs.js';
import { type Frame, runProgram } from './bpf-interpreter.js';

export type Fate = 'pass' | 'drop' | 'redirect';

/** The header fields that were asked for are not in the packet. The kernel drops such packets, and so does the engine. */
export class ShortPacket extends Error {}

/** Reads an IP header in `bytes`, which may be too short. */
export class Header {
  constructor(readonly bytes: Uint8Array) {}
  byte(at: number): number {
    const value = this.bytes[at];
    if (value === undefined) throw new ShortPacket();
    return value;
  }
  half(at: number): number {
    return this.byte(at) * 256 + this.byte(at + 1);
  }
  word(at: number): number {
    return (this.half(at) * 65536 + this.half(at + 2)) | 0;
  }
  get length(): number {
    return (this.byte(0) & 15) * 4;
  }
  get source(): number {
    return this.word(12);
  }
  get destination(): number {
    return this.word(16);
  }
  get protocol(): number {
    return this.byte(9);
  }
  get isFragment(): boolean {
    return (this.half(6) & 0x3fff) !== 0;
  }
  get sourcePort(): number {
    return this.half(this.length);
  }
  get destinationPort(): number {
    return this.half(this.length + 2);
  }
  behind(extra: number): Header {
    return new Header(this.bytes.subarray(this.length + extra));
  }
}

const inPrefix = (address: number, { prefix, mask }: Prefix): boolean => (address & mask) === prefix;
const inAny = (address: number, prefixes: readonly Prefix[]): boolean => prefixes.some((p) => inPrefix(address, p));
const inPorts = (port: number, list: readonly PortInterval[]): boolean =>
  list.some(({ first, last }) => first <= port && port <= last);

function claims(claim: Claim, header: Header, port: () => number): boolean {
  if (!claim.shared || header.isFragment) return true;
  if (header.protocol === 6) return inPorts(port(), claim.tcp);
  if (header.protocol === 17) return inPorts(port(), claim.udp);
  return header.protocol === 1 || claim.other;
}

function isClaimed(steering: Steering, header: Header): boolean {
  const claim = steering.claims.find(({ address }) => address === header.destination);
  return claim !== undefined && claims(claim, header, () => header.destinationPort);
}

/** The header that an ICMP error quotes, or undefined where this is none. */
function quoteOf(header: Header): Header | undefined {
  if (header.protocol !== 1 || header.isFragment) return undefined;
  return [3, 11, 12].includes(header.behind(0).byte(0)) ? header.behind(8) : undefined;
}

function isLan(steering: Steering, address: number): boolean {
  return inAny(address, steering.lanSubnets);
}

/** Of a LAN, or of a far site. */
function isInside(steering: Steering, address: number): boolean {
  return isLan(steering, address) || inAny(address, steering.sites);
}

function isHost(steering: Steering, address: number): boolean {
  return steering.hostAddresses.includes(address) || steering.claims.some((claim) => claim.address === address);
}

/** The fate of an IPv4 packet for this host's MAC address, by `interface`. */
function ingressFate(steering: Steering, index: number, header: Header): Fate {
  const lan = steering.lans.find((one) => one.index === index);
  const { source, destination } = header;
  if (!lan) {
    if (isHost(steering, source) || isInside(steering, source)) return 'drop';
    if (isInside(steering, destination) && !inAny(destination, steering.untranslated)) return 'drop';
    if (isLan(steering, destination)) return 'redirect';
    return isClaimed(steering, header) ? 'redirect' : 'pass';
  }
  const own = inAny(source, lan.subnets);
  if (isHost(steering, source) || (isLan(steering, source) && !own)) return 'drop';
  if (isClaimed(steering, header)) return own ? 'redirect' : 'drop';
  if (isHost(steering, destination) || destination === -1) return 'pass';
  if (destination >>> 28 === 14 || destination >>> 24 === 127) return 'pass';
  const broadcast = ({ prefix, mask }: Prefix): boolean => ~mask >>> 0 > 1 && destination === (prefix | ~mask);
  if (steering.lanSubnets.some(broadcast) || inAny(destination, steering.foreign)) return 'pass';
  return 'redirect';
}

/** `born`: made by this kernel. */
function uplinkEgressFate(steering: Steering, header: Header, born: boolean): Fate {
  const { source, destination } = header;
  if (isInside(steering, source) && !inAny(source, steering.untranslated)) return 'drop';
  if (isInside(steering, destination)) return 'drop';
  if (!born) return 'pass';
  const quote = quoteOf(header);
  if (!quote) return 'pass';
  return isInside(steering, quote.source) || isInside(steering, quote.destination) ? 'redirect' : 'pass';
}

function loopbackFate(steering: Steering, header: Header): Fate {
  const claim = steering.claims.find(({ address }) => address === header.destination);
  if (!claim) return 'pass';
  const quote = claim.shared ? quoteOf(header) : undefined;
  if (quote) {
    const sender = steering.claims.find(({ address, shared }) => shared && address === quote.source);
    return sender && claims(sender, quote, () => quote.sourcePort) ? 'redirect' : 'pass';
  }
  if (claim.shared && header.protocol === 1 && !header.isFragment) return 'pass';
  return isClaimed(steering, header) ? 'redirect' : 'pass';
}

/** May throw ShortPacket. */
export function fateOf(steering: Steering, index: number, hook: Hook, frame: Frame): Fate {
  const header = new Header(frame.bytes.subarray(frame.mac));
  if (hook === 'egress') {
    if (frame.protocol !== 0x0800) return 'pass';
    if (index === 1) return loopbackFate(steering, header);
    return uplinkEgressFate(steering, header, frame.queue === 0);
  }
  if (frame.type !== 0 || (frame.vlan !== undefined && (frame.vlan & 0xfff) !== 0)) return 'pass';
  const tagged = frame.vlan !== undefined;
  if (tagged && (frame.protocol === 0x8100 || frame.protocol === 0x88a8)) {
    return (header.half(0) & 0xfff) === 0 ? 'drop' : 'pass';
  }
  if (frame.protocol !== 0x0800) return 'pass';
  if (tagged && steering.lans.some((lan) => lan.index === index)) return 'drop';
  return ingressFate(steering, index, header);
}

/** What the filters of one hook do with the packet, as the kernel runs them. */
export function runFilters(filters: readonly SteeringFilter[], index: number, hook: Hook, frame: Frame): Fate {
  const here = filters.filter((filter) => filter.index === index && filter.hook === hook);
  for (const filter of here.filter(({ action }) => action === 'drop')) {
    const result = runProgram(filter.program, frame) | 0;
    if (result === 2) return 'drop';
    if (result !== -1) return 'pass';
  }
  const matches = here.some(({ action, program }) => action === 'redirect' && runProgram(program, frame) !== 0);
  return matches ? 'redirect' : 'pass';
}
