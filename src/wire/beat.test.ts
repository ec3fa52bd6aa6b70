import assert from 'node:assert/strict';
import { suite, test } from 'node:test';
import fc from 'fast-check';
import { BEAT_LENGTH, decodeBeat, encodeBeat } from './beat.ts';

/** magic · type and zeros · sequence · nonce · tag */
const PROBE =
  `4c484231 01000000 00000007 000102030405060708090a0b0c0d0e0f ${'00'.repeat(16)}`.replaceAll(
    ' ',
    '',
  );
const nonce = Uint8Array.from({ length: 16 }, (_, index) => index);

suite('beat packets', () => {
  test('a probe lies on the wire as documented', () => {
    assert.equal(Buffer.from(encodeBeat('probe', 7, nonce)).toString('hex'), PROBE);
  });

  test('reads what it wrote, also from the middle of a larger buffer', () => {
    fc.assert(
      fc.property(
        fc.constantFrom('probe', 'answer', 'beat'),
        fc.integer({ min: 0, max: 0xffff_ffff }),
        fc.uint8Array({ minLength: 16, maxLength: 16 }),
        fc.nat(9),
        (type, sequence, bytes, offset) => {
          const larger = new Uint8Array(offset + BEAT_LENGTH + 3);
          larger.set(encodeBeat(type, sequence, bytes), offset);
          const packet = decodeBeat(larger.subarray(offset, offset + BEAT_LENGTH));
          assert.equal(packet.type, type);
          assert.equal(packet.sequence, sequence);
          assert.deepEqual(packet.nonce, bytes);
        },
      ),
    );
  });

  for (const [code, hex] of [
    ['bad-length', ''],
    ['bad-length', PROBE.slice(2)],
    ['bad-length', `${PROBE}00`],
    ['bad-magic', `00${PROBE.slice(2)}`],
    ['bad-type', PROBE.replace('01000000', '00000000')],
    ['bad-type', PROBE.replace('01000000', '04000000')],
    ['bad-type', PROBE.replace('01000000', 'ff000000')],
    ['bad-type', PROBE.replace('01000000', '01000001')],
  ] as const) {
    test(`refuses ${code}: ${hex.slice(0, 16)}… of ${hex.length / 2} bytes`, () => {
      assert.throws(() => decodeBeat(Buffer.from(hex, 'hex')), { name: 'DecodeError', code });
    });
  }

  test('refuses to write a field that does not fit', () => {
    assert.throws(() => encodeBeat('probe', -1, nonce), RangeError);
    assert.throws(() => encodeBeat('probe', 2 ** 32, nonce), RangeError);
    assert.throws(() => encodeBeat('probe', 1, nonce.subarray(1)), RangeError);
  });

  test('answers any bytes with a packet or a DecodeError (200,000 mutated packets)', () => {
    const bytes = Buffer.from(PROBE, 'hex');
    let state = 1;
    const next = () => {
      state = (Math.imul(state, 1_103_515_245) + 12_345) >>> 0;
      return state >>> 8;
    };
    for (let round = 0; round < 200_000; round += 1) {
      const mutated = bytes.subarray(0, next() % 8 === 0 ? next() % 45 : 44);
      const at = next() % 44;
      const kept = bytes[at] ?? 0;
      bytes[at] = next() & 0xff;
      try {
        assert.equal(decodeBeat(mutated).tag.length, 16);
      } catch (error) {
        assert.equal((error as Error).name, 'DecodeError');
      }
      bytes[at] = kept;
    }
  });
});
