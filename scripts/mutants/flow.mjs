// Ways to break state: fragments, TCP, lifetimes, ports, mappings, the table file; and what a reload does to it.
import { inFile, mutant } from './collect.mjs';

inFile('src/datapath/fragment.ts', 'datapath/nat');
mutant(
  15,
  'overlapping fragments pass',
  '(fragment & Fragment.MF) === 0)) return',
  '(fragment & Fragment.MF) === 0) && false) return',
);
mutant(
  15,
  'a fragment before the first is lost',
  'batch.data, batch.off[i]!, batch.len[i]!, now);',
  'batch.data, batch.off[i]!, 0, now);',
);
inFile('src/flow/fragments.ts', 'flow/fragments', 'datapath/nat');
mutant(15, 'waiting fragments are never forgotten', '<= timeout) return;', '<= timeout * 1000) return;');
mutant(
  15,
  'a flood forgets datagrams that are known',
  'copy(data, off, this.#bytes, this.#write, len);',
  'this.#known.fill(0);',
);

inFile('src/flow/tcp-state.ts', 'flow/tcp-state', 'datapath/nat');
mutant(
  16,
  'the handshake never ends',
  'if (state === State.SYN_RECV && (flags & TcpFlag.ACK) !== 0',
  'if (state === State.NONE && (flags & TcpFlag.ACK) !== 0',
);
mutant(17, 'simultaneous open is not known', ' State.SYN_RECV : State.SYN_SENT2', ' State.SYN_RECV : State.SYN_SENT');
mutant(20, 'any RST closes', 'return refused || exact ?', 'return true ?');
mutant(20, 'a RST with sequence number 0 closes', 'seq !== 0 && (seq ===', '(seq ===');
mutant(
  20,
  'a crossed SYN is never refused',
  'state === State.SYN_SENT || state === State.SYN_SENT2;',
  'state === State.SYN_SENT;',
);
mutant(20, 'a FIN beyond the window closes', '((end - edge) | 0) > 1 ||', 'false ||');
mutant(20, 'a FIN of long ago closes', '|| ((end - t[yourAck]! + BEHIND', '|| (false && (end - t[yourAck]! + BEHIND');
mutant(20, 'one side alone brings a reset connection back', '(spoken & both) === both ?', 'true ?');
mutant(20, 'a reset connection never comes back', '(spoken & both) === both ?', 'false ?');
mutant(
  20,
  'a RST that ends nothing counts as traffic',
  'segment.accepted = refused || exact;',
  'segment.accepted = true;',
);
inFile('src/flow/tcp-state.ts', 'datapath/nat');
mutant(
  19,
  'a connection that is closed both ways is never at its end',
  'acked0 && acked1 ? State.TIME_WAIT',
  'acked0 && !acked0 ? State.TIME_WAIT',
);
inFile('src/flow/expiry.ts', 'flow/tcp-state', 'datapath/nat');
mutant(6, 'UDP lives as long as a ping', 'timeouts.icmp : timeouts.udp', 'timeouts.icmp : timeouts.icmp');
mutant(
  19,
  'established connections end like others',
  '? timeouts.tcpEstablished : timeouts.tcpClosing;',
  '? timeouts.tcpClosing : timeouts.tcpClosing;',
);
mutant(
  19,
  'half-open connections live as long as established ones',
  'return !replied && (kind & RowFlag.LOOSE) !== 0;',
  'return false;',
);
mutant(
  19,
  'closing has no timer of its own',
  'timeouts.tcpEstablished : timeouts.tcpClosing',
  'timeouts.tcpEstablished : timeouts.tcpOpening',
);
mutant(
  19,
  'a stranger’s half-open connection lives as long as any',
  'return inbound ? Math.min(timeouts.tcpOpening, timeouts.unanswered) : timeouts.tcpOpening',
  'return timeouts.tcpOpening',
);
mutant(
  19,
  'a stranger’s datagram lives as long as a dialogue',
  'return inbound && isOpening(kind) ?',
  'return false ?',
);
mutant(35, 'a freed port is anybody’s', 'return proto === TCP ? 0 : timeouts.hold', 'return proto === TCP ? 0 : 0');

inFile('src/flow/port-pool.ts', 'flow/port-pool', 'datapath/mapping');
mutant(3, 'a port that is used is given again', 'return inPool && !this.#isUsed(slot, proto, port)', 'return inPool');
mutant(4, 'ports below 1024 are like others', 'const from = wanted < 1024 ? 0 : split;', 'const from = 0;');
mutant(5, 'parity is not kept', '(wanted & 1 ? EVEN << 1 : EVEN)', '(wanted & 1 ? -1 : -1)');
mutant(5, 'parity is kept where it is turned off', 'const classMask = parity ?', 'const classMask = true ?');
mutant(5, 'the source port is not kept', 'if (!this.#isFree(slot, proto, wanted)) {', 'if (wanted >= 0) {');
mutant(
  23,
  'ports are given in order',
  'this.#poolWords[pool + from + ((start + i) % span)]',
  'this.#poolWords[pool + from + i]',
);
mutant(
  23,
  'the last word of the pool is never used',
  'for (let i = 0; i < span; i++) {\n      const word = this.#poolWords',
  'for (let i = 0; i < span - 1; i++) {\n      const word = this.#poolWords',
);
mutant(
  4,
  'nobody hears of a port on the other side of 1024',
  'if (port < 0 && all > to - from) this.sideChanged',
  'if (false) this.sideChanged',
);
inFile('src/contract/plan.ts', 'flow/port-pool', 'datapath/mapping', 'datapath/nat');
mutant(65, 'forwarded ports are in the pool', 'if (owner === OWNER_POOL) bits', 'if (owner !== 0) bits');
inFile('src/flow/port-blocks.ts', 'flow/port-blocks');
mutant(37, 'a block is anybody’s', 'this.#mappings.insideOf(mapping) === inside)', 'inside !== 0)');
mutant(37, 'each port begins a block', 'if (mapping >= 0 && this.#mappings', 'if (mapping < 0 && this.#mappings');
inFile('src/flow/mappings.ts', 'flow/port-blocks');
mutant(37, 'every mapping is logged as a block', '!== used) return;', '=== -1) return;');
inFile('src/flow/host-rates.ts', 'datapath/nat');
mutant(32, 'new mappings have no rate', 'if (slots[at + RateSlot.TOKENS]! <= 0) return false;', '');
inFile('src/flow/host-rates.ts', 'flow/host-rates');
mutant(32, 'each worker has a rate of its own', 'new Int32Array(buffer)', 'new Int32Array(newHostRates())');
mutant(32, 'a clock that is behind begins a second', 'now < since - 1', 'now < since');
inFile('src/flow/mappings.ts', 'datapath/mapping', 'flow/mappings');
mutant(
  22,
  'protocols share their ports',
  'return proto === IPPROTO_TCP ? 0 : proto === IPPROTO_UDP ? 1 : 2;',
  'return 0;',
);
inFile('src/flow/mappings.ts', 'datapath/nat', 'datapath/mapping');
mutant(9, 'address-dependent filtering lets everybody in', '&& this.hasSentTo(mapping, remote)', '');
mutant(9, 'port-dependent filtering asks for the address alone', 'filtering === Filtering.ADDRESS_DEPENDENT && ', '');
mutant(9, 'full cone lets nobody in', 'if (filtering === Filtering.ENDPOINT_INDEPENDENT) return true;', '');
mutant(10, 'a kept mapping ends with its last flow', 'if (hold === 0 && kept < now)', 'if (hold === 0)');
inFile('src/flow/mappings.ts', 'datapath/mapping', 'flow/mappings');
mutant(
  9,
  'a remote that was spoken to is forgotten when a second one comes',
  'pinholes.words[first + Pinhole.FLOWS] = count;',
  'pinholes.removeAt(first);',
);
inFile('src/flow/open.ts', 'flow/open');
mutant(62, 'no flow is adopted after a crash', 'if (isWhole(table, row, now) && adoptRow(table, row))', 'if (false)');
mutant(
  35,
  'held ports are forgotten by a restart',
  'const held = words[m + MappingRow.COUNT] === 0 &&',
  'const held = words[m + MappingRow.COUNT] < 0 &&',
);

inFile('src/datapath/reload.ts', 'datapath/mapping', 'datapath/nat');
mutant(61, 'a reload ends every flow', 'if (!sameAnswer(engine, rows, at, proto)) {', 'if (true) {');
mutant(61, 'a forward’s flows go on to the old target', 'if (d.target !== rows[at + Row.SRC1] ||', 'if (');
mutant(
  61,
  'a forward’s flows go on where `from` forbids them',
  'if (d.action !== Action.DNAT || d.sourceNat !== hairpin) return false;',
  'if (d.verdict === Verdict.FORWARD_SOURCE) return true;',
);
