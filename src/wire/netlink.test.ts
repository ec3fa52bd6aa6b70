import assert from 'node:assert/strict';
import { suite, test } from 'node:test';
import fc from 'fast-check';
import { fuzz } from '../../test/support/mutate.ts';
import {
  decodeNetlink,
  encodeNetlink,
  findAttribute,
  NETLINK_ACK,
  NETLINK_DONE,
  NETLINK_DUMP,
  NETLINK_DUMP_INTERRUPTED,
  NETLINK_ERROR,
  NETLINK_HEADER_LENGTH,
  NETLINK_REQUEST,
  type NetlinkMessage,
  netlinkErrno,
} from './netlink.ts';

const hex = (text: string) => Uint8Array.from(Buffer.from(text.replaceAll(/[\s·]/g, ''), 'hex'));
const viewOf = (bytes: Uint8Array) =>
  new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);

/** A kernel 6.18 to SOCK_DESTROY of a socket that is gone: NLMSG_ERROR, −2, and the whole request. */
const REFUSED = hex(`
  5c000000 0200 0000 01000000 940c0000 · feffffff · 48000000 1500 0500 01000000 00000000
  02060000 ffffffff bc801538 7f000001 00000000 00000000 00000000 7f000001 00000000 00000000
  00000000 00000000 f8000000 00000000`);
/** The same where it was there: errno 0, and of the request only the header (NLM_F_CAPPED). */
const DONE_AS_ASKED = hex(
  '24000000 0200 0001 01000000 ab0c0000 · 00000000 · 48000000 1500 0500 01000000 00000000',
);
/** The end of a dump: NLMSG_DONE (NLM_F_MULTI), with its result 0. */
const DONE = hex('14000000 0300 0200 01000000 940c0000 · 00000000');
/** Two attributes: type 8 with one byte, padded, and type 15 with four. */
const ATTRIBUTES = hex('0500 0800 07 000000 · 0800 0f00 01020304');

function messages(bytes: Uint8Array): NetlinkMessage[] {
  return [...decodeNetlink(viewOf(bytes))];
}

suite('netlink messages', () => {
  test('a request lies on the wire as netlink(7) says: length, type, flags, sequence 1, port 0', () => {
    const bytes = encodeNetlink(20, NETLINK_REQUEST | NETLINK_DUMP, hex('0a0b0c'));
    assert.equal(Buffer.from(bytes).toString('hex'), '13000000140001030100000000000000' + '0a0b0c');
    const destroy = encodeNetlink(21, NETLINK_REQUEST | NETLINK_ACK, new Uint8Array());
    assert.equal(Buffer.from(destroy).toString('hex'), '10000000150005000100000000000000');
  });

  test('reads an error of the kernel: type 2, errno 2', () => {
    const [message, ...more] = messages(REFUSED);
    assert.deepEqual(message, { type: NETLINK_ERROR, flags: 0, from: 16, to: 92 });
    assert.deepEqual(more, []);
    assert.equal(netlinkErrno(viewOf(REFUSED), message as NetlinkMessage), 2);
  });

  test('reads its acknowledgement: errno 0, and not −0', () => {
    const [message] = messages(DONE_AS_ASKED);
    assert.deepEqual(message, { type: NETLINK_ERROR, flags: 0x100, from: 16, to: 36 });
    assert.equal(netlinkErrno(viewOf(DONE_AS_ASKED), message as NetlinkMessage), 0);
  });

  test('reads the end of a dump', () => {
    assert.deepEqual(messages(DONE), [{ type: NETLINK_DONE, flags: 2, from: 16, to: 20 }]);
  });

  test('an errno may be all that an error has, 4 bytes', () => {
    const bytes = encodeNetlink(NETLINK_ERROR, 0, hex('f0ffffff'));
    const [message] = messages(bytes);
    assert.equal(netlinkErrno(viewOf(bytes), message as NetlinkMessage), 16);
  });

  test('the kernel says with 0x10 that a dump was interrupted (NLM_F_DUMP_INTR)', () => {
    assert.equal(NETLINK_DUMP_INTERRUPTED, 0x10);
  });

  test('an error with less than the 4 bytes of its errno is a DecodeError', () => {
    const bytes = encodeNetlink(NETLINK_ERROR, 0, new Uint8Array(3));
    const [message] = messages(bytes);
    assert.throws(() => netlinkErrno(viewOf(bytes), message as NetlinkMessage), {
      name: 'DecodeError',
      code: 'cut-short',
      message: 'netlink: cut-short (3)',
    });
  });

  test('reads the messages of a datagram one behind the other, each padded to 4 bytes', () => {
    fc.assert(
      fc.property(
        fc.array(
          fc.record(
            {
              type: fc.nat(0xffff),
              flags: fc.nat(0xffff),
              payload: fc.uint8Array({ maxLength: 40 }),
            },
            { noNullPrototype: true },
          ),
        ),
        fc.nat(9),
        (written, offset) => {
          const parts = written.map(({ type, flags, payload }) => {
            const bytes = encodeNetlink(type, flags, payload);
            const padded = new Uint8Array((bytes.length + 3) & ~3);
            padded.set(bytes);
            return padded;
          });
          const larger = Buffer.concat([new Uint8Array(offset), ...parts]);
          const bytes = larger.subarray(offset);
          const read = messages(bytes).map(({ type, flags, from, to }) => ({
            type,
            flags,
            payload: Uint8Array.from(bytes.subarray(from, to)),
          }));
          assert.deepEqual(read, written);
        },
      ),
    );
  });

  test('the last message of a datagram need not be padded', () => {
    const bytes = encodeNetlink(9, 0, hex('01'));
    assert.deepEqual(messages(bytes), [{ type: 9, flags: 0, from: 16, to: 17 }]);
  });

  test('an empty datagram has no messages', () => assert.deepEqual(messages(new Uint8Array()), []));

  for (const [code, what, bytes] of [
    ['cut-short', '15 bytes, one less than a header', DONE.subarray(0, 15)],
    ['cut-short', 'a second header of 3 bytes', hex(`${Buffer.from(DONE).toString('hex')}140000`)],
    ['bad-length', 'a length of 0, which would never end', hex(`00000000${'00'.repeat(12)}`)],
    ['bad-length', 'a length of 15, less than its header', hex(`0f000000${'00'.repeat(12)}`)],
    ['bad-length', 'one byte more than there is', hex(`15000000${'00'.repeat(16)}`)],
    ['bad-length', 'a length of 4 GiB', hex(`ffffffff${'00'.repeat(16)}`)],
  ] as const) {
    test(`refuses ${code}: ${what}`, () => {
      assert.throws(() => messages(bytes), { name: 'DecodeError', format: 'netlink', code });
    });
  }

  test('what came before the fault is handed on', () => {
    const bytes = hex(`${Buffer.from(DONE).toString('hex')}${'00'.repeat(16)}`);
    const iterator = decodeNetlink(viewOf(bytes));
    assert.equal(iterator.next().value?.type, NETLINK_DONE);
    assert.throws(() => iterator.next(), { code: 'bad-length', message: /\(0\)$/ });
    const short = decodeNetlink(viewOf(bytes.subarray(0, DONE.length + 3)));
    assert.equal(short.next().value?.type, NETLINK_DONE);
    assert.throws(() => short.next(), { code: 'cut-short', message: /\(3\)$/ });
  });
});

suite('netlink attributes', () => {
  const find = (bytes: Uint8Array, type: number) =>
    findAttribute(viewOf(bytes), 0, bytes.length, type);

  test('finds one by its type, behind one of 5 bytes padded to 8', () => {
    assert.deepEqual(find(ATTRIBUTES, 8), { at: 4, length: 1 });
    assert.deepEqual(find(ATTRIBUTES, 15), { at: 12, length: 4 });
    assert.equal(find(ATTRIBUTES, 16), undefined);
    assert.equal(find(new Uint8Array(), 8), undefined);
    assert.deepEqual(find(hex('0400 0900'), 9), { at: 4, length: 0 });
  });

  test('the first of a type is meant', () => {
    assert.deepEqual(find(hex('0500 0800 01 000000 · 0600 0800 0203 0000'), 8), {
      at: 4,
      length: 1,
    });
  });

  test('looks no further than the message, which the next one follows', () => {
    assert.equal(findAttribute(viewOf(ATTRIBUTES), 0, 8, 15), undefined);
  });

  test('up to 3 bytes behind the last attribute are padding', () => {
    assert.equal(find(hex('0400 0800 000000'), 9), undefined);
  });

  for (const [what, bytes] of [
    ['a length of 0, which would never end', hex('0000 0800 0000')],
    ['a length of 3, less than its header', hex('0300 0800 0000')],
    ['one byte more than there is', hex('0700 0800 0000')],
    ['a length of 65,535', hex('ffff 0800 0000')],
    ['a fault before the one that is looked for', hex('0000 0900 · 0500 0800 01')],
  ] as const) {
    test(`refuses ${what}`, () => {
      assert.throws(() => find(bytes, 8), { name: 'DecodeError', code: 'bad-attribute' });
    });
  }
});

suite('netlink, whatever comes', () => {
  /** Reads all that can be read, and holds it against the input. */
  function readAll(bytes: Uint8Array): void {
    const view = viewOf(bytes);
    let count = 0;
    for (const message of decodeNetlink(view)) {
      count += 1;
      const { from, to } = message;
      assert(from >= NETLINK_HEADER_LENGTH && from <= to && to <= bytes.length, `${from}–${to}`);
      if (message.type === NETLINK_ERROR) assert(Number.isInteger(netlinkErrno(view, message)));
      if (message.type < 16) continue;
      for (const type of [2, 8, 15, 21]) {
        const found = findAttribute(view, from, to, type);
        assert(found === undefined || (found.at >= from + 4 && found.at + found.length <= to));
      }
    }
    assert(count <= bytes.length / NETLINK_HEADER_LENGTH, `${count} of ${bytes.length} bytes`);
  }

  test('answers 100,000 mutated datagrams with messages or a DecodeError', () => {
    const attributes = encodeNetlink(20, 2, ATTRIBUTES);
    const long = Buffer.concat([attributes, attributes, attributes, DONE]);
    const { read, refused } = fuzz([REFUSED, DONE, attributes, long], 100_000, readAll);
    assert(read > 10_000 && refused > 10_000, `${read} read, ${refused} refused`);
  });

  test('answers any bytes with messages or a DecodeError', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200, size: 'max' }), (bytes) => {
        fuzz([bytes], 1, readAll);
      }),
    );
  });

  test('a datagram of 1 MiB of the smallest messages gives 65,536, and of attributes is walked once', () => {
    const small = new Uint8Array(2 ** 20);
    for (let at = 0; at < small.length; at += 16) small[at] = 16;
    assert.equal(messages(small).length, 65_536);
    for (let at = 0; at < small.length; at += 4) small[at] = 4;
    assert.equal(findAttribute(viewOf(small), 0, small.length, 9), undefined);
  });
});
