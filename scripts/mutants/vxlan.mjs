// Ways to break the VXLAN endpoint: header, entropy, ECN, tags, sizes, tables, suppression, storm control, loops, who is heard.
import { inFile, mutant } from './collect.mjs';

const VTEP = 'link/vxlan/vtep';
const HEADER = 'link/vxlan/header';
const FDB = 'link/vxlan/fdb';
const SUPPRESS = 'link/vxlan/suppress';
const SITES = 'link/vxlan/sites';

inFile('src/link/vxlan/header.ts', HEADER);
mutant(48, 'vxlan: the VNI is one byte off', 'v.setInt32(off + 4, vni << 8);', 'v.setInt32(off + 4, vni);');
mutant(
  48,
  'vxlan: messages without the I flag are taken',
  'if ((v.getUint8(off) & VNI_VALID) === 0) return',
  'if (false) return',
);
mutant(
  48,
  'vxlan: reserved flags are not ignored',
  '(v.getUint8(off) & VNI_VALID) === 0',
  'v.getUint8(off) !== VNI_VALID',
);
mutant(
  48,
  'vxlan: the reserved byte belongs to the VNI',
  'return v.getUint32(off + 4) >>> 8;',
  'return v.getUint32(off + 4) / 256;',
);
mutant(64, 'vxlan: a short message is read', 'if (len < VXLAN_BYTES) return', 'if (len < VXLAN_BYTES - 4) return');
mutant(49, 'vxlan: negative hashes have no port', '(hash >>> 0) * ports', 'hash * ports');
inFile('src/link/vxlan/inner.ts', HEADER, VTEP);
mutant(
  49,
  'vxlan: the first fragment goes by its ports',
  'const MF_OR_OFFSET = 0x3fff;',
  'const MF_OR_OFFSET = 0x1fff;',
);
mutant(49, 'vxlan: the ports do not count', 'if (l4 > 0) h = mix(h, v.getInt32(l4));', '');
mutant(64, 'vxlan: group addresses may be sources', '(this.srcHi & 0x100) !== 0 || ', '');
mutant(64, 'vxlan: pause frames travel', 'return Outcome.RESERVED;', 'return Outcome.PASS;');
inFile('src/link/vxlan/ecn.ts', HEADER);
mutant(46, 'vxlan: congestion marks are lost', '...[2, 1, 2, CE],', '...[2, 1, 2, 2],');
mutant(46, 'vxlan: what cannot be marked passes', '...[0, 0, 0, DROP],', '...[0, 0, 0, 0],');
mutant(
  46,
  "vxlan: the inner header's checksum stays behind",
  'adjust(v.getUint16(l3 + 10), ',
  'adjust(v.getUint16(l3 + 10), 0 * ',
);
inFile('src/link/vxlan/outer.ts', HEADER);
mutant(46, 'vxlan: without DF', 'fragment: Fragment.DF,', '');
mutant(50, 'vxlan: a wrong UDP checksum is taken', 'if (sum !== 0xffff) return', 'if (false) return');
mutant(50, 'vxlan: a zero UDP checksum is refused', 'if (v.getUint16(udp + Udp.CHECKSUM) !== 0) {', '{');
mutant(51, 'vxlan: last fragments are taken', '(Fragment.MF | Fragment.OFFSET)) !== 0', 'Fragment.MF) !== 0');
inFile('src/link/vxlan/vlan.ts', HEADER);
mutant(
  53,
  'vxlan: tagged frames come out of a tunnel that strips',
  "if (mode === 'refuse' || !toTunnel)",
  "if (mode === 'refuse')",
);
mutant(53, 'vxlan: the vnet header still counts the tag', 'if (front > 0) shorten', 'if (front < 0) shorten');
inFile('src/link/vxlan/mtu.ts', HEADER);
mutant(47, 'vxlan: the inner Ethernet header is free', ' + VXLAN_BYTES + ETHERNET_BYTES;', ' + VXLAN_BYTES;');
inFile('src/link/vxlan/fdb.ts', FDB);
mutant(53, 'vxlan: a static address moves', 'if (this.#kind[row] === STATIC) return false;', '');
mutant(
  53,
  'vxlan: learned addresses live for ever',
  'now - this.#seen[row]! >= this.age',
  'now - this.#seen[row]! >= 1e13',
);
mutant(
  53,
  'vxlan: one remote may fill the table',
  'this.#learned[place + 1]! < this.perPlace;',
  'this.#learned[place + 1]! < 1e9;',
);
mutant(53, 'vxlan: a move does not free its share', 'this.#count(from, -1);\n', '');
inFile('src/link/vxlan/hash.ts', FDB);
mutant(64, 'vxlan: the hash has no key', 'random(new Uint8Array(tables.buffer));', '');
inFile('src/link/vxlan/remotes.ts', FDB, VTEP);
mutant(
  53,
  'vxlan: a removed remote stays on the head-end list',
  'this.#used[id] = 0;\n    this.#unlist(id);',
  'this.#used[id] = 0;',
);
mutant(
  53,
  'vxlan: only the end of an IPv6 address counts',
  'a[at + 3] === s[3] && a[at] === s[0] && a[at + 1] === s[1] && a[at + 2] === s[2]',
  'a[at + 3] === s[3]',
);
inFile('src/link/vxlan/storm.ts', VTEP);
mutant(
  53,
  'vxlan: buckets grow without end',
  'Math.min(rate, this.#tokens[bucket]! + (elapsed * rate) / 1000)',
  'this.#tokens[bucket]! + (elapsed * rate) / 1000',
);
mutant(53, 'vxlan: both ways share a bucket', 'way * KINDS + kind', '0 * way + kind');
inFile('src/link/vxlan/neighbours.ts', SUPPRESS);
mutant(53, 'vxlan: a remote takes over a local address', 'this.disputed++;\n        return false;', 'this.disputed++;');
mutant(53, 'vxlan: passing frames change static pairs', 'if ((flags & STATIC) !== 0) return same;', '');
mutant(53, 'vxlan: pairs live for ever', 'now - this.#seen[row]! >= this.age', 'now - this.#seen[row]! >= 1e13');
inFile('src/link/vxlan/suppress.ts', SUPPRESS);
mutant(
  53,
  'vxlan: local addresses are answered',
  'if (row < 0 || pairs.side(row) === LOCAL_SIDE) return -1;',
  'if (row < 0) return -1;',
);
mutant(53, 'vxlan: what has moved here is answered', 'return fdb.find(hi, lo, now) >= 0 ? row : -1;', 'return row;');
mutant(
  53,
  'vxlan: questions by unicast are answered',
  'if (inner.tags !== 0 || !inner.group) return 0;',
  'if (inner.tags !== 0) return 0;',
);
mutant(
  53,
  'vxlan: probes for duplicate addresses are answered',
  'if (!unicast4(sender) || !unicast4(target) || sender === target) return 0;',
  'if (!unicast4(target)) return 0;',
);
mutant(
  53,
  'vxlan: who speaks for another is learned',
  'if (v.getUint16(at + 8) !== inner.srcHi || v.getInt32(at + 10) !== inner.srcLo) return;',
  '',
);
mutant(53, 'vxlan: routers deny that they are', '(pairs.router(row) ? ROUTER_FLAG : 0)', '0');
inFile('src/link/vxlan/loop.ts', SITES);
mutant(
  53,
  'vxlan: probes need no secret',
  'if (v.getInt32(at) !== MAGIC || v.getInt32(at + 4) !== this.#secret[0] || v.getInt32(at + 8) !== this.#secret[1]) {',
  'if (v.getInt32(at) !== MAGIC) {',
);
mutant(53, 'vxlan: old probes block', 'late >= 0 && late < FRESH', 'late >= 0');
mutant(
  53,
  'vxlan: both links are blocked',
  'younger.blockedUntil = Math.max(younger.blockedUntil, now + hold);',
  'younger.blockedUntil = sender.blockedUntil = here.blockedUntil = now + hold;',
);
mutant(53, 'vxlan: a loop is told with every probe', 'if (!isNew) return;', '');
inFile('src/link/vxlan/vtep.ts', VTEP, HEADER, SITES);
mutant(53, 'vxlan: strangers are heard', 'if (remote < 0) return Outcome.STRANGER;', '');
mutant(
  51,
  'vxlan: reassembled datagrams are taken',
  'if (c.arrival[i] !== 0) {',
  'if ((c.arrival[i]! & Arrival.TRUNCATED) !== 0) {',
);
mutant(46, 'vxlan: too large a frame leaves', 'if (frames === 0) return Outcome.TOO_BIG;', '');
mutant(53, 'vxlan: learning cannot be turned off', 'if (!this.#learning) return', 'if (false) return');
mutant(53, 'vxlan: local frames travel', 'if (place === LOCAL) return Outcome.LOCAL;', '');
mutant(53, 'vxlan: copies are not bounded', 'if (c.out === c.copies) return Outcome.COPIES_FULL;', '');
mutant(
  53,
  'vxlan: a blocked link still sends',
  "if (this.options.loops!.isOwn(v, inner, this.loop, 'tap', now)) return Outcome.PROBE;\n      if (this.loop.blocked(now)) return Outcome.LOOP;",
  "if (this.options.loops!.isOwn(v, inner, this.loop, 'tap', now)) return Outcome.PROBE;",
);
mutant(53, "vxlan: a removed remote's addresses stay", 'this.fdb.removePlace(id);', '');
mutant(53, "vxlan: a super-frame's vnet header is written over", 'if (c.segment[i] === 0) writeHeader', 'writeHeader');

const MEMORY = 'link/vxlan/memory';
const CONFIG = 'control/links-vxlan';
inFile('src/link/vxlan/memory.ts', MEMORY);
mutant(53, 'vxlan: a changed link takes over what another network knew', 'if (memory.vni !== options.vni) return;', '');
mutant(
  53,
  'vxlan: a changed link keeps addresses of a remote that went',
  'if (at === LOCAL || place >= 0) fdb.learn(hi, lo, place, seen);',
  'fdb.learn(hi, lo, place, seen);',
);
mutant(
  53,
  'vxlan: a changed link begins the age of addresses anew',
  'fdb.learn(hi, lo, place, seen)',
  'fdb.learn(hi, lo, place, now)',
);
mutant(
  53,
  'vxlan: a changed link answers for stations that it does not know',
  'if (place !== UNKNOWN && (place === LOCAL) === (side === LOCAL_SIDE))',
  'if (place !== UNKNOWN || side !== LOCAL_SIDE)',
);
inFile('src/link/vxlan/vtep.ts', 'link/vxlan/port');
mutant(
  48,
  "vxlan: an endpoint takes its neighbour's datagrams at a shared port",
  'if (owner >= 0 && c.source[i] !== owner) {',
  'if (false) {',
);
inFile('src/control/link-vxlan.ts', CONFIG);
mutant(49, 'vxlan: source ports lie in the pool', '...uplinks.flatMap(({ pool }) => pool),', '');
mutant(49, 'vxlan: source ports are forwarded ones', '...forwards.flatMap(({ ports }) => ports),', '');
mutant(48, 'vxlan: two links have one port and VNI', 'link.value.vni === value.vni || ', '');
inFile('src/control/tap-mac.ts', CONFIG);
mutant(53, "vxlan: a TAP's address may be a group's", 'mac[0] = (mac[0]! & 0xfc) | 2;', 'mac[0] = mac[0]! | 3;');
mutant(53, 'vxlan: sites of one network have the same TAP address', '\\0$' + '{local}`', '`');
