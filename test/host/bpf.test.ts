import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { Assembler, Bpf, decodeProgram, disassemble, encodeProgram } from '../../src/host/bpf.js';
import {
  ADDRESSES_END,
  complement,
  difference,
  emitMember,
  emitPortMember,
  type IntervalSet,
  PORTS_END,
  pairsOf,
  union,
  within,
} from '../../src/host/intervals.js';
import fc from '../property.js';
import { type Frame, runProgram } from './bpf-interpreter.js';

function frameOf(bytes: Uint8Array, more: Partial<Frame> = {}): Frame {
  return {
    bytes,
    mac: 0,
    linear: bytes.length,
    hatype: 1,
    protocol: 0x0800,
    type: 0,
    vlan: undefined,
    queue: 0,
    ...more,
  };
}

/** A program that says 1 when the word at offset 0 is a member of the set. */
function memberProgram(set: IntervalSet, end: number, ports = false) {
  const asm = new Assembler();
  const yes = asm.label('yes');
  const no = asm.label('no');
  asm.loadAbsolute('w', 0);
  if (ports) emitPortMember(asm, set, yes, no);
  else emitMember(asm, set, end, yes, no);
  asm.place(yes);
  asm.ret(1);
  asm.place(no);
  asm.ret(0);
  return asm.assemble();
}

function word(value: number): Uint8Array {
  const bytes = new Uint8Array(4);
  new DataView(bytes.buffer).setUint32(0, value);
  return bytes;
}

function has(set: IntervalSet, value: number): boolean {
  return pairsOf(set).some(([from, to]) => from <= value && value < to);
}

const portSets = fc
  .array(fc.tuple(fc.nat(PORTS_END), fc.nat(300)), { maxLength: 400 })
  .map((list) => union(list.map(([from, length]) => [from, Math.min(from + length, PORTS_END)] as const)));

describe('assembler', () => {
  test('a jump farther than 255 instructions gets a ja, on either side', () => {
    for (const distance of [254, 255, 256, 257, 600]) {
      for (const wanted of [0, 1]) {
        const asm = new Assembler();
        const far = asm.label('far');
        asm.loadAbsolute('w', 0);
        if (wanted === 1) asm.jeq(7, far, null);
        else asm.jeq(7, null, far);
        for (let i = 0; i < distance; i++) asm.add(1);
        asm.ret(0);
        asm.place(far);
        asm.ret(99);
        const program = decodeProgram(encodeProgram(asm.assemble())); // 8 bits, as the kernel gets them
        assert.equal(runProgram(program, frameOf(word(7))), wanted ? 99 : 0, `distance ${distance}`);
        assert.equal(runProgram(program, frameOf(word(8))), wanted ? 0 : 99, `distance ${distance}`);
      }
    }
  });

  test('both targets of one jump may be far', () => {
    const asm = new Assembler();
    const [one, two] = [asm.label('one'), asm.label('two')];
    asm.loadAbsolute('w', 0);
    asm.jeq(7, one, two);
    for (let i = 0; i < 300; i++) asm.add(1);
    asm.place(one);
    asm.ret(1);
    asm.place(two);
    asm.ret(2);
    const program = asm.assemble();
    assert.equal(runProgram(program, frameOf(word(7))), 1);
    assert.equal(runProgram(program, frameOf(word(8))), 2);
  });

  test('a label that is never placed, placed twice, or behind its jump is named', () => {
    const missing = new Assembler();
    missing.ja(missing.label('nowhere'));
    assert.throws(() => missing.assemble(), /"nowhere" is never placed/);
    const back = new Assembler();
    const start = back.label('start');
    back.place(start);
    back.ret(0);
    back.ja(start);
    assert.throws(() => back.assemble(), /"start" goes backwards/);
    assert.throws(() => back.place(start), /"start" is placed twice/);
  });

  test('bytes are struct sock_filter, and come back', () => {
    const program = memberProgram([1, 2, 80, 81, 443, 444], PORTS_END);
    const bytes = encodeProgram(program);
    assert.equal(bytes.length, program.length * 8);
    assert.deepEqual([...bytes.subarray(0, 8)], [Bpf.LD | Bpf.W | Bpf.ABS, 0, 0, 0, 0, 0, 0, 0]);
    assert.deepEqual(decodeProgram(bytes), program);
  });

  test('the disassembly reads like tcpdump -d', () => {
    const asm = new Assembler();
    const yes = asm.label('yes');
    asm.setX(14);
    asm.storeX(0);
    asm.load('b', 9);
    asm.jeq(6, yes, null);
    asm.ret(0);
    asm.place(yes);
    asm.ret(0xffffffff);
    assert.equal(
      disassemble(asm.assemble()),
      [
        '(000) ldx   #0xe',
        '(001) stx   M[0]',
        '(002) ldb   [x + 9]',
        '(003) jeq   #0x6  jt 5  jf 4',
        '(004) ret   #0x0',
        '(005) ret   #0xffffffff',
      ].join('\n'),
    );
  });
});

describe('interval sets', () => {
  test('union, complement, difference and within agree with membership', () => {
    fc.assert(
      fc.property(
        portSets,
        portSets,
        fc.nat(PORTS_END - 1),
        fc.nat(PORTS_END),
        fc.nat(PORTS_END),
        (a, b, port, x, y) => {
          assert.equal(has(complement(a, PORTS_END), port), !has(a, port));
          assert.equal(has(difference(a, b), port), has(a, port) && !has(b, port));
          assert.equal(has(union([...pairsOf(a), ...pairsOf(b)]), port), has(a, port) || has(b, port));
          assert.equal(has(within(a, x, y), port), has(a, port) && x <= port && port < y);
          assert.ok(a.every((edge, i) => i === 0 || edge > a[i - 1]!));
        },
      ),
    );
  });

  test('the search in BPF agrees with membership, at and around each boundary', () => {
    fc.assert(
      fc.property(portSets, fc.nat(PORTS_END - 1), (set, any) => {
        const program = memberProgram(set, PORTS_END);
        const probes = [any, 0, PORTS_END - 1, ...set.flatMap((edge) => [edge - 1, edge, edge + 1])];
        for (const probe of probes.filter((p) => p >= 0 && p < PORTS_END)) {
          assert.equal(runProgram(program, frameOf(word(probe))), Number(has(set, probe)), `${probe}`);
        }
      }),
      { numRuns: 60 },
    );
  });

  test('the whole address space, none of it, and its last address', () => {
    for (const [set, last] of [
      [[0, ADDRESSES_END], 1],
      [[], 0],
      [[ADDRESSES_END - 1, ADDRESSES_END], 1],
    ] as const) {
      assert.equal(runProgram(memberProgram(set, ADDRESSES_END), frameOf(word(0xffffffff))), last);
    }
  });

  test('a search takes one instruction a boundary where everything is near', () => {
    const set = union(Array.from({ length: 50 }, (_, i) => [i * 100 + 1, i * 100 + 5] as const));
    assert.equal(memberProgram(set, PORTS_END).length, 100 + 3);
  });

  /** Where boundaries stand close, wherever that is, the ends of the port space too. */
  const combs = fc
    .array(fc.tuple(fc.constantFrom(0, 32, 4090, 65_400), fc.nat(140), fc.nat(3)), { maxLength: 60 })
    .map((list) => union(list.map(([base, at, more]) => [base + at, base + at + 1 + more] as const)))
    .map((set) => within(set, 0, PORTS_END));

  test('ports that stand close are bits, and are found like others', () => {
    fc.assert(
      fc.property(fc.oneof(combs, portSets), fc.nat(PORTS_END - 1), (set, any) => {
        const program = memberProgram(set, PORTS_END, true);
        const probes = [any, 0, PORTS_END - 1, ...set.flatMap((edge) => [edge - 33, edge - 1, edge, edge + 1])];
        for (const probe of probes.filter((p) => p >= 0 && p < PORTS_END)) {
          assert.equal(runProgram(program, frameOf(word(probe))), Number(has(set, probe)), `${probe}`);
        }
      }),
      { numRuns: 100 },
    );
    const everySecond = union(Array.from({ length: 10_000 }, (_, i) => [30_000 + 2 * i, 30_001 + 2 * i] as const));
    const { length } = memberProgram(everySecond, PORTS_END, true);
    assert.ok(length < 3000, `${length} instructions`);
  });
});
