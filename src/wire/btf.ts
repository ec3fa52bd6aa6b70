/**
 * BTF, the kernel's description of its own types (Documentation/bpf/btf.rst): which number a function
 * has, and where in a structure a member lies. Reads only what is asked for.
 * @module
 */
import { DecodeError } from './decode-error.ts';

const MAGIC = 0xeb9f;
const HEADER_LENGTH = 24;
const KIND = { struct: 4, union: 5, func: 12 } as const;
/** Bytes that follow a type's 12, by kind; `each` counts by its entries. */
const EXTRA: Readonly<Record<number, { readonly fixed?: number; readonly each?: number }>> = {
  1: { fixed: 4 },
  3: { fixed: 12 },
  4: { each: 12 },
  5: { each: 12 },
  6: { each: 8 },
  13: { each: 8 },
  14: { fixed: 4 },
  15: { each: 12 },
  17: { fixed: 4 },
  19: { each: 12 },
};
/** Structures within structures without a name of their own. */
const DEEPEST = 8;

export class Btf {
  readonly #bytes: Uint8Array;
  readonly #view: DataView;
  readonly #strings: number;
  /** Where each type begins; the first has number 1. */
  readonly #types: number[] = [0];

  /** Throws `DecodeError`. */
  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    const view = this.#view;
    if (bytes.length < HEADER_LENGTH) throw new DecodeError('btf', 'cut-short', bytes.length);
    if (view.getUint16(0, true) !== MAGIC) {
      throw new DecodeError('btf', 'bad-magic', view.getUint16(0, true));
    }
    const base = view.getUint32(4, true);
    const from = base + view.getUint32(8, true);
    const to = from + view.getUint32(12, true);
    this.#strings = base + view.getUint32(16, true);
    if (to > bytes.length || this.#strings > bytes.length) {
      throw new DecodeError('btf', 'bad-length', to);
    }
    for (let at = from; at + 12 <= to; ) {
      this.#types.push(at);
      const info = view.getUint32(at + 4, true);
      const extra = EXTRA[(info >>> 24) & 31];
      at += 12 + (extra?.fixed ?? 0) + (extra?.each ?? 0) * (info & 0xffff);
    }
  }

  /** The number of a function, or `undefined` where the kernel has none of that name. */
  functionId(name: string): number | undefined {
    return this.#find(KIND.func, name);
  }

  /** Where a member lies in a structure, in bytes, or `undefined`. */
  memberOffset(structure: string, member: string): number | undefined {
    const id = this.#find(KIND.struct, structure);
    const bits = id === undefined ? undefined : this.#memberBits(id, member, DEEPEST);
    return bits === undefined ? undefined : bits / 8;
  }

  #find(kind: number, name: string): number | undefined {
    const wanted = new TextEncoder().encode(`${name}\0`);
    for (let id = 1; id < this.#types.length; id += 1) {
      const at = this.#types[id] ?? 0;
      if (this.#kind(at) === kind && this.#isNamed(this.#view.getUint32(at, true), wanted))
        return id;
    }
    return undefined;
  }

  #kind(at: number): number {
    return (this.#view.getUint32(at + 4, true) >>> 24) & 31;
  }

  #isNamed(offset: number, wanted: Uint8Array): boolean {
    const from = this.#strings + offset;
    for (let index = 0; index < wanted.length; index += 1) {
      if (this.#bytes[from + index] !== wanted[index]) return false;
    }
    return true;
  }

  /** Looks into members without a name too: the kernel wraps what it shuffles or unites. */
  #memberBits(id: number, member: string, depth: number): number | undefined {
    const at = this.#types[id];
    if (at === undefined || depth === 0) return undefined;
    const kind = this.#kind(at);
    if (kind !== KIND.struct && kind !== KIND.union) return undefined;
    const info = this.#view.getUint32(at + 4, true);
    const count = info & 0xffff;
    // With the flag the upper eight bits are the width of a bit field.
    const mask = info >>> 31 === 1 ? 0xff_ffff : 0xffff_ffff;
    const wanted = new TextEncoder().encode(`${member}\0`);
    for (let index = 0; index < count; index += 1) {
      const entry = at + 12 + 12 * index;
      if (entry + 12 > this.#view.byteLength) return undefined;
      const name = this.#view.getUint32(entry, true);
      const bits = (this.#view.getUint32(entry + 8, true) & mask) >>> 0;
      if (this.#isNamed(name, wanted)) return bits;
      if (this.#bytes[this.#strings + name] !== 0) continue;
      const within = this.#memberBits(this.#view.getUint32(entry + 4, true), member, depth - 1);
      if (within !== undefined) return bits + within;
    }
    return undefined;
  }
}
