/**
 * A small interpreter of classic BPF as the kernel's tc hooks run it: the judge of the assembler in unit tests, itself
 * judged by the real kernel in steer-kernel.test.ts.
 */
import { Ancillary, Bpf, type Instruction, SKF_NET_OFF } from '../../src/host/bpf.js';

/** What a program can see of a packet. */
export interface Frame {
  /** From where ordinary offsets count: the MAC header, or the IP header where there is none. */
  readonly bytes: Uint8Array;
  /** Bytes in front of the IP header. */
  readonly mac: number;
  /** Bytes that lie in the linear part: all that SKF_NET_OFF can see before Linux 6.16. */
  readonly linear: number;
  /** ARPHRD_*. */
  readonly hatype: number;
  /** skb->protocol. */
  readonly protocol: number;
  /** PACKET_HOST 0, BROADCAST 1, MULTICAST 2, OTHERHOST 3, OUTGOING 4. */
  readonly type: number;
  /** Tag control information, where a VLAN tag was stripped. */
  readonly vlan: number | undefined;
  /** skb->queue_mapping. */
  readonly queue: number;
}

class LoadFailed extends Error {}

/** The program's result, unsigned. */
export function runProgram(program: readonly Instruction[], frame: Frame): number {
  const memory = new Uint32Array(16);
  let a = 0;
  let x = 0;
  try {
    for (let pc = 0; ; pc++) {
      const one = program[pc];
      if (!one) throw new Error('the program runs past its end');
      const { code, k } = one;
      const operand = code & Bpf.X ? x : k;
      switch (code & 7) {
        case Bpf.LD:
          a = loadA(code, k, x, frame, memory);
          break;
        case Bpf.LDX:
          x = (code & 0xe0) === Bpf.MEM ? memory[k]! : k;
          break;
        case Bpf.ST:
          memory[k] = a;
          break;
        case Bpf.STX:
          memory[k] = x;
          break;
        case Bpf.ALU:
          a = compute(code & 0xf0, a, operand);
          break;
        case Bpf.JMP:
          if ((code & 0xf0) === Bpf.JA) pc += k;
          else pc += holds(code & 0xf0, a, operand) ? one.jt : one.jf;
          break;
        case Bpf.RET:
          return (code & 0x18) === Bpf.A ? a : k;
        default:
          if ((code & 0xf8) === Bpf.TXA) a = x;
          else x = a;
      }
    }
  } catch (error) {
    if (error instanceof LoadFailed) return 0;
    throw error;
  }
}

function compute(operation: number, a: number, operand: number): number {
  if (operation === Bpf.ADD) return (a + operand) >>> 0;
  if (operation === Bpf.AND) return (a & operand) >>> 0;
  if (operation === Bpf.LSH) return (a << operand) >>> 0;
  throw new Error(`operation 0x${operation.toString(16)} is not known to the interpreter`);
}

function holds(operation: number, a: number, operand: number): boolean {
  if (operation === Bpf.JEQ) return a === operand;
  if (operation === Bpf.JGT) return a > operand;
  if (operation === Bpf.JGE) return a >= operand;
  return (a & operand) !== 0;
}

function loadA(code: number, k: number, x: number, frame: Frame, memory: Uint32Array): number {
  const size = (code & 0x18) === Bpf.B ? 1 : (code & 0x18) === Bpf.H ? 2 : 4;
  switch (code & 0xe0) {
    case Bpf.IMM:
      return k;
    case Bpf.MEM:
      return memory[k]!;
    case Bpf.ABS:
      return k >= Ancillary.PROTOCOL ? ancillary(k, frame) : loadBytes((k | 0) as number, size, frame);
    default:
      return loadBytes((x + k) | 0, size, frame);
  }
}

/** `offset` as a signed number: negative ones count from the network header (or the link layer, which nothing here uses). */
function loadBytes(offset: number, size: number, { bytes, mac, linear }: Frame): number {
  let at = offset;
  let end = bytes.length;
  if (offset < 0) {
    at = mac + (offset - (SKF_NET_OFF | 0));
    end = linear;
    if (at < 0) throw new LoadFailed();
  }
  if (at + size > end) throw new LoadFailed();
  let value = 0;
  for (let i = 0; i < size; i++) value = value * 256 + bytes[at + i]!;
  return value;
}

function ancillary(k: number, frame: Frame): number {
  switch (k) {
    case Ancillary.PROTOCOL:
      return frame.protocol;
    case Ancillary.PKTTYPE:
      return frame.type;
    case Ancillary.QUEUE:
      return frame.queue;
    case Ancillary.HATYPE:
      return frame.hatype;
    case Ancillary.VLAN_TAG_PRESENT:
      return Number(frame.vlan !== undefined);
    case Ancillary.VLAN_TAG:
      return frame.vlan ?? 0;
    default:
      throw new Error(`ancillary 0x${k.toString(16)} is not known to the interpreter`);
  }
}
