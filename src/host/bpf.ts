/**
 * Classic BPF: an assembler with labels, and a disassembler for people.
 *
 * Classic BPF is the bytecode that `cls_bpf` takes without a compiler, maps or BTF. Two registers, A and X (32 bit), 16
 * words of scratch memory M[], and jumps that only go forward. Conditional jumps reach 255 instructions; `ja` reaches
 * everywhere. The assembler hides that: a conditional jump whose target is too far gets a `ja` behind it. A longer
 * program moves other targets out of reach, so lengths are found by iteration (they only ever grow, so it ends).
 *
 * A load outside the packet ends the program with 0. What 0 means is the caller's business: for a filter with an action it is
 * "no match", in direct-action mode it is TC_ACT_OK, which ends classification.
 */

export interface Instruction {
  readonly code: number;
  readonly jt: number;
  readonly jf: number;
  /** Unsigned 32 bit. */
  readonly k: number;
}

/** BPF_MAXINSNS: what the kernel takes. */
export const MAX_INSTRUCTIONS = 4096;

export const Bpf = {
  // Classes.
  LD: 0x00,
  LDX: 0x01,
  ST: 0x02,
  STX: 0x03,
  ALU: 0x04,
  JMP: 0x05,
  RET: 0x06,
  MISC: 0x07,
  // Sizes of loads.
  W: 0x00,
  H: 0x08,
  B: 0x10,
  // Modes of loads.
  IMM: 0x00,
  ABS: 0x20,
  IND: 0x40,
  MEM: 0x60,
  // Operations.
  ADD: 0x00,
  AND: 0x50,
  LSH: 0x60,
  JA: 0x00,
  JEQ: 0x10,
  JGT: 0x20,
  JGE: 0x30,
  JSET: 0x40,
  // Operand source, and `ret a`.
  K: 0x00,
  X: 0x08,
  A: 0x10,
  TAX: 0x00,
  TXA: 0x80,
} as const;

/** Offsets from here on are counted from the network header; before Linux 6.16 they see only the linear part of the packet's memory. */
export const SKF_NET_OFF = 0xfff00000;

/** Facts about the packet that are not in its bytes (SKF_AD_OFF + SKF_AD_*), read by an absolute load. */
export const Ancillary = {
  PROTOCOL: 0xfffff000,
  PKTTYPE: 0xfffff004,
  IFINDEX: 0xfffff008,
  QUEUE: 0xfffff018,
  HATYPE: 0xfffff01c,
  VLAN_TAG: 0xfffff02c,
  VLAN_TAG_PRESENT: 0xfffff030,
} as const;

export type Size = 'b' | 'h' | 'w';
const SIZE: Record<Size, number> = { b: Bpf.B, h: Bpf.H, w: Bpf.W };

/** A place in the program, reached by jumps; `null` where a jump just goes on with the next instruction. */
export class Label {
  /** Index of the item it stands before; −1 until placed. */
  item = -1;
  constructor(readonly name: string) {}
}

interface Item {
  readonly code: number;
  readonly k: number;
  readonly yes: Label | null;
  readonly no: Label | null;
  /** The target is out of an 8-bit jump's reach: a `ja` follows. */
  yesFar: boolean;
  noFar: boolean;
}

export class Assembler {
  private readonly items: Item[] = [];
  private readonly labels: Label[] = [];

  label(name: string): Label {
    const label = new Label(name);
    this.labels.push(label);
    return label;
  }

  place(label: Label): void {
    if (label.item >= 0) throw new Error(`BPF label "${label.name}" is placed twice`);
    label.item = this.items.length;
  }

  /** A ← a fact about the packet. */
  ancillary(k: number): void {
    this.push(Bpf.LD | Bpf.W | Bpf.ABS, k);
  }

  /** A ← bytes at X + k, big endian. */
  load(size: Size, k: number): void {
    this.push(Bpf.LD | SIZE[size] | Bpf.IND, k);
  }

  /** A ← bytes at k, big endian. */
  loadAbsolute(size: Size, k: number): void {
    this.push(Bpf.LD | SIZE[size] | Bpf.ABS, k);
  }

  /** X ← k. */
  setX(k: number): void {
    this.push(Bpf.LDX | Bpf.IMM, k);
  }

  /** A ← k. */
  setA(k: number): void {
    this.push(Bpf.LD | Bpf.IMM, k);
  }

  /** M[slot] ← A. */
  storeA(slot: number): void {
    this.push(Bpf.ST, slot);
  }

  /** A ← M[slot]. */
  loadA(slot: number): void {
    this.push(Bpf.LD | Bpf.MEM, slot);
  }

  /** M[slot] ← X. */
  storeX(slot: number): void {
    this.push(Bpf.STX, slot);
  }

  /** X ← M[slot]. */
  loadX(slot: number): void {
    this.push(Bpf.LDX | Bpf.MEM, slot);
  }

  and(k: number): void {
    this.push(Bpf.ALU | Bpf.AND | Bpf.K, k);
  }

  shiftLeft(k: number): void {
    this.push(Bpf.ALU | Bpf.LSH | Bpf.K, k);
  }

  /** A ← A << X. */
  shiftLeftX(): void {
    this.push(Bpf.ALU | Bpf.LSH | Bpf.X, 0);
  }

  add(k: number): void {
    this.push(Bpf.ALU | Bpf.ADD | Bpf.K, k);
  }

  /** A ← A + X. */
  addX(): void {
    this.push(Bpf.ALU | Bpf.ADD | Bpf.X, 0);
  }

  /** A ← X. */
  txa(): void {
    this.push(Bpf.MISC | Bpf.TXA, 0);
  }

  /** X ← A. */
  tax(): void {
    this.push(Bpf.MISC | Bpf.TAX, 0);
  }

  ret(k: number): void {
    this.push(Bpf.RET | Bpf.K, k);
  }

  ja(to: Label): void {
    this.push(Bpf.JMP | Bpf.JA, 0, to, null);
  }

  /** A == k? */
  jeq(k: number, yes: Label | null, no: Label | null): void {
    this.push(Bpf.JMP | Bpf.JEQ | Bpf.K, k, yes, no);
  }

  /** A ≥ k, unsigned? */
  jge(k: number, yes: Label | null, no: Label | null): void {
    this.push(Bpf.JMP | Bpf.JGE | Bpf.K, k, yes, no);
  }

  /** A & k? */
  jset(k: number, yes: Label | null, no: Label | null): void {
    this.push(Bpf.JMP | Bpf.JSET | Bpf.K, k, yes, no);
  }

  private push(code: number, k: number, yes: Label | null = null, no: Label | null = null): void {
    this.items.push({ code, k: k >>> 0, yes, no, yesFar: false, noFar: false });
  }

  /** The finished program, of any length: the caller compares with its limit. */
  assemble(): Instruction[] {
    const { items } = this;
    for (const label of this.labels) if (label.item < 0) throw new Error(`BPF label "${label.name}" is never placed`);
    const at = new Int32Array(items.length + 1);
    for (let grown = true; grown; ) {
      grown = false;
      items.forEach((item, i) => {
        at[i + 1] = at[i]! + 1 + Number(item.yesFar) + Number(item.noFar);
      });
      items.forEach((item, i) => {
        if (!isConditional(item)) return;
        if (item.yes && !item.yesFar && at[item.yes.item]! - at[i]! - 1 > 255) item.yesFar = grown = true;
        if (item.no && !item.noFar && at[item.no.item]! - at[i]! - 1 > 255) item.noFar = grown = true;
      });
    }
    const out: Instruction[] = [];
    items.forEach((item, i) => {
      if (isConditional(item)) {
        emitConditional(out, item, at, i);
      } else if (item.code === (Bpf.JMP | Bpf.JA)) {
        out.push({ code: item.code, jt: 0, jf: 0, k: forward(at[item.yes!.item]!, out.length, item.yes!) });
      } else {
        out.push({ code: item.code, jt: 0, jf: 0, k: item.k });
      }
    });
    return out;
  }
}

function isConditional(item: Item): boolean {
  return (item.code & 7) === Bpf.JMP && item.code !== (Bpf.JMP | Bpf.JA);
}

/** One conditional jump, and the `ja`s behind it for targets out of reach. */
function emitConditional(out: Instruction[], item: Item, at: Int32Array, i: number): void {
  const here = out.length;
  const next = at[i + 1]!;
  // Where the jump itself leads: straight to the target, to its `ja`, or behind both.
  const jt = item.yesFar ? 0 : forward(item.yes ? at[item.yes.item]! : next, here, item.yes);
  const jf = item.noFar ? Number(item.yesFar) : forward(item.no ? at[item.no.item]! : next, here, item.no);
  out.push({ code: item.code, jt, jf, k: item.k });
  for (const label of [item.yesFar ? item.yes! : null, item.noFar ? item.no! : null]) {
    if (label) out.push({ code: Bpf.JMP | Bpf.JA, jt: 0, jf: 0, k: forward(at[label.item]!, out.length, label) });
  }
}

/** Distance as the kernel counts it: from the instruction behind the jump. */
function forward(target: number, jump: number, label: Label | null): number {
  const distance = target - jump - 1;
  if (distance < 0) throw new Error(`BPF jump to "${label?.name ?? 'next'}" goes backwards, which classic BPF cannot`);
  return distance;
}

/** `struct sock_filter[]` in this machine's byte order (both platforms that tungate runs on are little endian). */
export function encodeProgram(program: readonly Instruction[]): Uint8Array {
  const bytes = new Uint8Array(program.length * 8);
  const view = new DataView(bytes.buffer);
  program.forEach(({ code, jt, jf, k }, i) => {
    view.setUint16(i * 8, code, true);
    view.setUint8(i * 8 + 2, jt);
    view.setUint8(i * 8 + 3, jf);
    view.setUint32(i * 8 + 4, k, true);
  });
  return bytes;
}

export function decodeProgram(bytes: Uint8Array): Instruction[] {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  return Array.from({ length: Math.floor(bytes.length / 8) }, (_, i) => ({
    code: view.getUint16(i * 8, true),
    jt: view.getUint8(i * 8 + 2),
    jf: view.getUint8(i * 8 + 3),
    k: view.getUint32(i * 8 + 4, true),
  }));
}

const JUMPS: Record<number, string> = { [Bpf.JEQ]: 'jeq', [Bpf.JGT]: 'jgt', [Bpf.JGE]: 'jge', [Bpf.JSET]: 'jset' };
const ALUS: Record<number, string> = { [Bpf.ADD]: 'add', [Bpf.AND]: 'and', [Bpf.LSH]: 'lsh' };
const ANCILLARY_NAMES = new Map<number, string>(Object.entries(Ancillary).map(([name, k]) => [k, name.toLowerCase()]));

/** One line an instruction, in the manner of `tcpdump -d`. */
export function disassemble(program: readonly Instruction[]): string {
  return program.map((one, i) => `(${String(i).padStart(3, '0')}) ${mnemonic(one, i)}`).join('\n');
}

function mnemonic({ code, jt, jf, k }: Instruction, i: number): string {
  const hex = `0x${k.toString(16)}`;
  const size = (code & 0x18) === Bpf.B ? 'b' : (code & 0x18) === Bpf.H ? 'h' : '';
  const operand = code & Bpf.X ? 'x' : `#${hex}`;
  switch (code & 7) {
    case Bpf.LD:
      if ((code & 0xe0) === Bpf.IND) return `ld${size.padEnd(3)} [x + ${k}]`;
      if ((code & 0xe0) === Bpf.ABS) return `ld${size.padEnd(3)} ${ANCILLARY_NAMES.get(k) ?? `[${absolute(k)}]`}`;
      return (code & 0xe0) === Bpf.MEM ? `ld    M[${k}]` : `ld    #${hex}`;
    case Bpf.LDX:
      return (code & 0xe0) === Bpf.MEM ? `ldx   M[${k}]` : `ldx   #${hex}`;
    case Bpf.ST:
      return `st    M[${k}]`;
    case Bpf.STX:
      return `stx   M[${k}]`;
    case Bpf.ALU:
      return `${(ALUS[code & 0xf0] ?? `alu?${code}`).padEnd(5)} ${operand}`;
    case Bpf.JMP:
      if ((code & 0xf0) === Bpf.JA) return `ja    ${i + 1 + k}`;
      return `${(JUMPS[code & 0xf0] ?? `jmp?${code}`).padEnd(5)} ${operand}  jt ${i + 1 + jt}  jf ${i + 1 + jf}`;
    case Bpf.RET:
      return (code & 0x18) === Bpf.A ? 'ret   a' : `ret   #${hex}`;
    default:
      return (code & 0xf8) === Bpf.TXA ? 'txa' : 'tax';
  }
}

function absolute(k: number): string {
  return k >= SKF_NET_OFF ? `net + ${k - SKF_NET_OFF}` : String(k);
}
