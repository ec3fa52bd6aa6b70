import assert from 'node:assert/strict';
import { suite, test } from 'node:test';
import fc from 'fast-check';
import { fuzz } from '../../test/support/mutate.ts';
import { Prng } from '../../test/support/prng.ts';
import {
  decodeHeartbeat,
  encodeHeartbeat,
  HEARTBEAT_LEAST_PADDING,
  HEARTBEAT_LONGEST,
  HEARTBEAT_LONGEST_PAYLOAD,
  HEARTBEAT_OVERHEAD,
  type Heartbeat,
} from './heartbeat.ts';

const hex = (text: string) => Uint8Array.from(Buffer.from(text.replaceAll(/[\s·]/g, ''), 'hex'));
const toHex = (bytes: Uint8Array) => Buffer.from(bytes).toString('hex');

const PADDING = hex('f0f1f2f3f4f5f6f7f8f9fafbfcfdfeff');
const PAD = toHex(PADDING);
const SECRET = 0x5e;

/** Decodes, and checks that nothing but bytes of the message before its padding comes out. */
function decodeInside(message: Uint8Array): Heartbeat {
  const heartbeat = decodeHeartbeat(message);
  const { payload } = heartbeat;
  const from = message.byteOffset;
  assert.equal(payload.buffer, message.buffer);
  assert.equal(payload.byteOffset, from + 3);
  const end = payload.byteOffset + payload.length;
  assert(
    end <= from + message.length - HEARTBEAT_LEAST_PADDING,
    `${end - from} of ${message.length}`,
  );
  return heartbeat;
}

/** A copy of a message inside of a larger buffer that holds nothing but secrets besides. */
function amongSecrets(message: Uint8Array, before: number, after: number): Uint8Array {
  const memory = new Uint8Array(before + message.length + after).fill(SECRET);
  memory.set(message, before);
  return memory.subarray(before, before + message.length);
}

function isDecodeError(body: () => unknown): boolean {
  try {
    body();
    return false;
  } catch (error) {
    assert.equal((error as Error).name, 'DecodeError');
    return true;
  }
}

const heartbeats = fc.record(
  {
    type: fc.constantFrom('request' as const, 'response' as const),
    payload: fc.uint8Array({ minLength: 1, maxLength: 400 }),
  },
  { noNullPrototype: true },
);

suite('heartbeat messages that are encoded', () => {
  test('a request of 4 bytes is 01, 0004, the payload, and 16 bytes of padding', () => {
    const bytes = encodeHeartbeat({ type: 'request', payload: hex('68656c6c') }, PADDING);
    assert.equal(toHex(bytes), `01000468656c6c${PAD}`);
  });

  test('a response is 02, and 291 bytes of payload are 0123, big endian', () => {
    const payload = new Uint8Array(0x123).fill(0x77);
    const bytes = encodeHeartbeat({ type: 'response', payload }, PADDING);
    assert.equal(toHex(bytes), `020123${'77'.repeat(0x123)}${PAD}`);
  });

  test('an empty request is never encoded', () => {
    const payload = new Uint8Array();
    assert.throws(() => encodeHeartbeat({ type: 'request', payload }, PADDING), RangeError);
  });

  test("an empty response is, in 19 bytes, for a peer's empty request must be answered", () => {
    const bytes = encodeHeartbeat({ type: 'response', payload: new Uint8Array() }, PADDING);
    assert.equal(toHex(bytes), `020000${PAD}`);
    assert.equal(bytes.length, HEARTBEAT_OVERHEAD);
  });

  test('padding of 0 or 15 bytes is refused, of 16 and of 1,000 taken', () => {
    const payload = hex('01');
    for (const type of ['request', 'response'] as const) {
      for (const length of [0, 15]) {
        const padding = new Uint8Array(length);
        assert.throws(() => encodeHeartbeat({ type, payload }, padding), RangeError);
      }
      for (const length of [16, 1_000]) {
        const bytes = encodeHeartbeat({ type, payload }, new Uint8Array(length));
        assert.equal(bytes.length, 4 + length);
        assert.deepEqual(decodeInside(bytes), { type, payload });
      }
    }
  });

  test('16,384 bytes are the longest, by payload or by padding', () => {
    assert.equal(HEARTBEAT_LONGEST, 16_384);
    assert.equal(HEARTBEAT_LONGEST_PAYLOAD, 16_365);
    for (const type of ['request', 'response'] as const) {
      const encode = (payload: number, padding: number) =>
        encodeHeartbeat({ type, payload: new Uint8Array(payload) }, new Uint8Array(padding));
      assert.equal(decodeInside(encode(16_365, 16)).payload.length, 16_365);
      assert.equal(decodeInside(encode(1, 16_380)).payload.length, 1);
      assert.throws(() => encode(16_366, 16), RangeError);
      assert.throws(() => encode(16_365, 17), RangeError);
      assert.throws(() => encode(1, 16_381), RangeError);
      assert.throws(() => encode(0x1_0000 + 4, 16), RangeError);
    }
  });

  test('is read as it was written, with any payload and any padding', () => {
    fc.assert(
      fc.property(heartbeats, fc.uint8Array({ minLength: 16, maxLength: 300 }), (sent, padding) => {
        const bytes = encodeHeartbeat(sent, padding);
        assert.equal(bytes.length, 3 + sent.payload.length + padding.length);
        assert.deepEqual(decodeInside(bytes), sent);
        assert.deepEqual(bytes.subarray(3 + sent.payload.length), padding);
      }),
    );
  });
});

suite('heartbeat messages that are decoded', () => {
  for (const [what, text, type, payload] of [
    ['a request of 4 bytes', `01 0004 68656c6c ${PAD}`, 'request', '68656c6c'],
    ['a response of 4 bytes', `02 0004 68656c6c ${PAD}`, 'response', '68656c6c'],
    ['an empty request', `01 0000 ${PAD}`, 'request', ''],
    ['an empty response', `02 0000 ${PAD}`, 'response', ''],
    ['1 byte and 19 of padding', `01 0001 68656c6c ${PAD}`, 'request', '68'],
    ['no byte and 20 of padding', `01 0000 68656c6c ${PAD}`, 'request', ''],
  ] as const) {
    test(`reads ${what}`, () => {
      assert.deepEqual(decodeInside(hex(text)), { type, payload: hex(payload) });
    });
  }

  for (const [code, what, text] of [
    ['lying-length', 'a payload_length that lies by 1', `01 0005 68656c6c ${PAD}`],
    ['lying-length', 'a response that lies by 1', `02 0005 68656c6c ${PAD}`],
    ['lying-length', 'a payload_length of 0x4000 with 4 bytes', `01 4000 68656c6c ${PAD}`],
    ['lying-length', 'a payload_length of 0xffff with 4 bytes', `01 ffff 68656c6c ${PAD}`],
    ['lying-length', 'a payload_length of 1 with none', `01 0001 ${PAD}`],
    ['lying-length', 'padding of 15 bytes', `01 0004 68656c6c ${PAD.slice(2)}`],
    ['lying-length', 'no padding', `01 0014 68656c6c ${PAD}`],
    ['too-short', 'padding of 15 bytes and no payload', `01 0000 ${PAD.slice(2)}`],
    ['too-short', 'Heartbleed: 3 bytes that claim 16,384', '01 4000'],
    ['too-short', 'one byte', '01'],
    ['too-short', 'two bytes', '01 00'],
    ['too-short', 'nothing', ''],
    ['unknown-type', 'type 3', `03 0004 68656c6c ${PAD}`],
    ['unknown-type', 'type 0', `00 0004 68656c6c ${PAD}`],
    ['unknown-type', 'type 255', `ff 0004 68656c6c ${PAD}`],
    ['too-long', '16,385 bytes', `01 0004 ${'00'.repeat(16_382)}`],
    ['too-long', '16,385 bytes, all payload', `01 3fee ${'00'.repeat(16_382)}`],
  ] as const) {
    test(`refuses ${what}: ${code}`, () => {
      const error = { name: 'DecodeError', format: 'heartbeat', code };
      assert.throws(() => decodeHeartbeat(hex(text)), error);
      const among = amongSecrets(hex(text), 70_000, 70_000);
      assert.throws(() => decodeHeartbeat(among), error);
    });
  }

  test('16,384 bytes are read, with the payload that leaves 16', () => {
    const bytes = hex(`01 3fed ${'00'.repeat(16_381)}`);
    assert.equal(decodeInside(bytes).payload.length, 16_365);
  });

  test('of 65,536 lengths claimed, a message of 39 bytes has 21, and no secret comes out', () => {
    const message = amongSecrets(hex(`01 0000 ${'11'.repeat(20)} ${PAD}`), 70_000, 70_000);
    let refused = 0;
    for (let claimed = 0; claimed < 0x1_0000; claimed += 1) {
      message[1] = claimed >>> 8;
      message[2] = claimed & 0xff;
      if (isDecodeError(() => decodeInside(message))) refused += 1;
      else assert.equal(toHex(decodeInside(message).payload), '11'.repeat(claimed));
    }
    assert.equal(refused, 0x1_0000 - 21);
  });

  test('no payload has a byte from outside of its message, wherever that lies in memory', () => {
    const lengths = fc.oneof(fc.nat(0xffff), fc.nat(80));
    fc.assert(
      fc.property(lengths, fc.nat(60), fc.nat(40), fc.nat(90), (claimed, room, before, after) => {
        const body = '11'.repeat(room);
        const message = amongSecrets(hex(`01 0000 ${body} ${PAD}`), before, after);
        message[1] = claimed >>> 8;
        message[2] = claimed & 0xff;
        const refused = isDecodeError(() => {
          const { payload } = decodeInside(message);
          assert(payload.every((byte) => byte === 0x11));
          assert.equal(payload.length, claimed);
        });
        assert.equal(refused, claimed > room);
      }),
    );
  });
});

suite('heartbeat messages that are anything', () => {
  const VALID = [
    hex(`01 0010 000102030405060708090a0b0c0d0e0f ${PAD}`),
    hex(`02 0010 000102030405060708090a0b0c0d0e0f ${PAD}`),
    hex(`01 0000 ${PAD}`),
    hex(`02 0001 aa ${PAD} ${PAD}`),
  ];

  test('are read inside of themselves or refused with a DecodeError (100,000 mutated)', () => {
    const { read, refused } = fuzz(VALID, 100_000, decodeInside);
    assert(read > 25_000 && refused > 25_000, `${read} read, ${refused} refused`);
  });

  test('are read inside of themselves or refused with a DecodeError (10,000 random)', () => {
    const prng = new Prng(3);
    let read = 0;
    for (let round = 0; round < 10_000; round += 1) {
      const length = prng.between(0, 80);
      const bytes = Uint8Array.from({ length }, () => prng.between(0, 0xff));
      // One in three begins as a message does.
      if (round % 3 === 0) bytes.set([prng.between(0, 3), 0].slice(0, length));
      if (!isDecodeError(() => decodeInside(bytes))) read += 1;
    }
    assert(read > 50, `${read} read`);
  });
});
