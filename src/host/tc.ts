/**
 * Traffic control by rtnetlink: the clsact qdisc and filters on its two hooks. Primitives only; what the filters say is
 * built by the caller (the steering part), which passes a kind and writes the options.
 *
 * A filter is known by (interface, parent, priority, protocol, handle). Replacing with the same five is one atomic swap
 * in the kernel: packets see the old or the new program, never none.
 */

import { failedWith, type Netlink } from './netlink.js';
import {
  type Attributes,
  attributes,
  type Message,
  NLM_F_CREATE,
  NLM_F_EXCL,
  Payload,
  text,
  u32,
  viewOf,
} from './netlink-message.js';

const RTM_NEWQDISC = 36;
const RTM_DELQDISC = 37;
const RTM_GETQDISC = 38;
const RTM_NEWTFILTER = 44;
const RTM_DELTFILTER = 45;
const RTM_GETTFILTER = 46;
const TCMSG = 20;

const TCA_KIND = 1;
const TCA_OPTIONS = 2;
const TCA_CHAIN = 11;

/** Parents of filters on a clsact qdisc. */
export const INGRESS = 0xffff_fff2;
export const EGRESS = 0xffff_fff3;
/** Where clsact itself sits. The older `ingress` qdisc has the same handle, so an interface has one or the other. */
const CLSACT_PARENT = 0xffff_fff1;
const CLSACT_HANDLE = 0xffff_0000;

/** EtherTypes for filters. */
export const ETH_P_ALL = 0x0003;
export const ETH_P_IP = 0x0800;
export const ETH_P_IPV6 = 0x86dd;

export interface Qdisc {
  readonly index: number;
  readonly kind: string;
  readonly handle: number;
  readonly parent: number;
}

export interface FilterKey {
  /** Interface index. */
  readonly index: number;
  /** INGRESS or EGRESS. */
  readonly parent: number;
  /** 1…65535; lower ones look first. */
  readonly priority: number;
  readonly protocol: number;
  readonly handle: number;
}

export interface Filter extends FilterKey {
  readonly kind: string;
  readonly chain: number;
  /** TCA_OPTIONS, decoded one level. */
  readonly options: Attributes;
}

/** tcmsg. `info` = priority << 16 | protocol in network order, for filters. */
function tcmsg(index: number, parent: number, handle: number, info: number): Payload {
  return new Payload().u8(0).zeros(3).u32(index).u32(handle).u32(parent).u32(info);
}

function info(priority: number, protocol: number): number {
  return ((priority << 16) | ((protocol & 0xff) << 8) | (protocol >>> 8)) >>> 0;
}

/** Without `index`: of every interface. */
export function readQdiscs(nl: Netlink, index?: number): Qdisc[] {
  const messages = nl.dump(RTM_GETQDISC, tcmsg(index ?? 0, 0, 0, 0).bytes(), 'list the qdiscs');
  return messages.map(readQdisc).filter((qdisc) => index === undefined || qdisc.index === index);
}

function readQdisc({ body }: Message): Qdisc {
  const view = viewOf(body);
  return {
    index: view.getInt32(4, true),
    handle: view.getUint32(8, true),
    parent: view.getUint32(12, true),
    kind: text(attributes(body, TCMSG).get(TCA_KIND)) ?? '',
  };
}

/** What sits at the hook: 'clsact', the older 'ingress' (no egress filters then), or nothing. */
export function clsactOf(nl: Netlink, index: number): 'clsact' | 'ingress' | undefined {
  const qdisc = readQdiscs(nl, index).find(({ handle }) => handle === CLSACT_HANDLE);
  return qdisc?.kind === 'clsact' || qdisc?.kind === 'ingress' ? qdisc.kind : undefined;
}

/** Fails with EEXIST where a clsact or ingress qdisc is already there. */
export function addClsact(nl: Netlink, index: number): void {
  const payload = tcmsg(index, CLSACT_PARENT, CLSACT_HANDLE, 0).attrText(TCA_KIND, 'clsact');
  nl.request(
    RTM_NEWQDISC,
    NLM_F_CREATE | NLM_F_EXCL,
    payload.bytes(),
    `add a clsact qdisc to interface ${index} (kernel option NET_SCH_INGRESS)`,
  );
}

export function deleteClsact(nl: Netlink, index: number): void {
  const payload = tcmsg(index, CLSACT_PARENT, CLSACT_HANDLE, 0).attrText(TCA_KIND, 'clsact');
  nl.request(RTM_DELQDISC, 0, payload.bytes(), `delete the clsact qdisc of interface ${index}`);
}

/** Filters of one hook, in the order in which packets meet them; none where the interface or its clsact is gone. */
export function readFilters(nl: Netlink, index: number, parent: number): Filter[] {
  let messages: Message[];
  try {
    messages = nl.dump(RTM_GETTFILTER, tcmsg(index, parent, 0, 0).bytes(), `list the filters of interface ${index}`);
  } catch (error) {
    // ENODEV: no such interface; EINVAL and ENOENT: no qdisc with that parent.
    if (failedWith(error, 'ENODEV', 'EINVAL', 'ENOENT')) return [];
    throw error;
  }
  // Each priority starts with a message for the classifier as a whole, which has handle 0 and no options.
  return messages.map(readFilter).filter((filter) => filter.parent === parent && filter.options.size > 0);
}

function readFilter({ body }: Message): Filter {
  const view = viewOf(body);
  const attrs = attributes(body, TCMSG);
  return {
    index: view.getInt32(4, true),
    handle: view.getUint32(8, true),
    parent: view.getUint32(12, true),
    protocol: view.getUint16(16),
    priority: view.getUint16(18, true),
    kind: text(attrs.get(TCA_KIND)) ?? '',
    chain: u32(attrs.get(TCA_CHAIN)) ?? 0,
    options: attributes(attrs.get(TCA_OPTIONS)),
  };
}

/**
 * Creates the filter, or swaps the one with the same key in place. `exclusive`: fail with EEXIST instead of swapping.
 * `options` writes what goes into TCA_OPTIONS.
 */
export function writeFilter(
  nl: Netlink,
  key: FilterKey,
  kind: string,
  options: (payload: Payload) => void,
  exclusive = false,
): void {
  const payload = tcmsg(key.index, key.parent, key.handle, info(key.priority, key.protocol))
    .attrText(TCA_KIND, kind)
    .nest(TCA_OPTIONS, options);
  nl.request(
    RTM_NEWTFILTER,
    NLM_F_CREATE | (exclusive ? NLM_F_EXCL : 0),
    payload.bytes(),
    `set ${kind} filter ${describeFilter(key)}`,
  );
}

/** Fails with ENOENT (or ENODEV, EINVAL) where it is not there. */
export function deleteFilter(nl: Netlink, key: FilterKey, kind: string): void {
  const payload = tcmsg(key.index, key.parent, key.handle, info(key.priority, key.protocol)).attrText(TCA_KIND, kind);
  nl.request(RTM_DELTFILTER, 0, payload.bytes(), `delete ${kind} filter ${describeFilter(key)}`);
}

export function describeFilter(key: FilterKey): string {
  const hook = key.parent === INGRESS ? 'ingress' : key.parent === EGRESS ? 'egress' : `0x${key.parent.toString(16)}`;
  return `pref ${key.priority} handle ${key.handle} on ${hook} of interface ${key.index}`;
}
