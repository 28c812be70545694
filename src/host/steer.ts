/**
 * Steering in the kernel: makes the filters there the ones that a `Steering` asks for.
 *
 * Theory of operation. There is one operation, `applySteering`: read the filters that are there, compare them with what
 * steeringFilters() wants, and act on the difference. Start, reload, repair (somebody deleted a filter of ours) and
 * adoption after a crash are all the same call; stop is `closeSteering`, and the journal's undo for the rest. The kernel says what
 * is there, the journal says which of it is ours. Nothing else is remembered.
 *
 * - Three passes, so that no packet slips through while they run: filters that are missing are created (LANs first), those that
 *   differ are swapped in place (the kernel does that between two packets), and what is no longer wanted is deleted, newest
 *   first. A LAN's filters go last, whatever the journal's order.
 * - Each hook gets two priorities of ours: one for filters that drop, a later one for those that redirect. They are the
 *   first pair from FIRST_PRIORITY on which nobody else has a filter, and stay the same as long as a filter lives.
 *   The kernel numbers filters without a priority from 49152 down, so those of strangers come behind ours.
 * - Filters are for every protocol, and the programs look at it: a priority-tagged IPv4 packet has protocol 802.1Q here but
 *   IPv4 in the kernel's stack.
 * - A redirect whose TUN is down or deleted drops. So nothing leaks while the daemon is dead; a new TUN has another index, and the
 *   next apply swaps every filter for one that leads there.
 * - Before a filter is deleted it is swapped for an empty one: old kernels refuse to delete what they cannot describe.
 */
import { release } from 'node:os';
import type { Steering } from '../contract/steering.js';
import { encodeProgram } from './bpf.js';
import type { Change, Journal } from './journal.js';
import { failedWith, type Netlink } from './netlink.js';
import { attributes, type Payload, u32, viewOf } from './netlink-message.js';
import {
  DROP_HANDLES,
  LARGEST_PROGRAM,
  LOOPBACK_INDEX,
  MAX_PROGRAM,
  type SteeringFilter,
  steeringFilters,
} from './steer-programs.js';
import {
  addClsact,
  clsactOf,
  deleteClsact,
  deleteFilter,
  EGRESS,
  ETH_P_ALL,
  type Filter,
  type FilterKey,
  INGRESS,
  readFilters,
  writeFilter,
} from './tc.js';
import { lanIndexes } from './undo.js';

const FIRST_PRIORITY = 100;
const LAST_PRIORITY = 0x7fff;

// uapi/linux/pkt_cls.h, pkt_sched.h, tc_act/tc_mirred.h
const CLASSIFIER = 'bpf';
const TCA_BPF_ACT = 1;
const TCA_BPF_OPS_LEN = 4;
const TCA_BPF_OPS = 5;
const TCA_BPF_FLAGS = 8;
const TCA_BPF_FLAG_ACT_DIRECT = 1;
const TCA_ACT_KIND = 1;
const TCA_ACT_OPTIONS = 2;
const TCA_MIRRED_PARMS = 2;
const TC_ACT_STOLEN = 4;
const TCA_EGRESS_REDIR = 1;
/** Offset of `ifindex` in struct tc_mirred, and its size. */
const MIRRED_IFINDEX = 24;
const MIRRED_BYTES = 28;

/** Programs that mean no packet: "no match", and in direct-action mode TC_ACT_UNSPEC, so that the next filter looks. */
const EMPTY: Record<SteeringFilter['action'], Uint8Array> = {
  redirect: encodeProgram([{ code: 0x06, jt: 0, jf: 0, k: 0 }]),
  drop: encodeProgram([{ code: 0x06, jt: 0, jf: 0, k: 0xffffffff }]),
};
const INSTRUCTION_BYTES = 8;

/** What was done, as lines for the log. */
export interface SteeringReport {
  readonly created: readonly string[];
  readonly replaced: readonly string[];
  readonly deleted: readonly string[];
  /** Interfaces that vanished meanwhile; the next world has them no more. */
  readonly vanished: readonly string[];
}

type NotedFilter = Extract<Change, { kind: 'filter' }>;

/** A filter whose program is as the kernel has it. */
type Encoded = Omit<SteeringFilter, 'program'> & { readonly bytes: Uint8Array };

/** A filter with its place. */
interface Placed {
  readonly key: FilterKey;
  readonly filter: Encoded;
}

interface Difference {
  readonly create: readonly Placed[];
  readonly replace: readonly Placed[];
  /** In the order of deletion. */
  readonly remove: readonly NotedFilter[];
}

/**
 * What steeringFilters() says, kept as long as its `Steering`: whether the kernel still has it is asked every few seconds, and with
 * 10,000 forwards the answer takes a quarter of a second. Kept is what the kernel gets, 8 bytes an instruction.
 */
const known = new WeakMap<Steering, readonly Encoded[]>();

function wantedBy(steering: Steering): readonly Encoded[] {
  let wanted = known.get(steering);
  if (wanted === undefined) {
    wanted = steeringFilters(steering, largestProgram(release())).map(({ program, ...filter }) => ({
      ...filter,
      bytes: encodeProgram(program),
    }));
    known.set(steering, wanted);
  }
  return wanted;
}

/** By the kernel's release ("6.18.44-fc"): from 6.8 on it describes any filter, and so can delete it. */
export function largestProgram(kernel: string): number {
  const [major = 0, minor = 0] = kernel.split('.').map((part) => Number.parseInt(part, 10));
  return major > 6 || (major === 6 && minor >= 8) ? LARGEST_PROGRAM : MAX_PROGRAM;
}

/** Makes the kernel steer as asked; where it does already, nothing is touched. Throws KernelError. */
export function applySteering(nl: Netlink, steering: Steering, journal: Journal): SteeringReport {
  const wanted = wantedBy(steering);
  const vanished = new Set<string>();
  const done = (list: readonly Placed[], act: (one: Placed) => void): string[] =>
    list
      .filter((one) => !vanished.has(one.filter.interface) && survives(one.filter.interface, vanished, () => act(one)))
      .map(describePlaced);

  for (const { interface: name, index, needsEgress } of interfacesOf(wanted)) {
    survives(name, vanished, () => prepare(nl, name, index, needsEgress, journal));
  }
  const difference = compare(nl, wanted, steering.tun, journal);
  const created = done(difference.create, ({ key, filter }) => {
    journal.note({ kind: 'filter', interface: filter.interface, ...key, classifier: CLASSIFIER });
    writeFilter(nl, key, CLASSIFIER, optionsOf(filter, steering.tun), true);
  });
  const replaced = done(difference.replace, ({ key, filter }) => {
    writeFilter(nl, key, CLASSIFIER, optionsOf(filter, steering.tun));
  });
  const deleted = removeFilters(nl, difference.remove, journal);
  removeQdiscs(nl, journal, new Set(wanted.map(({ index }) => index)));
  return { created, replaced, deleted, vanished: [...vanished] };
}

/**
 * Nothing from outside and nothing from the host is handed to the engine any more. What stands on the LANs, and on the uplinks'
 * way out, stays until the journal is undone: the engine still sends what it has, and the kernel may yet have to say of it.
 */
export function closeSteering(nl: Netlink, journal: Journal): void {
  const noted = notedFilters(journal);
  const lans = lanIndexes(noted);
  const stays = ({ index, parent }: NotedFilter): boolean =>
    lans.has(index) || (parent === EGRESS && index !== LOOPBACK_INDEX);
  removeFilters(
    nl,
    removalOrder(noted).filter((one) => !stays(one)),
    journal,
  );
}

/** Takes all filters and qdiscs of ours away: uplinks first, LANs last. Nothing to do is fine. */
export function removeSteering(nl: Netlink, journal: Journal): SteeringReport {
  const deleted = removeFilters(nl, removalOrder(notedFilters(journal)), journal);
  removeQdiscs(nl, journal, new Set());
  return { created: [], replaced: [], deleted, vanished: [] };
}

/** What applySteering would have to repair: filters that somebody deleted, changed, or whose TUN is another one. Changes nothing. */
export function verifySteering(nl: Netlink, steering: Steering, journal: Journal): string[] {
  const { create, replace } = compare(nl, wantedBy(steering), steering.tun, journal);
  return [
    ...create.map((one) => `${describePlaced(one)} is missing`),
    ...replace.map((one) => `${describePlaced(one)} is not the one that was set`),
  ];
}

// ---- Comparison.

function notedFilters(journal: Journal): NotedFilter[] {
  return journal.changes.filter((change): change is NotedFilter => change.kind === 'filter');
}

function compare(nl: Netlink, wanted: readonly Encoded[], tun: number, journal: Journal): Difference {
  const noted = notedFilters(journal);
  const at = hookReader(nl);
  const priorities = new Map<string, Priorities>();
  const placed = wanted.map((filter): Placed => {
    const parent = filter.hook === 'ingress' ? INGRESS : EGRESS;
    const hook = `${filter.index} ${parent}`;
    const ours = noted.filter((one) => one.index === filter.index && one.parent === parent);
    const pair = priorities.get(hook) ?? choosePriorities(at(filter.index, parent), ours);
    priorities.set(hook, pair);
    const key = {
      index: filter.index,
      parent,
      priority: pair[filter.action],
      protocol: ETH_P_ALL,
      handle: filter.handle,
    };
    return { key, filter };
  });

  const create: Placed[] = [];
  const replace: Placed[] = [];
  for (const one of placed) {
    const found = at(one.key.index, one.key.parent).find((filter) => sameKey(filter, one.key));
    if (!found) create.push(one);
    else if (found.kind !== CLASSIFIER || !isAsWanted(found, one.filter, tun)) replace.push(one);
  }
  const remove = noted.filter((change) => !placed.some(({ key }) => sameKey(key, change)));
  return { create, replace, remove: removalOrder(remove) };
}

/** Reads the filters of each hook once. Other chains than 0 are nobody's business here: priorities are a chain's own. */
function hookReader(nl: Netlink): (index: number, parent: number) => readonly Filter[] {
  const read = new Map<string, Filter[]>();
  return (index, parent) => {
    const hook = `${index} ${parent}`;
    const known = read.get(hook) ?? readFilters(nl, index, parent).filter(({ chain }) => chain === 0);
    read.set(hook, known);
    return known;
  };
}

function sameKey(a: FilterKey, b: FilterKey): boolean {
  return (
    a.index === b.index &&
    a.parent === b.parent &&
    a.priority === b.priority &&
    a.protocol === b.protocol &&
    a.handle === b.handle
  );
}

type Priorities = Readonly<Record<SteeringFilter['action'], number>>;

/** The pair that is in use on this hook, or the first free one. `ours`: what the journal has for the hook. */
function choosePriorities(there: readonly Filter[], ours: readonly NotedFilter[]): Priorities {
  const noted = (drop: boolean): number | undefined => ours.find((one) => isDropHandle(one.handle) === drop)?.priority;
  const strangers = new Set(there.filter((one) => !ours.some((o) => sameKey(o, one))).map(({ priority }) => priority));
  const drop = noted(true);
  const redirect = noted(false);
  // Both are needed in this order; a priority that a stranger has joined meanwhile is still good for us.
  const pair =
    drop !== undefined ? [drop, redirect ?? drop + 1] : redirect !== undefined ? [redirect - 1, redirect] : [];
  const [first, second] = pair;
  if (first !== undefined && second !== undefined) {
    const free = (drop !== undefined || !strangers.has(first)) && (redirect !== undefined || !strangers.has(second));
    if (free && first < second) return { drop: first, redirect: second };
  }
  for (let priority = FIRST_PRIORITY; priority < LAST_PRIORITY; priority++) {
    if (!strangers.has(priority) && !strangers.has(priority + 1)) return { drop: priority, redirect: priority + 1 };
  }
  throw new Error(
    `no two free filter priorities from ${FIRST_PRIORITY} to ${LAST_PRIORITY} ("tc filter show" lists them)`,
  );
}

function isDropHandle(handle: number): boolean {
  return (handle & DROP_HANDLES) !== 0;
}

/** True where the filter in the kernel has this very program and leads to this TUN. */
function isAsWanted(found: Filter, wanted: Encoded, tun: number): boolean {
  const ops = found.options.get(TCA_BPF_OPS);
  if (!ops || Buffer.compare(ops, wanted.bytes) !== 0) return false;
  const direct = ((u32(found.options.get(TCA_BPF_FLAGS)) ?? 0) & TCA_BPF_FLAG_ACT_DIRECT) !== 0;
  if (wanted.action === 'drop') return direct;
  return !direct && redirectTarget(found) === tun;
}

/** Interface index that the filter's first action redirects to; 0 where the device is gone, undefined where there is no such action. */
function redirectTarget(found: Filter): number | undefined {
  const action = attributes(attributes(found.options.get(TCA_BPF_ACT)).get(1));
  const parms = attributes(action.get(TCA_ACT_OPTIONS)).get(TCA_MIRRED_PARMS);
  return parms && parms.length >= MIRRED_BYTES ? viewOf(parms).getUint32(MIRRED_IFINDEX, true) : undefined;
}

// ---- Acting.

/** Writes TCA_OPTIONS of a filter. */
function optionsOf({ action, bytes }: Pick<Encoded, 'action' | 'bytes'>, tun: number) {
  return (payload: Payload): void => {
    payload.attrU16(TCA_BPF_OPS_LEN, bytes.length / INSTRUCTION_BYTES).attr(TCA_BPF_OPS, bytes);
    if (action === 'drop') {
      payload.attrU32(TCA_BPF_FLAGS, TCA_BPF_FLAG_ACT_DIRECT);
      return;
    }
    payload.nest(TCA_BPF_ACT, (actions) =>
      actions.nest(1, (one) =>
        one
          .attrText(TCA_ACT_KIND, 'mirred')
          .nest(TCA_ACT_OPTIONS, (options) => options.attr(TCA_MIRRED_PARMS, redirectTo(tun))),
      ),
    );
  };
}

/** struct tc_mirred: index, capabilities, action, two counts, what to do, interface. */
function redirectTo(tun: number): Uint8Array {
  const bytes = new Uint8Array(MIRRED_BYTES);
  const view = viewOf(bytes);
  view.setInt32(8, TC_ACT_STOLEN, true);
  view.setInt32(20, TCA_EGRESS_REDIR, true);
  view.setUint32(MIRRED_IFINDEX, tun, true);
  return bytes;
}

interface HookedInterface {
  readonly interface: string;
  readonly index: number;
  needsEgress: boolean;
}

function interfacesOf(filters: readonly Encoded[]): HookedInterface[] {
  const byIndex = new Map<number, HookedInterface>();
  for (const { interface: name, index, hook } of filters) {
    const known = byIndex.get(index) ?? { interface: name, index, needsEgress: false };
    known.needsEgress ||= hook === 'egress';
    byIndex.set(index, known);
  }
  return [...byIndex.values()];
}

/** Sees to the hooks: a clsact that is there is used and left, an `ingress` qdisc serves where egress is not needed. */
function prepare(nl: Netlink, name: string, index: number, needsEgress: boolean, journal: Journal): void {
  const present = clsactOf(nl, index);
  if (present === 'clsact' || (present === 'ingress' && !needsEgress)) return;
  if (present === 'ingress') {
    throw new Error(
      `interface ${name} has an ingress qdisc, which has no hook for packets on their way out: replace it by clsact ("tc qdisc del dev ${name} ingress; tc qdisc add dev ${name} clsact", then its filters again)`,
    );
  }
  journal.note({ kind: 'qdisc', interface: name, index });
  addClsact(nl, index);
}

/** Runs `act`; false, and noted, where the interface is gone. */
function survives(name: string, vanished: Set<string>, act: () => void): boolean {
  try {
    act();
    return true;
  } catch (error) {
    if (!failedWith(error, 'ENODEV')) throw error;
    vanished.add(name);
    return false;
  }
}

/** Newest first, LANs last. */
function removalOrder(filters: readonly NotedFilter[]): NotedFilter[] {
  const lans = lanIndexes(filters);
  const newestFirst = filters.toReversed();
  const isLan = ({ index }: NotedFilter): boolean => lans.has(index);
  return [...newestFirst.filter((one) => !isLan(one)), ...newestFirst.filter(isLan)];
}

function removeFilters(nl: Netlink, filters: readonly NotedFilter[], journal: Journal): string[] {
  const deleted: string[] = [];
  const read = hookReader(nl);
  for (const change of filters) {
    try {
      const there = read(change.index, change.parent).find((one) => sameKey(one, change));
      if (there?.kind === CLASSIFIER) {
        const action = isDropHandle(change.handle) ? 'drop' : 'redirect';
        const tun = redirectTarget(there) ?? 0;
        const swappable = action === 'drop' || tun !== 0;
        if (swappable) writeFilter(nl, change, CLASSIFIER, optionsOf({ action, bytes: EMPTY[action] }, tun));
        deleteFilter(nl, change, CLASSIFIER);
        deleted.push(describe(change.interface, change));
      }
    } catch (error) {
      // It went away since it was read, or its interface did.
      if (!failedWith(error, 'ENODEV', 'ENOENT', 'EINVAL')) throw error;
    }
    journal.forget(change);
  }
  return deleted;
}

/** A clsact of our making goes when it is empty; with a stranger's filter on it, it stays, and so does the note. */
function removeQdiscs(nl: Netlink, journal: Journal, needed: ReadonlySet<number>): void {
  for (const change of journal.changes) {
    if (change.kind !== 'qdisc' || needed.has(change.index)) continue;
    const strangers = [INGRESS, EGRESS].flatMap((parent) => readFilters(nl, change.index, parent));
    if (strangers.length > 0) continue;
    try {
      if (clsactOf(nl, change.index) === 'clsact') deleteClsact(nl, change.index);
    } catch (error) {
      if (!failedWith(error, 'ENODEV', 'ENOENT', 'EINVAL')) throw error;
    }
    journal.forget(change);
  }
}

function describePlaced({ filter, key }: Placed): string {
  return describe(filter.interface, key);
}

function describe(name: string, { parent, priority, handle }: FilterKey): string {
  const action = isDropHandle(handle) ? 'drop' : 'redirect';
  return `${action} filter pref ${priority} handle 0x${handle.toString(16)} on ${parent === INGRESS ? 'ingress' : 'egress'} of ${name}`;
}
