/**
 * Steering of IPv6, as far as site links carry it: what a LAN host sends to a prefix behind a link goes to the TUN; all else is the kernel's business.
 *
 *   LAN ingress     drop      to a site, from a source that is not this LAN's, or the host's own
 *                   redirect  to a site
 *   uplink ingress  drop      from a LAN's prefix, or from one that only a link carries: somebody pretends
 *
 * To a site: of all prefixes that hold the destination, behind a link and otherwise (`kept`), the longest is one behind a link. So a program compares
 * longest first. Many prefixes become several programs, each with those `kept` ones that lie inside of its own; the numbers of the parts are their handles.
 */
import type { Prefix6, SteeringIpv6 } from '../contract/ipv6.js';
import { Assembler, type Instruction, type Label } from './bpf.js';
import { emitIngressHead } from './steer-clauses.js';

const ETH_P_IPV6 = 0x86dd;
/** Offsets in the IPv6 header. */
const SRC = 8;
const DST = 24;
/** Prefixes a program: some 8 instructions each, of 4096. */
const SITES = 64;

export interface Ipv6Program {
  readonly action: 'drop' | 'redirect';
  /** 0, 1, … for each action and hook. */
  readonly part: number;
  readonly program: readonly Instruction[];
}

/** What a program returns: for "this packet is meant", and for "the next filter looks". */
export interface Results {
  readonly yes: number;
  readonly no: number;
}

export function lanPrograms(
  { sites, kept, hosts }: SteeringIpv6,
  own: readonly Prefix6[],
  results: Readonly<Record<'drop' | 'redirect', Results>>,
): Ipv6Program[] {
  const programs: Ipv6Program[] = [];
  for (let at = 0; at < sites.length; at += SITES) {
    const part = sites.slice(at, at + SITES);
    const nearer = kept.filter((prefix) => part.some((site) => inside(prefix, site)));
    const ranked = [
      ...part.map((prefix) => ({ prefix, site: true })),
      ...nearer.map((prefix) => ({ prefix, site: false })),
    ];
    // Of two equal ones the host's own stay.
    ranked.sort((a, b) => b.prefix.length - a.prefix.length || Number(a.site) - Number(b.site));
    for (const action of ['drop', 'redirect'] as const) {
      const program = assemble(results[action], (asm, yes, no) => {
        const meant = asm.label('to a site');
        for (const { prefix, site } of ranked) emitPrefix(asm, prefix, DST, site ? meant : no);
        asm.ja(no);
        asm.place(meant);
        if (action === 'redirect') asm.ja(yes);
        else {
          for (const words of hosts) emitPrefix(asm, { words, length: 128 }, SRC, yes);
          for (const prefix of own) emitPrefix(asm, prefix, SRC, no);
          asm.ja(yes);
        }
      });
      programs.push({ action, part: at / SITES, program });
    }
  }
  return programs;
}

export function uplinkPrograms({ inside: prefixes }: SteeringIpv6, results: Results): Ipv6Program[] {
  const programs: Ipv6Program[] = [];
  for (let at = 0; at < prefixes.length; at += SITES) {
    const program = assemble(results, (asm, yes, no) => {
      for (const prefix of prefixes.slice(at, at + SITES)) emitPrefix(asm, prefix, SRC, yes);
      asm.ja(no);
    });
    programs.push({ action: 'drop', part: at / SITES, program });
  }
  return programs;
}

function inside(prefix: Prefix6, wider: Prefix6): boolean {
  return (
    prefix.length >= wider.length &&
    wider.words.every((word, i) => {
      const bits = Math.min(32, Math.max(0, wider.length - 32 * i));
      return bits === 0 || (prefix.words[i]! & (-1 << (32 - bits))) === word;
    })
  );
}

function assemble(results: Results, body: (asm: Assembler, yes: Label, no: Label) => void): readonly Instruction[] {
  const asm = new Assembler();
  const yes = asm.label('yes');
  const no = asm.label('no');
  emitIngressHead(asm, no, ETH_P_IPV6);
  body(asm, yes, no);
  asm.place(yes);
  asm.ret(results.yes);
  asm.place(no);
  asm.ret(results.no);
  return asm.assemble();
}

/** Jumps to `found` when the address at `offset` of the IP header is in the prefix; else goes on. */
function emitPrefix(asm: Assembler, { words, length }: Prefix6, offset: number, found: Label): void {
  if (length === 0) {
    asm.ja(found);
    return;
  }
  const next = asm.label('next prefix');
  const last = Math.ceil(length / 32) - 1;
  for (let i = 0; i <= last; i++) {
    const bits = Math.min(32, length - 32 * i);
    asm.load('w', offset + 4 * i);
    if (bits < 32) asm.and((-1 << (32 - bits)) >>> 0);
    asm.jeq(words[i]! >>> 0, i === last ? found : null, next);
  }
  asm.place(next);
}
