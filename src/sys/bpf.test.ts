import assert from 'node:assert/strict';
import { closeSync, openSync } from 'node:fs';
import { suite, test } from 'node:test';
import fc from 'fast-check';
import { descriptors } from '../../test/support/descriptors.ts';
import { bpfMissing } from '../../test/support/rights.ts';
import { asNobody, strangerMissing } from '../../test/support/stranger.ts';
import { BpfProgram } from '../wire/bpf-program.ts';
import {
  BPF_MAP_HASH,
  BPF_MAP_LPM_TRIE,
  BPF_SOCK_OPS,
  cgroupLinks,
  closing,
  createMap,
  deleteFromMap,
  loadProgram,
  mapEntries,
  mapInfo,
  openMapById,
  openPinned,
  pin,
  updateMap,
  updateMapBatch,
} from './bpf.ts';

const [KEY, VALUE] = [4, 8] as const;
const NEEDS = { skip: bpfMissing() };

/** Runs `body` on a map that is closed afterwards. */
function withMap(mostEntries: number, body: (map: number) => void): void {
  const shape = { type: BPF_MAP_HASH, keyLength: KEY, valueLength: VALUE } as const;
  const map = createMap({ ...shape, name: 'linkhold_test', mostEntries });
  closing(map, () => body(map));
}

function u32(number: number): Uint8Array {
  const bytes = new Uint8Array(KEY);
  new DataView(bytes.buffer).setUint32(0, number, true);
  return bytes;
}

function u64(number: number): Uint8Array {
  const bytes = new Uint8Array(VALUE);
  new DataView(bytes.buffer).setBigUint64(0, BigInt(number), true);
  return bytes;
}

/** What a map holds, as numbers. */
function contents(map: number): Map<number, number> {
  const pairs = Array.from(mapEntries(map, KEY, VALUE), ({ key, value }) => {
    const number = Buffer.from(value).readBigUInt64LE();
    return [Buffer.from(key).readUInt32LE(), Number(number)] as const;
  });
  assert.equal(new Map(pairs).size, pairs.length, 'each is told once');
  return new Map(pairs);
}

suite('BPF maps', NEEDS, () => {
  test('a new one is empty', () => withMap(3, (map) => assert.equal(contents(map).size, 0)));

  test('holds what a Map holds, whatever is put and removed', () => {
    const number = fc.integer({ min: 0, max: 0xffff_ffff });
    const step = fc.record({ key: fc.oneof(fc.nat(7), number), value: number, gone: fc.boolean() });
    fc.assert(
      fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
        withMap(64, (map) => {
          const model = new Map<number, number>();
          for (const { key, value, gone } of steps) {
            if (gone) assert.equal(deleteFromMap(map, u32(key)), model.delete(key));
            else updateMap(map, u32(key), u64(value));
            if (!gone) model.set(key, value);
          }
          assert.deepEqual(contents(map), model);
        });
      }),
    );
  });

  test('many at once are put as one by one: 5,000, one, and none', () => {
    withMap(5_000, (map) => {
      const put = (numbers: readonly number[]) => {
        const keys = Buffer.concat(numbers.map(u32));
        const values = Buffer.concat(numbers.map((number) => u64(number * 1_000_000)));
        updateMapBatch(map, keys, values, numbers.length);
      };
      put([]);
      assert.equal(contents(map).size, 0);
      put([7]);
      assert.deepEqual(contents(map), new Map([[7, 7_000_000]]));
      const numbers = Array.from({ length: 5_000 }, (_, index) => index);
      put(numbers);
      const expected = new Map(numbers.map((number) => [number, number * 1_000_000]));
      assert.deepEqual(contents(map), expected);
    });
  });

  test('one that is full says so, and keeps what it has', () => {
    withMap(2, (map) => {
      updateMap(map, u32(1), u64(10));
      updateMap(map, u32(2), u64(20));
      assert.throws(() => updateMap(map, u32(3), u64(30)), {
        name: 'SystemError',
        code: 'E2BIG',
        message: 'bpf(mapUpdate): the kernel answered E2BIG',
      });
      updateMap(map, u32(2), u64(21));
      assert.deepEqual(
        contents(map),
        new Map([
          [1, 10],
          [2, 21],
        ]),
      );
    });
  });

  test('tells its lengths and its id, under which it is opened once more', () => {
    const shape = { type: BPF_MAP_LPM_TRIE, keyLength: 24, valueLength: 40 } as const;
    const map = createMap({ ...shape, name: 'linkhold_test', mostEntries: 1 });
    const { id: _, ...lengths } = closing(map, () => mapInfo(map));
    assert.deepEqual(lengths, { keyLength: 24, valueLength: 40 });
    withMap(2, (other) => {
      updateMap(other, u32(1), u64(10));
      const { id } = mapInfo(other);
      assert(id > 0);
      const again = openMapById(id);
      assert(again !== undefined && again !== other);
      closing(again, () => {
        assert.equal(mapInfo(again).id, id);
        assert.deepEqual(contents(again), new Map([[1, 10]]));
      });
    });
    assert.equal(openMapById(0xffff_fff0), undefined);
  });

  test('a name longer than the 15 letters of the kernel is cut, not refused', () => {
    const shape = { type: BPF_MAP_HASH, keyLength: 4, valueLength: 4, mostEntries: 1 } as const;
    closeSync(createMap({ ...shape, name: 'linkhold_with_a_long_name' }));
  });

  test('what the kernel refuses is a SystemError with its errno', () => {
    const shape = { type: BPF_MAP_HASH, name: 'linkhold_test', valueLength: 4, mostEntries: 1 };
    assert.throws(() => createMap({ ...shape, type: BPF_MAP_HASH, keyLength: 0 }), {
      name: 'SystemError',
      code: 'EINVAL',
      message: 'bpf(mapCreate): the kernel answered EINVAL',
    });
    for (const act of [
      () => updateMap(-1, u32(1), u64(1)),
      () => deleteFromMap(-1, u32(1)),
      () => [...mapEntries(-1, KEY, VALUE)],
    ]) {
      assert.throws(act, { name: 'SystemError', code: 'EBADF' });
    }
    // EBADFD, which Node has no name for.
    assert.throws(() => mapInfo(-1), { name: 'SystemError', code: 'errno 77' });
  });
});

suite('BPF programs', NEEDS, () => {
  const load = (program: BpfProgram) =>
    loadProgram(BPF_SOCK_OPS, 'linkhold_test', program.encode());

  test('one that is well-formed is loaded', () => closeSync(load(new BpfProgram().exit(1))));

  for (const [what, program, words] of [
    ['reads a register that nobody set', new BpfProgram().copy(0, 5).exit(0), /R5 !read_ok/],
    ['reads beside its stack', new BpfProgram().load(8, 0, 10, -520).exit(0), /invalid.* stack/],
    [
      'trusts an address',
      new BpfProgram().set(1, 8).load(8, 0, 1, 0).exit(0),
      /R1 invalid mem access/,
    ],
  ] as const) {
    test(`one that ${what} is refused in the verifier's words`, () => {
      assert.throws(
        () => load(program),
        (error: Error & { code: string }) => {
          assert.equal(error.name, 'SystemError');
          assert.match(error.code, /^(EACCES|EINVAL)$/);
          assert.match(error.message, /^bpf\(programLoad\): the kernel answered E\w+ for the /);
          assert.match(error.message, /program linkhold_test: /);
          assert.match(error.message, words);
          assert(!error.message.includes('\n'), 'one line');
          return true;
        },
      );
    });
  }

  test('one without instructions is refused, and what is no program at all', () => {
    assert.throws(() => load(new BpfProgram()), { name: 'SystemError' });
    const noise = () => loadProgram(BPF_SOCK_OPS, 'x', new Uint8Array(16).fill(0xff));
    assert.throws(noise, { name: 'SystemError', code: 'EINVAL' });
  });
});

suite('BPF and descriptors', NEEDS, () => {
  test('closing closes after a result and after an error, and hands both on', () => {
    const before = descriptors();
    const open = () => openSync('/dev/null', 'r');
    assert.equal(
      closing(open(), () => 7),
      7,
    );
    const error = new Error('in between');
    const fail = () => {
      throw error;
    };
    assert.throws(() => closing(open(), fail), error);
    assert.deepEqual(descriptors(), before);
  });

  test('nothing is left open by a look at all links, an error, or a map', () => {
    const before = descriptors();
    cgroupLinks();
    assert.throws(() => loadProgram(BPF_SOCK_OPS, 'x', new BpfProgram().copy(0, 5).encode()));
    withMap(2, (map) => [...mapEntries(map, KEY, VALUE)]);
    assert.deepEqual(descriptors(), before);
  });

  test('nothing is pinned under a name that is not there; elsewhere nothing can be', () => {
    assert.equal(openPinned('/sys/fs/bpf/linkhold-none'), undefined);
    assert.throws(() => openPinned('/etc/passwd'), { name: 'SystemError', code: 'EACCES' });
    withMap(1, (map) => {
      assert.throws(() => pin(map, '/tmp/linkhold-none'), { name: 'SystemError', code: 'EPERM' });
    });
  });
});

test('without CAP_BPF maps and programs are EPERM', { skip: strangerMissing() }, async () => {
  const body = `
    const { BPF_MAP_HASH, BPF_SOCK_OPS, cgroupLinks, createMap, loadProgram } = await load('sys/bpf.ts');
    const shape = { type: BPF_MAP_HASH, name: 'x', keyLength: 4, valueLength: 4, mostEntries: 1 };
    return [
      () => createMap(shape),
      () => loadProgram(BPF_SOCK_OPS, 'x', new Uint8Array(16)),
      () => cgroupLinks(),
    ].map(attempt);`;
  const refused = (call: string) => ({
    name: 'SystemError',
    code: 'EPERM',
    message: `bpf(${call}): the kernel answered EPERM`,
  });
  assert.deepEqual(await asNobody(body), ['mapCreate', 'programLoad', 'linkNextId'].map(refused));
});
