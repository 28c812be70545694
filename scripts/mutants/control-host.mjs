// Ways to break config, plan, steering, undo and the helpers.
import { inFile, mutant } from './collect.mjs';

inFile('src/control/defaults.ts', 'control/config');
mutant(6, 'a UDP timeout of 2 s is allowed', 'preset: 300,\n    min: 120', 'preset: 300,\n    min: 2');
mutant(19, 'an established timeout of 5 min is allowed', 'min: 7440', 'min: 300');
mutant(25, 'an ICMP timeout of 5 s is allowed', 'min: 60,', 'min: 5,');
inFile('src/control/checks.ts', 'control/config');
mutant(
  8,
  'a LAN may hold the uplink’s address',
  "if (address === 'auto' || !contains(value.subnet, address)) continue;",
  'continue;',
);
mutant(70, 'two forwards may take one port', 'if (said.has(later)) return;', 'return;');
mutant(
  37,
  'port blocks beside endpoint-dependent mappings are allowed',
  'if (config.portBlocks === 0) {',
  'if (true) return;\n  if (config.portBlocks === 0) {',
);
inFile('src/host/check-network.ts', 'host/preflight');
mutant(8, 'doctor sees no overlap', "'overlap',\n            `LAN", "'nothing',\n            `LAN");
inFile('src/control/compile.ts', 'control/compile');
mutant(34, 'a rule that translates opens its hosts too', 'filter((rule) => !rule.translate)', 'filter(() => true)');
mutant(
  8,
  'a LAN may overlap the network on the uplink’s wire',
  'if (!overlap(outside, lan.subnet)) continue;',
  'continue;',
);
inFile('src/control/ports.ts', 'control/config');
mutant(38, 'exclusions of a pool are not taken away', 'subtract(union(added), union(removed))', 'union(added)');
inFile('src/control/ports.ts', 'control/config-fuzz');
mutant(38, 'neighbouring ranges are not merged', 'first <= top.last + 1', 'first <= top.last');
inFile('src/control/owners.ts', 'control/compile');
mutant(65, 'the router’s own listener is in the pool', 'tcp[listen.port] = OWNER_RESERVED', 'tcp[listen.port]!');
inFile('src/contract/static-ports.ts', 'contract/static-ports');
mutant(
  70,
  'the last forward to X:x is its own',
  'const until = next === undefined',
  'const until = next === undefined || true',
);
mutant(70, 'a port between two forwards is the first’s', ' || statics[at + 1]! > port) return -1', ') return -1');

inFile('src/control/address-room.ts', 'control/address-room');
mutant(
  2,
  'addresses whose ports live take no room',
  'planned.size + left.length <= MAX_ADDRESSES',
  'planned.size <= MAX_ADDRESSES',
);

inFile('src/host/intervals.ts', 'host/bpf');
mutant(67, 'behind a word of bits all is as before it', 'if ((end - i) & 1) inside = !inside;', '');
inFile('src/host/steer-programs.ts', 'host/steer-programs');
mutant(34, 'answers to untranslated flows are dropped', 'destinationClause(closed)', 'destinationClause(lanSubnets)');
mutant(66, 'the uplink’s wire may speak to a LAN', 'destinationClause(closed)]', ']');
mutant(
  10,
  'hairpin stays in the kernel',
  'claimClause(groups, true), destinationClause(difference(kept, claimed))',
  'destinationClause(difference(kept, claimed))',
);
mutant(
  10,
  'the host’s way to its own forwards is not steered',
  "add(loopback, 'egress', 'egress', [claimClause(groups, false),",
  "add(loopback, 'egress', 'egress', [",
);
mutant(70, 'a VM may come with an outside address, around `from`', 'claimClause(groups, true, own)]', ']');
inFile('src/host/steer-clauses.ts', 'host/steer-programs');
mutant(
  67,
  'fragments to P stay in the kernel',
  'asm.jset(FRAGMENT, base ? yes : no, null);',
  'asm.jset(FRAGMENT, no, null);',
);
inFile('src/host/steer-programs.ts', 'host/steer-programs');
mutant(
  67,
  'where a program is halved depends on what it holds',
  'const middle = (from + to) / 2;',
  'const middle = Math.max(from + 1, from + ((to - from) >> (1 + (weight.ports & 1))));',
);
inFile('src/host/steer-programs.ts', 'host/steer-replace');
mutant(
  41,
  'the kernel’s own errors quote a VM outside',
  "add(uplink, 'egress', 'egress-born', [quotedAddressClause(inside)]);",
  '',
);
inFile('src/host/steer.ts', 'host/steer-replace', 'host/steer');
mutant(
  67,
  'filters are taken away before they are set anew',
  '  const created = done(difference.create,',
  '  removeFilters(nl, difference.replace.map(({ key, filter }) => ({ kind: "filter", interface: filter.interface, ...key, classifier: CLASSIFIER })), journal);\n  const created = done(difference.create,',
);
inFile('src/host/undo.ts', 'host/journal');
mutant(63, 'a sysctl is not put back', 'writeSysctl(path, change.before);', '');
mutant(63, 'reserved ports stay', 'writeSysctl(RESERVED_PORTS, target);', '');

inFile('src/alg/ftp.ts', 'alg/ftp', 'datapath/ftp');
mutant(
  11,
  'more behind the six numbers is let be',
  'return sixNumbers(data, at, to, found) && onlySpaces(data, found.to, to)',
  'return sixNumbers(data, at, to, found)',
);
mutant(11, 'PORT is not understood', 'found.form = Form.PORT;', 'return Line.OTHER;');
mutant(
  11,
  'the port is announced with its bytes swapped',
  'decimal(into, at, number >>> 8)',
  'decimal(into, at, number & 255)',
);
inFile('src/datapath/help.ts', 'datapath/ftp');
mutant(
  11,
  'acknowledgements are not shifted back',
  'else if ((tcpFlags & TcpFlag.ACK) !== 0) shiftBack',
  'else if (false) shiftBack',
);

// On the real kernel: the same kind of breakage, seen by programs outside.
inFile('src/host/steer-programs.ts', 'netns/outside-to-lan');
// Two layers: what is not dropped goes to the engine, which drops it. Both must be broken.
mutant(
  66,
  'kernel: a host on the uplink’s wire reaches a LAN',
  `destinationClause(closed)]);
    add(uplink, 'egress', 'guard', [sourceClause(closed), destinationClause(inside)]);
    add(uplink, 'egress', 'egress-born', [quotedAddressClause(inside)]);
    add(uplink, 'ingress', 'ingress', [claimClause(groups, true), destinationClause(lanSubnets)]);`,
  "]);\n    add(uplink, 'ingress', 'ingress', [claimClause(groups, true)]);",
);
inFile('src/datapath/rewrite.ts', 'netns/icmp');
mutant(
  43,
  'kernel: traceroute does not show the router',
  'view.getUint8(off + Ipv4.TTL) <= 1',
  'view.getUint8(off + Ipv4.TTL) <= 0',
);
inFile('src/datapath/icmp.ts', 'netns/icmp');
mutant(
  28,
  'kernel: an inside error leaves with its own source',
  'if (sender === dst) from = oldDst;',
  'if (sender === dst) from = sender;',
);
inFile('src/policy/decide.ts', 'netns/hairpin');
mutant(10, 'kernel: the host itself keeps its address', 'd.sourceNat = inside || fromHost', 'd.sourceNat = inside');
inFile('src/flow/open.ts', 'netns/continuity');
mutant(
  62,
  'kernel: no flow is adopted by the next start',
  'if (isWhole(table, row, now) && adoptRow(table, row))',
  'if (false)',
);

inFile('src/wire/tcp.ts', 'netns/icmp');
mutant(45, 'kernel: the MSS stays', 'if (mss <= limit) return;', 'return;');
inFile('src/datapath/rewrite.ts', 'netns/icmp');
mutant(
  14,
  'kernel: packets without DF are refused',
  '(view.getUint16(off + Ipv4.FRAGMENT) & Fragment.DF) !== 0 && wireBytes',
  'wireBytes',
);
mutant(25, 'kernel: the id of a ping stays', '(ports >>> 16) | (ports & 0xffff));', 'v.getUint16(l4 + Icmp.ID));');
inFile('src/datapath/icmp.ts', 'netns/icmp');
mutant(27, 'kernel: the quote stays as we sent it', 'v.setInt32(q + Ipv4.SRC, oldSrc);', '');
inFile('src/datapath/icmp.ts', 'netns/nat-icmp');
mutant(
  29,
  'kernel: errors of hairpinned packets are dropped',
  'const original = row',
  'if ((rows[row + Row.KIND]! & RowFlag.HAIRPIN) !== 0) return Verdict.ICMP_NO_FLOW;\n  const original = row',
);
inFile('src/datapath/admit.ts', 'netns/nat-behaviour');
mutant(
  1,
  'kernel: each destination has a mapping of its own',
  'mappings.findInside(f.proto, f.src0, x, address);',
  '-1;',
);
inFile('src/flow/mappings.ts', 'netns/nat-behaviour');
mutant(9, 'kernel: address-dependent filtering lets everybody in', '&& this.hasSentTo(mapping, remote)', '');
inFile('src/policy/decide.ts', 'netns/nat-addresses');
mutant(2, 'kernel: mappings of one host are spread over the addresses', 'spread(src) %', '(spread(src) + sport) %');
mutant(34, 'kernel: the no-translate list is not looked at', '&& !rule.translate', '&& false');
mutant(
  40,
  'kernel: any inside host may send other protocols',
  'if (forward === undefined || forward.target !== src)',
  'if (forward === undefined)',
);
inFile('src/flow/port-pool.ts', 'netns/nat-pool');
mutant(5, 'kernel: parity is not kept', '(wanted & 1 ? EVEN << 1 : EVEN)', '(wanted & 1 ? -1 : -1)');
mutant(
  23,
  'kernel: ports are given in order',
  'this.#poolWords[pool + from + ((start + i) % span)]',
  'this.#poolWords[pool + from + i]',
);
inFile('src/flow/expiry.ts', 'netns/nat-pool');
mutant(
  35,
  'kernel: a freed port is anybody’s',
  'return proto === TCP ? 0 : timeouts.hold',
  'return proto === TCP ? 0 : 0',
);
inFile('src/datapath/admit.ts', 'netns/nat-pool');
mutant(
  32,
  'kernel: an inside host may have any number of mappings',
  'if (plan.perHost > 0 &&',
  'if (plan.perHost < 0 &&',
);
mutant(30, 'kernel: no resources: nobody is told', 'Unreachable.ADMIN, 0', 'Unreachable.PORT, 0');
inFile('src/contract/plan.ts', 'netns/nat-pool');
mutant(65, 'kernel: forwarded ports are in the pool', 'if (owner === OWNER_POOL) bits', 'if (owner !== 0) bits');
inFile('src/datapath/fragment.ts', 'netns/nat-fragments');
mutant(
  15,
  'kernel: overlapping fragments pass',
  '(fragment & Fragment.MF) === 0)) return',
  '(fragment & Fragment.MF) === 0) && false) return',
);
inFile('src/flow/tcp-state.ts', 'netns/nat-tcp');
mutant(20, 'kernel: any RST closes', 'return refused || exact ?', 'return true ?');
inFile('src/datapath/rewrite.ts', 'netns/nat-punch');
mutant(
  17,
  'kernel: a SYN that crosses ours is dropped',
  '  count(engine, at, side, kind,',
  '  if (side === 1 && ((flags >>> Flag.TCP_SHIFT) & (TcpFlag.SYN | TcpFlag.ACK)) === TcpFlag.SYN) return Verdict.TCP_INVALID;\n  count(engine, at, side, kind,',
);
inFile('src/datapath/worker.ts', 'netns/nat-workers');
mutant(32, 'kernel: each worker has a rate of its own', 'new HostRates(init.hostRates)', 'new HostRates()');
inFile('src/datapath/worker.ts', 'netns/nat-workers');
mutant(69, 'the workers stay behind other programs', 'const NICE = -10;', 'const NICE = 0;');
