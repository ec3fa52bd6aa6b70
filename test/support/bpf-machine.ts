/**
 * Runs a BPF program (RFC 9669) as the kernel would, one instruction a step, and is as strict as its
 * verifier: a register that nobody set, or a byte outside of what a pointer leads to, ends the run.
 * Only the instructions that we write.
 * @module
 */
import assert from 'node:assert/strict';

/** A pointer is a region's number above 32 bits of an offset into it, moved so that it may sink. */
const REGION = 1n << 32n;
const MIDDLE = 1n << 31n;
const MOST_STEPS = 10_000;
const STACK_LENGTH = 512;

/** What a helper is given: r1 to r5; it answers r0. */
export type Helper = (machine: BpfMachine, ...given: readonly bigint[]) => bigint;

export class BpfMachine {
  readonly #regions: Uint8Array[] = [];
  readonly #helpers: Readonly<Record<number, Helper>>;

  constructor(helpers: Readonly<Record<number, Helper>>) {
    this.#helpers = helpers;
  }

  /** A pointer to the first of these bytes; 0 leads nowhere. */
  pointer(bytes: Uint8Array): bigint {
    return BigInt(this.#regions.push(bytes)) * REGION + MIDDLE;
  }

  /** The bytes that a pointer leads to. */
  bytes(pointer: bigint, length: number): Uint8Array {
    const region = this.#regions[Number(pointer / REGION) - 1];
    const at = Number((pointer % REGION) - MIDDLE);
    assert(region !== undefined, `${pointer.toString(16)} is no pointer`);
    assert(at >= 0 && at + length <= region.length, `${length} bytes at ${at} of ${region.length}`);
    return region.subarray(at, at + length);
  }

  /** Runs it on a context; answers r0. A map's pointer is what its descriptor stands for here. */
  run(program: Uint8Array, context: bigint, maps: Readonly<Record<number, bigint>>): bigint {
    assert.equal(program.length % 8, 0);
    const view = new DataView(program.buffer, program.byteOffset, program.length);
    const registers = new Map<number, bigint>([
      [1, context],
      [10, this.pointer(new Uint8Array(STACK_LENGTH)) + BigInt(STACK_LENGTH)],
    ]);
    const get = (register: number) => {
      const value = registers.get(register);
      assert(value !== undefined, `r${register} is read before it is set`);
      return value;
    };
    const set = (register: number, value: bigint) => {
      assert(register < 10, `r${register} cannot be set`);
      registers.set(register, BigInt.asUintN(64, value));
    };
    for (let at = 0, steps = 0; ; at += 8, steps += 1) {
      assert(steps < MOST_STEPS, 'it does not end');
      assert(at >= 0 && at < program.length, `it jumps out of itself, to ${at / 8}`);
      const code = view.getUint8(at);
      const [to, from] = [view.getUint8(at + 1) & 15, view.getUint8(at + 1) >> 4];
      const offset = view.getInt16(at + 2, true);
      const immediate = BigInt(view.getInt32(at + 4, true));
      const unsigned = BigInt.asUintN(64, immediate);
      const place = (register: number, width: number) =>
        this.bytes(BigInt.asUintN(64, get(register) + BigInt(offset)), width);
      const jumpIf = (holds: boolean) => {
        if (holds) at += 8 * offset;
      };
      switch (code) {
        case 0x95:
          return get(0);
        case 0x18:
          assert.equal(from, 1, 'the second kind of a 64-bit number: a map');
          assert.equal(view.getBigUint64(at + 8, true), 0n);
          set(to, maps[Number(immediate)] ?? assert.fail(`no map ${immediate}`));
          at += 8;
          break;
        case 0x85: {
          const helper = this.#helpers[Number(immediate)] ?? assert.fail(`no helper ${immediate}`);
          const given = [1, 2, 3, 4, 5].map((register) => registers.get(register) ?? 0n);
          for (const register of [1, 2, 3, 4, 5]) registers.delete(register);
          set(0, helper(this, ...given));
          break;
        }
        case 0xb7:
          set(to, immediate);
          break;
        case 0xbf:
          set(to, get(from));
          break;
        case 0x07:
          set(to, get(to) + immediate);
          break;
        case 0x4f:
          set(to, get(to) | get(from));
          break;
        case 0xdc:
          set(to, swapped(get(to), Number(immediate)));
          break;
        case 0x05:
          jumpIf(true);
          break;
        case 0x15:
          jumpIf(get(to) === unsigned);
          break;
        case 0x55:
          jumpIf(get(to) !== unsigned);
          break;
        case 0xdb: {
          const there = place(to, 8);
          write(there, read(there) + get(from));
          break;
        }
        default: {
          const width = { 0: 4, 8: 2, 16: 1, 24: 8 }[code & 0x18] ?? 0;
          const kind = code & ~0x18;
          if (kind === 0x61) set(to, read(place(from, width)));
          else if (kind === 0x62) write(place(to, width), immediate);
          else if (kind === 0x63) write(place(to, width), get(from));
          else assert.fail(`no instruction ${code.toString(16)}`);
        }
      }
    }
  }
}

/** Little-endian. */
function read(bytes: Uint8Array): bigint {
  return bytes.reduceRight((value, byte) => (value << 8n) | BigInt(byte), 0n);
}

function write(bytes: Uint8Array, value: bigint): void {
  for (const index of bytes.keys()) bytes[index] = Number((value >> BigInt(8 * index)) & 0xffn);
}

/** The low 16 or 32 bits the other way round; all above is gone. */
function swapped(value: bigint, bits: number): bigint {
  const bytes = new Uint8Array(bits / 8);
  write(bytes, value);
  return read(bytes.toReversed());
}
