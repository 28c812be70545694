/** What a request says: body and query, judged; everything that is wrong is a Refused that says what is allowed. */
import type { IncomingMessage } from 'node:http';
import { type CaptureFilter, Point } from '../contract/capture.js';
import type { TracePacket, WatchFilter } from '../contract/mailbox.js';
import type { Prefix } from '../contract/plan.js';
import { parseAddress, parsePrefix } from './address.js';
import { type FlowFilter, protocolNumber } from './flows.js';
import { Refused } from './refused.js';

const BODY_BYTES = 4096;
/** More is a capture. */
const MOST_WATCHED = 100;

/** The body as it is, at most `limit` bytes. */
export async function readBytes(request: IncomingMessage, limit: number): Promise<Buffer> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of request as AsyncIterable<Buffer>) {
    bytes += chunk.length;
    if (bytes > limit) throw new Refused(413, `the body is longer than ${limit} bytes`);
    chunks.push(chunk);
  }
  return Buffer.concat(chunks);
}

/** The body as an object; {} without one. */
export async function readBody(request: IncomingMessage): Promise<Record<string, unknown>> {
  const bytes = await readBytes(request, BODY_BYTES);
  if (bytes.length === 0) return {};
  let value: unknown;
  try {
    value = JSON.parse(bytes.toString('utf8'));
  } catch {
    throw new Refused(400, 'the body is not JSON');
  }
  if (value === null || typeof value !== 'object' || Array.isArray(value))
    throw new Refused(400, 'the body is not an object');
  return value as Record<string, unknown>;
}

/** The filter grammar of /flows. */
export function readFilter(query: URLSearchParams): FlowFilter {
  for (const key of query.keys()) {
    if (!['proto', 'src', 'dst', 'sport', 'dport', 'limit'].includes(key))
      throw new Refused(400, `unknown filter "${key}"`);
  }
  const number = readProtocol(query);
  const sport = readNumber(query, 'sport', 0, 65_535);
  const dport = readNumber(query, 'dport', 0, 65_535);
  const src = readPrefix(query, 'src');
  const dst = readPrefix(query, 'dst');
  return {
    ...(number !== undefined && { proto: number }),
    ...(src && { src }),
    ...(dst && { dst }),
    ...(sport !== undefined && { sport }),
    ...(dport !== undefined && { dport }),
  };
}

export function readPrefix(query: URLSearchParams, key: string): Prefix | undefined {
  const text = query.get(key);
  if (text === null) return undefined;
  try {
    return parsePrefix(text);
  } catch (error) {
    throw new Refused(400, `${key}: ${(error as Error).message}`);
  }
}

export function readNumber(query: URLSearchParams, key: string, least: number, most: number): number | undefined {
  const text = query.get(key);
  if (text === null) return undefined;
  const value = /^\d{1,10}$/.test(text) ? Number(text) : -1;
  if (value < least || value > most) throw new Refused(400, `${key} "${text}": a number, ${least} to ${most}`);
  return value;
}

/** A value of a body that is true or false, or left out. */
export function readFlag(body: Record<string, unknown>, key: string): boolean {
  const value = body[key] ?? false;
  if (typeof value !== 'boolean') throw new Refused(400, `${key}: true or false`);
  return value;
}

/** Keys that a body may have; others are misspelt. */
export function onlyKeys(body: Record<string, unknown>, keys: readonly string[]): void {
  for (const key of Object.keys(body))
    if (!keys.includes(key)) throw new Refused(400, `unknown key "${key}" (allowed: ${keys.join(', ')})`);
}

/** One packet: `src`, `dst`, `proto`, and ports where it has them (an ICMP query: its id as `sport`). */
export function readPacket(query: URLSearchParams): TracePacket {
  const one = (key: 'src' | 'dst') => {
    const text = query.get(key);
    if (text === null) throw new Refused(400, `${key} is missing`);
    try {
      return parseAddress(text);
    } catch (error) {
      throw new Refused(400, `${key}: ${(error as Error).message}`);
    }
  };
  const name = query.get('proto') ?? 'tcp';
  const proto = protocolNumber(name);
  if (proto === undefined) throw new Refused(400, `proto "${name}": a name (tcp, udp, icmp, gre…) or 0-255`);
  const port = (key: string) => readNumber(query, key, 0, 65_535) ?? 0;
  return { src: one('src'), dst: one('dst'), proto, sport: port('sport'), dport: port('dport') };
}

/** Which packets are to be explained, and how many of them. */
export function readWatch(query: URLSearchParams): { filter: WatchFilter; count: number } {
  const address = readPrefix(query, 'address');
  if (address === undefined) throw new Refused(400, 'address: whose packets?');
  const other = readPrefix(query, 'other');
  const port = readNumber(query, 'port', 0, 65_535);
  const proto = readProtocol(query);
  return {
    filter: {
      address,
      ...(other && { other }),
      ...(port !== undefined && { port }),
      ...(proto !== undefined && { proto }),
    },
    count: readNumber(query, 'count', 1, MOST_WATCHED) ?? 1,
  };
}

function readProtocol(query: URLSearchParams): number | undefined {
  const name = query.get('proto');
  const proto = name === null ? undefined : protocolNumber(name);
  if (name !== null && proto === undefined)
    throw new Refused(400, `proto "${name}": a name (tcp, udp, icmp, gre…) or 0-255`);
  return proto;
}

/** What a capture is to hold. */
export function readCapture(query: URLSearchParams): CaptureFilter {
  const point = query.get('point') ?? 'both';
  const points = new Map([
    ['pre', Point.PRE],
    ['post', Point.POST],
    ['both', Point.PRE | Point.POST],
  ]).get(point);
  if (points === undefined) throw new Refused(400, `point "${point}": pre, post or both`);
  const proto = readProtocol(query);
  const address = readPrefix(query, 'address');
  const port = readNumber(query, 'port', 0, 65_535);
  return {
    points,
    snap: readNumber(query, 'snap', 20, 65_535) ?? 65_535,
    ...(address && { address }),
    ...(port !== undefined && { port }),
    ...(proto !== undefined && { proto }),
  };
}
