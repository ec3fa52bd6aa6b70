/**
 * Writes BPF programs (RFC 9669): an instruction a call, jumps by label, the bytes at the end. It
 * knows the instruction set and no kernel: helpers are numbers.
 * @module
 */

/** r0 result, r1–r5 arguments, r6–r9 kept over calls, r10 the end of a 512-byte stack. */
export type Register = 0 | 1 | 2 | 3 | 4 | 5 | 6 | 7 | 8 | 9 | 10;
/** How much is read or written: 1, 2, 4 or 8 bytes. */
export type Width = 1 | 2 | 4 | 8;

const WIDTH_CODE: Readonly<Record<Width, number>> = { 4: 0x00, 2: 0x08, 1: 0x10, 8: 0x18 };
const CONDITION_CODE = { '==': 0x10, '!=': 0x50 } as const;

interface Instruction {
  readonly code: number;
  readonly to: number;
  readonly from: number;
  readonly offset: number;
  readonly immediate: number;
  /** Where a jump leads, in place of `offset`. */
  readonly label?: string;
}

export class BpfProgram {
  readonly #instructions: Instruction[] = [];
  readonly #labels = new Map<string, number>();

  /** `to = number` (sign-extended to 64 bits). */
  set(to: Register, immediate: number): this {
    return this.#add(0xb7, to, 0, 0, immediate);
  }

  /** `to = from`. */
  copy(to: Register, from: Register): this {
    return this.#add(0xbf, to, from);
  }

  /** `to += number`. */
  add(to: Register, immediate: number): this {
    return this.#add(0x07, to, 0, 0, immediate);
  }

  /** `to |= from`. */
  or(to: Register, from: Register): this {
    return this.#add(0x4f, to, from);
  }

  /** `to` from network byte order (of 16 or 32 bits) to the machine's. */
  fromNetwork(to: Register, bits: 16 | 32): this {
    return this.#add(0xdc, to, 0, 0, bits);
  }

  /** `to = *(from + offset)`. */
  load(width: Width, to: Register, from: Register, offset: number): this {
    return this.#add(0x61 | WIDTH_CODE[width], to, from, offset);
  }

  /** `*(to + offset) = from`. */
  store(width: Width, to: Register, offset: number, from: Register): this {
    return this.#add(0x63 | WIDTH_CODE[width], to, from, offset);
  }

  /** `*(to + offset) = number`. */
  storeNumber(width: Width, to: Register, offset: number, immediate: number): this {
    return this.#add(0x62 | WIDTH_CODE[width], to, 0, offset, immediate);
  }

  /** `*(to + offset) += from`, whole for whoever does so meanwhile; 8 bytes. */
  addAtomically(to: Register, offset: number, from: Register): this {
    return this.#add(0xdb, to, from, offset);
  }

  /** `to = map`, by its descriptor. */
  map(to: Register, fd: number): this {
    return this.#add(0x18, to, 1, 0, fd).#add(0);
  }

  /** `r0 = helper(r1…r5)`. */
  call(helper: number): this {
    return this.#add(0x85, 0, 0, 0, helper);
  }

  /** Goes to `label` if the condition holds for a register and a number. */
  jumpIf(
    register: Register,
    condition: keyof typeof CONDITION_CODE,
    immediate: number,
    label: string,
  ): this {
    return this.#add(0x05 | CONDITION_CODE[condition], register, 0, 0, immediate, label);
  }

  jump(label: string): this {
    return this.#add(0x05, 0, 0, 0, 0, label);
  }

  /** Names the next instruction. */
  label(name: string): this {
    this.#labels.set(name, this.#instructions.length);
    return this;
  }

  /** Ends with a result. */
  exit(result: number): this {
    return this.set(0, result).#add(0x95);
  }

  /** Eight bytes an instruction, little-endian. Throws for a jump to nowhere: a mistake of ours. */
  encode(): Uint8Array {
    const bytes = new Uint8Array(new ArrayBuffer(8 * this.#instructions.length));
    const view = new DataView(bytes.buffer);
    for (const [index, instruction] of this.#instructions.entries()) {
      const { code, to, from, offset, immediate, label } = instruction;
      const at = 8 * index;
      bytes[at] = code;
      bytes[at + 1] = to | (from << 4);
      view.setInt16(at + 2, label === undefined ? offset : this.#distance(index, label), true);
      view.setInt32(at + 4, immediate, true);
    }
    return bytes;
  }

  #distance(index: number, label: string): number {
    const target = this.#labels.get(label);
    if (target === undefined) throw new Error(`no label ${label}`);
    return target - index - 1;
  }

  #add(code: number, to = 0, from = 0, offset = 0, immediate = 0, label?: string): this {
    const instruction = { code, to, from, offset, immediate };
    this.#instructions.push(label === undefined ? instruction : { ...instruction, label });
    return this;
  }
}
