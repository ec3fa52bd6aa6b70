import assert from 'node:assert/strict';
import { existsSync, readFileSync } from 'node:fs';
import { suite, test } from 'node:test';
import { fuzz } from '../../test/support/mutate.ts';
import { Prng } from '../../test/support/prng.ts';
import { Btf } from './btf.ts';

const HEADER_LENGTH = 24;
const VMLINUX = '/sys/kernel/btf/vmlinux';
/** Kinds of linux/btf.h by number, and the words that follow a type's first three. */
const KINDS = {
  int: 1,
  pointer: 2,
  array: 3,
  struct: 4,
  union: 5,
  enum: 6,
  forward: 7,
  typedef: 8,
  volatile: 9,
  const: 10,
  restrict: 11,
  func: 12,
  prototype: 13,
  variable: 14,
  section: 15,
  float: 16,
  tag: 17,
  typeTag: 18,
  enum64: 19,
} as const;

interface Member {
  readonly name?: string;
  readonly type: number;
  readonly bits: number;
  /** Of a bit field. */
  readonly width?: number;
}

/** Writes BTF as Documentation/bpf/btf.rst says. */
class BtfWriter {
  #names = '\0';
  readonly #words: number[] = [];
  #count = 0;

  name(text: string): number {
    if (text === '') return 0;
    const at = this.#names.indexOf(`\0${text}\0`);
    if (at !== -1) return at + 1;
    this.#names += `${text}\0`;
    return this.#names.length - text.length - 1;
  }

  /** A type; answers its number. */
  type(kind: number, name = '', more: readonly number[] = [], entries = 0, flag = false): number {
    const info = ((flag ? 0x8000_0000 : 0) | (kind << 24) | entries) >>> 0;
    this.#words.push(this.name(name), info, 0, ...more);
    this.#count += 1;
    return this.#count;
  }

  compound(kind: 'struct' | 'union', name: string, members: readonly Member[]): number {
    const flag = members.some(({ width }) => width !== undefined);
    const words = members.flatMap(({ name = '', type, bits, width = 0 }) => [
      this.name(name),
      type,
      ((width << 24) | bits) >>> 0,
    ]);
    return this.type(KINDS[kind], name, words, members.length, flag);
  }

  encode({ headerLength = HEADER_LENGTH, gap = 0 } = {}): Uint8Array {
    const names = Buffer.from(this.#names, 'latin1');
    const types = 4 * this.#words.length;
    const bytes = Buffer.alloc(headerLength + gap + types + names.length);
    bytes.writeUInt16LE(0xeb9f, 0);
    bytes.writeUInt8(1, 2);
    for (const [index, word] of [headerLength, gap, types, gap + types, names.length].entries()) {
      bytes.writeUInt32LE(word, 4 + 4 * index);
    }
    for (const [index, word] of this.#words.entries()) {
      bytes.writeUInt32LE(word, headerLength + gap + 4 * index);
    }
    names.copy(bytes, headerLength + gap + types);
    return new Uint8Array(bytes);
  }
}

/** One type of each kind, so that whoever steps over them wrongly finds nothing behind them. */
function everyKind(writer: BtfWriter): void {
  const type = (...words: Parameters<BtfWriter['type']>) => writer.type(...words);
  type(KINDS.int, 'int', [32]);
  type(KINDS.pointer);
  type(KINDS.array, '', [1, 1, 9]);
  type(KINDS.enum, 'colour', [writer.name('red'), 0, writer.name('blue'), 1], 2);
  type(KINDS.forward, 'inode');
  type(KINDS.typedef, 'file');
  type(KINDS.volatile);
  type(KINDS.const);
  type(KINDS.restrict);
  type(KINDS.prototype, '', [writer.name('iterator'), 1, 0, 1], 2);
  type(KINDS.variable, 'jiffies', [1]);
  type(KINDS.section, '.data', [11, 0, 4, 11, 4, 4], 2);
  type(KINDS.float, 'float');
  type(KINDS.tag, 'user', [0xffff_ffff]);
  type(KINDS.typeTag, 'rcu');
  type(KINDS.enum64, 'large', [writer.name('huge'), 0, 1], 1);
}

/** As the kernel's `struct file`: members of unions and structures without a name of their own. */
function sample(): { readonly bytes: Uint8Array; readonly functionId: number } {
  const writer = new BtfWriter();
  everyKind(writer);
  const llist = writer.compound('struct', 'llist_node', [{ name: 'next', type: 2, bits: 0 }]);
  const inner = writer.compound('struct', '', [
    { name: 'low', type: 1, bits: 0 },
    { name: 'high', type: 1, bits: 32 },
  ]);
  const union = writer.compound('union', '', [
    { name: 'f_llist', type: llist, bits: 0 },
    { name: 'f_whole', type: 1, bits: 0 },
    { type: inner, bits: 64 },
  ]);
  writer.compound('union', 'file', [{ name: 'f_inode', type: 1, bits: 8 }]);
  writer.compound('struct', 'file', [
    { type: union, bits: 128 },
    { name: 'f_inode', type: 2, bits: 320 },
    { name: 'f_node', type: llist, bits: 384 },
  ]);
  writer.compound('struct', 'flags', [
    { name: 'whole', type: 1, bits: 0, width: 0 },
    { name: 'aligned', type: 1, bits: 40, width: 3 },
    { name: 'shifted', type: 1, bits: 43, width: 5 },
    { type: inner, bits: 64, width: 0 },
  ]);
  writer.type(KINDS.variable, 'bpf_iter_tcp', [1]);
  const functionId = writer.type(KINDS.func, 'bpf_iter_tcp');
  return { bytes: writer.encode(), functionId };
}

suite('BTF', () => {
  const { bytes, functionId } = sample();
  const btf = new Btf(bytes);

  test('numbers types from 1, and finds a function behind one type of each of the 19 kinds', () => {
    assert.equal(functionId, 24);
    assert.equal(btf.functionId('bpf_iter_tcp'), 24);
  });

  for (const [name, why] of [
    ['bpf_iter_udp', 'nothing has that name'],
    ['bpf_iter', 'a name only begins so'],
    ['iter_tcp', 'a name only ends so'],
    ['jiffies', 'that is a variable'],
  ] as const) {
    test(`finds no function ${name}: ${why}`, () => assert.equal(btf.functionId(name), undefined));
  }

  for (const [structure, member, offset, what] of [
    [
      'file',
      'f_inode',
      40,
      'behind a union, and not that of the union or typedef of the same name',
    ],
    ['file', 'f_whole', 16, 'in a union without a name'],
    ['file', 'f_llist', 16, 'a structure with a name, in a union without'],
    ['file', 'low', 24, 'in a structure in a union, both without a name'],
    ['file', 'high', 28, 'the same, its second member'],
    ['flags', 'whole', 0, 'beside bit fields'],
    ['flags', 'aligned', 5, 'a bit field that begins with a byte'],
    ['flags', 'high', 12, 'behind bit fields, in a structure without a name'],
  ] as const) {
    test(`${structure}.${member} lies at ${offset}: ${what}`, () => {
      assert.equal(btf.memberOffset(structure, member), offset);
    });
  }

  for (const [structure, member, why] of [
    ['file', 'next', 'it belongs to a member that has a name'],
    ['file', 'f_ino', 'a name only begins so'],
    ['file', 'f_missing', 'there is none'],
    ['inode', 'i_ino', 'the structure is only declared'],
    ['nothing', 'f_inode', 'there is no such structure'],
    ['flags', 'shifted', 'a bit field that begins within a byte has no offset in bytes'],
  ] as const) {
    test(`${structure}.${member} is undefined: ${why}`, () => {
      assert.equal(btf.memberOffset(structure, member), undefined);
    });
  }

  test('reads it from the middle of a larger buffer, at an odd place', () => {
    for (const offset of [1, 2, 3, 4]) {
      const larger = Buffer.concat([Buffer.alloc(offset, 0xff), bytes, Buffer.alloc(5, 0xff)]);
      const there = new Btf(larger.subarray(offset, offset + bytes.length));
      assert.equal(there.functionId('bpf_iter_tcp'), functionId);
      assert.equal(there.memberOffset('file', 'f_inode'), 40);
    }
  });

  test('a longer header of a later version, and a gap behind it, are stepped over', () => {
    const writer = new BtfWriter();
    everyKind(writer);
    const id = writer.type(KINDS.func, 'later');
    assert.equal(new Btf(writer.encode({ headerLength: 32, gap: 8 })).functionId('later'), id);
  });

  test('a structure that holds itself without a name 1,000 times over is looked through once', () => {
    const writer = new BtfWriter();
    const members = Array.from({ length: 1_000 }, () => ({ type: 1, bits: 64 }));
    writer.compound('struct', 'loop', [...members, { name: 'end', type: 1, bits: 8 }]);
    const loop = new Btf(writer.encode());
    assert.equal(loop.memberOffset('loop', 'end'), 1);
    assert.equal(loop.memberOffset('loop', 'loop'), undefined);
  });

  test('a member without a name or type leads nowhere, not to the first type', () => {
    const writer = new BtfWriter();
    writer.compound('struct', 'first', [{ name: 'hidden', type: 0, bits: 8 }]);
    writer.compound('struct', 'outer', [
      { type: 0, bits: 0 },
      { name: 'end', type: 0, bits: 16 },
    ]);
    const written = new Btf(writer.encode());
    assert.equal(written.memberOffset('outer', 'hidden'), undefined);
    assert.equal(written.memberOffset('outer', 'end'), 2);
  });

  test('structures within each other are looked through 7 deep, and 20,000 deep end well', () => {
    for (const [depth, expected] of [
      [7, 8 * 7],
      [20_000, undefined],
    ] as const) {
      const writer = new BtfWriter();
      let type = writer.compound('struct', '', [{ name: 'deepest', type: 0, bits: 0 }]);
      for (let left = depth - 1; left > 0; left -= 1) {
        type = writer.compound('struct', '', [{ type, bits: 64 }]);
      }
      writer.compound('struct', 'outer', [{ type, bits: 64 }]);
      assert.equal(new Btf(writer.encode()).memberOffset('outer', 'deepest'), expected);
    }
  });
});

suite('BTF, whatever comes', () => {
  const { bytes } = sample();

  function with32(at: number, value: number): Uint8Array {
    const copy = bytes.slice();
    new DataView(copy.buffer).setUint32(at, value, true);
    return copy;
  }

  for (const [code, what, given] of [
    ['cut-short', 'nothing', new Uint8Array()],
    ['cut-short', '23 bytes, one less than a header', bytes.subarray(0, 23)],
    ['bad-magic', 'another magic', with32(0, 0x01_eb90)],
    ['bad-magic', 'the byte order of another machine', with32(0, 0x01_9feb)],
    ['bad-length', 'a header longer than all', with32(4, 0xffff_ffff)],
    ['bad-length', 'types that begin behind the end', with32(8, 0xffff_ffff)],
    ['bad-length', '4 GiB of types', with32(12, 0xffff_ffff)],
    ['bad-length', 'names that begin behind the end', with32(16, 0xffff_ffff)],
    ['bad-length', '4 GiB of names', with32(20, 0xffff_ffff)],
    ['bad-length', 'one byte too few', bytes.subarray(0, bytes.length - 1)],
    ['bad-kind', 'a kind of a later kernel, whose length nobody knows', with32(28, 20 << 24)],
  ] as const) {
    test(`refuses ${code}: ${what}`, () => {
      assert.throws(() => new Btf(given), { name: 'DecodeError', format: 'btf', code });
    });
  }

  test('a header alone, 24 bytes, describes nothing', () => {
    const alone = Uint8Array.from(
      Buffer.from(`9feb0100 18000000 ${'00'.repeat(16)}`.replaceAll(' ', ''), 'hex'),
    );
    assert.equal(new Btf(alone).functionId('bpf_iter_tcp'), undefined);
  });

  test('says what it found instead of the magic', () => {
    const found = with32(0, 0x01_1234);
    assert.throws(() => new Btf(found), { message: `btf: bad-magic (${0x1234})` });
  });

  test('a structure of 65,535 members in 60 bytes has those that are there', () => {
    const writer = new BtfWriter();
    writer.type(KINDS.struct, 'short', [writer.name('first'), 0, 64], 0xffff);
    const short = new Btf(writer.encode());
    assert.equal(short.memberOffset('short', 'first'), 8);
    assert.equal(short.memberOffset('short', 'second'), undefined);
  });

  test('answers 30,000 mutants with ids, offsets, undefined or a DecodeError', () => {
    const { read, refused } = fuzz([bytes], 30_000, (given) => {
      const btf = new Btf(given);
      const id = btf.functionId('bpf_iter_tcp');
      assert(id === undefined || (id > 0 && id <= given.length / 12));
      for (const member of ['f_inode', 'high', 'f_missing']) {
        const offset = btf.memberOffset('file', member);
        assert(offset === undefined || (Number.isInteger(offset) && offset < 2 ** 33));
      }
    });
    assert(read > 5_000 && refused > 5_000, `${read} read, ${refused} refused`);
  });
});

suite('BTF of this kernel', {
  skip: existsSync(VMLINUX) ? false : `there is no ${VMLINUX}`,
}, () => {
  const bytes = existsSync(VMLINUX) ? readFileSync(VMLINUX) : Buffer.alloc(HEADER_LENGTH);

  /** Every function's number and every member of a named structure, read once more in another way. */
  function readAgain(): { functions: Map<string, number>; members: Map<string, number> } {
    const [base, from, length, names] = [4, 8, 12, 16].map((at) => bytes.readUInt32LE(at));
    const start = (base ?? 0) + (from ?? 0);
    const nameAt = (offset: number) => {
      const at = (base ?? 0) + (names ?? 0) + offset;
      return bytes.toString('latin1', at, bytes.indexOf(0, at));
    };
    const more = [0, 4, 0, 12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 4, 0, 0, 4, 0, 0];
    const each = [0, 0, 0, 0, 12, 12, 8, 0, 0, 0, 0, 0, 0, 8, 0, 12, 0, 0, 0, 12];
    const functions = new Map<string, number>();
    const members = new Map<string, number>();
    const structures = new Set<string>();
    let id = 1;
    for (let at = start; at < start + (length ?? 0); id += 1) {
      const [name, info] = [bytes.readUInt32LE(at), bytes.readUInt32LE(at + 4)];
      const [kind, count] = [(info >>> 24) & 31, info & 0xffff];
      if (kind === 12 && !functions.has(nameAt(name))) functions.set(nameAt(name), id);
      if (kind === 4 && name !== 0 && !structures.has(nameAt(name))) {
        structures.add(nameAt(name));
        for (let index = 0; index < count; index += 1) {
          const entry = at + 12 + 12 * index;
          const member = bytes.readUInt32LE(entry);
          const bits = bytes.readUInt32LE(entry + 8) & (info >>> 31 ? 0xff_ffff : -1);
          if (member !== 0) members.set(`${nameAt(name)}.${nameAt(member)}`, bits / 8);
        }
      }
      at += 12 + (more[kind] ?? 0) + (each[kind] ?? 0) * count;
    }
    return { functions, members };
  }

  test('says the same of 100 functions and 100 members as another reading of it', () => {
    const btf = new Btf(bytes);
    const { functions, members } = readAgain();
    assert(functions.size > 10_000 && members.size > 10_000, 'a kernel has many');
    const prng = new Prng(7);
    const some = (all: ReadonlyMap<string, number>) => {
      const names = [...all.keys()];
      return Array.from({ length: 100 }, () => names[prng.between(0, names.length - 1)] ?? '');
    };
    for (const name of some(functions)) {
      assert.equal(btf.functionId(name), functions.get(name), name);
    }
    for (const name of some(members)) {
      const [structure = '', member = ''] = name.split('.');
      const offset = members.get(name);
      const expected = Number.isInteger(offset) ? offset : undefined;
      assert.equal(btf.memberOffset(structure, member), expected, name);
    }
  });

  for (const [structure, member, least] of [
    ['file', 'f_inode', 1],
    ['inode', 'i_ino', 1],
    ['task_struct', 'tgid', 1],
    ['sock_common', 'skc_dport', 12],
    ['sock_common', 'skc_state', 18],
  ] as const) {
    test(`finds ${structure}.${member}`, () => {
      const offset = new Btf(bytes).memberOffset(structure, member);
      assert(offset !== undefined && Number.isInteger(offset) && offset >= least, `${offset}`);
    });
  }

  test('finds what the iterators hang on', () => {
    const btf = new Btf(bytes);
    for (const name of ['bpf_iter_tcp', 'bpf_iter_task_file']) {
      assert((btf.functionId(name) ?? 0) > 0, name);
    }
  });
});
