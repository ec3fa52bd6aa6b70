import assert from 'node:assert/strict';
import { suite, test } from 'node:test';
import { fuzz } from '../../../test/support/mutate.ts';
import { createWrap, type WrapKey } from './wrap.ts';

const KEYS = Uint8Array.from({ length: 256 }, (_, index) => (index * 7) & 0xff);
const SWAPPED = Uint8Array.of(...KEYS.subarray(128), ...KEYS.subarray(0, 128));
const HEAD = Uint8Array.of(0x20, 1, 2, 3, 4, 5, 6, 7, 8);
const BODY = Uint8Array.of(0, 0, 0, 0, 1, 9, 9);

const authOf = (direction: 0 | 1 | undefined, digest: string): WrapKey => ({
  type: 'tls-auth',
  keys: KEYS,
  direction,
  digest,
});

/** A pair of keys as both ends have them, and how much longer a packet gets. */
const PAIRS: readonly (readonly [string, WrapKey, WrapKey, number])[] = [
  ['tls-auth, SHA1', authOf(1, 'sha1'), authOf(0, 'sha1'), 28],
  ['tls-auth, SHA512', authOf(0, 'sha512'), authOf(1, 'sha512'), 72],
  ['tls-auth without direction', authOf(undefined, 'sha256'), authOf(undefined, 'sha256'), 40],
  // A server sends with the first half: as a client would whose halves are exchanged.
  ['tls-crypt', { type: 'tls-crypt', keys: KEYS }, { type: 'tls-crypt', keys: SWAPPED }, 40],
];

suite('OpenVPN control wrapping', () => {
  for (const [name, ours, theirs, more] of PAIRS) {
    test(`${name}: ${more} bytes more, opened by the other end, once`, () => {
      const sealed = createWrap(ours, 1_000).seal(HEAD, BODY);
      assert.equal(sealed.length, HEAD.length + BODY.length + more);
      assert.deepEqual(sealed.subarray(0, 9), HEAD);
      const other = createWrap(theirs, 1_000);
      assert.deepEqual(Uint8Array.from(other.open(sealed) ?? []), BODY);
      assert.equal(other.open(sealed), undefined, 'a replay');
    });

    test(`${name}: one bit turned anywhere, and it is nobody's`, () => {
      const sealed = createWrap(ours, 1_000).seal(HEAD, BODY);
      for (let bit = 0; bit < 8 * sealed.length; bit += 1) {
        const turned = Uint8Array.from(sealed);
        turned[bit >> 3] = (turned[bit >> 3] ?? 0) ^ (1 << (bit & 7));
        assert.equal(createWrap(theirs, 1_000).open(turned), undefined, `bit ${bit}`);
      }
    });

    test(`${name}: what an earlier session sent is over`, () => {
      const old = createWrap(ours, 999).seal(HEAD, BODY);
      const other = createWrap(theirs, 1_000);
      assert.notEqual(other.open(createWrap(ours, 1_000).seal(HEAD, BODY)), undefined);
      assert.equal(other.open(old), undefined);
    });

    test(`${name}: any bytes but its own are nobody's (3,000 mutated)`, () => {
      const sealed = createWrap(ours, 1_000).seal(HEAD, BODY);
      const same = Buffer.from(sealed).toString('hex');
      fuzz([sealed], 3_000, (bytes) => {
        const opened = createWrap(theirs, 1_000).open(bytes);
        if (Buffer.from(bytes).toString('hex') !== same) assert.equal(opened, undefined);
      });
    });
  }

  test('a key of tls-crypt-v2 counts from 0f000001, to be asked for it again', () => {
    const key: WrapKey = { type: 'tls-crypt', keys: KEYS, wrapped: new Uint8Array(300) };
    const sealed = createWrap(key, 0x01020304).seal(HEAD, BODY);
    assert.equal(Buffer.from(sealed.subarray(9, 17)).toString('hex'), '0f00000101020304');
  });

  test('without a key the body follows the head, and any comes through', () => {
    const wrap = createWrap({ type: 'none' }, 0);
    assert.deepEqual(wrap.seal(HEAD, BODY), Uint8Array.of(...HEAD, ...BODY));
    assert.deepEqual(wrap.open(wrap.seal(HEAD, BODY)), BODY);
  });
});
