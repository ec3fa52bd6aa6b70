import assert from 'node:assert/strict';
import { suite, test } from 'node:test';
import fc from 'fast-check';
import { BpfMachine } from '../../test/support/bpf-machine.ts';
import { BpfProgram, type Register, type Width } from './bpf-program.ts';

const hexOf = (program: BpfProgram) =>
  Buffer.from(program.encode())
    .toString('hex')
    .replaceAll(/(.{16})(?=.)/g, '$1 ');

/** RFC 9669, sections 3.2, 4 and 5: class, source, operation, size and mode of an instruction. */
const CLASS = { LD: 0, LDX: 1, ST: 2, STX: 3, ALU: 4, JMP: 5, ALU64: 7 } as const;
const [K, X] = [0x00, 0x08] as const;
const OPERATION = { ADD: 0x00, OR: 0x40, MOV: 0xb0, END: 0xd0 } as const;
const JUMP = { JA: 0x00, JEQ: 0x10, JNE: 0x50, CALL: 0x80, EXIT: 0x90 } as const;
const SIZE: Readonly<Record<Width, number>> = { 4: 0x00, 2: 0x08, 1: 0x10, 8: 0x18 };
const MODE = { IMM: 0x00, MEM: 0x60, ATOMIC: 0xc0 } as const;
const WIDTHS: readonly Width[] = [1, 2, 4, 8];

const program = () => new BpfProgram();

suite('BPF instructions', () => {
  // As `llvm-mc -triple=bpfel` writes them.
  for (const [words, written, hex] of [
    ['r0 = 0', program().set(0, 0), 'b700000000000000'],
    ['r1 = -1', program().set(1, -1), 'b7010000ffffffff'],
    ['r6 = r1', program().copy(6, 1), 'bf16000000000000'],
    ['r2 = r10', program().copy(2, 10), 'bfa2000000000000'],
    ['r2 += -4', program().add(2, -4), '07020000fcffffff'],
    ['r8 |= r0', program().or(8, 0), '4f08000000000000'],
    ['r1 = be16 r1', program().fromNetwork(1, 16), 'dc01000010000000'],
    ['r1 = be32 r1', program().fromNetwork(1, 32), 'dc01000020000000'],
    ['r1 = *(u32 *)(r6 + 68)', program().load(4, 1, 6, 68), '6161440000000000'],
    ['r7 = *(u64 *)(r1 + 24)', program().load(8, 7, 1, 24), '7917180000000000'],
    ['*(u32 *)(r10 - 4) = r1', program().store(4, 10, -4, 1), '631afcff00000000'],
    ['*(u64 *)(r10 - 16) = r1', program().store(8, 10, -16, 1), '7b1af0ff00000000'],
    ['*(u32 *)(r10 - 32) = 7', program().storeNumber(4, 10, -32, 7), '620ae0ff07000000'],
    ['lock *(u64 *)(r7 + 24) += r1', program().addAtomically(7, 24, 1), 'db17180000000000'],
    ['r1 = map[fd 5] ll', program().map(1, 5), '1811000005000000 0000000000000000'],
    ['call 1', program().call(1), '8500000001000000'],
    ['r0 = 1; exit', program().exit(1), 'b700000001000000 9500000000000000'],
  ] as const) {
    test(`${words} is ${hex}`, () => assert.equal(hexOf(written), hex));
  }

  const code = (written: BpfProgram) => written.encode()[0];

  test('every opcode is what the tables of RFC 9669 add up to', () => {
    assert.equal(code(program().set(1, 2)), CLASS.ALU64 | K | OPERATION.MOV);
    assert.equal(code(program().copy(1, 2)), CLASS.ALU64 | X | OPERATION.MOV);
    assert.equal(code(program().add(1, 2)), CLASS.ALU64 | K | OPERATION.ADD);
    assert.equal(code(program().or(1, 2)), CLASS.ALU64 | X | OPERATION.OR);
    // Of END the source bit means: to or from big endian.
    assert.equal(code(program().fromNetwork(1, 16)), CLASS.ALU | X | OPERATION.END);
    assert.equal(code(program().map(1, 2)), CLASS.LD | MODE.IMM | SIZE[8]);
    assert.equal(code(program().addAtomically(1, 0, 2)), CLASS.STX | MODE.ATOMIC | SIZE[8]);
    assert.equal(code(program().call(1)), CLASS.JMP | JUMP.CALL);
    for (const width of WIDTHS) {
      assert.equal(code(program().load(width, 1, 2, 0)), CLASS.LDX | MODE.MEM | SIZE[width]);
      assert.equal(code(program().store(width, 1, 0, 2)), CLASS.STX | MODE.MEM | SIZE[width]);
      assert.equal(code(program().storeNumber(width, 1, 0, 2)), CLASS.ST | MODE.MEM | SIZE[width]);
    }
    for (const [condition, operation] of [
      ['==', JUMP.JEQ],
      ['!=', JUMP.JNE],
    ] as const) {
      const written = program().jumpIf(1, condition, 0, 'end').label('end').exit(0);
      assert.equal(code(written), CLASS.JMP | K | operation);
    }
    assert.equal(code(program().jump('end').label('end').exit(0)), CLASS.JMP | JUMP.JA);
    assert.equal(program().exit(0).encode()[8], CLASS.JMP | JUMP.EXIT);
  });

  test('registers, offsets and numbers come back from where RFC 9669 section 3 puts them', () => {
    const register = fc.nat(9).map((value) => value as Register);
    const word = fc.integer({ min: -(2 ** 31), max: 2 ** 31 - 1 });
    const short = fc.integer({ min: -(2 ** 15), max: 2 ** 15 - 1 });
    fc.assert(
      fc.property(register, register, short, word, (to, from, offset, number) => {
        const bytes = program()
          .load(4, to, from, offset)
          .storeNumber(8, to, offset, number)
          .set(to, number)
          .encode();
        const view = new DataView(bytes.buffer);
        assert.deepEqual([bytes[1], bytes[9], bytes[17]], [to | (from << 4), to, to]);
        assert.deepEqual([view.getInt16(2, true), view.getInt32(4, true)], [offset, 0]);
        assert.deepEqual([view.getInt16(10, true), view.getInt32(12, true)], [offset, number]);
        assert.deepEqual([view.getInt16(18, true), view.getInt32(20, true)], [0, number]);
      }),
    );
  });
});

suite('BPF jumps', () => {
  test('a jump counts from the next instruction; a map is two', () => {
    const written = program()
      .jumpIf(1, '==', 7, 'end')
      .map(1, 5)
      .jump('end')
      .label('middle')
      .set(0, 3)
      .jump('middle')
      .label('end')
      .exit(0);
    assert.deepEqual(hexOf(written).split(' '), [
      '1501050007000000',
      '1811000005000000',
      '0000000000000000',
      '0500020000000000',
      'b700000003000000',
      '0500feff00000000',
      'b700000000000000',
      '9500000000000000',
    ]);
  });

  test('a label may come before or behind its jump, twice in one place, and lead to the next', () => {
    const written = program().jump('here').label('here').label('there').jump('there').exit(0);
    assert.equal(hexOf(written).slice(0, 33), '0500000000000000 0500ffff00000000');
  });

  test('a jump to nowhere is a mistake of ours, and says which', () => {
    assert.throws(() => program().jump('lost').exit(0).encode(), /no label lost/);
  });

  test('a number is compared with its sign carried to 64 bits: −1 is no 32 bits of ones', () => {
    const isMinusOne = (value: bigint, condition: '==' | '!=') => {
      const written = program()
        .load(8, 1, 1, 0)
        .jumpIf(1, condition, -1, 'yes')
        .exit(0)
        .label('yes')
        .exit(1);
      const bytes = new Uint8Array(8);
      new DataView(bytes.buffer).setBigUint64(0, value, true);
      const machine = new BpfMachine({});
      return machine.run(written.encode(), machine.pointer(bytes), {}) === 1n;
    };
    assert(isMinusOne(0xffff_ffff_ffff_ffffn, '=='));
    assert(!isMinusOne(0xffff_ffffn, '=='));
    assert(isMinusOne(0xffff_ffffn, '!='));
  });
});
