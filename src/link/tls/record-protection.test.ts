import assert from 'node:assert/strict';
import { type CipherGCMTypes, createCipheriv } from 'node:crypto';
import { suite, test } from 'node:test';
import fc from 'fast-check';
import type { Direction, RecordCipher, TlsVersion, Traffic } from '../../sys/gnutls-session.ts';
import { RecordProtection, type Secrets } from './record-protection.ts';

const hex = (text: string) => Uint8Array.from(Buffer.from(text.replaceAll(/[\s·]/g, ''), 'hex'));
const toHex = (bytes: Uint8Array) => Buffer.from(bytes).toString('hex');

const VERSIONS = ['TLSv1.2', 'TLSv1.3', 'DTLSv1.2'] as const;
const CIPHERS = ['aes-128-gcm', 'aes-256-gcm', 'chacha20-poly1305'] as const;
const ALL = VERSIONS.flatMap((version) => CIPHERS.map((cipher) => [version, cipher] as const));
const HEARTBEAT = 24;
const EPOCH_1 = 1n << 48n;

const bytesOf = (number: bigint) => hex(number.toString(16).padStart(16, '0'));
const numberOf = (bytes: Uint8Array) => BigInt(`0x${toHex(bytes)}`);

/** RFC 5288 section 3 has 4 bytes of salt; RFC 7905 section 2 and RFC 8446 section 5.3 have 12. */
function isSalted(version: TlsVersion, cipher: RecordCipher): boolean {
  return version !== 'TLSv1.3' && cipher !== 'chacha20-poly1305';
}

/** One set of keys for both directions, so that what is sealed is opened again. */
class Keys implements Secrets {
  key: Uint8Array;
  iv: Uint8Array;
  next: Record<Direction, bigint>;
  /** Every copy of a key that was handed out. */
  readonly copies: Uint8Array[] = [];
  readonly continued: [Direction, bigint][] = [];
  /** Whether numbers handed back are forgotten. */
  forgetful = false;

  constructor(version: TlsVersion, cipher: RecordCipher, fill = 0x42) {
    this.key = new Uint8Array(cipher === 'aes-128-gcm' ? 16 : 32).fill(fill);
    const length = isSalted(version, cipher) ? 4 : 12;
    this.iv = Uint8Array.from({ length }, (_, index) => 0xd0 + index);
    const first = version === 'DTLSv1.2' ? EPOCH_1 : 0n;
    this.next = { read: first, write: first };
  }

  traffic(_direction: Direction): Traffic {
    const key = Uint8Array.from(this.key);
    this.copies.push(key);
    return { key, iv: Uint8Array.from(this.iv) };
  }

  sequence(direction: Direction): bigint {
    return this.next[direction];
  }

  continueAt(direction: Direction, sequence: bigint): void {
    this.continued.push([direction, sequence]);
    if (!this.forgetful) this.next[direction] = BigInt.asUintN(64, sequence);
  }
}

function subject(version: TlsVersion, cipher: RecordCipher) {
  const keys = new Keys(version, cipher);
  return { keys, protection: new RecordProtection(version, cipher, keys) };
}

/** A heartbeat record as the RFCs have it; `explicit` is for those with a salt. */
function expected(
  [version, cipher]: readonly [TlsVersion, RecordCipher],
  { key, iv }: { readonly key: Uint8Array; readonly iv: Uint8Array },
  number: bigint,
  { inner, explicit = bytesOf(number) }: { inner: Uint8Array; explicit?: Uint8Array },
): Uint8Array {
  const sequence = bytesOf(number);
  const salted = isSalted(version, cipher);
  const travels = salted ? explicit : new Uint8Array();
  const padded = Buffer.concat([new Uint8Array(4), sequence]);
  const nonce = salted
    ? Buffer.concat([iv, explicit])
    : iv.map((byte, at) => byte ^ (padded[at] ?? 0));
  const start =
    version === 'DTLSv1.2'
      ? Buffer.concat([Uint8Array.of(HEARTBEAT, 0xfe, 0xfd), sequence])
      : Uint8Array.of(version === 'TLSv1.3' ? 23 : HEARTBEAT, 3, 3);
  const two = (length: number) => Uint8Array.of(length >>> 8, length & 0xff);
  const header = Buffer.concat([start, two(travels.length + inner.length + 16)]);
  const plainHeader = Buffer.concat([sequence, start.subarray(0, 3), two(inner.length)]);
  const sealing = createCipheriv(cipher as CipherGCMTypes, key, nonce, { authTagLength: 16 });
  sealing.setAAD(version === 'TLSv1.3' ? header : plainHeader);
  const sealed = Buffer.concat([sealing.update(inner), sealing.final()]);
  return Uint8Array.from(Buffer.concat([header, travels, sealed, sealing.getAuthTag()]));
}

/** What is encrypted: in TLS 1.3 the type comes behind the content. */
function innerOf(version: TlsVersion, content: Uint8Array): Uint8Array {
  return version === 'TLSv1.3' ? Uint8Array.of(...content, HEARTBEAT) : content;
}

const CONTENT = hex(`01 0010 000102030405060708090a0b0c0d0e0f ${'ee'.repeat(16)}`);
/** Where a record has its length. TLS 1.2 does not authenticate it: who cuts a stream reads it. */
const LENGTH_AT = { 'TLSv1.2': [3, 4], 'TLSv1.3': [], 'DTLSv1.2': [11, 12] } as const;

for (const [version, cipher] of ALL) {
  suite(`records of ${version} with ${cipher}`, () => {
    test('are sealed as the RFCs have them, 3 in a row', () => {
      const { keys, protection } = subject(version, cipher);
      const first = keys.next.write;
      for (let number = first; number < first + 3n; number += 1n) {
        const inner = innerOf(version, CONTENT);
        const record = expected([version, cipher], keys, number, { inner });
        assert.equal(toHex(protection.seal(HEARTBEAT, CONTENT)), toHex(record));
      }
    });

    test('are opened again, with their type and number, from 0 to 16,384 bytes', () => {
      const { keys, protection } = subject(version, cipher);
      const first = keys.next.write;
      for (const [index, length] of [35, 0, 1, 16_384].entries()) {
        const content = new Uint8Array(length).fill(0x5a);
        const record = protection.seal(HEARTBEAT, content);
        const opened = protection.open(record);
        assert(opened !== undefined);
        assert.equal(toHex(opened.content), toHex(content));
        assert.deepEqual([opened.type, opened.sequence], [HEARTBEAT, first + BigInt(index)]);
        assert.equal(record.length, length + protection.overhead);
        protection.count(opened);
      }
    });

    test('hand their number back: at once if sealed, when counted if opened', () => {
      const { keys, protection } = subject(version, cipher);
      const first = keys.next.write;
      const records = [protection.seal(23, CONTENT), protection.seal(HEARTBEAT, CONTENT)];
      assert.deepEqual(keys.continued, [
        ['write', first + 1n],
        ['write', first + 2n],
      ]);
      const opened = protection.open(records[0] ?? CONTENT);
      assert.equal(keys.continued.length, 2);
      assert(opened !== undefined);
      protection.count(opened);
      assert.deepEqual(keys.continued[2], ['read', first + 1n]);
    });

    test('are not sealed twice with one number, nor with an earlier one', () => {
      const { keys, protection } = subject(version, cipher);
      const first = keys.next.write;
      keys.forgetful = true;
      protection.seal(HEARTBEAT, CONTENT);
      assert.throws(() => protection.seal(HEARTBEAT, CONTENT), /sealed twice/);
      keys.next.write = first + 7n;
      protection.seal(HEARTBEAT, CONTENT);
      for (const number of [first, first + 1n, first + 6n, first + 7n]) {
        keys.next.write = number;
        assert.throws(() => protection.seal(HEARTBEAT, CONTENT), /sealed twice/);
      }
      assert.equal(keys.continued.length, 2);
    });

    test('begin a new count with a new key, and those of the old key are not opened', () => {
      const { keys, protection } = subject(version, cipher);
      const first = keys.next.write;
      const old = protection.seal(HEARTBEAT, CONTENT);
      assert(protection.open(old) !== undefined);
      keys.key = keys.key.map(() => 0x43);
      keys.next.write = first;
      protection.refresh();
      const record = protection.seal(HEARTBEAT, CONTENT);
      assert.notEqual(toHex(record), toHex(old));
      assert.equal(protection.open(record)?.sequence, first);
      assert.equal(protection.open(old), undefined);
      keys.next.write = first;
      assert.throws(() => protection.seal(HEARTBEAT, CONTENT), /sealed twice/);
    });

    test('with any bit flipped are not opened', () => {
      const { protection } = subject(version, cipher);
      const record = protection.seal(HEARTBEAT, CONTENT);
      const ignored: readonly number[] = LENGTH_AT[version];
      for (let bit = 0; bit < record.length * 8; bit += 1) {
        const at = bit >>> 3;
        if (ignored.includes(at)) continue;
        const flipped = Uint8Array.from(record);
        flipped[at] = (flipped[at] ?? 0) ^ (1 << (bit & 7));
        assert.equal(protection.open(flipped), undefined, `bit ${bit & 7} of byte ${at}`);
      }
      assert.equal(toHex(protection.open(record)?.content ?? new Uint8Array()), toHex(CONTENT));
    });

    test('that are cut short or too long are not opened, down to no byte', () => {
      const { protection } = subject(version, cipher);
      const record = protection.seal(HEARTBEAT, CONTENT);
      for (let length = 0; length < record.length; length += 1) {
        assert.equal(protection.open(record.subarray(0, length)), undefined, `${length} bytes`);
        assert.equal(protection.open(record.slice(0, length)), undefined, `${length} bytes`);
      }
      assert.equal(protection.open(Uint8Array.of(...record, 0)), undefined);
    });
  });
}

suite('numbers and nonces', () => {
  for (const [version, cipher] of ALL) {
    test(`no record of ${version} with ${cipher} is sealed with a nonce used before`, () => {
      const keyChange = fc.constant('key' as const);
      const moves = fc.oneof(fc.constant('seal' as const), keyChange, fc.bigInt(-3n, 3n));
      fc.assert(
        fc.property(fc.array(moves, { maxLength: 40 }), (run) => {
          const { keys, protection } = subject(version, cipher);
          const first = keys.next.write;
          const used = new Set<string>();
          let sealed = 0;
          for (const move of run) {
            if (move === 'key') {
              keys.key = keys.key.map((byte) => byte + 1);
              keys.next.write = first;
            } else if (typeof move === 'bigint') {
              const moved = keys.next.write + move;
              keys.next.write = moved < first ? first : moved;
            }
            let record: Uint8Array;
            try {
              record = protection.seal(HEARTBEAT, CONTENT);
            } catch (error) {
              assert.match((error as Error).message, /sealed twice/);
              continue;
            }
            // Of one content, two records are the same if and only if key and nonce are.
            sealed += 1;
            used.add(toHex(record.subarray(-CONTENT.length - 16)));
            if (isSalted(version, cipher)) {
              const explicit = record.subarray(-CONTENT.length - 24, -CONTENT.length - 16);
              assert.equal(numberOf(explicit), keys.next.write - 1n);
            }
          }
          assert.equal(used.size, sealed);
        }),
        { numRuns: 30 },
      );
    });
  }

  test('after number 2^64 - 1 nothing is sealed, for the count would begin anew', () => {
    const { keys, protection } = subject('TLSv1.3', 'aes-128-gcm');
    keys.next.write = 2n ** 64n - 1n;
    protection.seal(HEARTBEAT, CONTENT);
    assert.equal(keys.next.write, 0n);
    assert.throws(() => protection.seal(HEARTBEAT, CONTENT), /sealed twice/);
  });

  test('content of 16,385 bytes is refused, and no number is used up', () => {
    const { keys, protection } = subject('TLSv1.2', 'aes-128-gcm');
    assert.throws(() => protection.seal(HEARTBEAT, new Uint8Array(16_385)), RangeError);
    assert.equal(keys.next.write, 0n);
    assert.equal(toHex(protection.seal(HEARTBEAT, CONTENT)).slice(10, 26), '0000000000000000');
  });

  test('a TLS record is opened once: counted, it is not opened again, nor is one left out', () => {
    for (const [version, cipher] of ALL.filter(([name]) => name !== 'DTLSv1.2')) {
      const { protection } = subject(version, cipher);
      const records = [0, 1, 2].map((byte) => protection.seal(23, Uint8Array.of(byte)));
      const opened = protection.open(records[0] ?? CONTENT);
      assert(opened !== undefined);
      protection.count(opened);
      assert.equal(protection.open(records[0] ?? CONTENT), undefined);
      // With an explicit nonce only what is authenticated besides tells the number.
      assert.equal(protection.open(records[2] ?? CONTENT), undefined);
      assert(protection.open(records[1] ?? CONTENT) !== undefined);
    }
  });

  test('keys are wiped: copies once they are not needed, the one that is kept at the end', () => {
    const { keys, protection } = subject('TLSv1.2', 'aes-256-gcm');
    for (let sent = 0; sent < 3; sent += 1) {
      const opened = protection.open(protection.seal(HEARTBEAT, CONTENT));
      assert(opened !== undefined);
      protection.count(opened);
      protection.refresh();
    }
    const kept = () => keys.copies.filter((copy) => copy.some((byte) => byte !== 0)).length;
    assert.equal(keys.copies.length, 6);
    assert.equal(kept(), 2);
    keys.key = keys.key.map(() => 0x43);
    protection.refresh();
    protection.seal(HEARTBEAT, CONTENT);
    assert.equal(kept(), 2);
    protection.close();
    assert.equal(kept(), 0);
  });
});

suite('what TLS 1.2 and DTLS 1.2 allow', () => {
  for (const [version, cipher] of ALL.filter(([...names]) => isSalted(...names))) {
    test(`the peer may choose any explicit nonce: ${version} with ${cipher}`, () => {
      const { keys, protection } = subject(version, cipher);
      const explicit = hex('deadbeef01234567');
      const record = expected([version, cipher], keys, keys.next.read, {
        inner: CONTENT,
        explicit,
      });
      const opened = protection.open(record);
      assert.equal(toHex(opened?.content ?? new Uint8Array()), toHex(CONTENT));
      assert.equal(opened?.sequence, keys.next.read);
    });
  }

  test('overhead is 29, 21 and 22 bytes in TLS, 37 and 29 in DTLS', () => {
    const overheads = ALL.map(([version, cipher]) => subject(version, cipher).protection.overhead);
    assert.deepEqual(overheads, [29, 29, 21, 22, 22, 22, 37, 37, 29]);
  });

  test('DTLS records are opened in any order, whatever number is next', () => {
    for (const cipher of CIPHERS) {
      const { protection } = subject('DTLSv1.2', cipher);
      const records = [0, 1, 2, 3].map((byte) => protection.seal(23, Uint8Array.of(byte)));
      for (const at of [3, 0, 2, 1, 0]) {
        const opened = protection.open(records[at] ?? CONTENT);
        assert.deepEqual([...(opened?.content ?? [])], [at]);
        assert.equal(opened?.sequence, EPOCH_1 + BigInt(at));
      }
    }
  });

  test('a DTLS record of another epoch is not opened, though it is sealed with this key', () => {
    for (const cipher of CIPHERS) {
      for (const epoch of [0n, 2n, 0x101n, 0xffffn]) {
        const { keys, protection } = subject('DTLSv1.2', cipher);
        const suiteOf = ['DTLSv1.2', cipher] as const;
        const record = expected(suiteOf, keys, (epoch << 48n) + 5n, { inner: CONTENT });
        assert.equal(protection.open(record), undefined, `epoch ${epoch}`);
        keys.next.read = epoch << 48n;
        protection.refresh();
        assert.equal(protection.open(record)?.sequence, (epoch << 48n) + 5n);
      }
    }
  });
});

suite('what TLS 1.3 hides', () => {
  for (const cipher of CIPHERS) {
    test(`zeros behind the type are stripped, zeros of the content are not: ${cipher}`, () => {
      for (const [zeros, content] of [
        [0, hex('0100')],
        [1, hex('010000')],
        [300, CONTENT],
        [16, hex('000000')],
        [40, hex('')],
      ] as const) {
        const { keys, protection } = subject('TLSv1.3', cipher);
        const inner = Uint8Array.of(...content, HEARTBEAT, ...new Uint8Array(zeros));
        const opened = protection.open(expected(['TLSv1.3', cipher], keys, 0n, { inner }));
        assert.equal(opened?.type, HEARTBEAT);
        assert.equal(toHex(opened.content), toHex(content));
      }
    });

    test(`nothing but zeros, or nothing at all, is refused: ${cipher}`, () => {
      for (const length of [0, 1, 20, 16_385]) {
        const { keys, protection } = subject('TLSv1.3', cipher);
        const inner = new Uint8Array(length);
        const record = expected(['TLSv1.3', cipher], keys, 0n, { inner });
        assert.equal(protection.open(record), undefined, `${length} zeros`);
      }
    });
  }

  test('every record looks like data: 17 0303', () => {
    const { protection } = subject('TLSv1.3', 'aes-128-gcm');
    for (const type of [21, 22, 23, HEARTBEAT]) {
      const record = protection.seal(type, CONTENT);
      assert.equal(toHex(record.subarray(0, 5)), '1703030034');
      const opened = protection.open(record);
      assert(opened !== undefined);
      assert.equal(opened.type, type);
      protection.count(opened);
    }
  });
});

suite('the handshake of RFC 8448 section 3', () => {
  /** 00 01 02 to 31, which both sides send. */
  const PAYLOAD = Uint8Array.from({ length: 50 }, (_, index) => index);
  const CLIENT = ['17422dda596ed5d9acd890e3c63f5051', '5b78923dee08579033e523d9'] as const;
  const SERVER = ['9f02283b6c9c07efc26bb9f2ac92e356', 'cf782b88dd83549aadf1e984'] as const;

  for (const [what, [key, iv], number, type, content, record] of [
    [
      "the client's data, number 0",
      CLIENT,
      0n,
      23,
      PAYLOAD,
      `1703030043 a23f7054b62c94d0affafe8228ba55cbefacea42f914aa66bcab3f2b9819a8a5b46b395bd54a9a20
       441e2b62974e1f5a6292a2977014bd1e3deae63aeebb21694915e4`,
    ],
    [
      "the client's close_notify, number 1",
      CLIENT,
      1n,
      21,
      hex('0100'),
      '1703030013 c9872760655666b74d7ff1153efd6db6d0b0e3',
    ],
    [
      "the server's data, number 1 behind a ticket",
      SERVER,
      1n,
      23,
      PAYLOAD,
      `1703030043 2e937e11ef4ac740e538ad36005fc4a46932fc3225d05f82aa1b36e30efaf97d90e6dffc602dcb50
       1a59a8fcc49c4bf2e5f0a21c0047c2abf332540dd032e167c2955d`,
    ],
  ] as const) {
    test(`${what}, is sealed and opened as printed there`, () => {
      const { keys, protection } = subject('TLSv1.3', 'aes-128-gcm');
      keys.key = hex(key);
      keys.iv = hex(iv);
      keys.next = { read: number, write: number };
      assert.equal(toHex(protection.seal(type, content)), toHex(hex(record)));
      const opened = protection.open(hex(record));
      assert.equal(toHex(opened?.content ?? new Uint8Array()), toHex(content));
      assert.deepEqual([opened?.type, opened?.sequence], [type, number]);
    });
  }
});

suite('records that are anything', () => {
  for (const [version, cipher] of ALL) {
    test(`are not opened and never throw: ${version} with ${cipher}`, () => {
      const { protection } = subject(version, cipher);
      const good = protection.seal(HEARTBEAT, CONTENT);
      fc.assert(
        fc.property(fc.uint8Array({ maxLength: 60, size: 'max' }), fc.nat(24), (bytes, kept) => {
          const record = Uint8Array.of(...good.subarray(0, kept), ...bytes);
          assert.equal(protection.open(record), undefined);
        }),
      );
    });
  }
});
