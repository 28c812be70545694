/**
 * The iptables extensions inside nf_tables rules (iptables-nft writes `-m conntrack`, `-j MASQUERADE` and the like as the
 * binary structures of xt_*.h). Only those that matter to the engine.
 */

import { viewOf } from './netlink-message.js';
import type { Draft, Nat } from './nftables.js';

/** Offsets in struct xt_conntrack_mtinfo3. */
const MATCH_FLAGS = 146;
const INVERT_FLAGS = 148;
const STATE_MASK = 150;
const XT_CONNTRACK_STATE = 1;

const RANGE_ADDRESS = 1;
const RANGE_PORTS = 2;

export function readMatch(rule: Draft, name: string, info: Uint8Array | undefined): void {
  if (name === 'comment') return;
  if (!info || (name !== 'conntrack' && name !== 'state')) {
    rule.others++;
    return;
  }
  const view = viewOf(info);
  if (info.length < STATE_MASK + 2) {
    // xt_state_info: one word.
    rule.ctStates = view.getUint32(0, true);
    return;
  }
  const flags = view.getUint16(MATCH_FLAGS, true);
  if ((flags & XT_CONNTRACK_STATE) !== 0) {
    const states = view.getUint16(STATE_MASK, true);
    rule.ctStates = (view.getUint16(INVERT_FLAGS, true) & XT_CONNTRACK_STATE) !== 0 ? ~states : states;
  }
  if ((flags & ~XT_CONNTRACK_STATE) !== 0) rule.others++;
}

export function readTarget(rule: Draft, name: string, revision: number, info: Uint8Array | undefined): void {
  if (name === 'REJECT') rule.verdict = 'drop';
  // `-j CT --notrack` is revision 1 or 2 with flag 1 in its first word.
  else if (name === 'NOTRACK' || (name === 'CT' && info && (info[0]! & 1) !== 0)) rule.notrack = true;
  else if ((name === 'MASQUERADE' || name === 'SNAT') && info) rule.nat = readRange(name, revision, info);
}

/**
 * nf_nat_ipv4_multi_range_compat: count, flags, first and last address (network order), first and last port. SNAT
 * revision 1 and 2 have nf_nat_range: flags, 16 bytes for each address, then the ports.
 */
function readRange(name: string, revision: number, info: Uint8Array): Nat {
  const view = viewOf(info);
  const long = name === 'SNAT' && revision > 0;
  const [flagsAt, addressAt, portsAt] = long ? [0, 4, 36] : [4, 8, 16];
  const flags = view.getUint32(flagsAt, true);
  return {
    kind: name === 'SNAT' ? 'snat' : 'masquerade',
    address: (flags & RANGE_ADDRESS) !== 0 ? view.getInt32(addressAt) : undefined,
    ports:
      (flags & RANGE_PORTS) !== 0 ? { first: view.getUint16(portsAt), last: view.getUint16(portsAt + 2) } : undefined,
  };
}
