/** IPv4 routes and policy rules by rtnetlink. */
import { ipv4Text, maskOf } from './ipv4.js';
import type { Netlink } from './netlink.js';
import {
  type Attributes,
  attributes,
  be32,
  type Message,
  NLM_F_CREATE,
  NLM_F_EXCL,
  Payload,
  text,
  u32,
  viewOf,
} from './netlink-message.js';

const RTM_NEWROUTE = 24;
const RTM_DELROUTE = 25;
const RTM_GETROUTE = 26;
const RTM_GETRULE = 34;
const RTMSG = 12;
const RTNEXTHOP = 8;

const AF_INET = 2;
const RTA_DST = 1;
const RTA_OIF = 4;
const RTA_GATEWAY = 5;
const RTA_PRIORITY = 6;
const RTA_PREFSRC = 7;
const RTA_MULTIPATH = 9;
const RTA_TABLE = 15;
const FRA_SRC = 2;
const FRA_IIFNAME = 3;
const FRA_PRIORITY = 6;
const FRA_FWMARK = 10;
const FRA_TABLE = 15;
const FRA_OIFNAME = 17;

export const TABLE_DEFAULT = 253;
export const TABLE_MAIN = 254;
export const TABLE_LOCAL = 255;

const RTPROT_STATIC = 4;
const SCOPE_UNIVERSE = 0;
const SCOPE_LINK = 253;
/** In a deletion: whatever its scope. */
const SCOPE_NOWHERE = 255;
const RTN_UNICAST = 1;
/** The route came out of a lookup (a cached exception), not out of a table. */
const RTM_F_CLONED = 0x200;
/** The next hop is unusable (interface down); a lookup passes over such a route. */
const RTNH_F_DEAD = 1;

/** RTN_* in the words of `ip route`. */
const ROUTE_TYPES = [
  'unspec',
  'unicast',
  'local',
  'broadcast',
  'anycast',
  'multicast',
  'blackhole',
  'unreachable',
  'prohibit',
  'throw',
  'nat',
  'xresolve',
];

export interface Route {
  readonly prefix: number;
  readonly length: number;
  readonly table: number;
  readonly type: string;
  /** Outgoing interface, 0 where there is none. Multipath: the first next hop that is alive. */
  readonly index: number;
  /** int32, 0 = on the link. */
  readonly gateway: number;
  readonly metric: number;
  readonly protocol: number;
  readonly scope: number;
  /** int32, 0 = none. */
  readonly source: number;
  readonly tos: number;
}

/** Every IPv4 route of every table that a lookup could use. */
export function readRoutes(nl: Netlink): Route[] {
  const payload = new Payload().u8(AF_INET).zeros(RTMSG - 1);
  return nl.dump(RTM_GETROUTE, payload.bytes(), 'list the routes').flatMap(readRoute);
}

function readRoute({ body }: Message): Route[] {
  const flags = viewOf(body).getUint32(8, true);
  if (body[0] !== AF_INET || (flags & (RTM_F_CLONED | RTNH_F_DEAD)) !== 0) return [];
  const attrs = attributes(body, RTMSG);
  const hop = firstHop(attrs);
  return [
    {
      prefix: (be32(attrs.get(RTA_DST)) ?? 0) | 0,
      length: body[1]!,
      tos: body[3]!,
      table: u32(attrs.get(RTA_TABLE)) ?? body[4]!,
      protocol: body[5]!,
      scope: body[6]!,
      type: ROUTE_TYPES[body[7]!] ?? String(body[7]),
      metric: u32(attrs.get(RTA_PRIORITY)) ?? 0,
      source: (be32(attrs.get(RTA_PREFSRC)) ?? 0) | 0,
      ...hop,
    },
  ];
}

/** A multipath route holds its next hops as `rtnexthop` records, each with attributes of its own. */
function firstHop(attrs: Attributes): { index: number; gateway: number } {
  const several = attrs.get(RTA_MULTIPATH);
  if (!several) return { index: u32(attrs.get(RTA_OIF)) ?? 0, gateway: (be32(attrs.get(RTA_GATEWAY)) ?? 0) | 0 };
  const view = viewOf(several);
  let first: { index: number; gateway: number } | undefined;
  for (let at = 0; at + RTNEXTHOP <= several.length; ) {
    const length = view.getUint16(at, true);
    if (length < RTNEXTHOP || at + length > several.length) break;
    const alive = (several[at + 2]! & RTNH_F_DEAD) === 0;
    const inner = attributes(several.subarray(at, at + length), RTNEXTHOP);
    const hop = { index: view.getInt32(at + 4, true), gateway: (be32(inner.get(RTA_GATEWAY)) ?? 0) | 0 };
    if (alive) return hop;
    first ??= hop;
    at += (length + 3) & ~3;
  }
  return first ?? { index: 0, gateway: 0 };
}

export interface NewRoute {
  readonly prefix: number;
  readonly length: number;
  readonly index: number;
  readonly gateway?: number;
  readonly metric?: number;
  readonly table?: number;
  /** What the host itself sends from where it does not choose; int32, 0 = the kernel's choice. */
  readonly source?: number;
}

function rtmsg(route: NewRoute, scope: number): Payload {
  const payload = new Payload()
    .u8(AF_INET)
    .u8(route.length)
    .zeros(2)
    .u8(0) // the table is in RTA_TABLE, where numbers above 255 fit
    .u8(RTPROT_STATIC)
    .u8(scope)
    .u8(RTN_UNICAST)
    .u32(0)
    .attrU32(RTA_TABLE, route.table ?? TABLE_MAIN)
    .attrU32(RTA_OIF, route.index);
  if (route.length > 0) payload.attrBe32(RTA_DST, (route.prefix & maskOf(route.length)) >>> 0);
  if (route.gateway) payload.attrBe32(RTA_GATEWAY, route.gateway >>> 0);
  if (route.metric) payload.attrU32(RTA_PRIORITY, route.metric);
  if (route.source) payload.attrBe32(RTA_PREFSRC, route.source >>> 0);
  return payload;
}

function describe(route: NewRoute): string {
  const by = route.gateway ? ` by ${ipv4Text(route.gateway)}` : '';
  return `route ${ipv4Text(route.prefix)}/${route.length}${by} on interface ${route.index}`;
}

/** Fails with EEXIST where the table has this prefix with this metric. */
export function addRoute(nl: Netlink, route: NewRoute): void {
  const scope = route.gateway ? SCOPE_UNIVERSE : SCOPE_LINK;
  nl.request(RTM_NEWROUTE, NLM_F_CREATE | NLM_F_EXCL, rtmsg(route, scope).bytes(), `add ${describe(route)}`);
}

/** Fails with ESRCH where there is no such route. */
export function deleteRoute(nl: Netlink, route: NewRoute): void {
  nl.request(RTM_DELROUTE, 0, rtmsg(route, SCOPE_NOWHERE).bytes(), `delete ${describe(route)}`);
}

/** A policy rule: which table a lookup asks, by what of the packet. */
export interface Rule {
  readonly priority: number;
  readonly table: number;
  /** int32 and length; length 0 = any. */
  readonly source: number;
  readonly sourceLength: number;
  readonly iif: string;
  readonly oif: string;
  readonly mark: number;
  /** FR_ACT_*: 1 = look the table up. */
  readonly action: number;
}

export function readRules(nl: Netlink): Rule[] {
  const payload = new Payload().u8(AF_INET).zeros(RTMSG - 1);
  return nl.dump(RTM_GETRULE, payload.bytes(), 'list the policy rules').map(({ body }) => {
    const attrs = attributes(body, RTMSG);
    return {
      priority: u32(attrs.get(FRA_PRIORITY)) ?? 0,
      table: u32(attrs.get(FRA_TABLE)) ?? body[4]!,
      source: (be32(attrs.get(FRA_SRC)) ?? 0) | 0,
      sourceLength: body[2]!,
      iif: text(attrs.get(FRA_IIFNAME)) ?? '',
      oif: text(attrs.get(FRA_OIFNAME)) ?? '',
      mark: u32(attrs.get(FRA_FWMARK)) ?? 0,
      action: body[7]!,
    };
  });
}
