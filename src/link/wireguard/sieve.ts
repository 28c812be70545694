/**
 * What keeps a flood of handshakes from costing what reading it costs: a filter on the sockets (classic BPF), which drops most of it where the kernel would have queued it.
 *
 * Theory of operation. A message that is not a transport message costs a call's share, a copy, a MAC, and under load a cookie reply: some five microseconds. 20,000 a second
 * are a tenth of a core, which is what they may cost; above ON a second only one in 2^n is let through, with n so that some 500 to 2,000 a second remain: fifty times what honest peers of a router send. Transport
 * messages always pass, and handshakes from the addresses of peers with a session, or whom we have called, so that those go on and renew themselves. Others have to be lucky: a new peer's
 * first handshake, and its second one with the cookie. A flood that comes from a peer's address, or pretends to, ends that privilege until it is over. Without the filter they would have to be as lucky with a queue that overflows, and everybody else too.
 *
 * The filter is looked at each WINDOW; what it lets through tells whether it must let through more or less, and in the end nothing is left to be filtered.
 * What it dropped is counted by the kernel (`unread`).
 */
import { ENDPOINT_WORDS, Ep } from './endpoint.js';

export const WINDOW = 100;
/** Messages a second: where the filter begins, and what it lets through, at least and at most. */
const ON = 30_000;
const LEAST = 500;
const MOST = 2000;
/** One in 2^n; at the most. */
const DEEPEST = 12;
/** What still comes when so little of the strangers' passes is no stranger's. */
const VAIN = 8;
/** Peers that are told from strangers by their addresses: five to seven of 4096 instructions each. What more there are are strangers. */
const KNOWN = 256;

export class Sieve {
  /** Messages that were not transport messages since the window began. */
  seen = 0;
  /** One in 2^depth passes; 0: no filter. */
  depth = 0;
  /** Handshakes from addresses of peers pass. Not in a flood that comes from there, or says so. */
  trusting = true;
  #from = 0;
  /** The filter is new: what came before it is still being read. */
  #settling = false;

  /** Is a look due? Without a flood nobody need come for it, and when one begins nobody waits for the end of the window. */
  due(now: number): boolean {
    return now - this.#from >= WINDOW || (this.depth === 0 && this.seen > (ON * WINDOW) / 1000);
  }

  /** Ends a window. True: the depth is another one. */
  judge(now: number): boolean {
    const rate = (this.seen * 1000) / Math.max(1, now - this.#from);
    const before = this.depth;
    const trusted = this.trusting;
    this.seen = 0;
    this.#from = now;
    if (this.#settling) {
      this.#settling = false;
      return false;
    }
    if (rate > (before === 0 ? ON : MOST)) {
      if (before >= VAIN) this.trusting = false;
      this.depth = Math.min(DEEPEST, before + Math.ceil(Math.log2(rate / MOST)));
    } else if (rate < LEAST) this.depth = Math.max(0, this.depth - 1);
    if (this.depth === 0) this.trusting = true;
    this.#settling = this.depth > before;
    return this.depth !== before || this.trusting !== trusted;
  }
}

// struct sock_filter: code, jump if true, jump if false, k.
type Instruction = readonly [code: number, yes: number, no: number, k: number];
const [LOAD_WORD, LOAD_HALF, LOAD_BYTE] = [0x20, 0x28, 0x30];
const [EQUAL, GREATER_OR_EQUAL, RETURN] = [0x15, 0x35, 0x06];
const NET_OFF = 0xfff00000;
const RANDOM = 0xfffff038;
const PASS: Instruction = [RETURN, 0, 0, 0x40000];
const DROP: Instruction = [RETURN, 0, 0, 0];
const TRANSPORT = 4;
/** Behind the UDP header, at which a socket's filter begins. */
const TYPE_AT = 8;

/** The filter of the socket of one family; empty where there is none. `known`: endpoints, ENDPOINT_WORDS each. */
export function sieveProgram(depth: number, family: 4 | 6, known: Int32Array): Uint8Array {
  if (depth === 0) return new Uint8Array(0);
  const program: Instruction[] = [[LOAD_BYTE, 0, 0, TYPE_AT], [EQUAL, 0, 1, TRANSPORT], PASS];
  let peers = 0;
  for (let at = 0; at < known.length && peers < KNOWN; at += ENDPOINT_WORDS) {
    if (known[at + Ep.FAMILY] !== family) continue;
    peers++;
    // Of an IPv6 address its second half: who has the other is near.
    const words =
      family === 4
        ? [[12, Ep.ADDRESS]]
        : [
            [16, Ep.ADDRESS + 2],
            [20, Ep.ADDRESS + 3],
          ];
    words.forEach(([off, word], i) => {
      program.push([LOAD_WORD, 0, 0, NET_OFF + off!], [EQUAL, 0, 2 * (words.length - i) + 1, known[at + word!]! >>> 0]);
    });
    program.push([LOAD_HALF, 0, 0, 0], [EQUAL, 0, 1, known[at + Ep.PORT]!], PASS);
  }
  program.push([LOAD_WORD, 0, 0, RANDOM], [GREATER_OR_EQUAL, 0, 1, 2 ** (32 - depth)], DROP, PASS);
  const bytes = new Uint8Array(8 * program.length);
  const view = new DataView(bytes.buffer);
  program.forEach(([code, yes, no, k], i) => {
    view.setUint16(8 * i, code, true);
    bytes[8 * i + 2] = yes;
    bytes[8 * i + 3] = no;
    view.setUint32(8 * i + 4, k, true);
  });
  return bytes;
}
