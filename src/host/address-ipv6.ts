/** IPv6 addresses and routes of the TUN by rtnetlink: what link.ts and route.ts are to IPv4, as far as the router needs it. */
import type { Prefix6, Words6 } from '../contract/ipv6.js';
import { ipv6Bytes, ipv6Text, wordsOf } from './ipv6.js';
import type { Netlink } from './netlink.js';
import { attributes, NLM_F_CREATE, NLM_F_EXCL, Payload, u32, viewOf } from './netlink-message.js';
import { TABLE_MAIN } from './route.js';

const RTM_NEWADDR = 20;
const RTM_DELADDR = 21;
const RTM_GETADDR = 22;
const RTM_NEWROUTE = 24;
const RTM_DELROUTE = 25;
const RTM_GETROUTE = 26;
const IFADDRMSG = 8;
const RTMSG = 12;
const AF_INET6 = 10;

const IFA_ADDRESS = 1;
const IFA_FLAGS = 8;
/** Duplicates are not looked for (there is nobody on a TUN), and no route goes with it. */
const IFA_F_NODAD = 0x02;
const IFA_F_NOPREFIXROUTE = 0x200;
const SCOPE_UNIVERSE = 0;

const RTA_DST = 1;
const RTA_OIF = 4;
const RTA_PREFSRC = 7;
const RTA_TABLE = 15;
const RTPROT_STATIC = 4;
const RTN_UNICAST = 1;
const RTM_F_CLONED = 0x200;

export interface Address6 {
  /** Interface index. */
  readonly index: number;
  readonly address: Words6;
  readonly length: number;
  readonly scope: number;
}

export function readAddresses6(nl: Netlink): Address6[] {
  const payload = new Payload().u8(AF_INET6).zeros(IFADDRMSG - 1);
  return nl.dump(RTM_GETADDR, payload.bytes(), 'list the IPv6 addresses').flatMap(({ body }) => {
    const address = attributes(body, IFADDRMSG).get(IFA_ADDRESS);
    if (body[0] !== AF_INET6 || address?.length !== 16) return [];
    return [{ index: viewOf(body).getUint32(4, true), address: wordsOf(address), length: body[1]!, scope: body[3]! }];
  });
}

function ifaddrmsg(index: number, address: Words6): Payload {
  return new Payload().u8(AF_INET6).u8(128).u8(0).u8(SCOPE_UNIVERSE).u32(index).attr(IFA_ADDRESS, ipv6Bytes(address));
}

/** As /128. Fails with EEXIST where the interface has it already. */
export function addAddress6(nl: Netlink, index: number, address: Words6): void {
  const payload = ifaddrmsg(index, address).attrU32(IFA_FLAGS, IFA_F_NODAD | IFA_F_NOPREFIXROUTE);
  const words = `add address ${ipv6Text(address)}/128 to interface ${index}`;
  nl.request(RTM_NEWADDR, NLM_F_CREATE | NLM_F_EXCL, payload.bytes(), words);
}

/** Fails with EADDRNOTAVAIL where the interface does not have it. */
export function deleteAddress6(nl: Netlink, index: number, address: Words6): void {
  const words = `delete address ${ipv6Text(address)}/128 of interface ${index}`;
  nl.request(RTM_DELADDR, 0, ifaddrmsg(index, address).bytes(), words);
}

export interface Route6 {
  readonly prefix: Prefix6;
  readonly index: number;
  /** What the host itself sends from; null = the kernel's choice. */
  readonly source: Words6 | null;
}

/** Those of the table main that lead to this interface by themselves. */
export function readRoutes6(nl: Netlink, index: number): Route6[] {
  const payload = new Payload().u8(AF_INET6).zeros(RTMSG - 1);
  return nl.dump(RTM_GETROUTE, payload.bytes(), 'list the IPv6 routes').flatMap(({ body }) => {
    const attrs = attributes(body, RTMSG);
    const cloned = (viewOf(body).getUint32(8, true) & RTM_F_CLONED) !== 0;
    if (body[0] !== AF_INET6 || cloned || (u32(attrs.get(RTA_TABLE)) ?? body[4]) !== TABLE_MAIN) return [];
    if (u32(attrs.get(RTA_OIF)) !== index) return [];
    const words = attrs.get(RTA_DST);
    const source = attrs.get(RTA_PREFSRC);
    const prefix = { words: words ? wordsOf(words) : ([0, 0, 0, 0] as const), length: body[1]! };
    return [{ prefix, index, source: source ? wordsOf(source) : null }];
  });
}

function rtmsg({ prefix, index, source }: Route6): Payload {
  const payload = new Payload()
    .u8(AF_INET6)
    .u8(prefix.length)
    .zeros(2)
    .u8(0) // the table is in RTA_TABLE
    .u8(RTPROT_STATIC)
    .u8(SCOPE_UNIVERSE)
    .u8(RTN_UNICAST)
    .u32(0)
    .attrU32(RTA_TABLE, TABLE_MAIN)
    .attrU32(RTA_OIF, index);
  if (prefix.length > 0) payload.attr(RTA_DST, ipv6Bytes(prefix.words));
  if (source !== null) payload.attr(RTA_PREFSRC, ipv6Bytes(source));
  return payload;
}

function describe({ prefix, index }: Route6): string {
  return `route ${ipv6Text(prefix.words)}/${prefix.length} on interface ${index}`;
}

/** Fails with EEXIST where the table has this prefix with the same metric. */
export function addRoute6(nl: Netlink, route: Route6): void {
  nl.request(RTM_NEWROUTE, NLM_F_CREATE | NLM_F_EXCL, rtmsg(route).bytes(), `add ${describe(route)}`);
}

/** Fails with ESRCH where there is no such route. */
export function deleteRoute6(nl: Netlink, route: Route6): void {
  nl.request(RTM_DELROUTE, 0, rtmsg({ ...route, source: null }).bytes(), `delete ${describe(route)}`);
}
