// Ways to break the engine: parse, match, admit, decide, rewrite, ICMP.
import { inFile, mutant } from './collect.mjs';

inFile('src/datapath/parse.ts', 'datapath/headers');
mutant(64, 'a packet longer than what was received is believed', 'if (total > len) return', 'if (false) return');
mutant(64, 'IPv6 is taken for IPv4', 'if (first >>> 4 !== 4) return', 'if (false) return');
mutant(64, 'a TCP header may end behind the packet', '|| bytes > room) return', ') return');
mutant(64, 'a UDP length may be longer than the packet', '(flags === 0 && length > room)', 'false');
mutant(64, 'impossible TCP flags pass', 'if (impossibleFlags(tcpFlags)) return', 'if (false) return');
mutant(64, 'loopback sources pass', 'if (impossibleSource(src)) return', 'if (false) return');
mutant(64, 'a fragment may run past 65,535 bytes', 'offset + room > 65_535', 'false');
mutant(64, 'a fragment may overwrite the TCP flags', 'if (offset === 8 &&', 'if (offset === 9 &&');

inFile('src/datapath/parse.ts', 'datapath/field');
mutant(42, 'Ethernet padding is part of the packet', '    batch.len[i] = total;'.trim(), 'batch.len[i] = len;');
inFile('src/datapath/match.ts', 'datapath/mapping');
mutant(6, 'a flow lives on after its time', 'rows[row + Row.EXPIRES]! >= now', 'true');

inFile('src/datapath/admit.ts', 'datapath/nat', 'datapath/mapping');
mutant(1, 'each destination has a mapping of its own', 'mappings.findInside(f.proto, f.src0, x, address);', '-1;');
mutant(10, 'a mapping that answers only hairpin flows lets nobody in', '&& mappings.keptUntil(mapping) < now)', ')');
mutant(10, 'hairpin keeps the source', '  if (d.sourceNat) {', '  if (false) {');
mutant(
  17,
  'a SYN through a mapping is refused',
  'return (flags & TcpFlag.ACK) === 0;',
  'return (flags & TcpFlag.ACK) === 0 && action !== Action.POOL;',
);
mutant(32, 'an inside host may have any number of mappings', 'if (plan.perHost > 0 &&', 'if (plan.perHost < 0 &&');
mutant(
  67,
  'a stray packet to a pool port goes to the kernel',
  'mappings.isShared(mapping)) return Verdict.NO_MAPPING',
  'mappings.isShared(mapping)) return Verdict.PUNT',
);
mutant(
  1,
  'endpoint-dependent flows have a port each',
  'if (taken >= 0) {\n      if (table.rows',
  'if (mapping >= 0) {\n      if (taken < 0 || table.rows',
);
inFile('src/datapath/admit.ts', 'datapath/icmp');
mutant(30, 'no resources: nobody is told', 'Unreachable.ADMIN, 0', 'Unreachable.PORT, 0');
mutant(
  30,
  'no resources: outsiders are told',
  'return (ingress > 0 || policy.lanOf(sender) !== undefined) &&',
  'return',
);
mutant(30, 'who is forbidden something is not told', '  Verdict.BLOCKED,\n  Verdict.FORWARD_SOURCE,\n', '');
mutant(30, 'who is on the block list is spoken to', '&& !inPrefixes(plan.blocked, sender)', '');
inFile('src/datapath/reply.ts', 'datapath/icmp');
mutant(41, 'errors for a LAN that is away leave by the uplink', '?.out === 0) return;', '?.out === -1) return;');
inFile('src/datapath/admit.ts', 'datapath/icmp');
mutant(
  31,
  'a redirect is forwarded to the kernel from inside',
  'engine.policy.isHost(batch.dst[i]!) ? Verdict.PUNT',
  'true ? Verdict.PUNT',
);

inFile('src/datapath/admit.ts', 'datapath/nat');
mutant(
  33,
  'an inside host may have any number of flows',
  'return plan.perHostFlows > 0 &&',
  'return plan.perHostFlows < 0 &&',
);
mutant(
  33,
  'flows without NAT are not counted',
  'const charged = f.mapping === 0 && !inbound;',
  'const charged = false;',
);
mutant(
  33,
  'flows of a forward’s target by its own port have no limit',
  '  if (hasAllFlows(engine, f.src0)) return Verdict.HOST_LIMIT;\n  if (d.staticPort',
  '  if (d.staticPort',
);
mutant(
  18,
  'unsolicited SYNs are always answered',
  'batch.ctl[Ctl.INGRESS] === 0 && engine.plan.rejectUnsolicited',
  'batch.ctl[Ctl.INGRESS] === 0',
);
inFile('src/datapath/unsolicited.ts', 'datapath/nat');
mutant(18, 'unsolicited SYNs are answered at once', 'const WAIT_MS = 6000;', 'const WAIT_MS = 1000;');
mutant(18, 'a SYN that was crossed is answered too', 'if (!crossed) replyError', 'replyError');
inFile('src/datapath/claim.ts', 'datapath/nat', 'datapath/mapping');
mutant(
  12,
  'closed connections keep their ports',
  'RECLAIM_BLOCK_TRIES : RECLAIM_TRIES, closedPorts.length);',
  'RECLAIM_BLOCK_TRIES : 0, closedPorts.length);',
);
mutant(
  12,
  'a connection that was opened again gives way',
  'return same && mayGiveWay(rows, row * Words.ROW, now) ? row : -1;',
  'return same ? row : -1;',
);
inFile('src/datapath/claim.ts', 'datapath/shortage');
mutant(
  12,
  'what another worker saw close keeps its port',
  'port < 0 && engine.search.search(engine.table, engine, now)',
  'false',
);
mutant(
  12,
  'what another worker saw close keeps its row',
  '|| (engine.search.search(engine.table, engine, now) && reclaimRow(engine, now))',
  '',
);
mutant(12, 'a flood does not give way', '    reclaimFrom(engine, engine.unanswered, now) ||\n', '');
inFile('src/datapath/admit.ts', 'datapath/shortage');
mutant(
  12,
  'what gives way takes its mapping from the flow it gives way to',
  '  if (joins) mappings.pin(f.mapping - 1);\n  else if',
  '  if (joins) mappings.unpin(-1);\n  else if',
);
inFile('src/datapath/admit.ts', 'datapath/field');
mutant(
  10,
  'a second way in by the same ports goes to the first one’s flow',
  'port = 1024 + (table.mappings.ports.random() % 64_512);',
  'return Verdict.PORTS_EXHAUSTED;',
);
inFile('src/policy/decide.ts', 'datapath/nat');
mutant(70, 'a range with an offset goes to the same ports', '(dport + forward.offset) & 0xffff', 'dport');
inFile('src/datapath/admit.ts', 'datapath/shortage');
mutant(33, 'a forward has any number of flows', 'ruleFlows.liveOf(d.rule) >= maxFlows', 'false');
mutant(33, 'closed flows stand in a forward’s way', '&& !reclaimOf(engine, d.rule, now))', ')');
inFile('src/flow/rule-flows.ts', 'datapath/shortage');
mutant(33, 'a forward makes any number of flows a second', '>= rate) return false;', '>= rate) return true;');
mutant(33, 'rows that are yet to be counted are booked too', '|| row >= header[Header.COUNTED]!) return', ') return');
inFile('src/datapath/keep.ts', 'datapath/mapping');
mutant(
  10,
  'a mapping that answers only hairpin flows ends',
  '  mappings.keep(mapping, until);',
  '  mappings.keptUntil(mapping);',
);
inFile('src/datapath/reload.ts', 'datapath/mapping');
mutant(9, 'mappings keep the filtering that they were made with', 'mappings.ruleOf(mapping) === before)', 'false)');
mutant(
  9,
  'who was let in by the old filtering stays',
  'if (mappings.letsIn(mapping, rows[at + Row.SRC0]!)) continue;',
  'continue;',
);
inFile('src/datapath/rewrite.ts', 'datapath/nat');
mutant(20, 'what is out of the window keeps a connection alive', 'if (segment.accepted ||', 'if (true ||');
inFile('src/flow/row-search.ts', 'datapath/shortage');
mutant(12, 'the youngest of the found goes first', 'found[i]! % ROWS', 'found[n - 1 - i]! % ROWS');
inFile('src/flow/expiry.ts', 'datapath/shortage');
mutant(
  12,
  'an inside host’s half-open connections give way',
  'return isStrangers(kind) && isOpening(kind);',
  'return isOpening(kind);',
);
mutant(
  12,
  'connections of strangers give way, answered or not',
  'isStrangers(kind) && isOpening(kind)',
  'isStrangers(kind)',
);
inFile('src/datapath/rewrite.ts', 'datapath/shortage');
mutant(
  12,
  'closed flows without a port stand before those with one',
  '? engine.closedPorts : engine.closedRows',
  '? engine.closedPorts : engine.closedPorts',
);

inFile('src/policy/decide.ts', 'datapath/nat', 'datapath/mapping');
mutant(2, 'mappings of one host are spread over the addresses', 'spread(src) %', '(spread(src) + sport) %');
mutant(
  10,
  'an inside sender keeps its address in a hairpin',
  'd.sourceNat = inside || fromHost',
  'd.sourceNat = fromHost',
);
mutant(10, 'the host itself keeps its address', 'd.sourceNat = inside || fromHost', 'd.sourceNat = inside');
mutant(34, 'the no-translate list is not looked at', '&& !rule.translate', '&& false');
mutant(
  40,
  'any inside host may send other protocols',
  'if (forward === undefined || forward.target !== src)',
  'if (forward === undefined)',
);
mutant(
  66,
  'from outside to a LAN address goes to the kernel',
  'd.verdict = Verdict.OUTSIDE_TO_LAN',
  'd.verdict = Verdict.PUNT',
);
mutant(
  66,
  'what is nobody’s goes to the kernel',
  'else d.verdict = Verdict.FOREIGN_SOURCE',
  'else d.verdict = Verdict.PUNT',
);
mutant(
  70,
  'a forward’s target leaves from a pool port',
  'return staticPort(address.statics[index]!, src, sport);',
  'return -1;',
);
mutant(70, '`from` of a forward is not looked at', 'if (!allowedBy(forward.from, src))', 'if (false)');
inFile('src/policy/decide.ts', 'policy/unreachable-lan');
mutant(41, 'a LAN that is gone is sent to', 'if (lan.out === 0 || other?.out === 0)', 'if (false)');

inFile('src/datapath/rewrite.ts', 'datapath/nat', 'datapath/mapping', 'datapath/headers');
mutant(7, 'inbound packets always refresh', 'if (!fromInside && !engine.plan.inboundRefresh)', 'if (false)');
mutant(7, 'inbound packets never refresh', 'if (!fromInside && !engine.plan.inboundRefresh)', 'if (!fromInside)');
mutant(12, 'a DNS flow lives as long as others', 'now + timeouts.dns', 'now + timeouts.udp');
mutant(14, 'DF is not obeyed', '& Fragment.DF) !== 0 && wireBytes(batch, i) > mtu', '& Fragment.DF) !== 0 && false');
mutant(
  14,
  'packets without DF are refused',
  '(view.getUint16(off + Ipv4.FRAGMENT) & Fragment.DF) !== 0 && wireBytes',
  'wireBytes',
);
mutant(14, 'the next-hop MTU is not told', 'Unreachable.TOO_BIG, mtu', 'Unreachable.TOO_BIG, 0');
mutant(24, 'IP ids stay', 'else if (engine.uplinkOuts[out] !== 0 &&', 'else if (false &&');
mutant(25, 'the id of a ping stays', '(ports >>> 16) | (ports & 0xffff));', 'v.getUint16(l4 + Icmp.ID));');
mutant(42, 'a computed UDP checksum of 0 is sent', 'adjust(field, l4Delta) || 0xffff', 'adjust(field, l4Delta)');
mutant(42, 'UDP without checksum gets one', 'else if (field !== 0) v.setUint16', 'else v.setUint16');
mutant(
  42,
  'a partial TCP checksum is adjusted like a whole one',
  '(flags & Flag.PARTIAL) !== 0 ? adjustPartial(field, addressDelta) : adjust',
  'adjust',
);
mutant(43, 'TTL 1 is routed', 'view.getUint8(off + Ipv4.TTL) <= 1', 'view.getUint8(off + Ipv4.TTL) <= 0');
mutant(
  44,
  'DSCP and ECN are cleared',
  'v.setInt32(off + Ipv4.SRC, rows[other + 1]!);',
  'v.setInt32(off + Ipv4.SRC, rows[other + 1]!); v.setUint8(off + 1, 0);',
);
mutant(
  45,
  'the MSS of every segment is lowered',
  '((flags >>> Flag.TCP_SHIFT) & TcpFlag.SYN) !== 0 && !later',
  'proto === IPPROTO.TCP && !later',
);
mutant(
  45,
  'the MTU of the way back is not looked at',
  'Math.min(engine.mtus[out]!, engine.mtus[back]!)',
  'engine.mtus[back]!',
);
mutant(
  68,
  'UDP checksums are taken off',
  'v.setUint16(at16, adjust(field, l4Delta) || 0xffff)',
  'v.setUint16(at16, 0)',
);
mutant(
  20,
  'a RST that ends nothing is not forwarded',
  '  count(engine, at, side, kind,',
  '  if (((flags >>> Flag.TCP_SHIFT) & TcpFlag.RST) !== 0 && ((kind >>> Kind.STATE_SHIFT) & Kind.STATE_MASK) !== State.CLOSE) return Verdict.TCP_INVALID;\n  count(engine, at, side, kind,',
);

inFile('src/datapath/icmp.ts', 'datapath/nat', 'datapath/icmp');
mutant(
  13,
  'an error refreshes the flow',
  'restoreQuote(view, q, q4, end, proto,',
  'rows[row + Row.EXPIRES] = now + 7440;\n  restoreQuote(view, q, q4, end, proto,',
);
mutant(
  13,
  'an error ends the flow',
  'restoreQuote(view, q, q4, end, proto,',
  'engine.table.remove(handle >>> 1, now, 0);\n  restoreQuote(view, q, q4, end, proto,',
);
mutant(
  13,
  'only the peer’s own errors pass',
  'const original = row',
  'if (batch.src[i] !== dst && !engine.policy.lanOf(batch.src[i]!)) return Verdict.ICMP_NO_FLOW;\n  const original = row',
);
mutant(
  21,
  'errors about TCP are not understood',
  'if (proto === IPPROTO.TCP || proto === IPPROTO.UDP) return v.getInt32(q4)',
  'if (proto === IPPROTO.UDP) return v.getInt32(q4)',
);
mutant(
  26,
  'an error’s checksum is not looked at',
  '!== 0xffff) return Verdict.BAD_CHECKSUM',
  '< 0) return Verdict.BAD_CHECKSUM',
);
mutant(
  26,
  'options in the quote are not expected',
  'const header = headerBytes(view, q);',
  'const header = Ipv4.BYTES;',
);
mutant(
  26,
  'the length of the quote (RFC 4884) is cleared',
  'view.setUint16(l4 + Icmp.CHECKSUM, 0);',
  'view.setUint16(l4 + Icmp.CHECKSUM, 0); view.setUint8(l4 + 5, 0);',
);
mutant(
  27,
  'an error of no flow goes to the kernel',
  'quotedSrc !== batch.dst[i])\n    return Verdict.ICMP_NO_FLOW;',
  'quotedSrc !== batch.dst[i])\n    return Verdict.PUNT;',
);
mutant(
  27,
  'an error about a pool port goes to the kernel',
  'owner === OWNER_RESERVED ? Verdict.PUNT : Verdict.ICMP_NO_FLOW',
  'true ? Verdict.PUNT : Verdict.ICMP_NO_FLOW',
);
mutant(27, 'the quote stays as we sent it', 'v.setInt32(q + Ipv4.SRC, oldSrc);', '');
mutant(
  27,
  'an error that is not for the quoted sender passes',
  'if (batch.dst[i] !== src) return',
  'if (false) return',
);
mutant(
  28,
  'an inside error leaves with its own source',
  'if (sender === dst) from = oldDst;\n  else if (!plain && hidden(engine, sender, oldSrc)) from = oldDst;',
  '',
);
mutant(41, 'a router behind a LAN is seen outside', 'foreign(engine, receiver) ||', 'false ||');
mutant(
  29,
  'errors of hairpinned packets are dropped',
  'const original = row',
  'if ((rows[row + Row.KIND]! & RowFlag.HAIRPIN) !== 0) return Verdict.ICMP_NO_FLOW;\n  const original = row',
);

inFile('src/datapath/icmp.ts', 'datapath/field');
mutant(
  40,
  'errors about a tunnel’s packets are dropped',
  'const mayHaveFlow = proto !== IPPROTO.ICMP ||',
  'const mayHaveFlow = proto === IPPROTO.TCP || proto === IPPROTO.UDP ||',
);
inFile('src/datapath/reply.ts', 'datapath/nat', 'datapath/icmp');
mutant(43, 'errors to insiders come from P', 'if (lan) return lan.gateway;', '');
inFile('src/datapath/engine.ts', 'datapath/icmp');
mutant(30, 'ICMP errors are not limited', 'if (this.#icmpTokens < 1) {', 'if (false) {');
inFile('src/datapath/engine.ts', 'datapath/nat');
mutant(
  37,
  'the translation log is never off',
  "plan.translationLog === 'mappings' ? this.translations : null",
  'this.translations',
);
inFile('src/wire/icmp.ts', 'wire/headers', 'datapath/icmp');
mutant(
  31,
  'a redirect is an error like others',
  'return type === IcmpType.UNREACHABLE ||',
  'return type === IcmpType.REDIRECT || type === IcmpType.UNREACHABLE ||',
);
inFile('src/wire/checksum.ts', 'wire/checksum');
mutant(42, 'a partial sum loses its carry', 'return fold(field + delta);', 'return (field + delta) & 0xffff;');
mutant(42, 'a carry is lost', '  return (sum & 0xffff) + (sum >>> 16);', '  return sum & 0xffff;');

inFile('src/datapath/rewrite.ts', 'datapath/headers');
mutant(
  68,
  'a corrupt IP header gets a right checksum',
  'v.setUint16(off + Ipv4.CHECKSUM, adjust(v.getUint16(off + Ipv4.CHECKSUM), addressDelta));',
  'v.setUint16(off + Ipv4.CHECKSUM, 0); let sum = 0; for (let w = 0; w < 20; w += 2) sum += v.getUint16(off + w); v.setUint16(off + Ipv4.CHECKSUM, ~fold(sum) & 0xffff);',
);

inFile('src/wire/tcp.ts', 'datapath/nat', 'datapath/mapping', 'datapath/headers');
mutant(45, 'the MSS is raised', 'if (mss <= limit) return;', 'if (mss === limit) return;');
mutant(45, 'an MSS at an odd offset breaks the checksum', 'if (((at - l4) & 1) !== 0) delta', 'if (false) delta');

// What the fuzzer alone is asked about.
inFile('src/datapath/claim.ts', 'fuzz/fuzz');
mutant(12, 'a packet’s own flow gives way for the port that it asks for (fuzz)', ' && row !== engine.keep', '');
inFile('src/datapath/splice.ts', 'fuzz/fuzz');
mutant(
  68,
  'a line written anew leaves with a wrong checksum (fuzz)',
  'fold((~this.#sum & 0xffff) + sum + length)',
  'fold((~this.#sum & 0xffff) + sum)',
);
