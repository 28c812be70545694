// Ways to break site links beside the protocol: config, plan, what devices are told, routes of the host.
import { inFile, mutant } from './collect.mjs';

inFile('src/link/wireguard/cookie.ts', 'link/wireguard/interop');
mutant(60, 'two of us agree on a MAC that nobody else makes', "encode('mac1----')", "encode('mac1-----')");

inFile('src/control/link-device.ts', 'control/site-links');
mutant(59, 'a reload replaces the peers', '`set=1\\n${lines', '`set=1\\nreplace_peers=true\\n${lines');
mutant(59, 'port and mark are whoever wants them', 'if (value !== 0 && value !== is)', 'if (value < 0)');
mutant(59, 'a peer that is gone stays in the device', "'remove=true'", "'update_only=true'");

inFile('src/control/site-links.ts', 'control/site-links');
mutant(58, 'a reload calls a peer back that has roamed', "told ? { ...peer, endpoint: '' } : peer", 'peer');
mutant(58, 'silence asks nobody', 'this.#names.silent(host);', '');
mutant(59, 'policy does not hear of wg(8)', 'await this.#observe(site);', '');
mutant(54, 'a worker that was started again knows no keys', 'if (!message.fresh) return;', 'return;');

inFile('src/control/compile-links.ts', 'control/links-compile');
mutant(
  58,
  'the way to an endpoint leads into its link',
  '!endpoints.some((address) => contains(prefix, address)) &&',
  '',
);
mutant(8, 'an entry for peers that are gone is for everybody', 'if (!anybody && from.length === 0) return [];', '');
mutant(65, 'a link has its port from the pool', '.filter((port) => port !== 0)', '.filter((port) => port < 0)');

inFile('src/control/key-file.ts', 'control/links-config');
mutant(59, 'a key that others may read is taken', 'if ((mode & OTHERS) !== 0) {', 'if (mode < 0) {');

inFile('src/datapath/ipv6.ts', 'datapath/ipv6');
mutant(58, 'ipv6: no hop is counted', 'if (this.#site !== 0 && this.#hop) decrementHopLimit(view, off);', '');
mutant(
  43,
  'ipv6: hop limit 1 goes on',
  'view.getUint8(off + Ipv6.HOP_LIMIT) <= 1',
  'view.getUint8(off + Ipv6.HOP_LIMIT) < 1',
);
mutant(58, 'ipv6: what the host sends loses a hop', 'this.#hop = false;\n        if (this.#isLoop', 'if (this.#isLoop');
mutant(14, 'ipv6: too big passes', 'if (this.#wire > mtu) {', 'if (this.#wire > mtu + 1) {');
mutant(14, 'ipv6: a GSO packet is as long as it is', 'this.#wire = Math.min(this.#wire, l4 + head + size);', '');
mutant(14, 'ipv6: less than 1280 is told', 'const least = Math.max(mtu, IPV6_MIN_MTU);', 'const least = mtu;');
mutant(45, 'ipv6: the MSS of IPv4', 'const MSS_HEADERS = 60;', 'const MSS_HEADERS = 40;');
mutant(
  45,
  'ipv6: the MSS of every segment',
  '(view.getUint8(l4 + Tcp.FLAGS) & TcpFlag.SYN) === 0',
  'view.getUint8(l4 + Tcp.FLAGS) === 0',
);
mutant(58, 'ipv6: the TUN may bring any source', 'kind(from) !== Whose.LAN && kind(from) !== Whose.HOST', 'false');
mutant(58, 'ipv6: a link may bring any source', 'from !== (Whose.LINK | (ingress - 1))', 'false');
mutant(58, 'ipv6: policy is asked of who sends only', 'allowed = there?.lan === true;', 'allowed = true;');
mutant(
  58,
  'ipv6: policy is not asked inward',
  'allowed = this.#accessOf(from, this.src)?.lan === true;',
  'allowed = true;',
);
mutant(
  58,
  'ipv6: the host is a LAN',
  'allowed = this.#accessOf(from, this.src)?.host === true;',
  'allowed = this.#accessOf(from, this.src)?.lan === true;',
);
mutant(58, 'ipv6: a datagram of the link goes round', 'if (this.#isLoop(view, off)) return Verdict.LINK_LOOP;', '');
mutant(
  58,
  'ipv6: a LAN that is away is written to',
  'if (allowed && out === 0) return this.#nowhere(engine, batch, i);',
  '',
);
mutant(
  64,
  'ipv6: a guest says where the sum goes',
  'if (view.getUint16(vnet + Vnet.CSUM_START, true) !== l4) return false;',
  '',
);
mutant(64, 'ipv6: multicast is routed', 'if (isMulticast6(view, off + Ipv6.DST)) return Verdict.MULTICAST;', '');

inFile('src/datapath/reply-ipv6.ts', 'datapath/ipv6');
mutant(
  13,
  'ipv6: errors about errors',
  'return type < Icmpv6Type.FIRST_QUERY || type === Icmpv6Type.REDIRECT;',
  'return false;',
);
mutant(13, 'ipv6: the whole packet is quoted', 'IPV6_MIN_MTU - Ipv6.BYTES - Icmpv6.BYTES', '65_000');
mutant(
  30,
  'ipv6: errors without end',
  'if (from === null || !engine.mayReply(batch.ctl[Ctl.MILLIS]!)) return;',
  'if (from === null) return;',
);

inFile('src/wire/ipv6.ts', 'datapath/ipv6');
mutant(44, 'ipv6: options hide what is behind them', 'bytes = (v.getUint8(at + 1) + 1) << 3;', 'return -1;');

inFile('src/host/steer-ipv6.ts', 'host/steer-ipv6');
mutant(
  58,
  'ipv6: a LAN host pretends to be the router',
  'for (const words of hosts) emitPrefix(asm, { words, length: 128 }, SRC, yes);',
  '',
);
mutant(
  58,
  'ipv6: the first prefix decides',
  'ranked.sort((a, b) => b.prefix.length - a.prefix.length || Number(a.site) - Number(b.site));',
  '',
);
mutant(
  58,
  'ipv6: only so many prefixes are steered',
  'const part = sites.slice(at, at + SITES);',
  'const part = sites.slice(0, SITES);',
);

inFile('src/control/compile-ipv6.ts', 'control/ipv6');
mutant(
  58,
  'ipv6: the way to an endpoint leads into its link',
  '!endpoints.some((address) => contains6(prefix, address)) &&',
  '',
);
mutant(58, 'ipv6: a sender of IPv4 is everybody', 'if (!anybody && from.length === 0) return [];', '');
mutant(58, 'ipv6: `out` is `allow`', "lan: policy.lan === 'allow'", "lan: policy.lan !== 'deny'");

inFile('src/link/wireguard/shares.ts', 'link/wireguard/shares', 'datapath/fairness');
mutant(64, 'shares: first come, first served', 'if (this.#taken[bucket]! + price > this.#level) return false;', '');
mutant(64, 'shares: everybody has the same, whatever he wants', 'if (next <= level) break;', 'break;');
mutant(
  64,
  'shares: a single sender is limited',
  'if (this.#count < 2) return Number.POSITIVE_INFINITY;',
  'if (this.#count < 1) return 0;',
);

inFile('src/link/wireguard/receive.ts', 'link/wireguard/shares');
mutant(
  64,
  "shares: who writes a peer's index is that peer",
  'sameEndpoint(c.endpoint, i * ENDPOINT_WORDS, peer.endpoint, 0) ? peer.id : -1',
  'peer.id',
);

inFile('src/datapath/links.ts', 'datapath/fairness');
mutant(64, 'shares: a turn is one batch', 'drains === 0 || (drains < DRAINS && link.more)', 'drains === 0');

inFile('src/link/wireguard/sieve.ts', 'link/wireguard/sieve');
mutant(57, 'sieve: known peers are strangers', 'if (known[at + Ep.FAMILY] !== family) continue;', 'continue;');
mutant(
  57,
  'sieve: what is in a session is filtered',
  '[EQUAL, 0, 1, TRANSPORT], PASS]',
  '[EQUAL, 0, 1, TRANSPORT + 1], PASS]',
);
mutant(
  57,
  "sieve: a peer's address is trusted whatever comes from it",
  'if (before >= VAIN) this.trusting = false;',
  '',
);
mutant(57, 'sieve: it never ends', 'else if (rate < LEAST) this.depth = Math.max(0, this.depth - 1);', '');
mutant(57, 'sieve: all or nothing', '2 ** (32 - depth)], DROP, PASS', '0], DROP, PASS');
mutant(
  57,
  'sieve: as deep for every flood',
  'this.depth = Math.min(DEEPEST, before + Math.ceil(Math.log2(rate / MOST)))',
  'this.depth = 1',
);
mutant(57, 'sieve: what came before the filter counts', 'this.#settling = this.depth > before;', '');
mutant(
  57,
  'sieve: a flood that begins is read for a window',
  '(this.depth === 0 && this.seen > ',
  '(false && this.seen > ',
);

inFile('src/link/wireguard/site.ts', 'link/wireguard/sieve');
mutant(
  57,
  'sieve: who plays an initiation again is known',
  '(peer.current ?? peer.initiator) !== null',
  '(peer.current ?? peer.next) !== null',
);
