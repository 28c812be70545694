/** Interfaces and their IPv4 addresses by rtnetlink. Routes and rules are in route.ts. */
import { ipv4Text } from './ipv4.js';
import { failedWith, type Netlink } from './netlink.js';
import {
  type Attributes,
  attributes,
  be32,
  type Message,
  NLM_F_CREATE,
  NLM_F_EXCL,
  Payload,
  text,
  u8,
  u32,
  viewOf,
} from './netlink-message.js';

const RTM_NEWLINK = 16;
const RTM_DELLINK = 17;
const RTM_GETLINK = 18;
const RTM_NEWADDR = 20;
const RTM_DELADDR = 21;
const RTM_GETADDR = 22;
const IFINFOMSG = 16;
const IFADDRMSG = 8;

const AF_INET = 2;
const IFLA_ADDRESS = 1;
const IFLA_IFNAME = 3;
const IFLA_MTU = 4;
const IFLA_MASTER = 10;
const IFLA_TXQLEN = 13;
const IFLA_LINKINFO = 18;
const IFLA_EXT_MASK = 29;
const IFLA_CARRIER = 33;
const IFLA_INFO_KIND = 1;
const IFLA_INFO_DATA = 2;
/** Leave the counters out: they are most of a link's message. */
const RTEXT_FILTER_SKIP_STATS = 8;

const IFA_ADDRESS = 1;
const IFA_LOCAL = 2;
const IFA_FLAGS = 8;
const IFA_F_SECONDARY = 1;
/** Valid on this host only: the kernel never picks such an address as the source of a packet. */
export const SCOPE_HOST = 254;

const IFF_UP = 1;
const IFF_LOOPBACK = 8;

export interface Link {
  readonly index: number;
  readonly name: string;
  readonly mtu: number;
  readonly txqueuelen: number;
  readonly up: boolean;
  readonly carrier: boolean;
  readonly loopback: boolean;
  /** IFLA_INFO_KIND, '' for a physical device. */
  readonly kind: string;
  /** IFLA_INFO_DATA: attributes of that kind. */
  readonly data: Attributes;
  readonly master: number;
}

export interface Address {
  /** Interface index. */
  readonly index: number;
  /** int32 */
  readonly address: number;
  readonly length: number;
  readonly scope: number;
  /** Another address of the same subnet came first. */
  readonly secondary: boolean;
}

function ifinfomsg(index: number, flags = 0, change = 0): Payload {
  return new Payload().u8(0).zeros(1).u16(0).u32(index).u32(flags).u32(change);
}

export function readLinks(nl: Netlink): Link[] {
  const payload = ifinfomsg(0).attrU32(IFLA_EXT_MASK, RTEXT_FILTER_SKIP_STATS);
  return nl.dump(RTM_GETLINK, payload.bytes(), 'list the interfaces').map(readLink);
}

/** By name or index; undefined where there is none. */
export function findLink(nl: Netlink, which: string | number): Link | undefined {
  const payload = ifinfomsg(typeof which === 'number' ? which : 0).attrU32(IFLA_EXT_MASK, RTEXT_FILTER_SKIP_STATS);
  if (typeof which === 'string') payload.attrText(IFLA_IFNAME, which);
  try {
    const message = nl.query(RTM_GETLINK, payload.bytes(), `look at interface ${which}`);
    return message && readLink(message);
  } catch (error) {
    // ERANGE: a name that is too long for any interface.
    if (failedWith(error, 'ENODEV', 'ERANGE')) return undefined;
    throw error;
  }
}

export function readLink({ body }: Message): Link {
  const view = viewOf(body);
  const flags = view.getUint32(8, true);
  const attrs = attributes(body, IFINFOMSG);
  const linkInfo = attributes(attrs.get(IFLA_LINKINFO));
  return {
    index: view.getInt32(4, true),
    name: text(attrs.get(IFLA_IFNAME)) ?? '',
    mtu: u32(attrs.get(IFLA_MTU)) ?? 0,
    txqueuelen: u32(attrs.get(IFLA_TXQLEN)) ?? 0,
    up: (flags & IFF_UP) !== 0,
    carrier: u8(attrs.get(IFLA_CARRIER)) === 1,
    loopback: (flags & IFF_LOOPBACK) !== 0,
    kind: text(linkInfo.get(IFLA_INFO_KIND)) ?? '',
    data: attributes(linkInfo.get(IFLA_INFO_DATA)),
    master: u32(attrs.get(IFLA_MASTER)) ?? 0,
  };
}

export interface LinkSettings {
  readonly up?: boolean;
  readonly mtu?: number;
  readonly txqueuelen?: number;
  /** Index of the bridge that it is a port of, 0 = of none. */
  readonly master?: number;
  /** Six bytes. */
  readonly mac?: Uint8Array;
}

/** Several settings are one request: the kernel applies MTU and queue length before it brings the device up. */
export function setLink(nl: Netlink, index: number, settings: LinkSettings): void {
  const payload = ifinfomsg(index, settings.up ? IFF_UP : 0, settings.up === undefined ? 0 : IFF_UP);
  if (settings.mtu !== undefined) payload.attrU32(IFLA_MTU, settings.mtu);
  if (settings.txqueuelen !== undefined) payload.attrU32(IFLA_TXQLEN, settings.txqueuelen);
  if (settings.master !== undefined) payload.attrU32(IFLA_MASTER, settings.master);
  if (settings.mac !== undefined) payload.attr(IFLA_ADDRESS, settings.mac);
  const words = Object.entries(settings).map(
    ([key, value]) => `${key}=${typeof value === 'object' ? Buffer.from(value).toString('hex') : value}`,
  );
  nl.request(RTM_NEWLINK, 0, payload.bytes(), `set ${words.join(' ')} on interface ${index}`);
}

export function deleteLink(nl: Netlink, index: number): void {
  nl.request(RTM_DELLINK, 0, ifinfomsg(index).bytes(), `delete interface ${index}`);
}

function ifaddrmsg(index: number, address: number, length: number, scope: number): Payload {
  return new Payload()
    .u8(AF_INET)
    .u8(length)
    .u8(0)
    .u8(scope)
    .u32(index)
    .attrBe32(IFA_LOCAL, address >>> 0)
    .attrBe32(IFA_ADDRESS, address >>> 0);
}

/** IPv4 addresses of every interface, in the kernel's order (primary ones first). */
export function readAddresses(nl: Netlink): Address[] {
  const payload = new Payload().u8(AF_INET).zeros(IFADDRMSG - 1);
  return nl.dump(RTM_GETADDR, payload.bytes(), 'list the addresses').flatMap(readAddress);
}

function readAddress({ body }: Message): Address[] {
  const view = viewOf(body);
  if (body[0] !== AF_INET) return [];
  const attrs = attributes(body, IFADDRMSG);
  // LOCAL is this host's address; ADDRESS is the peer's on a point-to-point link, the same elsewhere.
  const address = be32(attrs.get(IFA_LOCAL)) ?? be32(attrs.get(IFA_ADDRESS));
  if (address === undefined) return [];
  const flags = u32(attrs.get(IFA_FLAGS)) ?? body[2]!;
  return [
    {
      index: view.getUint32(4, true),
      address: address | 0,
      length: body[1]!,
      scope: body[3]!,
      secondary: (flags & IFA_F_SECONDARY) !== 0,
    },
  ];
}

/** Fails with EEXIST where the interface has it already. */
export function addAddress(nl: Netlink, index: number, address: number, length: number, scope = 0): void {
  nl.request(
    RTM_NEWADDR,
    NLM_F_CREATE | NLM_F_EXCL,
    ifaddrmsg(index, address, length, scope).bytes(),
    `add address ${ipv4Text(address)}/${length} to interface ${index}`,
  );
}

/** Fails with EADDRNOTAVAIL where the interface does not have it. */
export function deleteAddress(nl: Netlink, index: number, address: number, length: number): void {
  nl.request(
    RTM_DELADDR,
    0,
    ifaddrmsg(index, address, length, 0).bytes(),
    `delete address ${ipv4Text(address)}/${length} of interface ${index}`,
  );
}
