import assert from 'node:assert/strict';
import { suite, test } from 'node:test';
import fc from 'fast-check';
import { fuzz } from '../../test/support/mutate.ts';
import {
  decodeDtlsDatagram,
  dtlsSequence,
  recordType,
  TLS_ALERT,
  TLS_APPLICATION_DATA,
  TLS_CHANGE_CIPHER_SPEC,
  TLS_HANDSHAKE,
  TLS_HEARTBEAT,
  TlsRecordReader,
} from './tls-record.ts';

const hex = (text: string) => Uint8Array.from(Buffer.from(text.replaceAll(/[\s·]/g, ''), 'hex'));
const toHex = (bytes: Uint8Array) => Buffer.from(bytes).toString('hex');

const LONGEST = 16_384 + 2_048;
const CHANGE = hex('14 0303 0001 · 01');
const ALERT = hex('15 0303 0002 · 0100');
const HANDSHAKE = hex('16 0303 0004 · 0e000000');
const DATA = hex(`17 0303 0017 · ${'ab'.repeat(23)}`);
const EMPTY = hex('17 0303 0000');
const BEAT = hex(`18 0303 0013 · 020000 ${'00'.repeat(16)}`);
const ALL = [CHANGE, ALERT, HANDSHAKE, DATA, EMPTY, BEAT];

const DTLS_HANDSHAKE = hex('16 feff 0000 000000000000 0004 · 0e000000');
const DTLS_DATA = hex(`17 fefd 0001 000000000007 0017 · ${'ab'.repeat(23)}`);
const DTLS_EMPTY = hex('17 fefd 0001 000000000008 0000');
const DTLS_BEAT = hex(`18 fefd 0001 0000deadbeef 0013 · 020000 ${'00'.repeat(16)}`);
const DTLS_ALL = [DTLS_HANDSHAKE, DTLS_DATA, DTLS_EMPTY, DTLS_BEAT];

function joined(records: readonly Uint8Array[]): Uint8Array {
  return Uint8Array.from(records.flatMap((record) => [...record]));
}

/** Every record of a stream, given in the pieces that end at `cuts`. */
function readAll(
  bytes: Uint8Array,
  cuts: readonly number[] = [],
  reader: TlsRecordReader = new TlsRecordReader(),
): string[] {
  const ends = [...cuts.filter((cut) => cut < bytes.length), bytes.length].sort((a, b) => a - b);
  let from = 0;
  const records = ends.flatMap((to) => {
    const some = [...reader.read(bytes.subarray(from, to))];
    from = to;
    return some;
  });
  return records.map(toHex);
}

/** The header of a record that announces so much. */
function announce(length: number): Uint8Array {
  return Uint8Array.of(TLS_APPLICATION_DATA, 3, 3, length >>> 8, length);
}

/** The records before the error, and its code. */
function readDatagram(datagram: Uint8Array): { records: string[]; code: string | undefined } {
  const records: string[] = [];
  try {
    for (const record of decodeDtlsDatagram(datagram)) records.push(toHex(record));
  } catch (error) {
    const { name, code } = error as { name: string; code: string };
    assert.equal(name, 'DecodeError');
    return { records, code };
  }
  return { records, code: undefined };
}

const fragments = fc.array(fc.uint8Array({ maxLength: 700, size: 'max' }), {
  minLength: 1,
  maxLength: 8,
});

suite('TLS records', () => {
  test('6 records in one chunk come one by one, with their headers, as views of it', () => {
    const stream = joined(ALL);
    const records = [...new TlsRecordReader().read(stream)];
    assert.deepEqual(records.map(toHex), ALL.map(toHex));
    for (const record of records) assert.equal(record.buffer, stream.buffer);
    assert.deepEqual(records.map(recordType), [
      TLS_CHANGE_CIPHER_SPEC,
      TLS_ALERT,
      TLS_HANDSHAKE,
      TLS_APPLICATION_DATA,
      TLS_APPLICATION_DATA,
      TLS_HEARTBEAT,
    ]);
  });

  test('types are 20 to 24, and nothing has type 0', () => {
    assert.deepEqual(
      [TLS_CHANGE_CIPHER_SPEC, TLS_ALERT, TLS_HANDSHAKE, TLS_APPLICATION_DATA, TLS_HEARTBEAT],
      [20, 21, 22, 23, 24],
    );
    assert.equal(recordType(new Uint8Array()), 0);
  });

  test('a stream cut anywhere, or into single bytes, gives the same records', () => {
    const stream = joined([...ALL, ...ALL]);
    const whole = readAll(stream);
    assert.equal(whole.length, 12);
    for (let cut = 0; cut < stream.length; cut += 1) {
      assert.deepEqual(readAll(stream, [cut]), whole);
    }
    const every = Array.from(stream, (_, index) => index);
    assert.deepEqual(readAll(stream, every), whole);
  });

  test('records of any length in pieces of any size are the same, and leave nothing behind', () => {
    fc.assert(
      fc.property(fragments, fc.array(fc.nat(6_000)), (bodies, cuts) => {
        const records = bodies.map((body) => joined([announce(body.length), body]));
        const reader = new TlsRecordReader();
        assert.deepEqual(readAll(joined(records), cuts, reader), records.map(toHex));
        assert.equal(reader.held, 0);
      }),
    );
  });

  test('what came in pieces is not changed by what comes after it', () => {
    const reader = new TlsRecordReader();
    const input = Uint8Array.from(DATA);
    const records = [...reader.read(input.subarray(0, 9)), ...reader.read(input.subarray(9))];
    input.fill(0);
    readAll(joined(ALL), [3, 7, 9, 12, 20, 40], reader);
    assert.deepEqual(records.map(toHex), [toHex(DATA)]);
  });

  test('18,432 bytes are the longest fragment, in one piece or many', () => {
    const bytes = joined([announce(LONGEST), new Uint8Array(LONGEST).fill(7)]);
    assert.deepEqual(readAll(bytes), [toHex(bytes)]);
    assert.deepEqual(readAll(bytes, [1, 4, 5, 6, 1_000, 18_436]), [toHex(bytes)]);
  });

  for (const length of [LONGEST + 1, 0x8000, 0xffff]) {
    test(`${length} bytes announced are refused, with nothing set aside`, () => {
      const error = { name: 'DecodeError', format: 'tls-record', code: 'too-long' };
      const reader = new TlsRecordReader();
      assert.throws(() => readAll(announce(length), [], reader), error);
      assert.equal(reader.held, 0);
      assert.throws(() => readAll(joined([announce(length), DATA]), [], reader), error);
      assert.equal(reader.held, 0);
    });

    test(`${length} bytes announced are refused by the fifth byte, behind good records`, () => {
      const reader = new TlsRecordReader();
      const stream = joined([BEAT, announce(length)]);
      assert.deepEqual(readAll(stream.subarray(0, -1), [3, 25], reader), [toHex(BEAT)]);
      assert.throws(() => readAll(stream.subarray(-1), [], reader), { code: 'too-long' });
      assert(reader.held <= 512, `${reader.held} held`);
      assert.throws(() => readAll(DATA, [], reader), { code: 'too-long' });
    });
  }

  test('18,432 bytes announced and 5 sent take 512 bytes, not 18,437', () => {
    const reader = new TlsRecordReader();
    assert.deepEqual(readAll(announce(LONGEST), [], reader), []);
    assert.equal(reader.held, 512);
    readAll(new Uint8Array(500), [], reader);
    assert.equal(reader.held, 512);
    readAll(new Uint8Array(8), [], reader);
    assert.equal(reader.held, 1_024);
  });

  test('18,432 bytes sent one by one are moved 7 times, in room of at most twice what came', () => {
    const reader = new TlsRecordReader();
    const bytes = joined([announce(LONGEST), new Uint8Array(LONGEST)]);
    const rooms = new Set<number>();
    for (let sent = 1; sent < bytes.length; sent += 1) {
      const records = [...reader.read(bytes.subarray(sent - 1, sent))];
      assert.equal(records.length, 0);
      assert(reader.held >= sent && reader.held <= Math.max(512, 2 * sent), `${reader.held}`);
      rooms.add(reader.held);
    }
    assert.deepEqual([...rooms], [512, 1_024, 2_048, 4_096, 8_192, 16_384, LONGEST + 5]);
    assert.equal([...reader.read(bytes.subarray(-1))].length, 1);
    assert.equal(reader.held, 0);
  });

  test('what is set aside is at most the record, or 512 bytes, and at most twice what came', () => {
    const lengths = fc.oneof(fc.nat(1_500), fc.nat(LONGEST));
    const pieces = fc.array(fc.integer({ min: 1, max: 3_000 }), { minLength: 1, maxLength: 20 });
    fc.assert(
      fc.property(lengths, pieces, (length, sizes) => {
        const reader = new TlsRecordReader();
        const bytes = joined([announce(length), new Uint8Array(length)]);
        let sent = 0;
        for (const size of sizes) {
          if (sent + size >= bytes.length) return;
          for (const _ of reader.read(bytes.subarray(sent, sent + size))) assert.fail('too early');
          sent += size;
          const bound = Math.max(512, Math.min(2 * sent, bytes.length));
          assert(reader.held >= sent && reader.held <= bound, `${reader.held} for ${sent}`);
        }
      }),
    );
  });

  test('any stream is records or a DecodeError, and 512 bytes set aside (100,000 mutated)', () => {
    let most = 0;
    const { read, refused } = fuzz([joined(ALL), BEAT, DATA], 100_000, (bytes) => {
      const reader = new TlsRecordReader();
      const cut = bytes.length >>> 1;
      let total = 0;
      for (const piece of [bytes.subarray(0, cut), bytes.subarray(cut)]) {
        for (const record of reader.read(piece)) {
          assert.equal(record.length, 5 + (record[3] ?? 0) * 256 + (record[4] ?? 0));
          total += record.length;
        }
        most = Math.max(most, reader.held);
      }
      assert(total <= bytes.length);
    });
    assert(read > 25_000 && refused > 10_000, `${read} read, ${refused} refused`);
    assert.equal(most, 512);
  });

  test('random bytes in any pieces are records or a DecodeError', () => {
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

suite('DTLS records', () => {
  test('4 records in one datagram come one by one, with their headers, as views of it', () => {
    const datagram = joined(DTLS_ALL);
    const records = [...decodeDtlsDatagram(datagram)];
    assert.deepEqual(records.map(toHex), DTLS_ALL.map(toHex));
    for (const record of records) assert.equal(record.buffer, datagram.buffer);
    assert.deepEqual(records.map(recordType), [22, 23, 23, 24]);
  });

  test('epoch and number are the 8 bytes behind type and version', () => {
    assert.equal(toHex(dtlsSequence(DTLS_HANDSHAKE)), '0000000000000000');
    assert.equal(toHex(dtlsSequence(DTLS_BEAT)), '00010000deadbeef');
  });

  test('an empty datagram has no record', () => {
    assert.deepEqual(readDatagram(new Uint8Array()), { records: [], code: undefined });
  });

  for (const [code, what, text] of [
    ['too-short', '1 byte', '16'],
    ['too-short', 'a header of 12 bytes', '16 fefd 0001 000000000000 00'],
    ['cut-short', 'a record of 3 bytes that announces 4', '16 fefd 0001 000000000000 0004 0e0000'],
    ['cut-short', '18,432 bytes announced', '16 fefd 0001 000000000000 4800'],
    ['too-long', '18,433 bytes announced', '16 fefd 0001 000000000000 4801'],
    ['too-long', '65,535 bytes announced', '16 fefd 0001 000000000000 ffff'],
  ] as const) {
    test(`refuses ${what}: ${code}; the record before it is good`, () => {
      assert.deepEqual(readDatagram(hex(text)), { records: [], code });
      const records = [toHex(DTLS_BEAT)];
      assert.deepEqual(readDatagram(joined([DTLS_BEAT, hex(text)])), { records, code });
    });
  }

  test('18,432 bytes are the longest fragment', () => {
    const bytes = joined([hex('17 fefd 0001 000000000000 4800'), new Uint8Array(LONGEST)]);
    assert.deepEqual(readDatagram(bytes), { records: [toHex(bytes)], code: undefined });
  });

  test('a datagram cut anywhere has the records before the cut, and mostly an error', () => {
    const datagram = joined(DTLS_ALL);
    let end = 0;
    const ends = [0, ...DTLS_ALL.map(({ length }) => (end += length))];
    for (let cut = 0; cut <= datagram.length; cut += 1) {
      const { records, code } = readDatagram(datagram.subarray(0, cut));
      const whole = ends.filter((at) => at > 0 && at <= cut).length;
      assert.deepEqual(records, DTLS_ALL.slice(0, whole).map(toHex));
      assert.equal(code === undefined, ends.includes(cut), `cut at ${cut}: ${code}`);
    }
  });

  test('records of any length come out as they went in', () => {
    fc.assert(
      fc.property(fragments, fc.uint8Array({ minLength: 8, maxLength: 8 }), (bodies, sequence) => {
        const records = bodies.map((body) =>
          joined([
            hex('17 fefd'),
            sequence,
            Uint8Array.of(body.length >>> 8, body.length & 0xff),
            body,
          ]),
        );
        const { records: read, code } = readDatagram(joined(records));
        assert.deepEqual(read, records.map(toHex));
        assert.equal(code, undefined);
      }),
    );
  });

  test('any datagram is records or a DecodeError (100,000 mutated)', () => {
    const { read, refused } = fuzz([joined(DTLS_ALL), DTLS_BEAT, DTLS_DATA], 100_000, (bytes) => {
      let total = 0;
      for (const record of decodeDtlsDatagram(bytes)) {
        assert.equal(record.length, 13 + (record[11] ?? 0) * 256 + (record[12] ?? 0));
        assert.equal(record.byteOffset, bytes.byteOffset + total);
        total += record.length;
      }
      assert.equal(total, bytes.length);
    });
    assert(read > 25_000 && refused > 25_000, `${read} read, ${refused} refused`);
  });

  test('random bytes are records or a DecodeError', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 300, size: 'max' }), (bytes) => {
        readDatagram(bytes);
      }),
    );
  });
});
