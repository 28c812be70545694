/**
 * The device by which tunnel packets around TCP super-frames leave whole: a TAP that the addon writes them to (native/outer.h), and a program at its tc ingress that
 * sends each on by the route to its destination.
 *
 * Theory of operation. No socket takes a packet that the kernel is to segment inside of its tunnel header; a TAP does (Linux 6.17). From there the packet is not
 * routed like one that came in, which would need accept_local, no reverse path filter, no FORWARD rule and a decremented TTL, but redirected: the program
 * looks its way up (bpf_fib_lookup) and hands it to the neighbour (bpf_redirect_neigh), as what the host sends itself would go, and as late as that its segments are
 * made, by the network card where it can. So routes are followed from packet to packet, and nothing outside of the device is changed. `forwarding` of the
 * device itself is what the look-up asks for. The device is gone when its descriptor is closed: there is nothing to be undone.
 *
 * Not seen on this way: the host's netfilter (OUTPUT), as nothing of a tc redirect is. What has no route is dropped, as for a socket.
 */
import { native } from '../native.js';
import { findLink, setLink } from './link.js';
import type { Netlink } from './netlink.js';
import { confPath, readSysctl, sysctlExists, writeSysctl } from './sysctl.js';
import { addClsact, ETH_P_IP, INGRESS, writeFilter } from './tc.js';

const NAME = 'tgouter%d';
const TCA_BPF_FD = 6;
const TCA_BPF_NAME = 7;
const TCA_BPF_FLAGS = 8;
const TCA_BPF_FLAG_ACT_DIRECT = 1;
/** The look-up is only there for programs under a license that goes with the kernel's: the 38 instructions below, and nothing else here, may be used under these too. */
const LICENSE = 'Dual BSD/GPL';

export interface OuterTap {
  readonly fd: number;
  readonly name: string;
}

/** Throws what is missing, in words; nothing is left then. */
export function openOuterTap(nl: Netlink): OuterTap {
  const { fd, name } = native.tapOpenOuter(NAME);
  try {
    const { index } = findLink(nl, name)!;
    const noSix = confPath(name, 'disable_ipv6', 'ipv6');
    if (sysctlExists(noSix)) writeSysctl(noSix, '1');
    writeSysctl(confPath(name, 'forwarding'), '1');
    setLink(nl, index, { up: true });
    addClsact(nl, index);
    const program = native.bpfLoad(outerProgram(), LICENSE);
    try {
      const key = { index, parent: INGRESS, priority: 1, protocol: ETH_P_IP, handle: 1 };
      writeFilter(nl, key, 'bpf', (options) =>
        options
          .attrU32(TCA_BPF_FD, program)
          .attrText(TCA_BPF_NAME, 'tungate')
          .attrU32(TCA_BPF_FLAGS, TCA_BPF_FLAG_ACT_DIRECT),
      );
    } finally {
      native.closeFd(program); // the filter holds it
    }
    return { fd, name };
  } catch (error) {
    native.closeFd(fd);
    throw error;
  }
}

/** A write to net.ipv4.ip_forward, by whomever, reaches the `forwarding` of every device, and without it the look-up finds nothing: TCP goes on by its single segments, at a thousandth of the speed. True: it had to be set again. */
export function verifyOuterTap({ name }: OuterTap): boolean {
  const path = confPath(name, 'forwarding');
  const now = readSysctl(path);
  if (now === undefined || now === '1') return false; // or somebody deleted it: then frames are cut up
  writeSysctl(path, '1');
  return true;
}

// ---- The program (RFC 9669). Registers: 0 result, 1–5 arguments, 6 the packet, 10 the end of the stack.

const LDX_W = 0x61;
const STX_W = 0x63;
const ST_B = 0x72;
const ST_DW = 0x7a;
const MOV = 0xb7;
const MOV_X = 0xbf;
const ADD = 0x07;
const JEQ = 0x15;
const JGT_X = 0x2d;
const CALL = 0x85;
const EXIT = 0x95;
/** struct __sk_buff. */
const IFINDEX = 40;
const DATA = 76;
const DATA_END = 80;
/** struct bpf_fib_lookup, at the foot of the stack: its fields. */
const FIB_BYTES = 64;
const FIB = { FAMILY: 0, PROTOCOL: 1, IFINDEX: 8, SOURCE: 16, DESTINATION: 32 } as const;
const FIB_LOOKUP = 69;
const REDIRECT_NEIGH = 152;
/** The way is known; its neighbour is not yet, which is the redirect's business. */
const NO_NEIGHBOUR = 7;
const SHOT = 2;
const AF_INET = 2;
const UDP = 17;
const IP = 14;

/** Instructions of 8 bytes, in the machine's order (little endian on all that tungate runs on). */
export function outerProgram(): Uint8Array {
  const code: number[][] = [];
  const put = (op: number, dst: number, src = 0, off = 0, imm = 0) => code.push([op, dst, src, off, imm]);
  const fib = (field: number) => field - FIB_BYTES;
  put(MOV_X, 6, 1);
  put(LDX_W, 2, 1, DATA);
  put(LDX_W, 3, 1, DATA_END);
  put(MOV_X, 4, 2);
  put(ADD, 4, 0, 0, IP + 20);
  const short = put(JGT_X, 4, 3);
  for (let at = 0; at < FIB_BYTES; at += 8) put(ST_DW, 10, 0, fib(at));
  put(ST_B, 10, 0, fib(FIB.FAMILY), AF_INET);
  put(ST_B, 10, 0, fib(FIB.PROTOCOL), UDP);
  put(LDX_W, 4, 6, IFINDEX);
  put(STX_W, 10, 4, fib(FIB.IFINDEX));
  put(LDX_W, 4, 2, IP + 12);
  put(STX_W, 10, 4, fib(FIB.SOURCE));
  put(LDX_W, 4, 2, IP + 16);
  put(STX_W, 10, 4, fib(FIB.DESTINATION));
  put(MOV_X, 1, 6);
  put(MOV_X, 2, 10);
  put(ADD, 2, 0, 0, -FIB_BYTES);
  put(MOV, 3, 0, 0, FIB_BYTES);
  put(MOV, 4);
  put(CALL, 0, 0, 0, FIB_LOOKUP);
  put(JEQ, 0, 0, 3);
  put(JEQ, 0, 0, 2, NO_NEIGHBOUR);
  const drop = put(MOV, 0, 0, 0, SHOT);
  put(EXIT, 0);
  put(LDX_W, 1, 10, fib(FIB.IFINDEX));
  put(MOV, 2);
  put(MOV, 3);
  put(MOV, 4);
  put(CALL, 0, 0, 0, REDIRECT_NEIGH);
  put(EXIT, 0);
  code[short - 1]![3] = drop - 1 - short;
  const bytes = new Uint8Array(code.length * 8);
  const view = new DataView(bytes.buffer);
  code.forEach(([op, dst, src, off, imm], i) => {
    view.setUint8(i * 8, op!);
    view.setUint8(i * 8 + 1, (src! << 4) | dst!);
    view.setInt16(i * 8 + 2, off!, true);
    view.setInt32(i * 8 + 4, imm!, true);
  });
  return bytes;
}
