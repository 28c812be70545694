/**
 * The nf_tables rule set, as far as it can hurt the engine, read by netlink (nft and iptables-nft write the same tables).
 *
 * A rule in the kernel is a list of expressions on registers: "load oifname into register 1", "compare register 1 with
 * …", "verdict drop". Each rule is run here symbolically, once: registers hold what was loaded instead of a packet's
 * value, and comparisons become conditions. Expressions that are not understood count as "some other condition", so a
 * rule never looks wider than it is. Everything in these messages is in network order.
 */
import { existsSync, readFileSync } from 'node:fs';
import { NETLINK_NETFILTER, Netlink } from './netlink.js';
import { type Attributes, attributeList, attributes, be32, Payload, text, viewOf } from './netlink-message.js';
import { readMatch, readTarget } from './xtables.js';

const SUBSYSTEM = 10 << 8;
const GETTABLE = SUBSYSTEM | 1;
const GETCHAIN = SUBSYSTEM | 4;
const GETRULE = SUBSYSTEM | 7;
const GETSETELEM = SUBSYSTEM | 13;
const NFGENMSG = 4;

/** Families that IPv4 packets of the IP layer meet. */
const FAMILY_INET = 1;
const FAMILY_IPV4 = 2;

/** Bits of conntrack states as rules compare them. */
export const CT_INVALID = 1;

export type Verdict = 'accept' | 'drop' | 'jump' | 'goto' | 'return';

/** `name` is what is compared with (an interface's name; a trailing * = prefix); `not`: all others. */
export interface InterfaceCondition {
  readonly name: string;
  readonly not: boolean;
}

export interface Nat {
  readonly kind: 'masquerade' | 'snat';
  /** int32; undefined = the outgoing interface's. */
  readonly address: number | undefined;
  /** undefined = any port, the packet's own if it is free. */
  readonly ports: { readonly first: number; readonly last: number } | undefined;
}

export interface Rule {
  readonly verdict: Verdict | undefined;
  /** Chain of jump and goto. */
  readonly target: string;
  readonly iif: InterfaceCondition | undefined;
  readonly oif: InterfaceCondition | undefined;
  /** States (CT_*) that it matches, undefined = any. */
  readonly ctStates: number | undefined;
  /** States that its `ct state vmap` drops. */
  readonly ctDropped: number;
  /** Source prefix that it asks for; `not` is counted in `others`. */
  readonly source: { readonly prefix: number; readonly mask: number } | undefined;
  readonly notrack: boolean;
  readonly nat: Nat | undefined;
  /** Conditions of other kinds. */
  readonly others: number;
}

export interface Chain {
  /** 'ip' or 'inet'. */
  readonly family: string;
  readonly table: string;
  readonly name: string;
  /** Base chains: NF_INET_* (0 prerouting, 2 forward, 4 postrouting); −1 = only reached by jumps. */
  readonly hook: number;
  readonly type: string;
  readonly drops: boolean;
  readonly rules: readonly Rule[];
}

export interface RuleSet {
  readonly chains: readonly Chain[];
}

/**
 * Undefined where nf_tables is not in the kernel. Asking would load the module, so a kernel with modules is asked only
 * when it is there; /proc/kallsyms also shows what is built in.
 */
export function readRuleSet(): RuleSet | undefined {
  if (existsSync('/proc/modules') && !/^nf_tables /m.test(readFileSync('/proc/modules', 'utf8'))) {
    const symbols = existsSync('/proc/kallsyms') ? readFileSync('/proc/kallsyms', 'latin1') : '';
    if (!symbols.includes(' nf_tables_newtable')) return undefined;
  }
  const nl = new Netlink(NETLINK_NETFILTER);
  try {
    const ask = nfgenmsg(0).bytes();
    if (nl.dump(GETTABLE, ask, 'list the nf_tables tables').length === 0) return { chains: [] };
    const rules = new Map<string, Rule[]>();
    for (const { body } of nl.dump(GETRULE, ask, 'list the nf_tables rules')) {
      const attrs = attributes(body, NFGENMSG);
      const table = text(attrs.get(1)) ?? '';
      const key = `${body[0]} ${table} ${text(attrs.get(2))}`;
      const rule = runRule(attrs.get(4), (set) => dropsOfMap(nl, body[0]!, table, set));
      rules.set(key, [...(rules.get(key) ?? []), rule]);
    }
    const chains = nl.dump(GETCHAIN, ask, 'list the nf_tables chains').flatMap(({ body }) => {
      const family = body[0]!;
      if (family !== FAMILY_INET && family !== FAMILY_IPV4) return [];
      return [readChain(family, attributes(body, NFGENMSG), rules)];
    });
    return { chains };
  } finally {
    nl.close();
  }
}

function nfgenmsg(family: number): Payload {
  return new Payload().u8(family).u8(0).be16(0);
}

function readChain(family: number, attrs: Attributes, rules: ReadonlyMap<string, Rule[]>): Chain {
  const hook = attributes(attrs.get(4));
  const table = text(attrs.get(1)) ?? '';
  const name = text(attrs.get(3)) ?? '';
  return {
    family: family === FAMILY_INET ? 'inet' : 'ip',
    table,
    name,
    hook: be32(hook.get(1)) ?? -1,
    type: text(attrs.get(7)) ?? '',
    drops: attrs.has(4) && be32(attrs.get(5)) === 0,
    rules: rules.get(`${family} ${table} ${name}`) ?? [],
  };
}

/** What a register holds: the name of what was loaded (with the mask that it went through), or bytes. */
type Register =
  | { readonly kind: 'iifname' | 'oifname' | 'iif' | 'oif' | 'other' }
  | { readonly kind: 'ct-state'; readonly mask: number }
  | { readonly kind: 'source'; readonly mask: number }
  | { readonly kind: 'bytes'; readonly bytes: Uint8Array };

/** A rule while it is read. */
export type Draft = { -readonly [K in keyof Rule]: Rule[K] };

/** Matches everything, does nothing. */
export function emptyRule(): Draft {
  return {
    verdict: undefined,
    target: '',
    iif: undefined,
    oif: undefined,
    ctStates: undefined,
    ctDropped: 0,
    source: undefined,
    notrack: false,
    nat: undefined,
    others: 0,
  };
}

function runRule(expressions: Uint8Array | undefined, dropsOf: (set: string) => number): Rule {
  const rule = emptyRule();
  const registers = new Map<number, Register>();
  for (const { value } of expressions ? attributeList(expressions) : []) {
    const expression = attributes(value);
    runExpression(text(expression.get(1)) ?? '', attributes(expression.get(2)), rule, registers, dropsOf);
  }
  return rule;
}

function runExpression(
  name: string,
  data: Attributes,
  rule: Draft,
  registers: Map<number, Register>,
  dropsOf: (set: string) => number,
): void {
  const number = (type: number): number => be32(data.get(type)) ?? 0;
  switch (name) {
    case 'meta':
      if (data.has(1)) registers.set(number(1), { kind: META[number(2)] ?? 'other' });
      return;
    case 'ct':
      if (data.has(1)) registers.set(number(1), number(2) === 0 ? { kind: 'ct-state', mask: ~0 } : { kind: 'other' });
      return;
    case 'payload':
      if (data.has(1)) registers.set(number(1), payload(number(2), number(3), number(4)));
      return;
    case 'bitwise':
      registers.set(number(2), masked(registers.get(number(1)), attributes(data.get(4)).get(1)));
      return;
    case 'cmp':
      compare(rule, registers.get(number(1)), number(2) === 1, attributes(data.get(3)).get(1) ?? new Uint8Array());
      return;
    case 'lookup':
      lookup(rule, registers.get(number(2)), data, dropsOf);
      return;
    case 'immediate':
      immediate(rule, registers, number(1), attributes(data.get(2)));
      return;
    case 'reject':
      rule.verdict = 'drop';
      return;
    case 'notrack':
      rule.notrack = true;
      return;
    case 'masq':
      rule.nat = { kind: 'masquerade', address: undefined, ports: portsOf(registers, data.get(2), data.get(3)) };
      return;
    case 'nat':
      if (number(1) === 0) {
        const address = bytesOf(registers, data.get(3));
        const ports = portsOf(registers, data.get(5), data.get(6));
        rule.nat = { kind: 'snat', address: address && viewOf(address).getInt32(0), ports };
      }
      return;
    case 'match':
      readMatch(rule, text(data.get(1)) ?? '', data.get(3));
      return;
    case 'target':
      readTarget(rule, text(data.get(1)) ?? '', number(2), data.get(3));
      return;
    case 'counter':
    case 'log':
      return;
    default:
      rule.others++;
  }
}

/** NFT_META_* */
const META: Record<number, 'iif' | 'oif' | 'iifname' | 'oifname'> = { 4: 'iif', 5: 'oif', 6: 'iifname', 7: 'oifname' };

/** The source address of the IPv4 header, or its leading bytes (a /16 needs no more than two). */
function payload(base: number, offset: number, length: number): Register {
  if (base !== 1 || offset !== 12 || length > 4 || length === 0) return { kind: 'other' };
  return { kind: 'source', mask: -1 << (32 - 8 * length) };
}

function masked(register: Register | undefined, mask: Uint8Array | undefined): Register {
  if (!register || !mask) return { kind: 'other' };
  if (register.kind === 'ct-state' && mask.length === 4) return { kind: 'ct-state', mask: hostOrder(mask) };
  if (register.kind === 'source') return { kind: 'source', mask: leading(mask) };
  return { kind: 'other' };
}

function compare(rule: Draft, register: Register | undefined, not: boolean, value: Uint8Array): void {
  switch (register?.kind) {
    case 'iifname':
      rule.iif = { name: interfaceName(value), not };
      return;
    case 'oifname':
      rule.oif = { name: interfaceName(value), not };
      return;
    case 'iif':
      rule.iif = { name: `#${hostOrder(value)}`, not };
      return;
    case 'oif':
      rule.oif = { name: `#${hostOrder(value)}`, not };
      return;
    case 'ct-state':
      // "(state & mask) != 0" is how nft writes a set of states; "state == x" is one of them.
      rule.ctStates = not && hostOrder(value) === 0 ? register.mask : not ? ~hostOrder(value) : hostOrder(value);
      return;
    case 'source':
      if (not) rule.others++;
      else rule.source = { prefix: leading(value), mask: register.mask };
      return;
    default:
      // `meta nfproto ipv4` and `meta l4proto tcp` among them: they narrow the rule.
      rule.others++;
  }
}

function lookup(rule: Draft, register: Register | undefined, data: Attributes, dropsOf: (set: string) => number): void {
  if (register?.kind === 'ct-state' && data.has(3)) rule.ctDropped |= dropsOf(text(data.get(1)) ?? '');
  else rule.others++;
}

function immediate(rule: Draft, registers: Map<number, Register>, register: number, data: Attributes): void {
  const verdict = data.get(2);
  if (!verdict) {
    registers.set(register, { kind: 'bytes', bytes: data.get(1) ?? new Uint8Array() });
    return;
  }
  const attrs = attributes(verdict);
  rule.verdict = VERDICTS.get((be32(attrs.get(1)) ?? 0) | 0);
  rule.target = text(attrs.get(2)) ?? '';
}

const VERDICTS = new Map<number, Verdict>([
  [0, 'drop'],
  [1, 'accept'],
  [-3, 'jump'],
  [-4, 'goto'],
  [-5, 'return'],
]);

/** Of a verdict map keyed by conntrack state: the states whose verdict is drop. */
function dropsOfMap(nl: Netlink, family: number, table: string, set: string): number {
  const ask = nfgenmsg(family).attrText(1, table).attrText(2, set);
  let dropped = 0;
  for (const { body } of nl.dump(GETSETELEM, ask.bytes(), `list the elements of set ${set}`)) {
    const elements = attributes(body, NFGENMSG).get(3);
    for (const { value } of elements ? attributeList(elements) : []) {
      const element = attributes(value);
      const key = attributes(element.get(1)).get(1);
      const verdict = attributes(attributes(element.get(2)).get(2)).get(1);
      if (key && verdict && be32(verdict) === 0) dropped |= hostOrder(key);
    }
  }
  return dropped;
}

function bytesOf(registers: ReadonlyMap<number, Register>, register: Uint8Array | undefined): Uint8Array | undefined {
  const held = register && registers.get(be32(register) ?? -1);
  return held?.kind === 'bytes' ? held.bytes : undefined;
}

function portsOf(
  registers: ReadonlyMap<number, Register>,
  min: Uint8Array | undefined,
  max: Uint8Array | undefined,
): Nat['ports'] {
  const first = bytesOf(registers, min);
  if (!first || first.length < 2) return undefined;
  const last = bytesOf(registers, max) ?? first;
  return { first: viewOf(first).getUint16(0), last: viewOf(last).getUint16(0) };
}

/** A whole name is compared with the NUL at its end (nft fills up to 16 bytes); without one it means "begins with". */
export function interfaceName(value: Uint8Array): string {
  const name = text(value) ?? '';
  return value.includes(0) ? name : `${name}*`;
}

function hostOrder(value: Uint8Array): number {
  return value.length >= 4 ? viewOf(value).getInt32(0, true) : 0;
}

/** Up to four leading bytes of an address, as int32. */
function leading(value: Uint8Array): number {
  let address = 0;
  for (let i = 0; i < 4; i++) address = (address << 8) | (value[i] ?? 0);
  return address;
}
