/**
 * BTF, the kernel's description of its own types (Documentation/bpf/btf.rst): which number a function
 * has, and where in a structure a member lies. Reads only what is asked for.
 * @module
 */
import { DecodeError } from './decode-error.ts';

const MAGIC = 0xeb9f;
const HEADER_LENGTH = 24;
const KIND = { struct: 4, union: 5, func: 12 } as const;
const LAST_KIND = 19;
const TYPE_WORDS = 3;
const MEMBER_WORDS = 3;
/** What follows a type's three words, by kind: so many words, and so many for each of its entries. */
const FIXED_WORDS = Uint8Array.of(0, 1, 0, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 1, 0, 0);
const ENTRY_WORDS = Uint8Array.of(0, 0, 0, 0, 3, 3, 2, 0, 0, 0, 0, 0, 0, 2, 0, 3, 0, 0, 0, 3);
/** Structures within structures without a name of their own. */
const DEEPEST = 8;

/** Words begin at multiples of four: bytes that do not are copied. */
function wordsOf(bytes: Uint8Array): Uint32Array {
  const { buffer, byteOffset } = bytes.byteOffset % 4 === 0 ? bytes : new Uint8Array(bytes);
  return new Uint32Array(buffer, byteOffset, bytes.length >> 2);
}

export class Btf {
  readonly #words: Uint32Array;
  /** All names, each between two zeros. */
  readonly #names: string;
  /** Where each type begins, in words; the first has number 1. */
  readonly #types: Uint32Array;
  readonly #count: number;

  /** Throws `DecodeError`. */
  constructor(bytes: Uint8Array) {
    if (bytes.length < HEADER_LENGTH) throw new DecodeError('btf', 'cut-short', bytes.length);
    const header = new DataView(bytes.buffer, bytes.byteOffset, HEADER_LENGTH);
    if (header.getUint16(0, true) !== MAGIC) {
      throw new DecodeError('btf', 'bad-magic', header.getUint16(0, true));
    }
    const [base, from, length, strings, stringsLength] = [4, 8, 12, 16, 20].map((at) =>
      header.getUint32(at, true),
    ) as [number, number, number, number, number];
    if (base + from + length > bytes.length || base + strings + stringsLength > bytes.length) {
      throw new DecodeError('btf', 'bad-length', length);
    }
    this.#words = wordsOf(bytes.subarray(base + from, base + from + length));
    const names = bytes.subarray(base + strings, base + strings + stringsLength);
    this.#names = new TextDecoder('latin1').decode(names);
    const words = this.#words;
    const types = new Uint32Array(Math.ceil(words.length / TYPE_WORDS) + 1);
    let count = 1;
    for (let at = 0; at + TYPE_WORDS <= words.length; count += 1) {
      types[count] = at;
      const info = words[at + 1] ?? 0;
      const kind = (info >>> 24) & 31;
      // Nobody knows how long one of a later kernel is.
      if (kind > LAST_KIND) throw new DecodeError('btf', 'bad-kind', kind);
      at += TYPE_WORDS + (FIXED_WORDS[kind] ?? 0) + (ENTRY_WORDS[kind] ?? 0) * (info & 0xffff);
    }
    this.#types = types;
    this.#count = count;
  }

  /** The number of a function, or `undefined` where the kernel has none of that name. */
  functionId(name: string): number | undefined {
    return this.#find(KIND.func, name);
  }

  /** Where a member lies in a structure, in bytes, or `undefined`: also if it begins within one. */
  memberOffset(structure: string, member: string): number | undefined {
    const id = this.#find(KIND.struct, structure);
    const name = this.#nameOffset(member);
    if (id === undefined || name === undefined) return undefined;
    const bits = this.#memberBits(id, name, DEEPEST, new Set());
    return bits === undefined || bits % 8 !== 0 ? undefined : bits / 8;
  }

  /** Types refer to their name by where it begins; no name is there twice. */
  #nameOffset(name: string): number | undefined {
    const at = this.#names.indexOf(`\0${name}\0`);
    return at === -1 ? undefined : at + 1;
  }

  #find(kind: number, name: string): number | undefined {
    const wanted = this.#nameOffset(name);
    if (wanted === undefined) return undefined;
    const [types, words, count] = [this.#types, this.#words, this.#count];
    for (let id = 1; id < count; id += 1) {
      const at = types[id] ?? 0;
      if (words[at] === wanted && this.#kind(at) === kind) return id;
    }
    return undefined;
  }

  #kind(at: number): number {
    return ((this.#words[at + 1] ?? 0) >>> 24) & 31;
  }

  /** Looks into members without a name too: the kernel wraps what it shuffles or unites. */
  #memberBits(id: number, wanted: number, depth: number, seen: Set<number>): number | undefined {
    const at = id > 0 && id < this.#count ? this.#types[id] : undefined;
    if (at === undefined || depth === 0 || seen.has(id)) return undefined;
    seen.add(id);
    const kind = this.#kind(at);
    if (kind !== KIND.struct && kind !== KIND.union) return undefined;
    const info = this.#words[at + 1] ?? 0;
    // With the flag the upper eight bits are the width of a bit field.
    const mask = info >>> 31 === 1 ? 0xff_ffff : 0xffff_ffff;
    for (let index = 0; index < (info & 0xffff); index += 1) {
      const entry = at + TYPE_WORDS + MEMBER_WORDS * index;
      const [name, type, offset] = this.#words.subarray(entry, entry + MEMBER_WORDS);
      if (name === undefined || type === undefined || offset === undefined) return undefined;
      const bits = (offset & mask) >>> 0;
      if (name === wanted) return bits;
      if (name !== 0) continue;
      const within = this.#memberBits(type, wanted, depth - 1, seen);
      if (within !== undefined) return bits + within;
    }
    return undefined;
  }
}
