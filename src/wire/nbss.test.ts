import assert from 'node:assert/strict';
import { suite, test } from 'node:test';
import fc from 'fast-check';
import { fuzz } from '../../test/support/mutate.ts';
import {
  encodeNbssKeepalive,
  encodeNbssMessage,
  encodeSessionRequest,
  isNetbiosName,
  NBSS_LONGEST,
  type NbssFraming,
  type NbssPacket,
  NbssReader,
  negativeWords,
} from './nbss.ts';

const hex = (text: string) => Uint8Array.from(Buffer.from(text.replaceAll(/[\s·]/g, ''), 'hex'));
const ascii = (text: string) => Buffer.from(text, 'latin1').toString('hex');
const toHex = (bytes: Uint8Array) => Buffer.from(bytes).toString('hex');

/** RFC 1001 section 14.1 has the first: "FRED" and twelve spaces. The second is LINKHOLD, suffix 00. */
const FRED = 'EGFCEFEECACACACACACACACACACACACA';
const LINKHOLD = 'EMEJEOELEIEPEMEECACACACACACACAAA';
const REQUEST = hex(`81 00 0044 · 20 ${ascii(FRED)} 00 · 20 ${ascii(LINKHOLD)} 00`);
const POSITIVE = hex('82 00 0000');
const NEGATIVE = hex('83 00 0001 82');
const RETARGET = hex('84 00 0006 · c0000207 008b');
const KEEPALIVE = hex('85 00 0000');
const MESSAGE = hex('00 00 0005 68656c6c6f');
const ALL = [REQUEST, POSITIVE, NEGATIVE, RETARGET, KEEPALIVE, MESSAGE];

/** Everything a stream says, given in the pieces that end at `cuts`. */
function readAll(
  bytes: Uint8Array,
  cuts: readonly number[] = [],
  reader: NbssReader = new NbssReader('netbios'),
): NbssPacket[] {
  const ends = [...cuts.filter((cut) => cut < bytes.length), bytes.length].sort((a, b) => a - b);
  let from = 0;
  return ends.flatMap((to) => {
    const packets = [...reader.read(bytes.subarray(from, to))];
    from = to;
    return packets;
  });
}

/** The bytes of a header that announces so much. */
function announce(type: number, length: number): Uint8Array {
  return Uint8Array.of(type, length >>> 16, length >>> 8, length);
}

suite('NetBIOS session service packets', () => {
  test('the keepalive is 85 00 00 00', () => {
    assert.equal(toHex(encodeNbssKeepalive()), '85000000');
  });

  test('a session request calls FRED as RFC 1001 section 14.1 encodes it, in 72 bytes', () => {
    assert.equal(toHex(encodeSessionRequest('fred', 'LINKHOLD')), toHex(REQUEST));
    const any = encodeSessionRequest('*SMBSERVER', 'LINKHOLD');
    assert.equal(Buffer.from(any).toString('latin1', 5, 37), 'CKFDENECFDEFFCFGEFFCCACACACACACA');
  });

  test('reads what each packet of RFC 1002 section 4.3 says', () => {
    const stream = Uint8Array.from(ALL.flatMap((packet) => [...packet]));
    assert.deepEqual(readAll(stream), [
      { type: 'request', called: 'FRED', calling: 'LINKHOLD' },
      { type: 'positive' },
      { type: 'negative', code: 0x82 },
      { type: 'retarget', address: '192.0.2.7', port: 139 },
      { type: 'keepalive' },
      { type: 'message', length: 5, body: hex('68656c6c6f') },
    ]);
  });

  test('reads the same from pieces of any size', () => {
    const stream = Uint8Array.from([...ALL, ...ALL].flatMap((packet) => [...packet]));
    const whole = readAll(stream);
    assert.equal(whole.length, 12);
    fc.assert(
      fc.property(fc.array(fc.nat(stream.length)), (cuts) => {
        assert.deepEqual(readAll(stream, cuts), whole);
      }),
    );
    const every = Array.from(stream, (_, index) => index);
    assert.deepEqual(readAll(stream, every), whole);
  });

  test('writes what it reads', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 500 }), (body) => {
        const [packet] = readAll(encodeNbssMessage(body));
        assert.deepEqual(packet, { type: 'message', length: body.length, body });
      }),
    );
    const name = fc.stringMatching(/^[!-`{-~]([ -`{-~]{0,13}[!-`{-~])?$/);
    fc.assert(
      fc.property(name, name, (called, calling) => {
        const packets = readAll(encodeSessionRequest(called, calling));
        assert.deepEqual(packets, [{ type: 'request', called, calling }]);
      }),
    );
  });

  test('a body of 131,071 bytes is the longest, on 139 and on 445', () => {
    for (const framing of ['netbios', 'direct'] as const) {
      const bytes = encodeNbssMessage(new Uint8Array(NBSS_LONGEST).fill(7));
      const [packet] = readAll(bytes, [], new NbssReader(framing));
      assert(packet?.type === 'message');
      assert.equal(packet.body.length, 131_071);
    }
    assert.throws(() => encodeNbssMessage(new Uint8Array(NBSS_LONGEST + 1)), RangeError);
  });

  for (const [code, framing, text] of [
    ['bad-type', 'direct', '86000000'],
    ['bad-type', 'direct', '01000000'],
    ['bad-type', 'netbios', ascii('HTTP')],
    ['bad-type', 'direct', ascii('SSH-')],
    ['too-long', 'direct', '00ffffff'],
    ['too-long', 'direct', '00020000'],
    ['bad-flags', 'netbios', '00020000'],
    ['bad-flags', 'netbios', '85800000'],
    ['too-long', 'direct', '85000001'],
    ['too-long', 'netbios', '82000001'],
    ['too-short', 'netbios', '83000000'],
    ['too-long', 'netbios', '83000002'],
    ['too-short', 'netbios', '84000005'],
    ['too-short', 'netbios', '81000043'],
    ['too-long', 'netbios', '81000045'],
    ['bad-name', 'netbios', toHex(REQUEST).replace('20', '21')],
    ['bad-name', 'netbios', toHex(REQUEST).replace('45', '40')],
    ['bad-name', 'netbios', toHex(REQUEST).replace('45', '51')],
    ['bad-name', 'netbios', toHex(REQUEST).replace(/00$/, '01')],
  ] as const satisfies readonly (readonly [string, NbssFraming, string])[]) {
    test(`refuses ${code}: ${text.slice(0, 16)} on ${framing}, and everything after it`, () => {
      const reader = new NbssReader(framing);
      const error = { name: 'DecodeError', format: 'nbss', code };
      assert.throws(() => readAll(hex(text), [], reader), error);
      assert.throws(() => readAll(KEEPALIVE, [], reader), error);
      assert.equal(reader.held, 0);
    });
  }

  test('16 MiB announced are refused by the fourth byte, with nothing set aside', () => {
    const reader = new NbssReader('direct');
    assert.deepEqual(readAll(hex('00ffff'), [], reader), []);
    assert.throws(() => readAll(hex('ff'), [], reader), { code: 'too-long' });
    assert.equal(reader.held, 0);
  });

  test('131,071 bytes announced and 10 sent take 68 bytes, not 128 KiB', () => {
    const reader = new NbssReader('direct');
    readAll(announce(0, NBSS_LONGEST), [], reader);
    assert.equal(reader.held, 0);
    readAll(new Uint8Array(10), [], reader);
    assert.equal(reader.held, 68);
    assert.equal(reader.betweenPackets, false);
  });

  test('131,071 bytes sent one by one are moved 12 times, in room of at most twice what came', () => {
    const reader = new NbssReader('direct');
    readAll(announce(0, NBSS_LONGEST), [], reader);
    const rooms = new Set<number>();
    for (let sent = 1; sent < NBSS_LONGEST; sent += 1) {
      for (const _ of reader.read(KEEPALIVE.subarray(0, 1))) assert.fail('it is not complete');
      assert(reader.held <= Math.max(68, 2 * sent), `${reader.held} held for ${sent}`);
      rooms.add(reader.held);
    }
    assert.equal(rooms.size, 12);
    assert.equal([...reader.read(KEEPALIVE.subarray(0, 1))].length, 1);
    assert.equal(reader.held, 0);
  });

  test('a reader that keeps nothing passes over 131,071 bytes and holds none of them', () => {
    const reader = new NbssReader('netbios', 0);
    const bytes = encodeNbssMessage(new Uint8Array(NBSS_LONGEST));
    for (let at = 0; at < bytes.length - 1; at += 1_000) {
      readAll(bytes.subarray(at, Math.min(at + 1_000, bytes.length - 1)), [], reader);
      assert.equal(reader.held, 0);
    }
    const last = readAll(Uint8Array.of(0, ...NEGATIVE), [], reader);
    const body = new Uint8Array();
    assert.deepEqual(last, [
      { type: 'message', length: NBSS_LONGEST, body },
      { type: 'negative', code: 0x82 },
    ]);
  });

  test('a name has 1 to 15 printable characters', () => {
    for (const name of ['A', '*SMBSERVER', 'FIFTEEN-LETTERS', 'A B']) assert(isNetbiosName(name));
    for (const name of ['', 'SIXTEEN-LETTERS!', 'Ä', 'A\n', ' A', 'A ', 'A\0']) {
      assert(!isNetbiosName(name), name);
      assert.throws(() => encodeSessionRequest(name, 'A'), RangeError);
    }
  });

  test('a negative response is explained in the words of RFC 1002 section 4.3.4', () => {
    assert.equal(negativeWords(0x80), '0x80: not listening on the called name');
    assert.equal(negativeWords(0x81), '0x81: not listening for the calling name');
    assert.equal(negativeWords(0x82), '0x82: the called name is not present');
    assert.match(negativeWords(0x83), /^0x83: .*resources are insufficient$/);
    assert.equal(negativeWords(0x8f), '0x8f: unspecified error');
    assert.match(negativeWords(0x42), /^0x42: a code that RFC 1002 does not have$/);
  });

  test('any bytes are packets or a DecodeError, and nothing is set aside past what came (100,000 mutated)', () => {
    const streams = [...ALL, Uint8Array.from([...KEEPALIVE, ...NEGATIVE, ...MESSAGE])];
    let most = 0;
    for (const [seed, framing] of (['direct', 'netbios'] as const).entries()) {
      const { read, refused } = fuzz(
        streams,
        50_000,
        (bytes) => {
          const reader = new NbssReader(framing);
          try {
            for (const _ of reader.read(bytes));
          } finally {
            most = Math.max(most, reader.held);
          }
        },
        seed + 1,
      );
      assert(read > 12_000 && refused > 12_000, `${read} read, ${refused} refused`);
    }
    assert(most <= 2 * 72 + 64, `${most} bytes set aside for at most 136`);
  });

  test('any bytes in any pieces are packets or a DecodeError', () => {
    fc.assert(
      fc.property(
        fc.uint8Array({ maxLength: 300, size: 'max' }),
        fc.array(fc.nat(300)),
        (bytes, cuts) => {
          fuzz([bytes], 1, (some) => readAll(some, cuts));
        },
      ),
    );
  });
});
