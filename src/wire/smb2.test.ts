import assert from 'node:assert/strict';
import { suite, test } from 'node:test';
import fc from 'fast-check';
import { fuzz } from '../../test/support/mutate.ts';
import {
  decodeEchoResponse,
  decodeError,
  decodeNegotiateResponse,
  decodeSmb2,
  encodeEcho,
  encodeNegotiate,
  SMB2_ECHO,
  SMB2_FLAG_RESPONSE,
  SMB2_NEGOTIATE,
  SMB2_UNSOLICITED,
  type Smb2Message,
  STATUS_PENDING,
  STATUS_SUCCESS,
  statusName,
} from './smb2.ts';

const hex = (text: string) => Uint8Array.from(Buffer.from(text.replaceAll(/[\s·]/g, ''), 'hex'));
const toHex = (bytes: Uint8Array) => Buffer.from(bytes).toString('hex');

const ZERO_16 = '00'.repeat(16);
const GUID = '000102030405060708090a0b0c0d0e0f';
/** What smbd 4.17.12 answered on a socket: NEGOTIATE with 2.0.2 and 2.1 offered. */
const NEGOTIATED = hex(`
  fe534d42 4000 0000 00000000 0000 0100 01000000 00000000 0000000000000000 fffe0000 00000000
  0000000000000000 ${ZERO_16} · 4100 0100 1002 0000 6866736d620000000000000000000000
  07000000 00008000 00008000 00008000 42bb41a7f07bdd01 0000000000000000 8000 4a00 00000000
  604806062b0601050502a03e303ca00e300c060a2b06010401823702020aa32a3028a0261b246e6f745f646566696e
  65645f696e5f5246433431373840706c656173655f69676e6f7265`);
/** An ECHO, answered with the 4 credits that were asked for. */
const ECHOED = hex(`
  fe534d42 4000 0100 00000000 0d00 0400 01000000 00000000 0100000000000000 fffe0000 00000000
  0000000000000000 ${ZERO_16} · 0400 0000`);
/** Two compounded ECHOs, answered in one frame. */
const COMPOUNDED = hex(`
  fe534d42 4000 0100 00000000 0d00 0000 01000000 48000000 0200000000000000 fffe0000 00000000
  0000000000000000 ${ZERO_16} · 0400 0000 00000000
  fe534d42 4000 0100 00000000 0d00 0200 01000000 00000000 0300000000000000 fffe0000 00000000
  0000000000000000 ${ZERO_16} · 0400 0000`);
/** NEGOTIATE with a dialect that it does not have. */
const REFUSED = hex(`
  fe534d42 4000 0000 bb0000c0 0000 0100 01000000 00000000 0000000000000000 fffe0000 00000000
  0000000000000000 ${ZERO_16} · 0900 0000 00000000 00`);

function one(bytes: Uint8Array): Smb2Message {
  const [message, ...more] = [...decodeSmb2(bytes)];
  assert(message !== undefined && more.length === 0);
  return message;
}

/** A copy with some bytes replaced, at an offset. */
function patched(bytes: Uint8Array, at: number, text: string): Uint8Array {
  const copy = Uint8Array.from(bytes);
  copy.set(hex(text), at);
  return copy;
}

/** Everything there is to decode, as the link does it. */
function decodeAll(bytes: Uint8Array): void {
  for (const message of decodeSmb2(bytes)) {
    if (message.command === SMB2_ECHO) decodeEchoResponse(message);
    else if (message.status === STATUS_SUCCESS) decodeNegotiateResponse(message);
    else decodeError(message);
  }
}

suite('SMB 2 messages', () => {
  test('NEGOTIATE offers 2.0.2 and 2.1 in 104 bytes, MessageId 0', () => {
    const bytes = encodeNegotiate({ messageId: 0n, credits: 4 }, hex(GUID));
    const expected = hex(`
      fe534d42 4000 0000 00000000 0000 0400 00000000 00000000 0000000000000000 fffe0000 00000000
      0000000000000000 ${ZERO_16} · 2400 0200 0100 0000 00000000 ${GUID} 0000000000000000 0202 1002`);
    assert.equal(toHex(bytes), toHex(expected));
  });

  test('ECHO is 68 bytes, with SessionId and TreeId 0', () => {
    const bytes = encodeEcho({ messageId: 0x0102030405n, credits: 1, creditCharge: 1 });
    const expected = hex(`
      fe534d42 4000 0100 00000000 0d00 0100 00000000 00000000 0504030201000000 fffe0000 00000000
      0000000000000000 ${ZERO_16} · 0400 0000`);
    assert.equal(toHex(bytes), toHex(expected));
    const plain = encodeEcho({ messageId: 1n, credits: 1 });
    assert.equal(toHex(plain.subarray(6, 8)), '0000', '2.0.2 has no CreditCharge');
  });

  test('reads what smbd answers to NEGOTIATE: 2.1, multi-credit, 8 MiB, a token of 74 bytes', () => {
    const message = one(NEGOTIATED);
    assert.deepEqual(
      [message.command, message.status, message.credits, message.messageId, message.flags],
      [SMB2_NEGOTIATE, STATUS_SUCCESS, 1, 0n, SMB2_FLAG_RESPONSE],
    );
    const negotiated = decodeNegotiateResponse(message);
    assert.equal(negotiated.dialect, 0x0210);
    assert.equal(negotiated.multiCredit, true);
    assert.equal(negotiated.signingRequired, false);
    assert.equal(negotiated.maxTransactSize, 2 ** 23);
    assert.equal(negotiated.token.length, 74);
    assert.match(Buffer.from(negotiated.token).toString('latin1'), /please_ignore$/);
  });

  test('multi-credit needs 2.1 and the capability LARGE_MTU', () => {
    const without = patched(NEGOTIATED, 64 + 24, '03000000');
    assert.equal(decodeNegotiateResponse(one(without)).multiCredit, false);
    const older = patched(NEGOTIATED, 64 + 4, '0202');
    assert.equal(decodeNegotiateResponse(one(older)).multiCredit, false);
    const signing = patched(NEGOTIATED, 64 + 2, '0300');
    assert.equal(decodeNegotiateResponse(one(signing)).signingRequired, true);
  });

  test('reads an ECHO answered with 4 credits', () => {
    const message = one(ECHOED);
    decodeEchoResponse(message);
    assert.deepEqual([message.command, message.messageId, message.credits], [SMB2_ECHO, 1n, 4]);
    assert.equal(message.sessionId, 0n);
  });

  test('reads two compounded answers of 72 and 68 bytes', () => {
    const messages = [...decodeSmb2(COMPOUNDED)];
    assert.deepEqual(
      messages.map(({ messageId, credits, bytes }) => [messageId, credits, bytes.length]),
      [
        [2n, 0, 72],
        [3n, 2, 68],
      ],
    );
    for (const message of messages) decodeEchoResponse(message);
  });

  test('reads an error, an interim answer, and an oplock break', () => {
    const refused = one(REFUSED);
    assert.equal(statusName(refused.status), 'STATUS_NOT_SUPPORTED');
    decodeError(refused);
    const pending = one(patched(patched(REFUSED, 8, '03010000'), 16, '03000000'));
    assert.equal(pending.status, STATUS_PENDING);
    assert.equal(pending.flags, 3);
    decodeError(pending);
    assert.equal(one(patched(ECHOED, 24, 'ff'.repeat(8))).messageId, SMB2_UNSOLICITED);
  });

  test('a status without a name is told by its number', () => {
    assert.equal(statusName(0xc000_0022), 'STATUS_ACCESS_DENIED');
    assert.equal(statusName(0x8000_0005), 'status 0x80000005');
    assert.equal(statusName(5), 'status 0x00000005');
  });

  for (const [code, bytes] of [
    ['too-short', new Uint8Array()],
    ['too-short', ECHOED.subarray(0, 63)],
    ['bad-magic', patched(ECHOED, 0, 'ff')],
    ['bad-magic', patched(ECHOED, 0, 'fd')],
    ['bad-size', patched(ECHOED, 4, '4100')],
    ['body-too-short', ECHOED.subarray(0, 64)],
    ['body-too-short', ECHOED.subarray(0, 67)],
    ['bad-body-size', patched(ECHOED, 64, '09')],
    ['bad-next-command', patched(ECHOED, 20, '08000000')],
    ['bad-next-command', patched(ECHOED, 20, '44000000')],
    ['bad-next-command', patched(COMPOUNDED, 20, '38000000')],
    ['bad-next-command', patched(COMPOUNDED, 20, '49000000')],
    ['bad-next-command', patched(COMPOUNDED, 20, '90000000')],
    ['bad-next-command', patched(COMPOUNDED, 20, 'f8ffffff')],
    ['too-short', patched(COMPOUNDED, 20, '58000000')],
    ['bad-magic', patched(COMPOUNDED, 72, 'ff')],
    ['body-too-short', NEGOTIATED.subarray(0, 127)],
    ['bad-body-size', patched(NEGOTIATED, 64, '40')],
    ['bad-dialect', patched(NEGOTIATED, 68, 'ff02')],
    ['bad-dialect', patched(NEGOTIATED, 68, '1103')],
    ['bad-token', patched(NEGOTIATED, 120, '7f00')],
    ['bad-token', patched(NEGOTIATED, 120, '8100')],
    ['bad-token', patched(NEGOTIATED, 122, 'ffff')],
    ['body-too-short', REFUSED.subarray(0, 71)],
    ['bad-error-length', patched(REFUSED, 68, '02000000')],
    ['bad-error-length', patched(REFUSED, 68, 'ffffffff')],
  ] as const) {
    test(`refuses ${code}: ${bytes.length} bytes, ${toHex(bytes).slice(0, 40)}…`, () => {
      const error = { name: 'DecodeError', format: 'smb2', code };
      assert.throws(() => decodeAll(bytes), error);
    });
  }

  test('a token of no bytes may be anywhere', () => {
    const message = one(patched(NEGOTIATED, 120, '0000 0000'));
    assert.equal(decodeNegotiateResponse(message).token.length, 0);
  });

  test('refuses to write a field that does not fit', () => {
    assert.throws(() => encodeEcho({ messageId: -1n, credits: 1 }), RangeError);
    assert.throws(() => encodeEcho({ messageId: SMB2_UNSOLICITED, credits: 1 }), RangeError);
    for (const credits of [-1, 0.5, 0x1_0000]) {
      assert.throws(() => encodeEcho({ messageId: 1n, credits }), RangeError);
    }
    const request = { messageId: 0n, credits: 1 };
    assert.throws(() => encodeNegotiate(request, new Uint8Array(15)), RangeError);
  });

  test('reads any MessageId and status that it may be sent', () => {
    fc.assert(
      fc.property(
        fc.bigInt({ min: 0n, max: SMB2_UNSOLICITED }),
        fc.nat(0xffff_ffff),
        fc.nat(0xffff),
        (messageId, status, credits) => {
          const bytes = Uint8Array.from(ECHOED);
          const view = new DataView(bytes.buffer);
          view.setUint32(8, status, true);
          view.setUint16(14, credits, true);
          view.setBigUint64(24, messageId, true);
          const message = one(bytes);
          assert.deepEqual(
            [message.messageId, message.status, message.credits],
            [messageId, status, credits],
          );
        },
      ),
    );
  });

  test('a frame of 131,064 bytes of the smallest messages gives 2,047 and then is refused', () => {
    const frame = new Uint8Array(131_064);
    for (let at = 0; at + 64 <= frame.length; at += 64) {
      frame.set(patched(ECHOED.subarray(0, 64), 20, '40000000'), at);
    }
    let count = 0;
    assert.throws(
      () => {
        for (const _ of decodeSmb2(frame)) count += 1;
      },
      { code: 'too-short' },
    );
    assert.equal(count, 2_047);
  });

  test('any bytes are messages or a DecodeError (100,000 mutated)', () => {
    const frames = [NEGOTIATED, ECHOED, COMPOUNDED, REFUSED];
    const { read, refused } = fuzz(frames, 100_000, decodeAll);
    assert(read > 25_000 && refused > 25_000, `${read} read, ${refused} refused`);
  });

  test('any bytes after a good header are messages or a DecodeError', () => {
    fc.assert(
      fc.property(
        fc.constantFrom(NEGOTIATED, ECHOED, REFUSED),
        fc.uint8Array({ maxLength: 300, size: 'max' }),
        fc.nat(64),
        (frame, tail, keep) => {
          fuzz([Uint8Array.of(...frame.subarray(0, keep), ...tail)], 1, decodeAll);
        },
      ),
    );
  });
});
